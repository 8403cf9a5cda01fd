package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/payout"
)

// rates are the pool's own statistics, once a minute for an hour.
func (p *toldPool) rates(perSecond float64) {
	b := &Batch{}
	for i := range int64(60) {
		b.Minutes = append(b.Minutes, Minute{At: started + (i+1)*60_000_000 + p.clock, Rate1m: difficulty.ExactOf(perSecond), Rate5m: difficulty.ExactOf(perSecond)})
	}
	p.tell(b)
}

// 24: an hour whose work cannot have been done holds payouts, and names whose it is: an
// account's, whose hashes are too poor for it, and a pool's, whose own statistics know of
// far less. An hour of much honest work does not.
func TestCase24Hour(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.pool(1).jobAt(101, 1e6)
		n.pool(2).jobAt(101, 1e6)
		hour := int64(3600_000_000)
		many := func(p *toldPool, name string, credit, best, worst float64) {
			b := &Batch{Workers: []Worker{{User, name, "rig"}}, Agents: []string{"x"}}
			for range 200 {
				p.n++
				v := Share{Received: started + 60_000_000 + int64(p.n) + p.clock, NTime: p.ntime, Job: p.job.ID, Credit: difficulty.ExactOf(credit), Achieved: difficulty.ExactOf(credit)}
				v.Hash = [16]byte{byte(p.n), byte(p.n >> 8), byte(p.n >> 16)}
				b.Shares = append(b.Shares, v)
			}
			b.Shares[7].Achieved = difficulty.ExactOf(best)
			b.Shares[9].Achieved = difficulty.ExactOf(credit * worst)
			p.tell(b)
		}
		// 200 shares of 1000: bob's best is 40 times below his work, and so just possible;
		// eve's is a little less. So is that of joe, who has kept better ones back: each of his
		// is worth what he is credited with.
		many(n.pool(1), "bob", 1000, 5000, 0.9)
		many(n.pool(1), "eve", 1000, 4999.9, 0.9)
		many(n.pool(1), "joe", 1000, 4999.9, 1)
		n.pool(1).rates(200_000. / 3600) // a third of it
		many(n.pool(2), "zoe", 1000, 200_000, 1)
		n.pool(2).rates(200_000. / 3600 / 9)
		open := func() (list []string) {
			t.Helper()
			alarms, err := n.s.Alarms(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range alarms {
				if a.Ended == 0 {
					list = append(list, a.Subject)
				}
			}
			slices.Sort(list)
			return list
		}
		wait := func(at int64) []string {
			for _, p := range []*toldPool{n.pool(1), n.pool(2)} {
				p.now = started + at
				p.tell(&Batch{})
			}
			return n.follow()
		}
		// bob is owed something of before.
		if _, err := n.s.Post(t.Context(), Transaction{Kind: Maturity, Reference: "a", Entries: []Entry{{Balance, user("bob"), 900_000}, {Chain, Owner{}, -900_000}}}); err != nil {
			t.Fatal(err)
		}
		paidTo(t, n.s, 1, "x")
		b := n.s.Payments()
		begun, err := b.Begin(t.Context(), "op", []payout.Payment{{Outputs: []payout.Output{{Account: 1, Name: "bob", Address: "x", Script: []byte{1}, Debit: 10, Amount: 10}}}})
		if err != nil {
			t.Fatal(err)
		}
		if told := wait(hour); len(told)+len(open()) != 0 { // it is not over for long enough
			t.Errorf("%q", told)
		}
		told := wait(hour + hourAfter.Microseconds())
		want := []string{"2026-07-14T12/01000000/user:eve", "2026-07-14T12/02000000/all"}
		if got := open(); !slices.Equal(got, want) {
			t.Errorf("alarms %q, want %q", got, want)
		}
		if text := strings.Join(told, "\n"); len(told) != 2 || !strings.Contains(text, "user eve at pool pool1") || !strings.Contains(text, "200000 is credited, and its best hash is of difficulty 4999.9") {
			t.Errorf("%q", told)
		}
		sign := func() error {
			_, err := b.Change(t.Context(), begun[0].ID, 0, payout.Change{To: payout.Signed, By: "op", Version: &payout.Version{Txid: "ab", Raw: []byte{1}, Amounts: []int64{10}},
				Postings: []payout.Posting{{Kind: payout.KindPayout, Reference: fmt.Sprintf("payment %d", begun[0].ID), Entries: []payout.Entry{{Ledger: payout.Balance, Account: 1, Amount: -10}, {Ledger: payout.Paying, Amount: 10}}}}})
			return err
		}
		stopped := func(yes bool) {
			t.Helper()
			list, err := n.s.Payees(t.Context())
			if err != nil || len(list) != 1 || (list[0].Held == ErrImplausible.Error()) != yes {
				t.Errorf("%+v, %v", list, err)
			}
		}
		stopped(true)
		if err := sign(); !errors.Is(err, ErrImplausible) {
			t.Errorf("%v", err)
		}
		if _, err := b.Change(t.Context(), begun[0].ID, 0, payout.Change{To: payout.Exported, By: "op", PSBT: "x"}); !errors.Is(err, ErrImplausible) {
			t.Errorf("%v", err)
		}
		before := dump(t, n.s)
		for _, v := range [][3]string{{"", want[0], "seen"}, {"ann", want[0], ""}, {"ann", want[0] + "x", "seen"}} {
			if err := n.s.BookWork(t.Context(), v[0], v[1], v[2]); err == nil {
				t.Errorf("%q", v)
			}
		}
		if dump(t, n.s) != before {
			t.Error("refused, and changed")
		}
		if err := n.s.BookWork(t.Context(), "ann", want[0], "a wrong difficulty was set"); err != nil {
			t.Error(err)
		}
		stopped(true)
		if err := n.s.BookWork(t.Context(), "ann", want[1], "statistics were lost"); err != nil {
			t.Error(err)
		}
		stopped(false)
		if err := sign(); err != nil {
			t.Error(err)
		}
		if told := wait(hour + 2*hourAfter.Microseconds()); len(told)+len(open()) != 0 {
			t.Errorf("booked, and raised again: %q", told)
		}
		// Hours of a clock that was ahead do not hide those that come when it is set back.
		n.pool(1).clock = -3 * hour
		wait(hour + 2*hourAfter.Microseconds())
		n.pool(1).clock = -2 * hour
		many(n.pool(1), "mallory", 9000, 9000, 0.5)
		wait(2*hour + hourAfter.Microseconds())
		if got := open(); !slices.Equal(got, []string{"2026-07-14T10/01000000/user:mallory"}) {
			t.Errorf("%q", got)
		}
		// It comes to an hour again that was booked.
		n.pool(1).clock = 0
		if told := wait(2*hour + hourAfter.Microseconds()); len(told) != 0 || len(open()) != 1 {
			t.Errorf("booked, and raised again: %q, open: %q", told, open())
		}
		audit, err := n.s.Audit(t.Context(), 0)
		audit = slices.DeleteFunc(audit, func(k AuditRow) bool { return k.What != "alarm" })
		if err != nil || len(audit) != 2 || audit[1].Subject != want[0] || audit[1].After != "a wrong difficulty was set" {
			t.Errorf("%+v, %v", audit, err)
		}
	})
}

