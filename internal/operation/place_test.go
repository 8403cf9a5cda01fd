package operation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// place is a directory with a configuration, and a node, in which a test starts
// instances of the pool. Their sockets are in s/p, their logs in logs.
type place struct {
	t    *testing.T
	dir  string
	node *fakenode.Node
}

func newPlace(t *testing.T, listen ...string) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "ck") // names of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	p := &place{t, dir, node}
	for _, d := range []string{"s", "s/p"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	p.configure(map[string]any{"serverurl": listen})
	t.Cleanup(p.killAll)
	return p
}

// configure writes the configuration, changed as told.
func (p *place) configure(changes map[string]any) {
	p.t.Helper()
	c := map[string]any{
		"btcd":       []any{map[string]any{"url": p.node.Addr(), "auth": "user", "pass": "pass"}},
		"zmqblock":   []any{},
		"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
		"mindiff":    1e-10, "startdiff": 1e-10, "maxdiff": 1e-10,
	}
	for key, v := range changes {
		c[key] = v
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, "ckpool.conf"), text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) sockets() string { return filepath.Join(p.dir, "s", "p") }

// killAll ends what is left when the test fails.
func (p *place) killAll() {
	if pid := p.pid(); pid > 1 { // 1 is that of another namespace
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_ = awaitExit(pid)
	}
}

// program is one that runs in the place.
type program struct {
	*exec.Cmd
	ended chan struct{} // closed when err is valid
	err   error
	out   string // file of what it prints, which its children have open too
}

func (k *program) said() string {
	b, _ := os.ReadFile(k.out)
	return string(b)
}

// command makes a program to be run in the place.
func (p *place) command(name string, args ...string) *program {
	return &program{Cmd: exec.Command(name, args...), ended: make(chan struct{})}
}

// start runs a program until the test ends; environment is put before its own.
func (p *place) start(environment []string, name string, args ...string) *program {
	p.t.Helper()
	k := p.command(filepath.Join(programs, name), args...)
	p.run(k, environment)
	return k
}

func (p *place) run(k *program, environment []string) {
	p.t.Helper()
	out, err := os.CreateTemp(p.dir, "out")
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	k.Dir, k.Stdout, k.Stderr, k.out = p.dir, out, out, out.Name()
	k.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), environment...) // else a process takes a second to end
	if err := k.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		k.err = k.Wait()
		close(k.ended)
	}()
	p.t.Cleanup(func() {
		_ = k.Process.Kill()
		<-k.ended
	})
}

// pool starts the pool; it may take over.
func (p *place) pool(args ...string) *program {
	p.t.Helper()
	return p.start(nil, "ckpool", append([]string{"-s", p.sockets()}, args...)...)
}

// ask sends a command and returns what ckpmsg prints.
func (p *place) ask(args ...string) (string, error) {
	args = append([]string{"-s", filepath.Join(p.dir, "s"), "-n", "p"}, args...)
	out, err := exec.Command(filepath.Join(programs, "ckpmsg"), args...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// change sends a command by which the process changes, and again where a busy machine takes
// too long for that.
func (p *place) change(command string) {
	p.t.Helper()
	for until := time.Now().Add(patience); ; {
		out, err := p.ask(command)
		if err == nil {
			return
		}
		if !tooSlow(out) || time.Now().After(until) {
			p.t.Fatalf("%s: %s: %v\n%s", command, out, err, p.log())
		}
	}
}

// pid is that of the instance.
func (p *place) pid() int {
	pid, err := readPID(filepath.Join(p.sockets(), "main.pid"))
	if err != nil {
		return 0
	}
	return pid
}

// serving waits until the instance is the process and has work.
func (p *place) serving(pid int) {
	p.t.Helper()
	p.await(func() error {
		if got := p.pid(); pid != 0 && got != pid {
			return fmt.Errorf("main.pid is %d, want %d", got, pid)
		}
		out, err := p.ask("--json", "nodes")
		if err == nil && !strings.Contains(out, `"state": "ok"`) {
			err = errors.New(out)
		}
		return err
	})
}

func (p *place) await(done func() error) {
	p.t.Helper()
	if err := await(done); err != nil {
		p.t.Fatalf("%v\n%s", err, p.log())
	}
}

func (p *place) log() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "logs", "ckpool.log"))
	return string(b)
}

// logged waits for a text in the log.
func (p *place) logged(text string) {
	p.t.Helper()
	p.await(func() error {
		if !strings.Contains(p.log(), text) {
			return fmt.Errorf("not in the log: %s", text)
		}
		return nil
	})
}

// end waits for the end of a program, which must be an orderly one.
func (p *place) end(k *program) {
	p.t.Helper()
	p.await(func() error {
		select {
		case <-k.ended:
			return nil
		default:
			return fmt.Errorf("%s still runs", k.Path)
		}
	})
	if k.err != nil {
		p.t.Errorf("%s: %v: %s", k.Path, k.err, k.said())
	}
}

// refused waits for the end of a program that does not start, and says why.
func (p *place) refused(k *program, because string) {
	p.t.Helper()
	p.await(func() error {
		select {
		case <-k.ended:
			return nil
		default:
			return fmt.Errorf("%s still runs", k.Path)
		}
	})
	if k.err == nil || !strings.Contains(k.said(), because) {
		p.t.Errorf("%s: %v: %s", k.Path, k.err, k.said())
	}
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}
