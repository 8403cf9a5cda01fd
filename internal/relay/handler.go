// Package relay is both ends of links: connections on which the miners of one pool are
// served by another. Its Handler is the pool's end on one loop: it makes a channel of each
// miner behind a link, which sessions take for any other client. It knows lines and
// channels, and no users. The miners' end refuses shares that the pool surely would.
package relay

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/poolproto"
)

const (
	// maxChannels is how many miners one link may have at a time.
	maxChannels = 1 << 20
	// endStep is how many channels of a link that has ended are closed in one Step.
	endStep = 1024
	// A link of our own dialect that has said nothing for pingAfter is asked for a sign of
	// life, and closed when it has said nothing for deadAfter.
	pingAfter = 10 * time.Second
	deadAfter = 30 * time.Second
	// complainEvery is how often a link's bad lines are told of.
	complainEvery = time.Minute
)

// Handler is the clients of one loop: those that are connected to it, and those behind
// links. It stands between the loop and the sessions. Everything is owned by the loop.
type Handler struct {
	*session.Handler
	loop   *netserver.Loop
	shared *Links

	links    map[netserver.Slot]*link
	channels channels
	dirty    []*link // with a Send under way
	ending   []*link // whose channels are still to be closed
	out      []byte
	sums     []poolproto.Sum // of the line under way, as is the next
	refused  []session.Refusal
}

// NewHandler makes the handler of one loop. sessions makes that of its sessions, which
// write to t.
func NewHandler(loop *netserver.Loop, shared *Links, sessions func(t session.Transport) *session.Handler) *Handler {
	h := &Handler{loop: loop, shared: shared, links: map[netserver.Slot]*link{}}
	h.Handler = sessions(transport{loop, h})
	h.Handler.Link = h.request
	h.Handler.Latency = h.latency
	shared.handlers = append(shared.handlers, h)
	return h
}

// request decides whether a client becomes a link, and says why not.
func (h *Handler) request(slot netserver.Slot, listener int, method, params []byte) (refusal string) {
	if h.loop.Channel(slot) {
		return "no link is made over another"
	}
	hello := poolproto.ParseHello(poolproto.RoleOf(method), params)
	remote := h.loop.Remote(slot)
	if refusal = h.shared.gate(&hello, remote, listener); refusal != "" {
		return refusal
	}
	l := &link{
		handler: h, slot: slot, role: hello.Role, program: hello.Program, listener: listener, remote: remote,
		dialect: min(hello.Dialect, poolproto.Dialect), channels: map[uint32]netserver.Slot{},
		since: h.loop.Now(), heard: h.loop.Now(),
	}
	h.links[slot] = l
	h.loop.MakeLink(slot)
	h.loop.Write(slot, poolproto.AppendAnswer(h.out[:0], &poolproto.Answer{
		Accepted: true, Dialect: l.dialect, Role: l.role, Sums: h.shared.sums && l.dialect > 0 && l.role == poolproto.Passthrough,
	}))
	h.shared.opened(l)
	if l.role == poolproto.Node {
		l.join(0)
		h.forgive(l)
	}
	if l.role == poolproto.Remote {
		l.remoteLink = &RemoteLink{l}
		h.shared.remotes.Joined(l.remoteLink)
		if l.dialect == 0 {
			l.join(0)
		}
	}
	return ""
}

// mostLatency bounds how late a share may be.
const mostLatency = 500 * time.Millisecond

// forgive has late shares of a node's miners count, as ckpool in C does: how long work is on
// its way there is half of what the link takes there and back.
func (h *Handler) forgive(l *link) {
	h.Handler.Forgive()
	l.latency = min(h.loop.RoundTrip(l.slot)/2, mostLatency)
}

// latency is for sessions.
func (h *Handler) latency(slot netserver.Slot) time.Duration {
	if c := h.channels.at(slot); c != nil {
		return c.link.latency
	}
	return 0
}

// Line implements netserver.Handler.
func (h *Handler) Line(slot netserver.Slot, line []byte) {
	if len(h.links) > 0 {
		if l := h.links[slot]; l != nil {
			l.line(line)
			return
		}
	}
	h.Handler.Line(slot, line)
}

