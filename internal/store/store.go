package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/ckpool/ckpool/internal/store/postgres"
	"github.com/ckpool/ckpool/internal/store/sqlite"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Limits of what strangers can fill the database with.
const (
	// WorkersPerAccount is how many names of workers an account has; shares under
	// further ones count under Rest.
	WorkersPerAccount = 10_000
	// UserAgents is how many of them are told apart, likewise.
	UserAgents = 10_000
	// Rest is the name of the worker and of the user agent that stand for the rest.
	Rest = "*"
)

// Store is a database. It is safe for concurrent use; several programs may use one
// database at once.
type Store struct {
	db table.Database
	// immutable; others in tests
	workersPerAccount int64
	foldLeast         int64 // pending sums, when they are folded
	foldMost          int64
	jobsAtOnce        int64         // of each pool, that are looked through for scripts in a transaction
	sharesAtOnce      int64         // single shares that are read at a time where there is no stream left
	streams           chan struct{} // has room for the lists of single shares that are read at a time

	// names that are in the database, which have their numbers for ever
	mu      sync.Mutex
	workers map[Worker]int64 // the account as it is compared
	agents  map[string]int64

	totalsMu sync.Mutex
	totals   ledgerTotals // guarded by totalsMu
}

// Open opens the database of a URL, postgres://user:password@host/name, or in a
// directory, given by its path or as sqlite:path, and brings its tables to the form
// of this program. A database that is not a store's, or of a later form, is refused
// and not changed.
func Open(ctx context.Context, where string) (*Store, error) {
	check := func(tables int, version, known int64) error {
		switch {
		case version > known:
			return fmt.Errorf("it was made by a later version of ckdb (form %d, this version knows %d): update ckdb", version, known)
		case version == 0 && tables > 0:
			return errors.New("it has tables that are not ckdb's: want an empty database, or one of ckdb's")
		}
		return nil
	}
	var db table.Database
	var err error
	switch scheme, _, _ := strings.Cut(where, ":"); scheme {
	case "postgres", "postgresql":
		db, err = postgres.Open(ctx, where, check)
	default:
		db, err = sqlite.Open(ctx, strings.TrimPrefix(where, "sqlite:"), check)
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", Redacted(where), err)
	}
	return &Store{db: db, workersPerAccount: WorkersPerAccount, foldLeast: 20_000, foldMost: 1_000_000, jobsAtOnce: 5000,
		sharesAtOnce: sharesAtOnce, streams: make(chan struct{}, streamsMost), workers: map[Worker]int64{}, agents: map[string]int64{}}, nil
}

// Away reports an error of [Open] that is worth another try later: the server of the
// database cannot be reached, or does not serve yet.
func Away(err error) bool { return postgres.Away(err) }

// Redacted is what Open takes without the password in it.
func Redacted(where string) string {
	if u, err := url.Parse(where); err == nil && u.Scheme != "" {
		if q := u.Query(); q.Has("password") {
			q.Set("password", "xxxxx")
			u.RawQuery = q.Encode()
		}
		return u.Redacted()
	}
	return where
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }
