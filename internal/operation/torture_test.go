package operation

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/disk"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// For make torture.
var (
	tortureRounds = flag.Int("torture.rounds", 4, "rounds of TestTorture")
	tortureRate   = flag.Float64("torture.rate", 500, "shares a second of TestTorture")
	tortureSeed   = flag.Uint64("torture.seed", 0, "of TestTorture; 0: of the time")
)

// tortured is a pool, a ckdb that reads its journal, and the database.
type tortured struct {
	*killed
	random *rand.Rand
	server *postgres.Server // nil: SQLite
	db     string
	node   *testkit.Btcd // on which blocks are found; nil: a fake one, where none are
	rate   float64       // shares a second
	pool   *exec.Cmd     // nil: killed
	ckdb   *exec.Cmd     // likewise
	told   *verdicts

	disk  string        // of the journal alone; empty: it is on that of all
	stall func() func() // lets the disk take nothing until what it returns is called
}

// Killed at random moments under load, and upgraded in between, pool, ckdb and
// database have in the end each share that a miner was told is accepted, once, and
// none that was refused.
func TestTorture(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres", "disk", "money", "money in postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := *tortureSeed
			if seed == 0 {
				seed = uint64(time.Now().UnixNano())
			}
			t.Logf("seed %d", seed)
			k := &tortured{random: rand.New(rand.NewPCG(seed, 0)), told: newVerdicts(), rate: *tortureRate}
			at := "journal"
			if name == "disk" {
				k.disk, k.stall = disk.Stalling(t, 1<<30)
				at = filepath.Join(k.disk, "journal")
			}
			k.killed = journaled(t, at)
			k.db = "sqlite:" + filepath.Join(k.dir, "db")
			if strings.HasPrefix(name, "money") {
				k.startBtcd()
			}
			if strings.HasSuffix(name, "postgres") {
				k.startPostgres()
			}
			k.pool = k.start()
			k.startCkdb()
			for round := range *tortureRounds {
				what := k.round()
				k.check()
				t.Logf("round %d: %s; %d shares are accepted so far", round+1, what, len(k.told.accepted))
			}
			k.settle()
			k.compare()
			if k.node != nil {
				k.pay()
			}
		})
	}
}

// moneyRate is of shares where every fifth is a block.
const moneyRate = 5

