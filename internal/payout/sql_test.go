package payout_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/store/sqlite"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

func TestMain(m *testing.M) {
	payout.Backends = append(payout.Backends, struct {
		Name  string
		Empty func(t *testing.T) payout.TestBook
	}{"sqlite", func(t *testing.T) payout.TestBook { return empty(t, "sqlite:"+t.TempDir()) }}, struct {
		Name  string
		Empty func(t *testing.T) payout.TestBook
	}{"postgres", func(t *testing.T) payout.TestBook { return empty(t, postgres.Filled(t, store.Open)) }})
	os.Exit(postgres.Main(m))
}

// book is that of a store.
type book struct {
	*store.Payments
	t     *testing.T
	store *store.Store
	where string
}

// users are the accounts 1 and 2.
var users = []string{"u1", "u2"}

func empty(t *testing.T, where string) *book {
	b := open(t, where)
	for _, name := range users {
		if err := b.store.Add(t.Context(), "ann", store.User, name); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func open(t *testing.T, where string) *book {
	t.Helper()
	s, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{s.Payments(), t, s, where}
	t.Cleanup(func() { b.store.Close() })
	return b
}

var credits atomic.Int64

func (b *book) Credit(account, amount int64) {
	b.t.Helper()
	if _, err := b.store.Post(b.t.Context(), store.Transaction{Kind: store.Maturity, Reference: fmt.Sprintf("block %d", credits.Add(1)), Entries: []store.Entry{
		{Book: store.Balance, Owner: store.Owner{Kind: store.User, Name: users[account-1]}, Amount: amount}, {Book: store.Chain, Amount: -amount},
	}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) Earn(amount int64) {
	b.t.Helper()
	if _, err := b.store.Post(b.t.Context(), store.Transaction{Kind: store.Maturity, Reference: fmt.Sprintf("block %d", credits.Add(1)), Entries: []store.Entry{
		{Book: store.Fee, Amount: amount}, {Book: store.Chain, Amount: -amount},
	}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) PaidTo(account int64, addresses ...string) {
	b.t.Helper()
	db := b.db()
	defer db.Close()
	run := func(query string, args ...any) {
		if _, err := db.ExecContext(b.t.Context(), query, args...); err != nil {
			b.t.Fatal(err)
		}
	}
	run("insert into address_sets (number, account, since, at, by) values ($1, $1, 0, 0, 'op')", account)
	for _, a := range addresses {
		run("insert into address_parts (number, address, ppm) values ($1, $2, $3)", account, a, store.Whole/len(addresses))
		run("insert into address_owners (address, account, proved, at) values ($1, $2, 0, 0)", a, account)
	}
}

func (b *book) db() *sql.DB {
	b.t.Helper()
	driver, where := "pgx", b.where
	if dir, ok := strings.CutPrefix(b.where, "sqlite:"); ok {
		driver, where = "sqlite", "file:"+filepath.Join(dir, sqlite.File)
	}
	db, err := sql.Open(driver, where)
	if err != nil {
		b.t.Fatal(err)
	}
	return db
}

func (b *book) Dump() string {
	b.t.Helper()
	db := b.db()
	defer db.Close()
	var text strings.Builder
	list := "select relname from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') order by relname"
	if strings.HasPrefix(b.where, "sqlite") {
		list = "select name from sqlite_master where type = 'table' order by name"
	}
	names, err := db.QueryContext(b.t.Context(), list)
	if err != nil {
		b.t.Fatal(err)
	}
	var tables []string
	for names.Next() {
		var name string
		if err := names.Scan(&name); err != nil {
			b.t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if names.Close(); len(tables) < 20 {
		b.t.Fatalf("tables %v", tables)
	}
	for _, name := range tables {
		r, err := db.QueryContext(b.t.Context(), "select * from "+name)
		if err != nil {
			b.t.Fatal(err)
		}
		columns, err := r.Columns()
		var lines []string
		for err == nil && r.Next() {
			values, places := make([]any, len(columns)), make([]any, len(columns))
			for i := range places {
				places[i] = &values[i]
			}
			err = r.Scan(places...)
			lines = append(lines, fmt.Sprint(values...))
		}
		if r.Close(); err != nil || r.Err() != nil {
			b.t.Fatal(err, r.Err())
		}
		slices.Sort(lines)
		text.WriteString(name + "\n" + strings.Join(lines, "\n") + "\n")
	}
	return text.String()
}

var copies atomic.Int64

func (b *book) Backup() payout.TestBook {
	b.t.Helper()
	run := func(db *sql.DB, query string) {
		defer db.Close()
		if _, err := db.ExecContext(context.Background(), query); err != nil {
			b.t.Fatal(err)
		}
	}
	if strings.HasPrefix(b.where, "sqlite:") {
		dir := b.t.TempDir()
		run(b.db(), "vacuum into '"+filepath.Join(dir, sqlite.File)+"'")
		return open(b.t, "sqlite:"+dir)
	}
	u, err := url.Parse(b.where)
	if err != nil {
		b.t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	backup := fmt.Sprintf("copy%d", copies.Add(1))
	// A database is copied while nobody is connected to it.
	b.store.Close()
	u.Path = "/postgres"
	admin, err := sql.Open("pgx", u.String())
	if err != nil {
		b.t.Fatal(err)
	}
	run(admin, "create database "+backup+" template "+name)
	again := open(b.t, b.where)
	b.store, b.Payments = again.store, again.Payments
	u.Path = "/" + backup
	return open(b.t, u.String())
}

func (b *book) amounts() []store.BookBalance {
	b.t.Helper()
	list, err := b.store.Balances(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if differences, err := b.store.Check(b.t.Context(), nil); err != nil || len(differences) > 0 {
		b.t.Errorf("check: %v, %v", differences, err)
	}
	return list
}

func (b *book) Balances() map[int64]int64 {
	m := map[int64]int64{}
	for _, v := range b.amounts() {
		if v.Book == store.Balance {
			m[int64(slices.Index(users, v.Owner.Name))+1] = v.Amount
		}
	}
	return m
}

func (b *book) Ledger() map[string]int64 {
	m := map[string]int64{}
	for _, v := range b.amounts() {
		if v.Book != store.Balance {
			m[string(v.Book)] = v.Amount
		}
	}
	return m
}

func (b *book) Postings() (n int) {
	db := b.db()
	defer db.Close()
	if err := db.QueryRowContext(b.t.Context(), "select count(*) from ledger where kind in ('payout', 'confirmed', 'bump', 'returned')").Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *book) Known(txid string) {
	b.t.Helper()
	if err := b.BookStranger(b.t.Context(), "op", txid, []payout.Entry{{Ledger: payout.Chain, Amount: 1}, {Ledger: payout.Fees, Amount: -1}}); err != nil {
		b.t.Fatal(err)
	}
}
