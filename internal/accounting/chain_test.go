package accounting

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/work"
)

// mined is a pool on btcd, whose journal is told to the store at once.
type mined struct {
	t     testing.TB
	s     *store.Store
	btcd  *testkit.Btcd
	pool  *btcd.Wallet // that the pool's blocks pay
	other *btcd.Wallet
	node  *faulty
	chain *Chain
	told  *told

	at  store.Position
	now int64
}

func startMined(t testing.TB, where string) *mined {
	m := &mined{t: t, s: open(t, where), pool: btcd.NewWallet("pool"), other: btcd.NewWallet("other"), told: &told{}, now: time.Now().UnixMicro()}
	m.btcd = testkit.StartBtcd(t, btcd.Options{Wallet: m.other})
	m.btcd.MineEmpty(5)
	m.node = startFaulty(t, m.btcd)
	m.chain = &Chain{Store: m.s, Events: m.told.tell, Node: bitcoind.NewClient(
		bitcoind.Config{URL: m.node.server.URL, User: m.btcd.User, Pass: m.btcd.Pass}, bitcoind.Options{Timeout: time.Minute})}
	t.Cleanup(m.chain.Node.Close)
	if _, err := m.s.Register(t.Context(), store.Instance{ID: [16]byte{1}, Name: "pool", Network: "regtest"}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mined) apply(b store.Batch) {
	m.t.Helper()
	b.Instance, b.From = [16]byte{1}, m.at
	m.at = store.Position{Epoch: 1, Number: m.at.Number + 1}
	b.To, b.At = m.at, m.now
	for i := range b.Jobs {
		b.Jobs[i].Number = m.at.Number
	}
	for i := range b.Shares {
		b.Shares[i].Number = m.at.Number
	}
	if _, err := m.s.Apply(m.t.Context(), &b); err != nil {
		m.t.Fatal(err)
	}
}

// job tells of one on top of the chain, and gives its number.
func (m *mined) job(ntime uint32) uint64 {
	m.t.Helper()
	m.now += 30_000_000
	height, id := m.btcd.BlockCount()+1, uint64(m.at.Number+1)
	tmpl, err := work.NewTemplate(&work.Parts{Height: height, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: ntime, CoinbaseValue: 5_000_000_000})
	var record []byte
	if err == nil {
		b := work.Builder{Tag: "ckpool", PayoutScript: m.pool.Script(), Extranonce1Len: 4, Extranonce2Len: 8}
		var j *work.Job
		if j, err = b.Job(tmpl, id, time.UnixMicro(m.now), nil); err == nil {
			record, err = (&work.JobWriter{WithoutTransactions: true}).Append(nil, j)
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.apply(store.Batch{Jobs: []store.Job{{ID: id, Height: height, Difficulty: difficulty.ExactOf(10), NTime: ntime, Created: m.now, Record: record}}})
	return id
}

// find mines a block of the pool's: three shares, of which bob's is the block. It is told
// by the pool or not.
func (m *mined) find(told bool) string {
	m.t.Helper()
	height := m.btcd.BlockCount() + 1
	before := m.btcd.BlockAt(height - 1).Header.Timestamp
	id := m.job(uint32(before.Unix()))
	m.btcd.Wallet = m.pool
	name := m.btcd.MineEmpty(1)[0]
	m.btcd.Wallet = m.other
	hash, err := work.ParseHash(name)
	if err != nil {
		m.t.Fatal(err)
	}
	ntime := uint32(m.btcd.BlockAt(height).Header.Timestamp.Unix())
	b := store.Batch{Workers: []store.Worker{{Kind: store.User, Account: "alice"}, {Kind: store.User, Account: "bob"}}, Agents: []string{"x"}}
	for i, credit := range []float64{20, 10, 20} {
		v := store.Share{Received: m.now, NTime: ntime, Worker: int32(i % 2), Job: id, Credit: difficulty.ExactOf(credit), Achieved: difficulty.ExactOf(credit)}
		copy(v.Hash[:], fmt.Appendf(nil, "%d %d", height, i))
		if i == 1 {
			copy(v.Hash[:], hash[:])
		}
		m.apply(store.Batch{Workers: b.Workers, Agents: b.Agents, Shares: []store.Share{v}})
	}
	if told {
		m.apply(store.Batch{Workers: b.Workers, Blocks: []store.Block{{Hash: hash, Height: height, Job: id, Worker: 1, Difficulty: difficulty.ExactOf(10), Found: m.now}}})
	}
	m.job(ntime)
	m.now += 120_000_000
	m.apply(store.Batch{})
	return name
}

// steps follows to the tip.
func (m *mined) steps() error {
	for {
		more, err := m.chain.Step(m.t.Context())
		if err != nil || !more {
			return err
		}
	}
}

func (m *mined) follow() {
	m.t.Helper()
	if err := m.steps(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mined) state(name string) string {
	m.t.Helper()
	list, err := m.s.PoolBlocks(m.t.Context(), 0)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, b := range list {
		if work.FormatHash(b.Hash) == name {
			return fmt.Sprintf("%s %d", b.State, b.Confirmations)
		}
	}
	return ""
}

func (m *mined) is(name, want string) {
	m.t.Helper()
	if got := m.state(name); got != want {
		m.t.Errorf("block is %s, want %s", got, want)
	}
}

// has compares what the books have that have anything.
func (m *mined) has(want string) {
	m.t.Helper()
	list, err := m.s.Balances(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	var lines []string
	for _, v := range list {
		if v.Amount != 0 {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %d", v.Owner.Name, v.Book, v.Amount)))
		}
	}
	if got := strings.Join(lines, ", "); got != want {
		m.t.Errorf("has  %s\nwant %s", got, want)
	}
	differences, err := m.s.Check(m.t.Context(), nil)
	if err != nil || len(differences) > 0 {
		m.t.Errorf("%q, %v", differences, err)
	}
}

// faulty stands before a node, and changes answers.
type faulty struct {
	server *httptest.Server
	mu     sync.Mutex
	change func(method string, result map[string]any) (status int) // of objects; 0: goes on
}

func startFaulty(t testing.TB, n *testkit.Btcd) *faulty {
	f := &faulty{}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request struct {
			Method string
			ID     int64
		}
		_ = json.Unmarshal(body, &request)
		to, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "http://"+n.RPC, bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		to.Header = r.Header.Clone()
		answer, err := http.DefaultClient.Do(to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.change != nil {
			var reply map[string]any
			_ = json.Unmarshal(text, &reply)
			result, _ := reply["result"].(map[string]any)
			if status := f.change(request.Method, result); status != 0 {
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, `{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":%d}`, request.ID)
				return
			}
			if result != nil {
				text, _ = json.Marshal(reply)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	}))
	t.Cleanup(f.server.Close)
	return f
}

func (f *faulty) set(change func(method string, result map[string]any) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change = change
}

// 13: whatever a node answers that is not synced, or not of the chain, or an error, a
// block stays what it is. It is orphaned where another has 6 confirmations in its place.
func TestCase13(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		m := startMined(t, where)
		name := m.find(true)
		m.btcd.MineEmpty(3)
		m.follow()
		m.is(name, "confirmed 4")
		const rewarded = "chain -5000000000, alice immature 3333333333, bob immature 1666666667"
		m.has(rewarded)
		m.btcd.Reorg(4) // 5 blocks
		m.btcd.MineEmpty(5)
		info := func(set func(map[string]any)) func(string, map[string]any) int {
			return func(method string, result map[string]any) int {
				if method == "getblockchaininfo" {
					set(result)
				}
				return 0
			}
		}
		failing := func(method string, status int) func(string, map[string]any) int {
			return func(called string, _ map[string]any) int {
				if called == method {
					return status
				}
				return 0
			}
		}
		for what, change := range map[string]func(string, map[string]any) int{
			"still downloads the chain": info(func(r map[string]any) { r["initialblockdownload"] = true }),
			"of 99 blocks":              info(func(r map[string]any) { r["headers"] = 99 }),
			`is on chain "main"`:        info(func(r map[string]any) { r["chain"] = "main" }),
			"does not say how many":     info(func(r map[string]any) { delete(r, "blocks") }),
			"Loading block index":       failing("getblockchaininfo", http.StatusInternalServerError),
			"getblockhash":              failing("getblockhash", http.StatusInternalServerError),
			"getblock:":                 failing("getblock", http.StatusServiceUnavailable),
			"getblockchaininfo:":        failing("getblockchaininfo", http.StatusUnauthorized),
		} {
			m.node.set(change)
			if err := m.steps(); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", what, err)
			}
			m.is(name, "confirmed 4")
			m.has(rewarded)
		}
		m.node.set(nil)
		m.follow()
		m.is(name, "orphaned 0")
		m.has("")
	})
}

// What is new comes to a node by its header first: that is no trouble.
func TestHeaderFirst(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		m := startMined(t, where)
		name := m.find(true)
		m.node.set(func(method string, result map[string]any) int {
			if blocks, ok := result["blocks"].(float64); ok && method == "getblockchaininfo" {
				result["headers"] = blocks + 1
			}
			return 0
		})
		m.follow()
		m.is(name, "confirmed 1")
	})
}

