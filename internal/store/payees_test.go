package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/ownership"
	"github.com/ckpool/ckpool/internal/payout"
)

// Who has a balance is a payee: an address is paid to itself, a user where he says, who
// is locked or held is not; what is said of one account alone is its own minimum, and what holds
// only later does not hold now.
func TestPayees(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		const address = "bcrt1ql2dr3h6gxtffkym0sxslvfxcpsgy0cmg0887vm"
		people(t, s, "bob", "eve", "zoe")
		if err := s.Message(t.Context(), "op", Address, strings.ToUpper(address), "hello"); err != nil {
			t.Fatal(err)
		}
		if err := s.Lock(t.Context(), "op", User, "eve", "asked for it"); err != nil {
			t.Fatal(err)
		}
		if err := s.Hold(t.Context(), "op", user("zoe"), "who is she"); err != nil {
			t.Fatal(err)
		}
		parts := []Part{{"moZGzkhP4BRTf2cUcXgaYbcTBk4FMtdSTN", 600_000}, {"2N8HhjcaL2vxACDhdYjzEsGmDJuU3ZFG7zr", 400_000}}
		if _, err := s.SetAddresses(t.Context(), AddressChange{Owner: user("zoe"), Parts: parts, By: "zoe"}); err != nil {
			t.Fatal(err)
		}
		owners := []Owner{user("bob"), user("eve"), {Address, address}, user("zoe")}
		for i, o := range owners {
			if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: fmt.Sprint(i), Entries: []Entry{{Balance, o, int64(i + 1)}, {Chain, Owner{}, -int64(i + 1)}}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range []Setting{{Name: SettingLeast, Value: "7", Owner: user("bob")}, {Name: SettingLeast, Value: "8", Owner: user("bob"), Height: 1_000_000}, {Name: SettingLeast, Value: "5000"},
			{Name: SettingPayer, Value: "pool"}, {Name: SettingRateMost, Value: "500"}, {Name: SettingAutopay, Value: "10"}, {Name: SettingDay, Value: "20"}} {
			v.By = "op"
			if _, err := s.Set(t.Context(), v); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.Payees(t.Context())
		if err != nil || len(list) != 4 {
			t.Fatalf("%+v, %v", list, err)
		}
		got := map[string]string{}
		for _, p := range list {
			got[p.Name] = fmt.Sprintf("%d %d %s %v", p.Balance, p.Minimum, p.Held, p.Targets)
		}
		for name, want := range map[string]string{
			"bob": "1 7  []", "eve": "2 0 locked: asked for it []", strings.ToUpper(address): "3 0  [{" + address + " 1000000}]",
			"zoe": "4 0 held: who is she [{2N8HhjcaL2vxACDhdYjzEsGmDJuU3ZFG7zr 400000} {moZGzkhP4BRTf2cUcXgaYbcTBk4FMtdSTN 600000}]",
		} {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		settings, limits, err := s.PayoutSettings(t.Context())
		if err != nil || settings.Minimum != 5000 || settings.PayeesPay || settings.MaxRate != 500 || limits != (payout.Limits{Run: 10, Day: 20}) || settings.Check() != nil {
			t.Errorf("%+v, %+v, %v", settings, limits, err)
		}
		if plan, err := payout.Make(list, settings); err != nil || len(plan.Payments) != 0 || len(plan.Left) != 4 {
			t.Errorf("%+v, %v", plan, err)
		}
	})
}

// Who is debited for what went to an address: who has proved it, before who mines under
// it, before who only named it, and that one only where a payment was to pay him there.
func TestAccountsPaid(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "zoe", "bob")
		const key = 7
		_, mined := keyOf(t, key)
		const named = "moZGzkhP4BRTf2cUcXgaYbcTBk4FMtdSTN"
		at := func() string {
			t.Helper()
			to, err := s.AccountsPaid(t.Context(), []string{mined, named, "script 51"})
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%s / %s", to[mined].Owner, to[named].Owner)
			if to[mined].Number == 0 || (to[named].Number == 0) != (to[named].Owner == Owner{}) || to["script 51"] != (Paid{}) {
				t.Errorf("%+v", to)
			}
			if to[named].Named != (Owner{}) {
				text += " named by " + to[named].Named.String()
			}
			return text
		}
		parts := []Part{{mined, 500_000}, {named, 500_000}}
		// Zoe names an address before its owner mines under it.
		if _, err := s.SetAddresses(t.Context(), AddressChange{Owner: user("zoe"), Parts: parts, By: "zoe"}); err != nil {
			t.Fatal(err)
		}
		mines(t, s, mined)
		if got, want := at(), "address "+mined+" /   named by user zoe"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		// She was to be paid there.
		if _, err := s.Payments().Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "zoe", Address: named, Script: []byte{1}, Debit: 10, Amount: 10}}}}); err != nil {
			t.Fatal(err)
		}
		if got, want := at(), "address "+mined+" / user zoe"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		// Bob has the key of the address.
		parts = []Part{{mined, Whole}}
		if _, err := s.SetAddresses(t.Context(), AddressChange{Owner: user("bob"), Parts: parts, By: "bob", Proofs: []*ownership.Proof{proof(t, key, "bob", AddressWhat(parts))}}); err != nil {
			t.Fatal(err)
		}
		if got, want := at(), "user bob / user zoe"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// What the wallet spent before anybody was owed anything is not looked for: that is from the
