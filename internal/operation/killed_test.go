package operation

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/sharelog"
)

// Killed at any moment, amid shares and blocks, the pool leaves nothing
// half-written: the next one starts without -k and goes on with what was saved.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	// Of some 130 hashes one is a block.
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x2001ffff, User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	port, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	k := &killed{t: t, dir: t.TempDir(), addr: "127.0.0.1:" + port, shares: map[string]float64{}}
	if err := os.WriteFile(filepath.Join(k.dir, "ckpool.conf"), fmt.Appendf(nil, defaultConfig, node.Addr(), port), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(k.dir, "s"), 0o750); err != nil {
		t.Fatal(err)
	}
	// The first is told to end, once each miner has had its turn ten times, so that everything
	// has been saved once.
	const turns = 10 * 40
	var answered atomic.Int64
	for round := range 5 {
		c := k.start()
		k.resumes()
		how, after := syscall.SIGKILL, time.Duration(random.Int64N(int64(2500*time.Millisecond)))
		if round == 0 {
			how, after = syscall.SIGTERM, 0
		}
		r, err := bench.Shares(t.Context(), bench.SharesConfig{Options: k.load(40), Window: 1, Rate: 400,
			Answered: func([32]byte, bool) { answered.Add(1) },
			During: func(context.Context, func() time.Duration) error {
				if err := await(func() error {
					if n := answered.Load(); n < turns {
						return fmt.Errorf("%d shares are answered", n)
					}
					return nil
				}); err != nil {
					return err
				}
				<-time.After(after)
				err := c.Process.Signal(how)
				_ = c.Wait()
				return err
			}})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v after %v and %d shares, %d blocks so far", how, after, r.Accepted, len(node.Submissions()))
		k.checkFiles()
		if len(k.shares) != 40 || len(k.sessions) == 0 {
			t.Errorf("%d users, %d sessions in the files", len(k.shares), len(k.sessions))
		}
	}
	c := k.start()
	k.resumes()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	k.checkFiles()
	if len(k.blocks) == 0 && len(node.Submissions()) > 0 {
		t.Error("no blocks in the file")
	}
	text, _ := os.ReadFile(filepath.Join(k.dir, "logs", "ckpool.log"))
	for line := range strings.Lines(string(text)) {
		for _, trouble := range []string{"left out", "Cannot", "Failed"} {
			if strings.Contains(line, trouble) {
				t.Error(line)
			}
		}
	}
}

// killed is a pool that is started again and again.
type killed struct {
	t         *testing.T
	dir, addr string
	name      string // of the instance; empty: the usual one
	chain     string // whose addresses mine; empty: main
	args      []string

	// as the files said last
	shares   map[string]float64 // of each user
	blocks   map[string]bool
	sessions []struct{ ID, Enonce1 string }
}

func (k *killed) load(miners int) bench.Options {
	return bench.Options{Address: k.addr, Miners: miners, Addresses: cmp.Or(k.chain, "main"), Password: "x"}
}

func (k *killed) start() *exec.Cmd {
	k.t.Helper()
	c, err := k.begin()
	if err != nil {
		k.t.Fatalf("it does not start again: %v", err)
	}
	return c
}

// upgrade starts a process that takes over from the one that runs, which goes on where a
// busy machine or disk takes too long for that: then another one is started.
func (k *killed) upgrade() *exec.Cmd {
	k.t.Helper()
	for try := 1; ; try++ {
		c, err := k.begin("-H")
		if err == nil {
			return c
		}
		if try == 10 || !tooSlow(err.Error()) {
			k.t.Fatalf("it does not take over: %v", err)
		}
	}
}

