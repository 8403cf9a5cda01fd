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

	"ckpool/internal/testkit/fakenode"
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

// A block found while the disk is full and the node does not answer becomes one
// of the chain, in the process that is started or upgraded to.
func TestBlockFoundWithAFullDisk(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"start", "upgrade"} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			addr := freeAddrs(t, "127.0.0.1")[0]
			p := newPlace(t, addr)
			node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x207fffff, User: "user", Password: "pass"})
			p.must(err)
			t.Cleanup(node.Close)
			p.node = node // every other share is a block
			p.configure(map[string]any{"serverurl": []string{addr}, "drop_without_work": 0})
			logs := filepath.Join(p.dir, "logs")
			p.must(os.Mkdir(logs, 0o750))
			if canMount() {
				p.must(mountDisk(logs, "512k"))
				t.Cleanup(func() { unmount(logs) })
			}
			first := p.pool()
			p.serving(first.Process.Pid)
			miner, err := dial(addr, "alice", "")
			p.must(err)
			t.Cleanup(miner.close)
			free := fullDisk(p)
			down := fakenode.Fault{Kind: fakenode.Cut}
			if next == "upgrade" { // for which work must come
				down.Methods = []string{"submitblock"}
			}
			node.SetFault(down)

			// hash is that of the block whose state begins so.
			hash := func(state string) (hash string) {
				t.Helper()
				p.await(func() error {
					out, err := p.ask("--json", "blocks")
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
			for blocks := `"blocks": []`; strings.Contains(blocks, `"blocks": []`); {
				if reject, err := miner.submit(""); reject != "" || err != nil {
					t.Fatalf("share rejected: %s, %v", reject, err)
				}
				blocks, err = p.ask("--json", "blocks")
				p.must(err)
			}
			found := hash("pending")
			if next == "upgrade" {
				if out, err := p.ask("upgrade"); err != nil {
					t.Fatalf("%s: %v\n%s", out, err, p.log())
				}
				p.end(first)
				free()
			} else {
				free()
				p.must(syscall.Kill(first.Process.Pid, syscall.SIGTERM))
				p.end(first)
				p.pool()
			}
			if again := hash("pending"); again != found {
				t.Errorf("block %s, was %s", again, found)
			}
			node.ClearFault()
			hash("confirmed 1")
			if _, tip := node.Tip(); tip != found {
				t.Errorf("the node's tip is %s, not %s", tip, found)
			}
			p.must(syscall.Kill(p.pid(), syscall.SIGTERM))
			p.await(func() error {
				text, err := os.ReadFile(filepath.Join(logs, "pool", "blocks.json"))
				if err == nil && !strings.Contains(string(text), found) {
					err = fmt.Errorf("blocks.json: %s", text)
				}
				return err
			})
			if left, _ := filepath.Glob(filepath.Join(logs, "pool", "blocks", "*.tmp")); left != nil {
				t.Errorf("left over: %s", left)
			}
		})
	}
}
