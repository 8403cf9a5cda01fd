package relay

import (
	"bytes"
	"context"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/recent"
	"github.com/ckpool/ckpool/internal/sent"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

const (
	// closeAfter is how long a miner that was asked to connect again may take.
	closeAfter = 5 * time.Second
	// sendStep is how many miners a Step writes to, and walkStep how many it looks at.
	sendStep = 64
	walkStep = 1024
	// ghostsPerTick is how often in a second a pool is told that a miner is not here.
	ghostsPerTick = 100
	// inboxMost is how many bytes of lines wait for a loop, about, until pools have to.
	inboxMost = 16 << 20
	// batchesKept is how many empty batches are kept.
	batchesKept = 4
	// queueKept is for how many batches an empty queue keeps its room.
	queueKept = 1024
	// saidMost is how many bytes a miner may say in a second, and saidLeast while more than
	// crowded bytes wait to be sent to its pool: who says more is closed, not the link.
	saidMost  = 1 << 20
	saidLeast = 4 << 10
	crowded   = unsentMost / 4
	// authoriseTime is how long a miner may take to log in, somewhat more than pools give it.
	authoriseTime = 65 * time.Second
)

// EdgeHandler is the miners of one loop of an Edge. Owned by the loop, but for inbox.
type EdgeHandler struct {
	edge   *Edge
	loop   *netserver.Loop
	slabs  []*[chunkSize]edgeMiner
	top    netserver.Slot
	byID   map[uint32]netserver.Slot
	nextID uint32

	wire *wire  // that new miners are served over
	up   []byte // lines for it, of this iteration

	queue []arrived // from head on
	head  int
	send  func() (first, last uint32, ok bool) // ranges of the Send under way
	at    uint64                               // channel it is at; beyond last: the next range
	last  uint32

	walking bool             // over all miners, since the wire has changed
	cursor  netserver.Slot   // of that walk
	parting []netserver.Slot // of miners that have to connect again, for Step
	allowed float64          // how many may be asked to do so now
	ghosts  int              // told of in this second

	msg stratum.Message
	out []byte

	sharedLine []byte // that sharedMsg is of
	sharedMsg  stratum.Message

	jobs    sent.Loop // of miners whose shares are checked, as are the next
	submit  stratum.Submit
	scratch []byte
	prints  recent.Map[uint64, struct{}] // shares that pools have accepted
	summing []netserver.Slot             // of miners with sums

	ticked  int64            // when Tick was last called, unix seconds
	told    []netserver.Slot // in the order of the time
	fresh   []newcomer       // likewise: those who were not authorised when they came
	settled chan<- struct{}  // wants to know when the queue is empty; nil: nobody does

	mu      sync.Mutex
	inbox   []arrived  // guarded by mu
	waiting int        // guarded by mu: bytes in inbox and queue
	free    []batch    // guarded by mu; empty, with room
	room    *sync.Cond // of mu: waiting has become less
}

// arrived is what has come over a wire for the loop.
type arrived struct {
	wire  *wire
	batch batch
}

// newcomer is a miner that has until a time, unix seconds, to log in.
type newcomer struct {
	id    uint32
	until int64
}

// edgeMiner is one miner. A free slot has the id 0.
type edgeMiner struct {
	id     uint32
	server uint8
	told   int64 // when it was asked to connect again, unix seconds; 0 not
	second int64 // of the unix time, in which it has said so many bytes
	bytes  int
	wire   *wire   // that serves it, which may have ended; nil: none does
	watch  Watcher // nil: nobody watches
	parts  bool    // it is in EdgeHandler.parting
	// stranger is the number of the wire whose pool has not known its session, 0 none.
	stranger uint32
	*past
}

// Handler makes the handler of one loop, in the order of the loops.
func (e *Edge) Handler(loop *netserver.Loop) netserver.Handler {
	h := &EdgeHandler{edge: e, loop: loop, byID: map[uint32]netserver.Slot{}, allowed: 1,
		jobs: sent.Loop{Most: checkedJobs}, scratch: make([]byte, 0, 256), prints: recent.New[uint64, struct{}](printsMost)}
	h.room = sync.NewCond(&h.mu)
	e.handlers = append(e.handlers, h)
	return h
}

func (h *EdgeHandler) miner(s netserver.Slot) *edgeMiner {
	return &h.slabs[s/chunkSize][s%chunkSize]
}

// newID is a channel that goes to this loop and that no miner has. After 4 billion they
// begin anew: nobody remembers the first by then.
func (h *EdgeHandler) newID() uint32 {
	n := uint32(len(h.edge.handlers))
	for {
		h.nextID += n
		if id := h.nextID - h.nextID%n + uint32(h.loop.Index()); id > 0 {
			if _, taken := h.byID[id]; !taken {
				return id
			}
		}
	}
}

// put gives a miner its slot.
func (h *EdgeHandler) put(slot netserver.Slot, put edgeMiner) *edgeMiner {
	for int(slot/chunkSize) >= len(h.slabs) {
		h.slabs = append(h.slabs, new([chunkSize]edgeMiner))
	}
	h.top = max(h.top, slot+1)
	m := h.miner(slot)
	*m = put
	h.byID[m.id] = slot
	if !m.authorised {
		h.fresh = append(h.fresh, newcomer{m.id, h.loop.Now().Add(authoriseTime).Unix()})
	}
	return m
}

// Open implements netserver.Handler.
func (h *EdgeHandler) Open(slot netserver.Slot, remote netip.AddrPort, listener int) {
	id := h.newID()
	m := h.put(slot, edgeMiner{id: id, server: uint8(listener), watch: h.watch(id, remote, nil), past: &past{}})
	if w := h.edge.active.Load(); w != nil && w != h.wire { // it is about to be told
		h.follow(w)
	}
	if h.wire == nil {
		h.loop.Close(slot, netserver.NoWork)
		return
	}
	h.join(slot, m)
}

// join has a miner served over the present wire.
func (h *EdgeHandler) join(slot netserver.Slot, m *edgeMiner) {
	m.wire = h.wire
	h.served(m.wire, 1)
	if h.wire.dialect > 0 {
		h.up = poolproto.AppendFrame(h.up, &poolproto.Frame{
			Kind: poolproto.Open, Channel: m.id, Number: uint64(m.server), Address: h.loop.Remote(slot).Addr(),
		})
	}
}

// renumber gives a miner another channel: a pool that served it before may still mean the
// former one.
func (h *EdgeHandler) renumber(slot netserver.Slot, m *edgeMiner) {
	delete(h.byID, m.id)
	m.id = h.newID()
	h.byID[m.id] = slot
}

// serves tells that a miner is served over the present wire.
func (h *EdgeHandler) serves(m *edgeMiner) bool { return h.wire != nil && m.wire == h.wire }

// served counts the miners of a wire on this loop.
func (h *EdgeHandler) served(w *wire, n int64) { w.miners[h.loop.Index()].Add(n) }

// Line implements netserver.Handler.
func (h *EdgeHandler) Line(slot netserver.Slot, line []byte) {
	m := h.miner(slot)
	if m.id == 0 {
		return
	}
	if m.floods(h.loop.Now().Unix(), len(line)) {
		h.loop.Close(slot, netserver.Flooding)
		return
	}
	switch stratum.Scan(line, &h.msg) {
	case stratum.Empty:
		return
	case stratum.Object:
	default:
		h.out = stratum.AppendReject(h.out[:0], nil, &stratum.Reject{Code: stratum.Other, Text: "Invalid JSON, disconnecting"})
		h.loop.Write(slot, h.out)
		h.loop.Close(slot, netserver.BadInput)
		return
	}
	if role := poolproto.RoleOf(h.msg.Method); role != 0 {
		h.loop.Write(slot, poolproto.AppendAnswer(h.out[:0], &poolproto.Answer{Reason: noLink}))
		h.loop.Close(slot, netserver.BadInput)
		return
	}
	checked := m.checks != nil && h.serves(m) && !m.resuming()
	if checked && h.refuses(slot, m) {
		return
	}
	m.said(&h.msg, line)
	if checked && m.checks.print != 0 {
		m.passedOn(m.checks.print)
	}
	if m.watch != nil {
		m.watch.Said(&h.msg)
	}
	if h.serves(m) && !m.resuming() {
		h.pass(slot, m, line)
	} // else it goes up when the miner is served again, or the miner is closed
}

// floods counts what a miner says, and tells whether it is too much.
func (m *edgeMiner) floods(second int64, bytes int) bool {
	if m.second != second {
		m.second, m.bytes = second, 0
	}
	m.bytes += bytes
	return m.bytes > saidMost || m.bytes > saidLeast && m.wire != nil && m.wire.unsent.Load() > crowded
}

// noLink is what another edge is told that wants a link.
const noLink = "this is a passthrough, which has no links of its own: link to the pool itself"

// pass sends a miner's line up.
func (h *EdgeHandler) pass(slot netserver.Slot, m *edgeMiner, line []byte) {
	if h.wire.dialect > 0 {
		h.up = poolproto.AppendFrame(h.up, &poolproto.Frame{Kind: poolproto.Line, Channel: m.id, Text: line})
		return
	}
	begun := len(h.up)
	up, err := poolproto.AppendWrapped(h.up, line, h.origin(slot, m))
	if err != nil || len(up)-begun > poolproto.MaxWrapped {
		h.up = up[:begun]
		h.loop.Close(slot, netserver.LineTooLong)
		return
	}
	h.up = up
}

func (h *EdgeHandler) origin(slot netserver.Slot, m *edgeMiner) *poolproto.Wrapped {
	return &poolproto.Wrapped{Channel: m.id, Address: h.loop.Remote(slot).Addr(), Server: int(m.server)}
}

// TooLong implements netserver.Handler.
func (h *EdgeHandler) TooLong(slot netserver.Slot) {
	h.out = stratum.AppendReject(h.out[:0], nil, &stratum.Reject{Code: stratum.Other, Text: "Line too long, disconnecting"})
	h.loop.Write(slot, h.out)
}

// Closed implements netserver.Handler.
func (h *EdgeHandler) Closed(slot netserver.Slot, why netserver.Reason) {
	m := h.miner(slot)
	h.leave(slot, m, why.String())
	if m.watch != nil {
		m.watch.Left()
	}
	delete(h.byID, m.id)
	*m = edgeMiner{}
}

// leave tells the pool that serves a miner that it does so no more.
func (h *EdgeHandler) leave(slot netserver.Slot, m *edgeMiner, why string) {
	if m.wire == nil {
		return
	}
	if h.serves(m) {
		h.up = h.farewell(h.up, slot, m, why)
	} else {
		h.out = h.farewell(h.out[:0], slot, m, why)
		m.wire.send(h.out)
	}
	h.served(m.wire, -1)
	m.wire = nil
}

// farewell writes the last that the pool which serves a miner hears of it.
func (h *EdgeHandler) farewell(b []byte, slot netserver.Slot, m *edgeMiner, why string) []byte {
	return h.gone(h.lastReport(b, m), m.wire, h.origin(slot, m), why)
}

// gone writes that a miner has left.
func (h *EdgeHandler) gone(b []byte, w *wire, o *poolproto.Wrapped, why string) []byte {
	if w.dialect > 0 {
		return poolproto.AppendFrame(b, &poolproto.Frame{Kind: poolproto.Close, Channel: o.Channel, Text: []byte(why)})
	}
	return poolproto.AppendTerm(b, o)
}

// Flush implements netserver.Handler.
func (h *EdgeHandler) Flush() {
	if len(h.up) > 0 {
		h.wire.send(h.up)
		h.up = h.up[:0]
	}
}

// Tick implements netserver.Handler.
func (h *EdgeHandler) Tick(now time.Time) {
	if back := h.ticked - now.Unix(); back > 0 {
		h.clockBack(now.Unix(), back)
	}
	h.ticked = now.Unix()
	h.allowed = max(float64(h.edge.options.MovesPerSecond)/float64(len(h.edge.handlers)), 1)
	h.ghosts = 0
	h.reports()
	n := 0
	for n < len(h.told) && now.Unix() >= h.miner(h.told[n]).told+int64(closeAfter/time.Second) {
		if m := h.miner(h.told[n]); m.told != 0 {
			h.loop.Close(h.told[n], netserver.Moved)
		}
		n++
	}
	if h.told = h.told[n:]; len(h.told) == 0 {
		h.told = nil
	}
	h.endFresh(now.Unix())
}

// clockBack is for the clock having been set back by so many seconds: nobody waits for so much
// longer, such as a miner that was asked to connect again, who has no pool.
func (h *EdgeHandler) clockBack(now, seconds int64) {
	for i := range h.fresh {
		if f := &h.fresh[i]; f.until > now+int64(authoriseTime/time.Second) {
			f.until -= seconds
		}
	}
	for _, slot := range h.told {
		if m := h.miner(slot); m.told > now {
			m.told -= seconds
		}
	}
}

// endFresh closes miners that have not logged in in time.
func (h *EdgeHandler) endFresh(now int64) {
	for len(h.fresh) > 0 && now >= h.fresh[0].until {
		if slot, here := h.byID[h.fresh[0].id]; here && !h.miner(slot).authorised {
			h.loop.Close(slot, netserver.UnauthorizedTimeout)
		}
		h.fresh = h.fresh[1:]
	}
	if len(h.fresh) == 0 {
		h.fresh = nil
	}
}

// take is given what has come over a wire, and waits while too much is there. It returns an
// empty batch. Any goroutine but a loop's may call.
func (h *EdgeHandler) take(ctx context.Context, w *wire, b batch) (empty batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting > inboxMost {
		h.awaitRoom(ctx)
	}
	h.inbox = append(h.inbox, arrived{w, b})
	h.waiting += b.size
	h.loop.Wake()
	if last := len(h.free) - 1; last >= 0 {
		empty, h.free = h.free[last], h.free[:last]
	}
	return empty
}

// awaitRoom waits until less waits, or ctx ends. The caller holds mu.
func (h *EdgeHandler) awaitRoom(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.room.Broadcast()
	})()
	for h.waiting > inboxMost && ctx.Err() == nil {
		h.room.Wait()
	}
}

