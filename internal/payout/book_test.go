package payout

import (
	"slices"
	"testing"

	"github.com/btcsuite/btcd/wire/v2"
)

// TestBook is a Book whose database the tests look into.
type TestBook interface {
	Book
	Credit(account, amount int64) // adds to a balance
	Earn(amount int64)            // adds to the pool's fees
	PaidTo(account int64, addresses ...string)
	Dump() string              // all tables
	Backup() TestBook          // another database, as this one is
	Balances() map[int64]int64 // by account
	Ledger() map[string]int64  // of the pool's accounts
	Postings() int             // of payments
	Known(txid string)         // books a stranger
}

// Backends are the databases that books are kept in: each makes an empty one with the
// accounts 1 and 2. They are set outside of this package, which knows no database.
var Backends []struct {
	Name  string
	Empty func(t *testing.T) TestBook
}

// each runs a test on every backend.
func each(t *testing.T, test func(t *testing.T, empty func(t *testing.T) TestBook)) {
	t.Helper()
	t.Parallel()
	for _, b := range Backends {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			test(t, b.Empty)
		})
	}
}

func credit(b TestBook, payees []Payee) {
	for _, p := range payees {
		b.Credit(p.Account, p.Balance)
	}
}

func (p *Payment) spends(at wire.OutPoint) bool {
	if slices.Contains(points(p.Inputs), at) {
		return true
	}
	return slices.ContainsFunc(p.Versions, func(v Version) bool { return slices.Contains(points(v.Inputs), at) })
}
