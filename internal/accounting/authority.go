package accounting

import (
	"context"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store"
)

// lookTime is between two looks at the database for changes: others than this
// process make them.
const lookTime = 500 * time.Millisecond

// Authority is what a store knows of accounts, for pools that ask.
type Authority struct{ Store *store.Store }

// Find implements authority.Accounts. Until the first user is registered, every name
// may mine.
func (a Authority) Find(ctx context.Context, q authority.Question) (authority.Account, error) {
	kind := store.User
	if q.Payable {
		kind = store.Address
	}
	found, err := a.Store.Account(ctx, store.Worker{Kind: kind, Account: q.User, Name: workerName(q.User, q.Worker)})
	if err != nil {
		return authority.Account{}, err
	}
	open := false
	if !found.Registered && !q.Payable {
		registers, err := a.Store.Registers(ctx)
		if err != nil {
			return authority.Account{}, err
		}
		open = !registers
	}
	password := found.Password
	if credentials.IsReference(password) { // which never asked miners for it
		password = ""
	}
	return authority.Account{
		Registered: found.Registered, Open: open, Password: password, Locked: found.Locked, Text: found.Reason, Minimum: found.Minimum,
	}, nil
}

// Position implements authority.Accounts.
func (a Authority) Position(ctx context.Context) (p authority.Position, err error) {
	p.Store, p.Number, err = a.Store.Newest(ctx)
	return p, err
}

// Changes implements authority.Accounts.
func (a Authority) Changes(ctx context.Context, after uint64, most int) ([]authority.Change, error) {
	for {
		list, err := a.Store.Changes(ctx, after, most)
		if err != nil || len(list) > 0 {
			changes := make([]authority.Change, len(list))
			for i, c := range list {
				changes[i] = authority.Change{Number: c.Number, Kind: kinds[c.Kind], User: c.Account, Text: c.Reason, Minimum: c.Minimum, Private: c.Private}
				if c.Kind == store.NewMinimum {
					changes[i].Worker = fullName(c.Account, c.Worker)
				}
			}
			return changes, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookTime):
		}
	}
}

// AddTry implements authority.Accounts.
func (a Authority) AddTry(ctx context.Context, limits []credentials.Limit) (time.Duration, error) {
	return a.Store.AddTry(ctx, limits)
}

// TakeBackTry implements authority.Accounts.
func (a Authority) TakeBackTry(ctx context.Context, limits []credentials.Limit) error {
	return a.Store.TakeBackTry(ctx, limits)
}

var kinds = map[store.ChangeKind]authority.Kind{
	store.Locked: authority.Lock, store.Unlocked: authority.Unlock, store.NewPassword: authority.Password,
	store.NewMinimum: authority.Minimum, store.NewMessage: authority.Message,
	store.NewPrivacy: authority.Privacy,
}

// workerName is what stands behind the user in a worker's full name, without the
// point that usually parts them.
func workerName(user, worker string) string {
	return strings.TrimPrefix(strings.TrimPrefix(worker, user), ".")
}

// fullName is that of a worker by what workerName gave.
func fullName(user, name string) string {
	switch {
	case name == "":
		return user
	case strings.HasPrefix(name, "_"):
		return user + name
	}
	return user + "." + name
}
