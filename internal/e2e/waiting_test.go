package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// waits starts a pool whose node cannot be used, checks that it says so and
// answers its operator meanwhile, and that it starts by itself after repair:
// the miner that has been waiting since gets work.
func waits(t *testing.T, s setup, says string, repair func()) *running {
	t.Helper()
	p := s.start(t)
	early, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if _, err := early.Write([]byte(`{"id":1,"method":"mining.subscribe","params":["e2e/1"]}` + "\n")); err != nil {
		t.Fatal(err)
	}
	p.log.wait(t, 0, says)
	p.log.wait(t, 0, "No bitcoinds active")
	for _, command := range []string{"ping", "uptime", "poolstats", "users", "workers", "clients", "blocks", "nodes", "stats", "getbest"} {
		p.command(command)
	}
	repair()
	if err := early.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	for b := make([]byte, 4096); !strings.Contains(string(answer), `"method":"mining.notify"`); {
		n, err := early.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, answer)
		}
		answer = append(answer, b[:n]...)
	}
	return p
}

func TestWaitsForNode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault fakenode.FaultKind
		says  string
	}{
		{fakenode.WarmingUp, "is starting: Loading block index…"},
		{fakenode.NotConnected, "has no peers: Bitcoin Core is not connected!"},
		{fakenode.Downloading, "is syncing: Bitcoin Core is in initial sync and waiting for blocks..."},
		{fakenode.Unauthorized, "refuses the user or password (HTTP 401)"},
		{fakenode.Forbidden, "refuses this machine or this call (HTTP 403)"},
		{fakenode.WorkQueue, "is overloaded"},
		{fakenode.Hang, "it hangs or is overloaded"},
		{fakenode.Cut, "closed the connection"},
		{fakenode.Truncated, "closed the connection"},
	} {
		t.Run(c.says, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{})
			n.SetFault(fakenode.Fault{Kind: c.fault})
			p := waits(t, setup{nodes: []keys{fakeEntry(n)}}, c.says, n.ClearFault)
			p.connect(t, "alice").findBlock()
		})
	}
}

func TestWaitsForNodeToListen(t *testing.T) {
	t.Parallel()
	p, err := port.Free() // nobody else gets it while it is closed
	if err != nil {
		t.Fatal(err)
	}
	at := fakenode.Config{Listen: "127.0.0.1:" + p}
	n := testkit.StartFakeNode(t, at)
	entry := fakeEntry(n)
	n.Close()
	waits(t, setup{nodes: []keys{entry}}, "nothing listens there (connection refused)", func() {
		testkit.StartFakeNode(t, at)
	})
}

// With no node for long miners are closed, so that they go to their other pools,
// and are taken again when one is usable.
func TestMinersLeaveWithoutNode(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{})
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"drop_without_work": 1}}.start(t)
	h := p.connect(t, "alice")
	h.job()
	n.SetFault(fakenode.Fault{Kind: fakenode.Cut})
	eventually(t, patience, "the miner's end", func() bool { return h.ended() != nil })
	p.log.wait(t, 0, "1 miners closed so that they go to their other pools")
	before := p.connections().Drops["no work"]
	for range 3 {
		if _, ok := p.served(t, "127.0.0.1"); ok {
			t.Error("a miner that comes back is served without work")
		}
	}
	p.dropped(t, "no work", before+3)
	n.ClearFault()
	p.log.wait(t, 0, "A node is usable again")
	p.connect(t, "alice").findBlock()
}

// A cookie that is not there, is another node's, or changes with every start
// of the node.
func TestCookie(t *testing.T) {
	t.Parallel()
	node := func(t *testing.T) (n *testkit.FakeNode, file string, s setup, rotate func()) {
		t.Parallel()
		file = filepath.Join(t.TempDir(), ".cookie")
		n = testkit.StartFakeNode(t, fakenode.Config{CookieFile: file, ZMQ: "127.0.0.1:0"})
		s = setup{nodes: []keys{{"url": n.Addr(), "cookie": file, "zmq": n.ZMQ()}}}
		return n, file, s, func() {
			if err := n.RotateCookie(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("missing", func(t *testing.T) {
		_, file, s, rotate := node(t)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		waits(t, s, "may this user read the file?", rotate)
	})
	t.Run("missing and wrong password", func(t *testing.T) {
		_, file, s, rotate := node(t)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		s.nodes[0]["auth"], s.nodes[0]["pass"] = "nobody", "x"
		waits(t, s, "cookie file "+file+": no such file", rotate)
	})
	t.Run("wrong", func(t *testing.T) {
		_, file, s, rotate := node(t)
		if err := os.WriteFile(file, []byte("__cookie__:00"), 0o600); err != nil {
			t.Fatal(err)
		}
		waits(t, s, "is "+file+" the cookie file of this node?", rotate)
	})
	t.Run("rotated", func(t *testing.T) {
		n, _, s, rotate := node(t)
		p := s.start(t)
		h := p.connect(t, "alice")
		h.job()
		rotate()
		h.jobOn(quick, n.NewBlock())
		p.block(h.findBlock().hash, "confirmed 1")
		if got := p.log.count("refuses"); got > 0 {
			t.Errorf("%d complaints", got)
		}
	})
}

// A node of another chain is told of and left alone, whatever it claims; the
// order of the nodes does not matter.
func TestWrongChain(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"main", "regtest"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			wrong := testkit.StartFakeNode(t, fakenode.Config{Height: 5000})
			wrong.SetChain("main")
			right := testkit.StartFakeNode(t, fakenode.Config{})
			nodes := []keys{fakeEntry(wrong), fakeEntry(right)}
			if first == "regtest" {
				nodes[0], nodes[1] = nodes[1], nodes[0]
			}
			p := setup{nodes: nodes}.start(t)
			h := p.connect(t, "alice")
			_, tip := right.Tip()
			h.jobOn(patience, tip)
			p.log.wait(t, 0, "bitcoind "+wrong.Addr()+" is on chain main")
			wrong.NewBlock()
			h.jobOn(patience, right.NewBlock())
			p.block(h.findBlock().hash, "confirmed 1")
			if got := len(wrong.Submissions()); got > 0 {
				t.Errorf("%d blocks submitted to the wrong chain", got)
			}
		})
	}
}
