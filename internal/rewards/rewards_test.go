package rewards_test

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/rewards"
)

func exact(t interface{ Fatal(...any) }, s string) difficulty.Exact {
	x, err := difficulty.ParseExact(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func user(name string) rewards.Account { return rewards.Account{Kind: "user", Name: name} }

// values are compared as such.
var values = cmp.Options{
	cmp.Comparer(func(a, b difficulty.Exact) bool { return a == b }),
	cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }),
}

var (
	first  = rewards.Instance{1}
	second = rewards.Instance{2}
	third  = rewards.Instance{3}
)

// worked is a list of shares, as "height name work", of the first instance.
func worked(t *testing.T, lines ...string) (list shares) {
	t.Helper()
	for _, l := range lines {
		var r received
		var name, work string
		if _, err := fmt.Sscan(l, &r.height, &name, &work); err != nil {
			t.Fatal(err)
		}
		r.instance, r.share = first, rewards.Share{Account: user(name), Work: exact(t, work)}
		list = append(list, r)
	}
	return list
}

func block(t *testing.T, value int64, difficulty string) rewards.Block {
	t.Helper()
	return rewards.Block{Hash: rewards.Hash{1}, Height: 1300, Value: value, Difficulty: exact(t, difficulty), Instance: first, Finder: user("alice")}
}

func compute(t *testing.T, b rewards.Block, p rewards.Parameters, s rewards.Source) *rewards.Reward {
	t.Helper()
	r, err := rewards.Compute(t.Context(), b, p, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func amounts(r *rewards.Reward) map[string]int64 {
	m := map[string]int64{}
	for _, c := range r.Credits {
		m[c.Account.Name] = c.Amount
	}
	return m
}

// Works and shifts of the reference's example A are heights here; those of one height
// stand in the order of receipt. The amounts of the reference and of the other window
// were computed by a script with fractions.
var (
	exampleA = []string{
		"901 alice 2900", "901 carol 1300.25", "901 dave 55",
		"902 alice 3100.5", "902 bob 1450", "902 carol 800",
		"1205 bob 110",
		"1206 alice 280", "1206 carol 90",
		"1207 alice 300", "1207 bob 120"}
	exampleB = []string{
		"1 a 1711234567890", "2 b 1200345678901.5", "3 c 497920986752.25", "3 d 498765432.25", "3 e 1024"}
)

// The reference's worked examples, to the satoshi where the rule is the same: fee, what
// is divided, and the rounded-down parts of its window, which holds whole shifts and is
// made here by proportional. What is other here:
//
//	                          reference                      here
//	window of A               10505.75, shift 901 whole      10000: N, the oldest share cut
//	window of B               3410000000000                  3393800550412.83325: N
//	parts                     rounded down                   and 1 more for the largest remainders
//	left over in A and B      2 satoshis each, nobody's      none
//	alice's three addresses   1 more satoshi lost            an address is paid from one balance
func TestWorkedExamples(t *testing.T) {
	for _, tt := range []struct {
		name      string
		list      []string
		value     int64
		diff      string
		fee, left int64
		reference map[string]int64 // rounded down
		largest   []string         // remainders: 1 satoshi more than that
		window    string
		cut       map[string]int64 // by the window of N
	}{
		{"A", exampleA, 1_432_109_877, "2000", 12_888_988, 2,
			map[string]int64{"alice": 888_959_194, "bob": 226_951_059, "carol": 295_880_689, "dave": 7_429_945},
			[]string{"alice", "bob"}, "10000",
			map[string]int64{"alice": 862_141_210, "bob": 238_429_109, "carol": 310_844_855, "dave": 7_805_715}},
		{"B", exampleB, 1_433_214_567, "678760110082.56665", 12_898_931, 2,
			map[string]int64{"a": 712_754_608, "b": 499_961_799, "c": 207_391_484, "d": 207_743, "e": 0},
			[]string{"b", "c"}, "3393800550412.83325",
			map[string]int64{"a": 709_377_244, "b": 502_348_241, "c": 208_381_416, "d": 208_735, "e": 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, list := block(t, tt.value, tt.diff), worked(t, tt.list...)
			r := compute(t, b, rewards.Parameters{Scheme: rewards.Proportional, Fee: 9000}, list)
			if r.Fee != tt.fee || r.Left != tt.left {
				t.Errorf("fee %d, %d satoshis to the largest remainders, want %d, %d", r.Fee, r.Left, tt.fee, tt.left)
			}
			for _, c := range r.Credits {
				if c.Whole != tt.reference[c.Account.Name] || (c.Amount == c.Whole+1) != slices.Contains(tt.largest, c.Account.Name) {
					t.Errorf("%v has %d, rounded down %d, want %d and one more: %v", c.Account, c.Amount, c.Whole, tt.reference[c.Account.Name], tt.largest)
				}
			}
			r = compute(t, b, rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "5"), Fee: 9000}, list)
			if r.Fee != tt.fee || !r.Window.Full || r.Window.Work != exact(t, tt.window) || r.Window.Wanted != r.Window.Work {
				t.Errorf("fee %d, window %+v", r.Fee, r.Window)
			}
			if diff := cmp.Diff(tt.cut, amounts(r)); diff != "" {
				t.Error("-want +got:\n" + diff)
			}
		})
	}
}

