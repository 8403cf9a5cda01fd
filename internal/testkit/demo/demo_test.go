package demo

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/firmware"
	"github.com/ckpool/ckpool/internal/testkit/gobuild"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// ckpool is built once for all tests.
var ckpool = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ckpool-demo")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ckpool")
	if err := gobuild.Programs(dir, "github.com/ckpool/ckpool/cmd/ckpool", "github.com/ckpool/ckpool/cmd/ckpmsg", "github.com/ckpool/ckpool/cmd/ckdb", "github.com/ckpool/ckpool/cmd/ckbench"); err != nil {
		return "", err
	}
	return path, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := ckpool(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(status)
}

// screen is what the user sees.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// run is a demo that runs beside the test.
type run struct {
	t      *testing.T
	screen screen
	cancel context.CancelFunc
	ended  chan error
}

func start(t *testing.T, c Config) *run {
	t.Helper()
	path, err := ckpool()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	c.Ckpool, c.Out, c.sideBySide = path, &r.screen, true
	go func() { r.ended <- Run(ctx, c) }()
	t.Cleanup(cancel)
	return r
}

// wait waits up to a minute for text on the screen.
func (r *run) wait(text string) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(r.screen.String(), text); {
		select {
		case err := <-r.ended:
			r.t.Fatalf("ended before %q: %v\n%s", text, err, r.screen.String())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("no %q on the screen:\n%s", text, r.screen.String())
		}
	}
}

func (r *run) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Errorf("%v\n%s", err, r.screen.String())
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	p, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", p)
}

