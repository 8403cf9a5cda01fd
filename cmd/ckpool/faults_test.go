package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/internal/upstream"
)

// What tells a ckpool of these tests to fail.
const (
	// faultKey names a file with a step of the handover and who is killed there,
	// "new" or "old", or stopped, "hang"; or what else happens, "renamed": the log is. It holds once.
	faultKey = "CKPOOL_TEST_FAULT"
	// hurryKey: no patience with processes that do not take over.
	hurryKey = "CKPOOL_TEST_HURRY"
)

// setFaults makes this process, a ckpool of a test, fail as it says.
func setFaults() {
	// The machine may be busy with other tests.
	const long = 15 * time.Second
	handover.AgreeTime, handover.DefaultLimits.Pause, handover.DefaultLimits.Start = long, long, long
	upstream.AheadTime = long
	if os.Getenv(hurryKey) != "" {
		upgradeTime = 20 * time.Second
		handover.DefaultLimits.Pause = 3 * time.Second
	}
	file, old := os.Getenv(faultKey), os.Getppid()
	if file == "" {
		return
	}
	relay.Patience = patience // with a pool that is upgraded
	handoverStep = func(name string) {
		text, _ := os.ReadFile(file)
		who, step, _ := strings.Cut(string(text), " ")
		if step != name {
			return
		}
		os.Remove(file)
		switch who {
		case "new":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "old":
			syscall.Kill(old, syscall.SIGKILL)
		case "renamed":
			log := filepath.Join(filepath.Dir(file), "logs", "ckpool.log")
			os.Rename(log, log+".1")
		case "hang":
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			select {} // another thread may be the first to stop
		}
	}
}

// beOld is a program that only knows an older handover.
func beOld() {
	i := slices.Index(os.Args, "-s")
	c := control.Dial(os.Args[i+1], "", "listener")
	reply, err := c.Do(context.Background(), "handover 0")
	fmt.Fprintln(os.Stderr, reply, err)
	os.Exit(1)
}

// faulty is a pool of real processes, whose first is a child of the test.
type faulty struct {
	t     *testing.T
	dir   string
	addr  string
	args  []string // beside the usual ones
	fault string   // file
	first *exec.Cmd
	ended chan struct{} // closed when the first process has
}

func (f *faulty) sockets() string { return filepath.Join(f.dir, "s") }

func startFaulty(t *testing.T, env ...string) *faulty {
	t.Helper()
	return startFaultyPool(t, 1e-10, env...)
}

// startFaultyPool is one of a difficulty.
func startFaultyPool(t *testing.T, difficulty float64, env ...string) *faulty {
	t.Helper()
	n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	return startFaultyOn(t, difficulty, map[string]any{
		"btcd":       []any{map[string]any{"url": n.Addr(), "auth": "user", "pass": "pass", "zmq": []string{}}},
		"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
	}, nil, env...)
}

// before starts a proxy before the pool.
func (f *faulty) before(difficulty float64, env ...string) *faulty {
	f.t.Helper()
	return startFaultyOn(f.t, difficulty, map[string]any{"proxy": []any{map[string]any{"url": f.addr, "auth": "farm", "pass": "x"}}}, []string{"-p"}, env...)
}

