package session

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// rig is a handler on a transport that keeps what is written, and a backend
// with a real job builder.
type rig struct {
	answered, notified int       // calls
	since              time.Time // of the last Notified

	testing.TB
	*Handler
	now     time.Time
	group   *Group
	backend *backend
	out     map[netserver.Slot]*strings.Builder
	closed  map[netserver.Slot]netserver.Reason
	block   map[netserver.Slot][]unsent // blocked slots keep their work unsent
	nextID  netserver.Slot
	nonce   uint32
}

type unsent struct {
	text string
	tag  uint8
}

func newRig(t testing.TB, change func(*Settings)) *rig {
	set := &Settings{
		PoolName: "ckpool", Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000,
		Listeners:     []ListenerSettings{{URL: "127.0.0.1:3333", MinDiff: 1e-9, StartDiff: 1e-9}},
		UnauthTimeout: time.Minute,
	}
	if change != nil {
		change(set)
	}
	r := &rig{
		TB: t, now: time.Unix(1795327613, 0), out: map[netserver.Slot]*strings.Builder{},
		closed: map[netserver.Slot]netserver.Reason{}, block: map[netserver.Slot][]unsent{},
	}
	r.backend = newBackend(t, set)
	r.group = NewGroup(NewRegistry(set.Extranonce1Len, 1), 1, func(c uint64, why netserver.Reason) { r.Handler.Drop(c, why, func(int) {}) })
	r.Handler = NewHandler((*transport)(r), r.backend.asBackend(), r.group)
	r.backend.newTip(r.now)
	r.Step()
	return r
}

type transport rig

func (t *transport) builder(s netserver.Slot) *strings.Builder {
	if t.out[s] == nil {
		t.out[s] = &strings.Builder{}
	}
	return t.out[s]
}

func (t *transport) Write(s netserver.Slot, b []byte) { t.builder(s).Write(b) }
func (t *transport) WriteWork(s netserver.Slot, b []byte, tag uint8) {
	if q, blocked := t.block[s]; blocked {
		t.block[s] = append(q, unsent{string(b), tag})
		return
	}
	t.builder(s).Write(b)
}
func (t *transport) WriteShared(s netserver.Slot, b []byte, tag uint8) { t.WriteWork(s, b, tag) }
func (t *transport) DropWork(s netserver.Slot) (tag uint8) {
	for _, u := range t.block[s] {
		tag |= u.tag
	}
	if _, blocked := t.block[s]; blocked {
		t.block[s] = []unsent{}
	}
	return tag
}
func (t *transport) Answered()                                    { t.answered++ }
func (t *transport) Notified(since time.Time)                     { t.notified++; t.since = since }
func (t *transport) Authorized(netserver.Slot)                    {}
func (t *transport) Close(s netserver.Slot, why netserver.Reason) { t.closed[s] = why }
func (t *transport) Remote(netserver.Slot) netip.AddrPort {
	return netip.MustParseAddrPort("198.51.100.7:5555")
}
func (t *transport) Now() time.Time { return t.now }
func (t *transport) Index() int     { return 0 }
func (t *transport) Post(fn func()) { fn() }

// Tick is what a loop does once a second.
func (r *rig) Tick(now time.Time) {
	r.Handler.Tick(now)
	for r.Step() {
	}
}

// open accepts a connection.
func (r *rig) open() netserver.Slot {
	slot := r.nextID
	r.nextID++
	r.Open(slot, netip.AddrPort{}, 0)
	return slot
}

// send gives the handler one line and returns the lines written in answer.
func (r *rig) send(slot netserver.Slot, line string) []string {
	r.Line(slot, []byte(line))
	return r.written(slot)
}

// written takes what was written to the slot.
func (r *rig) written(slot netserver.Slot) []string {
	b := r.out[slot]
	if b == nil || b.Len() == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	b.Reset()
	return lines
}

// want sends a line and compares the answer.
func (r *rig) want(slot netserver.Slot, line string, answer ...string) {
	r.Helper()
	got := r.send(slot, line)
	if strings.Join(got, "\n") != strings.Join(answer, "\n") {
		r.Errorf("%s\n got %q\nwant %q", line, got, answer)
	}
}