// TooLong implements netserver.Handler.
func (h *Handler) TooLong(slot netserver.Slot) {
	if h.links[slot] == nil {
		h.Handler.TooLong(slot)
	}
}

// Closed implements netserver.Handler.
func (h *Handler) Closed(slot netserver.Slot, why netserver.Reason) {
	if l := h.links[slot]; l != nil {
		delete(h.links, slot)
		l.ended = true
		if l.remoteLink != nil {
			h.shared.remotes.Left(l.remoteLink)
		}
		h.ending = append(h.ending, l)
		h.loop.Wake()
		if l.node != nil {
			h.shared.feed.Left(l.node)
		}
		h.shared.closed(l, why)
		return
	}
	if c := h.channels.at(slot); c != nil {
		delete(c.link.channels, c.id)
		c.link.miners.Add(-1)
		*c = channel{}
		h.shared.channels.Add(-1)
	}
	h.Handler.Closed(slot, why)
}

// Step implements netserver.Handler.
func (h *Handler) Step() (more bool) {
	more = h.Handler.Step()
	for n := endStep; n > 0 && len(h.ending) > 0; {
		l := h.ending[0]
		for _, slot := range l.channels {
			if n--; n < 0 {
				return true
			}
			h.loop.Close(slot, netserver.LinkLost)
		}
		h.ending = h.ending[1:]
	}
	return more || len(h.ending) > 0
}

// Tick implements netserver.Handler.
func (h *Handler) Tick(now time.Time) {
	h.Handler.Tick(now)
	for _, l := range h.links {
		if l.role == poolproto.Node {
			h.forgive(l)
		}
		switch silent := now.Sub(l.heard); {
		case l.dialect == 0 && l.role != poolproto.Remote: // remotes ping
		case silent > deadAfter:
			h.loop.Close(l.slot, netserver.TimedOut)
		case l.dialect > 0 && silent > pingAfter && !l.asked:
			l.asked = true
			l.frame(&poolproto.Frame{Kind: poolproto.Ping})
		}
	}
}

// Flush implements netserver.Handler.
func (h *Handler) Flush() {
	for _, l := range h.dirty {
		l.flush()
	}
	h.dirty = h.dirty[:0]
	h.Handler.Flush()
}

// channel is one of a link.
type channel struct {
	link *link
	id   uint32
}

const chunkSize = 1024

// channels holds channels by slot; the slots of clients that are connected here cost
// nothing where no channel is near.
type channels struct{ chunks []*[chunkSize]channel }

// at is the channel in a slot, nil if there is none.
func (a *channels) at(s netserver.Slot) *channel {
	i := int(s / chunkSize)
	if i >= len(a.chunks) || a.chunks[i] == nil {
		return nil
	}
	if c := &a.chunks[i][s%chunkSize]; c.link != nil {
		return c
	}
	return nil
}

func (a *channels) put(s netserver.Slot, c channel) {
	i := int(s / chunkSize)
	for i >= len(a.chunks) {
		a.chunks = append(a.chunks, nil)
	}
	if a.chunks[i] == nil {
		a.chunks[i] = new([chunkSize]channel)
	}
	a.chunks[i][s%chunkSize] = c
}

// transport is the loop as sessions see it, for whom channels are clients.
type transport struct {
	*netserver.Loop
	h *Handler
}

// Write implements session.Transport.
func (t transport) Write(s netserver.Slot, b []byte) {
	if c := t.h.channels.at(s); c != nil {
		c.link.write(c.id, b)
		return
	}
	t.Loop.Write(s, b)
}

// WriteWork implements session.Transport.
func (t transport) WriteWork(s netserver.Slot, b []byte, tag uint8) {
	if c := t.h.channels.at(s); c != nil {
		c.link.write(c.id, b)
		return
	}
	t.Loop.WriteWork(s, b, tag)
}

