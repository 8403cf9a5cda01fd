package reference

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store"
)

// person is what a user of the reference has to log in with.
type person struct {
	name     string
	status   string              // "" may mine
	password string              // as package credentials keeps it; "": nobody logs in
	secret   *credentials.Secret // of one-time codes that are in force; nil: none are wanted
}

// parsePerson reads columns of the table users. The error says nothing of what is secret.
func parsePerson(name, status, hash, salt, data string) (p person, err error) {
	p = person{name: name, status: status}
	// What is no hash locks the login there, too: of users that its option AutoAddUser made.
	if b, err := hex.DecodeString(hash); err == nil && len(b) > 0 {
		if p.password, err = credentials.OfReference(hash, salt); err != nil {
			return person{}, err
		}
	}
	p.secret, err = parseUserData(data)
	return p, err
}

// parseUserData finds the secret in "NAME=HEX,NAME=HEX". One that has not been tried is
// not in force.
func parseUserData(data string) (*credentials.Secret, error) {
	var text string
	found := false
	for item := range strings.SplitSeq(data, ",") {
		switch name, value, _ := strings.Cut(item, "="); name {
		case "totpauth":
			text, found = value, true
		case "test2fa":
			return nil, nil
		}
	}
	if !found {
		return nil, nil
	}
	key, err := hex.DecodeString(text)
	if err != nil {
		return nil, errors.New("its one-time codes: want a key in hexadecimal digits")
	}
	secret, err := credentials.ParseSecret((credentials.Secret{Algorithm: credentials.SHA256, Key: key}).String())
	return &secret, err
}

// people reads who may log in. Those of addresses have no password.
func (i *DatabaseImport) people(ctx context.Context, tx *sql.Tx, s *DatabaseSummary) (list []person, err error) {
	r, err := tx.QueryContext(ctx, "select u.username, u.status, u.passwordhash, u.salt, u.userdata from users u where "+fmt.Sprintf(current, "u")+" order by u.userid")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for r.Next() {
		var name, status, hash, salt, data string
		if err := r.Scan(&name, &status, &hash, &salt, &data); err != nil {
			return nil, err
		}
		w := accounting.WorkerOf(i.Network, name, name)
		if w.Kind == store.Address {
			continue
		}
		p, err := parsePerson(w.Account, status, hash, salt, data)
		if err != nil {
			// With less than what the login wants there nobody may get in here.
			i.damaged(s, "users: username %s: %w", shown(name), err)
			p = person{name: w.Account, status: status}
		}
		list = append(list, p)
	}
	return list, r.Err()
}

// register stores who may log in. Until somebody has a password of its own here, by a
// first login or by a person, what the reference says of it holds.
func (i *DatabaseImport) register(ctx context.Context, list []person, s *DatabaseSummary) error {
	for _, p := range list {
		a, err := i.Store.Account(ctx, store.Worker{Kind: store.User, Account: p.name})
		if err != nil {
			return err
		}
		// One that is not there is stored with the next rows that are new.
		if !a.Exists || a.Registered && a.Password != "" && !credentials.IsReference(a.Password) {
			continue
		}
		err = i.registerOne(ctx, &p, &a)
		if similar := new(store.SimilarError); errors.As(err, &similar) {
			i.damaged(s, "users: username %s: %w", shown(p.name), err)
			continue
		}
		if err != nil {
			return err
		}
		if p.password != "" {
			s.Passwords++
		}
		if p.secret != nil {
			s.Secrets++
		}
	}
	return nil
}

// registerOne does so in an order in which, whatever ends in between, nobody gets in with
// less than all.
func (i *DatabaseImport) registerOne(ctx context.Context, p *person, a *store.Account) error {
	if p.status != "" && !a.Registered && !a.Locked {
		if err := i.Store.Lock(ctx, i.By, store.User, p.name, p.status); err != nil {
			return err
		}
	}
	if p.secret != nil {
		known, err := i.Store.Known(ctx, p.name)
		if err != nil {
			return err
		}
		// Those that were made here are for SHA-1.
		if own := known.Secret != "" && !strings.HasPrefix(known.Secret, string(credentials.SHA256)+":"); !own && known.Secret != p.secret.String() {
			if err := i.Store.ImportSecret(ctx, i.By, p.name, *p.secret); err != nil {
				return err
			}
		}
	}
	if a.Registered && (p.password == "" || a.Password == p.password) {
		return nil
	}
	return i.Store.SetPassword(ctx, i.By, store.User, p.name, p.password)
}

// held reads who is not paid.
func (i *DatabaseImport) held(ctx context.Context, tx *sql.Tx) (list []store.Owner, err error) {
	r, err := tx.QueryContext(ctx, "select u.username from users u join useratts a on a.userid = u.userid where a.attname = '"+hold+"' and "+
		fmt.Sprintf(current, "a")+" and "+fmt.Sprintf(current, "u")+" order by u.userid")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for r.Next() {
		var name string
		if err := r.Scan(&name); err != nil {
			return nil, err
		}
		w := accounting.WorkerOf(i.Network, name, name)
		list = append(list, store.Owner{Kind: w.Kind, Name: w.Account})
	}
	return list, r.Err()
}

// hold keeps from being paid who is not paid there, unless a person said here what becomes
// of that account, by a hold or its end.
func (i *DatabaseImport) hold(ctx context.Context, list []store.Owner, s *DatabaseSummary) error {
	if len(list) == 0 {
		return nil
	}
	rows, err := i.Store.Audit(ctx, 0)
	if err != nil {
		return err
	}
	for _, o := range list {
		a, err := i.Store.Account(ctx, store.Worker{Kind: o.Kind, Account: o.Name})
		if err != nil {
			return err
		}
		if !a.Exists { // stored with the next rows that are new
			continue
		}
		s.Held++
		if slices.ContainsFunc(rows, func(r store.AuditRow) bool {
			return r.What == "hold" && (r.Subject == o.String() || o.Kind == store.Address && strings.EqualFold(r.Subject, o.String()))
		}) {
			continue
		}
		if err := i.Store.Hold(ctx, i.By, o, hold+" of the database that was imported"); err != nil {
			return err
		}
	}
	return nil
}
