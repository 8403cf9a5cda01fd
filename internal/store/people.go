package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store/table"
)

// owner is the account of an Owner, which has to be there.
func (s *Store) owner(ctx context.Context, tx table.Tx, of Owner) (id int64, name string, err error) {
	err = one(ctx, tx, "select id, name from accounts where kind = $1 and folded = $2"+s.db.Lock(), []any{string(of.Kind), fold(of.Kind, clean(of.Name))}, &id, &name)
	if err == nil && id == 0 {
		err = fmt.Errorf("%w: %s", ErrAccount, of)
	}
	return id, name, err
}

// person changes an account in a transaction, with a row of the audit log: f tells what
// was before and is afterwards.
func (s *Store) person(ctx context.Context, by, what string, of Owner, f func(tx table.Tx, id int64) (before, after string, err error)) error {
	err := errBy(by)
	if err == nil {
		err = s.change(ctx, func(tx table.Tx) error {
			number, err := s.nextAudit(ctx, tx)
			if err != nil {
				return err
			}
			id, name, err := s.owner(ctx, tx, of)
			if err != nil {
				return err
			}
			before, after, err := f(tx, id)
			if err != nil {
				return err
			}
			return s.audit(ctx, tx, AuditRow{Number: number, At: now(), By: by, What: what, Subject: Owner{of.Kind, name}.String(), Before: before, After: after})
		})
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", what, of, err)
	}
	return nil
}

func errBy(by string) error {
	if by == "" || by != clean(by) {
		return errors.New("it has to be somebody's who does it")
	}
	return nil
}

// SetRole makes a user what it is to the pool.
func (s *Store) SetRole(ctx context.Context, by, name string, role credentials.Role) error {
	return s.person(ctx, by, "role", Owner{User, name}, func(tx table.Tx, id int64) (before, after string, err error) {
		if err := one(ctx, tx, "select role from accounts where id = $1", []any{id}, &before); err != nil {
			return "", "", err
		}
		if _, err := credentials.ParseRole(string(role)); role != credentials.Member && err != nil {
			return "", "", err
		}
		_, err = tx.Exec(ctx, "update accounts set role = $2 where id = $1", id, string(role))
		return before, string(role), err
	})
}

// Hold keeps an account from being paid, for a reason; "" ends that. It earns on.
func (s *Store) Hold(ctx context.Context, by string, of Owner, reason string) error {
	return s.person(ctx, by, "hold", of, func(tx table.Tx, id int64) (before, after string, err error) {
		if err := one(ctx, tx, "select held_reason from accounts where id = $1", []any{id}, &before); err != nil {
			return "", "", err
		}
		since := now()
		if reason = clean(reason); reason == "" {
			since = 0
		}
		_, err = tx.Exec(ctx, "update accounts set held = $2, held_reason = $3 where id = $1", id, since, reason)
		return before, reason, err
	})
}

// Holds are the accounts that are not paid, and why.
func (s *Store) Holds(ctx context.Context) (held map[Owner]string, err error) {
	held = map[Owner]string{}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select kind, folded, held_reason from accounts where held > 0", nil, func(scan func(...any) error) error {
			var o Owner
			var reason string
			err := scan(&o.Kind, &o.Name, &reason)
			held[o] = reason
			return err
		})
	})
	return held, err
}

// Known implements credentials.Keeper.
func (s *Store) Known(ctx context.Context, name string) (k credentials.Known, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return one(ctx, tx, "select name, role, password, secret, last_step from accounts where kind = 'user' and folded = $1 and registered > 0",
			[]any{fold(User, clean(name))}, &k.Name, &k.Role, &k.Password, &k.Secret, &k.LastStep)
	})
	return k, err
}

