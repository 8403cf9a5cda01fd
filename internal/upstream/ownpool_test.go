package upstream

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// ownPool is a pool of ours with one template, in a bubble: jobs, sessions and what is
// credited are the real ones, lines come over a pipe.
type ownPool struct {
	t       *testing.T
	name    string
	updates chan source.Update
	handler *session.Handler
	posted  chan func()
	done    <-chan struct{}

	conns   []net.Conn // by slot; owned by the loop
	running sync.WaitGroup

	mu      sync.Mutex
	book    Tally // guarded by mu, as is the rest
	refused []session.Reason
}

// newOwnPool runs one until the test ends.
func newOwnPool(t *testing.T, name string, difficulty float64) *ownPool {
	t.Helper()
	p := &ownPool{t: t, name: name, updates: make(chan source.Update, 1), posted: make(chan func(), 100)}
	made := jobs.New(time.Now())
	g := jobs.NewGenerator(p, made, jobs.Options{
		Config: func() *config.Config {
			return &config.Config{
				UpdateInterval: 30 * time.Second, PoolTag: name, Nonce1Length: 4, Nonce2Length: 8,
				LogDir: t.TempDir(),
			}
		},
		Payout: jobs.Payout{Rest: jobs.Payee{Name: "btcaddress", Address: "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}},
		Events: func(event.Event) {}, Notice: func(_, text string) { t.Error(text) }, Quiet: func() {},
		OnChain: func(string, address.Network) error { return nil },
		Wake:    func(*session.Work) { p.Post(func() {}) },
	})
	template, err := work.NewTemplate(&work.Parts{
		Height: 850000, Version: 0x20000000, PrevHash: [32]byte{name[0]}, Bits: 0x1d00ffff, CurTime: uint32(time.Now().Unix()), CoinbaseValue: 312500000,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.updates <- source.Update{Template: template, NewTip: true, From: name, Received: time.Now()}
	set := &session.Settings{
		PoolName: name, Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000, UnauthTimeout: time.Minute,
		Listeners: []session.ListenerSettings{{MinDiff: difficulty, StartDiff: difficulty, MaxDiff: difficulty}},
	}
	p.handler = session.NewHandler(p, session.Backend{
		Settings: func() *session.Settings { return set }, Jobs: made, Workers: p, Sinks: []session.Sink{p},
		Block: func(*session.Share) {}, Notice: func(string, string) {},
	}, session.NewGroup(session.NewRegistry(4, 1), 1, func(uint64, netserver.Reason) {}))
	ctx, cancel := context.WithCancel(context.Background())
	p.done = ctx.Done()
	p.running.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	p.running.Go(p.run)
	t.Cleanup(func() {
		cancel()
		p.running.Wait()
	})
	return p
}

// run is the loop's goroutine.
func (p *ownPool) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			for _, c := range p.conns {
				c.Close()
			}
			return
		case fn := <-p.posted:
			fn()
		case <-tick.C:
			p.handler.Tick(time.Now())
		}
		for p.handler.Step() {
		}
		p.handler.Flush()
	}
}

// Dial connects to it.
func (p *ownPool) Dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p.Post(func() {
		slot := netserver.Slot(len(p.conns))
		p.conns = append(p.conns, far)
		p.handler.Open(slot, netip.AddrPort{}, 0)
		p.running.Go(func() {
			lines := bufio.NewScanner(far)
			for lines.Scan() {
				line := bytes.Clone(lines.Bytes())
				p.Post(func() { p.handler.Line(slot, line) })
			}
			p.Post(func() { p.handler.Closed(slot, netserver.PeerClosed) })
		})
	})
	return near, nil
}

func (p *ownPool) Post(fn func()) {
	select {
	case p.posted <- fn:
	case <-p.done:
	}
}

func (p *ownPool) Write(s netserver.Slot, b []byte) {
	if _, err := p.conns[s].Write(b); err != nil { // as a pipe the other end reads at once
		p.conns[s].Close()
	}
}
func (p *ownPool) WriteWork(s netserver.Slot, b []byte, _ uint8)   { p.Write(s, b) }
func (p *ownPool) WriteShared(s netserver.Slot, b []byte, _ uint8) { p.Write(s, b) }
func (p *ownPool) DropWork(netserver.Slot) uint8                   { return 0 }
func (p *ownPool) Answered()                                       {}
func (p *ownPool) Notified(time.Time)                              {}
func (p *ownPool) Authorized(netserver.Slot)                       {}
func (p *ownPool) Remote(netserver.Slot) netip.AddrPort {
	return netip.MustParseAddrPort("198.51.100.7:5555")
}
func (p *ownPool) Now() time.Time                             { return time.Now() }
func (p *ownPool) Index() int                                 { return 0 }
func (p *ownPool) Close(s netserver.Slot, _ netserver.Reason) { p.conns[s].Close() }