// settle has a channel told when all that has come is delivered.
func (h *EdgeHandler) settle(settled chan<- struct{}) {
	h.settled = settled
	h.loop.Wake()
}

// follow has miners served over another wire, before anything that comes over it.
func (h *EdgeHandler) follow(w *wire) {
	h.Flush()
	h.wire, h.walking, h.cursor = w, true, 0
}

// closeAll closes all miners: nobody serves them.
func (h *EdgeHandler) closeAll() {
	if h.edge.active.Load() != nil {
		return // somebody does again
	}
	h.Flush()
	h.wire, h.walking, h.cursor = nil, true, 0
}

// Step implements netserver.Handler.
func (h *EdgeHandler) Step() (more bool) {
	h.mu.Lock()
	h.queue = append(h.queue, h.inbox...)
	clear(h.inbox)
	h.inbox = h.inbox[:0]
	h.mu.Unlock()
	for n := sendStep; n > 0 && h.queued(); {
		n -= h.arrive(n)
	}
	if !h.queued() && h.settled != nil {
		h.settled <- struct{}{}
		h.settled = nil
	}
	if h.walking {
		h.walk()
	}
	h.stepParting()
	return h.queued() || h.walking || h.parts()
}

// arrive handles part of what has come first: it writes to n miners at most, and returns
// to how many, or 1.
func (h *EdgeHandler) arrive(n int) int {
	a := &h.queue[h.head]
	if a.batch.next == len(a.batch.list) {
		h.delivered(&a.batch)
		return 1
	}
	d := &a.batch.list[a.batch.next]
	if d.kind == poolproto.Send {
		if h.send == nil && a.wire.miners[h.loop.Index()].Load() == 0 { // it serves nobody here
			a.batch.next++
			return 1
		}
		return h.sendTo(a, d, n)
	}
	text := a.batch.text[d.start:d.end]
	a.batch.next++
	slot, here := h.byID[d.channel]
	switch {
	case !here:
		h.ghost(a.wire, d)
	case h.miner(slot).wire != a.wire: // it is another's by now
	case d.kind == poolproto.Close:
		h.loop.Close(slot, netserver.ByUpstream)
	case d.kind == poolproto.Sums:
		h.miner(slot).checks.reported(d.number)
	default:
		h.deliver(slot, a.wire, text)
	}
	return 1
}

