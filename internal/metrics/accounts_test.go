package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/latency"
)

// book is accounts that are always the same.
type book AccountFigures

func (b book) AccountFigures() AccountFigures { return AccountFigures(b) }

// kept is accounts of which every figure is another one.
func kept() book {
	var c latency.Counter
	c.Count(75*time.Millisecond, 5)
	b := book{
		Version: "1.2.3", Started: time.UnixMilli(1795327613500), Looked: time.Unix(1795327700, 0),
		Journals: []Journal{
			{Pool: "main", Shares: 100, Repeated: 3, Expired: 4, Behind: 20, Lag: 1500 * time.Millisecond, Gaps: 1},
			{Pool: "site", Shares: 7, Behind: 1, Lag: time.Minute, Failing: true},
		},
		Database: &Database{
			Up: true, Took: 12 * time.Millisecond, Books: map[string]int64{"balance": 2_099_999_999_999_999, "fee": 12, "chain": -2_100_000_000_000_011},
			Owed: 2_099_999_999_999_999, Debts: -5, Stopped: 6, Paid: 7, Blocks: map[string]int64{"matured": 8, "orphaned": 9}, Payments: map[string]int64{"confirmed": 10, "broadcast": 11},
			Unrewarded: 13, Alarms: 14,
		},
		Chain: &Chain{Up: true, Node: 900001, Height: 900000}, Wallet: &Wallet{At: time.Unix(1795327600, 0), Coins: 15, Missing: 16},
		Logins: control.Counts{{Name: "accepted", Count: 17}, {Name: "too many tries", Count: 18}}, Sessions: 19,
	}
	c.AddTo(&b.Batches)
	return b
}

func TestAccountValues(t *testing.T) {
	got := scraped(t, AccountHandler(kept()))
	for _, want := range []string{
		`ckdb_build_info{version="1.2.3"} 1`, `ckdb_start_time_seconds 1.7953276135e+09`, `ckdb_looked_timestamp_seconds 1.7953277e+09`,
		`ckdb_journal_shares_total{pool="main"} 100`, `ckdb_journal_shares_total{pool="site"} 7`,
		`ckdb_journal_repeated_shares_total{pool="main"} 3`, `ckdb_journal_expired_shares_total{pool="main"} 4`,
		`ckdb_journal_behind_shares{pool="main"} 20`, `ckdb_journal_lag_seconds{pool="main"} 1.5`, `ckdb_journal_lag_seconds{pool="site"} 60`,
		`ckdb_journal_failing{pool="main"} 0`, `ckdb_journal_failing{pool="site"} 1`, `ckdb_journal_gaps{pool="main"} 1`,
		`ckdb_batch_latency_seconds_bucket{le="0.05"} 0`, `ckdb_batch_latency_seconds_bucket{le="0.1"} 5`, `ckdb_batch_latency_seconds_sum 0.375`,
		`ckdb_database_up 1`, `ckdb_database_answer_seconds 0.012`, `ckdb_node_up 1`, `ckdb_node_height 900001`, `ckdb_chain_height 900000`,
		`ckdb_blocks{state="matured"} 8`, `ckdb_blocks{state="orphaned"} 9`, `ckdb_blocks_unrewarded 13`, `ckdb_alarms 14`,
		// As many satoshis as there will ever be, exact.
		`ckdb_ledger_satoshis{book="balance"} 2.099999999999999e+15`, `ckdb_ledger_satoshis{book="chain"} -2.100000000000011e+15`, `ckdb_ledger_satoshis{book="fee"} 12`,
		`ckdb_owed_satoshis 2.099999999999999e+15`, `ckdb_debts_satoshis 5`, `ckdb_stopped_satoshis 6`, `ckdb_paid_satoshis 7`,
		`ckdb_payments{state="confirmed"} 10`, `ckdb_payments{state="broadcast"} 11`,
		`ckdb_wallet_satoshis 15`, `ckdb_wallet_missing_satoshis 16`, `ckdb_wallet_compared_timestamp_seconds 1.7953276e+09`,
		`ckdb_logins_total{result="accepted"} 17`, `ckdb_logins_total{result="too many tries"} 18`, `ckdb_sessions 19`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, m := range accountTable() {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, accountPrefix+m.name) }) {
			t.Errorf("%s has no value", m.name)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
}

// What is not known is not told: an amount of 0 would be one.
func TestDatabaseAway(t *testing.T) {
	b := kept()
	b.Database, b.Chain, b.Wallet = &Database{}, &Chain{}, nil
	b.Journals = []Journal{{Pool: "main", Unknown: true}, {Pool: "site", Failing: true, Unknown: true}}
	got := scraped(t, AccountHandler(b))
	for _, want := range []string{`ckdb_journal_failing{pool="main"} 0`, `ckdb_journal_failing{pool="site"} 1`, `ckdb_database_up 0`, `ckdb_node_up 0`, `ckdb_node_height NaN`, `ckdb_chain_height NaN`, `ckdb_sessions 19`} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, line := range got {
		if strings.Contains(line, "satoshis") || strings.Contains(line, "payments") || strings.Contains(line, "database_answer") || strings.HasPrefix(line, "ckdb_journal_") && !strings.HasPrefix(line, "ckdb_journal_failing{") {
			t.Errorf("%s, of a database that is away", line)
		}
	}
	b.Database = nil // the journals go to another site
	if got := scraped(t, AccountHandler(b)); slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "database") }) {
		t.Errorf("there is no database:\n%s", strings.Join(got, "\n"))
	}
}

// The directory of a journal that cannot be read stands for its pool, whatever it is called.
func TestOddLabel(t *testing.T) {
	b := kept()
	b.Journals = []Journal{{Pool: "/journals/\xff", Failing: true}}
	if got := scraped(t, AccountHandler(b)); !slices.Contains(got, "ckdb_journal_failing{pool=\"/journals/\uFFFD\"} 1") {
		t.Errorf("%q", got)
	}
}
