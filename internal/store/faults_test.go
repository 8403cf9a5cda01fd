package store

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/store/table"
)

// A block that is booked to miners leaves the chain before it is rewarded, and comes back:
// what was held comes back first, and the reward takes it.
func TestBookedAndOrphaned(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 50)
		hash := p.find("bob", 50, false, out(1000, poolScript))
		p.over()
		n.bury(HoldAfter)
		n.follow()
		n.has("chain -1000, held 1000")
		if err := n.s.Book(t.Context(), "ann", hash, ToMiners); err != nil {
			t.Fatal(err)
		}
		a := slices.Clone(n.chain)
		n.grow(101, 10, 1)
		n.follow()
		n.has("chain 0, held 0")
		n.chain = a
		n.bury(20)
		n.follow()
		n.follow()
		n.has("chain -1000, fee immature 0, held 0, bob immature 1000")
		consistent(t, n.s)
	})
}

// Of blocks that were rewarded and orphaned together, each is computed anew as it was.
func TestProportionalOrphans(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.set(SettingScheme, "proportional", 0)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 30)
		p.find("bob", 70, true, out(1000, poolScript))
		p.jobAt(102, 10)
		p.share("carol", 10)
		p.find("alice", 30, true, out(1000, poolScript))
		p.over()
		n.follow()
		consistent(t, n.s)
		n.grow(101, 20, 1)
		n.follow()
		consistent(t, n.s)
	})
}

// A correction of a reward follows what it corrects: at maturity, and back where that is
// taken back.
func TestCorrectedReward(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 20)
		hash := p.find("bob", 30, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 400, bob immature 600")
		b := &poolBlock{Place: Place{Hash: hash}}
		list, err := n.s.Ledger(t.Context(), 0, 1)
		if err != nil || list[0].Reference != b.name() {
			t.Fatalf("%+v, %v", list, err)
		}
		if _, err := n.s.Correct(t.Context(), "ann", 1, user("bob"), user("alice"), 100, "x"); err != nil {
			t.Fatal(err)
		}
		n.has("chain -1000, fee immature 0, alice immature 500, bob immature 500")
		a := slices.Clone(n.chain)
		n.bury(101)
		n.follow()
		n.has("chain -1000, fee 0, fee immature 0, alice balance 500, alice immature 0, bob balance 500, bob immature 0")
		n.chain = slices.Clone(a)
		n.grow(101, 200, 1)
		n.follow()
		n.has("chain 0, fee 0, fee immature 0, alice balance 0, alice immature 0, bob balance 0, bob immature 0")
		for number := range int64(3) {
			if _, err := n.s.Correct(t.Context(), "ann", number+1, user("bob"), Owner{}, 7, "x"); err == nil {
				t.Errorf("number %d of an orphaned block is corrected", number+1)
			}
		}
		n.chain = a
		n.bury(300)
		n.follow()
		n.has("chain -1000, fee 0, fee immature 0, alice balance 500, alice immature 0, bob balance 500, bob immature 0")
		// Mature, it is of what is paid from; and a correction that was wrong has its own.
		if _, err := n.s.Correct(t.Context(), "ann", 3, user("alice"), Owner{}, 60, "y"); err != nil {
			t.Error(err)
		}
		if _, err := n.s.Correct(t.Context(), "ann", 2, user("alice"), user("bob"), 40, "z"); err != nil {
			t.Error(err)
		}
		n.has("chain -1000, fee 60, fee immature 0, alice balance 400, alice immature 0, bob balance 540, bob immature 0")
		consistent(t, n.s)
	})
}

// What was corrected of a block that had left the chain and come back goes and comes with it
// again, and is held with it.
func TestCorrectedReturn(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 20)
		p.find("bob", 30, true, out(1000, poolScript))
		p.over()
		n.follow()
		a := slices.Clone(n.chain)
		leave := func(branch byte) {
			t.Helper()
			n.grow(101, 20, branch)
			n.follow()
			n.has("chain 0, fee 0, fee immature 0, alice balance 0, alice immature 0, bob balance 0, bob immature 0")
		}
		n.bury(101)
		n.follow()
		leave(1)
		n.chain = slices.Clone(a)
		n.bury(120)
		n.follow()
		const had = "chain -1000, fee 50, fee immature 0, alice balance 430, alice immature 0, bob balance 520, bob immature 0"
		list, err := n.s.Ledger(t.Context(), 0, 10)
		if err != nil || len(list) != 5 || list[3].Kind != Return || list[4].Kind != Maturity {
			t.Fatalf("%+v, %v", list, err)
		}
		if _, err := n.s.Correct(t.Context(), "ann", 4, user("bob"), user("alice"), 30, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := n.s.Correct(t.Context(), "ann", 5, user("bob"), Owner{}, 50, "y"); err != nil {
			t.Fatal(err)
		}
		n.has(had)
		leave(2)
		n.chain = slices.Clone(a)
		n.bury(30)
		n.follow()
		n.has("chain -1000, fee 0, fee immature 50, alice balance 0, alice immature 430, bob balance 0, bob immature 520")
		n.bury(100)
		n.follow()
		n.has(had)
		consistent(t, n.s)
	})
}