// delivered ends the batch at the head of the queue.
func (h *EdgeHandler) delivered(b *batch) {
	h.mu.Lock()
	h.waiting -= b.size
	if len(h.free) < batchesKept && cap(b.text) <= 2*batchMost && cap(b.list) <= batchMost/deliverySize {
		h.free = append(h.free, b.emptied())
	}
	h.mu.Unlock()
	h.room.Broadcast()
	h.queue[h.head] = arrived{}
	if h.head++; !h.queued() {
		h.queue, h.head = h.queue[:0], 0
		if cap(h.queue) > queueKept {
			h.queue = nil
		}
	}
}

// queued tells whether anything waits to be delivered.
func (h *EdgeHandler) queued() bool { return h.head < len(h.queue) }

// deliver brings a miner a line.
func (h *EdgeHandler) deliver(slot netserver.Slot, w *wire, line []byte) {
	if w.dialect == 0 {
		var err error
		if h.out, err = poolproto.AppendUntagged(h.out[:0], line); err != nil {
			return
		}
	} else {
		h.out = append(append(h.out[:0], line...), '\n')
	}
	m := h.miner(slot)
	if stratum.Scan(h.out[:len(h.out)-1], &h.msg) != stratum.Object {
		return
	}
	before := m.authorised
	what, kind, accepted := m.heard(&h.msg)
	if m.authorised && !before {
		h.loop.Authorized(slot)
	}
	switch what {
	case forMiner:
		m.begun = true
		h.followed(m, kind, accepted)
		if m.watch != nil {
			m.watch.Heard(&h.msg, false)
		}
		h.loop.Write(slot, h.out)
		if h.edge.redirect != nil {
			h.redirect(slot, m, kind, accepted)
		}
	case resumed:
		if !h.serves(m) { // which is over: they go up where the miner is served next
			return
		}
		for i := range m.flights {
			h.pass(slot, m, m.flights[i].line)
		}
		h.report(m)
	case notResumed:
		if h.serves(m) { // else another pool may know it
			m.stranger = w.number
			h.leave(slot, m, "moved")
			h.part(slot, m)
		}
	}
}

