package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func payment(id int64, state string) Payment {
	p := Payment{Payment: id, Amount: id * 100_000_000, Outputs: 2, State: state}
	if state != "planned" {
		p.First = fmt.Sprintf("%064x", id)
		p.Transaction = p.First
	}
	return p
}

func matured(height int64, mature bool) Reward {
	return Reward{Height: height, Block: fmt.Sprintf("%064x", height), Value: 312500000, Mature: mature}
}

// What becomes of payments and rewards is told once, whatever ends in between. What was
// before there was anybody to tell is not told, and what a database that is away does not
// know is no news.
func TestAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.pool.accounts = &Accounts{Payments: []Payment{payment(1, "confirmed"), payment(2, "signed")}, Rewards: []Reward{matured(10, true), matured(11, false)}}
		all, bob := target("all", ""), target("bob", "bob")
		f.start(all, bob)
		set := func(a Accounts) {
			f.pool.change(func() { f.pool.accounts = &a })
			time.Sleep(20 * time.Second)
		}
		time.Sleep(20 * time.Second)
		f.want("all")
		old := []Payment{payment(1, "confirmed")}
		rewards := []Reward{matured(11, true), matured(10, true)} // in any order
		set(Accounts{Payments: append(old, payment(2, "broadcast"), payment(3, "planned")), Rewards: rewards})
		f.want("all", "The reward of block 11 is mature", "Payment 2 of 2 BTC is sent")
		f.end()
		// Another process; meanwhile one was replaced and confirmed, and another sent.
		bumped := payment(2, "confirmed")
		bumped.Transaction, bumped.Height = "other", 900
		f.pool.accounts = &Accounts{Away: "it does not answer"}
		f.start(all, bob)
		time.Sleep(time.Minute)
		set(Accounts{Payments: append(old, bumped, payment(3, "broadcast")), Rewards: rewards})
		got := f.fakes["all"].takeSent()
		var titles []string
		for _, n := range got {
			titles = append(titles, n.Title)
			if n.Payment != nil && n.Payment.Payment == 2 {
				if b, err := json.Marshal(n.outside()); err != nil || !strings.Contains(string(b), `"payment":{"payment":2,"amount":200000000,"outputs":2,"transaction":"other","height":900}`) {
					t.Errorf("%s, %v", b, err)
				}
			}
		}
		if want := "[Payment 2 of 2 BTC is confirmed Payment 3 of 3 BTC is sent]"; fmt.Sprint(titles) != want {
			t.Errorf("%v, want %s", titles, want)
		}
		// A block with a payout and a reward is gone.
		back := bumped
		back.State = "broadcast"
		set(Accounts{Payments: append(old, back, payment(3, "broadcast")), Rewards: []Reward{matured(10, true), matured(11, false)}})
		f.want("all", "The reward of block 11 was taken back")
		lost := payment(3, "cancelled")
		lost.Reason = "another transaction spends its coins"
		set(Accounts{Payments: append(old, bumped, lost), Rewards: rewards})
		f.want("all", "The reward of block 11 is mature", "Payment 3 of 3 BTC is cancelled")
		f.want("bob") // of whom none of it is
		f.end()
		if lines := f.said.take(); lines != nil {
			t.Errorf("%q", lines)
		}
	})
}

