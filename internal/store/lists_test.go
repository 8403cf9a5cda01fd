package store

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Lists of accounts and workers come in parts, with the sums of what is in the part alone.
func TestLists(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		people(t, s, "Bob", "b_b", "zoe")
		now := time.Now().Truncate(time.Hour).Add(time.Minute)
		b := &Batch{Instance: in.ID, To: Position{Epoch: 1, Number: 4}, At: now.UnixMicro(), Agents: []string{"x"},
			Workers: []Worker{{User, "Bob", "rig1"}, {User, "Bob", "rig2"}, {Address, "bcrt1qexample", ""}}}
		for n := range int64(4) {
			v := share(n+1, 42)
			v.Worker, v.Received, v.NTime = int32(n%3), now.UnixMicro()+n, uint32(now.Unix())
			b.Shares = append(b.Shares, v)
		}
		apply(t, s, b)
		if _, err := s.Post(t.Context(), Transaction{Kind: Reward, Reference: "1", Entries: []Entry{{Balance, user("Bob"), 5}, {Immature, user("Bob"), 6}, {Immature, user("zoe"), 7}, {Chain, Owner{}, -18}}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Hold(t.Context(), "op", user("zoe"), "who is she"); err != nil {
			t.Fatal(err)
		}
		text := func(list []AccountLine, total int, err error) string {
			out := fmt.Sprint(total, err)
			for _, a := range list {
				last := int64(0)
				if a.LastShare > 0 {
					last = a.LastShare - now.UnixMicro()
				}
				out += fmt.Sprintf("; %s %s %d %d %s %d %d %s", a.Kind, a.Name, a.Workers, last, a.Recent, a.Balance, a.Immature, a.Hold)
			}
			return out
		}
		for _, fold := range []bool{false, true} { // what is pending counts as what is not
			if fold {
				s.foldLeast = 0
				apply(t, s, &Batch{Instance: in.ID, From: b.To, To: Position{Epoch: 1, Number: 5}, At: now.UnixMicro()})
			}
			for _, tt := range []struct {
				search      string
				from, limit int
				want        string
			}{
				{"", 0, 10, "4 <nil>; address bcrt1qexample 1 2 42 0 0 ; user Bob 2 3 126 5 6 ; user b_b 0 0 0 0 0 ; user zoe 0 0 0 0 7 who is she"},
				{"", 1, 1, "4 <nil>; user Bob 2 3 126 5 6 "},
				{"B", 1, 1, "3 <nil>; user Bob 2 3 126 5 6 "},
				{"_", 0, 10, "1 <nil>; user b_b 0 0 0 0 0 "}, {"%", 0, 10, "0 <nil>"}, {`\`, 0, 10, "0 <nil>"}, {"", 9, 10, "4 <nil>"},
			} {
				if got := text(s.Accounts(t.Context(), tt.search, tt.from, tt.limit)); got != tt.want {
					t.Errorf("%q from %d, %d:\n%s, want\n%s", tt.search, tt.from, tt.limit, got, tt.want)
				}
			}
			var names []string
			for from := range 3 {
				numbers, total, err := s.WorkersOf(t.Context(), user("Bob"), from, 1)
				if err != nil || total != 2 {
					t.Fatal(total, err)
				}
				if len(numbers) == 0 {
					continue
				}
				list, err := s.Sums(t.Context(), Query{By: ByWorker, Days: true}.Of(numbers))
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range list {
					names = append(names, fmt.Sprintf("%s %d", r.Name, r.Accepted.Count))
				}
			}
			if !slices.Equal(names, []string{"rig1 2", "rig2 1"}) {
				t.Errorf("workers %q", names)
			}
		}
	})
}