// sendTo goes on with a line for many, of whom it is written to n at most.
func (h *EdgeHandler) sendTo(a *arrived, d *delivery, n int) (written int) {
	loops := uint64(len(h.edge.handlers))
	for looked := 0; written < n && looked < walkStep; looked++ {
		if h.at > uint64(h.last) || h.send == nil {
			if h.send == nil {
				h.send = ranges(d.channels)
			}
			first, last, ok := h.send()
			if !ok {
				h.send = nil
				h.at, h.last = 0, 0
				a.batch.next++
				return written + 1
			}
			mine := uint64(h.loop.Index())
			h.at, h.last = uint64(first)+(mine+loops-uint64(first)%loops)%loops, last
			continue
		}
		if slot, here := h.byID[uint32(h.at)]; here && h.miner(slot).wire == a.wire && !h.miner(slot).silent {
			if bytes.HasSuffix(d.line, cleanEnd) {
				h.loop.DropWork(slot)
			}
			h.heardShared(h.miner(slot), d.line)
			h.loop.WriteWork(slot, d.line, 0)
			written++
		}
		h.at += loops
	}
	return max(written, 1)
}

// cleanEnd is how a job ends that makes all before it void.
var cleanEnd = []byte(`,true],"id":null,"method":"mining.notify"}` + "\n")

