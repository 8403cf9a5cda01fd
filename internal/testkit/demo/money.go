package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/corewallet"
)

const (
	moneyPlace = "regtest-money" // directory
	others     = "others"        // wallet of the chain's other miners
	walletAddr = "wallet.addr"   // file with where the node with a wallet listens

	// feeRate is the node's estimate, in satoshis per 1000 virtual bytes.
	feeRate = 5000
	// bumpTime is how long the pool's blocks leave a payment alone, so that a person
	// can replace it; one that replaced another is mined soon.
	bumpTime = 45 * time.Second
	// moneyEvery is how often ckdb is asked what is new.
	moneyEvery = 2 * time.Second
)

// chosen are the settings of the first run: a share is of half a block's difficulty, so
// that of a window without an addition one miner would have nearly all.
var chosen = []struct{ name, value string }{{"add", "0.0000001"}, {"fee", "1%"}}

// rates of the miners, in shares a second.
var rates = [3]float64{6, 3, 1}

// money is what make run-pool has beyond make run: a wallet of the node's, a chain that
// has other miners, and somebody who says what can be looked at.
type money struct {
	d    *demo
	node *btcd.Node // pays what it mines to the others
	url  string     // of the node with its wallet

	server *http.Server
	served chan struct{} // closed when it is over

	password string // of staff, at ckdb's page; set by choose

	// owned by watch
	looked   time.Time
	trouble  string
	begun    bool             // what is there already was seen
	blocks   map[string]fate  // by hash
	payments map[int64]string // states
	shown    map[string]bool  // steps of the tour

	// guarded by mu
	mu       sync.Mutex
	first    []string  // txids that the mempool had when it was no longer empty
	since    time.Time // when that was
	replaced int64     // height of the chain when none of them was there any more; 0: one is
}

// fate is what became of a block.
type fate struct {
	state    string
	rewarded bool
}

// openWallet gives the node Bitcoin Core's wallet, with the pool's key.
func (d *demo) openWallet(n *node, s *settings) (*money, error) {
	was, err := os.ReadFile(d.path(walletAddr))
	var l net.Listener
	if addr := strings.TrimSpace(string(was)); err == nil && addr != "" {
		l, err = net.Listen("tcp", addr)
	}
	if l == nil {
		var addr string
		if addr, err = freePort(); err == nil {
			l, err = net.Listen("tcp", addr)
		}
	}
	if err == nil { // who has its address finds it there after the next start
		err = os.WriteFile(d.path(walletAddr), []byte(l.Addr().String()+"\n"), 0o640)
	}
	if err != nil {
		return nil, fmt.Errorf("wallet: %w", err)
	}
	owner := btcd.Attach(n.own.RPC, n.own.User, n.own.Pass)
	owner.Wallet = s.wallet("")
	wallet := corewallet.New(owner)
	wallet.SetRate(feeRate)
	m := &money{
		d: d, node: n.own, url: "http://pool:x@" + l.Addr().String(),
		server: &http.Server{Handler: wallet, ReadHeaderTimeout: time.Minute}, served: make(chan struct{}),
		blocks: map[string]fate{}, payments: map[int64]string{}, shown: map[string]bool{},
	}
	go func() {
		_ = m.server.Serve(l) // ends by close
		close(m.served)
	}()
	return m, nil
}

func (m *money) close() {
	_ = m.server.Close()
	<-m.served
}

