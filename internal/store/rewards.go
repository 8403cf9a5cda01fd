package store

import (
	"context"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// PostedReward is what the reward of a block came to, as the ledger has it.
type PostedReward struct {
	Number   int64 // in the ledger
	Fee      int64 // satoshis
	Credited int64 // satoshis, of all accounts
	Accounts int64
}

// PostedRewards are the rewards of all blocks, by hash.
func (s *Store) PostedRewards(ctx context.Context) (list map[[32]byte]PostedReward, err error) {
	list = map[[32]byte]PostedReward{}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select t.number, t.reference, e.book, count(*), "+s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})+
			" from ledger t join ledger_entries e on e.number = t.number where t.kind = 'reward' group by t.number, t.reference, e.book", nil,
			func(scan func(...any) error) error {
				var number, count, sum int64
				var name string
				var book Book
				if err := scan(&number, &name, &book, &count, &sum); err != nil {
					return err
				}
				hash, err := work.ParseHash(name)
				r := list[hash]
				switch r.Number = number; book {
				case FeeImmature:
					r.Fee = sum
				case Immature:
					r.Credited, r.Accounts = sum, count
				}
				list[hash] = r
				return err
			})
	})
	return list, err
}

// OfBlock are all transactions of the ledger about a block, the oldest first.
func (s *Store) OfBlock(ctx context.Context, hash [32]byte) (list []Transaction, err error) {
	name := work.FormatHash(hash)
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err = transactions(ctx, tx, ofBlock+" and (t.reference = $1 or t.reference like $2)", name, name+"/%")
		return err
	})
	return list, err
}

// Tip is the newest block of the chain that is followed; ok is false where there is none.
func (s *Store) Tip(ctx context.Context) (tip Place, ok bool, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		kept, err := s.chain(ctx, tx)
		if len(kept) > 0 {
			tip, ok = kept[0], true
		}
		return err
	})
	return tip, ok, err
}

// Instances are all that were ever registered, by name.
func (s *Store) Instances(ctx context.Context) (list []Instance, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select uid, name, network from instances order by name, uid", nil, func(scan func(...any) error) error {
			var v Instance
			var uid []byte
			err := scan(&uid, &v.Name, &v.Network)
			copy(v.ID[:], uid)
			list = append(list, v)
			return err
		})
	})
	return list, err
}

// WorkAt are the shares that counted, of all pools and accounts, by the height of their
// jobs.
func (s *Store) WorkAt(ctx context.Context) (sums map[int64]difficulty.Exact, err error) {
	sums = map[int64]difficulty.Exact{}
	value := s.db.Sum(table.Column{Name: "p.accepted_work", Kind: table.Exact, Merge: table.Add})
	err = s.db.Read(ctx, func(tx table.Tx) error {
		for _, of := range []string{jobSums.Name, pending.Name} {
			if err := rows(ctx, tx, "select j.height, "+value+" from jobs j join "+of+" p on p.instance = j.instance and p.job = j.id where p.accepted > 0 group by j.height",
				nil, func(scan func(...any) error) error {
					var height int64
					var sum difficulty.Exact
					err := scan(&height, table.Amount{To: &sum})
					sums[height] = sums[height].Add(sum)
					return err
				}); err != nil {
				return err
			}
		}
		return nil
	})
	return sums, err
}
