package pool_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/wire/v2"
	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/pool"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience only passes where a test fails.
const patience = 60 * time.Second

// Addresses of regtest with their scripts, as BIP173 has them for keys and for scripts.
const (
	oneAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	oneScript  = "0014751e76e8199196d454941c45d1b3a323f1433bd6"
	twoAddress = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
	twoScript  = "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262"
)

// seen is what the hooks of a pool were told.
type seen struct {
	mu     sync.Mutex
	shares []pool.Share // guarded by mu
	blocks []pool.Block // guarded by mu
	works  []pool.Work  // guarded by mu
	said   []string     // guarded by mu; events
}

func (s *seen) hooks() pool.Hooks {
	return pool.Hooks{
		Share: func(k pool.Share) { keep(s, &s.shares, k) },
		Block: func(k pool.Block) { keep(s, &s.blocks, k) },
		Work:  func(k pool.Work) { keep(s, &s.works, k) },
	}
}

func (s *seen) event(e event.Event) { keep(s, &s.said, e.Text) }

func keep[T any](s *seen, list *[]T, v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, v)
}

func get[T any](s *seen, list *[]T) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(*list)
}

// confirmed are the blocks that are told to be in the chain.
func (s *seen) confirmed() []pool.Block {
	return slices.DeleteFunc(get(s, &s.blocks), func(b pool.Block) bool { return b.State != source.BlockConfirmed })
}

// running is a pool that a test runs.
type running struct {
	*pool.Pool
	seen
	t   *testing.T
	end func() // ends it, and waits
}

// start runs a pool that is easy for miners until end or the end of the test.
func start(t *testing.T, c pool.Config, from pool.Source, login func(context.Context, pool.Login) error) *running {
	t.Helper()
	r := &running{t: t}
	c.Dir = t.TempDir()
	c.Listen = []pool.Listener{{Address: "127.0.0.1:0"}}
	c.MinDifficulty, c.StartDifficulty = 1e-9, 1e-9
	c.Events = r.event
	hooks := r.hooks()
	hooks.Login = login
	var err error
	if r.Pool, err = pool.New(c, from, hooks); err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Run(ctx); err != nil {
			t.Errorf("the pool ended with %v", err)
		}
	}()
	r.end = func() {
		cancel()
		<-ended
	}
	t.Cleanup(func() {
		r.end()
		if t.Failed() {
			t.Logf("the pool said:\n%s", strings.Join(get(&r.seen, &r.said), "\n"))
		}
	})
	return r
}

func (r *running) addr() string { return r.Addrs()[0].String() }

