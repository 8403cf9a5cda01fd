package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// Difficulties of a pool, of a proxy before it, and of a proxy before that one: powers of
// two, whose sums are exact.
const (
	ofPool  = 1.0 / (1 << 31)
	ofProxy = ofPool / 2
	ofInner = ofProxy / 2
)

// connections is how many the instance has ever accepted, its processes taken together.
func (f *faulty) connections() int64 {
	f.t.Helper()
	reply, err := wait.Reply(f.t.Context(), control.Dial(f.sockets(), "", "connector"), "stats")
	var stats control.ConnectorStats
	if err == nil {
		err = json.Unmarshal([]byte(reply), &stats)
	}
	if err != nil {
		f.t.Error(err)
	}
	return stats.Clients.Generated
}

// proxyStats is what is known of the pool above.
type proxyStats struct {
	Accepted   int64 `json:"accepted_count"`
	Refused    int64 `json:"rejected_count"`
	NotSent    int64 `json:"not_sent_count"`
	Unanswered int64 `json:"unanswered_count"`
	Unsendable int64 `json:"unsendable_count"`
	Waiting    int64
}

func (f *faulty) above() proxyStats {
	f.t.Helper()
	reply, err := f.do("proxystats")
	var stats struct{ Proxy []proxyStats }
	if err == nil {
		err = json.Unmarshal([]byte(reply), &stats)
	}
	if err != nil || len(stats.Proxy) != 1 {
		f.t.Fatalf("proxystats: %s, %v", reply, err)
	}
	return stats.Proxy[0]
}

// tally counts accepted shares by whom they are good enough for.
type tally struct {
	mu                 sync.Mutex
	inner, proxy, pool int64 // guarded by mu
}

func (k *tally) answered(hash [32]byte, accepted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := difficulty.OfHash(&hash)
	switch {
	case !accepted:
		return
	case d >= ofPool:
		k.pool++
		fallthrough
	case d >= ofProxy:
		k.proxy++
	}
	k.inner++
}

// A proxy before a proxy before a pool, each a process, of which both proxies are upgraded
// ten times under load, and their new processes killed at every step: miners and pools have
// the connections they had, and of every share all know the same.
func TestProxyUpgrades(t *testing.T) {
	t.Parallel()
	pool := startFaultyPool(t, ofPool)
	proxy := pool.before(ofProxy)
	inner := proxy.before(ofInner)
	all := []*faulty{pool, proxy, inner}
	var accepted, connected [3]int64
	for i, f := range all {
		accepted[i], connected[i] = f.accepted(), f.connections()
	}
	before, beforeInner := proxy.above(), inner.above()
	k := &tally{}
	r, err := bench.Shares(t.Context(), bench.SharesConfig{Options: inner.load(40), Window: 1, Rate: 400, Answered: k.answered,
		During: func(context.Context, func() time.Duration) error {
			for round := range 10 {
				for _, f := range []*faulty{proxy, inner} {
					if round < len(stepsBefore) {
						old := f.pid()
						f.set("new", stepsBefore[round])
						reply, err := f.do("upgrade")
						if _, gone := os.Stat(f.fault); err != nil || !strings.Contains(reply, "errormsg") || gone == nil || f.pid() != old {
							t.Errorf("%s: %q, %v; the proxy is process %d, was %d", stepsBefore[round], reply, err, f.pid(), old)
						}
					}
					f.upgraded()
				}
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	_ = r.Print(&b)
	t.Logf("%s", &b)
	if r.Failed() || r.Rejected > 0 {
		t.Errorf("miners noticed: %s", &b)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, want := range []int64{k.pool, k.proxy, k.inner} {
		more := int64(0)
		if i == 2 {
			more = 40
		}
		if n := all[i].accepted() - accepted[i]; n != want {
			t.Errorf("%d: %d shares accepted, miners have %d", i, n, want)
		}
		if n := all[i].connections() - connected[i]; n != more {
			t.Errorf("%d: %d new connections", i, n)
		}
	}
	for i, f := range []*faulty{proxy, inner} {
		was, want := []proxyStats{before, beforeInner}[i], []int64{k.pool, k.proxy}[i]
		got := f.above()
		if got.Accepted-was.Accepted != want || got.NotSent-was.NotSent != []int64{k.proxy, k.inner}[i]-want ||
			got.Refused+got.Unanswered+got.Unsendable+got.Waiting != 0 {
			t.Errorf("%+v, was %+v; miners have %d", got, was, want)
		}
	}
}

// The old process of a proxy is killed when the new one has everything: that goes on, with
// the connection above.
func TestOldProxyKilled(t *testing.T) {
	t.Parallel()
	pool := startFaultyPool(t, ofPool)
	for _, step := range []string{"complete", "yours", "running"} {
		proxy := pool.before(ofProxy)
		accepted, connected := pool.accepted(), pool.connections()
		before := proxy.accepted()
		old := proxy.first.Process.Pid
		k := &tally{}
		r, err := bench.Shares(t.Context(), bench.SharesConfig{Options: proxy.load(40), Window: 1, Rate: 400, Answered: k.answered,
			During: func(context.Context, func() time.Duration) error {
				proxy.set("old", step)
				_, _ = proxy.do("upgrade") // there may be no reply
				<-proxy.ended
				proxy.await("a new process", func() bool { return proxy.pid() != old })
				pool.mined(1)
				return nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		proxy.unharmed(r, before)
		k.mu.Lock()
		if n := pool.accepted() - accepted; n != k.pool || k.proxy != r.Accepted || pool.connections() != connected {
			t.Errorf("%s: %d shares accepted above, miners have %d; %d new connections", step, n, k.pool, pool.connections()-connected)
		}
		k.mu.Unlock()
	}
}