// ghost tells a pool that a miner is not here, not too often, and after all that the miner
// has said.
func (h *EdgeHandler) ghost(w *wire, d *delivery) {
	if h.ghosts++; h.ghosts > ghostsPerTick || d.kind == poolproto.Close && w.dialect > 0 {
		return
	}
	gone := poolproto.Wrapped{Channel: d.channel, Address: netip.IPv4Unspecified()}
	if w == h.wire {
		h.up = h.gone(h.up, w, &gone, "not here")
		return
	}
	w.send(h.gone(h.out[:0], w, &gone, "not here"))
}

// walk looks at the next miners for those that the present wire does not serve.
func (h *EdgeHandler) walk() {
	for end := min(h.cursor+walkStep, h.top); h.cursor < end; h.cursor++ {
		slot := h.cursor
		m := h.miner(slot)
		if m.id == 0 || h.serves(m) || m.told != 0 {
			continue
		}
		if h.wire == nil {
			h.loop.Close(slot, netserver.NoWork)
		} else if !h.goOn(slot, m) {
			h.part(slot, m)
		}
	}
	h.walking = h.cursor < h.top
}

// goOn has a miner served over the present wire, if that can be without its noticing.
func (h *EdgeHandler) goOn(slot netserver.Slot, m *edgeMiner) bool {
	switch {
	case m.begins():
		h.serveOn(slot, m, (*past).begin)
	case m.resumable() && h.wire.dialect > 0 && m.stranger != h.wire.number:
		h.serveOn(slot, m, (*past).resume)
	default:
		return false
	}
	return true
}

// part has a miner asked to connect again, as soon as that is allowed.
func (h *EdgeHandler) part(slot netserver.Slot, m *edgeMiner) {
	if !m.parts {
		m.parts = true
		h.parting = append(h.parting, slot)
	}
}

// parts tells that some miner may be asked to connect again now.
func (h *EdgeHandler) parts() bool { return h.wire != nil && h.allowed >= 1 && len(h.parting) > 0 }

