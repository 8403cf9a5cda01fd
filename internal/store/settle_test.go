package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// poolScript is that of the pools' outputs.
var poolScript = append([]byte{0, 20}, bytes.Repeat([]byte{7}, 20)...)

// network is pools that tell of their work, and a chain that is made up.
type network struct {
	t     testing.TB
	s     *Store
	pools map[byte]*toldPool
	n     uint32       // of shares and blocks
	chain []ChainBlock // from height base on

	between func() // what happens after the chain was taken over and before that is settled; nil: nothing
}

const base = 100

// toldPool is a pool's journal.
type toldPool struct {
	*network
	in     Instance
	at     Position
	clock  int64 // microseconds that its clock is ahead
	now    int64
	job    Job
	solo   bool
	script []byte // of its jobs' outputs; nil: poolScript
	above  []byte // of another pool's output, which has made the coinbases of its jobs; nil: it makes its own
	ntime  uint32
	queued []*Batch // of batches that are kept back
	late   bool     // they are
}

func newNetwork(t testing.TB, where string) *network {
	n := &network{t: t, s: open(t, where), pools: map[byte]*toldPool{}}
	n.grow(base, 1, 0)
	return n
}

func (n *network) pool(number byte) *toldPool {
	n.t.Helper()
	p := n.pools[number]
	if p == nil {
		p = &toldPool{network: n, in: instance(number), now: started, ntime: uint32(started / 1_000_000)}
		if _, err := n.s.Register(n.t.Context(), p.in); err != nil {
			n.t.Fatal(err)
		}
		n.pools[number] = p
	}
	return p
}

// grow puts blocks on the chain from a height on, of a branch of that name.
func (n *network) grow(from, count int64, branch byte) {
	n.chain = n.chain[:max(from-base, 0)]
	for h := from; h < from+count; h++ {
		n.put(madeUp(h, branch), coinbase(h, out(50, []byte{0x51})))
	}
}

func madeUp(height int64, branch byte) (hash [32]byte) {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte{branch}, uint64(height)))
}

func (n *network) put(hash [32]byte, coinbase []byte) {
	b := ChainBlock{Place: Place{base + int64(len(n.chain)), hash}, Coinbase: coinbase}
	if len(n.chain) > 0 {
		b.Previous = n.chain[len(n.chain)-1].Hash
	}
	b.NTime = uint32(started / 1_000_000)
	n.chain = append(n.chain, b)
}

func out(value int64, script []byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(value)), byte(len(script))), script...)
}

// coinbase is a serialised one.
func coinbase(height int64, outputs ...[]byte) []byte {
	b := append([]byte{1, 0, 0, 0, 1}, make([]byte, 32)...)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(height))
	b = append(b, 0xff, 0xff, 0xff, 0xff, byte(len(outputs)))
	return append(append(b, bytes.Join(outputs, nil)...), 0, 0, 0, 0)
}

// tell applies a batch, or keeps it back.
func (p *toldPool) tell(b *Batch) {
	p.t.Helper()
	b.Instance, b.From = p.in.ID, p.at
	p.at.Epoch = max(p.at.Epoch, 1)
	p.at.Number++
	b.To, b.At = p.at, p.now+p.clock
	for i := range b.Jobs {
		b.Jobs[i].Number = p.at.Number
	}
	for i := range b.Shares {
		b.Shares[i].Number = p.at.Number
	}
	if p.late {
		p.queued = append(p.queued, b)
		return
	}
	apply(p.t, p.s, b)
}

// catchUp tells what was kept back.
func (p *toldPool) catchUp() {
	p.t.Helper()
	for _, b := range p.queued {
		apply(p.t, p.s, b)
	}
	p.queued, p.late = nil, false
}