// mine has a miner at a pool until stop.
func mine(t *testing.T, addr, user string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = miner.Run(ctx, miner.Config{ // ends with the context
			Endpoint: client.Endpoint{URL: addr, User: user, Password: "x"},
			Client:   client.Options{UserAgent: "test/1", VersionMask: 0x1fffe000}, HashRate: 50,
		})
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// pays are the values of a coinbase's outputs that are money, by script in hex.
func pays(t *testing.T, coinbase *wire.MsgTx) map[string]int64 {
	t.Helper()
	m := map[string]int64{}
	for _, out := range coinbase.TxOut {
		if out.Value > 0 {
			m[hex.EncodeToString(out.PkScript)] += out.Value
		}
	}
	return m
}

// Two pools of one process know nothing of each other: both mine blocks that a real node
// takes, one for two payees that have half of each, the other for who finds them. When
// they have ended nothing of them is left.
func TestTwoPoolsOnOneNode(t *testing.T) {
	n := testkit.StartBtcd(t, btcd.Options{})
	n.Generate(1)
	present := goleak.IgnoreCurrent()

	node := pool.Nodes(bitcoind.Config{URL: n.RPC, User: n.User, Pass: n.Pass})
	halves := start(t, pool.Config{
		Tag:    "halves",
		Payees: []pool.Payee{{Address: oneAddress, Share: 1}, {Address: twoAddress, Share: 1}},
	}, node, nil)
	solo := start(t, pool.Config{Tag: "solo", Payees: []pool.Payee{{Address: pool.Finder, Share: 1}}}, node, nil)
	stops := []func(){mine(t, halves.addr(), "alice.rig1"), mine(t, solo.addr(), twoAddress+".rig2")}
	for _, r := range []*running{halves, solo} {
		wait.Until(t, patience, "a confirmed block, a share and its status", func() bool {
			s := r.Status()
			return len(r.confirmed()) > 0 && s.AcceptedShares > 0 && s.Confirmed > 0 && s.Work.Job != 0 && s.Usable && s.Miners == 1
		})
	}
	for _, stop := range stops {
		stop()
	}
	for _, r := range []*running{halves, solo} {
		r.end()
	}
	if err := goleak.Find(present); err != nil {
		t.Errorf("after both have ended: %v", err)
	}

	checked := 0
	for _, b := range halves.confirmed() {
		if b.Worker != "alice.rig1" || b.User != "alice" {
			t.Errorf("found by %q of %q", b.Worker, b.User)
		}
		checked += checkBlock(t, n, &b, "halves", map[string]int64{oneScript: b.Reward / 2, twoScript: b.Reward / 2})
	}
	if checked == 0 {
		t.Error("none of the blocks that pay halves is in the chain")
	}
	checked = 0
	for _, b := range solo.confirmed() {
		checked += checkBlock(t, n, &b, "solo", map[string]int64{twoScript: b.Reward})
	}
	if checked == 0 {
		t.Error("none of the blocks that pay the finder is in the chain")
	}
	for _, s := range get(&halves.seen, &halves.shares) {
		if s.Worker != "alice.rig1" || s.User != "alice" || s.UserAgent != "test/1" || s.Client == 0 || s.Time.IsZero() || !s.Remote.Addr().IsLoopback() {
			t.Errorf("share %+v", s)
		}
		if solved := s.Height > 0 && s.Reached > 0 && s.Hash != [32]byte{}; !solved || s.Credit != 0 && s.Credit != s.Difficulty || s.Credit != 0 && s.Reason != "" {
			t.Errorf("share %+v", s)
		}
	}
	works := get(&halves.seen, &halves.works)
	if len(works) == 0 || works[0].Height == 0 || works[0].Value < 1e8 || works[0].Transactions != 0 || !works[0].NewTip || works[0].PrevHash == [32]byte{} {
		t.Errorf("work %+v", works)
	}
}

// checkBlock compares a block with what the node has; 0: it has another in its place.
func checkBlock(t *testing.T, n *testkit.Btcd, b *pool.Block, tag string, want map[string]int64) int {
	t.Helper()
	if hash := n.BlockHash(b.Height); hash != work.FormatHash(b.Hash) { // it has lost its place to the other pool's
		return 0
	}
	coinbase := n.BlockAt(b.Height).Transactions[0]
	if got := pays(t, coinbase); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("block %d pays %v, want %v", b.Height, got, want)
	}
	if !bytes.Contains(coinbase.TxIn[0].SignatureScript, []byte(tag)) || b.Chain != "regtest" || b.Time.IsZero() || b.Difficulty <= 0 {
		t.Errorf("block %+v", b)
	}
	return 1
}

// chain is a source of a test's own: a chain of blocks without transactions, which takes
// every block that builds on its tip.
type chain struct {
	updates chan source.Update

	mu     sync.Mutex
	height int64                // guarded by mu; of the tip
	tip    [32]byte             // guarded by mu
	blocks []*wire.MsgBlock     // guarded by mu; that were taken
	heard  []source.SolvedBlock // guarded by mu
}

func newChain() *chain {
	c := &chain{updates: make(chan source.Update, 1), height: 100, tip: [32]byte{1}}
	return c
}

// Run implements pool.WorkSource.
func (c *chain) Run(ctx context.Context) error {
	c.give()
	<-ctx.Done()
	return nil
}

// reward is odd, so that halves are not the same.
const reward = 50_0000_0001

func (c *chain) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := work.NewTemplate(&work.Parts{
		Height: c.height + 1, Version: 0x20000000, PrevHash: c.tip, Bits: 0x207fffff, CurTime: uint32(time.Now().Unix()), CoinbaseValue: reward,
	})
	if err != nil {
		panic(err)
	}
	select {
	case <-c.updates: // nobody has read
	default:
	}
	c.updates <- source.Update{Template: t, NewTip: true, From: "chain", Received: time.Now()}
}