// Blocks below the first that is rewarded were paid elsewhere, and are nobody's alarm.
func TestStart(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.set(SettingStart, "102", 0)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.find("bob", 30, true, out(1000, poolScript))
		p.jobAt(102, 10)
		p.find("bob", 30, true, out(500, poolScript))
		p.over()
		n.follow()
		n.has("chain -500, fee immature 0, bob immature 500")
		if list, err := n.s.Alarms(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		consistent(t, n.s)
	})
}

// A script that somebody says is the pool's counts in blocks that are not rewarded yet,
// and does not make those wrong that are.
func TestScripts(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.find("bob", 30, true, out(1000, poolScript), out(7, []byte{0x51}))
		p.jobAt(102, 10)
		p.find("bob", 30, true, out(500, poolScript), out(7, []byte{0x52}))
		n.follow()
		n.set(SettingScripts, "52", 0)
		p.over()
		n.follow()
		const want = "chain -1507, fee immature 0, bob immature 1507"
		n.has(want)
		n.set(SettingScripts, "51,52", 0)
		n.bury(20)
		n.follow()
		n.has(want)
		consistent(t, n.s)
	})
}

// A pool pays itself elsewhere, and has found a block since, of which ckdb hears behind more
// jobs than it looks through at once: what the block pays is known by its own job.
func TestScriptBehindMany(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		n.follow()
		n.s.jobsAtOnce = 2
		for range 2 * n.s.jobsAtOnce {
			p.jobAt(101, 10)
		}
		p.script = append([]byte{0, 20}, bytes.Repeat([]byte{8}, 20)...)
		p.jobAt(102, 10)
		p.find("bob", 60, true, out(1000, p.script))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 1000")
		consistent(t, n.s)
	})
}

// The records behind those of an older copy of a journal have numbers that lost ones had: what
// pays the pool is looked for in their jobs as well.
func TestScriptOfOlderCopy(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		for range 5 {
			p.jobAt(101, 10)
		}
		p.at.Life = "a"
		change(t, n.s, "update instances set life = 'a'")
		for _, query := range []string{"update jobs set id = id + 1000", "update places set job = job + 1000"} { // ids do not come again
			change(t, n.s, query)
		}
		n.follow()
		start, err := n.s.Begin(t.Context(), p.in, []Epoch{{1, "b"}})
		if err != nil || start.At != (Position{}) || start.Replaced != p.at {
			t.Fatal(start, err)
		}
		p.at = Position{}
		p.script = append([]byte{0, 20}, bytes.Repeat([]byte{8}, 20)...)
		p.jobAt(102, 10)
		hash := p.find("bob", 60, false, out(1000, p.script))
		p.over()
		n.bury(HoldAfter)
		n.follow()
		n.has("chain -1000, held 1000")
		if err := n.s.Book(t.Context(), "ann", hash, ToMiners); err != nil {
			t.Fatal(err)
		}
	})
}

// A journal is stored up to the present between two looks of the follower of the chain, as when
// ckdb was away: it has to look again before it takes a block for one that nobody told of, and
// before it rewards a higher one.
func TestToldMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.set(SettingScheme, "proportional", 0)
		p, q := n.pool(1), n.pool(2)
		p.jobAt(101, 10)
		q.jobAt(101, 10)
		n.bury(1)
		n.follow()
		p.late = true
		p.jobAt(102, 10)
		p.share("alice", 10)
		p.find("bob", 10, true, out(1000, poolScript))
		q.jobAt(103, 10)
		q.find("zoe", 5, true, out(1000, poolScript))
		p.jobAt(103, 10)
		p.over()
		q.over()
		n.between = p.catchUp
		if told := n.follow(); len(told) != 0 {
			t.Errorf("%q", told)
		}
		n.between = nil
		n.has("")
		n.follow()
		n.has("chain -2000, fee immature 0, alice immature 500, bob immature 500, zoe immature 1000")
		if list, err := n.s.Alarms(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		consistent(t, n.s)
	})
}