// Another block in its place is not enough until it has 6 confirmations.
func TestOrphanedAt(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		m := startMined(t, where)
		name := m.find(true)
		m.follow()
		m.btcd.Reorg(1) // 2 blocks
		m.follow()
		m.is(name, "new 0")
		m.btcd.MineEmpty(3)
		m.follow()
		m.is(name, "new 0")
		m.has("chain -5000000000, alice immature 3333333333, bob immature 1666666667")
		m.btcd.MineEmpty(1)
		m.follow()
		m.is(name, "orphaned 0")
		m.has("")
	})
}

// 14: chain A, 120 blocks of B, A again, on a real node: the ledger has what it had, and
// maturity is at 101 confirmations exactly. 11: one that was not told is held on the way.
func TestCase14(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		m := startMined(t, where)
		fork := m.btcd.BestBlockHash()
		name := m.find(true)
		m.btcd.MineEmpty(99)
		m.follow()
		m.is(name, "confirmed 100")
		m.has("chain -5000000000, alice immature 3333333333, bob immature 1666666667")
		a := m.btcd.MineEmpty(1)[0]
		m.follow()
		m.is(name, "matured 101")
		const mature = "chain -5000000000, alice balance 3333333333, bob balance 1666666667"
		m.has(mature)

		ctx := t.Context()
		branch := func(parent string, count int) string {
			t.Helper()
			list, err := m.btcd.Branch(ctx, parent, count)
			if err != nil {
				t.Fatal(err)
			}
			return list[len(list)-1]
		}
		b := branch(fork, 120)
		m.follow()
		m.is(name, "orphaned 0")
		m.has("")
		a = branch(a, 30)
		m.follow()
		m.is(name, "matured 131")
		m.has(mature)
		if branch(b, 20); m.btcd.BestBlockHash() == a {
			t.Fatal("B is not longer")
		}
		m.follow()
		m.has("")
		branch(a, 40)
		m.follow()
		m.has(mature)
		// Slept through 200 blocks, one of which is the pool's and was not told.
		m.btcd.MineEmpty(100)
		held := m.find(false)
		m.btcd.MineEmpty(99)
		m.follow()
		m.is(held, "confirmed 100")
		if !strings.Contains(m.told.String(), "pays the pool 2,500,000,000 satoshis, and no pool has told of it") {
			t.Errorf("told:\n%s", m.told)
		}
		m.has("chain -7500000000, held 2500000000, alice balance 3333333333, bob balance 1666666667")
		hash, _ := work.ParseHash(held)
		if err := m.s.Book(ctx, "ann", hash, store.ToMiners); err != nil {
			t.Fatal(err)
		}
		m.follow()
		// Of the window of 50: alice's 20 and bob's 10, which is the block; and of the height of
		// the first block the newest 20, alice's.
		m.has("chain -7500000000, alice balance 3333333333, alice immature 2000000000, bob balance 1666666667, bob immature 500000000")
	})
}

