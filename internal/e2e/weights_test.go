package e2e

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
)

// parts are the parts of the shares that pools have in their books, and how many there are
// in all.
func parts(pools ...*otherpool.Pool) (list []float64, all float64) {
	for _, p := range pools {
		all += float64(p.Accepted.Load())
	}
	for _, p := range pools {
		list = append(list, float64(p.Accepted.Load())/max(all, 1))
	}
	return list, all
}

// weightedOf is a proxy before pools with weights.
func weightedOf(t *testing.T, weights []float64, pools ...*otherpool.Pool) *running {
	t.Helper()
	var entries []keys
	for i, p := range pools {
		entries = append(entries, keys{"url": p.Addr, "auth": "farm", "pass": "x", "weight": weights[i]})
	}
	const here = aboveDifficulty / 4
	p := proxyOf(keys{"proxy": entries, "mindiff": here, "startdiff": here, "maxdiff": here}).start(t)
	p.works(t)
	type list struct {
		Proxies []struct{ Alive, Active bool }
	}
	eventually(t, patience, "work of all pools", func() bool {
		n := 0
		for _, k := range ask[list](p, "list").Proxies {
			if k.Alive && k.Active {
				n++
			}
		}
		return n == len(pools)
	})
	return p
}

// 100 equal miners are divided as the weights say, by what the pools have in their books,
// and nobody loses its connection. The luck of the shares is allowed for beside the 2 %.
func TestWeightsInTheBooks(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{})
	p := weightedOf(t, []float64{70, 30}, a, b)
	miners := p.mine(t, 50, farmUsers()[:100]...)
	const enough = 2000
	eventually(t, 4*patience, fmt.Sprint(enough, " shares above, in parts of 70 and 30"), func() bool {
		list, all := parts(a, b)
		return all >= enough && math.Abs(list[0]-0.7) <= 0.02+3*math.Sqrt(0.7*0.3/all)
	})
	miners.stop()
	miners.undisturbed()
	list, all := parts(a, b)
	t.Logf("%.0f shares above: %.1f %% and %.1f %%", all, 100*list[0], 100*list[1])
	for _, above := range []*otherpool.Pool{a, b} {
		if above.Invalid.Load() != 0 || len(above.Book()) != 1 || above.Book()["farm"].Difficulty != float64(above.Accepted.Load())*aboveDifficulty {
			t.Errorf("book %v, faults %q", above.Book(), above.Faults())
		}
	}
}

// parasitepool/para#370: one broken miner among 100, all of whose shares the pool refuses.
// Nobody is moved for it, and its refusals are its own.
func TestOneBrokenMiner(t *testing.T) {
	t.Parallel()
	var broken atomic.Pointer[string] // bytes of its own, in hex
	a := otherPool(t, 0xaa, otherpool.Config{RefuseNonce: func(extranonce2 string) string {
		if own := broken.Load(); own != nil && strings.HasPrefix(extranonce2[4:], *own) {
			return "Invalid nonce"
		}
		return ""
	}})
	b := otherPool(t, 0xbb, otherpool.Config{})
	p := proxyOf(nil, a.Addr, b.Addr).start(t)
	p.worksAt(t, a, b)
	var miners []*hand
	for i := range 100 {
		miners = append(miners, p.connect(t, fmt.Sprintf("user%d.rig%d", i%7, i)))
	}
	bad := miners[42]
	own := fmt.Sprintf("%x", bad.job().Extranonce.Extranonce1)
	broken.Store(&own)
	for i, h := range miners {
		if h == bad {
			continue
		}
		h.goesUp(h.job())
		if i%3 == 0 {
			j := bad.job()
			if r := bad.submit(bad.solve(j, targetOf(j))); r == nil || r.Text != "Invalid nonce" {
				t.Errorf("the broken one was told %v", r)
			}
		}
	}
	for _, h := range miners {
		h.connected()
		if j := h.job(); !from(0xaa)(j, time.Time{}) {
			t.Error("a miner was moved")
		}
	}
	if a.Connections.Load() != 1 || b.Accepted.Load() != 0 || a.Accepted.Load() != 99 || a.RefusedFor()["Invalid nonce"] != 33 || a.Invalid.Load() != 0 {
		t.Errorf("%d connections above, %d accepted there and %d at the other, refused for %v, faults %q", a.Connections.Load(), a.Accepted.Load(), b.Accepted.Load(), a.RefusedFor(), a.Faults())
	}
	type list struct {
		Workers []struct {
			Worker   string
			Accepted int            `json:"accepted_shares"`
			Rejects  map[string]int `json:"rejects"`
		}
	}
	for _, w := range ask[list](p, "workers").Workers {
		if w.Worker == "user0.rig42" {
			if w.Accepted != 0 || len(w.Rejects) != 1 || w.Rejects["refused upstream"] != 33 {
				t.Errorf("the broken one: %+v", w)
			}
		} else if w.Accepted != 1 || len(w.Rejects) != 0 {
			t.Errorf("another: %+v", w)
		}
	}
}
