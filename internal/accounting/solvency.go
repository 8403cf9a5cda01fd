package accounting

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

// Solvency is what the pool has and what it owes, in satoshis.
type Solvency struct {
	Coins    int64 `json:"coins"`    // of the wallet that can be spent
	Owed     int64 `json:"owed"`     // balances of accounts, but negative ones
	Debts    int64 `json:"debts"`    // negative balances, as a negative amount
	Pool     int64 `json:"pool"`     // the pool's fees, less network fees that it paid
	Paying   int64 `json:"paying"`   // in payouts that are not confirmed
	Immature int64 `json:"immature"` // coins of the wallet that cannot be spent yet
	Held     int64 `json:"held"`     // of coinbases that no pool has told of
}

// SolvencyOf compares a wallet with the ledger.
func SolvencyOf(ctx context.Context, s *store.Store, w *payout.Wallet) (v Solvency, err error) {
	books, err := s.Balances(ctx)
	if err != nil {
		return v, err
	}
	// What is posted meanwhile may be of coins that had come, or had not left, when the
	// wallet was asked.
	const attempts = 10
	for i := 1; ; i++ {
		has, err := w.Balances(ctx)
		if err != nil {
			return v, err
		}
		v.Coins, v.Immature = has.Trusted, has.Immature
		again, err := s.Balances(ctx)
		if err != nil {
			return v, err
		}
		if slices.Equal(books, again) {
			break
		}
		if books = again; i == attempts {
			return v, errors.New("the ledger is written to all the time: try again")
		}
	}
	for _, b := range books {
		switch b.Book {
		case store.Balance:
			v.Owed += max(b.Amount, 0)
			v.Debts += min(b.Amount, 0)
		case store.Fee, store.NetworkFee:
			v.Pool += b.Amount
		case store.Paying:
			v.Paying += b.Amount
		case store.Held:
			v.Held += b.Amount
		}
	}
	return v, nil
}

// Line is what the pool has beyond what it owes to accounts; negative: it cannot pay all.
func (v *Solvency) Line() int64 { return v.Coins - v.Owed }

// Missing is what the wallet lacks of what it must have, 0 where it has all.
func (v *Solvency) Missing() int64 {
	n := max(-v.Line(), 0)
	if v.Paying == 0 {
		n = max(n, v.Owed+v.Debts+v.Pool-v.Coins)
	}
	return n
}

// Differences are what is not as it is to be, a line each. Coins that the ledger does not
// know are none: they may be the pool's own, or of a block that is posted in a moment.
func (v *Solvency) Differences() (list []string) {
	if n := v.Line(); n < 0 {
		list = append(list, fmt.Sprintf("wallet: it has %s that can be spent, accounts are owed %s; missing: %s", figures.Things(v.Coins, "satoshi"), figures.Count(v.Owed), figures.Count(-n)))
	}
	// While a payout is on its way nobody can tell whether its coins have left.
	if n := v.Coins - v.Owed - v.Debts - v.Pool; n < 0 && v.Paying == 0 {
		list = append(list, fmt.Sprintf("wallet: it has %s that can be spent, by the ledger there are %s; left and not booked: %s", figures.Things(v.Coins, "satoshi"), figures.Count(v.Coins-n), figures.Count(-n)))
	}
	return list
}

// NoWallet tells that an error of a call for the wallet is that the node has none.
func NoWallet(err error) bool {
	const noSuchMethod, notLoaded = -32601, -18
	e, ok := errors.AsType[*bitcoind.RPCError](err)
	return ok && (e.Code == noSuchMethod || e.Code == notLoaded)
}

// Check compares the pool's blocks with the chain of the node, and says what differs, a
// line each. The newest blocks may change at any time, and are not compared.
func (c *Chain) Check(ctx context.Context) (differences []string, err error) {
	tip, err := c.synced(ctx)
	if err != nil {
		return nil, err
	}
	blocks, err := c.Store.PoolBlocks(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if b.Height > tip-store.OrphanedAt+1 || b.State == store.New {
			continue
		}
		hash, err := c.Node.BlockHash(ctx, b.Height)
		if err != nil {
			return nil, err
		}
		if in := hash == b.Hash; in != (b.State != store.IsOrphan) {
			differences = append(differences, fmt.Sprintf("chain: block %s is %s here, the node has %s at height %d", work.FormatHash(b.Hash), b.State, work.FormatHash(hash), b.Height))
		}
	}
	return differences, nil
}