// 24: on the main network no pool does more than all of it.
func TestCase24Network(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		in := instance(1)
		in.Network = "main"
		if _, err := s.Register(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		for i, v := range []struct{ credit, want float64 }{{12_000 - 42, 0}, {12_001 - 42, 1}} {
			b := batch(in, int64(10*i+1), int64(10*i+2))
			b.To.Number += 8
			if i > 0 {
				b.From.Number = 10
			}
			b.Jobs = []Job{{Number: b.From.Number + 1, ID: uint64(i + 1), NTime: uint32(started / 1_000_000), Difficulty: difficulty.ExactOf(1000), Created: started, Record: []byte{1}}}
			for k := range b.Shares {
				b.Shares[k].Job, b.Shares[k].Received = uint64(i+1), b.Shares[k].Received+int64(i)*3600_000_000
			}
			b.Shares[0].Credit, b.Shares[0].Achieved = difficulty.ExactOf(v.credit), difficulty.ExactOf(v.credit)
			b.At = started + int64(i+1)*3600_000_000 + hourAfter.Microseconds()
			apply(t, s, b)
			if told, err := s.weigh(t.Context()); err != nil || len(told) != int(v.want) {
				t.Errorf("%v: %q, %v", v.credit, told, err)
			}
		}
	})
}