// leftovers are the processes that work in dir.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		cmdline, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if cwd == dir || strings.Contains(string(cmdline), dir) {
			found = append(found, string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// chain is a view on the node of a running demo.
func chain(t *testing.T, dir string) *btcd.Node {
	t.Helper()
	c, _, err := config.Load(filepath.Join(dir, configFile), config.Solo)
	if err != nil {
		t.Fatal(err)
	}
	return btcd.Attach(c.Nodes[0].URL, c.Nodes[0].User, c.Nodes[0].Pass)
}

func blockAt(t *testing.T, n *btcd.Node, height int64) *wire.MsgBlock {
	t.Helper()
	b, err := n.BlockAt(t.Context(), height)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// script is the output script of an address.
func script(t *testing.T, text string) []byte {
	t.Helper()
	a, err := address.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a.Script()
}

func checkCoinbase(t *testing.T, b *wire.MsgBlock, payout string) {
	t.Helper()
	coinbase := b.Transactions[0]
	if !bytes.Equal(coinbase.TxOut[0].PkScript, script(t, payout)) {
		t.Errorf("block %s pays %x, not %s", b.BlockHash(), coinbase.TxOut[0].PkScript, payout)
	}
	if !bytes.Contains(coinbase.TxIn[0].SignatureScript, []byte("ckpool")) {
		t.Errorf("block %s lacks the tag: %x", b.BlockHash(), coinbase.TxIn[0].SignatureScript)
	}
}

// The node accepts the pool's blocks, which pay the address of the
// configuration; after Ctrl-C nothing runs any more; a second start goes on.
func TestPool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listen := freeAddr(t)
	r := start(t, Config{Dir: dir, Listen: listen})
	r.wait("stratum+tcp://" + listen)
	r.wait("mining began")
	r.wait("block 3 ")
	r.wait(" accepted: ")

	place := filepath.Join(dir, "regtest-pool")
	n := chain(t, place)
	if another := "make run LISTEN=0.0.0.0:"; !strings.Contains(r.screen.String(), another) {
		t.Errorf("no %q:\n%s", another, r.screen.String())
	}
	payout := (&settings{seed: readSeed(t, place)}).wallet("").Address()
	block := blockAt(t, n, 2)
	if !strings.Contains(r.screen.String(), "block 2 accepted: 50 BTC, by "+figures.Short(payout)+".rig") {
		t.Errorf("block 2 is not told:\n%s", r.screen.String())
	}
	checkCoinbase(t, block, payout)

	// The command on the screen works as it stands there.
	_, command, _ := strings.Cut(r.screen.String(), "from another terminal\n")
	command, _, _ = strings.Cut(command, "\n")
	words := strings.Fields(command)
	var out []byte
	var err error
	wait.Until(t, time.Minute, command+" tells of both miners", func() bool {
		out, err = exec.Command(words[0], words[1:]...).CombinedOutput()
		return err == nil && strings.Contains(string(out), "2 miners of 1 user")
	})

	_, command, _ = strings.Cut(r.screen.String(), "each share once\n")
	command, _, _ = strings.Cut(command, "\n")
	words = strings.Fields(command)
	wait.Until(t, time.Minute, command+" tells of shares", func() bool {
		out, err = exec.Command(words[0], words[1:]...).CombinedOutput()
		return err == nil && regexp.MustCompile(`shares +[1-9][0-9,]* accepted`).Match(out) && strings.Contains(string(out), "running, ")
	})

	// Somebody's own miner is told of, the simulated ones are not.
	family, _ := firmware.Find("Bitaxe")
	guest, err := family.Dial(t.Context(), listen, "guest.bitaxe", firmware.Options{Suggest: -1})
	if err != nil {
		t.Fatal(err)
	}
	r.wait("a miner came: bitaxe/")
	r.wait(" at 127.0.0.1, as guest.bitaxe\n")
	guest.Close()
	r.wait("a miner left: bitaxe/")

	// Who may mine the pool asks the ckdb of the demo, not that of this machine: once a user is
	// registered there, others must be.
	add := append(slices.Clone(words[:len(words)-1]), "user", "add", "owner")
	if out, err := exec.Command(add[0], add[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%q: %v\n%s", add, err, out)
	}
	wait.Until(t, time.Minute, "who is not registered is refused", func() bool {
		guest, err := family.Dial(t.Context(), listen, "guest.bitaxe", firmware.Options{Suggest: -1})
		if err == nil {
			guest.Close()
		}
		return err != nil
	})
	if strings.Contains(r.screen.String(), ", as "+figures.Short(payout)) {
		t.Errorf("simulated miners are told of:\n%s", r.screen.String())
	}

	// A second one says so and touches nothing.
	before := contents(t, place)
	second := start(t, Config{Dir: dir, Listen: freeAddr(t)})
	if err := <-second.ended; err == nil || !strings.Contains(err.Error(), "make run is running already, in "+place) {
		t.Errorf("a second one: %v", err)
	}
	if after := contents(t, place); after != before {
		t.Errorf("the second one has changed files:\n%s\nbefore:\n%s", after, before)
	}
	r.stop()
	for _, text := range []string{"mined ", " blocks in ", "everything is kept in " + place} {
		if !strings.Contains(r.screen.String(), text) {
			t.Errorf("no %q at the end:\n%s", text, r.screen.String())
		}
	}
	for line := range strings.Lines(r.screen.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.Contains(line, dir) && !strings.Contains(line, payout) {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}

	r = start(t, Config{Dir: dir, Listen: listen})
	r.wait("mining began")
	r.wait(" accepted: ")
	if got := blockAt(t, chain(t, place), 2).BlockHash(); got != block.BlockHash() {
		t.Errorf("block 2 is %s after the second start, was %s", got, block.BlockHash())
	}
	if again := chain(t, place).RPC; again != n.RPC {
		t.Errorf("the node is at %s after the second start, was at %s", again, n.RPC)
	}
	if strings.Contains(r.screen.String(), "it is built first") {
		t.Errorf("btcd is said to be built again:\n%s", r.screen.String())
	}
	if strings.Contains(r.screen.String(), "block 2 ") {
		t.Errorf("an old block is told again:\n%s", r.screen.String())
	}
	r.stop()
}

// contents are the settings a second run could overwrite.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all string
	for _, name := range []string{"wallet", configFile, "sockets/main.pid"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all += string(b) + "\n"
	}
	return all
}

func readSeed(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "wallet"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// In solo mode a block pays the miner that found it.
func TestSolo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Config{Dir: dir, Listen: freeAddr(t), Solo: true})
	r.wait("mining began")
	r.wait("block 3 ")
	r.wait(" accepted: ")
	place := filepath.Join(dir, "regtest-solo")
	w := &settings{seed: readSeed(t, place)}
	one, two := w.wallet("rig1").Address(), w.wallet("rig2").Address()
	finder := one
	if strings.Contains(r.screen.String(), "block 2 accepted: 50 BTC, by "+figures.Short(two)+".rig2") {
		finder = two
	} else if !strings.Contains(r.screen.String(), "block 2 accepted: 50 BTC, by "+figures.Short(one)+".rig1") {
		t.Errorf("the miners are %s and %s:\n%s", one, two, r.screen.String())
	}
	checkCoinbase(t, blockAt(t, chain(t, place), 2), finder)
	r.stop()
}

// An existing node of another chain is used without simulated miners.
func TestExistingNode(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, Transactions: 10})
	c := Config{
		Dir: t.TempDir(), Listen: freeAddr(t),
		Node: "http://" + testkit.FakeNodeUser + ":" + testkit.FakeNodePassword + "@" + n.Addr(),
	}
	r := start(t, c)
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "whom shall blocks on main pay?") {
		t.Errorf("without an address: %v", err)
	}
	c.Address = "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"
	r = start(t, c)
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "is not one of main") {
		t.Errorf("with an address of regtest: %v", err)
	}
	solo := c
	solo.Solo, solo.Dir, solo.Listen = true, t.TempDir(), freeAddr(t)
	r = start(t, solo)
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "is not one of main") {
		t.Errorf("solo with an address of regtest: %v", err)
	}
	c.Address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	cookie := filepath.Join(t.TempDir(), ".cookie")
	if err := os.WriteFile(cookie, []byte(testkit.FakeNodeUser+":"+testkit.FakeNodePassword), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Node = cookie + "@" + n.Addr() // the pool is given the file, too
	n.SetFault(fakenode.Fault{Kind: fakenode.WarmingUp})
	r = start(t, c)
	r.wait("waiting for the node")
	n.ClearFault()
	r.wait("the node: main, RPC on " + n.Addr())
	r.wait("height 1000, waiting for a miner")
	n.SetFault(fakenode.Fault{Kind: fakenode.Cut})
	r.wait("the node is gone: ")
	r.wait("height 1000, the node is gone")
	n.ClearFault()
	r.wait("the node is back")
	r.stop()
	if strings.Contains(r.screen.String(), "simulated") {
		t.Errorf("simulated miners on main:\n%s", r.screen.String())
	}
}