// stepParting asks as many miners to connect again as is allowed. Those that another wire
// serves by now, or can, are not.
func (h *EdgeHandler) stepParting() {
	for h.parts() {
		slot := h.parting[0]
		h.parting = h.parting[1:]
		m := h.miner(slot)
		if !m.parts { // another one has the slot
			continue
		}
		m.parts = false
		if m.told == 0 && !h.serves(m) && !h.goOn(slot, m) {
			h.allowed--
			h.ask(slot, m)
		}
	}
	if len(h.parting) == 0 {
		h.parting = nil
	}
}

// serveOn has a miner served over the present wire from here on, beginning with what say
// writes.
func (h *EdgeHandler) serveOn(slot netserver.Slot, m *edgeMiner, say func(*past, []byte) []byte) {
	kept := m.checks // its sums go on with it
	if m.checks = nil; !h.wire.sums {
		m.checks, kept = kept, nil
	}
	h.leave(slot, m, "moved")
	m.checks = kept
	h.renumber(slot, m)
	h.join(slot, m)
	h.out = say(m.past, h.out[:0])
	for line := range bytes.Lines(h.out) {
		h.pass(slot, m, line[:len(line)-1])
	}
}

// ask asks a miner to connect again; soon it is closed.
func (h *EdgeHandler) ask(slot netserver.Slot, m *edgeMiner) {
	h.leave(slot, m, "moved")
	h.out = stratum.AppendReconnect(h.out[:0], "", "")
	h.loop.Write(slot, h.out)
	m.told = h.loop.Now().Unix()
	h.told = append(h.told, slot)
}

// ranges are those of a text of channels, one each call.
func ranges(text []byte) func() (first, last uint32, ok bool) {
	return func() (first, last uint32, ok bool) {
		word, rest, _ := bytes.Cut(text, []byte(","))
		text = rest
		for f, l := range poolproto.Channels(word) {
			return f, l, true
		}
		return 0, 0, false
	}
}

// resumeID begins the ids of what is said for a miner to the pool that it goes on with.
const resumeID = `"resume-`

// ourID is the number of such an id.
func ourID(id []byte) (n int, ok bool) {
	text, found := bytes.CutPrefix(id, []byte(resumeID))
	if !found {
		return 0, false
	}
	number, err := strconv.ParseUint(string(bytes.TrimSuffix(text, []byte(`"`))), 10, 16) // of a few
	return int(number), err == nil
}

// Info is what an Edge knows of a miner.
type Info struct {
	ID         uint32 // its channel
	Address    netip.AddrPort
	Server     int // index of the listener
	Agent      string
	User       string // whom it has last said to be, "" nobody
	Subscribed bool
	Authorised bool
	Redirected bool
	Pool       string // URL of the one that serves it, "" none
}

// Miners appends the miners of one part of the slots, which begins at next. It returns where
// the next part begins; more is false after the last. On the loop.
func (h *EdgeHandler) Miners(to []Info, next netserver.Slot) (list []Info, then netserver.Slot, more bool) {
	for end := min(next+walkStep, h.top); next < end; next++ {
		if m := h.miner(next); m.id != 0 {
			i := Info{
				ID: m.id, Address: h.loop.Remote(next), Server: int(m.server), Agent: m.agent, User: m.user(),
				Subscribed: len(m.extranonce.Extranonce1) > 0, Authorised: m.authorised, Redirected: m.redirected,
			}
			if m.wire != nil {
				i.Pool = m.wire.url
			}
			to = append(to, i)
		}
	}
	return to, next, next < h.top
}

// Do does something to the miner of a channel, and tells whether it is here. On the loop.
func (h *EdgeHandler) Do(id uint32, do func(netserver.Slot)) bool {
	slot, here := h.byID[id]
	if here {
		do(slot)
	}
	return here
}

// Each does something to the miners of one part of the slots, as Miners. On the loop.
func (h *EdgeHandler) Each(next netserver.Slot, do func(netserver.Slot)) (then netserver.Slot, more bool) {
	for end := min(next+walkStep, h.top); next < end; next++ {
		if h.miner(next).id != 0 {
			do(next)
		}
	}
	return next, next < h.top
}

// Reconnect asks a miner to connect again, elsewhere if a host is given. On the loop.
func (h *EdgeHandler) Reconnect(slot netserver.Slot, host, port string) {
	h.out = stratum.AppendReconnect(h.out[:0], host, port)
	h.loop.Write(slot, h.out)
}

// Drop closes a miner. On the loop.
func (h *EdgeHandler) Drop(slot netserver.Slot) { h.loop.Close(slot, netserver.Dropped) }

// Handlers are those of all loops.
func (e *Edge) Handlers() []*EdgeHandler { return e.handlers }
