package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pools is several scripted servers by address.
type pools map[string]*pool

func (p pools) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if pool := p[address]; pool != nil {
		return pool.dial(ctx, network, address)
	}
	return nil, fmt.Errorf("dial %s: no such host", address)
}

// startGroup runs a group of endpoints a.example.org:1, b.example.org:1, … until the test ends.
func startGroup(t *testing.T, p pools, o Options, names ...string) *Group {
	var endpoints []Endpoint
	for _, n := range names {
		endpoints = append(endpoints, Endpoint{URL: n, User: "bob", Password: "x"})
	}
	o.Dial = p.dial
	g := NewGroup(endpoints, o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if _, open := <-g.Events(); open {
			for range g.Events() {
			}
		}
	})
	return g
}

const ex = "extranonce 7e86026b/8 session s1"

func job(name string, clean bool) string {
	return fmt.Sprintf("notify %s clean=%v diff=0 mask=00000000 en1=7e86026b", name, clean)
}

func TestGroupFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kill := make(chan struct{})
		p := pools{
			"a.example.org:1": newPool(t,
				func(p *peer) {
					time.Sleep(2 * time.Second) // slower than b, and better all the same
					p.welcome("a1")
					<-kill
				},
				func(p *peer) { p.expect(resumed); p.welcomed("a2"); p.send(notifyLine("a3", false)); p.wait() }),
			"b.example.org:1": newPool(t, func(p *peer) {
				p.welcome("b1")
				<-kill
				p.send(`{"params":[7],"id":null,"method":"mining.set_difficulty"}`, notifyLine("b2", false))
				p.wait()
			}),
		}
		g := startGroup(t, p, Options{}, "a.example.org:1", "b.example.org:1")
		expectEvents(t, g.Events(), "active 0", ex, job("a1", true))
		killed := time.Now()
		close(kill)
		e := next(t, g.Events()) // b has work already; a's end and b's new job may come in either order
		for brief(e) != "active 1" {
			if !strings.HasPrefix(brief(e), "failed 0") {
				t.Error(brief(e))
			}
			e = next(t, g.Events())
		}
		if d := time.Since(killed); d != 0 {
			t.Errorf("failover took %v", d)
		}
		// Back to the better one after it has worked for a minute.
		for brief(e) != "active 0" {
			e = next(t, g.Events())
		}
		if d := time.Since(killed); d < time.Minute || d > 70*time.Second {
			t.Errorf("back after %v", d)
		}
		expectEvents(t, g.Events(), ex, job("a3", true))
	})
}

const resumed = `{"id":1,"method":"mining.subscribe","params":["ckpool","s1"]}`

// welcomed is welcome after the subscribe line was read.
func (p *peer) welcomed(jobs ...string) {
	p.t.Helper()
	p.send(`{"result":[[["mining.notify","s1"]],"7e86026b",8],"error":null,"id":1}`)
	p.expect(`{"id":2,"method":"mining.authorize","params":["bob","x"]}`)
	p.send(`{"result":true,"error":null,"id":2}`)
	for _, job := range jobs {
		p.send(notifyLine(job, true))
	}
}

func TestGroupFallsBackAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pools{"b.example.org:1": newPool(t, func(p *peer) { p.welcome("b1"); p.wait() }),
			"c.example.org:1": newPool(t, (*peer).wait)}
		g := startGroup(t, p, Options{}, "c.example.org:1", "b.example.org:1")
		began := time.Now()
		expectEvents(t, g.Events(), "active 1", ex, job("b1", true))
		if d := time.Since(began); d != headStart {
			t.Errorf("took work from the second after %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := pools{"b.example.org:1": newPool(t, func(p *peer) { p.welcome("b1"); p.wait() })}
		g := startGroup(t, p, Options{}, "nowhere.example.org:1", "b.example.org:1")
		began := time.Now()
		expectEvents(t, g.Events(), "failed 0: dial nowhere.example.org:1: no such host",
			"active 1", ex, job("b1", true))
		if d := time.Since(began); d != 0 {
			t.Errorf("waited %v for a pool known to be gone", d)
		}
	})
}

func TestGroupBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGroup(t, pools{}, Options{}, "nowhere.example.org:1")
		last := time.Now()
		for i := range 14 {
			f := next(t, g.Events()).(Failed)
			want := min(time.Duration(i+1)*5*time.Second, time.Minute)
			if f.Retry < want || f.Retry >= want+time.Second {
				t.Errorf("attempt %d is repeated after %v, want %v", i, f.Retry, want)
			}
			if i > 0 && time.Since(last) < 5*time.Second {
				t.Errorf("attempt %d came after %v", i, time.Since(last))
			}
			last = time.Now()
		}
	})
}

func TestGroupReconnect(t *testing.T) {
	reconnect := func(params string) func(*peer) {
		return func(p *peer) {
			p.in.Scan()
			p.welcomed("a1")
			<-time.After(time.Minute)
			p.send(`{"id":null,"method":"client.reconnect","params":[` + params + `]}`)
			p.wait()
		}
	}
	stays := func(job string) func(*peer) {
		return func(p *peer) { p.expect(resumed); p.welcomed(job); p.wait() }
	}
	t.Run("elsewhere", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pools{"a.example.org:1": newPool(t, reconnect(`"b.example.org","2",3`)), "b.example.org:2": newPool(t, stays("b1"))}
			g := startGroup(t, p, Options{}, "a.example.org:1")
			expectEvents(t, g.Events(), "active 0", ex, job("a1", true), "reconnect b.example.org:2",
				"failed 0: pool asked to reconnect")
			asked := time.Now()
			expectEvents(t, g.Events(), "active 0", ex, job("b1", true))
			if d := time.Since(asked); d != 3*time.Second {
				t.Errorf("reconnected after %v", d)
			}
		})
	})
	t.Run("elsewhere, where nobody is", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pools{"a.example.org:1": newPool(t, reconnect(`"b.example.org",2`), stays("a2"))}
			g := startGroup(t, p, Options{}, "a.example.org:1")
			expectEvents(t, g.Events(), "active 0", ex, job("a1", true), "reconnect b.example.org:2",
				"failed 0: pool asked to reconnect")
			gone := "failed 0: stratum+tcp://b.example.org:2: dial b.example.org:2: no such host"
			expectEvents(t, g.Events(), gone, gone, gone, "active 0", ex, job("a2", true))
		})
	})
	t.Run("other domain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pools{"a.example.org:1": newPool(t, func(p *peer) {
				p.welcome("a1")
				p.send(`{"id":null,"method":"client.reconnect","params":["evil.test",1]}`, notifyLine("a2", false))
				p.wait()
			})}
			g := startGroup(t, p, Options{}, "a.example.org:1")
			expectEvents(t, g.Events(), "active 0", ex, job("a1", true), "reconnect evil.test:1", job("a2", false))
		})
	})
	t.Run("redirects ignored", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := pools{"a.example.org:1": newPool(t, reconnect(`"b.example.org",2`), stays("a2"))}
			g := startGroup(t, p, Options{IgnoreRedirects: true}, "a.example.org:1")
			expectEvents(t, g.Events(), "active 0", ex, job("a1", true), "reconnect b.example.org:2",
				"failed 0: pool asked to reconnect", "active 0", ex, job("a2", true))
		})
	})
}

// TestGroupShareGoesToItsPool: a share found after a switch is not sent to the
// pool that never gave the job.
func TestGroupShareGoesToItsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kill := make(chan struct{})
		p := pools{
			"a.example.org:1": newPool(t, func(p *peer) { p.welcome("a1"); <-kill }),
			"b.example.org:1": newPool(t, func(p *peer) { p.welcome("b1"); p.wait() }),
		}
		g := startGroup(t, p, Options{}, "a.example.org:1", "b.example.org:1")
		expectEvents(t, g.Events(), "active 0", ex)
		old := next(t, g.Events()).(Notify)
		close(kill)
		for e := next(t, g.Events()); brief(e) != "active 1"; {
			e = next(t, g.Events())
		}
		if _, err := old.Submit(t.Context(), Share{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestGroupWithoutEndpoints(t *testing.T) {
	if err := NewGroup(nil, Options{}).Run(t.Context()); err == nil {
		t.Error("a group of nothing runs")
	}
}
