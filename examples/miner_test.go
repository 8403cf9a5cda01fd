package examples_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// easy is a difficulty of a few thousand hashes.
const easy = 1e-6

// The miner works for a pool that is not ours, and when that ends its connections for ours,
// where it finds a block.
func TestMiner(t *testing.T) {
	node, _ := theNode(t)
	ours, _ := startPool(t, t.TempDir())
	other := otherpool.Start(t, otherpool.Config{Difficulty: easy, Branches: 3})
	miner := start(t, "miner", "alice.rig1", other.Addr, ours)
	accepted := func(line string) bool {
		return strings.HasPrefix(line, "share of difficulty ") && strings.HasSuffix(line, ": accepted")
	}

	miner.until("it mines for the first pool", func(line string) bool { return line == "mining for "+other.Addr })
	miner.until("a share is accepted there", accepted)
	if other.Book()["alice.rig1"].Shares == 0 || other.Invalid.Load() > 0 {
		t.Errorf("the first pool has %v, and found wrong: %q", other.Book(), other.Faults())
	}

	before, err := node.BlockCount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other.Down(errors.New("gone"))
	miner.until("it mines for the second pool", func(line string) bool { return line == "mining for "+ours })
	miner.until("a share is accepted there", accepted)
	// On regtest every second hash is a block.
	wait.Until(t, patience, "the miner's block is in the chain", func() bool {
		height, err := node.BlockCount(t.Context())
		return err == nil && height > before
	})
}

// startPool runs ckpool on the node until the end of the test, with its files in a directory, and
// returns where miners connect.
func startPool(t *testing.T, logs string) (addr string, pool *running) {
	t.Helper()
	node, _ := theNode(t)
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	addr = net.JoinHostPort("127.0.0.1", free)
	text, err := json.Marshal(map[string]any{
		"btcd":       []map[string]string{{"url": node.RPC, "auth": node.User, "pass": node.Pass}},
		"btcaddress": poolAddress, "serverurl": []string{addr}, "logdir": logs, "journal": "journal", "mindiff": easy, "startdiff": easy,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ck") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := filepath.Join(dir, "ckpool.conf")
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		t.Fatal(err)
	}
	pool = start(t, "ckpool", "-L", "-c", conf, "-s", dir, "-n", "example")
	pool.until("the pool has work", func(line string) bool { return strings.Contains(line, "Network diff set") })
	return addr, pool
}
