package metrics

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/latency"
)

// AccountSource is what keeps accounts, and is looked at from any goroutine.
type AccountSource interface {
	AccountFigures() AccountFigures
}

// AccountFigures is how accounts are kept. Amounts are satoshis.
type AccountFigures struct {
	Version  string
	Started  time.Time
	Looked   time.Time      // when Journals and Database were looked at last; zero: not yet
	Journals []Journal      // one of each pool
	Batches  latency.Counts // from a batch of records to its commit
	Database *Database      // nil: the journals go to another site
	Chain    *Chain         // nil: no node is followed
	Wallet   *Wallet        // nil: it was not compared with the ledger
	Logins   control.Counts // by what became of them
	Sessions int            // of people who are logged in
}

// Journal is how far that of a pool is stored.
type Journal struct {
	Pool                      string
	Shares, Repeated, Expired int64
	Behind                    uint64        // shares
	Lag                       time.Duration // since the first record that is not stored
	Failing                   bool
	Gaps                      int64
	Unknown                   bool // the database does not answer: there is Failing alone
}

// Database is what is in it. All but Up and Took is only known where it is Up.
type Database struct {
	Up                         bool
	Took                       time.Duration
	Books                      map[string]int64
	Owed, Debts, Stopped, Paid int64
	Blocks, Payments           map[string]int64 // how many, by state
	Unrewarded, Alarms         int64
}

// Chain is how far that of a node is followed.
type Chain struct {
	Up           bool
	Node, Height int64 // height of the node's newest block, and of the newest one that was taken over
}

// Wallet is what it has against the ledger.
type Wallet struct {
	At             time.Time
	Coins, Missing int64
}

// accountPrefix is that of every metric of accounts.
const accountPrefix = "ckdb_"

// AccountHandler answers scrapes with the metrics of accounts, of Go and of the process,
// at most a few at a time.
func AccountHandler(source AccountSource) http.Handler {
	return handler(newAccountCollector(source))
}

func newAccountCollector(source AccountSource) *collector[AccountFigures] {
	return collect(accountPrefix, accountTable(), func() *AccountFigures {
		f := source.AccountFigures()
		return &f
	})
}

// eachJournal is the values of a metric by pool, of what is known.
func eachJournal(of func(j *Journal) float64) func(*AccountFigures, func(float64, ...string)) {
	return func(s *AccountFigures, give func(float64, ...string)) {
		for i := range s.Journals {
			if j := &s.Journals[i]; !j.Unknown {
				give(of(j), j.Pool)
			}
		}
	}
}

// stored is a value of the database, which is not there while that does not answer.
func stored(of func(d *Database) float64) func(*AccountFigures, func(float64, ...string)) {
	return func(s *AccountFigures, give func(float64, ...string)) {
		if s.Database != nil && s.Database.Up {
			give(of(s.Database))
		}
	}
}

// storedBy is values of the database by name.
func storedBy(of func(d *Database) map[string]int64) func(*AccountFigures, func(float64, ...string)) {
	return func(s *AccountFigures, give func(float64, ...string)) {
		if s.Database == nil || !s.Database.Up {
			return
		}
		list := of(s.Database)
		for _, name := range slices.Sorted(maps.Keys(list)) {
			give(float64(list[name]), name)
		}
	}
}

// chained is a value of the chain that is followed.
func chained(of func(c *Chain) float64) func(*AccountFigures, func(float64, ...string)) {
	return func(s *AccountFigures, give func(float64, ...string)) {
		if s.Chain != nil {
			give(of(s.Chain))
		}
	}
}

func height(n int64) float64 {
	if n <= 0 {
		return math.NaN()
	}
	return float64(n)
}

// compared is a value of the wallet.
func compared(of func(w *Wallet) float64) func(*AccountFigures, func(float64, ...string)) {
	return func(s *AccountFigures, give func(float64, ...string)) {
		if s.Wallet != nil {
			give(of(s.Wallet))
		}
	}
}

