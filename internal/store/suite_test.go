package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	pgdb "github.com/ckpool/ckpool/internal/store/postgres"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// backends are what the conformance suite runs on: a database without rows each.
var backends = []struct {
	name  string
	empty func(t testing.TB) (where string)
}{
	{"sqlite", func(t testing.TB) string { return "sqlite:" + t.TempDir() }},
	{"postgres", func(t testing.TB) string { return postgres.Filled(t, Open) }},
}

// each runs a test on every backend.
func each(t *testing.T, test func(t *testing.T, where string)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) { test(t, b.empty(t)) })
	}
}

func open(t testing.TB, where string) *Store {
	t.Helper()
	s, err := Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func instance(n byte) Instance {
	return Instance{ID: [16]byte{n, 15: n}, Name: fmt.Sprintf("pool%d", n), Network: "regtest"}
}

// started is 2026-07-14 12:00 UTC, in microseconds.
const started = 1_784_030_400_000_000

func registered(t testing.TB, where string, n byte) (*Store, Instance) {
	t.Helper()
	s, in := open(t, where), instance(n)
	if _, err := s.Register(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return s, in
}

func apply(t testing.TB, s *Store, b *Batch) Result {
	t.Helper()
	r, err := s.Apply(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// share number n of an instance: its identity follows from n alone.
func share(n int64, credit float64) Share {
	s := Share{Number: n, Received: started + n, NTime: uint32(started/1_000_000 + n%1000), Credit: difficulty.ExactOf(credit), Achieved: difficulty.ExactOf(credit * 1.5)}
	r := rand.NewPCG(uint64(n), 1)
	for i := range s.Hash {
		s.Hash[i] = byte(r.Uint64())
	}
	return s
}

// batch of shares first to last of one worker.
func batch(in Instance, first, last int64) *Batch {
	b := &Batch{Instance: in.ID, From: Position{Epoch: 1, Number: first - 1}, To: Position{Epoch: 1, Number: last}, At: started + last,
		Workers: []Worker{{Address, "bcrt1qexample", "rig"}}, Agents: []string{"cgminer/4.12"}}
	if first == 1 {
		b.From = Position{}
	}
	for n := first; n <= last; n++ {
		b.Shares = append(b.Shares, share(n, 42))
	}
	return b
}

// total is the sum of all pools.
func total(t testing.TB, s *Store) (sum Sum) {
	t.Helper()
	list, err := s.Sums(t.Context(), Query{By: ByPool, Days: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		sum.Add(&r.Sum)
	}
	return sum
}

func consistent(t testing.TB, s *Store) {
	t.Helper()
	differences, err := s.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range differences {
		if i == 5 {
			t.Errorf("and %d more", len(differences)-i)
			break
		}
		t.Error(d)
	}
}

func TestOpen(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		apply(t, s, batch(in, 1, 10))
		s.Close()
		s, err := Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if at, err := s.Register(t.Context(), in); err != nil || at != (Position{Epoch: 1, Number: 10}) {
			t.Errorf("goes on at %s, %v", at, err)
		}
		other := instance(2)
		other.Network = "main"
		if _, err := s.Register(t.Context(), other); !errors.Is(err, ErrNetwork) || !strings.Contains(err.Error(), "pool2 is on main, the database has shares of regtest") {
			t.Errorf("a pool of another network: %v", err)
		}
		if _, err := s.Apply(t.Context(), batch(instance(2), 1, 1)); !errors.Is(err, ErrInstance) {
			t.Errorf("a pool that is not registered: %v", err)
		}
	})
}

// dump is all of a database, for comparing: every table that it has.
func dump(t testing.TB, s *Store) string {
	t.Helper()
	query := "select name from sqlite_master where type = 'table' and name not like 'sqlite%'"
	if _, ok := s.db.(*pgdb.DB); ok {
		query = "select relname from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')"
	}
	var names []string
	if err := s.db.Read(t.Context(), func(tx table.Tx) error {
		return rows(t.Context(), tx, query, nil, func(scan func(...any) error) error {
			names = append(names, "")
			return scan(&names[len(names)-1])
		})
	}); err != nil || !slices.Contains(names, "ledger") || !slices.Contains(names, "alarms") {
		t.Fatal(names, err)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(dumpTable(t, s, name))
	}
	return b.String()
}

func dumpTable(t testing.TB, s *Store, name string) string {
	t.Helper()
	var lines []string
	if err := s.db.Read(t.Context(), func(tx table.Tx) error {
		r, err := tx.Query(t.Context(), "select * from "+name)
		if err != nil {
			return err
		}
		defer r.Close()
		names, err := r.Columns()
		if err != nil {
			return err
		}
		for r.Next() {
			values, places := make([]any, len(names)), make([]any, len(names))
			for i := range places {
				places[i] = &values[i]
			}
			if err := r.Scan(places...); err != nil {
				return err
			}
			lines = append(lines, fmt.Sprint(values...))
		}
		return r.Err()
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return name + "\n" + strings.Join(lines, "\n") + "\n"
}

// A database of somebody else's, or of a later version, is refused and stays as it is.
func TestOpenRefused(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		change(t, s, "insert into goose_db_version (version_id, is_applied) values (99, true)")
		before := dump(t, s)
		if _, err := Open(t.Context(), where); err == nil || !strings.Contains(err.Error(), "it was made by a later version of ckdb (form 99, this version knows ") {
			t.Errorf("a later form: %v", err)
		}
		if after := dump(t, s); after != before {
			t.Errorf("changed:\n%s", after)
		}
	})
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		for _, q := range []string{"drop table ckdb", "create table customers (name text)", "drop table goose_db_version"} {
			change(t, s, q)
		}
		if _, err := Open(t.Context(), where); err == nil || !strings.Contains(err.Error(), "it has tables that are not ckdb's") {
			t.Errorf("somebody else's: %v", err)
		}
	})
	for _, where := range []string{"postgres://user:secret@127.0.0.1:1/ckdb", "postgres:///ckdb?host=127.0.0.1&port=1&password=secret"} {
		if _, err := Open(t.Context(), where); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("nobody there: %v", err)
		}
	}
}