// WriteShared implements session.Transport.
func (t transport) WriteShared(s netserver.Slot, b []byte, tag uint8) {
	if c := t.h.channels.at(s); c != nil {
		c.link.share(c.id, b)
		return
	}
	t.Loop.WriteWork(s, b, tag)
}

// Close implements session.Transport.
func (t transport) Close(s netserver.Slot, why netserver.Reason) {
	if c := t.h.channels.at(s); c != nil && t.Loop.Channel(s) {
		c.link.drop(c.id, why.String())
	}
	t.Loop.Close(s, why)
}

var _ session.Transport = transport{}

// link is a connection that carries channels. Owned by its loop, but for what is
// immutable.
type link struct {
	// immutable
	handler  *Handler
	slot     netserver.Slot
	role     poolproto.Role
	program  string
	dialect  int
	listener int
	remote   netip.AddrPort
	since    time.Time
	miners   atomic.Int64 // behind it; for any goroutine

	ended    bool
	channels map[uint32]netserver.Slot
	heard    time.Time // when its last line came
	asked    bool      // for a sign of life, since
	told     time.Time // when a bad line of it was last told of
	bad      int       // lines since then

	// Of a node.
	node       *NodeLink     // nil: it is none
	latency    time.Duration // of work on its way there
	work       uint64        // job of the last work that it has
	held       []byte        // what comes behind newer work, which it has not got yet
	asking     bool          // it waits for an answer to a request
	remoteLink *RemoteLink   // nil: it is of no trusted remote

	// Of our own dialect: lines that are there already, and the Send that is being made.
	lines   [poolproto.KeptLines]*byte // first bytes, by number
	number  uint64                     // of the line last defined
	send    []byte                     // channels that the line goes to; empty: no Send is under way
	sending uint64                     // number of that line
	last    poolproto.Range
}

// line handles one line of the link.
func (l *link) line(line []byte) {
	l.heard, l.asked = l.handler.loop.Now(), false
	if l.remoteLink != nil {
		l.reported(line)
	} else if l.dialect == 0 {
		l.wrapped(line)
	} else {
		l.parsed(line)
	}
}

// wrapped handles a line of the dialect of ckpool in C.
func (l *link) wrapped(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	w, err := poolproto.ParseWrapped(line)
	if err != nil {
		l.complain(err.Error())
		return
	}
	slot, known := l.channels[w.Channel]
	switch {
	case w.Method == poolproto.Term:
		if known {
			l.handler.loop.Close(slot, netserver.PeerClosed)
		}
	case known:
		l.handler.miner(slot, line)
	case !w.Address.IsValid():
		l.complain("a new miner without an address")
	case begins(w.Method) && l.room():
		l.handler.miner(l.openChannel(w.Channel, w.Address), line)
	default: // one that was served before the link was made, or is too many
		l.drop(w.Channel, "")
	}
}

// begins tells whether a miner whom nobody knows may begin with a method: one who does
// with any other believes to be known, and has to connect again.
func begins(method string) bool {
	switch method {
	case "mining.submit", "mining.get_transactions", "mining.get_txnhashes":
		return false
	}
	return true
}

// parsed handles a line of our own dialect.
func (l *link) parsed(line []byte) {
	f, err := poolproto.ParseFrame(line)
	if err != nil {
		l.complain(err.Error())
		return
	}
	slot, known := l.channels[f.Channel]
	switch f.Kind {
	case poolproto.Open:
		switch {
		case known:
			l.complain("a miner that is there already")
		case !l.room():
			l.drop(f.Channel, "too many miners on the link")
		default:
			l.openChannel(f.Channel, f.Address)
		}
	case poolproto.Line:
		if known {
			l.handler.miner(slot, f.Text)
		} else {
			l.drop(f.Channel, "not known")
		}
	case poolproto.Sums:
		if known {
			l.refused(slot, &f)
		} else {
			l.drop(f.Channel, "not known")
		}
	case poolproto.Close:
		if known {
			l.handler.loop.Close(slot, netserver.PeerClosed)
		}
	case poolproto.Ping:
		l.frame(&poolproto.Frame{Kind: poolproto.Pong})
	case poolproto.Pong:
	case poolproto.Request:
		l.request(f.Text)
	default:
		l.complain("a line that is for the other side")
	}
}