// jobAt sends the pool's miners work of a height.
func (p *toldPool) jobAt(height int64, network float64) {
	p.t.Helper()
	p.now += 30_000_000
	parts := work.Parts{Height: height, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: p.ntime, CoinbaseValue: 1000}
	if p.above != nil {
		parts.CoinbaseValue, parts.Coinbase = 0, given(height, p.above)
	}
	tmpl, err := work.NewTemplate(&parts)
	if err != nil {
		p.t.Fatal(err)
	}
	b := work.Builder{Tag: "ckpool", PayoutScript: poolScript, Extranonce1Len: 4, Extranonce2Len: 8}
	if p.script != nil {
		b.PayoutScript = p.script
	}
	if p.solo {
		b.PayoutScript = nil
	}
	j, err := b.Job(tmpl, uint64(p.at.Number+1), time.UnixMicro(p.now+p.clock), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	record, err := (&work.JobWriter{WithoutTransactions: true}).Append(nil, j)
	if err != nil {
		p.t.Fatal(err)
	}
	p.job = Job{ID: uint64(p.at.Number + 1), Height: height, Difficulty: difficulty.ExactOf(network), NTime: p.ntime, Created: p.now + p.clock, Record: record, Reward: 1000}
	p.tell(&Batch{Jobs: []Job{p.job}})
}

// given is a coinbase of another pool, whose extranonce1 is one byte, with room for 12 more.
func given(height int64, script []byte) *work.GivenCoinbase {
	head := append([]byte{1, 0, 0, 0, 1}, make([]byte, 32)...)
	head = append(head, 0xff, 0xff, 0xff, 0xff, 3+1+12, 2, byte(height), byte(height>>8), 0xee)
	tail := append([]byte{0xff, 0xff, 0xff, 0xff, 1}, out(1000, script)...)
	return &work.GivenCoinbase{Head: head, Tail: append(tail, 0, 0, 0, 0)}
}

// share is accepted; its hash begins with that of a block which it may be.
func (p *toldPool) share(name string, credit float64, hash ...byte) Share {
	p.t.Helper()
	p.now += 1000
	p.n++
	v := Share{Received: p.now + p.clock, NTime: p.ntime, Job: p.job.ID, Credit: difficulty.ExactOf(credit), Achieved: difficulty.ExactOf(credit * float64(1+p.n%1000) * 7)}
	binary.BigEndian.PutUint32(v.Hash[:], p.n)
	copy(v.Hash[:], hash)
	if p.solo {
		v.Scheme = 1
	}
	kind := User
	if strings.HasPrefix(name, "bcrt1") {
		kind = Address
	}
	p.tell(&Batch{Shares: []Share{v}, Workers: []Worker{{kind, name, "rig"}}, Agents: []string{"x"}})
	return v
}

// find finds a block: the share, the pool's word, and the block on the chain.
func (p *toldPool) find(name string, credit float64, told bool, outputs ...[]byte) (hash [32]byte) {
	p.t.Helper()
	p.n++
	hash = sha256.Sum256(binary.BigEndian.AppendUint32(nil, p.n))
	p.share(name, credit, hash[:16]...)
	if told {
		p.tellOf(hash, p.job, name)
	}
	p.grow(base+int64(len(p.chain)), p.job.Height-base-int64(len(p.chain)), 0)
	p.put(hash, coinbase(p.job.Height, outputs...))
	return hash
}

// tellOf tells of a block that somebody has found.
func (p *toldPool) tellOf(hash [32]byte, j Job, name string) {
	p.t.Helper()
	p.tell(&Batch{Blocks: []Block{{Hash: hash, Height: j.Height, Job: j.ID, Worker: 0, Difficulty: j.Difficulty, Reward: 1000, Found: p.now + p.clock}},
		Workers: []Worker{{User, name, "rig"}}})
}

// over tells that the pool works at the next height for a while.
func (p *toldPool) over() {
	p.t.Helper()
	p.jobAt(p.job.Height+1, p.job.Difficulty.Float64())
	p.now += 2 * settleAfter.Microseconds()
	p.tell(&Batch{})
}

// follow takes the chain over as a follower does, and settles.
func (n *network) follow() (told []string) {
	n.t.Helper()
	ctx := n.t.Context()
	for {
		kept, first, err := n.s.Follow(ctx)
		if err != nil {
			n.t.Fatal(err)
		}
		fork, top := Place{Height: first - 1}, Place{}
		if len(kept) > 0 {
			top = kept[0]
			i := slices.IndexFunc(kept, func(p Place) bool {
				return p.Height < base+int64(len(n.chain)) && n.chain[p.Height-base].Hash == p.Hash
			})
			if fork = (Place{Height: kept[len(kept)-1].Height - 1}); i >= 0 {
				fork = kept[i]
			}
		}
		if first == nowhere || fork.Height+1 >= base+int64(len(n.chain)) {
			break
		}
		from := fork.Height + 1 - base
		if err := n.s.Advance(ctx, top, fork, n.chain[from:min(from+20, int64(len(n.chain)))]); err != nil {
			n.t.Fatal(err)
		}
	}
	if n.between != nil {
		n.between()
	}
	told, err := n.s.Settle(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return told
}

// bury mines on top.
func (n *network) bury(count int64) { n.grow(base+int64(len(n.chain)), count, 0) }

func (n *network) set(name, value string, height int64) {
	n.t.Helper()
	if _, err := n.s.Set(n.t.Context(), Setting{Name: name, Value: value, Height: height, By: "ann"}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) has(want string) {
	n.t.Helper()
	if got := balances(n.t, n.s); got != want {
		n.t.Errorf("has  %s\nwant %s", got, want)
	}
}

func (n *network) state(hash [32]byte) Fate {
	n.t.Helper()
	list, err := n.s.PoolBlocks(n.t.Context(), 0)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, b := range list {
		if b.Hash == hash {
			return b.State
		}
	}
	return ""
}

// A block is rewarded from the window before it, held until it is mature, and then
// balance. The window is cut in the middle of a share.
func TestSettle(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		n.set(SettingFee, "10000", 0)
		p.jobAt(101, 10)
		p.share("alice", 40) // 10 of it are in the window of 50
		p.share("bob", 15)
		p.jobAt(102, 10)
		p.share("bob", 5)
		hash := p.find("alice", 20, true, out(900, poolScript), out(77, []byte{0x51}), out(100, poolScript), out(0, []byte{0x6a}))
		p.share("carol", 1000) // after the block
		n.follow()
		if n.state(hash) != InChain {
			t.Errorf("%s", n.state(hash))
		}
		n.has("") // the journal is not past it
		p.over()
		n.follow()
		// 1000 less 1 %: 990 for 30 and 20 of 50.
		const immature = "chain -1000, fee immature 10, alice immature 594, bob immature 396"
		n.has(immature)
		n.bury(99)
		n.follow()
		n.has(immature)
		n.bury(1)
		n.follow()
		if n.state(hash) != Mature {
			t.Errorf("%s with 101 confirmations", n.state(hash))
		}
		n.has("chain -1000, fee 10, fee immature 0, alice balance 594, alice immature 0, bob balance 396, bob immature 0")
		before := money(t, n.s)
		for range 3 {
			if told := n.follow(); len(told) != 0 {
				t.Errorf("%q", told)
			}
		}
		if money(t, n.s) != before {
			t.Error("posted again")
		}
		consistent(t, n.s)

		var file bytes.Buffer
		r, err := n.s.Reward(t.Context(), hash, &file)
		if err != nil || r.Window.Cut == nil || r.Window.Cut.Kept.String() != "10" {
			t.Fatalf("%+v, %v", r, err)
		}
		if v, err := rewards.Verify(&file); err != nil || v.Fee != 10 || len(v.Credits) != 2 {
			t.Errorf("%+v, %v", v, err)
		}
		// A setting for what is rewarded is refused.
		if _, err := n.s.Set(t.Context(), Setting{Name: SettingFee, Value: "0", Height: 102, By: "ann"}); err == nil {
			t.Error("the fee was changed of a block that is rewarded")
		}
		n.set(SettingFee, "0", 103)
		consistent(t, n.s)
	})
}

// One satoshi more or less than the coinbase pays the pool is told, wherever it is wrong.
func TestCheckOfBlocks(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 40)
		hash := p.find("alice", 20, true, out(1000, poolScript))
		p.over()
		n.follow()
		name := work.FormatHash(hash)
		for what, tt := range map[string]struct {
			do, undo string
			want     []string
		}{
			"value": {"update chain_blocks set value = 999", "update chain_blocks set value = 1000", []string{
				"chain: the coinbase of block " + name + " pays the pool 1,000 satoshis, stored are 999",
				"ledger: block " + name + " pays the pool 999 satoshis, its reward is of 1,000",
				"rewards: block " + name + ", immature user alice: computed as 999 satoshis, posted as 1,000"}},
			"not rewarded": {"update chain_blocks set rewarded = 0", "update chain_blocks set rewarded = 1", []string{
				"ledger: block " + name + " is rewarded: false, posted of it: 1 reward"}},
		} {
			change(t, n.s, tt.do)
			got, err := n.s.Check(t.Context(), nil)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q, %v, want %q", what, got, err, tt.want)
			}
			change(t, n.s, tt.undo)
			consistent(t, n.s)
		}
		// What reads the ledger for commands.
		posted, err := n.s.PostedRewards(t.Context())
		if r := posted[hash]; err != nil || len(posted) != 1 || r != (PostedReward{Number: 1, Credited: 1000, Accounts: 1}) {
			t.Errorf("%+v, %v", posted, err)
		}
		list, err := n.s.OfBlock(t.Context(), hash)
		if err != nil || len(list) != 1 || list[0].Kind != Reward {
			t.Errorf("%+v, %v", list, err)
		}
		sums, err := n.s.WorkAt(t.Context())
		if err != nil || sums[101].String() != "60" || len(sums) != 1 {
			t.Errorf("%v, %v", sums, err)
		}
	})
}

// A block that is rewarded while the blocks are looked at is no difference.
func TestCheckWhileRewarded(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 40)
		hash := p.find("alice", 20, true, out(1000, poolScript))
		n.follow()
		done := false
		got, err := n.s.Check(t.Context(), func(what string, _, _ int) {
			if what == "rewards" && !done {
				done = true
				p.over()
				n.follow()
			}
		})
		if posted, e := n.s.PostedRewards(t.Context()); e != nil || posted[hash].Credited != 1000 {
			t.Fatalf("nothing was rewarded meanwhile: %v, %v", posted, e)
		}
		if err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// 11: a block that no pool told of raises an alarm, and its money is held until somebody
// books it, once.
func TestCase11(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 30)
		p.share("bob", 15)
		first := p.find("bob", 5, false, out(1000, poolScript))
		p.jobAt(102, 10)
		second := p.find("bob", 5, false, out(500, poolScript), out(9, []byte{0x51}))
		if told := n.follow(); len(told) != 0 {
			t.Errorf("held before the journal was there: %q", told)
		}
		p.over()
		n.bury(3)
		if told := n.follow(); len(told) != 0 {
			t.Errorf("held with 5 confirmations: %q", told)
		}
		n.bury(1)
		if told := n.follow(); len(told) != 1 || !strings.Contains(told[0], work.FormatHash(first)) || !strings.Contains(told[0], "1,000 satoshis") {
			t.Errorf("%q", told)
		}
		n.bury(1)
		if told := n.follow(); len(told) != 1 || !strings.Contains(told[0], work.FormatHash(second)) {
			t.Errorf("%q", told)
		}
		n.has("chain -1500, held 1500")
		n.bury(101)
		n.follow()
		n.has("chain -1500, held 1500") // mature, and still nobody's
		if list, err := n.s.Alarms(t.Context()); err != nil || len(list) != 2 || list[0].Ended != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		for _, err := range []error{
			n.s.Book(t.Context(), "", first, ToMiners), n.s.Book(t.Context(), "ann", first, "me"), n.s.Book(t.Context(), "ann", [32]byte{1}, ToMiners),
		} {
			if err == nil {
				t.Error("booked")
			}
		}
		for hash, to := range map[[32]byte]Booking{first: ToMiners, second: ToPool} {
			if err := n.s.Book(t.Context(), "ann", hash, to); err != nil {
				t.Fatal(err)
			}
			if err := n.s.Book(t.Context(), "ann", hash, to); err == nil {
				t.Error("booked twice")
			}
		}
		n.follow()
		n.follow()
		n.has("chain -1500, fee 500, fee immature 0, held 0, alice balance 600, alice immature 0, bob balance 400, bob immature 0")
		if list, err := n.s.Audit(t.Context(), 0); err != nil || len(list) != 2 || list[0].By != "ann" || list[0].What != "book" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := n.s.Alarms(t.Context()); err != nil || list[0].Ended == 0 || list[1].Ended == 0 {
			t.Errorf("%+v, %v", list, err)
		}
		if r, err := n.s.Reward(t.Context(), second, nil); err == nil || !strings.Contains(err.Error(), "booked to the pool") {
			t.Errorf("divided: %+v, %v", r, err)
		}
		consistent(t, n.s)
	})
}

// 12: a block waits for the journals of all instances and for lower blocks. One that does
// not come back is retired, one that cannot be rewarded passed, by name.
func TestCase12(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		a, b := n.pool(1), n.pool(2)
		a.jobAt(101, 10)
		b.jobAt(101, 10)
		a.share("alice", 10)
		b.late = true // from here on, for 10 minutes
		b.share("bob", 30)
		lower := b.find("bob", 10, true, out(400, poolScript))
		a.jobAt(102, 10)
		b.jobAt(102, 10)
		hash := a.find("alice", 20, true, out(1000, poolScript))
		a.over()
		a.now += 600_000_000
		a.tell(&Batch{})
		if told := n.follow(); len(told) != 0 || n.state(hash) != InChain || n.state(lower) != InChain {
			t.Errorf("%q, %s, %s", told, n.state(hash), n.state(lower))
		}
		n.has("")
		b.over()
		n.follow()
		n.has("")
		b.catchUp()
		n.follow()
		// 400 for 50: all there is. 1000 for the newest 50 of 70: at height 102 alice's 20; at 101
		// the oldest is bob's 30, which is at 3/4 of its instance's work, and cut to 10. Then
		// come alice's 10 and bob's 10.
		n.has(fmt.Sprintf("chain -1400, fee immature 0, alice immature %d, bob immature %d", 400*10/50+1000*30/50, 400*40/50+1000*20/50))
		consistent(t, n.s)

		c := n.pool(3)
		c.jobAt(103, 10) // and is never heard of again
		last := a.find("alice", 50, true, out(50, poolScript))
		a.over()
		b.over()
		n.follow()
		if list, err := n.s.Awaited(t.Context(), 103); err != nil || len(list) != 1 || list[0].Name != "pool3" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, _ := n.s.PoolBlocks(t.Context(), 1); list[0].Hash != last || list[0].Rewarded != 0 {
			t.Errorf("%+v", list)
		}
		n.set(SettingRetired, fmt.Sprintf("%x", c.in.ID), 0)
		n.follow()
		if list, _ := n.s.PoolBlocks(t.Context(), 1); list[0].Rewarded == 0 {
			t.Errorf("%+v", list)
		}
		consistent(t, n.s)
	})
}

// A block that cannot be rewarded keeps those above it back until it is passed by name.
func TestPass(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		first := p.find("alice", 20, true, out(400, poolScript))
		p.jobAt(102, 10)
		second := p.find("bob", 60, true, out(1000, poolScript))
		p.over()
		n.chain[1] = ChainBlock{Place: Place{101, madeUp(101, 9)}, Previous: n.chain[0].Hash, Coinbase: coinbase(101, out(1, []byte{0x51}))}
		n.chain[2].Previous = n.chain[1].Hash
		n.follow()
		if n.state(first) != New || n.state(second) != InChain {
			t.Errorf("%s, %s", n.state(first), n.state(second))
		}
		n.has("")
		if err := n.s.Pass(t.Context(), "ann", first); err != nil {
			t.Fatal(err)
		}
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 1000")
		consistent(t, n.s)
	})
}

// 14 and 15: the chain goes to another branch for 120 blocks, after maturity, and comes
// back. What was posted is taken back once and posted again once; in the end the ledger
// has what one has that was never reorganised. What was paid meanwhile is a debt.
func TestCase14(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		n.set(SettingFee, "20000", 0)
		p.jobAt(101, 10)
		p.share("alice", 30)
		hash := p.find("bob", 20, true, out(1000, poolScript))
		p.over()
		n.bury(110)
		n.follow()
		const mature = "chain -1000, fee 20, fee immature 0, alice balance 588, alice immature 0, bob balance 392, bob immature 0"
		n.has(mature)
		a := slices.Clone(n.chain)

		n.grow(101, 5, 1) // not deep enough
		n.follow()
		if n.state(hash) != Mature {
			t.Errorf("%s", n.state(hash))
		}
		n.has(mature)
		n.grow(106, 115, 1)
		n.follow()
		if n.state(hash) != IsOrphan {
			t.Errorf("%s", n.state(hash))
		}
		const nothing = "chain 0, fee 0, fee immature 0, alice balance 0, alice immature 0, bob balance 0, bob immature 0"
		n.has(nothing)
		consistent(t, n.s)

		n.chain = slices.Clone(a)
		n.bury(20)
		n.follow()
		n.follow()
		n.has(mature)
		// Once more, and alice was paid already.
		if _, err := n.s.Post(t.Context(), Transaction{Kind: Payout, Reference: "payment 1", Entries: []Entry{{Balance, user("alice"), -588}, {Chain, Owner{}, 588}}}); err != nil {
			t.Fatal(err)
		}
		n.grow(101, 150, 2)
		n.follow()
		n.has("chain 588, fee 0, fee immature 0, alice balance -588, alice immature 0, bob balance 0, bob immature 0")
		p.jobAt(251, 10)
		p.find("alice", 50, true, out(1000, poolScript))
		p.over()
		n.bury(101)
		n.follow()
		n.follow()
		n.has("chain -412, fee 20, fee immature 0, alice balance 392, alice immature 0, bob balance 0, bob immature 0")
		var kinds []string
		list, err := n.s.Statement(t.Context(), user("bob"))
		for _, p := range list {
			kinds = append(kinds, fmt.Sprintf("%s %s", p.Kind, strings.TrimPrefix(p.Reference, work.FormatHash(hash))))
		}
		if want := "reward , maturity , orphan /1, return /1, maturity /1, orphan /2"; err != nil || strings.Join(kinds, ", ") != want {
			t.Errorf("%q, %v", kinds, err)
		}
		consistent(t, n.s)
	})
}

// 15: what is pending of an orphan is 0, also if nobody looked while it became one, and
// if it was one before it was rewarded.
func TestCase15(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		first := p.find("alice", 50, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 1000")
		second := p.find("alice", 50, true, out(500, poolScript))
		n.follow()
		n.grow(101, 7, 1)
		n.follow()
		if n.state(first) != IsOrphan || n.state(second) != IsOrphan {
			t.Errorf("%s, %s", n.state(first), n.state(second))
		}
		n.has("chain 0, fee immature 0, alice immature 0")
		p.jobAt(109, 10)
		p.over()
		n.follow()
		n.has("chain 0, fee immature 0, alice immature 0")
		changes := dumpTable(t, n.s, "block_changes")
		for _, state := range []string{"new", "confirmed", "orphaned"} {
			if strings.Count(changes, state) != 2 {
				t.Errorf("%s: %s", state, changes)
			}
		}
		consistent(t, n.s)
	})
}

// 22 and 53: three pools with clocks apart, or off by a day, or set back at a restart, and
// their journals in any order: the same satoshis. So has block time no part in it.
func TestCase22(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		var want string
		for round := range 3 {
			place := where
			if round > 0 { // a database of its own
				place = "sqlite:" + t.TempDir()
			}
			n := newNetwork(t, place)
			r := rand.New(rand.NewPCG(22, 1))
			var pools []*toldPool
			for i := range byte(3) {
				p := n.pool(i + 1)
				pools = append(pools, p)
				p.late = true
				switch round {
				case 1:
					p.clock = int64(int(i)-1) * 5_000_000
				case 2:
					p.clock = []int64{86_400_000_000, -86_400_000_000, 0}[i]
				}
			}
			n.set(SettingFee, "1234", 0)
			for height := int64(101); height < 105; height++ {
				for _, p := range pools {
					p.jobAt(height, 11)
				}
				for range 20 {
					p := pools[r.IntN(3)]
					p.share([]string{"alice", "bob", "carol", "dave"}[r.IntN(4)], float64(1+r.IntN(5)))
					if round == 2 && height == 103 && p.n%20 == 0 { // it restarts
						p.clock -= 3_600_000_000
					}
				}
			}
			pools[1].find("bob", 3, true, out(1_000_003, poolScript))
			for range 10 { // shares of the same height, after the block
				p := pools[r.IntN(2)*2]
				p.share("dave", float64(1+r.IntN(5)))
			}
			pools[1].share("dave", 1000)
			for _, p := range pools {
				p.over()
			}
			order := [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}}[round]
			for _, i := range order {
				n.follow()
				pools[i].catchUp()
			}
			n.follow()
			got := balances(t, n.s)
			if round == 0 {
				want = got
				if strings.Count(got, "immature") != 6 && strings.Count(got, "immature") != 5 {
					t.Errorf("%s", got)
				}
			}
			if got != want {
				t.Errorf("round %d:\n%s\n%s", round, got, want)
			}
			consistent(t, n.s)
		}
	})
}

// 23: solo shares have no part in the common pot, also if their user switches inside the
// window, and are not in a solo block's either: the finder has it.
func TestCase23Money(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.s.foldLeast, n.s.foldMost = 0, 0
		p, solo := n.pool(1), n.pool(2)
		solo.solo = true
		p.jobAt(101, 10)
		solo.jobAt(101, 10)
		p.share("alice", 10)
		solo.share("alice", 1000)
		solo.share("bob", 1000)
		p.share("bob", 10)
		p.find("alice", 5, true, out(1000, poolScript))
		const miner = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
		script := append([]byte{0, 20}, 0x75, 0x1e, 0x76, 0xe8, 0x19, 0x91, 0x96, 0xd4, 0x54, 0x94, 0x1c, 0x45, 0xd1, 0xb3, 0xa3, 0x23, 0xf1, 0x43, 0x3b, 0xd6)
		solo.jobAt(102, 10)
		p.jobAt(102, 10)
		solo.find(miner, 7, true, out(990, script), out(10, []byte{0x51}))
		p.over()
		solo.over()
		n.follow()
		n.bury(101)
		n.follow()
		// Paid 990 by the coinbase itself, which the ledger shows and which comes to nothing.
		n.has("chain -1000, fee 0, fee immature 0, " + miner + " immature 0, alice balance 600, alice immature 0, bob balance 400, bob immature 0")
		list, err := n.s.Statement(t.Context(), Owner{Address, miner})
		if err != nil || len(list) != 2 || list[0].Kind != Reward || list[0].Entries[0].Amount != 990 || list[1].Kind != Payout {
			t.Errorf("%+v, %v", list, err)
		}
		consistent(t, n.s)
	})
}

// 24: a share is credited with what its job was sent with, whatever its hash achieved.
func TestCase24(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		v := p.share("alice", 10)
		if v.Achieved.Cmp(v.Credit) <= 0 {
			t.Fatal("it achieved no more")
		}
		p.find("bob", 40, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 200, bob immature 800")
	})
}

// 30: each block has a fee entry, also of 0, with the fee of its height and of the account.
func TestCase30(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 1)
		n.set(SettingFee, "10000", 102)
		n.set(SettingFee, "500000", 103)
		if _, err := n.s.Set(t.Context(), Setting{Name: SettingFee, Owner: user("alice"), Value: "0", Height: 103, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		var hashes [][32]byte
		for height := int64(101); height <= 103; height++ {
			p.jobAt(height, 10)
			p.share("alice", 25)
			hashes = append(hashes, p.find("bob", 25, true, out(1001, poolScript)))
		}
		p.over()
		n.follow()
		list, err := n.s.Ledger(t.Context(), 0, 100)
		if err != nil || len(list) != 3 {
			t.Fatalf("%+v, %v", list, err)
		}
		// 1001: no fee; 1 %; half of bob's half: fee 250, and 751 as 2 to 1.
		for i, want := range []string{"fee 0, alice 501, bob 500", "fee 10, alice 496, bob 495", "fee 250, alice 501, bob 250"} {
			got := map[string]int64{}
			for _, e := range list[i].Entries {
				got[string(e.Book)+e.Owner.Name] = e.Amount
			}
			text := fmt.Sprintf("fee %d, alice %d, bob %d", got["fee immature"], got["immaturealice"], got["immaturebob"])
			if _, ok := got["fee immature"]; !ok || list[i].Reference != work.FormatHash(hashes[i]) || text != want {
				t.Errorf("block %d: %s, want %s", i, text, want)
			}
		}
		consistent(t, n.s)
	})
}

// 31: a block is worth the sum of its outputs that are the pool's, to the satoshi.
func TestCase31(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		other := []byte{0x51, 0x52}
		n.set(SettingScripts, fmt.Sprintf("%x", other), 0)
		p.jobAt(101, 10)
		p.find("alice", 50, true, out(1, poolScript), out(2_099_999_997_690_000, other), out(5, []byte{0x51}))
		p.over()
		n.follow()
		n.has("chain -2099999997690001, fee immature 0, alice immature 2099999997690001")
	})
}

// 53: a block's own time two hours ahead changes nothing.
func TestCase53Money(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 25)
		hash := sha256.Sum256([]byte("ahead"))
		p.share("bob", 25)
		p.now += 1000
		ahead := Share{Received: p.now, NTime: p.ntime + 6500, Job: p.job.ID, Credit: difficulty.ExactOf(25), Achieved: difficulty.ExactOf(100), Hash: [16]byte(hash[:16])}
		p.tell(&Batch{Shares: []Share{ahead}, Workers: []Worker{{User, "bob", "rig"}}, Agents: []string{"x"}})
		p.tell(&Batch{Blocks: []Block{{Hash: hash, Height: 101, Job: p.job.ID, Worker: -1, Difficulty: p.job.Difficulty, Found: p.now}}})
		n.put(hash, coinbase(101, out(1000, poolScript)))
		n.chain[len(n.chain)-1].NTime = ahead.NTime
		p.share("carol", 1000) // with an earlier time, and after the block
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 1000")
		consistent(t, n.s)
	})
}

// Proportional: each block has the shares since the last one that was not orphaned.
func TestProportional(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.set(SettingScheme, "proportional", 0)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.share("alice", 30)
		p.find("bob", 70, true, out(1000, poolScript))
		p.share("carol", 10) // of the same height, for the next
		p.jobAt(102, 10)
		p.find("alice", 30, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -2000, fee immature 0, alice immature 1050, bob immature 700, carol immature 250")
		consistent(t, n.s)
	})
}

// Shares that a reward may still ask for are not dropped, however old.
func TestRetainNeeded(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		days := func() (count int) {
			if err := n.s.db.Read(t.Context(), func(tx table.Tx) error {
				kept, _, err := n.s.days(t.Context(), tx)
				count = len(slices.DeleteFunc(kept, func(d int64) bool { return dayTable(d) > dayTable(dayOf(p.ntime)) }))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return count
		}
		for day := range int64(6) {
			p.jobAt(101+day, 10)
			p.share("alice", 40)
			p.ntime += secondsPerDay
			p.now += secondsPerDay * 1_000_000
		}
		p.jobAt(107, 10)
		p.share("alice", 40)
		n.follow()
		if err := n.s.Retain(context.Background(), int64(p.ntime)+10*secondsPerDay); err != nil {
			t.Fatal(err)
		}
		// Twice 50: this day, and two before it.
		if days() != 3 {
			t.Errorf("%d days are kept", days())
		}
		p.find("bob", 5, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, alice immature 900, bob immature 100")
		consistent(t, n.s)
	})
}

// A window that a setting makes longer than shares are kept for stops no reward: it begins
// above the height whose single shares were dropped, then and when it is computed anew.
func TestLongerThanKept(t *testing.T) {
	for _, v := range []struct{ name, times, want string }{
		// 45 of the block's height, and 40 of each of 3 below: 40 more is beyond 200.
		{SettingTimes, "20", "chain -1000, fee immature 0, alice immature 970, bob immature 30"},
		// 45, and 40 of one below; 1000 of alice's were before.
		{SettingScheme, "pplns", "chain -2000, fee immature 0, alice immature 1941, bob immature 59"},
	} {
		t.Run(v.name, func(t *testing.T) {
			each(t, func(t *testing.T, where string) {
				n := newNetwork(t, where)
				var hashes [][32]byte
				if v.name == SettingScheme {
					n.set(SettingScheme, "proportional", 0)
					n.set(SettingTimes, "12", 0)
				}
				p := n.pool(1)
				for day := range int64(6) {
					p.jobAt(101+day, 10)
					if day == 5 && v.name == SettingScheme {
						hashes = append(hashes, p.find("alice", 40, true, out(1000, poolScript)))
					} else {
						p.share("alice", 40)
					}
					p.ntime += secondsPerDay
					p.now += secondsPerDay * 1_000_000
				}
				p.jobAt(107, 10)
				p.share("alice", 40)
				p.now += 2 * settleAfter.Microseconds()
				p.tell(&Batch{})
				n.follow()
				if err := n.s.Retain(t.Context(), int64(p.ntime)+10*secondsPerDay); err != nil {
					t.Fatal(err)
				}
				n.set(v.name, v.times, 107)
				hashes = append(hashes, p.find("bob", 5, true, out(1000, poolScript)))
				p.over()
				told := n.follow()
				n.has(v.want)
				if len(told) == 0 || !strings.Contains(told[len(told)-1], "begins at height 10") {
					t.Errorf("told: %q", told)
				}
				n.anew(hashes...)
				// Later ones are as they are set as soon as there are the shares.
				p.jobAt(109, 10)
				p.share("alice", 1000)
				third := p.find("carol", 10, true, out(1000, poolScript))
				p.over()
				n.follow()
				n.anew(append(hashes, third)...)
				if r, err := n.s.Reward(t.Context(), third, nil); err != nil || !r.Window.Full {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}
