package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	codec "github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// Versions of the records of an Edge; older ones are read.
const (
	uplinkVersion    = 1
	minerVersion     = 1
	edgeVersion      = 1
	redirectsVersion = 1
)

// uplinkRecord is what is moved of a link to a pool, beside its connection.
type uplinkRecord struct {
	url     string
	dialect uint8
	number  uint32 // of the wire, there
	active  bool
	since   time.Time
	in, out []byte   // what has come and was not taken, and what was not sent
	shared  [][]byte // by number
	sums    bool
}

func (k *uplinkRecord) fields(c *codec.Codec) {
	c.Text(&k.url)
	codec.Uint(c, &k.dialect)
	codec.Uint(c, &k.number)
	c.Bool(&k.active)
	since := k.since.UnixNano()
	if codec.Int(c, &since); c.Reading() {
		k.since = time.Unix(0, since)
	}
	c.Bytes(&k.in)
	c.Bytes(&k.out)
	codec.List(c, &k.shared, func(line *[]byte, c *codec.Codec) { c.Bytes(line) })
	c.Bool(&k.sums)
	switch {
	case k.dialect > poolproto.Dialect:
		c.Fail(fmt.Errorf("dialect %d", k.dialect))
	case len(k.shared) > poolproto.KeptLines:
		c.Fail(fmt.Errorf("%d lines for many", len(k.shared)))
	}
	for _, line := range k.shared {
		if len(line) > 0 && line[len(line)-1] != '\n' {
			c.Fail(errors.New("a line without an end"))
		}
	}
}

// minerRecord is what is moved of a miner, beside its connection. The id 0 is that of a
// connection that is no miner yet.
type minerRecord struct {
	id, wire uint32 // the wire's number there, 0 none
	server   uint8
	told     int64
	past     past
	watched  []byte // of who watches it
}

func (k *minerRecord) fields(c *codec.Codec) {
	codec.Uint(c, &k.id)
	codec.Uint(c, &k.wire)
	codec.Uint(c, &k.server)
	codec.Int(c, &k.told)
	c.Record(k.past.fields)
	c.Bytes(&k.watched)
}

func (p *past) fields(c *codec.Codec) {
	codec.List(c, &p.requests, (*request).fields)
	codec.Int(c, &p.size)
	codec.List(c, &p.flights, (*flight).fields)
	c.Record(func(c *codec.Codec) { extranonceFields(&p.extranonce, c) })
	c.Text(&p.agent)
	c.Bytes(&p.configured)
	codec.Int(c, &p.replies)
	c.Bool(&p.silent)
	c.Bool(&p.authorised)
	c.Bool(&p.redirected)
	c.Record(p.checksFields)
	if !c.Reading() {
		return
	}
	p.begun = true // as far as is known
	p.configured = slices.Clone(p.configured)
	p.flying = 0
	for _, f := range p.flights {
		p.flying += len(f.line)
	}
	if p.size < 0 || p.replies < 0 || p.replies > len(p.requests) {
		c.Fail(errors.New("a resumption that cannot end"))
	}
}

// checksFields are those of checks, if there are any. Jobs come again.
func (p *past) checksFields(c *codec.Codec) {
	var k checks
	if p.checks != nil {
		k = *p.checks
	} else if !c.Reading() {
		return
	}
	codec.Amount(c, &k.sent.Difficulty)
	codec.Uint(c, &k.sent.Mask)
	c.Text(&k.worker)
	codec.Word(c, &k.number)
	c.Bytes(&k.report)
	sums := poolproto.AppendSums(nil, k.sums)
	if c.Bytes(&sums); !c.Reading() || k.sent.Difficulty == 0 {
		return
	}
	k.sent.Extranonce, k.report = p.extranonce, slices.Clone(k.report)
	if len(sums) > 0 {
		var err error
		if k.sums, err = poolproto.ParseSums(nil, sums); err != nil {
			c.Fail(err)
		}
	}
	p.checks = &k
}

func (r *request) fields(c *codec.Codec) {
	c.Bytes(&r.method)
	if c.Bytes(&r.params); c.Reading() {
		r.method, r.params = slices.Clone(r.method), slices.Clone(r.params)
	}
}

func (f *flight) fields(c *codec.Codec) {
	c.Bytes(&f.id)
	c.Bytes(&f.line)
	if codec.Uint(c, &f.kind); c.Reading() {
		f.id, f.line = slices.Clone(f.id), slices.Clone(f.line)
	}
}

func extranonceFields(x *stratum.Extranonce, c *codec.Codec) {
	c.Text(&x.SessionID)
	c.Bytes(&x.Extranonce1)
	if codec.Int(c, &x.Extranonce2Len); c.Reading() {
		x.Extranonce1 = slices.Clone(x.Extranonce1)
	}
}

// edgeRecord is what else is moved of an Edge.
type edgeRecord struct {
	lastID uint32 // the highest channel given to a miner
}

func (k *edgeRecord) fields(c *codec.Codec) { codec.Uint(c, &k.lastID) }

// redirectsRecord is a part of the table of a redirector.
type redirectsRecord struct {
	next    int
	aged    time.Time
	entries []redirectRecord
}

type redirectRecord struct {
	addr netip.Addr
	pool string
}

func (k *redirectsRecord) fields(c *codec.Codec) {
	codec.Int(c, &k.next)
	aged := k.aged.Unix()
	if codec.Int(c, &aged); c.Reading() {
		k.aged = time.Unix(aged, 0)
	}
	codec.List(c, &k.entries, (*redirectRecord).fields)
	if k.next < 0 {
		c.Fail(fmt.Errorf("the next pool is %d", k.next))
	}
}

func (k *redirectRecord) fields(c *codec.Codec) {
	c.Addr(&k.addr)
	c.Text(&k.pool)
}

// Moving are the URLs of the pools whose links can move to another process as they are now.
func (e *Edge) Moving() (urls []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.uplinks {
		if u.wire != nil && plain(u.wire.conn) {
			urls = append(urls, u.URL)
		}
	}
	return urls
}

// Hold stops all links, so that what they have brought is with the miners and no more comes,
// and keeps the choice of the pool as it is, until Resume or Leave. ctx bounds how long it
// may take. The loops run until it has returned.
func (e *Edge) Hold(ctx context.Context) error {
	e.choosing.Lock()
	e.mu.Lock()
	for _, u := range e.uplinks {
		if u.wire != nil {
			e.held = append(e.held, u.wire)
		}
	}
	e.mu.Unlock()
	err := e.hold(ctx)
	if err != nil {
		e.Resume()
	}
	return err
}

func (e *Edge) hold(ctx context.Context) error {
	for _, w := range e.held {
		if err := w.hold(ctx); err != nil {
			return err
		}
	}
	settled := make(chan struct{}, len(e.handlers))
	e.each(func(h *EdgeHandler) { h.settle(settled) })
	for range e.handlers {
		select {
		case <-settled:
		case <-ctx.Done():
			return fmt.Errorf("what pools upstream have sent does not get to the miners: %w", context.Cause(ctx))
		}
	}
	return nil
}

// Resume goes on after Hold as if nothing had happened.
func (e *Edge) Resume() {
	for _, w := range e.held {
		w.resume()
	}
	e.held = nil
	e.choosing.Unlock()
}

// Leave ends the links after Hold: those that were exported are another process's now.
func (e *Edge) Leave() {
	for _, w := range e.held {
		w.given.Store(plain(w.conn))
	}
	e.end()
	e.Resume()
}

// Export is the record of what an Edge keeps beside links and miners.
func (e *Edge) Export() []byte {
	var k edgeRecord
	for _, h := range e.handlers {
		k.lastID = max(k.lastID, h.nextID)
	}
	c := codec.Append(nil)
	c.Versioned(edgeVersion, k.fields)
	return c.Written()
}