// first job on, or where somebody has said that rewards begin.
func TestPayoutStart(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		start := func(want int64) {
			t.Helper()
			if v, _, err := s.PayoutSettings(t.Context()); err != nil || v.Start != want {
				t.Errorf("%d, %v, want %d", v.Start, err, want)
			}
		}
		start(0)
		change(t, s, "update chain_head set start = 700")
		start(700)
		for _, height := range []int64{900, 600} {
			if _, err := s.Set(t.Context(), Setting{Name: SettingStart, Value: fmt.Sprint(height), By: "op"}); err != nil {
				t.Fatal(err)
			}
			start(height)
		}
	})
}

// A user named an address before its owner mined under it: both are paid there, which takes a
// transaction each, and nobody's payout fails for it.
func TestPaidToOne(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob", "zoe")
		const key = 7
		_, shared := keyOf(t, key)
		_, other := keyOf(t, key+1)
		for name, to := range map[string]string{"zoe": shared, "bob": other} {
			if _, err := s.SetAddresses(t.Context(), AddressChange{Owner: user(name), Parts: all(to), By: name}); err != nil {
				t.Fatal(err)
			}
		}
		for i, o := range []Owner{user("bob"), user("zoe"), mines(t, s, shared)} {
			if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: fmt.Sprint(i), Entries: []Entry{{Balance, o, 200_000}, {Chain, Owner{}, -200_000}}}); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.Payees(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		settings, _, err := s.PayoutSettings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := payout.Make(list, settings)
		if err != nil || plan.Total() != 600_000 || len(plan.Payments) != 2 || len(plan.Payments[0]) != 2 || plan.Payments[1][0].Address != shared {
			t.Errorf("%+v, %v", plan, err)
		}
	})
}

// paidTo has an account paid to something, since ever.
func paidTo(t testing.TB, s *Store, account int64, where string) {
	t.Helper()
	change(t, s, "insert into address_owners (address, account, proved, at) values ($1, $2, 0, 0)", where, account)
	change(t, s, "insert into address_sets (number, account, since, at, by) values ($1, $1, 0, 0, 'op')", account)
	change(t, s, "insert into address_parts (number, address, ppm) values ($1, $2, 1000000)", account, where)
}

