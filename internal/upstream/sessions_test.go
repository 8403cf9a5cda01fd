package upstream

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum"
)

// proxy is a Group between pools and real sessions, whose jobs a generator makes. It
// runs in a bubble.
type proxy struct {
	*loop
	t       *testing.T
	group   *Group
	handler *session.Handler
	entries *Entries
	set     *session.Settings
	pools   map[string]*otherpool.Pool // by host
	own     map[string]*ownPool        // likewise

	mu     sync.Mutex
	log    []string
	shares map[session.Reason]int
	went   int // up
}

// loop stands for an event loop. Its goroutine owns the miners.
type loop struct {
	mu     sync.Mutex
	posted []func() // guarded by mu
	wake   chan struct{}

	seats   []*seatedMiner // by slot
	workers map[session.WorkerID]string
}

// seatedMiner is a miner as it understands what it is sent.
type seatedMiner struct {
	name        string
	closed      bool
	session     string // its id
	told        netserver.Reason
	extranonce1 []byte
	extranonce2 int
	rolls       string // answer to mining.configure
	job         stratum.Notify
	from        byte      // of which pool the job is
	since       time.Time // it has had work of that
	reconnect   int       // how often it was asked to
	accepted    int
	refused     int
	sent        int
	hasher      *miner.Hasher
	search      miner.Search
	nonce       uint64
}

// newProxy runs a proxy of some pools, named by one letter each, until the test ends.
func newProxy(t *testing.T, o GroupOptions, pools map[string]*otherpool.Pool, configs ...Config) *proxy {
	t.Helper()
	return newProxyOf(t, o, pools, nil, configs...)
}

// newProxyOf is newProxy, also before pools of ours.
func newProxyOf(t *testing.T, o GroupOptions, pools map[string]*otherpool.Pool, own map[string]*ownPool, configs ...Config) *proxy {
	t.Helper()
	p := &proxy{t: t, pools: pools, own: own, loop: &loop{wake: make(chan struct{}, 1), workers: map[session.WorkerID]string{}}, shares: map[session.Reason]int{}}
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, _ := strings.Cut(address, ".")
		if own := p.own[host]; own != nil {
			return own.Dial(ctx, network, address)
		}
		return p.pools[host].Dial(ctx, network, address)
	}
	o.Events = func(e event.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.log = append(p.log, e.Text)
	}
	for i := range configs {
		configs[i].URL += ".example:3333"
		configs[i].User = "farm"
		if configs[i].VersionMask == 0 {
			configs[i].VersionMask = 0x1fffe000
		}
	}
	var err error
	if p.group, err = NewGroup(configs, o); err != nil {
		t.Fatal(err)
	}
	p.entries = &Entries{Group: p.group, Config: func(u *config.Upstream) Config {
		return Config{URL: u.URL, User: u.User, Weight: u.Weight, VersionMask: 0x1fffe000}
	}}
	made := jobs.New(time.Now())
	g := jobs.NewGenerator(p.group, made, jobs.Options{
		Config: func() *config.Config {
			return &config.Config{UpdateInterval: 30 * time.Second, VersionMask: 0x1fffe000}
		},
		Events:  func(event.Event) {},
		Notice:  func(_, text string) { t.Error(text) },
		OnChain: func(string, address.Network) error { return nil },
		Wake:    func(*session.Work) { p.Post(func() {}) },
		Quiet:   func() {},
	})
	registry := session.NewRegistry(4, 1)
	p.entries.Space = registry.Space
	sessions := session.NewGroup(registry, 1, func(uint64, netserver.Reason) {})
	p.set = &session.Settings{
		PoolName: "ckpool", Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000, UnauthTimeout: time.Minute,
		Listeners: []session.ListenerSettings{{MinDiff: 1e-10, StartDiff: 1e-10}},
	}
	p.handler = session.NewHandler(p, session.Backend{
		Settings: func() *session.Settings { return p.set }, Jobs: made, Workers: p, Sinks: []session.Sink{p},
		Sources: p.group, Block: func(*session.Share) {}, Notice: func(string, string) {},
	}, sessions)
	p.group.Attend(p)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.group.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { p.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return p
}

// run is the loop's goroutine.
func (p *proxy) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-tick.C:
			p.handler.Tick(time.Now())
		}
		for more := true; more; {
			p.loop.mu.Lock()
			posted := p.posted
			p.posted = nil
			p.loop.mu.Unlock()
			for _, fn := range posted {
				fn()
			}
			more = p.handler.Step() || len(posted) > 0
		}
		p.handler.Flush()
		for slot, m := range p.seats {
			if m.reconnect == 1 && !m.closed {
				m.closed = true
				p.handler.Closed(netserver.Slot(slot), netserver.PeerClosed)
				m.reconnect++
				time.Sleep(time.Millisecond) // no miner is back in the same instant, which sessions keep less exactly
				p.again(m)
			}
		}
	}
}