// Use implements credentials.Keeper: whatever is wrong with u changes nothing.
func (s *Store) Use(ctx context.Context, u credentials.Use) error {
	return s.change(ctx, func(tx table.Tx) error {
		var number int64
		if u.Recovery != nil { // before the account, as everywhere
			var err error
			if number, err = s.nextAudit(ctx, tx); err != nil {
				return err
			}
		}
		id, name, err := s.owner(ctx, tx, Owner{User, u.Name})
		if err != nil {
			return err
		}
		hash := u.Upgrade
		if hash == "" {
			hash = u.Password
		}
		query, args := "update accounts set password = $2 where id = $1 and password = $3 and secret = $4", []any{id, hash, u.Password, u.Secret}
		if u.Step > 0 {
			query = "update accounts set password = $2, last_step = $5 where id = $1 and password = $3 and secret = $4 and last_step < $5"
			args = append(args, u.Step)
		}
		if n, err := tx.Exec(ctx, query, args...); err != nil {
			return err
		} else if n != 1 {
			return credentials.ErrUsed
		}
		if u.Recovery == nil {
			return nil
		}
		if n, err := tx.Exec(ctx, "delete from recovery_codes where account = $1 and digest = $2", id, u.Recovery[:]); err != nil {
			return err
		} else if n != 1 {
			return credentials.ErrUsed
		}
		var left int64
		if err := one(ctx, tx, "select count(*) from recovery_codes where account = $1", []any{id}, &left); err != nil {
			return err
		}
		return s.audit(ctx, tx, AuditRow{Number: number, At: now(), By: name, What: "recovery code", Subject: "user " + name,
			Before: fmt.Sprintf("%d left", left+1), After: fmt.Sprintf("%d left", left)})
	})
}

// OfferSecret keeps a secret of one-time codes until a code of it was tried. One that is
// in force stays so.
func (s *Store) OfferSecret(ctx context.Context, by, name string, secret credentials.Secret) error {
	return s.person(ctx, by, "one-time codes", Owner{User, name}, func(tx table.Tx, id int64) (before, after string, err error) {
		var old string
		if err := one(ctx, tx, "select secret from accounts where id = $1", []any{id}, &old); err != nil {
			return "", "", err
		}
		_, err = tx.Exec(ctx, "update accounts set new_secret = $2 where id = $1", id, secret.String())
		return onOff(old), onOff(old) + ", a new secret is to be tried", err
	})
}

func onOff(secret string) string {
	if secret == "" {
		return "off"
	}
	return "on"
}

// TrySecret puts the secret that was offered in force, by a code of it, with new recovery
// codes. The secret is that of who tries: there is nothing to guess.
func (s *Store) TrySecret(ctx context.Context, by, name, code string, at time.Time, codes []credentials.Digest) error {
	return s.person(ctx, by, "one-time codes", Owner{User, name}, func(tx table.Tx, id int64) (before, after string, err error) {
		var old, text string
		if err := one(ctx, tx, "select secret, new_secret from accounts where id = $1", []any{id}, &old, &text); err != nil {
			return "", "", err
		}
		if text == "" {
			return "", "", refused("no new secret was made")
		}
		secret, err := credentials.ParseSecret(text)
		if err != nil {
			return "", "", err
		}
		step, ok := secret.Match(code, at, 0)
		if !ok {
			return "", "", credentials.ErrBadCode
		}
		if _, err := tx.Exec(ctx, "update accounts set secret = new_secret, new_secret = '', last_step = $2 where id = $1", id, step); err != nil {
			return "", "", err
		}
		return onOff(old), fmt.Sprintf("on, %d recovery codes", len(codes)), replaceCodes(ctx, tx, id, codes)
	})
}

// ImportSecret puts a secret in force that its owner has in an app already.
func (s *Store) ImportSecret(ctx context.Context, by, name string, secret credentials.Secret) error {
	return s.person(ctx, by, "one-time codes", Owner{User, name}, func(tx table.Tx, id int64) (before, after string, err error) {
		var old string
		if err := one(ctx, tx, "select secret from accounts where id = $1", []any{id}, &old); err != nil {
			return "", "", err
		}
		_, err = tx.Exec(ctx, "update accounts set secret = $2, new_secret = '', last_step = 0 where id = $1", id, secret.String())
		return onOff(old), "on, imported", err
	})
}

// NoSecret ends one-time codes, and recovery codes with them.
func (s *Store) NoSecret(ctx context.Context, by, name string) error {
	return s.person(ctx, by, "one-time codes", Owner{User, name}, func(tx table.Tx, id int64) (before, after string, err error) {
		var old string
		if err := one(ctx, tx, "select secret from accounts where id = $1", []any{id}, &old); err != nil {
			return "", "", err
		}
		// The last step stays: a secret that comes back does not make a code good again.
		if _, err := tx.Exec(ctx, "update accounts set secret = '', new_secret = '' where id = $1", id); err != nil {
			return "", "", err
		}
		return onOff(old), "off", replaceCodes(ctx, tx, id, nil)
	})
}

// NewRecoveryCodes replaces an account's recovery codes.
func (s *Store) NewRecoveryCodes(ctx context.Context, by, name string, codes []credentials.Digest) error {
	return s.person(ctx, by, "recovery codes", Owner{User, name}, func(tx table.Tx, id int64) (before, after string, err error) {
		var left int64
		if err := one(ctx, tx, "select count(*) from recovery_codes where account = $1", []any{id}, &left); err != nil {
			return "", "", err
		}
		return fmt.Sprintf("%d left", left), fmt.Sprintf("%d left", len(codes)), replaceCodes(ctx, tx, id, codes)
	})
}

func replaceCodes(ctx context.Context, tx table.Tx, id int64, codes []credentials.Digest) error {
	if _, err := tx.Exec(ctx, "delete from recovery_codes where account = $1", id); err != nil {
		return err
	}
	for _, d := range codes {
		if _, err := tx.Exec(ctx, "insert into recovery_codes (account, digest) values ($1, $2)", id, d[:]); err != nil {
			return err
		}
	}
	return nil
}

// Token lets a program do something for a user.
type Token struct {
	Number  int64
	Account string
	Name    string // what it is for
	Scopes  []credentials.Scope
	Created int64
	Expires int64
	Revoked int64 // 0: not
}

// TokenMost is how long a token may be good.
const TokenMost = 366 * 24 * time.Hour

// tokensMost is how many of a user may be good at a time.
const tokensMost = 50

// ErrToken tells that a token is not good (any more).
var ErrToken = errors.New("the token is unknown, expired or revoked")

// AddToken makes a token of a user good until it expires. Its scopes are checked against
// the user's role, now and whenever it is used.
func (s *Store) AddToken(ctx context.Context, by, account, name, scopes string, expires time.Time, d credentials.Digest) (t Token, err error) {
	err = s.person(ctx, by, "token", Owner{User, account}, func(tx table.Tx, id int64) (before, after string, err error) {
		at := time.Now()
		if name = clean(strings.TrimSpace(name)); name == "" {
			return "", "", refused("want a name that says what it is for")
		}
		if !expires.After(at) || expires.Sub(at) > TokenMost {
			return "", "", refused("it would expire at %s: want a time within a year", expires.UTC().Format(time.RFC3339))
		}
		var role credentials.Role
		var good int64
		if err := one(ctx, tx, "select role from accounts where id = $1", []any{id}, &role); err != nil {
			return "", "", err
		}
		if err := one(ctx, tx, "select count(*) from tokens where account = $1 and revoked = 0 and expires > $2", []any{id, at.UnixMicro()}, &good); err != nil {
			return "", "", err
		}
		if good >= tokensMost {
			return "", "", refused("there are %d: revoke some", good)
		}
		list, err := credentials.ParseScopes(role, scopes)
		if err != nil {
			return "", "", &RefusedError{err}
		}
		t = Token{Account: account, Name: name, Scopes: list, Created: at.UnixMicro(), Expires: expires.UnixMicro()}
		if err := one(ctx, tx, "select coalesce(max(number), 0) + 1 from tokens", nil, &t.Number); err != nil {
			return "", "", err
		}
		_, err = tx.Exec(ctx, "insert into tokens (number, account, digest, name, scopes, created, expires) values ($1, $2, $3, $4, $5, $6, $7)",
			t.Number, id, d[:], t.Name, scopeText(list), t.Created, t.Expires)
		return "none", t.String(), err
	})
	return t, err
}

func scopeText(list []credentials.Scope) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(s))
	}
	return b.String()
}

// String tells of it without its secret.
func (t *Token) String() string {
	return fmt.Sprintf("token %d %q for %s until %s", t.Number, t.Name, scopeText(t.Scopes), time.UnixMicro(t.Expires).UTC().Format(time.RFC3339))
}

// RevokeToken ends a token of a user.
func (s *Store) RevokeToken(ctx context.Context, by, account string, number int64) error {
	return s.person(ctx, by, "token", Owner{User, account}, func(tx table.Tx, id int64) (before, after string, err error) {
		list, err := tokens(ctx, tx, "t.account = $1 and t.number = $2 and t.revoked = 0", id, number)
		if err != nil {
			return "", "", err
		}
		if len(list) == 0 {
			return "", "", refused("there is no token %d that could be revoked", number)
		}
		_, err = tx.Exec(ctx, "update tokens set revoked = $2 where number = $1", number, now())
		return list[0].String(), fmt.Sprintf("token %d revoked", number), err
	})
}

// Tokens are all of a user.
func (s *Store) Tokens(ctx context.Context, account string) (list []Token, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err = tokens(ctx, tx, "a.kind = 'user' and a.folded = $1", fold(User, account))
		return err
	})
	return list, err
}

func tokens(ctx context.Context, tx table.Tx, where string, args ...any) (list []Token, err error) {
	err = rows(ctx, tx, "select t.number, a.name, t.name, t.scopes, t.created, t.expires, t.revoked from tokens t join accounts a on a.id = t.account where "+where+" order by t.number",
		args, func(scan func(...any) error) error {
			var t Token
			var scopes string
			err := scan(&t.Number, &t.Account, &t.Name, &scopes, &t.Created, &t.Expires, &t.Revoked)
			for s := range strings.SplitSeq(scopes, ",") {
				t.Scopes = append(t.Scopes, credentials.Scope(s))
			}
			list = append(list, t)
			return err
		})
	return list, err
}

// UseToken gives the token of a text, and its user; ErrToken where it is not good.
func (s *Store) UseToken(ctx context.Context, text string, at time.Time) (t Token, k credentials.Known, err error) {
	d, ok := credentials.TokenDigest(text)
	if !ok {
		return t, k, ErrToken
	}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err := tokens(ctx, tx, "t.digest = $1 and t.revoked = 0 and t.expires > $2", d[:], at.UnixMicro())
		if err == nil && len(list) == 0 {
			err = ErrToken
		}
		if err == nil {
			t = list[0]
		}
		return err
	})
	if err == nil {
		k, err = s.Known(ctx, t.Account)
	}
	return t, k, err
}

// errTries rolls back what one limit refuses.
var errTries = errors.New("too many tries")

// AddTry implements credentials.Keeper.
func (s *Store) AddTry(ctx context.Context, limits []credentials.Limit) (wait time.Duration, err error) {
	limits = inOrder(limits)
	err = s.change(ctx, func(tx table.Tx) error {
		wait = 0
		at := now()
		// Whoever may try is limited by the time a password takes to compute, so
		// that what is kept for a time is little.
		if _, err := tx.Exec(ctx, "delete from tries where until <= $1", at); err != nil {
			return err
		}
		for _, l := range limits {
			if _, err := tx.Exec(ctx, "insert into tries (key, until, n) values ($1, $2, 1) on conflict (key) do update set n = tries.n + 1", tryKey(l), at+l.Within.Microseconds()); err != nil {
				return err
			}
			var n, until int64
			if err := one(ctx, tx, "select n, until from tries where key = $1", []any{tryKey(l)}, &n, &until); err != nil {
				return err
			}
			if n > int64(l.Most) {
				wait = max(wait, time.Duration(until-at)*time.Microsecond)
			}
		}
		if wait > 0 {
			return errTries
		}
		return nil
	})
	if errors.Is(err, errTries) {
		err = nil
	}
	return wait, err
}

// inOrder is that in which rows are taken, so that two who try do not wait for each
// other.
func inOrder(limits []credentials.Limit) []credentials.Limit {
	return slices.SortedFunc(slices.Values(limits), func(a, b credentials.Limit) int { return strings.Compare(a.Key, b.Key) })
}

func tryKey(l credentials.Limit) string { return clean(l.Key) }

// TakeBackTry implements credentials.Keeper.
func (s *Store) TakeBackTry(ctx context.Context, limits []credentials.Limit) error {
	limits = inOrder(limits)
	return s.change(ctx, func(tx table.Tx) error {
		for _, l := range limits {
			if _, err := tx.Exec(ctx, "update tries set n = n - 1 where key = $1 and n > 0", tryKey(l)); err != nil {
				return err
			}
		}
		return nil
	})
}