// The explanation of example A, as a person follows it.
func TestExplanation(t *testing.T) {
	r := compute(t, block(t, 1_432_109_877, "2000"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "5"), Fee: 9000}, worked(t, exampleA...))
	want := rewards.Window{Wanted: exact(t, "10000"), Work: exact(t, "10000"), Full: true, Highest: 1207, Lowest: 901, Heights: 5,
		Cut: &rewards.Cut{Height: 901, Work: exact(t, "4255.25"), Left: exact(t, "505.75"), Shares: 3, Instance: first, Account: user("alice"),
			Share: exact(t, "2900"), Kept: exact(t, "2394.25")}}
	if diff := cmp.Diff(want, r.Window, values); diff != "" {
		t.Error("-want +got:\n" + diff)
	}
}

// The example of docs/accounting.md, computed there by hand.
func TestByHand(t *testing.T) {
	r := compute(t, block(t, 312_500_001, "2"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "5"), Fee: 9000},
		worked(t, "101 alice 2", "101 bob 2", "102 alice 4", "103 alice 2", "103 bob 3"))
	if diff := cmp.Diff(map[string]int64{"alice": 185_812_501, "bob": 123_875_000}, amounts(r)); diff != "" || r.Fee != 2_812_500 || r.Divided != 309_687_501 || r.Left != 1 {
		t.Errorf("fee %d, divided %d, left %d, -want +got:\n%s", r.Fee, r.Divided, r.Left, diff)
	}
}

// Case 19: a window that is not full has the whole reward.
func TestCase19(t *testing.T) {
	p := rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "5"), Fee: 10_000}
	r := compute(t, block(t, 5_000_000_000, "1000"), p, worked(t, "1300 alice 0.5"))
	if diff := cmp.Diff(map[string]int64{"alice": 4_950_000_000}, amounts(r)); diff != "" || r.Window.Full || r.Fee != 50_000_000 {
		t.Errorf("window %+v, fee %d, -want +got:\n%s", r.Window, r.Fee, diff)
	}
	r = compute(t, block(t, 5_000_000_000, "1000"), p, worked(t, "1290 alice 3", "1300 bob 1"))
	if diff := cmp.Diff(map[string]int64{"alice": 3_712_500_000, "bob": 1_237_500_000}, amounts(r)); diff != "" || r.Window.Full || r.Window.Cut != nil {
		t.Errorf("window %+v, -want +got:\n%s", r.Window, diff)
	}
	if _, err := rewards.Compute(t.Context(), block(t, 5_000_000_000, "1000"), p, worked(t)); err == nil {
		t.Error("a block without shares is divided")
	}
}

// pool is a random one: what its instances received, each in its order.
type pool struct {
	block      rewards.Block
	parameters rewards.Parameters
	shares     shares
}

var works = []string{"0", "0.000000000001", "0.25", "1", "1", "2", "3", "10.5", "42", "1000"}

