package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

func TestMain(m *testing.M) {
	// Most tests wait for time to pass.
	flag.Parse()
	if err := flag.Set("test.parallel", "20"); err != nil {
		panic(err)
	}
	handover.AgreeTime = patience // the machine may be busy with other tests
	goleak.VerifyTestMain(suite{m})
}

// suite ends the database server behind the tests.
type suite struct{ m *testing.M }

func (s suite) Run() int { return postgres.Main(s.m) }

// patience is how long a test waits for what has no limit of its own. It only
// passes where the test fails.
const patience = time.Minute

// Addresses on regtest, of a pool, of a donation, and of miners by type.
const (
	poolAddress     = "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"
	donationAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
)

// keys are keys of the configuration file.
type keys map[string]any

// setup is what a pool is started with.
type setup struct {
	solo      bool
	remote    bool // reports to the pool of "upstream"
	proxy     bool // work comes from the pools of "proxy"
	userProxy bool // and users have accounts of their own there
	older     bool // takes over as an older version does
	logShares bool
	unasked   bool // nobody has asked for the journal
	nodes     []keys
	keys      keys // beside the defaults of configuration
	ckdb      *authority.Place
}

// configuration is easy for miners.
func (s *setup) configuration(t *testing.T) keys {
	c := keys{
		"btcaddress": poolAddress,
		"logdir":     t.TempDir(),
		"mindiff":    1e-9,
		"startdiff":  1e-8,
		"btcd":       s.nodes,
	}
	maps.Copy(c, s.keys)
	return c
}

// running is a pool that a test has started.
type running struct {
	t      *testing.T
	pool   *pool.Pool
	config config.Config
	log    *lines
	addr   string // host:port for miners
	dir    string // of the control sockets
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run; read after ended
}

// start runs a pool until stop or the end of the test.
func (s setup) start(t *testing.T) *running {
	t.Helper()
	r := s.prepare(t, false)
	if err := r.pool.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.serve()
	return r
}

// prepare makes a pool, to listen and then to be served.
func (s setup) prepare(t *testing.T, takeOver bool) *running {
	t.Helper()
	text, err := json.Marshal(s.configuration(t))
	if err != nil {
		t.Fatal(err)
	}
	mode := config.Pool
	switch {
	case s.remote:
		mode = config.Remote
	case s.solo:
		mode = config.Solo
	case s.userProxy:
		mode = config.UserProxy
	case s.proxy:
		mode = config.Proxy
	}
	c, _, err := config.Parse("ckpool.conf", text, mode)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Servers {
		c.Servers[i].URL = fmt.Sprintf("127.0.0.%d:0", 1+i)
	}
	dir, err := os.MkdirTemp("", "ck") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, config: c, log: newLines(), dir: dir, ended: make(chan struct{})}
	t.Cleanup(func() {
		r.end()
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("the pool ended with %v; its log:\n%s", r.err, r.log.text())
		}
	})
	r.pool, err = pool.New(c, pool.Options{
		Solo: s.solo, Remote: s.remote, Proxy: s.proxy, UserProxy: s.userProxy, LogShares: s.logShares, Journal: c.Journal != "", Unasked: s.unasked, Name: "ckpool", SockDir: dir, Version: "test",
		Events: r.log.add, Wants: func(event.Level) bool { return true }, TakeOver: takeOver, Ckdb: s.ckdb,
		Metrics: func(ctx context.Context, address string, p *pool.Pool) {
			(&metrics.Server{Address: address, Handler: metrics.Handler(p), Events: r.log.add}).Run(ctx)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serve runs the pool, which listens, with its control sockets.
func (r *running) serve() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel = cancel
	server := control.NewServer(r.dir, -1)
	r.handOver(server)
	r.pool.Commands(server, operator.Process{Shutdown: cancel, Ending: func() bool { return false }, SetLogLevel: func(event.Level) {}})
	if err := server.Listen(); err != nil {
		r.t.Fatal(err)
	}
	r.addr = regexp.MustCompile(`Listening on (\S+)`).FindStringSubmatch(r.log.text())[1]
	go func() {
		defer close(r.ended)
		defer server.Close()
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(ctx)
		}()
		r.err = r.pool.Run(ctx)
		cancel()
		<-served
	}()
}

// end ends the pool and waits for it; it may be called again.
func (r *running) end() {
	if r.cancel != nil {
		r.cancel()
		<-r.ended
	}
}

// stop ends the pool in order and returns when all is written.
func (r *running) stop() {
	r.t.Helper()
	r.end()
	if r.err != nil {
		r.t.Fatalf("the pool ended with %v", r.err)
	}
}

// command sends a control command. Every one is answered within 1 s, which a
// busy machine may stretch; what waits for a node takes longer.
func (r *running) command(text string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	parent, name := filepath.Split(r.dir)
	reply, err := wait.Reply(ctx, control.Dial(parent, name, "stratifier"), text)
	if err != nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return reply
}

// ask is command for those that answer with an object.
func ask[T any](r *running, command string) (v T) {
	r.t.Helper()
	reply := r.command(command)
	if err := json.Unmarshal([]byte(reply), &v); err != nil {
		r.t.Fatalf("%s: %v: %s", command, err, reply)
	}
	return v
}

// foundBlock is an entry of blocks.json and of the command blocks.
type foundBlock struct {
	Height     int64   `json:"height"`
	Hash       string  `json:"hash"`
	Worker     string  `json:"worker"`
	Difficulty float64 `json:"difficulty"`
	Reward     int64   `json:"reward"`
	Time       int64   `json:"time"`
	State      string  `json:"state"`
	Chain      string  `json:"chain"`
}

// blocks is what blocks.json says now.
func (r *running) blocks() (list []foundBlock) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.config.LogDir, "pool", "blocks.json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		r.t.Fatalf("blocks.json: %v", err)
	}
	return list
}

// block waits until blocks.json says of a block, by its hash, what is wanted
// of its state.
func (r *running) block(hash, state string) foundBlock {
	r.t.Helper()
	return r.blockWhere(hash+" "+state, func(b foundBlock) bool { return b.Hash == hash && b.State == state })
}

func (r *running) blockWhere(what string, is func(foundBlock) bool) (found foundBlock) {
	r.t.Helper()
	eventually(r.t, patience, "block "+what, func() bool {
		for _, found = range r.blocks() {
			if is(found) {
				return true
			}
		}
		return false
	})
	return found
}

// fakeEntry is a fake node's entry in the configuration.
func fakeEntry(n *testkit.FakeNode) keys {
	k := keys{"url": n.Addr(), "auth": testkit.FakeNodeUser, "pass": testkit.FakeNodePassword, "zmq": []string{}}
	if n.ZMQ() != "" {
		k["zmq"] = n.ZMQ()
	}
	return k
}

// startFake starts a fake node, a pool on it and a miner.
func startFake(t *testing.T) (n *testkit.FakeNode, p *running, h *hand) {
	t.Helper()
	n = testkit.StartFakeNode(t, fakenode.Config{})
	p = setup{nodes: []keys{fakeEntry(n)}}.start(t)
	return n, p, p.connect(t, "alice")
}

func btcdEntry(n *testkit.Btcd) keys {
	return keys{"url": n.RPC, "auth": n.User, "pass": n.Pass, "zmq": []string{}}
}

// eventually waits for a condition.
var eventually = wait.Until