// accountTable is every metric of accounts. docs/metrics.md has each.
func accountTable() []metric[AccountFigures] {
	type give = func(float64, ...string)
	type figures = AccountFigures
	pool, state := []string{"pool"}, []string{"state"}
	return []metric[figures]{
		{name: "build_info", help: "1, labelled by the version of the program.", kind: gauge, labels: []string{"version"}, values: func(s *figures, give give) { give(1, s.Version) }},
		{name: "start_time_seconds", help: "When the process began, unix time.", kind: gauge, values: one(func(s *figures) float64 { return float64(s.Started.UnixMilli()) / 1000 })},
		{name: "looked_timestamp_seconds", help: "When journals and database were looked at last for what is told here, unix time.", kind: gauge, values: func(s *figures, give give) {
			if !s.Looked.IsZero() {
				give(float64(s.Looked.Unix()))
			}
		}},

		{name: "journal_shares_total", help: "Shares of a pool that are stored.", kind: counter, labels: pool, values: eachJournal(func(j *Journal) float64 { return float64(j.Shares) })},
		{name: "journal_repeated_shares_total", help: "Shares that were stored before, and are credited once.", kind: counter, labels: pool, values: eachJournal(func(j *Journal) float64 { return float64(j.Repeated) })},
		{name: "journal_expired_shares_total", help: "Shares that came after their day was dropped.", kind: counter, labels: pool, values: eachJournal(func(j *Journal) float64 { return float64(j.Expired) })},
		{name: "journal_behind_shares", help: "Shares in the journal that are not stored.", kind: gauge, labels: pool, values: eachJournal(func(j *Journal) float64 { return float64(j.Behind) })},
		{name: "journal_lag_seconds", help: "How old the first record is that is not stored, 0 where all are.", kind: gauge, labels: pool, values: eachJournal(func(j *Journal) float64 { return j.Lag.Seconds() })},
		{name: "journal_failing", help: "1 if the journal cannot be stored at present.", kind: gauge, labels: pool, values: func(s *figures, give give) {
			for i := range s.Journals {
				give(truth(s.Journals[i].Failing), s.Journals[i].Pool)
			}
		}},
		{name: "journal_gaps", help: "Ranges of records that the journal does not have.", kind: gauge, labels: pool, values: eachJournal(func(j *Journal) float64 { return float64(j.Gaps) })},
		{name: "batch_latency_seconds", help: "From a batch of records to its commit.", kind: histogram, counts: func(s *figures) latency.Counts { return s.Batches }},

		{name: "database_up", help: "1 if the database answers. While it does not, what is in it is not told.", kind: gauge, values: func(s *figures, give give) {
			if s.Database != nil {
				give(truth(s.Database.Up))
			}
		}},
		{name: "database_answer_seconds", help: "How long the database took for the figures that are told here.", kind: gauge, values: stored(func(d *Database) float64 { return d.Took.Seconds() })},
		{name: "node_up", help: "1 if blocks are followed on the node.", kind: gauge, values: chained(func(c *Chain) float64 { return truth(c.Up) })},
		{name: "node_height", help: "Height of the node's chain, NaN before it has answered.", kind: gauge, values: chained(func(c *Chain) float64 { return height(c.Node) })},
		{name: "chain_height", help: "Height that the chain is taken over to, NaN before any of it is.", kind: gauge, values: chained(func(c *Chain) float64 { return height(c.Height) })},
		{name: "blocks", help: "Blocks that pay the pool, by what became of them.", kind: gauge, labels: state, values: storedBy(func(d *Database) map[string]int64 { return d.Blocks })},
		{name: "blocks_unrewarded", help: "Blocks in the chain, or that may come to be, without a reward.", kind: gauge, values: stored(func(d *Database) float64 { return float64(d.Unrewarded) })},
		{name: "alarms", help: "Alarms that nobody has ended.", kind: gauge, values: stored(func(d *Database) float64 { return float64(d.Alarms) })},

		{name: "ledger_satoshis", help: "What each book of the ledger has, those of all accounts together. All books sum to 0.", kind: gauge, labels: []string{"book"}, values: storedBy(func(d *Database) map[string]int64 { return d.Books })},
		{name: "owed_satoshis", help: "Mature balances of accounts, but for negative ones.", kind: gauge, values: stored(func(d *Database) float64 { return float64(d.Owed) })},
		{name: "debts_satoshis", help: "What accounts were paid too much: negative balances, as a positive amount.", kind: gauge, values: stored(func(d *Database) float64 { return float64(-d.Debts) })},
		{name: "stopped_satoshis", help: "Balances of accounts that are held or locked, which are not paid.", kind: gauge, values: stored(func(d *Database) float64 { return float64(d.Stopped) })},
		{name: "paid_satoshis", help: "What payouts took from balances that the chain has.", kind: gauge, values: stored(func(d *Database) float64 { return float64(d.Paid) })},
		{name: "payments", help: "Transactions of payouts, by state.", kind: gauge, labels: state, values: storedBy(func(d *Database) map[string]int64 { return d.Payments })},
		{name: "wallet_satoshis", help: "Coins of the wallet that can be spent, when it was compared with the ledger last.", kind: gauge, values: compared(func(w *Wallet) float64 { return float64(w.Coins) })},
		{name: "wallet_missing_satoshis", help: "What the wallet lacked then of what it must have by the ledger.", kind: gauge, values: compared(func(w *Wallet) float64 { return float64(w.Missing) })},
		{name: "wallet_compared_timestamp_seconds", help: "When the wallet was compared with the ledger last, unix time.", kind: gauge, values: compared(func(w *Wallet) float64 { return float64(w.At.Unix()) })},

		{name: "logins_total", help: "Logins on pages, by what became of them.", kind: counter, labels: []string{"result"}, values: each(func(s *figures) control.Counts { return s.Logins })},
		{name: "sessions", help: "Sessions of people who are logged in.", kind: gauge, values: one(func(s *figures) float64 { return float64(s.Sessions) })},
	}
}