func TestStartFailuresSayWhy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, Transactions: 10})
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"port in use": {Config{Listen: l.Addr().String()}, "address already in use; LISTEN=host:port"},
		"no port":     {Config{Listen: "127.0.0.1"}, "LISTEN=127.0.0.1: want host:port"},
		"address":     {Config{Listen: "127.0.0.1:0", Address: "bcrt1nonsense"}, "ADDRESS=bcrt1nonsense: "},
		"node":        {Config{Listen: "127.0.0.1:0", Node: "localhost:8332"}, "NODE: want http://user:pass@host:port"},
		"no account":  {Config{Listen: "127.0.0.1:0", Node: "http://localhost:8332"}, "NODE: want http://user:pass@host:port"},
		"password":    {Config{Listen: "127.0.0.1:0", Node: "http://u:wrong@" + n.Addr()}, "NODE: node " + n.Addr() + ": refuses the user or password (HTTP 401): auth and pass must be"},
		"no cookie":   {Config{Listen: "127.0.0.1:0", Node: "/nowhere/.cookie@" + n.Addr()}, "is the node running, and may this user read the file?"},
		"address 1st": {Config{Listen: "127.0.0.1:0", Node: "http://u:p@127.0.0.1:1", Address: "bcrt1nonsense"}, "ADDRESS=bcrt1nonsense: "},
		"no such":     {Config{Listen: "127.0.0.1:0", Node: "cookie"}, "or the node's cookie file"},
	} {
		c.config.Dir = t.TempDir()
		r := start(t, c.config)
		if err := <-r.ended; err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left := leftovers(t, c.config.Dir); len(left) > 0 {
			t.Errorf("%s: still running: %v", name, left)
		}
	}
}

// A configuration changed by hand stays as it is and decides.
func TestEditedConfiguration(t *testing.T) {
	t.Parallel()
	d := &demo{config: Config{Dir: t.TempDir()}}
	d.dir = d.config.Dir
	n := &node{chain: "regtest"}
	s, err := d.chooseSettings(n)
	if err != nil {
		t.Fatal(err)
	}
	s.listen, s.miners, s.payout = "127.0.0.1:4443", "127.0.0.1:1", s.wallet("").Address()
	n.config.URL, n.config.User, n.config.Pass = "127.0.0.1:2", "u", "p"
	if err := d.writeConfig(s, n); err != nil {
		t.Fatal(err)
	}
	path := d.path(configFile)
	if _, warnings, err := config.Load(path, config.Pool); err != nil || len(warnings) > 0 {
		t.Errorf("what make run wrote: %v, %v", warnings, err)
	}
	if s, err = d.chooseSettings(n); err != nil || s.edited {
		t.Errorf("a file of make run counts as changed: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte("127.0.0.1:4443"), []byte("127.0.0.1:4444"), 1)
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
	s, err = d.chooseSettings(n)
	if err != nil || !s.edited || s.listen != "127.0.0.1:4444" || s.miners != "127.0.0.1:1" || s.node.URL != "127.0.0.1:2" {
		t.Errorf("%+v, %v", s, err)
	}
	d.config.Listen = "127.0.0.1:5555"
	if _, err := d.chooseSettings(n); err == nil || !strings.Contains(err.Error(), "has 127.0.0.1:4444, so LISTEN= has no effect") {
		t.Errorf("%v", err)
	}
	d.config.Listen = "127.0.0.1:4444"
	if _, err := d.chooseSettings(n); err != nil {
		t.Errorf("what the file says is refused: %v", err)
	}
}

// Each chain and mode has a directory of its own, each foreign regtest too.
func TestPlace(t *testing.T) {
	client := bitcoind.NewClient(bitcoind.Config{}, bitcoind.Options{})
	for want, n := range map[string]*node{
		"regtest":                      {chain: "regtest"},
		"main":                         {chain: "main", client: client, config: bitcoind.Config{URL: "10.0.0.2:8332"}},
		"regtest-https---node.x-18443": {chain: "regtest", client: client, config: bitcoind.Config{URL: "https://node.x:18443"}},
	} {
		if got := n.place(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestReachable(t *testing.T) {
	if got := reachable("192.0.2.1:3333"); len(got) != 1 || got[0] != "192.0.2.1:3333" {
		t.Errorf("%v", got)
	}
	for _, listen := range []string{"0.0.0.0:3333", "[::]:3333", ":3333"} {
		got := reachable(listen)
		if len(got) == 0 {
			t.Errorf("%s: none", listen)
		}
		for _, a := range got {
			if strings.HasPrefix(a, "0.0.0.0") || strings.HasPrefix(a, "[::]") || !strings.HasSuffix(a, ":3333") {
				t.Errorf("%s: %s", listen, a)
			}
		}
	}
}
