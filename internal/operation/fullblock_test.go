package operation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// fullDisk leaves no room for the pool's files until the returned function is
// called: on a small file system where one can be mounted, else with others of
// their names in the way.
func fullDisk(p *place) (free func()) {
	p.t.Helper()
	logs := filepath.Join(p.dir, "logs")
	if canMount() {
		filler := filepath.Join(logs, "filler")
		f, err := os.Create(filler)
		p.must(err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 1))
		}
		if !errors.Is(err, unix.ENOSPC) {
			p.t.Fatal(err)
		}
		return func() { p.must(os.Remove(filler)) }
	}
	blocks, table := filepath.Join(logs, "pool", "blocks"), filepath.Join(logs, "pool", "blocks.json")
	p.must(os.WriteFile(blocks, nil, 0o600))
	p.must(os.Mkdir(table, 0o700))
	return func() {
		p.must(os.Remove(blocks))
		p.must(os.Remove(table))
	}
}

// blockCase is a pool that has found a block while its disk was full and its node
// did not do what a fault says.
type blockCase struct {
	*place
	node  *fakenode.Node
	first *program
	found string // the block's hash
	free  func() // makes room on the disk
}

func newBlockCase(t *testing.T, down fakenode.Fault) *blockCase {
	t.Helper()
	addr := freeAddrs(t, "127.0.0.1")[0]
	c := &blockCase{place: newPlace(t, addr)}
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x207fffff, User: "user", Password: "pass"})
	c.must(err)
	t.Cleanup(node.Close)
	c.node, c.place.node = node, node // every other share is a block
	c.configure(map[string]any{"serverurl": []string{addr}, "drop_without_work": 0})
	c.must(os.Mkdir(c.logs(), 0o750))
	if canMount() {
		c.must(mountDisk(c.logs(), "512k"))
		t.Cleanup(func() { unmount(c.logs()) })
	}
	c.first = c.pool()
	c.serving(c.first.Process.Pid)
	miner, err := dial(addr, "alice", "")
	c.must(err)
	t.Cleanup(miner.close)
	c.free = fullDisk(c.place)
	node.SetFault(down)
	for blocks := `"blocks": []`; strings.Contains(blocks, `"blocks": []`); {
		if reject, err := miner.submit(""); reject != "" || err != nil {
			t.Fatalf("share rejected: %s, %v", reject, err)
		}
		c.await(func() error { // a busy machine may take too long for one reply
			blocks, err = c.ask("--json", "blocks")
			return err
		})
	}
	c.found = c.hash("pending")
	return c
}

func (c *blockCase) logs() string { return filepath.Join(c.dir, "logs") }

// hash is that of the block whose state begins so.
func (c *blockCase) hash(state string) (hash string) {
	c.t.Helper()
	c.await(func() error {
		out, err := c.ask("--json", "blocks")
		var list struct {
			Blocks []struct{ Hash, State string } `json:"blocks"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		for _, b := range list.Blocks {
			if hash = b.Hash; strings.HasPrefix(b.State, state) {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("no block is %s: %s", state, out))
	})
	return hash
}

// A block found while the disk is full and the node does not answer becomes one
// of the chain, in the process that is started or upgraded to.
func TestBlockFoundWithAFullDisk(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"start", "upgrade"} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			down := fakenode.Fault{Kind: fakenode.Cut}
			if next == "upgrade" { // for which work must come
				down.Methods = []string{"submitblock"}
			}
			c := newBlockCase(t, down)
			if next == "upgrade" {
				c.change("upgrade")
				c.end(c.first)
				c.free()
			} else {
				c.free()
				c.must(syscall.Kill(c.first.Process.Pid, syscall.SIGTERM))
				c.end(c.first)
				c.pool()
			}
			if again := c.hash("pending"); again != c.found {
				t.Errorf("block %s, was %s", again, c.found)
			}
			c.node.ClearFault()
			c.hash("confirmed 1")
			if _, tip := c.node.Tip(); tip != c.found {
				t.Errorf("the node's tip is %s, not %s", tip, c.found)
			}
			c.must(syscall.Kill(c.pid(), syscall.SIGTERM))
			c.await(func() error {
				text, err := os.ReadFile(filepath.Join(c.logs(), "pool", "blocks.json"))
				if err == nil && !strings.Contains(string(text), c.found) {
					err = fmt.Errorf("blocks.json: %s", text)
				}
				return err
			})
			if left, _ := filepath.Glob(filepath.Join(c.logs(), "pool", "blocks", "*.tmp")); left != nil {
				t.Errorf("left over: %s", left)
			}
		})
	}
}

// An upgrade that a full disk and a node that is down keep from happening says so,
// and which block there is to lose.
func TestRefusedUpgradeNamesUnsavedBlock(t *testing.T) {
	t.Parallel()
	c := newBlockCase(t, fakenode.Fault{Kind: fakenode.Cut})
	out, err := c.ask("upgrade")
	if err == nil {
		t.Fatalf("not refused: %s", out)
	}
	text := out + err.Error()
	for _, want := range []string{
		"no node has given a template within 12s: node " + c.node.Addr() + " closed the connection",
		"block 1001 " + c.found + " is not saved (", "logs/pool/blocks",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	c.free()
	c.node.ClearFault()
	c.hash("confirmed 1")
}