// begin starts a process and waits until the instance is it and serves. The error is what
// it said where it ends instead.
func (k *killed) begin(more ...string) (*exec.Cmd, error) {
	k.t.Helper()
	c := exec.Command(filepath.Join(programs, "ckpool"), slices.Concat([]string{"-s", "s/ckpool", "-L", "-q"}, k.args, more)...)
	if k.name != "" {
		c.Args = append(c.Args, "-n", k.name, "-c", "ckpool.conf")
	}
	c.Dir = k.dir
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { // one that is killed leaves the memory of its journal to the next
		_ = c.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		late.Stop()
	})
	ended := false
	err := await(func() error {
		if ended = !running(c.Process.Pid); ended {
			return nil
		}
		if pid, err := readPID(filepath.Join(k.dir, "s", "ckpool", "main.pid")); err != nil || pid != c.Process.Pid {
			return fmt.Errorf("main.pid is %d, want %d, %v", pid, c.Process.Pid, err)
		}
		_, err := bench.Storm(k.t.Context(), bench.StormConfig{Options: k.load(1)})
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	if ended {
		_ = c.Wait() // until all that it said is there
		return nil, errors.New(said.String())
	}
	return c, nil
}

// resumes checks that saved sessions are known.
func (k *killed) resumes() {
	k.t.Helper()
	for _, s := range k.sessions[:min(len(k.sessions), 5)] {
		c, err := net.Dial("tcp", k.addr)
		if err != nil {
			k.t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(c, `{"id":1,"method":"mining.subscribe","params":["x/1","%s"]}`+"\n", s.ID)
		reply, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.Contains(reply, s.ID) || !strings.Contains(reply, `"`+s.Enonce1+`"`) {
			k.t.Errorf("session %+v: %s, %v", s, reply, err)
		}
		c.Close()
	}
}

// checkFiles reads every file as its readers do, and that nothing of an earlier
// process is gone.
func (k *killed) checkFiles() {
	k.t.Helper()
	logs := filepath.Join(k.dir, "logs")
	err := filepath.WalkDir(logs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || sharelog.IsTemporary(d.Name()) || d.Name() == "ckpool.log" {
			return err
		}
		name := strings.TrimPrefix(path, logs+"/")
		if !slices.Contains([]string{"history/pool", "history/users", "history/workers"}, name) { // a damaged one would have another name
			k.checkFile(name, path)
		}
		return nil
	})
	if err != nil {
		k.t.Error(err)
	}
	if err := sharelog.Walk(logs, func(int64, sharelog.Record) error { return nil }); err != nil {
		k.t.Error(err)
	}
}

func (k *killed) checkFile(name, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		k.t.Error(err)
		return
	}
	directory, file := filepath.Split(name)
	switch {
	case directory == "users/":
		var u sharelog.UserStats
		if u, err = sharelog.ParseUser(text); err == nil && u.Shares < k.shares[file] {
			err = fmt.Errorf("%g shares, had %g", u.Shares, k.shares[file])
		}
		k.shares[file] = u.Shares
	case name == "pool/pool.status":
		_, err = sharelog.ParsePoolStatus(text)
	case name == "pool/sessions.json":
		var saved struct {
			Sessions []struct{ ID, Enonce1 string }
		}
		err = json.Unmarshal(text, &saved)
		k.sessions = saved.Sessions
	case name == "pool/blocks.json":
		err = k.checkBlocks(text)
	case directory == "pool/blocks/" && strings.HasSuffix(file, ".tmp"): // it was killed before it had written the block
	case directory == "pool/blocks/":
		_, err = hex.DecodeString(strings.TrimSpace(string(text)))
		if len(text) < 160 {
			err = fmt.Errorf("a block of %d bytes", len(text))
		}
	case strings.HasSuffix(name, ".sharelog"): // read by Walk
	case strings.HasPrefix(name, "pool/pool.txns"): // any list of transactions is one
	default:
		err = fmt.Errorf("unexpected: %.100q", text)
	}
	if err != nil {
		k.t.Errorf("%s: %v", name, err)
	}
}

func (k *killed) checkBlocks(text []byte) error {
	var table []struct{ Hash string }
	if err := json.Unmarshal(text, &table); err != nil {
		return err
	}
	now := map[string]bool{}
	for _, b := range table {
		now[b.Hash] = true
	}
	for hash := range k.blocks {
		if !now[hash] {
			return fmt.Errorf("block %s is gone", hash)
		}
	}
	k.blocks = now
	return nil
}
