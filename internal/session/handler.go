package session

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// Transport is what a Handler needs of its event loop.
type Transport interface {
	Write(s netserver.Slot, b []byte)
	WriteWork(s netserver.Slot, b []byte, tag uint8)
	// WriteShared is WriteWork of a line that other clients get as well, which never changes.
	WriteShared(s netserver.Slot, b []byte, tag uint8)
	DropWork(s netserver.Slot) (tag uint8)
	Authorized(s netserver.Slot)
	// Answered and Notified are for how long things take.
	Answered()
	Notified(since time.Time)
	Close(s netserver.Slot, why netserver.Reason)
	Remote(s netserver.Slot) netip.AddrPort
	Now() time.Time
	Index() int
	Post(fn func()) // from any goroutine
}

// Group is the handlers of all loops: it finds duplicates of sessions that
// moved between loops and closes the connection a resumed session replaces.
type Group struct {
	registry *Registry
	loops    int
	handlers []*Handler                     // by loop; before serving
	moved    atomic.Pointer[map[uint64]int] // loops of unjudged shares of another process, by number; nil: none, immutable
	seen     []*seen                        // by loop; behind them those of loops that another process had
	forgives atomic.Bool                    // late shares may count: those of the tip before are remembered
	epoch    time.Time                      // when the clock of all sessions was 1 s; set by the first handler
	Log      *Log                           // of lines about miners, nil: none; set before serving
	// closeClient closes a client wherever it is; set before serving.
	closeClient func(client uint64, why netserver.Reason)
}

// NewGroup prepares handlers for the given number of loops. closeClient must
// close the client with the given id on whatever loop it is, asynchronously.
func NewGroup(registry *Registry, loops int, closeClient func(client uint64, why netserver.Reason)) *Group {
	g := &Group{registry: registry, loops: loops, closeClient: closeClient}
	for range loops {
		g.seen = append(g.seen, g.newSeen())
	}
	return g
}

func (g *Group) newSeen() *seen { return &seen{forgives: &g.forgives} }

// Forgive has shares of the tip before be remembered from here on, for late ones are not to
// count twice. Any goroutine may call.
func (h *Handler) Forgive() { h.g.forgives.Store(true) }

// follow lets a loop's sets forget what new work makes void. Those of no loop are
// divided among all.
func (g *Group) follow(loop int, w *Work) {
	for i := loop; i < len(g.seen); i += g.loops {
		g.seen[i].follow(w)
	}
}

// replace closes a client whose session another connection has taken. Until its
// loop has done so its shares count no more.
func (g *Group) replace(client, loops uint64) {
	for i := range g.loops {
		if loops>>(i%64)&1 != 0 {
			g.seen[i].replace(client)
		}
	}
	g.closeClient(client, netserver.Replaced)
}

const (
	slabSize   = 1 << 10 // sessions per slab
	maxHeld    = 16 << 10
	stepSize   = 64 // clients per Step of a broadcast
	maxWorkers = 4096

	maxListeners = 1 << 8 // that a session can tell apart

	// maxRefusals is how many refused logins in a row close a connection that has
	// no worker. One that has may be a farm's, where many names are wrong: it is
	// closed after as many as it could have workers.
	maxRefusals = 100
)

// Tags of replaceable output.
const (
	tagDifficulty uint8 = 1 << iota
	tagClean
)

