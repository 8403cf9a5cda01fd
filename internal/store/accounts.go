package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Account is what an operator has said of an account, and of one of its workers.
type Account struct {
	Worker             // of the question
	Exists     bool    // it is registered, has mined, or somebody has said something of it
	Registered bool    // by Add or SetPassword
	Password   string  // hashed; "" none
	Locked     bool    // it may not mine
	Private    bool    // it is named to nobody
	Reason     string  // why it is locked, for its miners
	Minimum    float64 // least difficulty of the worker, 0 none
}

// Change is something that was said of an account or worker, for pools to hear.
type Change struct {
	Number  uint64 // grows in the order that changes are seen in
	Kind    ChangeKind
	Account string
	Worker  string // its name behind the account's, of a Minimum
	Reason  string // of a Lock; the text of a Message
	Private bool   // of NewPrivacy
	Minimum float64
}

// ChangeKind is what a Change is of.
type ChangeKind string

// Kinds of changes.
const (
	Locked      ChangeKind = "lock"
	Unlocked    ChangeKind = "unlock"
	NewPassword ChangeKind = "password"
	NewMinimum  ChangeKind = "minimum"
	NewMessage  ChangeKind = "message"
	NewPrivacy  ChangeKind = "privacy"
)

// messageTime is how long a message is kept for pools that are away.
const messageTime = 24 * time.Hour

// ErrRegistered tells that an account is registered already.
var ErrRegistered = errors.New("it is registered already")

// SimilarError tells that a name would be taken for that of an account which is
// registered already.
type SimilarError struct{ Name string }

func (e *SimilarError) Error() string {
	return "a user named " + e.Name + " is registered, and the two would be taken for each other"
}

// Add registers an account, without a password.
func (s *Store) Add(ctx context.Context, by string, kind Kind, name string) error {
	return s.say(ctx, by, Change{Kind: NewPassword, Account: name}, kind, "", true)
}

// SetPassword registers an account, or gives it another password, hashed; "" is none.
func (s *Store) SetPassword(ctx context.Context, by string, kind Kind, name, hash string) error {
	return s.say(ctx, by, Change{Kind: NewPassword, Account: name}, kind, "password = $2", false, hash)
}

// Lock keeps an account from mining, for a reason that its miners are told.
func (s *Store) Lock(ctx context.Context, by string, kind Kind, name, reason string) error {
	return s.say(ctx, by, Change{Kind: Locked, Account: name, Reason: reason}, kind, "locked = $2, reason = $3", false, now(), clean(reason))
}

// Unlock ends Lock.
func (s *Store) Unlock(ctx context.Context, by string, kind Kind, name string) error {
	return s.say(ctx, by, Change{Kind: Unlocked, Account: name}, kind, "locked = $2, reason = $3", false, int64(0), "")
}

// SetPrivate has an account named to nobody, or ends that.
func (s *Store) SetPrivate(ctx context.Context, by string, kind Kind, name string, private bool) error {
	c, since := Change{Kind: NewPrivacy, Account: name, Private: private}, int64(0)
	if private {
		since = now()
	}
	return s.say(ctx, by, c, kind, "private = $2", false, since)
}

// Message is shown to the miners of an account.
func (s *Store) Message(ctx context.Context, by string, kind Kind, name, text string) error {
	return s.say(ctx, by, Change{Kind: NewMessage, Account: name, Reason: text}, kind, "", false)
}

// SetMinimum gives a worker a least difficulty; 0 is none.
func (s *Store) SetMinimum(ctx context.Context, by string, w Worker, least float64) error {
	return s.say(ctx, by, Change{Kind: NewMinimum, Account: w.Account, Worker: w.Name, Minimum: least}, w.Kind, "", false)
}

func now() int64 { return time.Now().UnixMicro() }

// standing is what was said of an account, and of one of its workers.
type standing struct {
	registered, locked        int64 // since when; 0: not
	private                   int64 // likewise
	password, reason, minimum string
}

func (s *Store) standing(ctx context.Context, tx table.Tx, id int64, worker string) (a standing, err error) {
	if err := one(ctx, tx, "select registered, password, locked, reason, private from accounts where id = $1", []any{id}, &a.registered, &a.password, &a.locked, &a.reason, &a.private); err != nil {
		return a, err
	}
	return a, one(ctx, tx, "select minimum from workers where account = $1 and name = $2", []any{id, worker}, &a.minimum)
}