func (p *ownPool) Authorize(l *session.Login) (session.Grant, *stratum.Reject) {
	return session.Grant{Worker: 1, Name: strings.Clone(l.Worker), User: &session.User{Name: "farm"}}, nil
}
func (p *ownPool) Attach(session.WorkerID, uint64, string, time.Time) {}
func (p *ownPool) Detach(session.WorkerID, uint64, string)            {}
func (p *ownPool) WorkerName(session.WorkerID) string                 { return "farm" }
func (p *ownPool) ResumeWorker(string) session.Grant                  { return session.Grant{} }

func (p *ownPool) Flush(int) {}

// Share is the pool's book.
func (p *ownPool) Share(s *session.Share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Reason != session.Accepted {
		p.refused = append(p.refused, s.Reason)
		return
	}
	p.book.add(s.Credit)
}

// The rest is what a source of work is.

func (p *ownPool) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
func (p *ownPool) Templates() <-chan source.Update { return p.updates }
func (p *ownPool) Refresh(string)                  {}
func (p *ownPool) Prepare()                        {}
func (p *ownPool) Chain() string                   { return "" }
func (p *ownPool) Usable() bool                    { return true }
func (p *ownPool) Status() []source.Status         { return []source.Status{{URL: p.name, State: "ok"}} }

// One, two and ten unequal miners, whose shares go through sessions of ours to two pools of
// ours with weights of 70 and 30: what those have in their books over an hour is as near to
// the weights as whole miners allow, the status says which part each pool has at a time, and
// what was accepted there is what the books have, to the share.
func TestWeightsOfWholeMiners(t *testing.T) {
	const credit = 5e-10 // two hashes
	for name, tt := range map[string]struct {
		every []time.Duration // between shares of a miner
		off   float64         // of an hour
	}{
		// One goes to and fro: each 10 min at least where it is, which are 1/6 of an hour.
		"1":  {[]time.Duration{time.Second}, 1.0 / 6},
		"2":  {[]time.Duration{time.Second, 3 * time.Second}, 0.055}, // 3/4 and 1/4
		"10": {[]time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 7 * time.Second, 9 * time.Second, 20 * time.Second, 30 * time.Second, 45 * time.Second, time.Minute}, 0.02},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				pools := map[string]*ownPool{"a": newOwnPool(t, "a", credit), "b": newOwnPool(t, "b", credit)}
				p := newProxyOf(t, GroupOptions{}, nil, pools, Config{URL: "a", Weight: 70}, Config{URL: "b", Weight: 30})
				time.Sleep(5 * time.Second)
				p.do(func() {
					p.set.Listeners = []session.ListenerSettings{{MinDiff: credit, StartDiff: credit, MaxDiff: credit}}
					for i := range tt.every {
						p.enter(fmt.Sprintf("farm.rig%d", i), true, false)
					}
				})
				books := func() (a, b float64) {
					for _, k := range pools {
						k.mu.Lock()
						defer k.mu.Unlock()
					}
					return pools["a"].book.Difficulty.Float64(), pools["b"].book.Difficulty.Float64()
				}
				total := 0.0
				for _, d := range tt.every {
					total += 1 / d.Seconds()
				}
				for hour := range 3 {
					a, b := books()
					for second := range 3600 {
						time.Sleep(time.Second)
						p.do(func() {
							for i, d := range tt.every {
								if second%int(d/time.Second) == 0 {
									p.submit(i)
								}
							}
						})
						if second%600 != 599 || hour == 0 {
							continue
						}
						// What the status says of now is what whole miners make.
						at := 0.0
						p.do(func() {
							for i, d := range tt.every {
								if p.seats[i].job.PrevHash == [32]byte{'a'} {
									at += 1 / d.Seconds() / total
								}
							}
						})
						if e := p.entries.Pools(); math.Abs(e[0].Part-at) > 0.03 || math.Abs(e[0].Part+e[1].Part-1) > 1e-9 || e[0].Wanted != 0.7 {
							t.Errorf("hour %d, second %d: the status says %.3f and %.3f of %v, miners make %.3f", hour, second, e[0].Part, e[1].Part, e[0].Wanted, at)
						}
					}
					now, other := books()
					part := (now - a) / (now - a + other - b)
					t.Logf("hour %d: %.3f", hour, part)
					if hour > 0 && math.Abs(part-0.7) > tt.off {
						t.Errorf("hour %d: a has %.3f, wants 0.7", hour, part)
					}
				}
				time.Sleep(time.Minute)
				for i, e := range p.entries.Pools() {
					k := pools[[]string{"a", "b"}[i]]
					k.mu.Lock()
					if got := (Tally{e.Accepted.Shares, e.Accepted.Difficulty}); got != k.book || len(k.refused) > 0 || e.Open != 0 {
						t.Errorf("%s: %v accepted here, %v in the book, refused %v", k.name, got, k.book, k.refused)
					}
					k.mu.Unlock()
				}
			})
		})
	}
}