// Handler is the sessions of one loop. Everything is owned by the loop.
type Handler struct {
	// Link makes a link of a client that asks for one by a method, as the first it says,
	// and returns "", or why not; nil: there are no links. Set before serving. The client
	// of a link has no session any more.
	Link func(slot netserver.Slot, listener int, method, params []byte) (refusal string)

	// Latency is how long new work is on its way to a client whose late shares are forgiven for
	// that, 0 of any other; nil: all. Set before serving.
	Latency func(slot netserver.Slot) time.Duration

	t      Transport
	b      Backend
	g      *Group
	loop   int
	seen   *seen
	slabs  []*[slabSize]session
	top    netserver.Slot            // one above the highest slot ever used
	byID   map[uint64]netserver.Slot // client id to slot
	agents table[string, string]
	logins table[WorkerID, login]

	// What few sessions have, by slot.
	extra   map[netserver.Slot]*further // logins
	held    map[netserver.Slot][]byte   // lines waiting for work
	earlier map[netserver.Slot]earlier  // difficulties

	minimums  map[netserver.Slot]minimums
	undecided undecidedLogins

	// Where there are several sources.
	former   map[netserver.Slot][]former // extranonce1 values, the oldest first
	moves    map[netserver.Slot]waitingMove
	heldTurn int // how many of heldList are to be tried
	unjudged unjudgedShares
	verdicts verdicts // on them, from other goroutines
	// takeVerdicts is collectVerdicts, made once.
	takeVerdicts func()

	work      *Work // being or having been broadcast
	cursor    netserver.Slot
	left      netserver.Slot   // slots that the broadcast is still to look at
	dueList   []netserver.Slot // marked as due, for Step
	heldList  []netserver.Slot // with lines in held, in the order they came, for Step
	ticking   tickWalk
	walks     []walk // what operators want, for Step
	idle      int    // as of the last tick, as is the next
	noRolling int
	connected [maxListeners]atomic.Int64 // by listener, as of the last tick; read by all

	msg       stratum.Message
	submit    stratum.Submit
	share     Share
	found     source.Found
	attempt   Login
	witnessed Event
	line      []byte   // under way
	answering []byte   // see Answering
	verdict   *Verdict // on the login that is in line
	out       []byte
	scratch   []byte
}

// login is one worker name in use on this loop.
type login struct {
	name   string
	user   *User
	worker WorkerID
}

// userName is the name of a login's user, "" of none.
func (l *login) userName() string {
	if l.user == nil {
		return ""
	}
	return l.user.Name
}

// NewHandler makes the handler of one loop.
func NewHandler(t Transport, b Backend, g *Group) *Handler {
	if g.epoch.IsZero() {
		g.epoch = t.Now()
	}
	h := &Handler{
		t: t, b: b, g: g, loop: t.Index(),
		byID:    map[uint64]netserver.Slot{},
		extra:   map[netserver.Slot]*further{},
		held:    map[netserver.Slot][]byte{},
		earlier: map[netserver.Slot]earlier{},

		minimums:  map[netserver.Slot]minimums{},
		undecided: newUndecidedLogins(),

		former:   map[netserver.Slot][]former{},
		moves:    map[netserver.Slot]waitingMove{},
		unjudged: newUnjudgedShares(),

		out:     make([]byte, 0, 4096),
		scratch: make([]byte, 0, 512),
	}
	h.seen = g.seen[h.loop]
	h.takeVerdicts = h.collectVerdicts
	for h.loop >= len(g.handlers) {
		g.handlers = append(g.handlers, nil)
	}
	g.handlers[h.loop] = h
	if b.Sources != nil {
		g.registry.follow(b.Jobs)
	}
	return h
}

// seconds is the sessions' clock: monotonic, starting at 1 so that 0 is never.
func (h *Handler) seconds() float64 { return 1 + h.t.Now().Sub(h.g.epoch).Seconds() }

// at is the wall time of a loop time; zero for never.
func (h *Handler) at(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return h.g.epoch.Add(time.Duration((seconds - 1) * float64(time.Second))).Round(0)
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
		start: moment(now), lastSent: moment(now), limit: uint16(work.CoinbaseLimit("")),
	}
	c := h.client(slot)
	set := c.listener()
	s.want = max(c.limits().Clamp(set.StartDiff), 0)
	if set.HighDiff > 0 {
		s.floor = c.limits().Clamp(set.HighDiff)
		s.want = max(s.want, s.floor)
	}
	s.vardiff.Start(now)
	s.rates.last = now
	h.byID[s.client] = slot
}

func (c client) listener() *ListenerSettings {
	all := c.b.Settings().Listeners
	if int(c.s.listener) < len(all) {
		return &all[c.s.listener]
	}
	return &all[0]
}

func (c client) limits() difficulty.Limits {
	set := c.listener()
	l := difficulty.Limits{Min: set.MinDiff, Max: set.MaxDiff, Floor: max(c.s.floor, c.minimum())}
	if w := c.work(); w != nil && w.Upstream == nil { // else it is what another pool says, which has a limit of its own
		l.Network = w.Job.NetworkDifficulty
	}
	return l
}

// vardiffLimits are limits for a difficulty that nobody has asked for.
func (c client) vardiffLimits() difficulty.Limits {
	l := c.limits()
	if w := c.work(); w != nil && w.most() > 0 && (l.Max == 0 || l.Max > w.most()) {
		l.Max = w.most()
	}
	return l
}