// of is what the audit log says of it where a change of a kind is made.
func (a *standing) of(kind ChangeKind) string {
	switch kind {
	case Locked, Unlocked:
		if a.locked == 0 {
			return "not locked"
		}
		return "locked: " + a.reason
	case NewPassword:
		switch {
		case a.registered == 0:
			return "not registered"
		case a.password == "":
			return "registered, without a password"
		case credentials.IsReference(a.password): // without salt it could be guessed from a sum
			return "registered, with a password of the reference"
		}
		sum := sha256.Sum256([]byte(a.password)) // tells one from another, and nothing of it
		return fmt.Sprintf("registered, with password %x", sum[:4])
	case NewMinimum:
		return "least difficulty " + cmp.Or(a.minimum, "none")
	case NewPrivacy:
		return privacy(a.private != 0)
	}
	return ""
}

// privacy is what a change of it says.
func privacy(private bool) string {
	if private {
		return "private"
	}
	return "public"
}

// say stores what somebody says of an account, whose row is changed as set says, and the
// change of it. It must not be registered where that is what is said.
func (s *Store) say(ctx context.Context, by string, c Change, kind Kind, set string, add bool, args ...any) error {
	if err := errBy(by); err != nil {
		return fmt.Errorf("%s of %s: %w", c.Kind, Owner{kind, c.Account}, err)
	}
	return s.db.Write(ctx, func(tx table.Tx) error {
		at := now()
		row, err := s.nextAudit(ctx, tx)
		if err != nil {
			return err
		}
		id, name, err := account(ctx, tx, kind, clean(c.Account), at)
		if err != nil {
			return err
		}
		before, err := s.standing(ctx, tx, id, clean(c.Worker))
		if err != nil {
			return err
		}
		if set != "" {
			if _, err := tx.Exec(ctx, "update accounts set "+set+" where id = $1", append([]any{id}, args...)...); err != nil {
				return err
			}
		}
		if c.Kind == NewPassword {
			n, err := tx.Exec(ctx, "update accounts set registered = $2 where id = $1 and registered = 0", id, at)
			if err != nil {
				return err
			}
			switch {
			case add && n == 0:
				return ErrRegistered
			case n > 0:
				if err := unlike(ctx, tx, id, name); err != nil {
					return err
				}
			}
		}
		c.Account = name
		if err := s.tell(ctx, tx, &c, id, at); err != nil {
			return err
		}
		after, err := s.standing(ctx, tx, id, clean(c.Worker))
		if err != nil {
			return err
		}
		r := AuditRow{Number: row, At: at, By: by, What: string(c.Kind), Subject: Owner{kind, name}.String(), Before: before.of(c.Kind), After: after.of(c.Kind)}
		switch c.Kind {
		case NewMinimum:
			r.Subject += ", worker " + c.Worker
		case NewMessage:
			r.After = c.Reason
		}
		return s.audit(ctx, tx, r)
	})
}

// tell adds a change of an account to those that pools hear of, and stores a least
// difficulty.
func (s *Store) tell(ctx context.Context, tx table.Tx, c *Change, id, at int64) error {
	var number int64
	if err := one(ctx, tx, "select changes from feed"+s.db.Lock(), nil, &number); err != nil {
		return err
	}
	number++
	if _, err := tx.Exec(ctx, "update feed set changes = $1", number); err != nil {
		return err
	}
	minimum := ""
	if c.Minimum > 0 {
		minimum = difficulty.ExactOf(c.Minimum).String()
	}
	if c.Kind == NewMinimum {
		if _, err := tx.Exec(ctx, "insert into workers (account, name, created) values ($1, $2, $3) on conflict do nothing", id, clean(c.Worker), at); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "update workers set minimum = $3 where account = $1 and name = $2", id, clean(c.Worker), minimum); err != nil {
			return err
		}
	}
	if err := forget(ctx, tx, c, at); err != nil {
		return err
	}
	if c.Kind == NewPrivacy {
		c.Reason = privacy(c.Private)
	}
	_, err := tx.Exec(ctx, "insert into changes (number, at, kind, account, worker, reason, minimum) values ($1, $2, $3, $4, $5, $6, $7)",
		number, at, string(c.Kind), c.Account, clean(c.Worker), clean(c.Reason), minimum)
	return err
}