// startBtcd makes the pool one that finds blocks.
func (k *tortured) startBtcd() {
	k.t.Helper()
	k.node, k.rate, k.chain = testkit.StartBtcd(k.t, btcd.Options{Wallet: btcd.NewWallet("other")}), moneyRate, "regtest"
	if err := k.node.EnsureCurrent(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	config := fmt.Appendf(nil, `{"btcd": [{"url": %q, "auth": %q, "pass": %q}], "btcaddress": %q, "serverurl": %q,
		"mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, "journal": "journal"}`, k.node.RPC, k.node.User, k.node.Pass, btcd.NewWallet("pool").Address(), k.addr)
	if err := os.WriteFile(filepath.Join(k.dir, "ckpool.conf"), config, 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// check runs ckdb check, whatever the running ckdb does meanwhile.
func (k *tortured) check() {
	k.t.Helper()
	c := exec.CommandContext(k.t.Context(), filepath.Join(programs, "ckdb"), "--db", k.db, "check")
	if k.node != nil {
		c.Args = append(c.Args[:3:3], "--node", k.nodeURL(), "check")
	}
	c.Dir = k.dir
	// A database that was just killed may still recover, and a killed ckdb may not have made it.
	if err := await(func() error {
		if out, err := exec.CommandContext(k.t.Context(), c.Path, append(c.Args[1:len(c.Args)-1:len(c.Args)-1], "status")...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		k.t.Fatal(err)
	}
	if out, err := c.CombinedOutput(); err != nil {
		k.t.Errorf("ckdb check: %v: %s", err, out)
	}
}

func (k *tortured) nodeURL() string {
	return "http://" + k.node.User + ":" + k.node.Pass + "@" + k.node.RPC
}

// pay lets ckdb make the rewards of all blocks, killed again and again on the way: in the
// end each is there once, and all of them are what the coinbases in the chain pay.
func (k *tortured) pay() {
	k.t.Helper()
	s, err := store.Open(k.t.Context(), k.db)
	if err != nil {
		k.t.Fatal(err)
	}
	defer s.Close()
	instances, err := s.Instances(k.t.Context())
	if err != nil || len(instances) != 1 {
		k.t.Fatalf("%+v, %v", instances, err)
	}
	// Nothing more comes, and the blocks are as deep as blocks are when they mature.
	if _, err := s.Set(k.t.Context(), store.Setting{Name: store.SettingRetired, Value: hex.EncodeToString(instances[0].ID[:]), By: "test"}); err != nil {
		k.t.Fatal(err)
	}
	k.node.MineEmpty(store.MaturedAt)
	for range 5 {
		k.startCkdb()
		<-time.After(time.Duration(k.random.Int64N(int64(400 * time.Millisecond))))
		k.ckdb = k.end(k.ckdb)
		k.check()
	}
	k.startCkdb()
	// What coinbases of the chain pay the pool, by the node alone.
	var paid int64
	script := btcd.NewWallet("pool").Script()
	for height := range k.node.BlockCount() {
		for _, o := range k.node.BlockAt(height + 1).Transactions[0].TxOut {
			if bytes.Equal(o.PkScript, script) {
				paid += o.Value
			}
		}
	}
	var owed, blocks int64
	if err := await(func() error {
		list, err := s.PoolBlocks(k.t.Context(), 0)
		owed, blocks = 0, 0
		for _, b := range list {
			switch {
			case b.State == store.IsOrphan:
			case b.State != store.Mature || b.Posted != "matured":
				return fmt.Errorf("block at height %d is %s, posted as %q", b.Height, b.State, b.Posted)
			default:
				owed, blocks = owed+b.Value, blocks+1
			}
		}
		if err == nil && owed != paid { // the chain is not followed to its end yet
			err = fmt.Errorf("blocks pay the pool %d satoshis, %d are of rewards", paid, owed)
		}
		return err
	}); err != nil {
		k.t.Fatalf("%v: %s", err, k.said())
	}
	k.check()
	books, err := s.Balances(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	var has, came int64
	for _, b := range books {
		switch b.Book {
		case store.Balance, store.Fee:
			has += b.Amount
		case store.Chain:
			came -= b.Amount
		default:
			if b.Amount != 0 {
				k.t.Errorf("%d satoshis in book %q of %q", b.Amount, b.Book, b.Name)
			}
		}
	}
	if blocks == 0 || has != paid || came != paid {
		k.t.Errorf("%d blocks pay the pool %d satoshis, %d are of accounts and fees, %d came", blocks, paid, has, came)
	}
	k.t.Logf("%d blocks of %d satoshis were divided", blocks, paid)
	if err := k.ckdb.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Error(err)
	}
	_ = k.ckdb.Wait()
}

func (k *tortured) startPostgres() {
	k.t.Helper()
	var err error
	k.server, err = postgres.Start()
	if errors.Is(err, postgres.ErrNotInstalled) {
		k.t.Skip(err)
	}
	if err == nil {
		err = k.server.Create(k.t.Context(), "ckdb")
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		k.server.Stop()
		os.RemoveAll(k.server.Dir)
	})
	k.db = k.server.URL("ckdb")
}

func (k *tortured) startCkdb() {
	k.t.Helper()
	out, err := os.OpenFile(filepath.Join(k.dir, "ckdb.out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Close()
	k.ckdb = exec.Command(filepath.Join(programs, "ckdb"), "--db", k.db, "-r", "logs", "-s", "s/ckdb")
	if k.node != nil {
		k.ckdb.Args = append(k.ckdb.Args, "--node", k.nodeURL())
	}
	if k.disk != "" {
		k.ckdb.Args = append(k.ckdb.Args, "-j", filepath.Join(k.disk, "journal"))
	}
	k.ckdb.Dir, k.ckdb.Stdout, k.ckdb.Stderr = k.dir, out, out
	if err := k.ckdb.Start(); err != nil {
		k.t.Fatal(err)
	}
	c := k.ckdb
	k.t.Cleanup(func() { _ = c.Process.Kill() })
}

// terror is what a round does.
type terror struct {
	what                        string
	full, stalled               bool // the journal's disk
	upgrade, pool, ckdb, server bool // the others are killed
	early                       bool // ckdb is back before the server
}

var (
	terrors = []terror{
		{what: "pool killed", pool: true},
		{what: "ckdb killed", ckdb: true},
		{what: "both killed", pool: true, ckdb: true},
		{what: "pool upgraded", upgrade: true},
		{what: "pool upgraded, then killed", upgrade: true, pool: true},
	}
	serverTerrors = []terror{
		{what: "PostgreSQL killed", server: true},
		{what: "all killed", pool: true, ckdb: true, server: true},
		{what: "all killed, ckdb back first", pool: true, ckdb: true, server: true, early: true},
	}
	diskTerrors = []terror{
		{what: "disk full", full: true},
		{what: "disk full, pool killed", full: true, pool: true},
		{what: "disk full, ckdb killed", full: true, ckdb: true},
		{what: "disk full, pool upgraded", full: true, upgrade: true},
		{what: "disk stalled", stalled: true},
		{what: "disk stalled, ckdb killed", stalled: true, ckdb: true},
	}
)

// round lets miners work, does something terrible meanwhile, and mends it.
func (k *tortured) round() (what string) {
	list := terrors
	switch {
	case k.server != nil:
		list = slices.Concat(terrors, serverTerrors)
	case k.disk != "":
		list = slices.Concat(terrors, diskTerrors)
	}
	do := list[k.random.IntN(len(list))]
	before := time.Duration(k.random.Int64N(int64(1500 * time.Millisecond)))
	after := time.Duration(k.random.Int64N(int64(500 * time.Millisecond)))
	_, err := bench.Shares(k.t.Context(), bench.SharesConfig{Options: k.load(40), Rate: k.rate, Answered: k.told.add,
		During: func(ctx context.Context, _ func() time.Duration) error {
			<-time.After(before)
			mend := func() {}
			if do.full || do.stalled {
				mend = k.spoil(&do)
				<-time.After(time.Second + 4*after)
			}
			if do.upgrade {
				k.upgrade(ctx, do.full)
				<-time.After(after)
			}
			if do.server {
				k.server.Kill()
			}
			if do.ckdb {
				_ = k.ckdb.Process.Kill()
			}
			if do.pool {
				_ = k.pool.Process.Kill()
			}
			mend() // what writes to a disk that stalls ends when it goes on
			if do.ckdb {
				k.ckdb = k.end(k.ckdb)
			}
			if do.pool {
				k.pool = k.end(k.pool)
			}
			<-time.After(after)
			return nil
		}})
	if err != nil {
		k.t.Fatal(err)
	}
	if do.early {
		k.startCkdb()
	}
	if do.server {
		if err := k.server.Run(); err != nil {
			k.t.Fatal(err)
		}
	}
	if k.pool == nil {
		k.pool = k.start()
	}
	if k.ckdb == nil {
		k.startCkdb()
	}
	return do.what
}

// spoil lets the journal's disk be full or stand still until what it returns is called.
func (k *tortured) spoil(do *terror) (mend func()) {
	k.t.Helper()
	if do.stalled {
		return k.stall()
	}
	path := filepath.Join(k.disk, "filling")
	f, err := os.Create(path)
	if err != nil {
		k.t.Fatal(err)
	}
	for block := make([]byte, 1<<20); err == nil && len(block) > 0; {
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) { // less may still go in
			block, err = block[:len(block)/2], nil
		}
	}
	f.Close()
	if err != nil {
		k.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			k.t.Error(err)
		}
	}
}

// end kills a program and waits for its end. A pool that was upgraded is no child.
func (k *tortured) end(c *exec.Cmd) *exec.Cmd {
	_ = c.Process.Kill()
	if c.Path != "" {
		_ = c.Wait()
	} else if err := awaitExit(c.Process.Pid); err != nil {
		k.t.Error(err)
	}
	return nil
}

// upgrade replaces the pool's process, which is no child of this one afterwards. On a
// full disk there is none: the new process could not write the journal.
func (k *tortured) upgrade(ctx context.Context, full bool) {
	var out []byte
	var err error
	for until := time.Now().Add(patience); ; {
		c := exec.CommandContext(ctx, filepath.Join(programs, "ckpmsg"), "-s", "s", "upgrade")
		c.Dir = k.dir
		out, err = c.CombinedOutput()
		if full && strings.Contains(string(out), "the old process goes on: journal") {
			return
		}
		if err == nil || !tooSlow(string(out)) || time.Now().After(until) {
			break
		}
	}
	if err != nil {
		k.t.Errorf("upgrade: %v: %s", err, out)
		return
	}
	_, _ = k.pool.Process.Wait() // its output goes on, from the new process
	pid, err := os.ReadFile(filepath.Join(k.dir, "s", "ckpool", "main.pid"))
	if err != nil {
		k.t.Error(err)
		return
	}
	k.pool = &exec.Cmd{}
	n := 0
	fmt.Sscan(string(pid), &n)
	k.pool.Process, _ = os.FindProcess(n)
}

// settle ends the pool and waits until all that it has told is stored.
func (k *tortured) settle() {
	k.t.Helper()
	if err := k.pool.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Error(err)
	}
	if err := awaitExit(k.pool.Process.Pid); err != nil {
		k.t.Error(err)
	}
	stored := 0
	if err := await(func() error {
		kept := k.stored()
		stored = len(kept)
		for hash := range k.told.accepted {
			if !kept[[16]byte(hash[:16])] {
				return fmt.Errorf("%d shares are stored, %d were accepted", len(kept), len(k.told.accepted))
			}
		}
		return nil
	}); err != nil {
		k.t.Errorf("%v: %s", err, k.said())
	}
	k.t.Logf("%d shares were answered true, %d are stored, those without an answer among them", len(k.told.accepted), stored)
	if err := k.ckdb.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Error(err)
	}
	if err := k.ckdb.Wait(); err != nil {
		k.t.Errorf("ckdb: %v: %s", err, k.said())
	}
}

func (k *tortured) said() string {
	b, _ := os.ReadFile(filepath.Join(k.dir, "ckdb.out"))
	return string(b[max(0, len(b)-2000):])
}

// stored are the shares in the database, by the beginning of their hash.
func (k *tortured) stored() map[[16]byte]bool {
	kept := map[[16]byte]bool{}
	driver, where, tables := "pgx", k.db, []string{"shares"}
	if k.server == nil {
		driver, where = "sqlite", "file:"+filepath.Join(k.dir, "db", "ckdb.sqlite")+"?mode=ro&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, where)
	if err != nil {
		k.t.Fatal(err)
	}
	defer db.Close()
	if k.server == nil {
		tables = k.column(db, "select name from sqlite_master where type = 'table' and name like 'shares\\_2%' escape '\\'")
	}
	for _, table := range tables {
		for _, hash := range k.column(db, "select hash from "+table) {
			if kept[[16]byte([]byte(hash))] {
				k.t.Errorf("%x is stored twice", hash)
			}
			kept[[16]byte([]byte(hash))] = true
		}
	}
	return kept
}

func (k *tortured) column(db *sql.DB, query string) (list []string) {
	rows, err := db.Query(query)
	if err != nil {
		return nil // not yet
	}
	defer rows.Close()
	for rows.Next() {
		var v []byte
		if rows.Scan(&v) == nil {
			list = append(list, string(v))
		}
	}
	return list
}

// compare checks what is stored with what miners were told, and its sums.
func (k *tortured) compare() {
	k.t.Helper()
	kept := k.stored()
	lost, wrong := 0, 0
	for hash := range k.told.accepted {
		if !kept[[16]byte(hash[:16])] {
			lost++
		}
	}
	for hash := range k.told.rejected {
		if kept[[16]byte(hash[:16])] && !k.told.accepted[hash] {
			wrong++
		}
	}
	if lost > 0 || wrong > 0 || len(k.told.accepted) == 0 {
		k.t.Errorf("%d lost, %d stored though refused, of %d", lost, wrong, len(k.told.accepted))
	}
	s, err := store.Open(k.t.Context(), k.db)
	if err != nil {
		k.t.Fatal(err)
	}
	defer s.Close()
	differences, err := s.Check(k.t.Context(), nil)
	if err != nil || len(differences) > 0 {
		k.t.Errorf("%q, %v", differences, err)
	}
	sums, err := s.Sums(k.t.Context(), store.Query{By: store.ByPool})
	var summed int64
	for i := range sums {
		summed += sums[i].Accepted.Count
	}
	if err != nil || summed != int64(len(kept)) {
		k.t.Errorf("%d shares, sums %+v, %v", len(kept), sums, err)
	}
}