// What was planned is paid to where its payee is paid then: to an old address until the
// new one holds, and no more from then on, or if another account has proved it.
func TestPlannedAddress(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob", "zoe")
		if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: "a", Entries: []Entry{{Balance, user("bob"), 100}, {Chain, Owner{}, -100}}}); err != nil {
			t.Fatal(err)
		}
		const key = 7
		_, first := keyOf(t, key)
		_, second := keyOf(t, key+1)
		pay := func(to payout.State, address string) string {
			t.Helper()
			b := s.Payments()
			list, err := b.Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "bob", Address: address, Script: []byte{1}, Debit: 10, Amount: 10}}}})
			if err != nil {
				t.Fatal(err)
			}
			before := money(t, s)
			c := payout.Change{To: to, By: "op"}
			if _, err = b.Change(t.Context(), list[0].ID, 0, c); err == nil {
				return "paid"
			}
			if money(t, s) != before {
				t.Error("what was refused changed something")
			}
			return strings.TrimPrefix(err.Error(), fmt.Sprintf("payment %d ", list[0].ID))
		}
		set := func(name string, p *ownership.Proof, to ...Part) {
			t.Helper()
			c := AddressChange{Owner: user(name), Parts: to, By: name}
			if p != nil {
				c.Proofs = append(c.Proofs, p)
			}
			if _, err := s.SetAddresses(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		no := func(address string) string {
			return "would pay bob to " + address + ", where he is not paid any more; nothing was debited: cancel it and plan again"
		}
		set("bob", nil, Part{first, Whole})
		for _, to := range []payout.State{payout.Signed, payout.Exported} {
			for address, want := range map[string]string{first: "paid", second: no(second)} {
				if got := pay(to, address); got != want {
					t.Errorf("%s to %s: %q", to, address, got)
				}
			}
		}
		set("bob", nil, Part{second, Whole})
		if got := pay(payout.Signed, first); got != "paid" {
			t.Errorf("while the new one waits: %q", got)
		}
		change(t, s, "update address_sets set since = at where number = 2") // its days are over
		for _, to := range []payout.State{payout.Signed, payout.Exported} {
			for address, want := range map[string]string{second: "paid", first: no(first)} {
				if got := pay(to, address); got != want {
					t.Errorf("%s to %s: %q", to, address, got)
				}
			}
		}
		parts := []Part{{second, Whole}}
		set("zoe", proof(t, key+1, "zoe", AddressWhat(parts)), parts...)
		if got := pay(payout.Signed, second); got != no(second) {
			t.Errorf("where it is another's: %q", got)
		}
	})
}

// A spend that a person books debits who was paid by it, once, below zero too.
func TestBookStranger(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob")
		b := s.Payments()
		entries := []payout.Entry{{Ledger: payout.Fees, Amount: -2}, {Ledger: payout.Balance, Account: 1, Amount: -10}, {Ledger: payout.Pool, Amount: -5}, {Ledger: payout.Chain, Amount: 17}}
		for range 2 {
			if err := b.BookStranger(t.Context(), "op", "ab", entries); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.Balances(t.Context())
		if text := fmt.Sprint(list, err); len(list) != 4 || !strings.Contains(text, "bob -10") || !strings.Contains(text, "{network fee    -2}") || !strings.Contains(text, "{fee    -5}") {
			t.Error(text)
		}
		if left, err := b.Strangers(t.Context(), []string{"ab", "cd"}); err != nil || fmt.Sprint(left) != "[cd]" {
			t.Error(left, err)
		}
		if audit, err := s.Audit(t.Context(), 0); err != nil || len(audit) != 1 || audit[0].Subject != "ab" {
			t.Error(audit, err)
		}
		if err := b.BookStranger(t.Context(), "op", "cd", []payout.Entry{{Ledger: payout.Balance, Account: 99, Amount: -1}, {Ledger: payout.Chain, Amount: 1}}); err == nil {
			t.Error("an account that does not exist is debited")
		}
		consistent(t, s)
	})
}

// An account is not debited of more than it has, and nothing of the change is stored.
func TestDebitTooMuch(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob")
		paidTo(t, s, 1, "x")
		if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: "a", Entries: []Entry{{Balance, user("bob"), 9}, {Chain, Owner{}, -9}}}); err != nil {
			t.Fatal(err)
		}
		b := s.Payments()
		list, err := b.Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "bob", Address: "x", Script: []byte{1}, Debit: 10, Amount: 10}}}})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		_, err = b.Change(t.Context(), list[0].ID, 0, payout.Change{To: payout.Signed, By: "op", Version: &payout.Version{Txid: "ab", Raw: []byte{1}, Amounts: []int64{10}},
			Postings: []payout.Posting{{Kind: payout.KindPayout, Reference: "payment 1", Entries: []payout.Entry{{Ledger: payout.Balance, Account: 1, Amount: -10}, {Ledger: payout.Paying, Amount: 10}}}}})
		if e, ok := errors.AsType[*payout.ShortError](err); !ok || e.Balance != 9 || e.Want != 10 {
			t.Error(err)
		}
		if now, err := b.Payment(t.Context(), list[0].ID); err != nil || now.State != payout.Planned || now.Serial != 0 || len(now.Versions) != 0 {
			t.Errorf("%+v, %v", now, err)
		}
		consistent(t, s)
	})
}

// Who is locked or held after a payment was planned is not paid by it.
func TestHeldAfterPlan(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob")
		paidTo(t, s, 1, "x")
		if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: "a", Entries: []Entry{{Balance, user("bob"), 10}, {Chain, Owner{}, -10}}}); err != nil {
			t.Fatal(err)
		}
		b := s.Payments()
		list, err := b.Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "bob", Address: "x", Script: []byte{1}, Debit: 10, Amount: 10}}}})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		signed := payout.Change{To: payout.Signed, By: "op", Version: &payout.Version{Txid: "ab", Raw: []byte{1}, Amounts: []int64{10}},
			Postings: []payout.Posting{{Kind: payout.KindPayout, Reference: "payment 1", Entries: []payout.Entry{{Ledger: payout.Balance, Account: 1, Amount: -10}, {Ledger: payout.Paying, Amount: 10}}}}}
		refused := func(why string) {
			t.Helper()
			was := money(t, s)
			for _, c := range []payout.Change{signed, {To: payout.Exported, By: "op", PSBT: "x"}} {
				if p, err := b.Change(t.Context(), list[0].ID, 0, c); err == nil || !strings.Contains(err.Error(), "would pay bob") || money(t, s) != was {
					t.Errorf("%s: %s, %v", why, p.State, err)
				}
			}
		}
		if err := s.Hold(t.Context(), "op", user("bob"), "who is he"); err != nil {
			t.Fatal(err)
		}
		refused("held")
		if err := errors.Join(s.Hold(t.Context(), "op", user("bob"), ""), s.Lock(t.Context(), "op", User, "bob", "asked")); err != nil {
			t.Fatal(err)
		}
		refused("locked")
		if err := s.Unlock(t.Context(), "op", User, "bob"); err != nil {
			t.Fatal(err)
		}
		if p, err := b.Change(t.Context(), list[0].ID, 0, signed); err != nil || p.State != payout.Signed {
			t.Errorf("%s, %v", p.State, err)
		}
		// Who planned and sent is in the audit log, and what the chain makes of it is not.
		if _, err := b.Change(t.Context(), list[0].ID, 1, payout.Change{To: payout.Broadcast, By: "ckdb"}); err != nil {
			t.Fatal(err)
		}
		if list, err := b.Begin(t.Context(), "ann", list); err != nil {
			t.Fatal(err)
		} else if _, err := b.Change(t.Context(), list[0].ID, 0, payout.Change{To: payout.Cancelled, By: "joe"}); err != nil {
			t.Fatal(err)
		}
		rows, err := s.Audit(t.Context(), 0)
		var got []string
		for _, r := range rows {
			if r.What == "payout" {
				got = append(got, strings.Join([]string{r.By, r.Subject, r.Before, r.After}, "; "))
			}
		}
		want := []string{
			"joe; payment 2; planned, 10 satoshis to 1 addresses; cancelled, 10 satoshis to 1 addresses",
			"ann; payment 2; none; planned, 10 satoshis to 1 addresses",
			"op; payment 1; planned, 10 satoshis to 1 addresses; signed, 10 satoshis to 1 addresses, transaction ab",
			"op; payment 1; none; planned, 10 satoshis to 1 addresses",
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}
		consistent(t, s)
	})
}

