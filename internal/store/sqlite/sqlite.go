// Package sqlite keeps the store's tables in one file of SQLite, for pools without
// a database server.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

//go:embed migrations
var migrations embed.FS

// File is the name of the database in its directory.
const File = "ckdb.sqlite"

// limb is what the high part of an amount counts, in units of 10⁻¹².
const limb = "1000000000000000000"

// DB is a database. It is safe for concurrent use, by other processes as well.
type DB struct {
	path  string
	write *sql.DB // one connection, whose transactions begin by taking the lock
	read  *sql.DB
	// Long is how many bytes the write-ahead log may have before Warnings tells.
	Long int64
}

// Open opens the database in a directory, which is made if it is not there, and
// brings its tables to the form of this program. check is asked before, with the
// numbers of the tables there and of the newest migration that was run, 0 for none,
// and of that this program knows.
func Open(ctx context.Context, dir string, check func(tables int, version, known int64) error) (*DB, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	db := &DB{path: filepath.Join(dir, File), Long: 1 << 30}
	absolute, err := filepath.Abs(db.path)
	if err != nil {
		return nil, err
	}
	// Synced at each commit: what is committed survives a power cut. Others are
	// waited for, however long a commit of theirs takes.
	const settings = "?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(on)" +
		"&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(8000)&_pragma=journal_size_limit(67108864)"
	dsn := "file:" + (&url.URL{Path: absolute}).EscapedPath() + settings

	// Two programs that start at once open it one after the other.
	lock, err := os.OpenFile(filepath.Join(dir, "ckdb.lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	// What people log in with is for the user and its group, also in a directory that others may
	// look into. The write-ahead log has the mode of the database.
	if f, err := os.OpenFile(db.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640); err == nil {
		f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if db.write, err = sql.Open("sqlite", dsn+"&_txlock=immediate"); err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1)
	if db.read, err = sql.Open("sqlite", dsn); err != nil {
		return nil, err
	}
	if err := db.migrate(ctx, check); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", db.path, err)
	}
	return db, nil
}

func (db *DB) migrate(ctx context.Context, check func(tables int, version, known int64) error) error {
	var tables int
	var version int64
	// Where that of versions is alone, what was to make the others was cut off.
	if err := db.write.QueryRowContext(ctx, "select count(*) from sqlite_master where tbl_name not in ('goose_db_version', 'sqlite_sequence')").Scan(&tables); err != nil {
		return err
	}
	var ours bool
	if err := db.write.QueryRowContext(ctx, "select count(*) = 2 from sqlite_master where name in ('ckdb', 'goose_db_version')").Scan(&ours); err != nil {
		return err
	}
	if ours {
		if err := db.write.QueryRowContext(ctx, "select coalesce(max(version_id), 0) from goose_db_version where is_applied").Scan(&version); err != nil {
			return err
		}
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db.write, files)
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
func (db *DB) Close() error {
	var err error
	if db.read != nil {
		err = db.read.Close()
	}
	if db.write != nil {
		err = errors.Join(err, db.write.Close())
	}
	return err
}

// Write is that of [table.Database].
func (db *DB) Write(ctx context.Context, f func(table.Tx) error) error {
	t, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // of what was not committed
	if err := f(&tx{t}); err != nil {
		return err
	}
	return t.Commit()
}

// Read is that of [table.Database].
func (db *DB) Read(ctx context.Context, f func(table.Tx) error) error {
	t, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // of what was not committed
	return f(&tx{t})
}

// Again is that of [table.Database]: the lock is taken first, so that nothing
// fails for another's sake; but a day of shares may be dropped.
func (db *DB) Again(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY ||
		err != nil && strings.Contains(err.Error(), "no such table: shares_")
}

// Unknown is that of [table.Database]: there is no answer that could be lost.
func (db *DB) Unknown(error) bool { return false }

// Split is that of [table.Database].
func (db *DB) Split(ctx context.Context, t *table.Table, part string, _, _ int64) error {
	return db.Write(ctx, func(x table.Tx) error {
		var text string
		rows, err := x.Query(ctx, "select sql from sqlite_master where name = $1", t.Name)
		if err != nil {
			return err
		}
		for rows.Next() {
			err = rows.Scan(&text)
		}
		if err := errors.Join(err, rows.Close(), rows.Err()); err != nil {
			return err
		}
		_, err = x.Exec(ctx, strings.Replace(text, "CREATE TABLE "+t.Name+" ", "create table if not exists "+part+" ", 1))
		return err
	})
}

// Drop is that of [table.Database]. Its pages are used again.
func (db *DB) Drop(ctx context.Context, _ *table.Table, part string) error {
	return db.Write(ctx, func(x table.Tx) error {
		_, err := x.Exec(ctx, "drop table if exists "+part)
		return err
	})
}

// In is that of [table.Database].
func (db *DB) In(n int) string { return fmt.Sprintf("in (select value from json_each($%d))", n) }

// List is that of [table.Database].
func (db *DB) List(values []int64) any {
	b, _ := json.Marshal(append([]int64{}, values...))
	return string(b)
}

// Lock is that of [table.Database].
func (db *DB) Lock() string { return "" }

// Sum is that of [table.Database].
func (db *DB) Sum(c table.Column) string {
	if c.Kind == table.Exact {
		v := aggregate(c)
		return decimal(v[0], v[1])
	}
	return aggregate(c)[0]
}

// Same is that of [table.Database].
func (db *DB) Same(c table.Column) string {
	if c.Kind == table.Exact {
		return decimal(c.Name+"_high", c.Name+"_low")
	}
	return c.Name
}

func decimal(high, low string) string {
	return fmt.Sprintf("printf('%%d%%06d.%%012d', %s, (%s) / 1000000000000, (%s) %% 1000000000000)", high, low, low)
}

// Equal is that of [table.Database].
func (db *DB) Equal(c table.Column, summed bool) []string {
	if summed {
		return aggregate(c)
	}
	return columns(c)
}

// columns that a column is stored as.
func columns(c table.Column) []string {
	if c.Kind == table.Exact {
		return []string{c.Name + "_high", c.Name + "_low"}
	}
	return []string{c.Name}
}

// aggregate has an expression per column that is stored. Low parts of amounts are
// summed in halves of nine digits, of which more than 10⁹ fit into an integer; where
// a sum does not, SQLite fails and does not round.
func aggregate(c table.Column) []string {
	switch {
	case c.Kind == table.Exact:
		a := "sum(" + c.Name + "_low % 1000000000)"
		b := "(sum(" + c.Name + "_low / 1000000000) + " + a + " / 1000000000)"
		return []string{
			"sum(" + c.Name + "_high) + " + b + " / 1000000000",
			"(" + b + " % 1000000000) * 1000000000 + " + a + " % 1000000000",
		}
	case c.Merge == table.Add:
		return []string{"sum(" + c.Name + ")"}
	case c.Merge == table.First:
		return []string{"coalesce(min(nullif(" + c.Name + ", 0)), 0)"}
	}
	return []string{"max(" + c.Name + ")"}
}

// Warnings is that of [table.Database].
func (db *DB) Warnings(context.Context) ([]string, error) {
	wal := db.path + "-wal"
	if info, err := os.Stat(wal); err == nil && info.Size() > db.Long {
		return []string{fmt.Sprintf("%s has %d MB: some program has been reading the database for long; it shrinks when that ends", wal, info.Size()>>20)}, nil
	}
	return nil, nil
}

type tx struct{ *sql.Tx }

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

// Merge is that of [table.Tx].
func (x *tx) Merge(ctx context.Context, t *table.Table, into string, n int, rows table.Rows) (written int64, err error) {
	return written, x.insert(ctx, t, into, n, rows, func(_, _ int, rows int64) { written += rows })
}

// Insert is that of [table.Tx].
func (x *tx) Insert(ctx context.Context, t *table.Table, into string, n int, rows table.Rows) ([]bool, error) {
	added := slices.Repeat([]bool{true}, n)
	var partly [][2]int // rows from until before to, of which some were there
	if err := x.insert(ctx, t, into, n, rows, func(from, to int, rows int64) {
		if rows != int64(to-from) {
			partly = append(partly, [2]int{from, to})
		}
	}); err != nil || len(partly) == 0 {
		return added, err
	}
	// Rows that are there and have our marks are those just written: what is written
	// once is not offered again under the same marks.
	var marks []table.Column
	var values table.Rows
	var names []string
	for i, c := range t.Columns {
		if c.Merge == table.Key || c.Merge == table.Mark {
			marks, values, names = append(marks, c), append(values, rows[i]), append(names, c.Name)
		}
	}
	s, err := x.PrepareContext(ctx, "select count(*) from "+into+" where "+strings.Join(names, " = ? and ")+" = ?")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, p := range partly {
		for i := p[0]; i < p[1]; i++ {
			if err := s.QueryRowContext(ctx, parameters(nil, marks, values, i)...).Scan(&added[i]); err != nil {
				return nil, err
			}
		}
	}
	return added, nil
}

// insert inserts rows, some at a time, and tells how many of those were written.
func (x *tx) insert(ctx context.Context, t *table.Table, into string, n int, rows table.Rows, written func(from, to int, rows int64)) error {
	const most = 64 // few calls, and a statement that is prepared in no time
	filled, rows := table.Filled(t.Columns, rows)
	var names []string
	for _, c := range filled {
		names = append(names, columns(c)...)
	}
	row := "(?" + strings.Repeat(", ?", len(names)-1) + ")"
	var s *sql.Stmt
	var args []any
	for from, size := 0, 0; from < n; from += size {
		if left := n - from; s == nil || left < size {
			size = min(left, most)
			var err error
			if s, err = x.PrepareContext(ctx, fmt.Sprintf("insert into %s as t (%s) values %s%s%s", into, strings.Join(names, ", "),
				row, strings.Repeat(", "+row, size-1), conflict(t, filled))); err != nil {
				return err
			}
			defer s.Close()
		}
		args = args[:0]
		for i := from; i < from+size; i++ {
			args = parameters(args, filled, rows, i)
		}
		r, err := s.ExecContext(ctx, args...)
		if err != nil {
			return err
		}
		count, err := r.RowsAffected()
		if err != nil {
			return err
		}
		written(from, from+size, count)
	}
	return nil
}

// parameters appends the values of a row.
func parameters(args []any, columns []table.Column, rows table.Rows, i int) []any {
	for k, c := range columns {
		switch c.Kind {
		case table.Integer:
			args = append(args, rows[k].([]int64)[i])
		case table.Text:
			args = append(args, rows[k].([]string)[i])
		case table.Bytes:
			args = append(args, rows[k].([][]byte)[i])
		case table.Exact:
			high, low := rows[k].([]difficulty.Exact)[i].Split()
			args = append(args, int64(high), int64(low))
		case table.Peak:
			b, _ := rows[k].([]difficulty.Exact)[i].AppendBinary(make([]byte, 0, 16))
			args = append(args, b)
		}
	}
	return args
}

// conflict is what is done with a row that is there.
func conflict(t *table.Table, filled []table.Column) string {
	keys := t.Keys()
	if len(keys) == 0 {
		return ""
	}
	var set []string
	for _, c := range filled {
		switch {
		case c.Merge == table.Add && c.Kind == table.Exact:
			set = append(set,
				fmt.Sprintf("%[1]s_high = t.%[1]s_high + excluded.%[1]s_high + (t.%[1]s_low + excluded.%[1]s_low) / %[2]s", c.Name, limb),
				fmt.Sprintf("%[1]s_low = (t.%[1]s_low + excluded.%[1]s_low) %% %[2]s", c.Name, limb))
		case c.Merge == table.Add:
			set = append(set, fmt.Sprintf("%[1]s = t.%[1]s + excluded.%[1]s", c.Name))
		case c.Merge == table.First:
			set = append(set, fmt.Sprintf("%[1]s = case when t.%[1]s = 0 then excluded.%[1]s when excluded.%[1]s = 0 then t.%[1]s else min(t.%[1]s, excluded.%[1]s) end", c.Name))
		case c.Merge == table.Greatest:
			set = append(set, fmt.Sprintf("%[1]s = max(t.%[1]s, excluded.%[1]s)", c.Name))
		}
	}
	if len(set) == 0 {
		return " on conflict do nothing"
	}
	return " on conflict (" + strings.Join(keys, ", ") + ") do update set " + strings.Join(set, ", ")
}

// Find is that of [table.Tx].
func (x *tx) Find(ctx context.Context, t *table.Table, n int, keys table.Rows) ([]int64, error) {
	var parts []table.Column
	for _, c := range t.Columns {
		if c.Merge == table.Key {
			parts = append(parts, c)
		}
	}
	s, err := x.PrepareContext(ctx, "select id from "+t.Name+" where "+strings.Join(t.Keys(), " = ? and ")+" = ?")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ids := make([]int64, n)
	for i := range ids {
		err := s.QueryRowContext(ctx, parameters(nil, parts, keys, i)...).Scan(&ids[i])
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
	}
	return ids, nil
}

// Fold is that of [table.Tx].
func (x *tx) Fold(ctx context.Context, t *table.Table, by []string, from string, args ...any) (int64, error) {
	var names []string
	for _, c := range t.Columns {
		names = append(names, columns(c)...)
	}
	values := append([]string(nil), by...)
	for _, c := range t.Sums() {
		values = append(values, aggregate(c)...)
	}
	return x.Exec(ctx, fmt.Sprintf("insert into %s as t (%s) select %s from %s group by %s%s", t.Name, strings.Join(names, ", "),
		strings.Join(values, ", "), from, strings.Join(by, ", "), conflict(t, t.Columns)), args...)
}
