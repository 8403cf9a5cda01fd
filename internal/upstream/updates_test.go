package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/source"
)

// numbered is an update of a source, told from others by From.
func numbered(number uint32, from string) source.Update {
	return source.Update{Upstream: &source.Upstream{Source: number}, From: from, Received: time.Now()}
}

// Of each source the newest that was not taken is kept, in the order in which sources
// came, with what the ones before said about blocks.
func TestUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newUpdates()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.run(ctx)
		synctest.Wait()
		first := numbered(1, "1 old")
		first.NewTip, first.Clean = true, true
		q.give(first)
		synctest.Wait() // it is on offer
		q.give(numbered(2, "2"))
		q.give(numbered(3, "3 lost"))
		q.give(numbered(1, "1 new"))
		end := numbered(3, "3 ended")
		end.Ended = true
		q.give(end)
		synctest.Wait()
		want := []string{"1 new true true false", "2 false false false", "3 ended false false true"}
		for _, w := range want {
			u := <-q.out
			if got := fmt.Sprint(u.From, " ", u.NewTip, " ", u.Clean, " ", u.Ended); got != w {
				t.Errorf("%q, want %q", got, w)
			}
			synctest.Wait()
		}
		if len(q.out) != 0 {
			t.Errorf("%v is too many", <-q.out)
		}
	})
}

// Whatever is given, and whoever takes it when: each source's last update comes, updates
// of one source come in order, and nothing is taken twice.
func TestUpdatesAreNotLost(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			q := newUpdates()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go q.run(ctx)
			given, taken := map[uint32]int{}, map[uint32]int{}
			take := func() bool {
				select {
				case u := <-q.out:
					var n int
					fmt.Sscan(u.From, &n)
					if n <= taken[u.Upstream.Source] {
						t.Fatalf("seed %d: update %d of source %d after %d", seed, n, u.Upstream.Source, taken[u.Upstream.Source])
					}
					taken[u.Upstream.Source] = n
					return true
				default:
					return false
				}
			}
			for range 300 {
				switch number := r.Uint32N(4); r.IntN(4) {
				case 0:
					take()
				case 1:
					synctest.Wait()
				default:
					given[number]++
					q.give(numbered(number, fmt.Sprint(given[number])))
				}
			}
			for synctest.Wait(); take(); {
				synctest.Wait()
			}
			for number, n := range given {
				if taken[number] != n {
					t.Fatalf("seed %d: source %d has had %d updates, %d was taken last", seed, number, n, taken[number])
				}
			}
		})
	}
}