// 9: a payment without a transaction that is not open either, and one of which not all is
// booked that left the wallet, are told by check.
func TestCase9Check(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob")
		paidTo(t, s, 1, "x")
		if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: "a", Entries: []Entry{{Balance, user("bob"), 30}, {Chain, Owner{}, -30}}}); err != nil {
			t.Fatal(err)
		}
		b := s.Payments()
		pay := func(version *payout.Version, chain int64) {
			t.Helper()
			list, err := b.Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "bob", Address: "x", Script: []byte{1}, Debit: 10, Amount: 10}}}})
			if err != nil {
				t.Fatal(err)
			}
			ref := fmt.Sprintf("payment %d", list[0].ID)
			if _, err = b.Change(t.Context(), list[0].ID, 0, payout.Change{To: payout.Signed, By: "op", Version: version,
				Postings: []payout.Posting{{Kind: payout.KindPayout, Reference: ref, Entries: []payout.Entry{{Ledger: payout.Balance, Account: 1, Amount: -10}, {Ledger: payout.Paying, Amount: 10}}}}}); err != nil {
				t.Fatal(err)
			}
			if version == nil {
				return
			}
			if _, err = b.Change(t.Context(), list[0].ID, 1, payout.Change{To: payout.Confirmed, By: "op", Booked: version.Txid, Block: &payout.Block{Txid: version.Txid, Hash: "cd", Height: 1, Confirmations: 1},
				Postings: []payout.Posting{{Kind: payout.KindConfirmed, Reference: ref, Entries: []payout.Entry{{Ledger: payout.Paying, Amount: -10}, {Ledger: payout.Chain, Amount: chain}, {Ledger: payout.Fees, Amount: 10 - chain}}}}}); err != nil {
				t.Fatal(err)
			}
		}
		pay(&payout.Version{Txid: "ab", Raw: []byte{1}, Fee: 3, Amounts: []int64{10}}, 13)
		consistent(t, s)
		pay(&payout.Version{Txid: "ac", Raw: []byte{1}, Fee: 3, Amounts: []int64{10}}, 12)
		pay(nil, 0)
		list, err := s.Check(t.Context(), nil)
		if want := []string{"payment 3 is signed, and there is no transaction of it that was", "payment 2: 13 satoshis left the wallet by it, booked are 12"}; err != nil || !slices.Equal(list, want) {
			t.Errorf("%q, %v", list, err)
		}
	})
}

// An input is one payment's, as long as that may still be sent.
func TestInputTaken(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob")
		paidTo(t, s, 1, "x")
		if _, err := s.Post(t.Context(), Transaction{Kind: Maturity, Reference: "a", Entries: []Entry{{Balance, user("bob"), 20}, {Chain, Owner{}, -20}}}); err != nil {
			t.Fatal(err)
		}
		b := s.Payments()
		var list []payout.Payment
		for range 2 {
			begun, err := b.Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "bob", Address: "x", Script: []byte{1}, Debit: 10, Amount: 10}}}})
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, begun...)
		}
		inputs := []payout.Input{{Point: wire.OutPoint{Index: 7}, Value: 20, Script: []byte{1}}}
		exported := payout.Change{To: payout.Exported, By: "op", PSBT: "x", Inputs: inputs}
		if _, err := b.Change(t.Context(), list[0].ID, 0, exported); err != nil {
			t.Fatal(err)
		}
		was := money(t, s)
		for _, c := range []payout.Change{exported, {To: payout.Signed, By: "op", Version: &payout.Version{Txid: "ab", Raw: []byte{1}, Amounts: []int64{10}, Inputs: inputs}}} {
			_, err := b.Change(t.Context(), list[1].ID, 0, c)
			if e, ok := errors.AsType[*payout.TakenError](err); !ok || e.By != list[0].ID || money(t, s) != was {
				t.Errorf("%s: %v", c.To, err)
			}
		}
		if _, err := b.Change(t.Context(), list[0].ID, 1, payout.Change{To: payout.Cancelled, By: "op"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Change(t.Context(), list[1].ID, 0, exported); err != nil {
			t.Error(err)
		}
	})
}

// What can be set is what payouts go by: no setting is taken that they all refuse then.
func TestPayoutBounds(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		for name, more := range map[string][]string{SettingLeast: {"1", "1000000000"}, SettingFeeMost: {"1", "2100000000000000"}, SettingRateMost: {"1", "100000000"}, SettingAutopay: nil, SettingDay: nil} {
			for _, value := range append([]string{"0", "1", "100000001", "2100000000000000", "2100000000000001"}, more...) {
				_, err := s.Set(t.Context(), Setting{Name: name, Value: value, By: "op"})
				if err != nil && (slices.Contains(more, value) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "want a whole number from ")) {
					t.Errorf("%s %s: %v", name, value, err)
				}
				v, _, err := s.PayoutSettings(t.Context())
				if err == nil {
					err = v.Check()
				}
				if err != nil {
					t.Fatalf("%s %s: %v", name, value, err)
				}
			}
		}
	})
}