// unlike fails where another registered name differs from an account's in case and white
// space alone.
func unlike(ctx context.Context, tx table.Tx, id int64, name string) error {
	plain := func(name string) string { return strings.ToLower(strings.TrimSpace(name)) }
	return rows(ctx, tx, "select name from accounts where registered > 0 and id <> $1", []any{id}, func(scan func(...any) error) error {
		var other string
		if err := scan(&other); err != nil {
			return err
		}
		if plain(other) == plain(name) {
			return &SimilarError{other}
		}
		return nil
	})
}

// forget deletes changes that the new one makes void, and old messages.
func forget(ctx context.Context, tx table.Tx, c *Change, at int64) error {
	void := []ChangeKind{c.Kind}
	switch c.Kind {
	case Locked:
		void = append(void, Unlocked)
	case Unlocked:
		void = append(void, Locked)
	case NewMessage:
		_, err := tx.Exec(ctx, "delete from changes where kind = $1 and at < $2", string(NewMessage), at-messageTime.Microseconds())
		return err
	}
	for _, kind := range void {
		if _, err := tx.Exec(ctx, "delete from changes where kind = $1 and account = $2 and worker = $3", string(kind), c.Account, clean(c.Worker)); err != nil {
			return err
		}
	}
	return nil
}

// account is the number of an account, which is made if it is not there, and its name
// as it was written first.
func account(ctx context.Context, tx table.Tx, kind Kind, name string, at int64) (id int64, first string, err error) {
	folded := fold(kind, name)
	if folded == "" {
		return 0, "", fmt.Errorf("account %q: it has no name", name)
	}
	if _, err := tx.Exec(ctx, "insert into accounts (kind, folded, name, created) values ($1, $2, $3, $4) on conflict do nothing", string(kind), folded, name, at); err != nil {
		return 0, "", err
	}
	err = rows(ctx, tx, "select id, name from accounts where kind = $1 and folded = $2", []any{string(kind), folded}, func(scan func(...any) error) error { return scan(&id, &first) })
	return id, first, err
}

// Account is what was said of a worker's account, and of the worker. One of which
// nothing was said is no error.
func (s *Store) Account(ctx context.Context, w Worker) (a Account, err error) {
	a.Worker = w
	var minimum string
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, `select a.registered, a.password, a.locked, a.reason, a.private, coalesce(w.minimum, '') from accounts a
			left join workers w on w.account = a.id and w.name = $3 where a.kind = $1 and a.folded = $2`,
			[]any{string(w.Kind), fold(w.Kind, clean(w.Account)), clean(w.Name)}, func(scan func(...any) error) error {
				var registered, locked, private int64
				err := scan(&registered, &a.Password, &locked, &a.Reason, &private, &minimum)
				a.Exists, a.Registered, a.Locked, a.Private = true, registered != 0, locked != 0, private != 0
				return err
			})
	})
	if err == nil && minimum != "" {
		a.Minimum, err = parseMinimum(minimum)
	}
	return a, err
}

// Registers tells whether users are registered: one is.
func (s *Store) Registers(ctx context.Context) (yes bool, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select 1 from accounts where kind = 'user' and registered > 0 limit 1", nil, func(scan func(...any) error) error {
			yes = true
			return nil
		})
	})
	return yes, err
}

// Network is that of the pools in the database, "" while there is none.
func (s *Store) Network(ctx context.Context) (network string, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error { return one(ctx, tx, "select network from ckdb", nil, &network) })
	return network, err
}

func parseMinimum(text string) (float64, error) {
	least, err := difficulty.ParseExact(text)
	return least.Float64(), err
}

// Newest is the number of the newest change, and a name of the database that no other
// has.
func (s *Store) Newest(ctx context.Context) (name string, number uint64, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select uid, changes from feed", nil, func(scan func(...any) error) error {
			var uid []byte
			err := scan(&uid, &number)
			name = hex.EncodeToString(uid)
			return err
		})
	})
	return name, number, err
}

// Changes are those after a number, at most so many, the oldest first. Of changes
// that later ones made void only the last is there.
func (s *Store) Changes(ctx context.Context, after uint64, most int) (list []Change, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select number, kind, account, worker, reason, minimum from changes where number > $1 order by number limit $2",
			[]any{int64(after), int64(most)}, func(scan func(...any) error) error {
				var c Change
				var minimum string
				err := scan(&c.Number, &c.Kind, &c.Account, &c.Worker, &c.Reason, &minimum)
				if err == nil && minimum != "" {
					c.Minimum, err = parseMinimum(minimum)
				}
				if c.Kind == NewPrivacy {
					c.Private, c.Reason = c.Reason == privacy(true), ""
				}
				list = append(list, c)
				return err
			})
	})
	return list, err
}