// Books that do not agree, lag and gaps are told, and when they are over.
func TestBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		fine := Journal{Pool: "main"}
		f.pool.accounts = &Accounts{Journals: []Journal{fine}}
		f.start(target("all", ""))
		set := func(a Accounts, d time.Duration) {
			f.pool.change(func() { f.pool.accounts = &a })
			time.Sleep(d)
		}
		time.Sleep(time.Hour)
		f.want("all")
		set(Accounts{Journals: []Journal{{Pool: "main", Lag: 4 * time.Minute}}, Chain: "it does not answer"}, 8*time.Minute)
		f.want("all")
		set(Accounts{Journals: []Journal{{Pool: "main", Lag: 6 * time.Minute}}, Chain: "it does not answer"}, 3*time.Minute)
		f.want("all", "ckdb is behind with the journal of main", "ckdb is behind with the chain")
		set(Accounts{Journals: []Journal{{Pool: "main", Trouble: "an older copy"}}}, 2*time.Minute)
		f.want("all")
		set(Accounts{Journals: []Journal{fine}}, 11*time.Minute)
		f.want("all", "ckdb has caught up with the journal of main", "ckdb has caught up with the chain")
		// A loss is told at once, and again when there is more.
		gaps := func(n int) []Journal { return []Journal{{Pool: "main", Gaps: n}} }
		set(Accounts{Journals: gaps(1), Compared: true, Missing: 150_000_000, Alarms: []string{"work that cannot have been done"}}, 30*time.Second)
		got := f.fakes["all"].takeSent()
		var texts []string
		for _, n := range got {
			texts = append(texts, plain(n.Title+": "+n.Text))
		}
		want := []string{
			"Shares of main are missing: Its journal has 1 gap: shares are missing that no database has.",
			"The books do not agree: the wallet: It lacks 1.5 BTC of what it must have by the ledger.",
			"The books do not agree: alarms: Work that cannot have been done.",
		}
		if fmt.Sprint(texts) != fmt.Sprint(want) {
			t.Errorf("%q, want %q", texts, want)
		}
		// What an alarm says is told to its end.
		alarm := "Block " + strings.Repeat("0", 64) + " at height 900,001 pays the pool 312,500,000 satoshis, and no pool has told of it"
		set(Accounts{Journals: gaps(1), Compared: true, Missing: 150_000_000, Alarms: []string{alarm, "work that cannot have been done"}}, 30*time.Second)
		if got := f.fakes["all"].takeSent(); len(got) != 1 || got[0].Text != alarm+"." {
			t.Errorf("%+v", got)
		}
		// While the database is away nothing is over that was told.
		set(Accounts{Journals: []Journal{fine}, Away: "no answer"}, 5*time.Minute)
		f.want("all", "ckdb is behind with the database")
		f.end()
		f.start(target("all", ""))
		set(Accounts{Journals: gaps(2), Compared: true, Missing: 1}, 5*time.Minute)
		f.want("all", "Shares of main are missing", "The books agree again: alarms", "ckdb has caught up with the database")
		f.end()
	})
}

// A process that has not compared the wallet yet, such as beside a node that starts as well,
// does not know that it is in order.
func TestWalletNotCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.pool.accounts = &Accounts{Compared: true, Missing: 150_000_000}
		f.start(target("all", ""))
		time.Sleep(5 * time.Minute)
		f.want("all", "The books do not agree: the wallet")
		f.end()
		f.pool.accounts = &Accounts{}
		f.start(target("all", ""))
		time.Sleep(10 * time.Minute)
		f.want("all")
		f.pool.change(func() { f.pool.accounts = &Accounts{Compared: true} })
		time.Sleep(time.Minute)
		f.want("all", "The books agree again: the wallet")
		f.end()
	})
}

// A database that does not answer tells nothing of how far journals are stored: none has
// caught up by that, and what was told of one is not told again.
func TestJournalsWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		late := []Journal{{Pool: "main", Lag: 6 * time.Minute}, {Pool: "site", Lag: 7 * time.Minute}}
		f.pool.accounts = &Accounts{Journals: late}
		f.start(target("all", ""))
		set := func(a Accounts) {
			f.pool.change(func() { f.pool.accounts = &a })
			time.Sleep(5 * time.Minute)
		}
		set(Accounts{Journals: late})
		f.want("all", "ckdb is behind with the journal of main", "ckdb is behind with the journal of site")
		set(Accounts{Away: "no answer", Journals: []Journal{{Pool: "main"}}}) // the site's is known by the database alone
		f.want("all", "ckdb is behind with the database")
		set(Accounts{Away: "no answer", Journals: []Journal{{Pool: "main", Trouble: "no answer"}}})
		f.want("all")
		set(Accounts{Journals: late})
		f.want("all", "ckdb has caught up with the database")
		set(Accounts{Journals: []Journal{{Pool: "main"}, {Pool: "site"}}})
		f.want("all", "ckdb has caught up with the journal of main", "ckdb has caught up with the journal of site")
		f.end()
	})
}
