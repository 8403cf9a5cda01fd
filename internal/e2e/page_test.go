package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/web"
	"github.com/ckpool/ckpool/stratum/client"
)

// page serves the page of a pool until the test ends, and gives what asks its API.
func (r *running) page() func(path string, into any) int {
	r.t.Helper()
	s, err := web.New(web.Options{Source: r.pool.View(), Curves: r.pool.History(), Config: r.pool.Config, Private: r.pool.Private})
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	client := http.Client{Timeout: patience}
	r.t.Cleanup(client.CloseIdleConnections)
	return func(path string, into any) int {
		r.t.Helper()
		reply, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			r.t.Fatal(err)
		}
		defer reply.Body.Close()
		b, err := io.ReadAll(reply.Body)
		if err == nil && reply.StatusCode == http.StatusOK {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			r.t.Fatalf("%s: %v\n%s", path, err, b)
		}
		return reply.StatusCode
	}
}

// What the API tells of the pool, a user and a worker.
type (
	reasonOf struct {
		Reason string
		Shares int64
	}
	poolPage struct {
		Miners             int64
		Accepted, Rejected struct{ Shares int64 }
		Rejects            []reasonOf
		BestShare          float64 `json:"best_share"`
		BestStart          float64 `json:"best_since_start"`
		BestEver           float64 `json:"best_ever"`
	}
	userPage struct {
		User      string
		Miners    int64
		BestShare float64 `json:"best_share"`
		BestEver  float64 `json:"best_ever"`
	}
	workerPage struct {
		Worker    string
		Connected bool
		Accepted  int64 `json:"accepted_shares"`
		Rejects   []reasonOf
		BestShare float64 `json:"best_share"`
		BestEver  float64 `json:"best_ever"`
	}
)

// Miners count what they are answered, and the page tells the same (duckaxe/bassin#19).
// A list tells what the page of one does (oliverw/miningcore#1333). The best share of the round, since the start
// and ever are three figures, over an upgrade, a block and a restart
// (p2poolv2/p2poolv2#602). Who has left is not there any more (oliverw/miningcore#165).
func TestPageTellsWhatMinersCount(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"logdir": t.TempDir()}}
	p := s.start(t)
	ask := p.page()

	accepted, stale := map[string]int64{}, map[string]int64{}
	best := map[string]float64{}
	hands := map[string]*hand{}
	names := []string{"alice.rig1", "alice.rig2", "bob.rig1"}
	for i, name := range names {
		h := p.connect(t, name)
		hands[name] = h
		j := h.job()
		for range 2 + i {
			share := h.solve(j, targetOf(j))
			if reject := h.submit(share); reject != nil {
				t.Fatal(reject)
			}
			accepted[name]++
			best[name] = max(best[name], share.achieved)
		}
	}
	before := map[string]client.Notify{}
	for _, name := range names {
		before[name] = hands[name].job()
	}
	tip := n.NewBlock()
	for i, name := range names {
		h, old := hands[name], before[name]
		h.jobOn(patience, tip)
		for range i {
			if reject := h.submit(h.solve(old, targetOf(old))); reject == nil {
				t.Fatal("a share on the tip before is accepted")
			}
			stale[name]++
		}
	}

	var pool poolPage
	eventually(t, patience, "all shares", func() bool {
		ask("/api/v1/pool", &pool)
		return pool.Accepted.Shares == 2+3+4 && pool.Rejected.Shares == 0+1+2
	})
	if pool.Miners != 3 || len(pool.Rejects) != 1 || pool.Rejects[0] != (reasonOf{"stale", 3}) {
		t.Errorf("%+v", pool)
	}
	for _, name := range names {
		var w workerPage
		ask("/api/v1/users/"+name[:len(name)-len(".rig1")]+"/workers/"+name, &w)
		var rejects []reasonOf
		if stale[name] > 0 {
			rejects = []reasonOf{{"stale", stale[name]}}
		}
		if w.Accepted != accepted[name] || fmt.Sprint(w.Rejects) != fmt.Sprint(rejects) || !alike(w.BestEver, best[name], 1e-9) || !w.Connected {
			t.Errorf("%s has counted %d and %d refused, best %g; the page says %+v", name, accepted[name], stale[name], best[name], w)
		}
	}

	var list struct{ Items []workerPage }
	var one workerPage
	eventually(t, patience, "list and page of one at the same moment", func() bool {
		ask("/api/v1/users/alice/workers?sort=name", &list)
		ask("/api/v1/users/alice/workers/alice.rig1", &one)
		return len(list.Items) == 2 && fmt.Sprint(list.Items[0]) == fmt.Sprint(one)
	})

	// The best shares.
	top := max(best["alice.rig1"], best["alice.rig2"], best["bob.rig1"])
	three := func(when string, ask func(string, any) int, round, start, ever float64) {
		t.Helper()
		var pool poolPage
		eventually(t, patience, "best shares "+when, func() bool {
			ask("/api/v1/pool", &pool)
			return alike(pool.BestShare, round, 1e-6) && alike(pool.BestStart, start, 1e-6) && alike(pool.BestEver, ever, 1e-6)
		})
	}
	three("at first", ask, top, top, top)
	p = p.upgrade(s)
	ask = p.page()
	three("after an upgrade", ask, top, top, top)
	found := hands["bob.rig1"].findBlock()
	p.block(found.hash, "confirmed 1")
	var u userPage
	ask("/api/v1/users/bob", &u)
	top = max(top, u.BestEver) // which may be the block
	three("in a new round", ask, 0, top, top)
	for _, h := range hands {
		h.client.Close()
	}
	eventually(t, patience, "nobody is there", func() bool {
		ask("/api/v1/pool", &pool)
		ask("/api/v1/users/alice/workers/alice.rig1", &one)
		return pool.Miners == 0 && !one.Connected
	})
	p.stop()
	p = s.start(t)
	ask = p.page()
	eventually(t, patience, "work", func() bool { return ask("/api/v1/pool", &pool) == http.StatusOK })
	if pool.BestShare != 0 || pool.BestStart != 0 { // the best ever is in files as a whole number, see package users
		t.Errorf("after a restart the best share is %g, since the start %g", pool.BestShare, pool.BestStart)
	}
}

// alike tells that two figures are the same but for a part of them.
func alike(a, b, part float64) bool { return math.Abs(a-b) <= part*max(math.Abs(a), math.Abs(b)) }