// ckdb runs a command of ckdb's, as a user would, and reads its answer.
func (m *money) ckdb(ctx context.Context, into any, args ...string) error {
	path, err := filepath.Abs(m.d.beside("ckdb"))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--db", database, "--json"}, args...)...)
	cmd.Dir, cmd.SysProcAttr = m.d.dir, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var complaint bytes.Buffer
	cmd.Stderr, cmd.Stdin = &complaint, strings.NewReader(m.password+"\n") // which a command asks for
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("ckdb %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("ckdb %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// choose sets what nobody has set yet, and gives staff a new password.
func (m *money) choose(ctx context.Context) error {
	for _, c := range chosen {
		var is struct {
			History []json.RawMessage `json:"history"`
		}
		err := m.ckdb(ctx, &is, "set", c.name)
		if err == nil && len(is.History) == 0 {
			var done json.RawMessage
			err = m.ckdb(ctx, &done, "set", c.name, c.value)
		}
		if err != nil {
			return err
		}
	}
	m.password = rand.Text()
	for _, args := range [][]string{{"user", "password", staff}, {"user", "role", staff, "admin"}} {
		var done json.RawMessage
		if err := m.ckdb(ctx, &done, args...); err != nil {
			return err
		}
	}
	return nil
}

// staff is who sees all accounts.
const staff = "staff"

// others mines, until ctx ends, the blocks that are not the pool's. They have no
// transactions: payments wait for a block of the pool's.
func (m *money) others(ctx context.Context) {
	tick := time.NewTicker(m.d.config.pace.others)
	defer tick.Stop()
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := m.node.MineEmpty(ctx, m.d.config.pace.several)
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			m.d.console.print("no blocks of others: %s", said)
		}
	}
}

// waiting tells that there is a payment that a person may want to replace, or one that
// the pool's work may still have after it was replaced.
func (m *money) waiting(ctx context.Context) bool {
	var pool []string
	if err := m.node.Call(ctx, &pool, "getrawmempool"); err != nil {
		return false
	}
	height, err := m.node.BlockCount(ctx)
	if err != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(pool) == 0:
		m.first, m.replaced = nil, 0
		return false
	case m.first == nil:
		m.first, m.since = pool, time.Now()
	case m.replaced == 0 && !slices.ContainsFunc(m.first, func(txid string) bool { return slices.Contains(pool, txid) }):
		m.replaced = height
	}
	if m.replaced > 0 { // a block on later work has the new one
		return height <= m.replaced
	}
	return time.Since(m.since) < bumpTime
}

// describe says who mines, and how to look at the money.
func (m *money) describe(s *settings) {
	say, p := m.d.console.print, m.d.config.pace
	say("three simulated miners, of %v, %v and %v shares a second", rates[0], rates[1], rates[2])
	for _, user := range s.users {
		address, name, _ := strings.Cut(user, ".")
		say("  %-6s%s", name, address)
	}
	say("they find a block about every %s, and others %d every %s; 101 blocks later it", p.pool, p.several, p.others)
	say("is mature and can be paid out; after each 150 blocks one is worth half as much")
	say("see the accounts, and pay, in a browser")
	say("  http://%s/", s.accounts)
	say("  user: %s, password: %s", staff, m.password)
	here, err := os.Getwd()
	if err != nil {
		here = "."
	}
	m.step("", "see what becomes of the money, in another terminal",
		"cd "+quoted(here),
		fmt.Sprintf("export CKDB_DB=%s CKDB_NODE=%s", quoted(typed(m.d.path(database))), m.url),
		m.command("ckdb", "rewards"),
		m.command("ckdb", "balances"),
		m.command("ckdb", "set"))
	say("further commands are shown here as soon as they have something to show")
	say("Ctrl-C ends all of it")
}