func change(t testing.TB, s *Store, query string, args ...any) {
	t.Helper()
	if err := s.db.Write(context.WithoutCancel(t.Context()), func(tx table.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	}); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// A database of an earlier version is brought to the present form with all it has.
func TestOpenOlder(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		hash := p.find("alice", 40, true, out(1000, poolScript))
		p.over()
		n.follow()
		const had = "chain -1000, fee immature 0, alice immature 1000"
		n.has(had)
		for _, q := range []string{
			"drop table late_shares", "alter table instances drop column late",
			"alter table chain_scripts drop column at", "alter table chain_blocks drop column outputs",
			"delete from goose_db_version where version_id > 12",
		} {
			change(t, n.s, q)
		}
		n.s.Close()
		n.s = open(t, where)
		n.has(had)
		n.anew(hash)
		second := p.find("bob", 10, true, out(1000, poolScript))
		p.over()
		n.follow()
		n.has("chain -2000, fee immature 0, alice immature 1800, bob immature 200")
		n.anew(hash, second)
	})
}

// A database whose first migration was cut off, so that there is no more than the
// table of versions, is made.
func TestOpenAfterCutOff(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		list := "select name from sqlite_master where type = 'table' and name not like 'sqlite%' and name <> 'goose_db_version'"
		if strings.HasPrefix(where, "postgres") {
			list = "select relname from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and relname <> 'goose_db_version'"
		}
		var tables []string
		if err := s.db.Read(t.Context(), func(tx table.Tx) error {
			return rows(t.Context(), tx, list, nil, func(scan func(...any) error) error {
				tables = append(tables, "")
				return scan(&tables[len(tables)-1])
			})
		}); err != nil || len(tables) < 10 {
			t.Fatal(tables, err)
		}
		if strings.HasPrefix(where, "postgres") {
			change(t, s, "drop table "+strings.Join(tables, ", "))
			change(t, s, `do $$ declare f text; begin
				for f in select oid::regprocedure::text from pg_proc where pronamespace = current_schema()::regnamespace loop execute 'drop function ' || f; end loop;
			end $$`)
		} else {
			slices.Reverse(tables) // those that refer to others first
			for _, name := range tables {
				change(t, s, "drop table "+name)
			}
		}
		change(t, s, "delete from goose_db_version where version_id > 0")
		s.Close()
		s, in := registered(t, where, 1)
		apply(t, s, batch(in, 1, 10))
		if sum := total(t, s); sum.Accepted.Count != 10 {
			t.Errorf("%d shares of 10", sum.Accepted.Count)
		}
		consistent(t, s)
	})
}

// Two programs that open an empty database at once both find it ready.
func TestOpenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		done := make(chan error)
		for range 4 {
			go func() {
				s, err := Open(t.Context(), where)
				if err == nil {
					_, err = s.Register(t.Context(), instance(1))
					err = errors.Join(err, s.Close())
				}
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// 45: what is stored is the same in every time zone.
func TestCase45(t *testing.T) {
	if os.Getenv("TZ") != "" {
		t.Skip("this is the run in another zone")
	}
	for _, zone := range []string{"Asia/Colombo", "Asia/Kathmandu"} {
		c := exec.Command(os.Args[0], "-test.run=^(TestOrder|TestOpen|TestEverything|TestCase53)$")
		c.Env = append(os.Environ(), "TZ="+zone)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("TZ=%s: %v\n%s", zone, err, out)
		}
	}
}