// The node fails before anything of the chain was stored, and a pool finds another block: that
// of before is looked for as well.
func TestFollowedFromFirst(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.find("bob", 60, true, out(1000, poolScript))
		if _, first, err := n.s.Follow(t.Context()); err != nil || first != 101 {
			t.Fatal(first, err)
		}
		p.jobAt(103, 10)
		p.find("bob", 60, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -2000, fee immature 0, bob immature 2000")
		consistent(t, n.s)
	})
}

// A reward is not posted where a setting, or what became of its block, has changed since
// it was computed; and it is posted once, by whoever comes first.
func TestChangedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		hash := p.find("bob", 60, true, out(1000, poolScript))
		n.follow()
		block := func() (b poolBlock) {
			t.Helper()
			if err := n.s.db.Read(t.Context(), func(tx table.Tx) (err error) {
				b, err = n.s.poolBlock(t.Context(), tx, hash, "")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return b
		}
		b := block()
		c, err := n.s.compute(t.Context(), &b, nil)
		if err != nil {
			t.Fatal(err)
		}
		n.set(SettingFee, "20000", 0)
		if told, err := n.s.postReward(t.Context(), &b, c); err == nil || !strings.Contains(err.Error(), "a setting was changed") {
			t.Errorf("%q, %v", told, err)
		}
		n.has("")
		if c, err = n.s.compute(t.Context(), &b, nil); err != nil {
			t.Fatal(err)
		}
		a := slices.Clone(n.chain)
		n.grow(101, 10, 1)
		n.follow()
		if told, err := n.s.postReward(t.Context(), &b, c); err != nil || told != "" {
			t.Errorf("%q, %v", told, err)
		}
		n.has("")
		n.chain = a
		n.bury(10)
		n.follow()
		b = block()
		for first := range 2 {
			if told, err := n.s.postReward(t.Context(), &b, c); err != nil || (told == "") != (first > 0) {
				t.Errorf("%q, %v", told, err)
			}
		}
		n.has("chain -1000, fee immature 20, bob immature 980")
	})
}

// Where the finder of a solo block mines to the pool's own script, its coins are counted
// once: they are the pool's, and owed to the finder.
func TestSoloToPool(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		const miner = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
		n.set(SettingScripts, "0014751e76e8199196d454941c45d1b3a323f1433bd6", 0)
		p := n.pool(1)
		p.solo = true
		p.jobAt(101, 10)
		script, err := hex.DecodeString("0014751e76e8199196d454941c45d1b3a323f1433bd6")
		if err != nil {
			t.Fatal(err)
		}
		p.find(miner, 7, true, out(1000, script))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, " + miner + " immature 1000")
		consistent(t, n.s)
	})
}

// A pool tells of a block after the chain has it, and was not waited for: it was retired,
// say. Nobody has to book it.
func TestToldLate(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		job := p.job
		hash := p.find("bob", 60, false, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("")
		p.tellOf(hash, job, "bob")
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 1000")
		consistent(t, n.s)
	})
}

// What is held stays so until a person books it, also when a pool tells of it at last.
func TestToldWhenHeld(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		job := p.job
		hash := p.find("bob", 60, false, out(1000, poolScript))
		p.over()
		n.bury(HoldAfter)
		n.follow()
		n.has("chain -1000, held 1000")
		p.tellOf(hash, job, "bob")
		n.follow()
		n.has("chain -1000, held 1000")
		if err := n.s.Book(t.Context(), "ann", hash, ToMiners); err != nil {
			t.Fatal(err)
		}
		n.follow()
		n.has("chain -1000, fee immature 0, held 0, bob immature 1000")
		consistent(t, n.s)
	})
}

// Case 23: solo shares at the block's own height, of the pool that found it, do not count.
func TestSoloAtOwnHeight(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 20)
		p.solo = true // its miner has switched
		p.share("carol", 20)
		p.solo = false
		p.find("bob", 20, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 500, bob immature 500")
		consistent(t, n.s)
	})
}