// Closed implements netserver.Handler.
func (h *Handler) Closed(slot netserver.Slot, why netserver.Reason) {
	c := h.client(slot)
	s := c.s
	if s.client == 0 {
		return
	}
	c.g.Log.dropped(c, why)
	if c.b.Witness != nil && s.login != 0 {
		c.b.Witness.Left(c.event(c.logins.get(s.login).worker), why.String())
	}
	if c.b.Sources != nil && s.login != 0 {
		user := c.logins.get(s.login).user.Name
		c.b.Sources.Logout(user)
		if c.b.Settings().UserAccounts && s.id != 0 {
			c.g.registry.remember(s.id, user)
		}
	}
	if !c.leave() {
		c.detach()
	}
	h.agents.release(s.agent)
	if s.id != 0 {
		h.g.registry.release(s.id, s.client, s.lastShare != 0, h.t.Now())
	}
	delete(h.byID, s.client)
	delete(h.held, slot)
	delete(h.minimums, slot)
	delete(h.former, slot)
	delete(h.moves, slot)
	if s.id != 0 && s.source != 0 {
		h.b.Sources.Closed(s.source)
	}
	h.undecided.forget(slot)
	c.forgetEarlier()
	*s = session{}
}

// event is one of a worker of the client. It is used again for the next.
func (c client) event(worker WorkerID) *Event {
	c.witnessed = Event{
		Time: c.t.Now(), Loop: c.loop, Client: c.s.client, Worker: worker, Remote: c.t.Remote(c.slot),
		UserAgent: c.agents.get(c.s.agent), Limit: int(c.s.limit), Payout: c.payout(),
	}
	return &c.witnessed
}

// detach ends all logins of a session.
func (c client) detach() {
	for i := range c.allLogins() {
		c.b.Workers.Detach(c.logins.get(i).worker, c.s.client, c.agents.get(c.s.agent))
		c.logins.release(i)
	}
	delete(c.extra, c.slot)
	c.s.login = 0
}

// TooLong implements netserver.Handler.
func (h *Handler) TooLong(slot netserver.Slot) {
	h.client(slot).reject(nil, &rejectTooLong)
}

// Flush implements netserver.Handler.
func (h *Handler) Flush() {
	for _, s := range h.b.Sinks {
		s.Flush(h.loop)
	}
}

// Line implements netserver.Handler.
func (h *Handler) Line(slot netserver.Slot, line []byte) {
	s := h.session(slot)
	if s.client == 0 {
		return
	}
	if h.b.Jobs.Newest() == nil {
		h.hold(slot, s, line)
		return
	}
	if s.is(holding) && h.b.Sources != nil { // until there is a place for it
		h.hold(slot, s, line)
		return
	}
	if s.is(holding) { // those lines come first
		client := s.client
		h.releaseHeld(slot)
		if s.client != client {
			return
		}
	}
	h.request(slot).dispatch(line)
}

// hold keeps lines until there is work, and room where it comes from: a reply to
// subscribe without work makes miners give up on the pool.
func (h *Handler) hold(slot netserver.Slot, s *session, line []byte) {
	held := h.held[slot]
	if len(held)+len(line) > maxHeld {
		h.t.Close(slot, netserver.NoWork)
		return
	}
	if !s.is(holding) {
		h.heldList = append(h.heldList, slot)
	}
	held = append(held, line...)
	h.held[slot] = append(held, '\n')
	s.flags |= holding
}

// Answering is the method that what is being written answers, if it is an answer.
func (h *Handler) Answering() []byte { return h.answering }

func (c client) write(b []byte) {
	c.t.Write(c.slot, b)
	c.session(c.slot).lastSent = moment(c.seconds())
	c.out = b[:0]
}

func (c client) accept(id []byte) {
	c.write(stratum.AppendTrue(c.out[:0], id))
}

func (c client) reject(id []byte, r *stratum.Reject) {
	c.write(stratum.AppendReject(c.out[:0], id, r))
}

func (c client) showMessage(text string) {
	c.write(stratum.AppendShowMessage(c.out[:0], text))
}

// client is one connection with its session; made anew for each event.
type client struct {
	*Handler
	slot netserver.Slot
	s    *session
}

// request is one message of a client, in Handler.msg.
type request struct{ client }

func (h *Handler) client(slot netserver.Slot) client { return client{h, slot, h.session(slot)} }

func (h *Handler) request(slot netserver.Slot) request { return request{h.client(slot)} }