func (c *chain) Updates() <-chan source.Update { return c.updates }
func (c *chain) Refresh(string)                {}
func (c *chain) Chain() string                 { return "regtest" }
func (c *chain) Status() []source.Status {
	return []source.Status{{URL: "chain", State: "ok", Current: true}}
}

// Submit implements pool.WorkSource.
func (c *chain) Submit(b source.SolvedBlock, changed func(source.BlockState)) {
	var block wire.MsgBlock
	if err := block.Deserialize(bytes.NewReader(b.Serialised)); err != nil {
		changed(source.BlockState{State: source.BlockRejected, Text: err.Error()})
		return
	}
	c.mu.Lock()
	state := source.BlockState{State: source.BlockOrphaned}
	if block.Header.PrevBlock == c.tip {
		state = source.BlockState{State: source.BlockConfirmed, Confirmations: 1}
		c.tip, c.height = block.Header.BlockHash(), c.height+1
		c.blocks, c.heard = append(c.blocks, &block), append(c.heard, b)
	}
	c.mu.Unlock()
	changed(state)
	if state.State == source.BlockConfirmed {
		c.give()
	}
}

// A caller's own source gives work and takes the blocks, whole and paid as the payees
// share them: the first has what is left of a satoshi.
func TestOwnSource(t *testing.T) {
	c := newChain()
	r := start(t, pool.Config{Payees: []pool.Payee{{Address: oneAddress, Share: 5}, {Address: twoAddress, Share: 5}}}, pool.From(c), nil)
	stop := mine(t, r.addr(), "alice")
	wait.Until(t, patience, "three blocks", func() bool { return len(r.confirmed()) >= 3 })
	stop()
	r.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range c.blocks {
		want := map[string]int64{oneScript: reward/2 + 1, twoScript: reward / 2}
		if got := pays(t, b.Transactions[0]); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("block %d pays %v, want %v", i, got, want)
		}
		if c.heard[i].Hash != b.Header.BlockHash() || c.heard[i].Height != int64(101+i) {
			t.Errorf("block %d is submitted as %+v", i, c.heard[i])
		}
	}
	var states []string
	for _, b := range get(&r.seen, &r.blocks) {
		if b.Height == 101 && b.Hash == c.heard[0].Hash {
			states = append(states, b.State)
		}
	}
	if !slices.Equal(states, []string{source.BlockPending, source.BlockConfirmed}) {
		t.Errorf("the first block is told to be %v", states)
	}
}

// A fee stands beside what the finder has, wherever it is in the list.
func TestFinderAndFee(t *testing.T) {
	c := newChain()
	r := start(t, pool.Config{Payees: []pool.Payee{{Address: oneAddress, Share: 2}, {Address: pool.Finder, Share: 98}}}, pool.From(c), nil)
	stop := mine(t, r.addr(), twoAddress)
	wait.Until(t, patience, "a block", func() bool { return len(r.confirmed()) > 0 })
	stop()
	r.end()
	want := map[string]int64{oneScript: 1_0000_0000, twoScript: 49_0000_0001}
	if got := pays(t, c.blocks[0].Transactions[0]); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("a block pays %v, want %v", got, want)
	}
}

// A pool before another is one of its miners.
func TestUpstreams(t *testing.T) {
	above := start(t, pool.Config{Payees: []pool.Payee{{Address: oneAddress, Share: 1}}}, pool.From(newChain()), nil)
	below := start(t, pool.Config{}, pool.Upstreams(client.Endpoint{URL: above.addr(), User: "farm.one", Password: "x"}), nil)
	stop := mine(t, below.addr(), "alice")
	accepted := func(r *running, worker string) func() bool {
		return func() bool {
			return slices.ContainsFunc(get(&r.seen, &r.shares), func(s pool.Share) bool { return s.Worker == worker && s.Reason == "" && s.Credit > 0 })
		}
	}
	wait.Until(t, patience, "shares of the proxy", accepted(above, "farm.one"))
	wait.Until(t, patience, "shares of the miner", accepted(below, "alice"))
	if s := below.Status(); len(s.Sources) != 1 || s.Sources[0].URL != above.addr() || s.Work.Transactions != -1 {
		t.Errorf("status %+v", s)
	}
	stop()
	below.end()
	above.end()
}