// What is here and is not in the node's chain is told, once it is deep enough.
func TestCheckChain(t *testing.T) {
	m := startMined(t, "sqlite:"+t.TempDir())
	check := func(want ...string) {
		t.Helper()
		got, err := m.chain.Check(t.Context())
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q, %v", got, err)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}
	name := m.find(true)
	m.btcd.MineEmpty(3)
	m.follow()
	check()
	m.btcd.Reorg(4) // 5 blocks
	check()
	m.btcd.MineEmpty(1)
	check("chain: block " + name + " is confirmed here, the node has ")
	m.follow()
	check()
	m.is(name, "orphaned 0")
	m.node.set(func(string, map[string]any) int { return http.StatusInternalServerError })
	if _, err := m.chain.Check(t.Context()); err == nil {
		t.Error("a node that does not answer is taken for one that has all")
	}
}

// A follower that runs tells trouble once, goes on by itself, and ends when it is told to.
func TestChainRun(t *testing.T) {
	m := startMined(t, "sqlite:"+t.TempDir())
	name := m.find(true)
	m.node.set(func(string, map[string]any) int { return http.StatusInternalServerError })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		m.chain.Run(ctx)
		close(ended)
	}()
	wait.Until(t, patience, "trouble told", func() bool { return strings.Contains(m.told.String(), "Blocks are not followed: bitcoind") })
	m.node.set(nil)
	wait.Until(t, patience, "rewarded", func() bool { return m.state(name) == "confirmed 1" })
	wait.Until(t, patience, "told", func() bool {
		return strings.Contains(m.told.String(), "Blocks are followed again") && strings.Contains(m.told.String(), name+" at height 6: 5,000,000,000 satoshis for 2 accounts")
	})
	cancel()
	<-ended
}

// A node that downloads the chain is told of now and then, however far it is.
func TestTroubleOfNumbers(t *testing.T) {
	l := &told{}
	c := Chain{Events: l.tell, limiter: logfile.NewLimiter(time.Hour)}
	for blocks := range 1000 {
		c.tell(fmt.Errorf("bitcoind x still downloads the chain: it has %d of 1000 blocks", blocks))
	}
	c.tell(errors.New("another trouble"))
	c.tell(nil)
	if got := strings.Count(l.String(), "\n"); got != 3 {
		t.Errorf("%d lines:\n%s", got, l)
	}
}