// methods shortens lines to what they are: the method, or the result.
func methods(lines []string) (list []string) {
	for _, l := range lines {
		var m stratum.Message
		stratum.Scan([]byte(l), &m)
		switch {
		case string(m.Method) == "mining.set_difficulty":
			list = append(list, "set_difficulty "+strings.Trim(string(m.Params), "[]"))
		case string(m.Method) == "mining.notify":
			var n stratum.Notify
			if err := n.Parse(m.Params); err != nil {
				panic(err)
			}
			list = append(list, fmt.Sprintf("notify %v", n.Clean))
		case m.Method != nil:
			list = append(list, string(m.Method))
		default:
			list = append(list, "reply "+string(m.Result))
		}
	}
	return list
}

func (r *rig) wantMethods(got []string, want ...string) {
	r.Helper()
	if g := methods(got); strings.Join(g, ", ") != strings.Join(want, ", ") {
		r.Errorf("got %q, want %q", g, want)
	}
}

// job is the last job announced in lines.
func lastJob(lines []string) (n stratum.Notify) {
	for _, l := range lines {
		var m stratum.Message
		stratum.Scan([]byte(l), &m)
		if string(m.Method) == "mining.notify" {
			n = stratum.Notify{}
			if err := n.Parse(m.Params); err != nil {
				panic(err)
			}
		}
	}
	return n
}