// again is a miner that comes again as it was asked to.
func (p *proxy) again(m *seatedMiner) {
	id := m.session
	if strings.Contains(m.name, "forgets") {
		id = ""
	}
	p.resume(m.name, id, strings.Contains(m.name, "takes"), m.rolls != "")
}

// do has something done on the loop, and waits for it and all that follows at once.
func (p *proxy) do(fn func()) {
	done := make(chan struct{})
	p.Post(func() {
		fn()
		close(done)
	})
	<-done
	synctest.Wait()
}

// enter seats a miner, on the loop.
func (p *proxy) enter(name string, takesExtranonce, rolls bool) *seatedMiner {
	return p.resume(name, "", takesExtranonce, rolls)
}

// resume is enter with the id of the session that the miner had.
func (p *proxy) resume(name, id string, takesExtranonce, rolls bool) *seatedMiner {
	m := &seatedMiner{name: name, hasher: miner.NewHasher()}
	slot := netserver.Slot(len(p.seats))
	p.seats = append(p.seats, m)
	p.handler.Open(slot, netip.AddrPort{}, 0)
	if rolls {
		p.handler.Line(slot, []byte(`{"id":"c","method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}`))
	}
	p.handler.Line(slot, []byte(`{"id":"s","method":"mining.subscribe","params":["miner","`+id+`"]}`))
	p.handler.Line(slot, []byte(`{"id":"a","method":"mining.authorize","params":["`+name+`","x"]}`))
	if takesExtranonce {
		p.handler.Line(slot, []byte(`{"id":"e","method":"mining.extranonce.subscribe","params":[]}`))
	}
	return m
}

// miners seats some, of which every second one takes another extranonce1.
func (p *proxy) miners(n int) {
	p.do(func() {
		for i := range n {
			name := fmt.Sprintf("farm.rig%d", i)
			if i%2 == 1 {
				name += "takes"
			}
			p.enter(name, i%2 == 1, false)
		}
	})
}

// submit has a miner find a share of its job, on the loop.
func (p *proxy) submit(slot int) {
	m := p.seats[slot]
	if m.closed || m.job.JobID == "" {
		return
	}
	extranonce2 := make([]byte, m.extranonce2)
	copy(extranonce2, []byte{byte(m.nonce), byte(m.nonce >> 8)})
	m.nonce++
	m.hasher.Start(&m.search, &m.job, m.extranonce1, extranonce2, m.job.Version)
	target := difficulty.TargetFromDifficulty(p.set.Listeners[0].MinDiff)
	m.hasher.Find(&m.search, &target, 1000)
	m.sent++
	p.handler.Line(netserver.Slot(slot), fmt.Appendf(nil, `{"id":%d,"method":"mining.submit","params":["%s","%s","%x","%08x","%08x"]}`,
		m.sent, m.name, m.job.JobID, extranonce2, m.job.NTime, m.search.Nonce))
}

// mine has every miner find a share.
func (p *proxy) mine() {
	p.do(func() {
		for slot := range p.seats {
			p.submit(slot)
		}
	})
}

// at is how many miners have work of which pool, "gone" those that have left.
func (p *proxy) at() map[string]int {
	at := map[string]int{}
	p.do(func() {
		for _, m := range p.seats {
			switch {
			case m.closed && m.reconnect > 0: // it came again
			case m.closed:
				at["gone"]++
			case m.from == 0:
				at["none"]++
			default:
				at[string(m.from)]++
			}
		}
	})
	return at
}

// told is the lines of the log since the last call that hold some text.
func (p *proxy) told(text string) (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.log {
		if strings.Contains(l, text) {
			lines = append(lines, l)
		}
	}
	p.log = nil
	return lines
}

// sound checks that all that pools were sent is right, and that miners were told what
// pools have said.
func (p *proxy) sound() {
	p.t.Helper()
	synctest.Wait()
	accepted := 0
	for host, pool := range p.pools {
		if pool.Invalid.Load() > 0 {
			p.t.Errorf("pool %s has got wrong shares: %q", host, pool.Faults())
		}
		accepted += int(pool.Accepted.Load())
	}
	heard := 0
	p.do(func() {
		for _, m := range p.seats {
			heard += m.accepted
		}
	})
	if heard != accepted {
		p.t.Errorf("miners were told that %d shares are accepted, pools have accepted %d", heard, accepted)
	}
}

// read takes a line that a miner was sent.
func (m *seatedMiner) read(line []byte, pools map[string]*otherpool.Pool) {
	var msg stratum.Message
	stratum.Scan(line, &msg)
	switch string(msg.Method) {
	case "mining.notify":
		n := stratum.Notify{}
		if n.Parse(msg.Params) == nil {
			m.job = n
			if from := poolOf(&n); from != m.from {
				m.from, m.since = from, time.Now()
			}
		}
	case "mining.set_extranonce":
		params, _ := stratum.ParseParams(msg.Params)
		text, _ := params.Next()
		size, _ := params.Next()
		m.extranonce1, _ = hex.DecodeString(strings.Trim(string(text), `"`))
		fmt.Sscan(string(size), &m.extranonce2)
	case "client.reconnect":
		m.reconnect++
	case "":
		switch id := string(msg.ID); id {
		case `"s"`:
			params, _ := stratum.ParseParams(msg.Result)
			first, _ := params.Next()
			_, m.session, _ = strings.Cut(strings.Trim(string(first), `[]"`), `","`)
			text, _ := params.Next()
			size, _ := params.Next()
			m.extranonce1, _ = hex.DecodeString(strings.Trim(string(text), `"`))
			fmt.Sscan(string(size), &m.extranonce2)
		case `"c"`:
			m.rolls = string(msg.Result)
		case `"a"`, `"e"`:
		default:
			if string(msg.Result) == "true" {
				m.accepted++
			} else {
				m.refused++
			}
		}
	}
}

