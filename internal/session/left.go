package session

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/wire"
)

// leftRecord is what is moved of a client that does not move itself: the shares that other
// pools have still to judge. It hears nothing of them, but they count.
type leftRecord struct {
	client   uint64
	agent    string
	addr     netip.Addr
	port     uint16
	listener uint8
	limit    int
	workers  []heldWorker
	shares   []leftShare
}

// heldWorker is one by its full name that the client holds until its shares are judged.
type heldWorker struct{ name string }

// leftShare is a share with its worker among those, counted from 1 on; 0 is none.
type leftShare struct {
	worker uint32
	unjudgedRecord
}

func (k *leftRecord) fields(c *wire.Codec) {
	wire.Word(c, &k.client)
	c.Text(&k.agent)
	c.Addr(&k.addr)
	wire.Uint(c, &k.port)
	wire.Uint(c, &k.listener)
	wire.Int(c, &k.limit)
	wire.List(c, &k.workers, (*heldWorker).fields)
	wire.List(c, &k.shares, (*leftShare).fields)
	if c.Reading() && (k.client == 0 || len(k.shares) == 0) {
		c.Fail(errors.New("shares of no client"))
	}
}

func (w *heldWorker) fields(c *wire.Codec) {
	if c.Text(&w.name); w.name == "" {
		c.Fail(errors.New("a worker without name"))
	}
}

func (s *leftShare) fields(c *wire.Codec) {
	wire.Uint(c, &s.worker)
	c.Record(s.unjudgedRecord.fields)
}

// leftRecords are those of a loop.
type leftRecords struct{ clients []leftRecord }

func (k *leftRecords) fields(c *wire.Codec) { wire.List(c, &k.clients, (*leftRecord).fields) }

// Left is the record of the shares that wait and whose clients are not among those that
// move; nil if there are none. It is for the loop's goroutine while the loop stands still,
// after Verdicts.
func (e Exporter) Left(h *Handler, moves map[netserver.Slot]bool) []byte {
	var k leftRecords
	for client := range h.unjudged.byClient {
		slot, open := h.byID[client]
		if open && moves[slot] {
			continue
		}
		k.clients = append(k.clients, h.leftBy(client, slot, open))
	}
	if len(k.clients) == 0 {
		return nil
	}
	c := wire.Append(nil)
	c.Versioned(leftVersion, k.fields)
	return c.Written()
}

// leftBy is the record of a client, which is open at a slot or has ended.
func (h *Handler) leftBy(client uint64, slot netserver.Slot, open bool) leftRecord {
	k := leftRecord{client: client}
	var workers []WorkerID
	if l := h.unjudged.leaving[client]; l != nil {
		k.agent, workers = l.agent, l.workers
	}
	if open {
		c := h.client(slot)
		k.agent = h.agents.get(c.s.agent)
		for i := range c.allLogins() {
			workers = append(workers, h.logins.get(i).worker)
		}
	}
	number := map[WorkerID]uint32{}
	for _, w := range workers {
		k.workers = append(k.workers, heldWorker{h.b.Workers.WorkerName(w)})
		number[w] = uint32(len(k.workers))
	}
	for _, r := range h.unjudged.records(client) {
		sh := &h.unjudged.byNumber[r.number].share
		k.addr, k.port, k.listener, k.limit = sh.Remote.Addr(), sh.Remote.Port(), uint8(sh.Listener), sh.Limit
		k.shares = append(k.shares, leftShare{number[sh.Worker], r})
	}
	return k
}

// Left reads what an Exporter's Left has written, once all sessions are there.
func (m *Importer) Left(h *Handler, record []byte) error {
	var k leftRecords
	c := wire.Read(record)
	c.Versioned(leftVersion, k.fields)
	err := c.Done()
	if err == nil && h.b.Sources == nil {
		err = errors.New("they are for other pools")
	}
	if err != nil {
		return fmt.Errorf("shares of clients that do not move: %w", err)
	}
	if len(h.slabs) == 0 { // for a slot that no client has
		h.slabs = append(h.slabs, new([slabSize]session))
	}
	for i := range k.clients {
		m.leftClient(h, &k.clients[i])
	}
	return nil
}

func (m *Importer) leftClient(h *Handler, k *leftRecord) {
	l := &leaving{shares: len(k.shares), agent: k.agent}
	for _, w := range k.workers {
		id := h.b.Workers.ResumeWorker(w.name).Worker
		h.b.Workers.Attach(id, k.client, k.agent, h.t.Now())
		l.workers = append(l.workers, id)
	}
	h.unjudged.leaving[k.client] = l
	for i := range k.shares {
		s := &k.shares[i]
		sh := Share{
			Loop: h.loop, Client: k.client, Remote: netip.AddrPortFrom(k.addr, k.port), Listener: m.Listener(int(k.listener)),
			UserAgent: k.agent, Limit: k.limit,
		}
		if n := int(s.worker); n > 0 && n <= len(l.workers) {
			sh.Worker = l.workers[n-1]
		}
		h.unjudged.adopt(&s.unjudgedRecord, 0, sh)
	}
}
