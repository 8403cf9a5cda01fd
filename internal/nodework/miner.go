package nodework

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"ckpool/difficulty"
	"ckpool/internal/relay"
	"ckpool/internal/session"
	"ckpool/internal/wire"
	"ckpool/stratum"
	"ckpool/work"
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

// job is what a miner is sent. Immutable.
type job struct {
	id             uint64
	suffix         uint8
	prev           [32]byte
	coinb1, coinb2 []byte
	branch         [][32]byte
	version, bits  uint32
	target         difficulty.Target
}

// loopJobs are the jobs of the miners of one loop, which owns them.
type loopJobs struct {
	params []byte // of the last line for many
	last   *job   // that it has
	base   *job   // the last without a suffix

	// Of the share under way.
	submit   stratum.Submit
	coinbase []byte
	share    session.Share
	scratch  []byte
}

// read is the job of a mining.notify, nil for one that cannot be read.
func (l *loopJobs) read(params []byte) *job {
	var n stratum.Notify
	if err := n.Parse(params); err != nil {
		return nil
	}
	j := &job{prev: n.PrevHash, coinb1: n.Coinb1, coinb2: n.Coinb2, branch: n.Branch, version: n.Version, bits: n.Bits}
	var ok bool
	if j.id, j.suffix, ok = stratum.JobID([]byte(n.JobID)); !ok {
		return nil
	}
	var err error
	if j.target, err = difficulty.TargetFromBits(n.Bits); err != nil {
		return nil
	}
	l.intern(j)
	return j
}

// intern has a job share what it has in common with the last one of its id.
func (l *loopJobs) intern(j *job) {
	if b := l.base; b != nil && b.id == j.id && slices.Equal(b.branch, j.branch) {
		j.branch = b.branch
		if bytes.Equal(b.coinb2, j.coinb2) {
			j.coinb2 = b.coinb2
		}
	}
	if j.suffix == 0 {
		l.base = j
	}
}

// shared is read of a line that other miners get as well, whose bytes never change: they
// have the same job.
func (l *loopJobs) shared(params []byte) *job {
	if len(params) > 0 && (len(l.params) == 0 || &l.params[0] != &params[0]) {
		l.params, l.last = params, l.read(params)
	}
	return l.last
}

// sent is a job of a miner, with the difficulty that it had then.
type sent struct {
	*job
	difficulty float64
}

// miner is a relay.Watcher. It is owned by its loop.
type miner struct {
	node   *Node
	loop   int
	client uint64
	remote netip.AddrPort

	agent      string
	extranonce stratum.Extranonce
	mask       uint32 // of version bits that it may roll
	difficulty float64
	jobs       []sent // the newest last
	workers    []worker
	waiting    []asked // in order
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
	if s.Parse(params, m.extranonce.Extranonce2Len, l.scratch[:0]) != nil || s.JobIDBad {
		return
	}
	for i := range m.workers {
		if m.workers[i].name == string(s.Worker) {
			a.worker = m.workers[i].id
		}
	}
	for _, j := range slices.Backward(m.jobs) {
		if j.id == s.JobID && j.suffix == s.Suffix {
			a.diff, a.known = j.difficulty, true
			m.hash(j.job, s, a)
			return
		}
	}
}

// hash computes the share of a job.
func (m *miner) hash(j *job, s *stratum.Submit, a *asked) {
	l := &m.node.loops[m.loop]
	coinbase := append(append(l.coinbase[:0], j.coinb1...), m.extranonce.Extranonce1...)
	coinbase = append(append(coinbase, s.Extranonce2[:s.Extranonce2Len]...), j.coinb2...)
	l.coinbase = coinbase
	version := j.version
	if s.HasVersionBits {
		version = version&^m.mask | s.VersionBits
	}
	a.found.Header = header(&headerParts{
		version: version, prev: j.prev, root: work.MerkleRoot(work.HashTransaction(coinbase), j.branch),
		time: s.NTime, bits: j.bits, nonce: s.Nonce,
	})
	a.found.Hash = work.HashHeader(&a.found.Header)
	a.found.Difficulty = difficulty.OfHash(&a.found.Hash)
	if a.found.Block = j.target.MetBy(&a.found.Hash); a.found.Block {
		m.node.solved(&solved{header: a.found.Header, coinbase: bytes.Clone(coinbase), job: j.id})
	}
}

type headerParts struct {
	version           uint32
	prev, root        [32]byte
	time, bits, nonce uint32
}

func header(p *headerParts) (h [80]byte) {
	binary.LittleEndian.PutUint32(h[0:], p.version)
	copy(h[4:], p.prev[:])
	copy(h[36:], p.root[:])
	binary.LittleEndian.PutUint32(h[68:], p.time)
	binary.LittleEndian.PutUint32(h[72:], p.bits)
	binary.LittleEndian.PutUint32(h[76:], p.nonce)
	return h
}

func meetsTarget(h *[80]byte) bool {
	target, err := difficulty.TargetFromBits(binary.LittleEndian.Uint32(h[72:]))
	hash := work.HashHeader(h)
	return err == nil && target.MetBy(&hash)
}

// Heard implements relay.Watcher.
func (m *miner) Heard(msg *stratum.Message, shared bool) {
	switch string(msg.Method) {
	case "":
		m.answered(msg)
	case "mining.notify":
		m.notified(msg.Params, shared)
	case "mining.set_difficulty":
		if d, err := stratum.ParseDifficulty(msg.Params); err == nil {
			m.difficulty = d
		}
	case "mining.set_extranonce":
		if x, err := stratum.ParseExtranonce(msg.Params); err == nil {
			m.extranonce.Extranonce1, m.extranonce.Extranonce2Len = bytes.Clone(x.Extranonce1), x.Extranonce2Len
			m.jobs = nil
		}
	case "mining.set_version_mask":
		if mask, err := stratum.ParseVersionMask(msg.Params); err == nil {
			m.mask = mask
		}
	}
}

// notified takes a job.
func (m *miner) notified(params []byte, shared bool) {
	read := m.node.loops[m.loop].read
	if shared {
		read = m.node.loops[m.loop].shared
	}
	j := read(params)
	if j == nil {
		return
	}
	if n := len(m.jobs); n > 0 && m.jobs[n-1].prev != j.prev {
		m.jobs = m.jobs[:0]
	}
	if len(m.jobs) >= jobsOfMiner {
		m.jobs = slices.Delete(m.jobs, 0, 1)
	}
	m.jobs = append(m.jobs, sent{j, m.difficulty})
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
			m.extranonce = x
			m.extranonce.Extranonce1 = bytes.Clone(x.Extranonce1)
			m.jobs = nil
		}
	case askedConfigure:
		if mask, err := stratum.ParseConfigureResult(msg.Result); err == nil {
			m.mask = mask
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
		sh.Difficulty, sh.Credit, sh.Computed.Difficulty = m.difficulty, m.difficulty, m.difficulty
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
	job
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
	wire.Word(c, &k.id)
	wire.Uint(c, &k.suffix)
	c.Array(k.prev[:])
	c.Bytes(&k.coinb1)
	c.Bytes(&k.coinb2)
	wire.List(c, &k.branch, func(hash *[32]byte, c *wire.Codec) { c.Array(hash[:]) })
	wire.Uint(c, &k.version, &k.bits)
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
		agent: m.agent, extranonce1: m.extranonce.Extranonce1, extranonce2Len: uint8(m.extranonce.Extranonce2Len), mask: m.mask, difficulty: m.difficulty,
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
	if n := len(m.jobs); n > 0 {
		k.jobs = []jobRecord{{*m.jobs[n-1].job, m.jobs[n-1].difficulty}}
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
	m.agent, m.mask, m.difficulty = k.agent, k.mask, k.difficulty
	m.extranonce.Extranonce1, m.extranonce.Extranonce2Len = bytes.Clone(k.extranonce1), int(k.extranonce2Len)
	for _, name := range k.workers[:min(len(k.workers), workersOfMiner)] {
		g := m.node.options.Workers.ResumeWorker(name)
		m.node.options.Workers.Attach(g.Worker, m.client, m.agent, time.Now())
		m.workers = append(m.workers, worker{name, g.Worker})
	}
	for _, r := range k.jobs {
		j := r.job
		j.coinb1, j.coinb2 = bytes.Clone(j.coinb1), bytes.Clone(j.coinb2)
		var err error
		if j.target, err = difficulty.TargetFromBits(j.bits); err == nil {
			m.node.loops[m.loop].intern(&j)
			m.jobs = append(m.jobs, sent{&j, r.difficulty})
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
