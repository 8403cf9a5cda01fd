package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/internal/store/table"
)

// ErrNetwork tells that a database has another network's shares.
var ErrNetwork = errors.New("other network")

// Start is where a journal goes on.
type Start struct {
	At Position
	// Replaced is where the database had come in records that the journal does not
	// have any more, as an older copy of it was put back; zero: it has them.
	Replaced Position
}

// Register makes an instance known, or its new name, and says where its journal goes
// on. A database holds instances of one network: that of the first.
func (s *Store) Register(ctx context.Context, in Instance) (Position, error) {
	start, err := s.Begin(ctx, in, nil)
	return start.At, err
}

// Begin is Register for a journal that has these epochs, the oldest first. If they are
// not those that were stored, as an older copy of the journal was put back since, it goes
// on where both parted: behind what is stored of its newest epoch that the database has
// something of. What the journal had beyond and was not stored is a gap from then on.
func (s *Store) Begin(ctx context.Context, in Instance, epochs []Epoch) (start Start, err error) {
	err = s.db.Write(ctx, func(tx table.Tx) error {
		start = Start{}
		id, err := s.register(ctx, tx, in)
		if err != nil {
			return err
		}
		p, err := progressOf(ctx, tx, id)
		if err != nil {
			return err
		}
		start.At = p.place(epochs)
		if start.At == p.at {
			return nil
		}
		start.Replaced = p.at
		if err := s.move(ctx, tx, id, p.at, start.At); err != nil {
			return err
		}
		// There may be something behind the place it leaves that was not stored; nobody can tell.
		_, err = tx.Exec(ctx, `insert into gaps (instance, epoch, first, last, seen, cause) values ($1, $2, $3, $4, $5, 'replaced')
			on conflict do nothing`, id, p.at.Epoch, p.at.Number+1, int64(ToEnd), p.time)
		return err
	})
	return start, err
}

func (s *Store) register(ctx context.Context, tx table.Tx, in Instance) (id int64, err error) {
	var network string
	if err := rows(ctx, tx, "select network from ckdb"+s.db.Lock(), nil, func(scan func(...any) error) error { return scan(&network) }); err != nil {
		return 0, err
	}
	if network == "" {
		if _, err := tx.Exec(ctx, "update ckdb set network = $1", in.Network); err != nil {
			return 0, err
		}
	} else if network != in.Network {
		return 0, fmt.Errorf("%w: pool %s is on %s, the database has shares of %s", ErrNetwork, in.Name, in.Network, network)
	}
	if _, err := tx.Exec(ctx, `insert into instances (uid, name, network) values ($1, $2, $3)
		on conflict (uid) do update set name = excluded.name`, in.ID[:], clean(in.Name), in.Network); err != nil {
		return 0, err
	}
	err = rows(ctx, tx, "select id from instances where uid = $1"+s.db.Lock(), []any{in.ID[:]}, func(scan func(...any) error) error { return scan(&id) })
	return id, err
}

// progress is how far the journal of an instance is stored.
type progress struct {
	at     Position
	time   int64      // of that record
	before []Position // the last that is stored of other epochs
}

func progressOf(ctx context.Context, tx table.Tx, instance int64) (p progress, err error) {
	if err := rows(ctx, tx, "select epoch, number, life, at from instances where id = $1", []any{instance}, func(scan func(...any) error) error {
		return scan(&p.at.Epoch, &p.at.Number, &p.at.Life, &p.time)
	}); err != nil {
		return p, err
	}
	err = rows(ctx, tx, "select epoch, number, life from epochs where instance = $1", []any{instance}, func(scan func(...any) error) error {
		var q Position
		err := scan(&q.Epoch, &q.Number, &q.Life)
		p.before = append(p.before, q)
		return err
	})
	return p, err
}

// place is where a journal goes on that has these epochs, the oldest first.
func (p *progress) place(epochs []Epoch) Position {
	later := true // all epochs are: the one of the place was deleted since
	for _, e := range epochs {
		if e.Number == p.at.Epoch && (e.Life == p.at.Life || e.Life == "") {
			return p.at
		}
		later = later && e.Number > p.at.Epoch
	}
	if later || p.at.Life == "" {
		return p.at
	}
	for i := len(epochs) - 1; i >= 0; i-- {
		for _, q := range p.before {
			if q.Epoch == epochs[i].Number && q.Life == epochs[i].Life {
				return q
			}
		}
	}
	return Position{}
}

// known is how far an epoch is stored that is not the present one; zero: not at all.
func known(ctx context.Context, tx table.Tx, instance int64, life string) (at Position, err error) {
	err = one(ctx, tx, "select epoch, number, life from epochs where instance = $1 and life = $2", []any{instance, life}, &at.Epoch, &at.Number, &at.Life)
	return at, err
}

// move lets the journal go on at another place.
func (s *Store) move(ctx context.Context, tx table.Tx, instance int64, from, to Position) error {
	if err := leave(ctx, tx, instance, from); err != nil {
		return err
	}
	// Of two copies of a machine that both go on, each has what the other has not.
	if _, err := tx.Exec(ctx, "delete from gaps where instance = $1 and epoch = $2 and first = $3 and cause = 'replaced'", instance, to.Epoch, to.Number+1); err != nil {
		return err
	}
	// What comes has numbers of what was looked through.
	var start int64
	if err := one(ctx, tx, "select start from chain_head"+s.db.Lock(), nil, &start); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "delete from chain_jobs where instance = $1", instance); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "update instances set epoch = $1, number = $2, life = $3, history = history + 1 where id = $4", to.Epoch, to.Number, to.Life, instance)
	return err
}

// leave remembers how far an epoch is stored.
func leave(ctx context.Context, tx table.Tx, instance int64, at Position) error {
	if at.Life == "" {
		return nil
	}
	_, err := tx.Exec(ctx, `insert into epochs (instance, life, epoch, number) values ($1, $2, $3, $4)
		on conflict (instance, life) do update set number = excluded.number`, instance, at.Life, at.Epoch, at.Number)
	return err
}