// startFaultyOn is one with keys that say where its work comes from.
func startFaultyOn(t *testing.T, difficulty float64, keys map[string]any, args []string, env ...string) *faulty {
	t.Helper()
	port, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ck") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{t: t, dir: dir, addr: "127.0.0.1:" + port, args: args, fault: filepath.Join(dir, "fault")}
	t.Cleanup(f.end)
	all := map[string]any{
		"serverurl": []string{f.addr}, "mindiff": difficulty, "startdiff": difficulty, "maxdiff": difficulty, "logdir": filepath.Join(dir, "logs"),
	}
	maps.Copy(all, keys)
	config, _ := json.Marshal(all)
	if err := os.WriteFile(filepath.Join(dir, "ckpool.conf"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(append(env, faultKey+"="+f.fault)...)
	return f
}

// start starts the first process, or another one after that.
func (f *faulty) start(env ...string) {
	f.t.Helper()
	f.first = exec.Command("ckpool", append([]string{"-c", filepath.Join(f.dir, "ckpool.conf"), "-s", f.sockets(), "-n", "ckpool", "-L", "-q"}, f.args...)...)
	f.first.Env = append(os.Environ(), env...)
	if err := f.first.Start(); err != nil {
		f.t.Fatal(err)
	}
	ended := make(chan struct{})
	f.ended = ended
	go func() {
		_ = f.first.Wait()
		close(ended)
	}()
	f.await("work", func() bool {
		_, err := bench.Storm(f.t.Context(), bench.StormConfig{Options: f.load(1)})
		return err == nil
	})
}

// end ends the newest process.
func (f *faulty) end() {
	if pid := f.pid(); pid != 0 {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			_ = unix.Kill(pid, unix.SIGCONT)
			_ = unix.Kill(pid, unix.SIGTERM)
			for until := time.Now().Add(patience); ; {
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
				if n > 0 || err != nil && err != unix.EINTR || time.Now().After(until) {
					break
				}
			}
			unix.Close(fd)
		}
	}
	_ = f.first.Process.Kill()
	<-f.ended
	if f.t.Failed() {
		text, _ := os.ReadFile(filepath.Join(f.dir, "logs", "ckpool.log"))
		f.t.Logf("%s", text)
	}
	os.RemoveAll(f.dir)
}

// pid is that of the instance, 0 for none.
func (f *faulty) pid() int {
	text, _ := os.ReadFile(filepath.Join(f.sockets(), "main.pid"))
	pid, _ := strconv.Atoi(string(text))
	return pid
}

func (f *faulty) await(what string, is func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			f.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (f *faulty) load(miners int) bench.Options {
	return bench.Options{Address: f.addr, Miners: miners, User: "bench", Password: "x"}
}

func (f *faulty) do(command string) (string, error) {
	return wait.Reply(context.Background(), &control.Client{Path: filepath.Join(f.sockets(), "listener"), ReplyTimeout: time.Minute, BodyTimeout: time.Second}, command)
}

// accepted is the pool's count of shares.
func (f *faulty) accepted() (n int64) {
	f.t.Helper()
	reply, err := wait.Reply(f.t.Context(), control.Dial(f.sockets(), "", "stratifier"), "poolstats")
	var stats struct {
		Accepted int64 `json:"accepted_count"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(reply), &stats)
	}
	if err != nil {
		f.t.Error(err)
	}
	return stats.Accepted
}

// set lets the next new process fail.
func (f *faulty) set(who, step string) {
	if err := os.WriteFile(f.fault, []byte(who+" "+step), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// mine lets miners submit shares while do is under way, and until one was answered if
// any is.
func (f *faulty) mine(do func(ctx context.Context)) *bench.SharesReport {
	f.t.Helper()
	const patience = time.Minute
	answered := make(chan struct{})
	var once sync.Once
	r, err := bench.Shares(f.t.Context(), bench.SharesConfig{Options: f.load(40), Window: 1, Rate: 400,
		Answered: func([32]byte, bool) { once.Do(func() { close(answered) }) },
		During: func(ctx context.Context, _ func() time.Duration) error {
			do(ctx)
			select {
			case <-answered:
			case <-time.After(patience):
			case <-ctx.Done():
			}
			return nil
		}})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// unharmed fails the test if miners have noticed anything.
func (f *faulty) unharmed(r *bench.SharesReport, before int64) {
	f.t.Helper()
	var b strings.Builder
	_ = r.Print(&b)
	if n := f.accepted() - before; r.Failed() || r.Rejected > 0 || n != r.Accepted {
		f.t.Errorf("the pool counts %d accepted shares\n%s", n, &b)
	}
}

// upgraded upgrades and returns the process that serves then.
func (f *faulty) upgraded() int {
	f.t.Helper()
	reply, err := f.do("upgrade")
	// The one before the last had it, or a pool upstream was too slow for the new one.
	for until := time.Now().Add(patience); err == nil && time.Now().Before(until) &&
		(strings.Contains(reply, errMoved.Error()) || strings.Contains(reply, "none has answered in time")); {
		reply, err = f.do("upgrade")
	}
	text, ok := strings.CutPrefix(reply, "upgraded to process ")
	pid, _ := strconv.Atoi(text)
	if err != nil || !ok || pid != f.pid() {
		f.t.Errorf("upgrade: %q, %v; the pool is process %d", reply, err, f.pid())
	}
	return pid
}

// The steps of a new process after which it, or the old one, may be gone.
var (
	stepsBefore = []string{"connected", "hello", "copied", "ready", "section", "end", "complete", "have", "yours"}
	stepsOld    = []string{"connected", "hello", "ready", "section", "complete", "yours", "running"}
)

// Wherever the new process is killed, the old one goes on and no miner notices
// anything.
func TestNewProcessKilled(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	old := f.first.Process.Pid
	r := f.mine(func(context.Context) {
		for _, step := range stepsBefore {
			f.set("new", step)
			reply, err := f.do("upgrade")
			if err != nil || !strings.Contains(reply, "errormsg") {
				t.Errorf("%s: %q, %v", step, reply, err)
			}
			if _, err := os.Stat(f.fault); err == nil {
				t.Errorf("%s: there is no such step", step)
			}
			if pid := f.pid(); pid != old {
				t.Errorf("%s: the pool is process %d, was %d", step, pid, old)
			}
		}
		f.upgraded()
	})
	f.unharmed(r, 0)
}

// Nor do miners notice anything of a program that is none.
func TestBadNewProgram(t *testing.T) {
	t.Parallel()
	f := startFaulty(t, hurryKey+"=1")
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(f.dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, err := exec.LookPath("oldckpool")
	if err != nil {
		t.Fatal(err)
	}
	r := f.mine(func(context.Context) {
		for _, v := range []struct{ path, want string }{
			{script("data", "#!/bin/sh\n", 0o600), "permission denied"},
			{script("garbage", "\x7fELF", 0o700), "exec format error"},
			{filepath.Join(f.dir, "nothing"), "no such file"},
			{"ckpool", "not an absolute path"},
			{script("ends", "#!/bin/sh\nexit 0\n", 0o700), "the new program ended without taking over"},
			{script("fails", "#!/bin/sh\nexit 3\n", 0o700), "exit status 3"},
			{old, "exit status 1"},
			// Whose child keeps what it has open.
			{script("waits", "#!/bin/sh\nsleep 60\n", 0o700), "has not taken over within 20s"},
		} {
			reply, err := f.do("upgrade " + v.path)
			if err != nil || !strings.Contains(reply, v.want) {
				t.Errorf("%s: %q, %v, want %q", v.path, reply, err, v.want)
			}
		}
		f.set("hang", "section")
		if reply, err := f.do("upgrade"); err != nil || !strings.Contains(reply, "did not take over in time") {
			t.Errorf("hangs: %q, %v", reply, err)
		}
		if pid := f.pid(); pid != f.first.Process.Pid {
			t.Errorf("the pool is process %d, was %d", pid, f.first.Process.Pid)
		}
		// In so little time a good one may not do it at once either.
		f.await("an upgrade", func() bool {
			reply, err := f.do("upgrade")
			return err == nil && reply == fmt.Sprintf("upgraded to process %d", f.pid())
		})
	})
	f.unharmed(r, 0)
}

// Wherever the old process is killed, the new one serves: with all miners if it
// has everything, else with those that connect again.
func TestOldProcessKilled(t *testing.T) {
	for i, step := range stepsOld {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := startFaulty(t)
			old := f.first.Process.Pid
			r := f.mine(func(context.Context) {
				f.set("old", step)
				if reply, err := f.do("upgrade"); err == nil && step != "running" {
					t.Errorf("%q", reply)
				}
				<-f.ended
				f.await("a new process", func() bool { return f.pid() != old })
				f.await("its answer", func() bool {
					reply, err := f.do("ping")
					return err == nil && reply == "pong"
				})
			})
			before := int64(0)
			complete := i >= slices.Index(stepsOld, "complete")
			if step == "section" { // all of it may be on the way already
				complete = r.Dropped == 0
			}
			if complete {
				f.unharmed(r, 0)
				before = f.accepted()
			} else if r.Dropped != 40 || r.Rejected > 0 {
				t.Errorf("%d connections lost, %d shares rejected", r.Dropped, r.Rejected)
			}
			f.await("work", func() bool {
				_, err := bench.Storm(t.Context(), bench.StormConfig{Options: f.load(1)})
				return err == nil
			})
			f.unharmed(f.mine(func(context.Context) { f.upgraded() }), before)
		})
	}
}

// While processes follow each other no command is refused.
func TestCommandsDuringUpgrades(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	const heldUp = 400 * time.Millisecond // a handover holds a command for somewhat longer
	stop := make(chan struct{})
	asked := make(chan int)
	for _, socket := range []string{"listener", "stratifier", "generator", "connector"} {
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					asked <- n
					return
				default:
				}
				began := time.Now()
				reply, err := control.Dial(f.sockets(), "", socket).Do(t.Context(), "ping")
				// What a busy machine holds up may be told to ask again.
				if took := time.Since(began); took < heldUp && (err != nil || reply != "pong") {
					t.Errorf("ping to %s: %q, %v", socket, reply, err)
				}
			}
		}()
	}
	for range 4 {
		f.upgraded()
	}
	close(stop)
	for range 4 {
		if n := <-asked; n < 4 {
			t.Errorf("%d commands", n)
		}
	}
}

// Of two upgrades at once one at most is refused, and nothing is left of it.
func TestTwoUpgradesAtOnce(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	r := f.mine(func(context.Context) {
		replies := make(chan string, 2)
		for range 2 {
			go func() {
				reply, err := f.do("upgrade")
				if err != nil {
					t.Error(err)
				}
				replies <- reply
			}()
		}
		done := 0
		for range 2 {
			if reply := <-replies; strings.HasPrefix(reply, "upgraded to process ") {
				done++
			} else if !strings.Contains(reply, "another upgrade is under way") && !strings.Contains(reply, errMoved.Error()) {
				t.Errorf("%q", reply)
			}
		}
		if done == 0 {
			t.Error("neither succeeded")
		}
	})
	f.unharmed(r, 0)
}

// A new process has no descriptor but its own.
func TestUpgradeLeaksNoDescriptor(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	count := func(pid int) int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Error(err)
		}
		return len(list)
	}
	// Connections to the node come and go: one leaked by each upgrade would be more.
	const upgrades, others = 20, 10
	first := count(f.upgraded())
	for range upgrades {
		f.upgraded()
	}
	f.await("as few descriptors as before", func() bool { return count(f.pid()) <= first+others })
}