func draw(t *rapid.T) (p pool) {
	names := rapid.IntRange(1, 6).Draw(t, "accounts")
	instances := rapid.IntRange(1, 3).Draw(t, "instances")
	heights := rapid.IntRange(1, 4).Draw(t, "heights")
	account := rapid.Custom(func(t *rapid.T) rewards.Account {
		kind := rapid.SampledFrom([]string{"address", "user"}).Draw(t, "kind")
		return rewards.Account{Kind: kind, Name: fmt.Sprintf("miner %d", rapid.IntRange(1, names).Draw(t, "name"))}
	})
	p.shares = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) received {
		return received{1301 - int64(rapid.IntRange(1, heights).Draw(t, "height")), rewards.Instance{byte(rapid.IntRange(1, instances).Draw(t, "instance"))},
			rewards.Share{Account: account.Draw(t, "account"), Solo: rapid.IntRange(0, 9).Draw(t, "scheme") == 0, Work: exact(t, rapid.SampledFrom(works).Draw(t, "work"))}}
	}), 0, 40).Draw(t, "shares")
	// One at least counts.
	p.shares = append(p.shares, received{1300, first, rewards.Share{Account: account.Draw(t, "finder"), Work: exact(t, "1")}})
	p.block = rewards.Block{Hash: rewards.Hash{7, 1}, Height: 1300, Value: rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 2_100_000_000_000_000)).Draw(t, "value"),
		Difficulty: exact(t, rapid.SampledFrom(works[1:]).Draw(t, "difficulty")), Instance: first, Finder: p.shares[len(p.shares)-1].share.Account}
	fee := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 30_000), rapid.Int64Range(0, 1_000_000))
	p.parameters = rewards.Parameters{Scheme: rapid.SampledFrom([]rewards.Scheme{rewards.PPLNS, rewards.PPLNS, rewards.Proportional}).Draw(t, "scheme"),
		Times: exact(t, rapid.SampledFrom([]string{"0.000000000001", "0.5", "1", "5", "7.25"}).Draw(t, "times")),
		Add:   exact(t, rapid.SampledFrom([]string{"0.000000000001", "1", "20.5"}).Draw(t, "add")), Fee: fee.Draw(t, "fee")}
	p.parameters.Fees = rapid.MapOfN(account, fee, 0, 3).Draw(t, "fees")
	return p
}

// shuffle gives the shares in another order of arrival: those of one instance, at one
// height, keep theirs.
func (p pool) shuffle(t *rapid.T) (list shares) {
	type key struct {
		height   int64
		instance rewards.Instance
	}
	of := map[key]shares{}
	keys := []key{}
	for _, s := range p.shares {
		k := key{s.height, s.instance}
		of[k] = append(of[k], s)
		keys = append(keys, k)
	}
	for _, k := range rapid.Permutation(keys).Draw(t, "arrival") {
		list = append(list, of[k][0])
		of[k] = of[k][1:]
	}
	return list
}

// Every reward is what the obvious computation gives, all of the value is assigned, and
// the window is N or all there is (case 20, 23). Bugs that this was seen to find: the
// oldest share taken whole; order within a height by work and not by its fraction;
// the satoshis left kept; the fee rounded up; solo shares counted; fees of accounts
// ignored; N not rounded down.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := draw(t)
		r, err := rewards.Compute(context.Background(), p.block, p.parameters, p.shares)
		if err != nil {
			t.Fatal(err)
		}
		fee, accounts := oracle(p.block, p.parameters, p.shares)
		if err := differs(r, fee, accounts); err != nil {
			t.Fatal(err)
		}
		var all difficulty.Exact
		for _, s := range p.shares {
			if !s.share.Solo {
				all = all.Add(s.share.Work)
			}
		}
		w := r.Window
		if w.Work != all && (!w.Full || w.Work != w.Wanted) {
			t.Fatalf("the window is %+v of %s", w, all)
		}
	})
}

// Whatever the order in which shares of instances arrive, what the clocks say (no share
// has a time), and the order of accounts: not a satoshi and not a byte of the proof is
// other (case 22). Bugs that this was seen to find: ties of remainders by the order in
// which accounts came; sums in the file in the order that they came in.
func TestCase22(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := draw(t)
		var one, other bytes.Buffer
		a, err := rewards.Export(context.Background(), &one, p.block, p.parameters, p.shares)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rewards.Export(context.Background(), &other, p.block, p.parameters, p.shuffle(t)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one.String(), other.String()); diff != "" {
			t.Fatalf("-one +other:\n%s", diff)
		}
		b, err := rewards.Verify(&one)
		if err != nil {
			t.Fatal(err)
		}
		a.Parameters.Fees, b.Parameters.Fees = nil, nil // the file has those of who is paid
		if diff := cmp.Diff(a, b, values); diff != "" {
			t.Fatalf("-exported +verified:\n%s", diff)
		}
	})
}