// poolOf is the letter of the pool that work is of: in these tests it is the first byte
// of the extranonce1 that each gives, four times.
func poolOf(n *stratum.Notify) byte {
	for c := byte('a'); c <= 'd'; c++ {
		if bytes.Contains(n.Coinb1, bytes.Repeat([]byte{c}, 4)) {
			return c
		}
	}
	return '?'
}

// pool is one whose work is known by its letter.
func pool(t *testing.T, letter string, c otherpool.Config) *otherpool.Pool {
	c.Extranonce1 = func(n int) string {
		return hex.EncodeToString([]byte(strings.Repeat(letter, 4) + string([]byte{byte(n), byte(n >> 8)})))
	}
	if c.VersionMask == 0 {
		c.VersionMask = 0x1fffe000
	} else if c.VersionMask == 1 { // none
		c.VersionMask = 0
	}
	return otherpool.New(t, c)
}

// The rest is what sessions need.

func (p *proxy) Every(ctx context.Context) (list []session.Info, err error) {
	done := make(chan []session.Info, 1)
	p.Post(func() {
		var list []session.Info
		for next, more := netserver.Slot(0), true; more; {
			list, next, more = p.handler.Sessions(list, next, func(session.WorkerID) bool { return true })
		}
		done <- list
	})
	select {
	case list = <-done:
		return list, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *proxy) Move(list []session.Move) { p.Post(func() { p.handler.Move(slices.Clone(list)) }) }

func (p *proxy) Post(fn func()) {
	p.loop.mu.Lock()
	p.posted = append(p.posted, fn)
	p.loop.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *proxy) Write(s netserver.Slot, b []byte) {
	for line := range bytes.Lines(b) {
		p.seats[s].read(bytes.TrimSpace(line), p.pools)
	}
}
func (p *proxy) WriteWork(s netserver.Slot, b []byte, _ uint8)   { p.Write(s, b) }
func (p *proxy) WriteShared(s netserver.Slot, b []byte, _ uint8) { p.Write(s, b) }
func (p *proxy) DropWork(netserver.Slot) uint8                   { return 0 }
func (p *proxy) Answered()                                       {}
func (p *proxy) Notified(time.Time)                              {}
func (p *proxy) Authorized(netserver.Slot)                       {}
func (p *proxy) Remote(netserver.Slot) netip.AddrPort {
	return netip.MustParseAddrPort("198.51.100.7:5555")
}
func (p *proxy) Now() time.Time { return time.Now() }
func (p *proxy) Index() int     { return 0 }
func (p *proxy) Close(s netserver.Slot, why netserver.Reason) {
	m := p.seats[s]
	m.closed, m.told = true, why
	p.Post(func() { p.handler.Closed(s, why) })
}

func (p *proxy) Authorize(l *session.Login) (session.Grant, *stratum.Reject) {
	user := userOf(l.Worker)
	w := session.WorkerID(len(p.workers) + 1)
	p.workers[w] = strings.Clone(l.Worker)
	return session.Grant{Worker: w, Name: p.workers[w], User: &session.User{Name: strings.Clone(user)}}, nil
}
func (p *proxy) Attach(session.WorkerID, uint64, string, time.Time) {}
func (p *proxy) Detach(session.WorkerID, uint64, string)            {}
func (p *proxy) WorkerName(w session.WorkerID) string               { return p.workers[w] }
func (p *proxy) ResumeWorker(string) session.Grant                  { return session.Grant{} }
func (p *proxy) Flush(int)                                          {}
func (p *proxy) Share(s *session.Share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares[s.Reason]++
	if user := userOf(p.workers[s.Worker]); s.Upstream != nil && !p.group.Admits(s.Upstream.Source, user) {
		p.t.Errorf("a share of %s is for the account of another user", user)
	}
	if s.WentUp {
		p.went++
	}
}

// userOf is the user of a worker, or of whom a pool knows.
func userOf(worker string) string {
	if i := strings.IndexAny(worker, "._"); i >= 0 {
		return worker[:i]
	}
	return worker
}

// users gives users accounts of their own, at most so many, until the test ends.
func (p *proxy) users(most int) *Accounts {
	a := NewAccounts(p.group, most, nil)
	p.entries.Accounts = a
	p.do(func() { p.set.UserAccounts = true })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	p.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return a
}

// within runs a test in a bubble of time.
func within(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