// miner subscribes and authorizes and returns its slot and what it was sent.
func (r *rig) miner(name string) (netserver.Slot, []string) {
	r.Helper()
	slot := r.open()
	lines := r.send(slot, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}`)
	lines = append(lines, r.send(slot, `{"id":2,"method":"mining.authorize","params":["`+name+`","x"]}`)...)
	if !r.session(slot).is(subscribed | authorised) {
		r.Fatalf("%s is not mining: %q", name, lines)
	}
	return slot, lines
}

// solve finds a share of the job that meets high and, if low > 0, does not meet
// what is harder than it: hash difficulty in [low, high).
func (r *rig) solve(slot netserver.Slot, jobID string, low, high float64) string {
	r.Helper()
	id, suffix, ok := stratum.JobID([]byte(jobID))
	if !ok {
		r.Fatalf("job id %q", jobID)
	}
	job := r.backend.Find(id).Job
	m := r.client(slot).miner()
	found := work.Solution{Variant: suffix, Extranonce2: make([]byte, 8), Time: job.Template.CurTime, Version: job.Version}
	var sh work.Share
	for range 50_000_000 {
		r.nonce++
		found.Nonce = r.nonce
		job.Hash(&sh, &m, &found)
		if difficulty.Meets(&sh.Hash, low) && (high == 0 || !difficulty.Meets(&sh.Hash, high)) {
			return fmt.Sprintf("%08x", found.Nonce)
		}
	}
	r.Fatal("no share found")
	return ""
}

// submitLine is a submit of the given worker, job and nonce.
func submitLine(id int, worker string, n *stratum.Notify, nonce string) string {
	return fmt.Sprintf(`{"id":%d,"method":"mining.submit","params":["%s","%s","0000000000000000","%08x","%s"]}`,
		id, worker, n.JobID, n.NTime, nonce)
}

// backend keeps everything in memory.
type backend struct {
	t          testing.TB
	set        *Settings
	builder    *work.Builder
	work       *Work
	jobs       map[uint64]*Work
	nextJob    uint64
	keepFrom   uint64 // jobs before this one go with the next job
	workers    map[string]WorkerID
	shares     []Share
	blocks     []Share
	notices    []string
	height     int
	refuse     *stratum.Reject
	attached   int
	version    string
	vbrequired uint32

	asks    bool // logins are undecided at first
	tickets map[string]Ticket
	minimum float64 // of every worker
}

func (b *backend) asBackend() Backend {
	return Backend{Settings: b.Settings, Jobs: b, Workers: b, Sinks: []Sink{b}, Block: b.Block, Notice: b.Notice}
}

func newBackend(t testing.TB, set *Settings) *backend {
	b := &backend{
		t: t, set: set, jobs: map[uint64]*Work{}, nextJob: 0x6b02867d00000000,
		workers: map[string]WorkerID{}, tickets: map[string]Ticket{}, height: 850000, version: "536870912",
		builder: &work.Builder{
			Tag: "ckpool", Extranonce1Len: set.Extranonce1Len, Extranonce2Len: set.Extranonce2Len, VersionMask: set.VersionMask,
		},
	}
	if !set.Solo {
		b.builder.PayoutScript = script(t, "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2")
	}
	return b
}

func script(t testing.TB, s string) []byte {
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a.Script()
}

// newTip publishes work on a new previous block; newJob on the same.
func (b *backend) newTip(now time.Time) { b.height++; b.publish(now) }
func (b *backend) newJob(now time.Time) { b.publish(now) }

func (b *backend) publish(now time.Time) {
	b.t.Helper()
	tmpl, err := work.ParseTemplate(fmt.Appendf(nil, `{"version":%s,"previousblockhash":"%064x","transactions":[],"coinbasevalue":312500000,
		"target":"00000000ffff0000000000000000000000000000000000000000000000000000","mintime":%d,"curtime":%d,"bits":"1b0404cb","height":%d,"rules":["csv","!segwit"],"vbrequired":%d}`,
		b.version, b.height, now.Unix(), now.Unix(), b.height, b.vbrequired))
	if err != nil {
		b.t.Fatal(err)
	}
	job, err := b.builder.Job(tmpl, b.nextJob, now, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.nextJob++
	tip := job.ID
	if b.work != nil && b.work.Job.Template.PrevHash == tmpl.PrevHash {
		tip = b.work.Tip
	}
	b.work = &Work{Job: job, Tip: tip}
	b.jobs[job.ID] = b.work
	b.work.Oldest = b.oldest(job.ID)
}

// oldest drops jobs before keepFrom and returns the first that is left.
func (b *backend) oldest(newest uint64) uint64 {
	oldest := newest
	for id := range b.jobs {
		if id < b.keepFrom {
			delete(b.jobs, id)
		} else {
			oldest = min(oldest, id)
		}
	}
	return oldest
}

func (b *backend) Settings() *Settings                        { return b.set }
func (b *backend) Work(uint32) *Work                          { return b.work }
func (b *backend) Newest() *Work                              { return b.work }
func (b *backend) Renew(uint32, uint64)                       {}
func (b *backend) Find(id uint64) *Work                       { return b.jobs[id] }
func (b *backend) Flush(int)                                  {}
func (b *backend) Notice(_, text string)                      { b.notices = append(b.notices, text) }
func (b *backend) Block(s *Share)                             { b.blocks = append(b.blocks, *s) }
func (b *backend) Detach(WorkerID, uint64, string)            { b.attached-- }
func (b *backend) Attach(WorkerID, uint64, string, time.Time) { b.attached++ }

func (b *backend) Share(s *Share) { b.shares = append(b.shares, *s) }

func (b *backend) Authorize(l *Login) (Grant, *stratum.Reject) {
	if b.refuse != nil {
		return Grant{}, b.refuse
	}
	g := Grant{User: &User{Name: userOf(l.Worker)}, Message: "welcome", Minimum: b.minimum}
	if b.asks && l.Verdict == nil {
		b.tickets[strings.Clone(l.Worker)] = l.Ticket
		return Grant{Undecided: true}, nil
	}
	if l.Verdict != nil {
		if l.Verdict.Refused != "" {
			return Grant{}, &stratum.Reject{Code: stratum.Unauthorized, Text: l.Verdict.Refused}
		}
		g.Minimum = l.Verdict.Minimum
	}
	if b.set.Solo {
		a, err := address.Parse(g.User.Name)
		if err != nil {
			return Grant{}, &stratum.Reject{Code: stratum.Unauthorized, Text: "Invalid address"}
		}
		g.User.Payout = a.Script()
	}
	if b.workers[l.Worker] == 0 {
		b.workers[l.Worker] = WorkerID(len(b.workers) + 1)
	}
	g.Worker = b.workers[l.Worker]
	return g, nil
}

func (b *backend) last() Share {
	b.t.Helper()
	if len(b.shares) == 0 {
		b.t.Fatal("no share was counted")
	}
	return b.shares[len(b.shares)-1]
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }
