package pool

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Of regtest, as BIP173 and BIP350 have their scripts.
const longAddress = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"

// A pool with a hook for shares allocates nothing for one.
func TestShareHookAllocatesNothing(t *testing.T) {
	told := 0
	var last Share
	p, err := New(Config{Dir: t.TempDir(), Payees: []Payee{{longAddress, 1}}}, Nodes(bitcoind.Config{URL: "127.0.0.1:1"}), Hooks{
		Share: func(s Share) { told++; last = s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	sink := &shares{hook: func(s Share) { told++; last = s }, pool: p.core}
	s := &session.Share{
		Time: time.Now(), Client: 7, Worker: 0, Job: &work.Job{ID: 9, Template: &work.Template{Height: 5}}, Hashed: true,
		Remote: netip.MustParseAddrPort("[2001:db8::1]:4000"), Difficulty: 42, Reason: session.Stale,
	}
	s.Computed.Difficulty = 43
	if n := testing.AllocsPerRun(100, func() { sink.Share(s) }); n != 0 {
		t.Errorf("%v allocations for a share", n)
	}
	if told == 0 || last.Reason != "stale" || last.Job != 9 || last.Height != 5 || last.Reached != 43 || last.Difficulty != 42 || last.Credit != 0 {
		t.Errorf("told %d times of %+v", told, last)
	}
	told = 0
	s.Reason = session.Malformed
	if sink.Share(s); told != 0 {
		t.Error("told of what is no share")
	}
}

// With as many payees as there may be, all with the longest addresses that are in use, and
// the longest tag, a coinbase is one that all miners take but those of microcontrollers.
func TestMostPayeesHaveRoom(t *testing.T) {
	c := Config{}
	for range MaxPayees {
		c.Payees = append(c.Payees, Payee{longAddress, 1})
	}
	var errs errorList
	payout := c.payout(&errs)
	if errs != nil {
		t.Fatal(errs)
	}
	a, err := address.Parse(longAddress)
	if err != nil {
		t.Fatal(err)
	}
	var outputs []work.Output
	for _, p := range payout.Parts {
		outputs = append(outputs, work.Output{Script: a.Script(), Part: p.Part, Required: true})
	}
	b := work.Builder{Tag: strings.Repeat("x", maxTag), PayoutScript: a.Script(), Extranonce1Len: 4, Extranonce2Len: 8}
	template, err := work.NewTemplate(&work.Parts{Height: 1e6, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: 1795327613, CoinbaseValue: 50e8, Commitment: append([]byte{0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}, make([]byte, 32)...)})
	if err != nil {
		t.Fatal(err)
	}
	job, err := b.Job(template, 1, time.Now(), outputs)
	if err != nil {
		t.Fatal(err)
	}
	limit := work.CoinbaseLimit("")
	tx := job.CoinbaseTx(&work.Miner{Limit: limit, Extranonce1: make([]byte, 4)}, &work.Solution{Extranonce2: make([]byte, 8)})
	_, paid, err := work.DecodeCoinbase(tx)
	if err != nil || len(paid) != MaxPayees+1 || len(tx) > limit || len(job.LeftOut) > 0 {
		t.Errorf("a coinbase of %d bytes with %d outputs, %v; miners take %d", len(tx), len(paid), err, limit)
	}
}

// What payees have of any reward is what their shares are of it, computed with whole numbers of
// any size, and together it is the reward.
func TestPayeesHaveTheReward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, MaxPayees).Draw(t, "payees")
		finder := rapid.IntRange(-1, n-1).Draw(t, "finder")
		reward := rapid.Int64Range(0, 21e14).Draw(t, "reward")
		c, sum := Config{}, new(big.Int)
		for i := range n {
			p := Payee{longAddress, rapid.Uint64Range(1, math.MaxUint64/MaxPayees).Draw(t, "share")}
			if i == finder {
				p.Address = Finder
			}
			c.Payees = append(c.Payees, p)
			sum.Add(sum, new(big.Int).SetUint64(p.Share))
		}
		var errs errorList
		payout := c.payout(&errs)
		if errs != nil {
			t.Fatal(errs)
		}
		a, err := address.Parse(longAddress)
		if err != nil {
			t.Fatal(err)
		}
		var outputs []work.Output
		for _, p := range payout.Parts {
			outputs = append(outputs, work.Output{Script: a.Script(), Part: p.Part, Required: true})
		}
		rest := []byte{0x6a} // to be told from the others
		b := work.Builder{PayoutScript: rest, Extranonce1Len: 4, Extranonce2Len: 8}
		template, err := work.NewTemplate(&work.Parts{Height: 1, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: 1795327613, CoinbaseValue: reward})
		if err != nil {
			t.Fatal(err)
		}
		job, err := b.Job(template, 1, time.Now(), outputs)
		if err != nil {
			t.Fatal(err)
		}
		_, paid, err := work.DecodeCoinbase(job.CoinbaseTx(&work.Miner{Limit: work.CoinbaseLimit(""), Extranonce1: make([]byte, 4)}, &work.Solution{Extranonce2: make([]byte, 8)}))
		if err != nil {
			t.Fatal(err)
		}
		left, want := reward, []int64(nil)
		for i, p := range c.Payees {
			if i == max(finder, 0) {
				continue
			}
			part := new(big.Int).Mul(new(big.Int).SetUint64(p.Share), big.NewInt(reward))
			if v := part.Div(part, sum).Int64(); v > 0 {
				want, left = append(want, v), left-v
			}
		}
		var got []int64
		for _, o := range paid {
			if !bytes.Equal(o.Script, rest) {
				got = append(got, o.Value)
			} else if o.Value != left {
				t.Errorf("of %d the one has %d, want %d", reward, o.Value, left)
			}
		}
		if !slices.Equal(got, want) || len(paid) != len(want)+1 {
			t.Errorf("of %d the others have %d, want %d", reward, got, want)
		}
	})
}

// A hook that is busy misses no change of blocks but what is beyond all measure, which is
// told, and hears of the newest work alone.
func TestBusyHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heights []int64 // owned by run, then by the test
		var jobs []uint64   // likewise
		var said string     // likewise
		release := make(chan struct{})
		k := newTeller(Hooks{
			Block: func(b Block) {
				<-release
				heights = append(heights, b.Height)
			},
			Work: func(w Work) { jobs = append(jobs, w.Job) },
		}, func(e event.Event) { said = e.Text })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			k.run(ctx)
		}()
		found := func(height int64) {
			k.block(&blocks.Block{Height: height, Hash: strings.Repeat("0", 64), BlockState: source.BlockState{State: source.BlockPending}})
		}
		found(0)
		synctest.Wait() // it is busy with that
		for height := range int64(maxWaiting + 5) {
			found(height + 1)
		}
		for id := range uint64(3) {
			k.newWork(&session.Work{Job: &work.Job{ID: id, Template: &work.Template{}}})
		}
		cancel()
		close(release)
		<-ended
		if len(heights) != maxWaiting+1 || heights[maxWaiting] != maxWaiting || !strings.Contains(said, " 5 changes") {
			t.Errorf("told of %d blocks, the last %d; said %q", len(heights), heights[len(heights)-1], said)
		}
		if len(jobs) != 1 || jobs[0] != 2 {
			t.Errorf("told of work %v", jobs)
		}
	})
}

// Logins that are too many for the hook are refused at once, and those that waited too long
// without being asked for. Nobody is let in that the hook has not let in.
func TestBusyLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogins(func(ctx context.Context, l Login) error {
			switch l.User {
			case "slow":
				<-ctx.Done()
				return nil // too late to let it in
			case "deaf":
				time.Sleep(10 * time.Second)
				return nil
			}
			return errors.New("asked for " + l.User)
		})
		answers := map[string][]authority.Answer{} // by one goroutine at a time, see below
		turn := make(chan struct{}, 1)
		ask := func(user string) (authority.Answer, bool) {
			return l.Ask(authority.Question{User: user, Worker: user}, func(a authority.Answer) {
				turn <- struct{}{}
				answers[user] = append(answers[user], a)
				<-turn
			})
		}
		for range loginsAtOnce {
			ask("slow")
		}
		for range loginsWaiting - loginsAtOnce {
			ask("late")
		}
		if a, now := ask("beyond"); !now || a.Verdict != authority.Refused || a.Text != busy {
			t.Errorf("beyond: %+v, at once %v", a, now)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.run(ctx)
		}()
		synctest.Wait()
		time.Sleep(authority.AnswerTime + time.Second)
		synctest.Wait()
		turn <- struct{}{}
		if n := len(answers["slow"]); n != loginsAtOnce || answers["slow"][0] != refusal(busy) {
			t.Errorf("slow: %d answers, %+v", n, answers["slow"][0])
		}
		if n := len(answers["late"]); n != loginsWaiting-loginsAtOnce || answers["late"][n-1] != refusal(busy) {
			t.Errorf("late: %d answers", n)
		}
		<-turn
		ask("bob")
		synctest.Wait()
		turn <- struct{}{}
		if a := answers["bob"]; len(a) != 1 || a[0].Verdict != authority.Refused || a[0].Text != "asked for bob" {
			t.Errorf("bob: %+v", a)
		}
		<-turn
		// Who is asked for by a hook that does not hear of its end waits no longer, nor do those
		// behind.
		for range loginsAtOnce {
			ask("deaf")
		}
		synctest.Wait()
		ask("behind")
		time.Sleep(authority.AnswerTime + time.Millisecond)
		synctest.Wait()
		turn <- struct{}{}
		if a := answers["deaf"]; len(a) != loginsAtOnce || a[0] != refusal(busy) {
			t.Errorf("deaf: %+v", a)
		}
		if a := answers["behind"]; len(a) != 1 || a[0] != refusal(busy) {
			t.Errorf("behind: %+v", a)
		}
		<-turn
		time.Sleep(10 * time.Second)
		synctest.Wait()
		turn <- struct{}{}
		if n := len(answers["deaf"]); n != loginsAtOnce {
			t.Errorf("deaf: %d answers", n)
		}
		<-turn
		if a, known := l.Known(authority.Question{}); !known || a.Verdict != authority.Refused {
			t.Errorf("one that is not asked for: %+v", a)
		}
		cancel()
		<-ended
	})
}
