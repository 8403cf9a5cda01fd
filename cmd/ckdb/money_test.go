package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/store/sqlite"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/corewallet"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// coins are the node of a script: a real one, whose blocks pay somebody else unless a
// script says so, and Bitcoin Core's wallet on top of it, which has the pool's key.
type coins struct {
	node        *btcd.Node
	wallet      *corewallet.Wallet
	pool, other *btcd.Wallet
}

// The scripts about money run on a real node; $NODE is its RPC, with its wallet.
func TestMoneyScripts(t *testing.T) {
	tools := buildTools(t)
	onBoth(t, "testdata/money", func(env *testscript.Env) error {
		env.Setenv("PATH", tools+":"+env.Getenv("PATH"))
		return setUpCoins(env)
	})
}

// onBoth runs the scripts of a directory in both kinds of database. $CKDB_DB is that of
// the script.
func onBoth(t *testing.T, dir string, setUp func(env *testscript.Env) error) {
	scripts, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			databases := make(chan string, len(scripts))
			for range scripts {
				if kind == "postgres" {
					databases <- postgres.Database(t)
				} else {
					databases <- filepath.Join(t.TempDir(), "db")
				}
			}
			testscript.Run(t, testscript.Params{
				Dir: dir,
				Setup: func(env *testscript.Env) error {
					env.Setenv("CKDB_DB", <-databases)
					return setUp(env)
				},
				Cmds: scriptCommands,
			})
		})
	}
}

func setUpCoins(env *testscript.Env) error {
	// Building it for the first time takes minutes on a small machine.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "btcd")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(dir) })
	c := &coins{pool: btcd.NewWallet("pool"), other: btcd.NewWallet("other")}
	if c.node, err = btcd.Start(ctx, dir, btcd.Options{Wallet: c.other}); err != nil {
		return err
	}
	env.Defer(c.node.Kill)
	if err := c.node.EnsureCurrent(ctx); err != nil {
		return err
	}
	wallet := btcd.Attach(c.node.RPC, c.node.User, c.node.Pass)
	wallet.Wallet = c.pool
	c.wallet = corewallet.New(wallet)
	server := httptest.NewServer(c.wallet)
	env.Defer(server.Close)
	env.Values["coins"] = c
	for _, name := range []string{"ALICE", "BOB", "CAROL"} {
		env.Setenv(name, btcd.NewWallet(strings.ToLower(name)).Address())
	}
	env.Setenv("NODE", "http://user:secret@"+server.Listener.Addr().String())
	return configure(env, c.node.RPC, c.node.User, c.node.Pass, c.pool.Address())
}

// argument is the number that a command has.
func argument(ts *testscript.TestScript, neg bool, args []string) int {
	if neg || len(args) == 0 {
		ts.Fatalf("want a number")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	return n
}

// blocks N [pool|mempool]: the node mines blocks, which the pool knows nothing of; they
// pay it, or have the transactions of the mempool, where that is said.
func mineBlocks(ts *testscript.TestScript, neg bool, args []string) {
	n, c := argument(ts, neg, args), ts.Value("coins").(*coins)
	if len(args) > 1 && args[1] == "mempool" {
		_, err := c.node.Generate(context.Background(), n)
		ts.Check(err)
		return
	}
	if len(args) > 1 {
		c.node.Wallet = c.pool
		defer func() { c.node.Wallet = c.other }()
	}
	_, err := c.node.MineEmpty(context.Background(), n)
	ts.Check(err)
}

// reorg N: other blocks come in the place of the last N.
func reorg(ts *testscript.TestScript, neg bool, args []string) {
	_, err := ts.Value("coins").(*coins).node.Reorg(context.Background(), argument(ts, neg, args))
	ts.Check(err)
}

// spend N: N coins of the pool's key are spent back to it, for a fee of 10,000 satoshis
// each, by somebody who tells nobody, in a block.
func spend(ts *testscript.TestScript, neg bool, args []string) {
	n, c := argument(ts, neg, args), ts.Value("coins").(*coins)
	c.node.Wallet = c.pool
	_, err := c.node.SendSegwit(context.Background(), n)
	c.node.Wallet = c.other
	ts.Check(err)
	_, err = c.node.Generate(context.Background(), 1)
	ts.Check(err)
}

// wallet locked|unlocked|rate: whether the node's wallet signs; it has an estimate of the
// fee rate from now on.
func setWallet(ts *testscript.TestScript, _ bool, args []string) {
	w := ts.Value("coins").(*coins).wallet
	if args[0] == "rate" {
		w.SetRate(5000)
		return
	}
	w.SetLocked(args[0] == "locked")
}

// sign FROM TO: the node's wallet signs the PSBT of a file.
func sign(ts *testscript.TestScript, _ bool, args []string) {
	client := bitcoind.NewClient(bitcoind.Config{URL: ts.Getenv("NODE")}, bitcoind.Options{})
	var signed struct {
		PSBT string `json:"psbt"`
	}
	ts.Check(client.Call(context.Background(), &signed, "walletprocesspsbt", strings.TrimSpace(ts.ReadFile(args[0]))))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(signed.PSBT), 0o600))
}

