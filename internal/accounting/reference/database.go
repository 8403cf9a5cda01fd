package reference

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/source"
)

// DatabaseImport stores what a database of the reference has and package store can
// hold: accounts and what they log in with, workers, blocks with what became of them,
// and the pool's statistics. Shares are not in that database; sums of its shifts cannot
// be computed anew or told from the shares of request logs, and are left out, as are
// payments and addresses to pay to.
// It only reads, in one snapshot. Again, it stores what is new since.
type DatabaseImport struct {
	URL     string // postgres://user:password@host/name
	Name    string // of the pool in the database of Store
	Network string // main, test, signet, regtest
	Store   *store.Store
	By      string // who imports, for the audit log

	// Damaged is told of each row that cannot be understood; nil tells nobody.
	Damaged func(error)
}

// DatabaseSummary is what was read, and stored where it is new.
type DatabaseSummary struct {
	Name     string `json:"name"`
	Accounts int    `json:"accounts"`
	Workers  int    `json:"workers"`
	// Passwords and Secrets are those that users log in with as there, since they have
	// none of their own here.
	Passwords int `json:"passwords"`
	Secrets   int `json:"one_time_codes"`
	Held      int `json:"held"` // accounts that are not paid there, and so not here
	Blocks    int `json:"blocks"`
	Minutes   int `json:"statistics"`
	Damaged   int `json:"damaged"`
	// New tells that the database was changed since the last import.
	New bool `json:"new"`
	// LeftOut is how many rows of which tables are not imported.
	LeftOut map[string]int64 `json:"left_out"`
}

// leftOut are the tables that are counted only.
var leftOut = []string{"markersummary", "shares", "workinfo", "paymentaddresses", "payments", "payouts", "miningpayouts", "useratts", "optioncontrol"}

// hold is the attribute of who is not paid, by being there.
const hold = "HoldPayouts"

// current is true for rows that no later one replaces.
const current = "%s.expirydate > '6666-06-01'"

// micros is a time of PostgreSQL in microseconds since 1970.
func micros(column string) string {
	return "coalesce((extract(epoch from " + column + ") * 1000000)::bigint, 0)"
}

// Run imports.
func (i *DatabaseImport) Run(ctx context.Context) (DatabaseSummary, error) {
	s := DatabaseSummary{Name: i.Name, LeftOut: map[string]int64{}}
	err := i.run(ctx, &s)
	if err != nil {
		err = fmt.Errorf("database %s: %w", store.Redacted(i.URL), err)
	}
	return s, err
}

func (i *DatabaseImport) run(ctx context.Context, s *DatabaseSummary) error {
	db, err := sql.Open("pgx", i.URL)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var version string
	if err := tx.QueryRowContext(ctx, "select version from version").Scan(&version); err != nil {
		return fmt.Errorf("it is none of the reference's: %w", err)
	}
	if !strings.HasPrefix(version, "1.0.") {
		return fmt.Errorf("it is of version %s of the reference: want 1.0", version)
	}
	id := instanceOf("database", i.Name)
	at, err := i.Store.Register(ctx, store.Instance{ID: id, Name: i.Name, Network: i.Network})
	if err != nil {
		return err
	}
	var b batch
	b.begin(id, at)
	b.rows.Known = true
	for _, read := range []func(context.Context, *sql.Tx, *batch, *DatabaseSummary) error{i.workers, i.blocks, i.minutes, i.count} {
		if err := read(ctx, tx, &b, s); err != nil {
			return err
		}
	}
	// Rows are never changed, but replaced by later ones: the newest time says how far
	// the database was imported.
	b.rows.To = store.Position{Epoch: 1, Number: b.rows.At}
	people, err := i.people(ctx, tx, s)
	if err != nil {
		return err
	}
	held, err := i.held(ctx, tx)
	if err != nil {
		return err
	}
	if s.New = b.rows.To.After(at); s.New {
		if _, err = i.Store.Apply(ctx, &b.rows); err != nil {
			return err
		}
	}
	// Also if nothing is new: the import before may have ended in between.
	if err := i.hold(ctx, held, s); err != nil {
		return err
	}
	return i.register(ctx, people, s)
}

// query scans each row, of which the last column is its time.
func query(ctx context.Context, tx *sql.Tx, b *batch, text string, row func(scan func(...any) error) (int64, error)) error {
	r, err := tx.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
		at, err := row(r.Scan)
		if err != nil {
			return err
		}
		b.rows.At = max(b.rows.At, at)
	}
	return r.Err()
}

func (i *DatabaseImport) damaged(s *DatabaseSummary, format string, args ...any) {
	s.Damaged++
	if i.Damaged != nil {
		i.Damaged(fmt.Errorf(format, args...))
	}
}

