package session

import (
	"net/netip"
	"time"

	"ckpool/difficulty"
	"ckpool/internal/netserver"
	"ckpool/stratum"
	"ckpool/work"
)

// Transport is what a Handler needs of its event loop; *netserver.Loop is one.
type Transport interface {
	Write(s netserver.Slot, b []byte)
	WriteWork(s netserver.Slot, b []byte, tag uint8)
	DropWork(s netserver.Slot) (tag uint8)
	Authorized(s netserver.Slot)
	Close(s netserver.Slot, why netserver.Reason)
	Remote(s netserver.Slot) netip.AddrPort
	Now() time.Time
	Index() int
}

// Group is the handlers of all loops: it finds duplicates of sessions that
// moved between loops and closes the connection a resumed session replaces.
type Group struct {
	registry *Registry
	seen     []*seen
	// closeClient closes a client wherever it is; set before serving.
	closeClient func(client uint64, why netserver.Reason)
}

// NewGroup prepares handlers for the given number of loops. closeClient must
// close the client with the given id on whatever loop it is, asynchronously.
func NewGroup(registry *Registry, loops int, closeClient func(client uint64, why netserver.Reason)) *Group {
	g := &Group{registry: registry, closeClient: closeClient}
	for range loops {
		g.seen = append(g.seen, &seen{})
	}
	return g
}

const (
	slabSize   = 1 << 10 // sessions per slab
	maxHeld    = 16 << 10
	stepSize   = 64 // clients per Step of a broadcast
	maxWorkers = 4096
)

// Tags of replaceable output.
const (
	tagDifficulty uint8 = 1 << iota
	tagClean
)

// Handler is the sessions of one loop. Everything is owned by the loop.
type Handler struct {
	t      Transport
	b      Backend
	g      *Group
	loop   int
	seen   *seen
	epoch  time.Time
	slabs  []*[slabSize]session
	top    netserver.Slot            // one above the highest slot ever used
	byID   map[uint64]netserver.Slot // client id to slot
	agents table[string]
	logins table[login]
	extra  map[netserver.Slot][]uint32 // further logins of a slot
	held   map[netserver.Slot][]byte   // lines waiting for the first work

	work     *Work // being or having been broadcast
	cursor   netserver.Slot
	walking  bool
	lastIdle float64

	msg      stratum.Message
	submit   stratum.Submit
	computed work.Share
	share    Share
	out      []byte
	scratch  []byte
}

// login is one worker name in use on this loop.
type login struct {
	name   string
	user   string
	worker WorkerID
	payout []byte
}

// NewHandler makes the handler of one loop.
func NewHandler(t Transport, b Backend, g *Group) *Handler {
	h := &Handler{
		t: t, b: b, g: g, loop: t.Index(), epoch: t.Now(),
		byID:    map[uint64]netserver.Slot{},
		extra:   map[netserver.Slot][]uint32{},
		held:    map[netserver.Slot][]byte{},
		out:     make([]byte, 0, 4096),
		scratch: make([]byte, 0, 512),
	}
	h.seen = g.seen[h.loop]
	return h
}

// seconds is the loop's clock: monotonic, starting at 1 so that 0 is never.
func (h *Handler) seconds() float64 { return 1 + h.t.Now().Sub(h.epoch).Seconds() }

// at is the wall time of a loop time; zero for never.
func (h *Handler) at(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return h.epoch.Add(time.Duration((seconds - 1) * float64(time.Second))).Round(0)
}

func (h *Handler) session(s netserver.Slot) *session {
	return &h.slabs[s/slabSize][s%slabSize]
}

// Open implements netserver.Handler.
func (h *Handler) Open(slot netserver.Slot, _ netip.AddrPort, listener int) {
	for int(slot/slabSize) >= len(h.slabs) {
		h.slabs = append(h.slabs, new([slabSize]session))
	}
	h.top = max(h.top, slot+1)
	now := h.seconds()
	s := h.session(slot)
	*s = session{
		client: h.g.registry.nextClient(), listener: uint8(listener),
		start: now, lastSent: now, profile: work.ProfileFor(""),
	}
	set := h.listener(s)
	s.want = max(h.limits(s).Clamp(set.StartDiff), 0)
	if set.HighDiff > 0 {
		s.floor = h.limits(s).Clamp(set.HighDiff)
		s.want = max(s.want, s.floor)
	}
	s.vardiff.Start(now)
	s.rates.last = now
	h.byID[s.client] = slot
}

func (h *Handler) listener(s *session) *ListenerSettings {
	all := h.b.Settings().Listeners
	if int(s.listener) < len(all) {
		return &all[s.listener]
	}
	return &all[0]
}

func (h *Handler) limits(s *session) difficulty.Limits {
	set := h.listener(s)
	l := difficulty.Limits{Min: set.MinDiff, Max: set.MaxDiff, Floor: s.floor}
	if w := h.b.Work(); w != nil {
		l.Network = w.Job.NetworkDifficulty
	}
	return l
}

// Closed implements netserver.Handler.
func (h *Handler) Closed(slot netserver.Slot, _ netserver.Reason) {
	s := h.session(slot)
	if s.client == 0 {
		return
	}
	h.detach(slot, s)
	h.agents.release(s.agent)
	if s.id != 0 {
		h.g.registry.release(s.id, s.client, h.t.Now())
	}
	delete(h.byID, s.client)
	delete(h.held, slot)
	*s = session{}
}

// detach ends all logins of a session.
func (h *Handler) detach(slot netserver.Slot, s *session) {
	for _, i := range append(h.extra[slot], s.login) {
		if i == 0 {
			continue
		}
		h.b.Detach(h.logins.get(i).worker, s.client, h.agents.get(s.agent))
		h.logins.release(i)
	}
	delete(h.extra, slot)
	s.login = 0
}

// TooLong implements netserver.Handler.
func (h *Handler) TooLong(slot netserver.Slot) {
	h.reject(slot, nil, &rejectTooLong)
}

// Flush implements netserver.Handler.
func (h *Handler) Flush() { h.b.Flush(h.loop) }

// Line implements netserver.Handler.
func (h *Handler) Line(slot netserver.Slot, line []byte) {
	s := h.session(slot)
	if s.client == 0 {
		return
	}
	if h.b.Work() == nil {
		h.hold(slot, s, line)
		return
	}
	h.dispatch(slot, s, line)
}

// hold keeps lines until there is work: a reply to subscribe without work
// makes miners give up on the pool.
func (h *Handler) hold(slot netserver.Slot, s *session, line []byte) {
	held := h.held[slot]
	if len(held)+len(line) > maxHeld {
		h.t.Close(slot, netserver.NoWork)
		return
	}
	held = append(held, line...)
	h.held[slot] = append(held, '\n')
	s.flags |= holding
}

func (h *Handler) write(slot netserver.Slot, b []byte) {
	h.t.Write(slot, b)
	h.session(slot).lastSent = h.seconds()
	h.out = b[:0]
}

func (h *Handler) accept(slot netserver.Slot, id []byte) {
	h.write(slot, stratum.AppendTrue(h.out[:0], id))
}

func (h *Handler) reject(slot netserver.Slot, id []byte, r *stratum.Reject) {
	h.write(slot, stratum.AppendReject(h.out[:0], id, r))
}

func (h *Handler) showMessage(slot netserver.Slot, text string) {
	h.write(slot, stratum.AppendShowMessage(h.out[:0], text))
}