// More work is never less money; with several rates of fee it may be one satoshi. The
// share is added where it may push out others, or the account's own. Bugs that this
// was seen to find: the satoshis left to the smallest remainders; the fee rounded up.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := draw(t)
		slack := int64(1)
		if rapid.Bool().Draw(t, "one rate") {
			p.parameters.Fees, slack = nil, 0
		}
		more := p.shares[rapid.IntRange(0, len(p.shares)-1).Draw(t, "who")]
		more.height, more.share.Solo = 1300, false
		more.share.Work = exact(t, rapid.SampledFrom(works).Draw(t, "more"))
		// Behind all others of its height: one instance alone has that height then.
		list := slices.Clone(p.shares)
		for i := range list {
			if list[i].height == 1300 {
				list[i].instance = first
			}
		}
		more.instance = first
		before, err := rewards.Compute(context.Background(), p.block, p.parameters, list)
		if err != nil {
			t.Fatal(err)
		}
		after, err := rewards.Compute(context.Background(), p.block, p.parameters, append(list, more))
		if err != nil {
			t.Fatal(err)
		}
		had, has := amountOf(before, more.share.Account), amountOf(after, more.share.Account)
		if has < had-slack {
			t.Fatalf("%v had %d, and with %s more %d", more.share.Account, had, more.share.Work, has)
		}
	})
}

func amountOf(r *rewards.Reward, a rewards.Account) int64 {
	for _, c := range r.Credits {
		if c.Account == a {
			return c.Amount
		}
	}
	return 0
}