// ExportUplinks gives send the record of each link that can move, with its socket, which
// stays this process's. Only after Hold, with all loops standing still.
func (e *Edge) ExportUplinks(send func(record []byte, fd *os.File) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range e.uplinks {
		w := u.wire
		if w == nil || !slices.Contains(e.held, w) || !plain(w.conn) {
			continue
		}
		w.mu.Lock()
		k := uplinkRecord{
			url: u.URL, dialect: uint8(w.dialect), number: w.number, active: e.active.Load() == w, since: u.since,
			in: w.in.pending(), out: slices.Clone(w.out), shared: w.shared[:], sums: w.sums,
		}
		w.mu.Unlock()
		for _, h := range e.handlers {
			k.out = h.farewells(k.out, w)
		}
		f, err := w.conn.(*net.TCPConn).File()
		if err != nil {
			return fmt.Errorf("upstream %s: %w", u.URL, err)
		}
		c := codec.Append(nil)
		c.Versioned(uplinkVersion, k.fields)
		err = send(c.Written(), f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ExportMiner writes the record of a connection of a loop that stands still.
func (h *EdgeHandler) ExportMiner(slot netserver.Slot, c *codec.Codec) {
	var k minerRecord
	if slot < h.top {
		if m := h.miner(slot); m.id != 0 {
			k = minerRecord{id: m.id, server: m.server, told: m.told, past: *m.past}
			if m.wire != nil {
				k.wire = m.wire.number
			}
			if m.watch != nil {
				k.watched = m.watch.Record()
			}
		}
	}
	c.Versioned(minerVersion, k.fields)
}

// farewells writes what the pool of a wire is to be told when another process has taken over: the
// miners whose connections cannot move have left. Here nothing changes, and they may go on.
func (h *EdgeHandler) farewells(b []byte, w *wire) []byte {
	for slot := range netserver.Immovable(h.loop) {
		m := *h.miner(slot)
		if m.wire != w {
			continue
		}
		if m.checks != nil {
			p, c := *m.past, *m.checks
			m.past, p.checks, c.report = &p, &c, nil
		}
		b = h.farewell(b, slot, &m, "moved")
	}
	return b
}

// SendAway has a miner connect again, whose connection cannot move. It comes before Leave.
func (h *EdgeHandler) SendAway(slot netserver.Slot) {
	h.leave(slot, h.miner(slot), "moved")
	h.Flush()
	h.out = stratum.AppendReconnect(h.out[:0], "", "")
	h.loop.Write(slot, h.out)
	h.loop.Close(slot, netserver.Moved)
}

// EdgeImporter takes what another process sends of its Edge, before Run.
type EdgeImporter struct {
	edge  *Edge
	wires map[uint32]*wire // by number there
	// Listener gives the index here of a listener there.
	Listener func(int) int
}

// NewEdgeImporter prepares to take over.
func NewEdgeImporter(e *Edge) *EdgeImporter {
	return &EdgeImporter{edge: e, wires: map[uint32]*wire{}}
}

// Edge takes the record of Export.
func (a *EdgeImporter) Edge(record []byte) error {
	var k edgeRecord
	c := codec.Read(record)
	c.Versioned(edgeVersion, k.fields)
	if err := c.Done(); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	for _, h := range a.edge.handlers {
		h.nextID = k.lastID
	}
	return nil
}

// Uplink takes a record of ExportUplinks with its socket, which is closed where the pool is
// not in the configuration any more, or has another link already.
func (a *EdgeImporter) Uplink(record []byte, socket *os.File) error {
	conn, err := net.FileConn(socket)
	socket.Close()
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	k, err := readUplink(record)
	if err != nil {
		conn.Close()
		return err
	}
	e := a.edge
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.uplinks, func(u *uplink) bool { return u.URL == k.url && !u.begun && u.wire == nil })
	if i < 0 {
		conn.Close()
		return nil
	}
	u, w := e.uplinks[i], newWire(k.url, conn)
	e.wires++
	w.prepare(e, e.wires)
	w.dialect, w.sums = int(k.dialect), k.sums
	w.in.restore(k.in)
	w.unsent.Store(int64(len(k.out)))
	if w.out = slices.Clone(k.out); len(w.out) > 0 {
		w.signal()
	}
	for n, line := range k.shared {
		if len(line) > 0 {
			w.shared[n] = slices.Clone(line)
		}
	}
	u.wire, u.since, u.tried = w, k.since, true
	if e.options.Node != nil {
		e.options.Node.Linked(w.node, true)
	}
	a.wires[k.number] = w
	if k.active {
		e.active.Store(w)
		for _, h := range e.handlers {
			h.wire = w
		}
	}
	return nil
}

func readUplink(record []byte) (k uplinkRecord, err error) {
	c := codec.Read(record)
	c.Versioned(uplinkVersion, k.fields)
	if err = c.Done(); err != nil {
		err = fmt.Errorf("upstream: %w", err)
	}
	return k, err
}

// Miner takes the next record of ExportMiner, and then the connection fd, whose record
// follows. It goes to the loop l, or, if loops is not nil, to the one of these that its
// channel belongs to. Several goroutines may call for different loops.
func (a *EdgeImporter) Miner(l *netserver.Loop, fd int, r *codec.Codec, loops []*netserver.Loop) error {
	var k minerRecord
	r.Versioned(minerVersion, k.fields)
	if loops != nil {
		l = loops[int(k.id)%len(loops)]
	}
	h := a.edge.handlers[l.Index()]
	slot, isOpen, err := netserver.Import(l, fd, r, a.Listener)
	switch {
	case err != nil:
		return err
	case !isOpen:
		return nil
	case k.id == 0 || int(k.id)%len(a.edge.handlers) != l.Index():
		return fmt.Errorf("miner %d is not one of loop %d", k.id, l.Index())
	}
	m := h.put(slot, edgeMiner{id: k.id, server: uint8(a.Listener(int(k.server))), told: k.told, wire: a.wires[k.wire], past: &k.past})
	if m.wire != nil && !m.wire.sums {
		m.checks = nil
	}
	if m.checks != nil && len(m.checks.sums) > 0 {
		m.checks.listed = true
		h.summing = append(h.summing, slot)
	}
	if m.checks != nil {
		m.checks.said = l.Now().Unix()
	}
	m.watch = h.watch(k.id, l.Remote(slot), k.watched)
	if m.wire != nil {
		h.served(m.wire, 1)
	}
	if m.told != 0 {
		h.told = append(h.told, slot)
	}
	return nil
}

// Complete is called when everything has come.
func (a *EdgeImporter) Complete() {
	e := a.edge
	for _, h := range e.handlers {
		slices.SortFunc(h.told, func(x, y netserver.Slot) int { return cmp.Compare(h.miner(x).told, h.miner(y).told) })
		if h.wire != nil {
			h.walking, h.cursor = true, 0
			h.loop.Wake()
		}
	}
	if e.active.Load() == nil {
		e.lost = time.Now()
	}
}
