// Package postgres keeps the store's tables in PostgreSQL, from version 15 on.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

//go:embed migrations
var migrations embed.FS

// DB is a database. It is safe for concurrent use, by other processes as well.
type DB struct {
	pool *sql.DB
	// Long is for how long a transaction may be open before Warnings tells.
	Long time.Duration
}

// connectTime is how long a server may take to answer that was not given another time.
const connectTime = 10 * time.Second

// The server has a hundred connections, where its settings are those it comes with, which
// are for others as well. What is asked at once waits for one.
const (
	maxConnections  = 32
	keptConnections = 8
)

// Open connects to the database of a URL and brings its tables to the form of this
// program. check is asked before, with the numbers of the tables there and of the
// newest migration that was run, 0 for none, and of that this program knows.
func Open(ctx context.Context, url string, check func(tables int, version, known int64) error) (*DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	for name, value := range map[string]string{
		"application_name": "ckdb",
		// A client whose machine is gone does not hold its rows for hours.
		"idle_in_transaction_session_timeout": "60s",
		"tcp_user_timeout":                    "30s",
	} {
		if _, ok := config.RuntimeParams[name]; !ok {
			config.RuntimeParams[name] = value
		}
	}
	db := &DB{stdlib.OpenDB(*config), 10 * time.Minute}
	db.pool.SetMaxOpenConns(maxConnections)
	db.pool.SetMaxIdleConns(keptConnections)
	if err := db.migrate(ctx, check); err != nil {
		db.pool.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) migrate(ctx context.Context, check func(tables int, version, known int64) error) error {
	// The lock is the connection's and ends with it.
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var server int
	if err := conn.QueryRowContext(ctx, "select current_setting('server_version_num')::int").Scan(&server); err != nil {
		return err
	}
	if server < 150000 {
		return fmt.Errorf("PostgreSQL is version %d: want 15 or later", server/10000)
	}
	const lock = "(hashtext('ckdb'), hashtext(current_schema()))"
	if _, err := conn.ExecContext(ctx, "select pg_advisory_lock"+lock); err != nil {
		return err
	}
	defer func() { // it ends with the connection in any case
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "select pg_advisory_unlock"+lock)
	}()
	var tables int
	if err := conn.QueryRowContext(ctx, "select count(*) from pg_class c where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'f')").Scan(&tables); err != nil {
		return err
	}
	var version int64
	var ours, begun bool // begun: the table of versions is there, which comes first
	if err := conn.QueryRowContext(ctx, "select to_regclass('ckdb') is not null, to_regclass('goose_db_version') is not null").Scan(&ours, &begun); err != nil {
		return err
	}
	if begun && !ours && tables == 1 { // what was to make the others was cut off
		tables = 0
	}
	if begun && ours {
		if err := conn.QueryRowContext(ctx, "select coalesce(max(version_id), 0) from goose_db_version where is_applied").Scan(&version); err != nil {
			return err
		}
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db.pool, files)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	known := sources[len(sources)-1].Version
	if err := check(tables, version, known); err != nil || version == known {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes all connections.
func (db *DB) Close() error { return db.pool.Close() }

// commitError is an error of a commit.
type commitError struct{ error }

func (e commitError) Unwrap() error { return e.error }

// Write is that of [table.Database].
func (db *DB) Write(ctx context.Context, f func(table.Tx) error) error {
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	t, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // of what was not committed
	if err := f(&tx{t, conn}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return commitError{err}
	}
	return nil
}

// Read is that of [table.Database].
func (db *DB) Read(ctx context.Context, f func(table.Tx) error) error {
	t, err := db.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // of what was not committed
	return f(&tx{t, nil})
}

// Again is that of [table.Database].
func (db *DB) Again(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "40001", "40P01", // serialization failure, deadlock
		"42P01": // undefined table: another process has dropped a day of shares
		return true
	}
	return false
}

// Unknown is that of [table.Database].
func (db *DB) Unknown(err error) bool {
	var e commitError
	return errors.As(err, &e)
}

// Split is that of [table.Database]. Readers of the table neither wait nor are
// waited for.
func (db *DB) Split(ctx context.Context, t *table.Table, part string, from, to int64) error {
	return db.Write(ctx, func(x table.Tx) error {
		for _, q := range []string{
			"select pg_advisory_xact_lock(hashtext('ckdb parts'), hashtext(current_schema()))",
			fmt.Sprintf("create table if not exists %s (like %s including all)", part, t.Name),
			fmt.Sprintf(`do $$ begin
				if not exists (select from pg_inherits where inhrelid = '%[1]s'::regclass) then
					alter table %[2]s attach partition %[1]s for values from (%[3]d) to (%[4]d);
				end if;
			end $$`, part, t.Name, from, to),
		} {
			if _, err := x.Exec(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
}

// Drop is that of [table.Database].
func (db *DB) Drop(ctx context.Context, t *table.Table, part string) error {
	var attached, pending bool
	err := db.pool.QueryRowContext(ctx, `select count(*) > 0, coalesce(bool_or(inhdetachpending), false)
		from pg_inherits where inhrelid = to_regclass($1)`, part).Scan(&attached, &pending)
	if err != nil {
		return err
	}
	if attached {
		how := "concurrently"
		if pending { // an earlier call was cut off
			how = "finalize"
		}
		if _, err := db.pool.ExecContext(ctx, fmt.Sprintf("alter table %s detach partition %s %s", t.Name, part, how)); err != nil {
			return err
		}
	}
	_, err = db.pool.ExecContext(ctx, "drop table if exists "+part)
	return err
}

// In is that of [table.Database].
func (db *DB) In(n int) string { return fmt.Sprintf("= any($%d)", n) }

// List is that of [table.Database]: nil would be null, and not an empty list.
func (db *DB) List(values []int64) any { return append([]int64{}, values...) }

// Lock is that of [table.Database].
func (db *DB) Lock() string { return " for update" }

// Sum is that of [table.Database].
func (db *DB) Sum(c table.Column) string {
	switch {
	case c.Kind == table.Integer && c.Merge == table.Add:
		return aggregate(c) + "::bigint"
	case c.Kind == table.Integer:
		return aggregate(c)
	}
	return aggregate(c) + "::text"
}

// Same is that of [table.Database].
func (db *DB) Same(c table.Column) string {
	if c.Kind == table.Exact || c.Kind == table.Peak {
		return c.Name + "::text"
	}
	return c.Name
}

// Equal is that of [table.Database].
func (db *DB) Equal(c table.Column, summed bool) []string {
	if summed {
		return []string{aggregate(c)}
	}
	return []string{c.Name}
}

func aggregate(c table.Column) string {
	switch c.Merge {
	case table.Add:
		// Most are 0, and the state of a sum is large.
		return "coalesce(sum(" + c.Name + ") filter (where " + c.Name + " <> 0), 0)"
	case table.First:
		return "coalesce(min(nullif(" + c.Name + ", 0)), 0)"
	}
	return "max(" + c.Name + ")"
}

// Warnings is that of [table.Database].
func (db *DB) Warnings(ctx context.Context) (lines []string, err error) {
	rows, err := db.pool.QueryContext(ctx, `select format('a transaction of %s (%s, process %s) is open for %s minutes: dead rows cannot be cleaned up until it ends',
			usename, coalesce(nullif(application_name, ''), 'a program without name'), pid, floor(extract(epoch from now() - xact_start) / 60))
		from pg_stat_activity where datname = current_database() and xact_start < now() - $1 * interval '1 second' and pid <> pg_backend_pid() order by xact_start`, db.Long.Seconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}

// tx is a transaction and the connection that it is on, nil where it only reads.
type tx struct {
	*sql.Tx
	conn *sql.Conn
}

func (x *tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := x.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (x *tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return x.QueryContext(ctx, query, args...)
}

// unnest makes rows of arrays: the call, with a name for each column of them, the
// expressions of their values, and the arguments.
func unnest(columns []table.Column, rows table.Rows) (from string, values []string, args []any) {
	var types, names []string
	for i, c := range columns {
		name := "v" + strconv.Itoa(i)
		names = append(names, name)
		switch c.Kind {
		case table.Integer:
			types = append(types, fmt.Sprintf("$%d::bigint[]", i+1))
			values = append(values, "u."+name)
			args = append(args, rows[i])
		case table.Text:
			types = append(types, fmt.Sprintf("$%d::text[]", i+1))
			values = append(values, "u."+name)
			args = append(args, rows[i])
		case table.Bytes:
			types = append(types, fmt.Sprintf("$%d::bytea[]", i+1))
			values = append(values, "u."+name)
			args = append(args, rows[i])
		default:
			types = append(types, fmt.Sprintf("$%d::text[]", i+1))
			values = append(values, "u."+name+"::numeric")
			args = append(args, decimals(rows[i].([]difficulty.Exact)))
		}
	}
	return "unnest(" + strings.Join(types, ", ") + ") with ordinality as u(" + strings.Join(names, ", ") + ", row)", values, args
}

func decimals(list []difficulty.Exact) []string {
	texts := make([]string, len(list))
	known := map[difficulty.Exact]string{} // most are of a few
	for i, x := range list {
		s, ok := known[x]
		if !ok {
			s = x.String()
			if len(known) < 1000 {
				known[x] = s
			}
		}
		texts[i] = s
	}
	return texts
}

// Merge is that of [table.Tx].
func (x *tx) Merge(ctx context.Context, t *table.Table, into string, n int, rows table.Rows) (int64, error) {
	columns, rows := table.Filled(t.Columns, rows)
	if len(t.Keys()) == 0 {
		return int64(n), x.copy(ctx, columns, into, n, rows)
	}
	from, values, args := unnest(columns, rows)
	return x.Exec(ctx, fmt.Sprintf("insert into %s as t (%s) select %s from %s%s", into, table.Names(columns), strings.Join(values, ", "), from, conflict(t, columns)), args...)
}

// conflict is what is done with a row that is there.
func conflict(t *table.Table, columns []table.Column) string {
	if len(t.Keys()) == 0 {
		return ""
	}
	var set []string
	for _, c := range columns {
		switch c.Merge {
		case table.Add:
			set = append(set, fmt.Sprintf("%[1]s = t.%[1]s + excluded.%[1]s", c.Name))
		case table.First:
			set = append(set, fmt.Sprintf("%[1]s = coalesce(least(nullif(t.%[1]s, 0), nullif(excluded.%[1]s, 0)), 0)", c.Name))
		case table.Greatest:
			set = append(set, fmt.Sprintf("%[1]s = greatest(t.%[1]s, excluded.%[1]s)", c.Name))
		}
	}
	if len(set) == 0 {
		return " on conflict do nothing"
	}
	return " on conflict (" + strings.Join(t.Keys(), ", ") + ") do update set " + strings.Join(set, ", ")
}

// Insert is that of [table.Tx].
func (x *tx) Insert(ctx context.Context, t *table.Table, into string, n int, rows table.Rows) ([]bool, error) {
	// Nearly always none is there.
	if _, err := x.Exec(ctx, "savepoint copied"); err != nil {
		return nil, err
	}
	err := x.copy(ctx, t.Columns, into, n, rows)
	if err == nil {
		_, err = x.Exec(ctx, "release copied")
		return slices.Repeat([]bool{true}, n), err
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != "23505" { // unique violation
		return nil, err
	}
	if _, err := x.Exec(ctx, "rollback to copied"); err != nil {
		return nil, err
	}
	if _, err := x.Merge(ctx, t, into, n, rows); err != nil {
		return nil, err
	}
	added := make([]bool, n)
	// Rows that are there and have our marks are those just written: what is written
	// once is not offered again under the same marks.
	var columns []table.Column
	var parts table.Rows
	var on []string
	for i, c := range t.Columns {
		if c.Merge == table.Key || c.Merge == table.Mark {
			on = append(on, fmt.Sprintf("t.%s = u.v%d", c.Name, len(columns)))
			columns, parts = append(columns, c), append(parts, rows[i])
		}
	}
	from, _, args := unnest(columns, parts)
	found, err := x.Query(ctx, fmt.Sprintf("select u.row from %s join %s t on %s", from, into, strings.Join(on, " and ")), args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		var i int
		if err := found.Scan(&i); err != nil {
			return nil, err
		}
		added[i-1] = true
	}
	return added, found.Err()
}

// Find is that of [table.Tx].
func (x *tx) Find(ctx context.Context, t *table.Table, n int, keys table.Rows) ([]int64, error) {
	var columns []table.Column
	var on []string
	for _, c := range t.Columns {
		if c.Merge == table.Key {
			on = append(on, fmt.Sprintf("t.%s = u.v%d", c.Name, len(columns)))
			columns = append(columns, c)
		}
	}
	from, _, args := unnest(columns, keys)
	rows, err := x.Query(ctx, fmt.Sprintf("select u.row, t.id from %s join %s t on %s", from, t.Name, strings.Join(on, " and ")), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ids := make([]int64, n)
	for rows.Next() {
		var i int
		var id int64
		if err := rows.Scan(&i, &id); err != nil {
			return nil, err
		}
		ids[i-1] = id
	}
	return ids, rows.Err()
}

// Fold is that of [table.Tx].
func (x *tx) Fold(ctx context.Context, t *table.Table, by []string, from string, args ...any) (int64, error) {
	values, places := append([]string(nil), by...), make([]string, len(by))
	for i := range by {
		places[i] = strconv.Itoa(i + 1)
	}
	for _, c := range t.Sums() {
		values = append(values, aggregate(c))
	}
	// For groups of all workers, in the server's memory and not in its files.
	if _, err := x.Exec(ctx, "set local work_mem = '256MB'"); err != nil {
		return 0, err
	}
	// In the order of the index: neighbours are then in one page.
	return x.Exec(ctx, fmt.Sprintf("insert into %s as t (%s) select %s from %s group by %[5]s order by %[5]s%[6]s", t.Name, table.Names(t.Columns),
		strings.Join(values, ", "), from, strings.Join(places, ", "), conflict(t, t.Columns)), args...)
}
