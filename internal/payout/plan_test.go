package payout

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/address"
)

// addresses of each type on regtest: those of a recorded payment, and one whose program
// is 32 bytes of a recorded P2TR as P2WSH.
const (
	p2tr   = "bcrt1pu8kd3ppsd7lfvhjpmqwpc6530c8a577m6uk93rpf7w5aj5e0fdmqgt78yk"
	p2wpkh = "bcrt1ql2dr3h6gxtffkym0sxslvfxcpsgy0cmg0887vm"
	p2sh   = "2N8HhjcaL2vxACDhdYjzEsGmDJuU3ZFG7zr"
	p2pkh  = "moZGzkhP4BRTf2cUcXgaYbcTBk4FMtdSTN"
)

func p2wsh(t testing.TB) string {
	t.Helper()
	script := append([]byte{0, 32}, make([]byte, 32)...)
	a, err := address.FromScript(script, address.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

func one(account, balance int64, to string) Payee {
	return Payee{Account: account, Name: fmt.Sprintf("u%d", account), Balance: balance, Targets: []Target{{to, 1}}}
}

func low() Settings {
	s := Defaults(address.Regtest)
	s.Minimum = 1
	return s
}

// Case 27: what is under the dust limit of its type never enters a plan; the limits are
// those of Bitcoin Core. What is below the minimum is carried.
func TestCase27Dust(t *testing.T) {
	for to, limit := range map[string]int64{p2pkh: 546, p2sh: 540, p2wpkh: 294, p2wsh(t): 330, p2tr: 330} {
		for _, tt := range []struct {
			balance int64
			paid    bool
		}{{limit, true}, {limit - 1, false}, {0, false}, {-1, false}, {-limit, false}} {
			plan, err := Make([]Payee{one(1, tt.balance, to), one(2, 1_000_000, p2tr)}, low())
			if err != nil {
				t.Fatal(err)
			}
			want := int64(1_000_000)
			if tt.paid {
				want += tt.balance
			}
			if plan.Total() != want {
				t.Errorf("%s with %d satoshis: plan has %d", to, tt.balance, plan.Total())
			}
		}
	}
	s := low()
	s.Minimum, s.MaxMinimum = 5_000, 10_000
	own := one(3, 4_000, p2tr)
	own.Minimum = 4_000
	never := one(4, 10_000, p2tr)
	never.Minimum = maxMoney // bounded
	s.PayeesPay = true
	plan, err := Make([]Payee{one(1, 4_999, p2tr), one(2, 5_000, p2tr), own, never}, s)
	if err != nil {
		t.Fatal(err)
	}
	// Where the pool pays the network fee, nobody has it paid for less than others.
	s.PayeesPay = false
	if p, err := Make([]Payee{own}, s); err != nil || len(p.Payments) != 0 || len(p.Left) != 1 || p.Left[0].Reason != "below the minimum of 0.00005000, carried" {
		t.Errorf("%+v, %v", p, err)
	}
	if plan.Total() != 19_000 || len(plan.Left) != 1 || plan.Left[0] != (Left{1, "u1", 4_999, "below the minimum of 0.00005000, carried"}) {
		t.Errorf("%+v", plan)
	}
}

// Case 33: who cannot be paid is left out with the reason, the others are paid.
func TestCase33Unpayable(t *testing.T) {
	for to, reason := range map[string]string{
		p2wpkh + ".rig12":                            "the name of a worker is still on the address",
		p2pkh + "_rig":                               "the name of a worker is still on the address",
		"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa":         "another network",
		"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq": "another network",
		"nonsense":                                   "nonsense",
	} {
		plan, err := Make([]Payee{one(1, 500_000, to), one(2, 600_000, p2tr)}, low())
		if err != nil {
			t.Fatal(err)
		}
		if plan.Total() != 600_000 || len(plan.Left) != 1 || !strings.Contains(plan.Left[0].Reason, reason) {
			t.Errorf("%s: %+v", to, plan)
		}
	}
	held := one(1, 500_000, p2tr)
	held.Held = "on hold"
	plan, err := Make([]Payee{held, {Account: 2, Name: "none", Balance: 5_000_000}}, low())
	if err != nil || len(plan.Payments) != 0 || plan.Left[0].Reason != "on hold" || plan.Left[1].Reason != "no address to pay to" {
		t.Errorf("%+v, %v", plan, err)
	}
}

// Case 34: both cases of bech32 are one script, mixed is refused; the wrong checksum and
// a key off the curve are refused.
func TestCase34Bech32(t *testing.T) {
	lower, err := Script(p2wpkh, address.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	upper, err := Script(strings.ToUpper(p2wpkh), address.Regtest)
	if err != nil || !slices.Equal(lower, upper) {
		t.Errorf("upper case: %x, %v", upper, err)
	}
	off := append([]byte{0x51, 32}, make([]byte, 32)...)
	off[33] = 5 // x = 5 is no point of the curve (BIP340)
	a, err := address.FromScript(off, address.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	for to, reason := range map[string]string{
		"BCRT1" + p2wpkh[5:]: "mixes",
		// BIP350's vector of version 1 with the checksum of version 0.
		"tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf": "wrong kind",
		a.String(): "nobody could ever spend",
	} {
		if _, err := Script(to, address.Regtest); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// Ratios are exact: every satoshi is assigned, and no part is a satoshi away from what
// it is as a fraction.
func TestDivide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(1, maxMoney).Draw(t, "amount")
		var targets []Target
		sum := new(big.Int)
		for _, parts := range rapid.SliceOfN(rapid.Int64Range(1, 1<<62), 1, 20).Draw(t, "parts") {
			targets = append(targets, Target{"", parts})
			sum.Add(sum, big.NewInt(parts))
		}
		got, err := divide(amount, targets)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for i, a := range got {
			total += a
			// |a − amount·parts/sum| < 1
			d := new(big.Int).Mul(big.NewInt(a), sum)
			d.Sub(d, new(big.Int).Mul(big.NewInt(amount), big.NewInt(targets[i].Parts)))
			if d.CmpAbs(sum) >= 0 {
				t.Fatalf("%d of %d by %d/%s", a, amount, targets[i].Parts, sum)
			}
		}
		if total != amount {
			t.Fatalf("%d of %d", total, amount)
		}
	})
	// By hand: 100 by 1:1:1 is 33⅓ each, the first of equal remainders has the satoshi;
	// 10 by 3:7 is exact.
	if got, _ := divide(100, []Target{{"", 1}, {"", 1}, {"", 1}}); !slices.Equal(got, []int64{34, 33, 33}) {
		t.Error(got)
	}
	if got, _ := divide(10, []Target{{"", 3}, {"", 7}}); !slices.Equal(got, []int64{3, 7}) {
		t.Error(got)
	}
}

// A large run is split into transactions that nodes relay; the order of payees does not
// matter; no account is in two of them.
func TestSplit(t *testing.T) {
	// to is an address of a witness program of so many bytes, one for each account.
	to := func(account int64, size int) string {
		script := append([]byte{0, byte(size)}, make([]byte, size)...)
		binary.LittleEndian.PutUint64(script[2:], uint64(account))
		a, err := address.FromScript(script, address.Regtest)
		if err != nil {
			t.Fatal(err)
		}
		return a.String()
	}
	var payees []Payee
	for i := range int64(10_000) {
		payees = append(payees, Payee{Account: i, Name: fmt.Sprint(i), Balance: 100_000 + i, Targets: []Target{{to(i, 20), 1}, {to(i, 32), 2}}})
	}
	s := Defaults(address.Regtest)
	s.MaxOutputs = 1_000_000
	plan, err := Make(payees, s)
	if err != nil {
		t.Fatal(err)
	}
	in := map[int64]int{}
	for n, outputs := range plan.Payments {
		weight := int64(overhead)
		for _, o := range outputs {
			weight += 4 * (9 + int64(len(o.Script)))
			if was, ok := in[o.Account]; ok && was != n {
				t.Fatalf("account %d is in payments %d and %d", o.Account, was, n)
			}
			in[o.Account] = n
		}
		if weight > 300_000 {
			t.Errorf("payment %d has weight %d before its inputs", n, weight)
		}
	}
	if len(in) != 10_000 || len(plan.Left) != 0 || len(plan.Payments) != 10 {
		t.Errorf("%d accounts, %d left, %d payments", len(in), len(plan.Left), len(plan.Payments))
	}
	slices.Reverse(payees)
	again, err := Make(payees, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan, again); diff != "" {
		t.Error("the order of payees matters")
	}
}

// Two accounts are paid to one address, as a user is where somebody also mines under it: no
// transaction has it twice, since Bitcoin Core would make none, and everybody is paid.
func TestOneAddress(t *testing.T) {
	both := one(2, 200_000, p2pkh)
	both.Targets = append(both.Targets, Target{p2wpkh, 1})
	plan, err := Make([]Payee{one(1, 100_000, p2wpkh), both, one(3, 300_000, strings.ToUpper(p2wpkh)), one(4, 400_000, p2tr), one(5, 500_000, p2pkh)}, low())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, outputs := range plan.Payments {
		var text []string
		for _, o := range outputs {
			text = append(text, fmt.Sprintf("%s %d", o.Name, o.Debit))
		}
		got = append(got, strings.Join(text, ", "))
	}
	want := []string{"u1 100000, u4 400000, u5 500000", "u2 100000, u2 100000", "u3 300000"}
	if !slices.Equal(got, want) || len(plan.Left) != 0 {
		t.Errorf("%q, left %+v", got, plan.Left)
	}
}

func TestSettings(t *testing.T) {
	good := Defaults(address.Main)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Settings){
		"no minimum": func(s *Settings) { s.Minimum = 0 }, "bound below": func(s *Settings) { s.MaxMinimum = s.Minimum - 1 },
		"rate above": func(s *Settings) { s.Rate = s.MaxRate + 1 }, "weight": func(s *Settings) { s.MaxWeight = 400_001 },
		"no outputs": func(s *Settings) { s.MaxOutputs = 0 }, "no fee": func(s *Settings) { s.MaxFee = 0 }, "blocks": func(s *Settings) { s.Blocks = 0 },
		"final": func(s *Settings) { s.Final = 0 },
	} {
		s := good
		change(&s)
		if s.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
