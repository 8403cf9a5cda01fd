package store

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store/table"
)

// anew computes all rewards anew, and has Verify do it from their files alone.
func (n *network) anew(hashes ...[32]byte) {
	n.t.Helper()
	consistent(n.t, n.s)
	for _, hash := range hashes {
		var b bytes.Buffer
		if _, err := n.s.Reward(n.t.Context(), hash, &b); err != nil {
			n.t.Error(err)
		} else if _, err := rewards.Verify(&b); err != nil {
			n.t.Error(err)
		}
	}
	// Nor do the sums of which jobs are joined make a difference.
	n.t.Cleanup(func() {
		joinAll(n.t, n.s)
		if err := n.s.checkBlocks(context.Background(), func(format string, args ...any) {
			n.t.Errorf("sums are joined: "+format, args...)
		}, func(string, int, int) {}); err != nil {
			n.t.Error(err)
		}
	})
}

// What comes at heights that were rewarded, from a node that stepped back or a pool that
// came late, is nothing of the rewards that were made, which are computed anew as they
// were; it counts in the next ones.
func TestSteppedBack(t *testing.T) {
	for scheme, want := range map[string]string{
		// 6 and 4 of before, 4 of each pool, 8: 30 in all.
		"pplns": "alice immature 800, bob immature 633, carol immature 300, dave immature 267",
		// 4 of each pool, 8: what came after the first block.
		"proportional": "alice immature 600, bob immature 550, carol immature 450, dave immature 400",
	} {
		t.Run(scheme, func(t *testing.T) {
			each(t, func(t *testing.T, where string) { steppedBack(t, where, scheme, "chain -2000, fee immature 0, "+want) })
		})
	}
}

func steppedBack(t *testing.T, where, scheme, want string) {
	n := newNetwork(t, where)
	n.set(SettingScheme, scheme, 0)
	p, q := n.pool(1), n.pool(2)
	p.jobAt(101, 10)
	q.jobAt(101, 10)
	p.share("alice", 4)
	q.share("bob", 4)
	first := p.find("alice", 2, true, out(1000, poolScript))
	p.over()
	q.over()
	n.follow()
	const had = "chain -1000, fee immature 0, alice immature 600, bob immature 400"
	n.has(had)
	n.anew(first)
	// The nodes of both step back, and there is another pool.
	for _, late := range []*toldPool{p, q, n.pool(3)} {
		late.jobAt(101, 10)
		late.share("carol", 3)
		late.share("bob", 1)
	}
	n.follow()
	n.has(had)
	n.anew(first)
	for _, p := range n.pools {
		p.jobAt(102, 10)
	}
	second := q.find("dave", 8, true, out(1000, poolScript))
	for _, p := range n.pools {
		p.over()
	}
	n.follow()
	n.has(want)
	n.anew(first, second)
	// A deep reorganisation takes both away: what was computed is computed anew as it was.
	n.grow(101, 10, 1)
	n.follow()
	n.anew(first, second)
}

// lose sends work whose record nobody stores.
func (p *toldPool) lose() (lost Job) {
	p.now += 30_000_000
	lost, p.job.ID = p.job, p.job.ID+1000
	lost.ID = p.job.ID
	return lost
}

// Shares whose job's record was lost are paid like others: they stand at the height that
// their pool was last known to work at, also single ones of them at the edge of a window,
// and when the record comes after all. They are named.
func TestLostJob(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 20)
		lost := p.lose()
		p.share("alice", 20) // 10 of it are in the window of 50
		p.ntime += 100
		p.share("bob", 30)
		p.ntime -= 100
		p.jobAt(102, 10)
		first := p.find("carol", 10, true, out(1000, poolScript))
		p.over()
		n.follow()
		const had = "chain -1000, fee immature 0, alice immature 200, bob immature 600, carol immature 200"
		n.has(had)
		n.anew(first)
		strays := func(want string, from, to, before int64) {
			t.Helper()
			list, err := n.s.Strays(t.Context(), from, to, before)
			if got := fmt.Sprint(list); err != nil || got != want {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
		}
		const want = "[{pool1 user alice 101 {1 20}} {pool1 user bob 101 {1 30}}]"
		strays(want, 0, 1000, 0)
		strays(want, 101, 101, 0)
		strays("[]", 102, 102, 0)

		// One that is found on lost work is held, since nobody knows of it, and is the miners'
		// when somebody says so.
		p.jobAt(103, 10)
		late := p.lose()
		second := p.find("dave", 50, false, out(1000, poolScript))
		p.jobAt(104, 10)
		p.over()
		n.bury(HoldAfter)
		n.follow()
		n.has("chain -2000, fee immature 0, held 1000, alice immature 200, bob immature 600, carol immature 200")
		if err := n.s.Book(t.Context(), "ann", second, ToMiners); err != nil {
			t.Fatal(err)
		}
		n.follow()
		n.has("chain -2000, fee immature 0, held 0, alice immature 200, bob immature 600, carol immature 200, dave immature 1000")
		n.anew(first, second)

		// Jobs are told of again in later parts of a journal.
		p.tell(&Batch{Jobs: []Job{lost, late}})
		strays("[]", 0, 1000, 0)
		n.follow()
		n.anew(first, second)
	})
}

