// Package examples_test runs the examples as their users do, on a real node.
package examples_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/gobuild"
)

// patience is how long a test waits for what has no limit of its own. It only passes
// where the test fails.
const patience = time.Minute

// Addresses on regtest, of a pool and of a miner.
const (
	poolAddress  = "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"
	minerAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
)

// built is the directory of the programs, and node the bitcoin node that they all work on.
var (
	built string
	node  func() (*btcd.Node, error)
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "examples")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	built = dir
	if err := gobuild.Programs(built, "./...", "../cmd/ckpool"); err != nil {
		panic(err)
	}
	var started *btcd.Node
	node = sync.OnceValues(func() (*btcd.Node, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // it may have to be built
		defer cancel()
		n, err := btcd.Start(ctx, filepath.Join(dir, "node"), btcd.Options{})
		if err != nil {
			return nil, err
		}
		started = n
		_, err = n.Generate(ctx, 1) // without a block of today it gives no work
		return n, err
	})
	defer func() {
		if started != nil {
			started.Kill()
		}
	}()
	return m.Run()
}

// theNode is the node, and its URL.
func theNode(t *testing.T) (*btcd.Node, string) {
	t.Helper()
	n, err := node()
	if err != nil {
		t.Fatal(err)
	}
	return n, "http://" + n.User + ":" + n.Pass + "@" + n.RPC
}

// running is an example that a test has started.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // closed at its end
	said  []string    // the last of the lines that were read
}

// start runs a program until the end of the test.
func start(t *testing.T, name string, args ...string) *running {
	t.Helper()
	c := exec.Command(filepath.Join(built, name), args...)
	c.Dir = t.TempDir()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, cmd: c, lines: make(chan string)}
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case r.lines <- s.Text():
			case <-stop: // nobody waits for more
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // a pool that is killed leaves the memory of its journal to the next
		late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
		close(stop)
		<-ended
		_ = c.Wait()
		late.Stop()
	})
	return r
}

// end interrupts the program, and waits for its end.
func (r *running) end() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
	late := time.After(patience)
	for {
		select {
		case _, ok := <-r.lines:
			if !ok {
				return
			}
		case <-late:
			r.t.Fatalf("%s does not end", r.cmd.Path)
		}
	}
}

// until waits for a line that is what the test wants.
func (r *running) until(what string, is func(line string) bool) string {
	r.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				r.t.Fatalf("%s has ended before %s; it said:\n%q", r.cmd.Path, what, r.said)
			}
			r.said = append(r.said[max(0, len(r.said)-20):], line)
			if is(line) {
				return line
			}
		case <-late:
			r.t.Fatalf("%s: not within %v: %s; it said:\n%q", r.cmd.Path, patience, what, r.said)
		}
	}
}