func (m *money) command(program, args string) string {
	return quoted(typed(m.d.beside(program))) + " " + args
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// step shows commands, once.
func (m *money) step(name, about string, commands ...string) {
	if m.shown[name] {
		return
	}
	m.shown[name] = true
	m.d.console.print("%s\n  %s", about, strings.Join(commands, "\n  "))
}

// look asks ckdb now and then, and tells what is new.
func (m *money) look(ctx context.Context) {
	m.waiting(ctx) // it must see when the mempool is empty
	if time.Since(m.looked) < moneyEvery {
		return
	}
	m.looked = time.Now()
	err := errors.Join(m.lookAtBlocks(ctx), m.lookAtPayments(ctx))
	m.begun = true
	switch {
	case err == nil:
		m.trouble = ""
	case ctx.Err() == nil && err.Error() != m.trouble:
		m.trouble = err.Error()
		m.d.console.print("%s", m.trouble)
	}
}

func (m *money) lookAtBlocks(ctx context.Context) error {
	var answer struct {
		Rewards []struct {
			Height                         int64
			State, Hash                    string
			Value, Fee, Credited, Accounts int64
		}
	}
	if err := m.ckdb(ctx, &answer, "rewards"); err != nil {
		return err
	}
	for _, b := range answer.Rewards {
		was, now := m.blocks[b.Hash], fate{b.State, b.Credited > 0}
		m.blocks[b.Hash] = now
		height := figures.Count(b.Height)
		if m.begun && now.rewarded && !was.rewarded {
			m.d.console.print("block %s rewarded: %s to %s, %s fee", height, figures.Bitcoins(b.Credited), figures.Things(b.Accounts, "miner"), figures.Bitcoins(b.Fee))
		}
		if m.begun && now.state != was.state {
			switch now.state {
			case "matured":
				m.d.console.print("block %s matured: its rewards can be paid out", height)
			case "orphaned":
				m.d.console.print("block %s orphaned: nobody is owed anything for it", height)
			}
		}
		if now.rewarded && now.state != "orphaned" && b.Accounts >= int64(len(rates)) { // there is something to divide
			m.afterReward(b.Height)
		}
		if now.rewarded && now.state == "matured" {
			m.step("pay", "there is something to pay out",
				m.command("ckdb", "balances"), m.command("ckdb", "payout plan"), m.command("ckdb", "payout send"))
		}
	}
	return nil
}

// afterReward shows what can be done once a block is rewarded.
func (m *money) afterReward(height int64) {
	proof := quoted(typed(m.d.path("proof")))
	m.step("reward", "how a block was divided, and the proof of it",
		m.command("ckdb", fmt.Sprintf("explain block %d", height)),
		m.command("ckdb", fmt.Sprintf("export block %d > %s", height, proof)),
		m.command("ckdb", "verify "+proof))
	dir := ""
	if m.d.config.Dir != DefaultDir {
		dir = " --dir " + quoted(typed(filepath.Dir(m.d.dir)))
	}
	m.step("orphan", "have others replace the pool's newest block, which makes it an orphan",
		m.command("ckbench", "orphan"+dir))
}

func (m *money) lookAtPayments(ctx context.Context) error {
	var answer struct {
		Payments []struct {
			Payment, Debit, Payees int64
			State, Reason          string
		}
	}
	if err := m.ckdb(ctx, &answer, "payout", "show"); err != nil {
		return err
	}
	for _, p := range answer.Payments {
		was := m.payments[p.Payment]
		m.payments[p.Payment] = p.State
		if m.begun && p.State != was {
			text := fmt.Sprintf("payment %d of %s to %s is %s", p.Payment, figures.Bitcoins(p.Debit), figures.Things(p.Payees, "miner"), p.State)
			if p.Reason != "" {
				text += ": " + p.Reason
			}
			m.d.console.print("%s", text)
		}
		switch p.State {
		case "broadcast":
			m.step("bump", fmt.Sprintf("the pool's blocks leave it alone for %s, as if it paid too little; pay more", bumpTime),
				m.command("ckdb", fmt.Sprintf("payout show %d", p.Payment)), m.command("ckdb", fmt.Sprintf("payout bump %d --fee-rate 20", p.Payment)))
		case "confirmed":
			m.step("paid", "they are paid, and owed what matured since; see that all adds up",
				m.command("ckdb", "balances"), m.command("ckdb", fmt.Sprintf("payout show %d", p.Payment)),
				m.command("ckdb", "check"), m.command("ckdb", "audit"))
		}
	}
	return nil
}