// withoutJob does something with shares that come without a job, as of a remote that is ckpool
// in C, whose headers' times need not be those of a job here.
func (p *toldPool) withoutJob(do func()) {
	job := p.job
	p.job.ID = 0
	p.ntime -= 5000
	do()
	p.ntime += 5000
	p.job = job
}

// Shares without a job stand where their pool works when they come, also at the edge of a
// window, and may be blocks.
func TestSharesWithoutJob(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.withoutJob(func() { p.share("alice", 20) })
		p.jobAt(102, 10)
		p.share("bob", 50)
		p.jobAt(103, 10)
		p.withoutJob(func() { p.share("alice", 20) })
		first := p.find("bob", 10, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 400, bob immature 600")
		p.jobAt(104, 10)
		second := p.find("carol", 25, true, out(1000, poolScript)) // and 25 of the 30 before it
		p.over()
		n.follow()
		n.has("chain -2000, fee immature 0, alice immature 700, bob immature 800, carol immature 500")
		n.anew(first, second)
		list, err := n.s.Strays(t.Context(), 0, 1000, 0)
		if err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}

		// Its node is a block ahead.
		p.jobAt(105, 10)
		var third [32]byte
		p.withoutJob(func() {
			p.job.Height = 106
			third = p.find("dave", 50, false, out(1000, poolScript))
			n.chain[len(n.chain)-1].NTime = p.ntime
		})
		p.jobAt(106, 10)
		p.over()
		n.bury(HoldAfter)
		n.follow()
		if err := n.s.Book(t.Context(), "ann", third, ToMiners); err != nil {
			t.Fatal(err)
		}
		n.follow()
		n.has("chain -3000, fee immature 0, held 0, alice immature 700, bob immature 800, carol immature 500, dave immature 1000")
		n.anew(first, second, third)
	})
}

// Shares that came before any job are neither lost nor in the way.
func TestLostFirstJob(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.job.ID = 77
		p.share("alice", 20)
		p.jobAt(150, 10)
		p.share("bob", 10)
		hash := p.find("bob", 10, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 500, bob immature 500")
		n.anew(hash)
		list, err := n.s.Strays(t.Context(), 0, 0, 0)
		if err != nil || len(list) != 1 || list[0].Owner != user("alice") || list[0].Count != 1 {
			t.Errorf("%v, %v", list, err)
		}
		consistent(t, n.s)
	})
}

// A reward is not posted if jobs of its heights came after it was computed; of others they
// may come.
func TestStill(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 100)
		p.jobAt(102, 10)
		hash := p.find("alice", 60, true, out(1000, poolScript)) // its window is of height 102 alone
		p.over()
		n.follow()
		still := func(want bool) {
			t.Helper()
			var b poolBlock
			if err := n.s.db.Read(t.Context(), func(tx table.Tx) (err error) {
				b, err = n.s.poolBlock(t.Context(), tx, hash, "")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			c, err := n.s.compute(t.Context(), &b, nil)
			if err != nil {
				t.Fatal(err)
			}
			p.jobAt(p.job.Height, 10)
			if err := n.s.db.Write(t.Context(), func(tx table.Tx) error {
				ok, err := n.s.still(t.Context(), tx, &c)
				if ok != want {
					t.Errorf("still %t after a job of height %d", ok, p.job.Height)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range []struct {
			height int64
			want   bool
		}{{103, true}, {102, false}, {101, true}} {
			p.job.Height = v.height
			still(v.want)
		}
	})
}