// Case 20: what is older than the window has nothing, and the oldest share of it is
// cut, not taken whole.
func TestCase20(t *testing.T) {
	p := rewards.Parameters{Scheme: rewards.PPLNS, Add: exact(t, "10")}
	r := compute(t, block(t, 1000, "1"), p, worked(t, "1297 old 1000", "1298 carol 7", "1298 bob 6", "1299 alice 1", "1300 bob 2", "1300 alice 1"))
	if diff := cmp.Diff(map[string]int64{"alice": 200, "bob": 800}, amounts(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	r = compute(t, block(t, 1000, "1"), p, worked(t, "1297 old 1000", "1298 carol 7", "1298 bob 5.5", "1299 alice 1", "1300 bob 2", "1300 alice 1"))
	if diff := cmp.Diff(map[string]int64{"alice": 200, "bob": 750, "carol": 50}, amounts(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Where a window ends between two heights nothing is cut, and where it ends between two
// shares, none is cut and the older one is not named.
func TestWindowEnds(t *testing.T) {
	list := worked(t, "1298 old 9", "1299 carol 4", "1299 alice 3", "1300 bob 3")
	for add, want := range map[string]string{"10": "", "6": "alice 3 of 3, 1 shares, 4 left", "5": "alice 2 of 3, 1 shares, 5 left"} {
		r := compute(t, block(t, 1000, "1"), rewards.Parameters{Scheme: rewards.PPLNS, Add: exact(t, add)}, list)
		got := ""
		if c := r.Window.Cut; c != nil {
			got = fmt.Sprintf("%s %s of %s, %d shares, %s left", c.Account.Name, c.Kept, c.Share, c.Shares, c.Left)
		}
		if got != want || !r.Window.Full || r.Window.Work != exact(t, add) {
			t.Errorf("%s: cut %q, want %q; %+v", add, got, want, r.Window)
		}
	}
}

// Case 21: the weight is the assigned difficulty on both sides of a retarget, and N is
// that of the block's own.
func TestCase21(t *testing.T) {
	p := rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "2")}
	list := worked(t, "1295 alice 60", "1295 bob 40", "1296 alice 50", "1296 bob 50") // 1296 begins with another difficulty
	for _, tt := range []struct {
		difficulty string
		want       map[string]int64
	}{
		{"100", map[string]int64{"alice": 550, "bob": 450}},
		{"75", map[string]int64{"alice": 400, "bob": 600}}, // 10 of alice's 60, which came first
		{"25", map[string]int64{"bob": 1000}},
	} {
		r := compute(t, block(t, 1000, tt.difficulty), p, list)
		if diff := cmp.Diff(tt.want, amounts(r)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.difficulty, diff)
		}
	}
}

// Case 23: a share earns in one scheme only, also when its miner changes inside the
// window.
func TestCase23(t *testing.T) {
	list := worked(t, "1299 alice 4", "1299 bob 6", "1300 alice 90", "1300 bob 4")
	list[2].share.Solo = true
	r := compute(t, block(t, 1000, "14"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "1")}, list)
	if diff := cmp.Diff(map[string]int64{"alice": 286, "bob": 714}, amounts(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	b := block(t, 1000, "14")
	r = compute(t, b, rewards.Parameters{Scheme: rewards.Solo, Fee: 15_000}, nil)
	if diff := cmp.Diff(map[string]int64{"alice": 985}, amounts(r)); diff != "" || r.Fee != 15 {
		t.Errorf("fee %d, -want +got:\n%s", r.Fee, diff)
	}
	b.Value = 199 // of which the fee is 2.985
	if r = compute(t, b, rewards.Parameters{Scheme: rewards.Solo, Fee: 15_000}, nil); r.Fee != 2 || r.Divided != 197 {
		t.Errorf("fee %d, divided %d", r.Fee, r.Divided)
	}
	// The coinbase paid alice herself, and the pool a fee.
	b.Direct, b.Value = 990, 10
	r = compute(t, b, rewards.Parameters{Scheme: rewards.Solo, Fee: 15_000}, nil)
	if diff := cmp.Diff(map[string]int64{"alice": 990}, amounts(r)); diff != "" || r.Fee != 10 {
		t.Errorf("fee %d, -want +got:\n%s", r.Fee, diff)
	}
}

// Case 24: a share's weight is what its job was sent with; a source has no other figure
// to give. At one height a spike older than the window changes nothing.
func TestCase24(t *testing.T) {
	p := rewards.Parameters{Scheme: rewards.PPLNS, Add: exact(t, "4")}
	for _, spike := range []string{"1", "100000"} {
		r := compute(t, block(t, 1000, "1"), p, worked(t, "1300 thief "+spike, "1300 alice 1", "1300 bob 3"))
		if diff := cmp.Diff(map[string]int64{"alice": 250, "bob": 750}, amounts(r)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// many accounts of equal work.
func many(n int, work difficulty.Exact) (list shares) {
	for i := range n {
		list = append(list, received{1300, first, rewards.Share{Account: user(fmt.Sprintf("miner %06d", i)), Work: work}})
	}
	return list
}

// Case 26: the sum is exact for any number of equal accounts, and does not depend on
// their order.
func TestCase26(t *testing.T) {
	for _, n := range []int{1, 3, 500, 100_000} {
		list := many(n, exact(t, "0.1"))
		b, p := block(t, 312_500_001, "1000"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "1000"), Fee: 9000}
		r := compute(t, b, p, list)
		slices.Reverse(list)
		back := compute(t, b, p, list)
		sum := r.Fee
		for i, c := range r.Credits {
			sum += c.Amount
			least := (b.Value - r.Fee) / int64(n)
			if c.Amount != least && c.Amount != least+1 || c.Amount != back.Credits[i].Amount || c.Account != back.Credits[i].Account {
				t.Fatalf("%d accounts: %v has %d, backwards %d", n, c.Account, c.Amount, back.Credits[i].Amount)
			}
			// The satoshis left go to the first in order.
			if (c.Amount == least+1) != (int64(i) < (b.Value-r.Fee)%int64(n)) {
				t.Fatalf("%d accounts: %v has %d", n, c.Account, c.Amount)
			}
		}
		if sum != b.Value || len(r.Credits) != n {
			t.Errorf("%d accounts: %d are paid %d of %d", n, len(r.Credits), sum, b.Value)
		}
	}
}

// Case 30: fees are exact per block and account, also 0 and also all.
func TestCase30(t *testing.T) {
	list := worked(t, "1300 alice 1", "1300 bob 3")
	for _, tt := range []struct {
		fee  int64
		fees map[rewards.Account]int64
		take int64
		want map[string]int64
	}{
		{0, nil, 0, map[string]int64{"alice": 250, "bob": 751}}, // 250.25, 750.75
		{9000, nil, 9, map[string]int64{"alice": 248, "bob": 744}},
		{1_000_000, nil, 1001, map[string]int64{"alice": 0, "bob": 0}},
		// The pool's own account among the miners, without a fee: 1001·¾·0.02 = 15.015.
		{20_000, map[rewards.Account]int64{user("alice"): 0}, 15, map[string]int64{"alice": 250, "bob": 736}},
		{0, map[rewards.Account]int64{user("bob"): 1_000_000}, 750, map[string]int64{"alice": 251, "bob": 0}},
	} {
		r := compute(t, block(t, 1001, "10"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "5"), Fee: tt.fee, Fees: tt.fees}, list)
		if diff := cmp.Diff(tt.want, amounts(r)); diff != "" || r.Fee != tt.take {
			t.Errorf("fee %d %v: taken %d, want %d; -want +got:\n%s", tt.fee, tt.fees, r.Fee, tt.take, diff)
		}
	}
}

// A cut inside a height takes the same oldest fraction from each instance.
func TestInstances(t *testing.T) {
	var list shares
	for i, n := range map[rewards.Instance]int{first: 2, second: 4, third: 8} {
		for range n {
			list = append(list, received{1299, i, rewards.Share{Account: user(fmt.Sprint("of ", i[0])), Work: exact(t, "1")}})
		}
	}
	r := compute(t, block(t, 7000, "7"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "1")}, list)
	if diff := cmp.Diff(map[string]int64{"of 1": 1000, "of 2": 2000, "of 3": 4000}, amounts(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// At the cut, the lesser id is the older one.
	r = compute(t, block(t, 7500, "7.5"), rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "1")}, list)
	if diff := cmp.Diff(map[string]int64{"of 1": 1000, "of 2": 2000, "of 3": 4500}, amounts(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// lying is a source whose shares are not those of its sums.
type lying struct {
	shares
	single shares
}

func TestRefused(t *testing.T) {
	list := worked(t, "1300 alice 3", "1300 bob 5")
	good := rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "1"), Fee: 9000}
	for _, tt := range []struct {
		name   string
		change func(b *rewards.Block, p *rewards.Parameters, s *lying)
		want   string
	}{
		{"window of nothing", func(_ *rewards.Block, p *rewards.Parameters, _ *lying) { p.Times = difficulty.Exact{} }, "block 1300: window of 0 × 4 + 0: want more than 0 and at most"},
		{"window beyond numbers", func(_ *rewards.Block, p *rewards.Parameters, _ *lying) { p.Times = difficulty.MaxExact }, "want more than 0 and at most"},
		{"fee of more than all", func(_ *rewards.Block, p *rewards.Parameters, _ *lying) { p.Fee = 1_000_001 }, "fee of 1000001 millionths: want 0 to 1000000"},
		{"an account's fee", func(_ *rewards.Block, p *rewards.Parameters, _ *lying) {
			p.Fees = map[rewards.Account]int64{user("bob"): -1}
		}, "user bob: fee of -1 millionths"},
		{"value", func(b *rewards.Block, _ *rewards.Parameters, _ *lying) { b.Value = -1 }, "value of -1 and 0 satoshis cannot be"},
		{"paid by the coinbase", func(b *rewards.Block, _ *rewards.Parameters, _ *lying) { b.Direct = 1 }, `pays the finder 1 satoshis, but the scheme is "pplns"`},
		{"scheme", func(_ *rewards.Block, p *rewards.Parameters, _ *lying) { p.Scheme = "pps" }, `scheme "pps": want`},
		{"after itself", func(_ *rewards.Block, p *rewards.Parameters, _ *lying) {
			p.Scheme, p.Previous = rewards.Proportional, 1300
		}, "the previous block at height 1300 is not below the block"},
		{"above the block", func(_ *rewards.Block, _ *rewards.Parameters, s *lying) { s.shares[0].height = 1301 }, "shares of height 1301 are above the block"},
		{"before the previous block", func(_ *rewards.Block, p *rewards.Parameters, s *lying) {
			p.Scheme, p.Previous, s.shares[0].height = rewards.Proportional, 1299, 1298
		}, "shares of height 1298 are below the previous block, at 1299"},
		{"too much", func(_ *rewards.Block, _ *rewards.Parameters, s *lying) {
			s.shares[0].share.Work, s.shares[1].share.Work = difficulty.MaxExact, difficulty.MaxExact
		}, "are more work than"},
		{"a share less", func(_ *rewards.Block, _ *rewards.Parameters, s *lying) { s.single = s.single[1:] }, "the sums are 8, single shares are less than that"},
		{"a share more", func(_ *rewards.Block, _ *rewards.Parameters, s *lying) { s.single = append(s.single, s.single[0]) }, "single shares are more than that"},
		{"a share of another", func(_ *rewards.Block, _ *rewards.Parameters, s *lying) { s.single[1].share.Account = user("carol") }, "the shares of user bob are 0, the sum of them says 5"},
		{"no name", func(b *rewards.Block, _ *rewards.Parameters, _ *lying) { b.Finder.Name = "" }, "cannot be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, p, s := block(t, 1000, "4"), good, &lying{slices.Clone(list), slices.Clone(list)}
			tt.change(&b, &p, s)
			_, err := rewards.Compute(t.Context(), b, p, s)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