func (i *DatabaseImport) workers(ctx context.Context, tx *sql.Tx, b *batch, s *DatabaseSummary) error {
	text := "select u.username, coalesce(w.workername, u.username), greatest(" + micros("u.createdate") + ", " + micros("w.createdate") + ") from users u" +
		" left join workers w on w.userid = u.userid and " + fmt.Sprintf(current, "w") + " where " + fmt.Sprintf(current, "u") + " order by u.userid, w.workerid"
	accounts := map[store.Worker]bool{}
	err := query(ctx, tx, b, text, func(scan func(...any) error) (at int64, err error) {
		var user, worker string
		if err = scan(&user, &worker, &at); err == nil {
			w := accounting.WorkerOf(i.Network, user, worker)
			accounts[store.Worker{Kind: w.Kind, Account: w.Account}] = true
			b.worker(i.Network, user, worker)
		}
		return at, err
	})
	s.Accounts, s.Workers = len(accounts), len(b.rows.Workers)
	return err
}

// fates are the states of blocks as the reference numbers them.
var fates = map[string]store.BlockChange{
	"n": {State: source.BlockPending}, "1": {State: source.BlockConfirmed, Confirmations: 1}, "F": {State: source.BlockConfirmed, Confirmations: 101},
	"O": {State: source.BlockOrphaned}, "R": {State: source.BlockRejected},
}

func (i *DatabaseImport) blocks(ctx context.Context, tx *sql.Tx, b *batch, s *DatabaseSummary) error {
	text := "select b.height, b.blockhash, b.workinfoid, coalesce(u.username, ''), coalesce(b.workername, ''), b.reward, b.confirmed, coalesce(b.info, ''), coalesce(w.bits, ''), " +
		micros("b.createdate") + " from blocks b left join users u on u.userid = b.userid and " + fmt.Sprintf(current, "u") +
		" left join workinfo w on w.workinfoid = b.workinfoid and " + fmt.Sprintf(current, "w") + " order by b.height, b.blockhash, b.createdate"
	var last store.BlockChange
	return query(ctx, tx, b, text, func(scan func(...any) error) (at int64, err error) {
		var height, job, reward int64
		var text, user, worker, confirmed, info, bits string
		if err := scan(&height, &text, &job, &user, &worker, &reward, &confirmed, &info, &bits, &at); err != nil {
			return 0, err
		}
		hash, err := unswap(strings.TrimSpace(text))
		change, known := fates[confirmed]
		if err != nil || !known || height < 0 || height > math.MaxUint32 || reward < 0 || job <= 0 {
			i.damaged(s, "blocks: height %d, blockhash %s, workinfoid %d, reward %d, confirmed %s cannot be", height, shown(text), job, reward, shown(confirmed))
			return at, nil
		}
		change.Hash, change.At, change.Note = hash, at, info
		if hash != last.Hash {
			v := store.Block{Hash: hash, Height: height, Job: uint64(job), Worker: -1, Reward: reward, Found: at}
			if user != "" {
				v.Worker = b.worker(i.Network, user, worker)
			}
			if n, err := strconv.ParseUint(bits, 16, 32); err == nil {
				v.Difficulty = difficulty.ExactOf(difficulty.FromBits(uint32(n)))
			}
			b.rows.Blocks = append(b.rows.Blocks, v)
			s.Blocks++
		} else if change.State == last.State && change.Confirmations == last.Confirmations {
			return at, nil // its statistics were added
		}
		b.rows.Changes = append(b.rows.Changes, change)
		last = change
		return at, nil
	})
}

// minutes are the statistics of the one pool; those of several cannot be told apart.
func (i *DatabaseImport) minutes(ctx context.Context, tx *sql.Tx, b *batch, s *DatabaseSummary) error {
	var pools, rows int64
	if err := tx.QueryRowContext(ctx, "select count(distinct poolinstance), count(*) from poolstats").Scan(&pools, &rows); err != nil {
		return err
	}
	if pools > 1 {
		s.LeftOut["poolstats"] = rows
		return nil
	}
	text := "select users, workers, hashrate, hashrate5m, hashrate1hr, hashrate24hr, " + micros("createdate") + " from poolstats order by createdate"
	return query(ctx, tx, b, text, func(scan func(...any) error) (at int64, err error) {
		var m store.Minute
		var rates [4]float64
		if err = scan(&m.Users, &m.Workers, &rates[0], &rates[1], &rates[2], &rates[3], &m.At); err != nil {
			return 0, err
		}
		for n, to := range []*difficulty.Exact{&m.Rate1m, &m.Rate5m, &m.Rate1h, &m.Rate24h} {
			*to = difficulty.ExactOf(min(rates[n]/difficulty.HashesPerDifficulty, maxCredit))
		}
		b.rows.Minutes = append(b.rows.Minutes, m)
		s.Minutes++
		return m.At, nil
	})
}

// count counts what is left out.
func (i *DatabaseImport) count(ctx context.Context, tx *sql.Tx, _ *batch, s *DatabaseSummary) error {
	for _, table := range leftOut {
		var n int64
		text := "select count(*) from " + table
		if table == "useratts" {
			text += " where attname <> '" + hold + "'"
		}
		if err := tx.QueryRowContext(ctx, text).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			s.LeftOut[table] = n
		}
	}
	return nil
}
