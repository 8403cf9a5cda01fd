package nodework

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/sent"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

const (
	// jobsOfMiner is how many jobs of a miner are kept.
	jobsOfMiner = 24
	// requestsOfMiner is how many requests of a miner wait for an answer of the pool.
	requestsOfMiner = 64
	// workersOfMiner is how many workers one miner may have.
	workersOfMiner = 64
	// maxName is how long a worker's name may be, in bytes, and maxAgent a user agent's.
	maxName  = 256
	maxAgent = 256
)

// loopJobs are what the miners of one loop have in common, which owns it.
type loopJobs struct {
	sent.Loop

	// Of the share under way.
	submit  stratum.Submit
	share   session.Share
	scratch []byte
}

// miner is a relay.Watcher. It is owned by its loop.
type miner struct {
	node   *Node
	loop   int
	client uint64
	remote netip.AddrPort

	agent   string
	sent    sent.Miner
	workers []worker
	waiting []asked // in order
}

type worker struct {
	name string
	id   session.WorkerID
}

// asked is a request that the pool has not answered.
type asked struct {
	id     []byte // raw
	kind   askedKind
	name   string           // whom an authorize is of
	worker session.WorkerID // whose a share is, 0 unknown
	diff   float64          // of a share: that of its job
	found  work.Share       // likewise, if known
	known  bool             // the job
}

type askedKind uint8

const (
	askedSubscribe askedKind = iota + 1
	askedConfigure
	askedAuthorize
	askedSubmit
)

// Watch implements relay.NodeEnd.
func (n *Node) Watch(loop int, id uint32, remote netip.AddrPort, record []byte) relay.Watcher {
	m := &miner{node: n, loop: loop, client: uint64(id), remote: remote}
	if len(record) > 0 {
		m.restore(record)
	}
	return m
}

// Said implements relay.Watcher.
func (m *miner) Said(msg *stratum.Message) {
	if msg.Method == nil {
		return
	}
	method, _ := stratum.SplitMethod(msg.Method)
	a := asked{}
	switch string(method) {
	case "mining.subscribe":
		a.kind = askedSubscribe
		m.agent = firstText(msg.Params, maxAgent)
	case "mining.configure":
		a.kind = askedConfigure
	case "mining.authorize", "mining.authorise", "mining.auth", "login":
		a.kind, a.name = askedAuthorize, firstText(msg.Params, maxName)
	case "mining.submit":
		a.kind = askedSubmit
		m.share(msg.Params, &a)
	default:
		return
	}
	if len(msg.ID) == 0 || len(msg.ID) > 64 {
		return
	}
	if len(m.waiting) >= requestsOfMiner {
		m.forget(0)
	}
	if n := len(m.waiting); n < cap(m.waiting) { // with the memory of one before
		m.waiting = m.waiting[:n+1]
		a.id = m.waiting[n].id[:0]
	} else {
		m.waiting = append(m.waiting, asked{})
	}
	a.id = append(a.id, msg.ID...)
	m.waiting[len(m.waiting)-1] = a
}

// forget removes a request, and keeps the memory of its id for another.
func (m *miner) forget(i int) {
	id, last := m.waiting[i].id, len(m.waiting)-1
	copy(m.waiting[i:], m.waiting[i+1:])
	m.waiting[last] = asked{id: id}
	m.waiting = m.waiting[:last]
}

func firstText(params []byte, most int) string {
	p, _ := stratum.ParseParams(params)
	raw, _ := p.Next()
	text, _ := stratum.String(raw, nil)
	return string(text[:min(len(text), most)])
}

// share computes a share, and has a block submitted at once.
func (m *miner) share(params []byte, a *asked) {
	l := &m.node.loops[m.loop]
	s := &l.submit
	if s.Parse(params, m.sent.Extranonce.Extranonce2Len, l.scratch[:0]) != nil || s.JobIDBad {
		return
	}
	for i := range m.workers {
		if m.workers[i].name == string(s.Worker) {
			a.worker = m.workers[i].id
		}
	}
	j := m.sent.Job(s.JobID, s.Suffix)
	if j == nil {
		return
	}
	a.diff, a.known = j.Difficulty, true
	var coinbase []byte
	if a.found, coinbase = m.sent.Hash(j.Job, s, &l.Loop); a.found.Block {
		m.node.solved(&solved{header: a.found.Header, coinbase: bytes.Clone(coinbase), job: j.ID})
	}
}

func meetsTarget(h *[80]byte) bool {
	target, err := difficulty.TargetFromBits(binary.LittleEndian.Uint32(h[72:]))
	hash := work.HashHeader(h)
	return err == nil && target.MetBy(&hash)
}

// Heard implements relay.Watcher.
func (m *miner) Heard(msg *stratum.Message, shared bool) {
	if msg.Method == nil {
		m.answered(msg)
		return
	}
	m.sent.Heard(msg, shared, &m.node.loops[m.loop].Loop)
}

// answered handles the answer to a request.
func (m *miner) answered(msg *stratum.Message) {
	i := slices.IndexFunc(m.waiting, func(a asked) bool { return bytes.Equal(a.id, msg.ID) })
	if i < 0 {
		return
	}
	a := m.waiting[i] // its id is used again
	m.forget(i)
	accepted := string(msg.Result) == "true" && !msg.HasError()
	switch a.kind {
	case askedSubscribe:
		if x, err := stratum.ParseSubscribeResult(msg.Result); err == nil {
			m.sent.Extranonce = x
			m.sent.Extranonce.Extranonce1 = bytes.Clone(x.Extranonce1)
			m.sent.Jobs = nil
		}
	case askedConfigure:
		if mask, err := stratum.ParseConfigureResult(msg.Result); err == nil {
			m.sent.Mask = mask
		}
	case askedAuthorize:
		if accepted {
			m.authorised(a.name)
		}
	case askedSubmit:
		m.count(&a, msg, accepted)
	}
}

// authorised adds a worker that the pool has let mine.
func (m *miner) authorised(name string) {
	if len(m.workers) >= workersOfMiner || slices.ContainsFunc(m.workers, func(w worker) bool { return w.name == name }) {
		return
	}
	now := time.Now()
	g, refused := m.node.options.Workers.Authorize(&session.Login{
		Time: now, Worker: name, UserAgent: m.agent, Remote: m.remote, Client: m.client, Further: len(m.workers) > 0,
	})
	if refused != nil || g.Undecided {
		return
	}
	m.node.options.Workers.Attach(g.Worker, m.client, m.agent, now)
	m.workers = append(m.workers, worker{name, g.Worker})
}

// count counts a share as the pool has judged it.
func (m *miner) count(a *asked, msg *stratum.Message, accepted bool) {
	sh := &m.node.loops[m.loop].share
	*sh = session.Share{
		Time: time.Now(), Loop: m.loop, Client: m.client, Remote: m.remote, UserAgent: m.agent, Worker: a.worker,
		Hashed: a.known, Computed: a.found, Difficulty: a.diff, Credit: a.diff,
	}
	if !a.known { // it was sent before this process, or cannot be told
		sh.Difficulty, sh.Credit, sh.Computed.Difficulty = m.sent.Difficulty, m.sent.Difficulty, m.sent.Difficulty
	}
	if !accepted {
		sh.Reason, sh.Credit = session.ReasonOf(msg.Verdict()), 0
	}
	m.node.options.Sink.Share(sh)
}

// Left implements relay.Watcher.
func (m *miner) Left() {
	for _, w := range m.workers {
		m.node.options.Workers.Detach(w.id, m.client, m.agent)
	}
	m.workers = nil
}

// minerVersion is that of the record written here; older ones are read.
const minerVersion = 1

// minerRecord is what is moved of a miner. Of its jobs that is the newest.
type minerRecord struct {
	agent          string
	extranonce1    []byte
	extranonce2Len uint8
	mask           uint32
	difficulty     float64
	workers        []string
	waiting        []askedRecord
	jobs           []jobRecord
}

type jobRecord struct {
	sent.Job
	difficulty float64
}

type askedRecord struct {
	id             []byte
	kind           uint8
	name           string
	diff, achieved float64
}

func (k *minerRecord) fields(c *wire.Codec) {
	c.Text(&k.agent)
	c.Bytes(&k.extranonce1)
	wire.Uint(c, &k.extranonce2Len)
	wire.Uint(c, &k.mask)
	wire.Amount(c, &k.difficulty)
	wire.List(c, &k.workers, func(name *string, c *wire.Codec) { c.Text(name) })
	wire.List(c, &k.waiting, (*askedRecord).fields)
	wire.List(c, &k.jobs, (*jobRecord).fields)
}

func (k *jobRecord) fields(c *wire.Codec) {
	wire.Word(c, &k.ID)
	wire.Uint(c, &k.Suffix)
	c.Array(k.Prev[:])
	c.Bytes(&k.Coinb1)
	c.Bytes(&k.Coinb2)
	wire.List(c, &k.Branch, func(hash *[32]byte, c *wire.Codec) { c.Array(hash[:]) })
	wire.Uint(c, &k.Version, &k.Bits)
	wire.Amount(c, &k.difficulty)
}

func (k *askedRecord) fields(c *wire.Codec) {
	c.Bytes(&k.id)
	wire.Uint(c, &k.kind)
	c.Text(&k.name)
	wire.Amount(c, &k.diff, &k.achieved)
}

// Record implements relay.Watcher.
func (m *miner) Record() []byte {
	k := minerRecord{
		agent: m.agent, extranonce1: m.sent.Extranonce.Extranonce1, extranonce2Len: uint8(m.sent.Extranonce.Extranonce2Len), mask: m.sent.Mask, difficulty: m.sent.Difficulty,
	}
	for _, w := range m.workers {
		k.workers = append(k.workers, w.name)
	}
	for _, a := range m.waiting {
		achieved := a.found.Difficulty
		if math.IsInf(achieved, 0) {
			achieved = math.MaxFloat64
		}
		name := a.name
		for _, w := range m.workers {
			if a.worker == w.id {
				name = w.name
			}
		}
		k.waiting = append(k.waiting, askedRecord{a.id, uint8(a.kind), name, a.diff, achieved})
	}
	if n := len(m.sent.Jobs); n > 0 {
		k.jobs = []jobRecord{{*m.sent.Jobs[n-1].Job, m.sent.Jobs[n-1].Difficulty}}
	}
	c := wire.Append(nil)
	c.Versioned(minerVersion, k.fields)
	return c.Written()
}

// restore takes a record of another process. One that cannot be read leaves a new miner,
// whose shares count from its next login on.
func (m *miner) restore(record []byte) {
	var k minerRecord
	c := wire.Read(record)
	c.Versioned(minerVersion, k.fields)
	if c.Done() != nil {
		return
	}
	m.agent, m.sent.Mask, m.sent.Difficulty = k.agent, k.mask, k.difficulty
	m.sent.Extranonce.Extranonce1, m.sent.Extranonce.Extranonce2Len = bytes.Clone(k.extranonce1), int(k.extranonce2Len)
	for _, name := range k.workers[:min(len(k.workers), workersOfMiner)] {
		g := m.node.options.Workers.ResumeWorker(name)
		m.node.options.Workers.Attach(g.Worker, m.client, m.agent, time.Now())
		m.workers = append(m.workers, worker{name, g.Worker})
	}
	for _, r := range k.jobs {
		j := r.Job
		j.Coinb1, j.Coinb2 = bytes.Clone(j.Coinb1), bytes.Clone(j.Coinb2)
		var err error
		if j.Target, err = difficulty.TargetFromBits(j.Bits); err == nil {
			m.sent.Jobs = append(m.sent.Jobs, sent.Given{Job: m.node.loops[m.loop].Intern(&j), Difficulty: r.difficulty, Least: r.difficulty})
		}
	}
	for _, a := range k.waiting[:min(len(k.waiting), requestsOfMiner)] {
		var of session.WorkerID
		for _, w := range m.workers {
			if w.name == a.name {
				of = w.id
			}
		}
		m.waiting = append(m.waiting, asked{
			worker: of, id: bytes.Clone(a.id), kind: askedKind(a.kind), name: a.name, diff: a.diff, known: a.diff > 0, found: work.Share{Difficulty: a.achieved},
		})
	}
}