// miner handles a line of a miner behind a link. One that is too long costs that miner
// its channel, and the link nothing.
func (h *Handler) miner(slot netserver.Slot, line []byte) {
	if !h.loop.Channel(slot) {
		return // it is being closed
	}
	if len(line) > h.shared.maxLine {
		h.Handler.TooLong(slot)
		transport{h.loop, h}.Close(slot, netserver.LineTooLong)
		return
	}
	h.Handler.Line(slot, line)
}

func (l *link) room() bool {
	return len(l.channels) < maxChannels
}

func (l *link) openChannel(id uint32, addr netip.Addr) netserver.Slot {
	remote := netip.AddrPortFrom(addr, 0)
	slot := l.take(id, remote)
	l.handler.Handler.Open(slot, remote, l.listener)
	return slot
}

// take gives a channel a slot.
func (l *link) take(id uint32, remote netip.AddrPort) netserver.Slot {
	h := l.handler
	slot := h.loop.OpenChannel(remote)
	l.channels[id] = slot
	l.miners.Add(1)
	h.channels.put(slot, channel{l, id})
	h.shared.channels.Add(1)
	return slot
}

// complain tells of a line that is left alone, at times.
func (l *link) complain(what string) {
	l.bad++
	if now := l.handler.loop.Now(); now.Sub(l.told) >= complainEvery {
		l.handler.shared.complain(l, l.bad, what)
		l.told, l.bad = now, 0
	}
}

// write sends lines to a channel.
func (l *link) write(id uint32, lines []byte) {
	l.flush()
	h := l.handler
	h.out = h.out[:0]
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		line := lines[:end]
		if l.dialect == 0 {
			h.out = poolproto.AppendTagged(h.out, line, id, h.Answering())
		} else {
			h.out = poolproto.AppendFrame(h.out, &poolproto.Frame{Kind: poolproto.Line, Channel: id, Text: line})
		}
		lines = lines[end+1:]
	}
	l.say(h.out)
}

// share sends a line to a channel that many get: once to the link where it has been
// defined.
func (l *link) share(id uint32, line []byte) {
	if l.dialect == 0 {
		l.write(id, line)
		return
	}
	number := l.define(line)
	if number != l.sending {
		l.flush()
	}
	if len(l.send) == 0 {
		l.sending, l.last = number, poolproto.Range{}
		l.handler.dirty = append(l.handler.dirty, l)
	}
	l.send = poolproto.AppendChannels(l.send, &l.last, id)
}

// define makes sure that the other side has a line, and returns its number there.
func (l *link) define(line []byte) uint64 {
	const kept = poolproto.KeptLines
	first := &line[0]
	for i := range uint64(min(l.number, kept)) {
		if n := l.number - i; l.lines[n%kept] == first {
			return n
		}
	}
	l.number++
	l.lines[l.number%kept] = first
	l.flush() // it may be about a line that is forgotten now
	l.frame(&poolproto.Frame{Kind: poolproto.Define, Number: l.number, Text: line[:len(line)-1]})
	return l.number
}

// flush writes the Send that is under way. Whatever else is for a channel follows it.
func (l *link) flush() {
	if len(l.send) == 0 {
		return
	}
	text := l.send
	l.send = l.send[:0]
	l.frame(&poolproto.Frame{Kind: poolproto.Send, Number: l.sending, Text: text})
}

func (l *link) frame(f *poolproto.Frame) {
	h := l.handler
	h.out = poolproto.AppendFrame(h.out[:0], f)
	l.say(h.out)
}

// drop has the other side close a miner.
func (l *link) drop(id uint32, why string) {
	l.flush()
	if l.dialect == 0 {
		l.say(poolproto.AppendDropClient(l.handler.out[:0], id))
		return
	}
	l.frame(&poolproto.Frame{Kind: poolproto.Close, Channel: id, Text: []byte(why)})
}