// Who may mine the hook says, which may take its time; who has to wait too long is
// refused as well.
func TestLogins(t *testing.T) {
	var asked sync.Map
	r := start(t, pool.Config{Payees: []pool.Payee{{Address: oneAddress, Share: 1}}}, pool.From(newChain()), func(ctx context.Context, l pool.Login) error {
		asked.Store(l.Worker, l)
		switch l.User {
		case "mallory":
			return errors.New("mallory has been here before")
		case "slow":
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	login := func(user string) error {
		c, err := client.Dial(t.Context(), client.Endpoint{URL: r.addr(), User: user, Password: "secret"}, client.Options{UserAgent: "test/1", HandshakeTimeout: patience})
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := login("alice.rig1"); err != nil {
		t.Error(err)
	}
	l, _ := asked.Load("alice.rig1")
	if l, ok := l.(pool.Login); !ok || l.User != "alice" || l.Password != "secret" || l.UserAgent != "test/1" || !l.Remote.IsLoopback() {
		t.Errorf("asked for %+v", l)
	}
	if err := login("mallory"); err == nil || !strings.Contains(err.Error(), "mallory has been here before") {
		t.Errorf("mallory: %v", err)
	}
	if err := login("slow"); err == nil || !strings.Contains(err.Error(), "cannot be checked") {
		t.Errorf("slow: %v", err)
	}
	r.end()
}

// A configuration that cannot be is told by its fields, all at once.
func TestConfigErrors(t *testing.T) {
	one := []pool.Payee{{Address: oneAddress, Share: 1}}
	nodes := pool.Nodes(bitcoind.Config{URL: "127.0.0.1:1"})
	for name, tt := range map[string]struct {
		config pool.Config
		from   pool.Source
		want   []string
	}{
		"nothing":           {pool.Config{}, pool.Source{}, []string{"Config.Dir", "Config.Payees", "the source"}},
		"no nodes":          {pool.Config{Dir: "x", Payees: one}, pool.Nodes(), []string{"the source"}},
		"tag":               {pool.Config{Dir: "x", Payees: one, Tag: strings.Repeat("x", 65)}, nodes, []string{"Config.Tag"}},
		"no address":        {pool.Config{Dir: "x", Payees: []pool.Payee{{Share: 1}}}, nodes, []string{"Config.Payees[0].Address"}},
		"bad address":       {pool.Config{Dir: "x", Payees: []pool.Payee{one[0], {Address: oneAddress[:30], Share: 1}}}, nodes, []string{"Config.Payees[1].Address"}},
		"networks":          {pool.Config{Dir: "x", Payees: []pool.Payee{one[0], {Address: "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", Share: 1}}}, nodes, []string{"Config.Payees[1].Address"}},
		"no share":          {pool.Config{Dir: "x", Payees: []pool.Payee{{Address: oneAddress}}}, nodes, []string{"Config.Payees[0].Share"}},
		"large shares":      {pool.Config{Dir: "x", Payees: []pool.Payee{{Address: oneAddress, Share: 1 << 63}, {Address: oneAddress, Share: 1 << 63}}}, nodes, []string{"Config.Payees[1].Share"}},
		"two finders":       {pool.Config{Dir: "x", Payees: []pool.Payee{{Address: pool.Finder, Share: 1}, {Address: pool.Finder, Share: 1}}}, nodes, []string{"Config.Payees[1].Address"}},
		"many payees":       {pool.Config{Dir: "x", Payees: slices.Repeat(one, 11)}, nodes, []string{"Config.Payees"}},
		"difficulty":        {pool.Config{Dir: "x", Payees: one, MinDifficulty: -1, Listen: []pool.Listener{{Address: ":1", StartDifficulty: -1}}}, nodes, []string{"Config.MinDifficulty", "Config.Listen[0].StartDifficulty"}},
		"most below least":  {pool.Config{Dir: "x", Payees: one, MinDifficulty: 2, MaxDifficulty: 1}, nodes, []string{`"MaxDifficulty": want at least MinDifficulty`}},
		"of a listener":     {pool.Config{Dir: "x", Payees: one, Listen: []pool.Listener{{Address: ":1", MinDifficulty: 2, MaxDifficulty: 1}}}, nodes, []string{`"Listen[0].MaxDifficulty"`}},
		"same address":      {pool.Config{Dir: "x", Payees: one, Listen: []pool.Listener{{Address: ":1"}, {Address: ":1"}}}, nodes, []string{`"Listen[1]"`}},
		"half certificate":  {pool.Config{Dir: "x", Payees: one, Listen: []pool.Listener{{Address: ":1", CertFile: "a"}}}, nodes, []string{"Config.Listen[0]"}},
		"clients":           {pool.Config{Dir: "x", Payees: one, MaxClients: -1, MaxClientsPerAddress: -1}, nodes, []string{"Config.MaxClients", "Config.MaxClientsPerAddress"}},
		"payees of a proxy": {pool.Config{Dir: "x", Payees: one}, pool.Upstreams(client.Endpoint{URL: "h:1"}), []string{"Config.Payees"}},
		"url of a proxy":    {pool.Config{Dir: "x"}, pool.Upstreams(client.Endpoint{URL: "h:x"}), []string{"endpoint 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.config.Dir != "" {
				tt.config.Dir = t.TempDir()
			}
			p, err := pool.New(tt.config, tt.from, pool.Hooks{})
			if err == nil {
				p.Close()
				t.Fatal("it is taken")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

// An old address of regtest, which is written as one of testnet is, may stand before another
// of regtest.
func TestPayeesOfRegtest(t *testing.T) {
	old := pool.Payee{Address: "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", Share: 1}
	one := pool.Payee{Address: oneAddress, Share: 1}
	for _, payees := range [][]pool.Payee{{one, old}, {old, one}} {
		p, err := pool.New(pool.Config{Dir: t.TempDir(), Payees: payees}, pool.From(newChain()), pool.Hooks{})
		if err != nil {
			t.Error(err)
			continue
		}
		p.Close()
	}
}

// broken is a source that gives what it must not, and ends as it likes.
type broken struct {
	*chain
	updates chan source.Update
	err     error
}

func (b broken) Updates() <-chan source.Update { return b.updates }

func (b broken) Run(ctx context.Context) error {
	if b.err == nil {
		<-ctx.Done()
	}
	return b.err
}

// What a caller's source does wrong ends its pool, which says so, not the program.
func TestBrokenSource(t *testing.T) {
	closed, empty := make(chan source.Update), make(chan source.Update, 1)
	close(closed)
	empty <- source.Update{NewTip: true}
	late, worked := make(chan source.Update, 1), newChain()
	worked.give()
	late <- <-worked.updates
	close(late)
	for name, tt := range map[string]struct {
		source broken
		want   string
	}{
		"channel is closed": {broken{newChain(), closed, nil}, "pool: work: the source gave an update without a template"},
		"no template":       {broken{newChain(), empty, nil}, "pool: work: the source gave an update without a template"},
		"it is closed late": {broken{worked, late, nil}, "pool: work: the source gave an update without a template"},
		"ends":              {broken{newChain(), nil, errors.New("no power")}, "pool: source: no power"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := pool.New(pool.Config{
				Dir: t.TempDir(), Listen: []pool.Listener{{Address: "127.0.0.1:0"}}, Payees: []pool.Payee{{Address: oneAddress, Share: 1}},
			}, pool.From(tt.source), pool.Hooks{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := p.Run(ctx); err == nil || err.Error() != tt.want {
				t.Errorf("it ended with %v, want %s", err, tt.want)
			}
		})
	}
}

// Two pools cannot have the same directory.
func TestDirectoryIsOfOnePool(t *testing.T) {
	c := pool.Config{Dir: t.TempDir(), Listen: []pool.Listener{{Address: "127.0.0.1:0"}}, Payees: []pool.Payee{{Address: oneAddress, Share: 1}}}
	first, err := pool.New(c, pool.From(newChain()), pool.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.New(c, pool.From(newChain()), pool.Hooks{}); !errors.Is(err, pool.ErrDirInUse) {
		t.Errorf("the second: %v", err)
	}
	if s := first.Status(); s.Started.IsZero() || s.Work.Job != 0 || s.Miners != 0 || len(first.Addrs()) != 0 {
		t.Errorf("before it runs: %+v", s)
	}
	if err := first.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Listen(t.Context()); err == nil || len(first.Addrs()) != 1 {
		t.Errorf("a second Listen: %v, at %v", err, first.Addrs())
	}
	first.Close()
	if err := first.Run(t.Context()); err == nil {
		t.Error("a pool runs that was closed")
	}
	again, err := pool.New(c, pool.From(newChain()), pool.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	again.Close()
}

// elsewhere is a chain of another network.
type elsewhere struct{ *chain }

func (elsewhere) Chain() string { return "main" }

// A payee whom the chain cannot pay ends the pool, with the name of the field.
func TestPayeeOfAnotherChain(t *testing.T) {
	p, err := pool.New(pool.Config{
		Dir: t.TempDir(), Listen: []pool.Listener{{Address: "127.0.0.1:0"}}, Payees: []pool.Payee{{Address: pool.Finder, Share: 1}, {Address: oneAddress, Share: 1}},
	}, pool.From(elsewhere{newChain()}), pool.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "Config.Payees[1].Address") {
		t.Errorf("it ended with %v", err)
	}
}

// Run returns when the hook has been told of all blocks, and has done with the last.
func TestRunWaitsForHooks(t *testing.T) {
	c := newChain()
	busy, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	told := map[string]int{} // by state; owned by the hook, then by the test
	p, err := pool.New(pool.Config{
		Dir: t.TempDir(), Payees: []pool.Payee{{Address: oneAddress, Share: 1}}, Listen: []pool.Listener{{Address: "127.0.0.1:0"}},
		MinDifficulty: 1e-9, StartDifficulty: 1e-9,
	}, pool.From(c), pool.Hooks{Block: func(b pool.Block) {
		once.Do(func() { close(busy) })
		<-release
		told[b.State]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop := mine(t, p.Addrs()[0].String(), "alice")
	<-busy
	wait.Until(t, patience, "two blocks", func() bool { return p.Status().Confirmed >= 2 })
	stop()
	cancel()
	wait.Until(t, patience, "that Run waits for the hook alone", func() bool {
		stacks := make([]byte, 1<<20)
		for one := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(one, "ckpool/pool.(*Pool).Run(") && !strings.Contains(one, "internal/pool.") && strings.Contains(one, "sync.(*WaitGroup).Wait") {
				return true
			}
		}
		return false
	})
	select {
	case err := <-ended:
		t.Errorf("it has ended before the hook: %v", err)
	default:
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if told[source.BlockConfirmed] < 2 || told[source.BlockPending] < told[source.BlockConfirmed] {
		t.Errorf("told of blocks: %v", told)
	}
}

// An address with a certificate is spoken to over TLS, and difficulties of an address are
// those of its miners.
func TestListeners(t *testing.T) {
	cert, key := certificate.New(t, "pool.example", 1).Write(t, t.TempDir())
	p, err := pool.New(pool.Config{
		Dir: t.TempDir(), Payees: []pool.Payee{{Address: oneAddress, Share: 1}}, StartDifficulty: 0.5,
		Listen: []pool.Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", CertFile: cert, KeyFile: key, StartDifficulty: 0.25}},
	}, pool.From(newChain()), pool.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	if err := p.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- p.Run(ctx) }()
	for i, want := range []client.Difficulty{0.5, 0.25} {
		c, err := client.Dial(ctx, client.Endpoint{URL: []string{"stratum+tcp://", "stratum+ssl://"}[i] + p.Addrs()[i].String(), User: "alice"},
			client.Options{HandshakeTimeout: patience, TLS: &tls.Config{InsecureSkipVerify: true}})
		if err != nil {
			t.Fatal(err)
		}
		for e := range c.Events() {
			if d, ok := e.(client.Difficulty); ok {
				if d != want {
					t.Errorf("address %d: difficulty %v, want %v", i, d, want)
				}
				break
			}
		}
		c.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