// dump FILE: all tables about money and people, to compare.
func dump(ts *testscript.TestScript, _ bool, args []string) {
	where, driver := ts.Getenv("CKDB_DB"), "pgx"
	if !strings.Contains(where, "://") {
		where, driver = "file:"+filepath.Join(where, sqlite.File), "sqlite"
	}
	db, err := sql.Open(driver, where)
	ts.Check(err)
	defer db.Close()
	var text strings.Builder
	for _, table := range []string{"accounts", "settings", "audit", "ledger_head", "ledger", "ledger_entries", "payment_head", "payment_runs", "payments", "payment_outputs",
		"payment_versions", "payment_amounts", "payment_inputs", "payment_strangers",
		"recovery_codes", "tokens", "proofs", "address_owners", "address_sets", "address_parts", "changes"} {
		rows, err := db.Query("select * from " + table)
		ts.Check(err)
		columns, err := rows.Columns()
		ts.Check(err)
		var lines []string
		for rows.Next() {
			values, places := make([]any, len(columns)), make([]any, len(columns))
			for i := range places {
				places[i] = &values[i]
			}
			ts.Check(rows.Scan(places...))
			lines = append(lines, fmt.Sprintln(values...))
		}
		ts.Check(errors.Join(rows.Err(), rows.Close()))
		slices.Sort(lines)
		text.WriteString(table + "\n" + strings.Join(lines, ""))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text.String()), 0o600))
}

// pay ADDRESS SATOSHIS: a person pays with the wallet, as $TXID, in a block.
func payByHand(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	client := bitcoind.NewClient(bitcoind.Config{URL: ts.Getenv("NODE")}, bitcoind.Options{})
	w := payout.NewWallet(client, address.Regtest)
	amount, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := w.Fund(ctx, []payout.Output{{Address: args[0], Debit: amount}}, nil, 10_000, false)
	ts.Check(err)
	raw, err := w.Sign(ctx, f.PSBT)
	ts.Check(err)
	txid := f.Packet.Tx.TxHash().String()
	if verdict, why := w.Send(ctx, raw, txid); verdict != payout.Taken {
		ts.Fatalf("%s", why)
	}
	ts.Setenv("TXID", txid)
}

// lock: a coin of the wallet is locked, as of a payment that the database has lost; ! lock: it
// is not any more.
func lockCoin(ts *testscript.TestScript, neg bool, _ []string) {
	client := bitcoind.NewClient(bitcoind.Config{URL: ts.Getenv("NODE")}, bitcoind.Options{})
	w := payout.NewWallet(client, address.Regtest)
	ctx := context.Background()
	list, err := w.Kept(ctx)
	if !neg {
		var coins []payout.Input
		coins, err = w.Unspent(ctx, 1)
		list = []wire.OutPoint{coins[len(coins)-1].Point}
	}
	ts.Check(err)
	ts.Check(w.Lock(ctx, list, !neg))
}

// sethash HEIGHT: $HASH is the block of the pool's at that height, $OTHER none.
func setHash(ts *testscript.TestScript, neg bool, args []string) {
	n, c := argument(ts, neg, args), ts.Value("coins").(*coins)
	hash, err := c.node.BlockHash(context.Background(), int64(n))
	ts.Check(err)
	ts.Setenv("HASH", hash)
	if hash, err = c.node.BlockHash(context.Background(), 0); err == nil {
		ts.Setenv("OTHER", hash)
	}
	ts.Check(err)
}

// What a wallet lacks is told to the satoshi.
func TestSolvency(t *testing.T) {
	for name, tt := range map[string]struct {
		has     accounting.Solvency
		want    int // differences
		missing int64
	}{
		"even":          {accounting.Solvency{Coins: 1000, Owed: 900, Pool: 100}, 0, 0},
		"one less":      {accounting.Solvency{Coins: 999, Owed: 900, Pool: 100}, 1, 1},
		"one more":      {accounting.Solvency{Coins: 1001, Owed: 900, Pool: 100}, 0, 0},
		"insolvent":     {accounting.Solvency{Coins: 899, Owed: 900, Pool: 0}, 2, 1},
		"on its way":    {accounting.Solvency{Coins: 950, Owed: 900, Pool: 100, Paying: 60}, 0, 0},
		"debts":         {accounting.Solvency{Coins: 999, Owed: 1000, Debts: -100, Pool: 99}, 1, 1},
		"fees of nodes": {accounting.Solvency{Coins: 899, Owed: 900, Pool: -1}, 1, 1},
	} {
		if got := tt.has.Differences(); len(got) != tt.want {
			t.Errorf("%s: %q, want %d", name, got, tt.want)
		}
		if got := tt.has.Missing(); got != tt.missing {
			t.Errorf("%s: %d are missing, want %d", name, got, tt.missing)
		}
	}
}

func TestMeanings(t *testing.T) {
	for _, name := range store.SettingNames() {
		if meanings[name] == "" {
			t.Errorf("setting %q is not explained", name)
		}
	}
}
