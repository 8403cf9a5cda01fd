package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
)

// The test binary plays an instance when told to by this variable: it claims
// the directory and ends as its kind does.
const playKey = "CK_TEST_INSTANCE"

// A binary with the race detector sleeps a second before it exits.
const noRaceDelay = "GORACE=atexit_sleep_ms=0"

// short is how long is waited for an instance that does not end.
const short = 50 * time.Millisecond

func TestMain(m *testing.M) {
	if kind := os.Getenv(playKey); kind != "" {
		play(kind, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

func play(kind, dir string) {
	i, err := claimWithin(context.Background(), short, dir, -1, false)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan struct{})
	switch kind {
	case "polite", "slow": // slow ends when its input does
		signal.Ignore(syscall.SIGTERM) // sent where the answer to shutdown takes too long, on a busy machine
		s := control.NewServer(dir, -1)
		if kind == "polite" {
			s.Handle("listener", "ping", func(context.Context, string) (string, error) { return "pong", nil })
		}
		s.Handle("listener", "shutdown", func(context.Context, string) (string, error) {
			stop()
			return "exiting", nil
		})
		if err := s.Listen(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go func() { s.Serve(ctx); close(served) }()
	case "silent": // no control socket, ends by SIGTERM
		close(served)
		signal.Notify(signals, syscall.SIGTERM)
		go func() { <-signals; stop() }()
	case "stubborn":
		close(served)
		signal.Notify(signals, syscall.SIGTERM) // taken and not heeded
	}
	fmt.Println("running")
	<-ctx.Done()
	<-served
	if kind == "slow" {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	i.Release()
}

// startInstance runs one until the end of the test.
func startInstance(t *testing.T, kind, dir string) *exec.Cmd {
	t.Helper()
	c := instanceCommand(kind, dir)
	start(t, c)
	return c
}

func instanceCommand(kind, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0], dir)
	c.Env = append(os.Environ(), playKey+"="+kind, noRaceDelay)
	return c
}

func start(t *testing.T, c *exec.Cmd) {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	line := make([]byte, 200)
	n, _ := out.Read(line)
	if string(line[:n]) != "running\n" {
		t.Fatalf("instance says %q", line[:n])
	}
}

func claim(t *testing.T, dir string, killOld bool) *Instance {
	t.Helper()
	i, err := Claim(t.Context(), dir, -1, killOld)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Release)
	return i
}

// shortDir is for sockets, whose paths are short.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "i")
}

func pidIn(t *testing.T, dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "main.pid"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestClaim(t *testing.T) {
	dir := shortDir(t)
	i := claim(t, dir, false)
	if got := pidIn(t, dir); got != strconv.Itoa(os.Getpid()) {
		t.Errorf("main.pid has %q", got)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("directory: %v %v", info.Mode(), err)
	}
	i.Release()
	if _, err := os.Stat(filepath.Join(dir, "main.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Error("main.pid is left behind:", err)
	}
}

func TestRunning(t *testing.T) {
	for _, kind := range []string{"polite", "silent", "stubborn"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			old := startInstance(t, kind, dir)
			limit := endTime
			if kind != "polite" { // nothing but time tells that it does not end
				limit = short
			}
			_, err := claimWithin(t.Context(), limit, dir, -1, false)
			want := fmt.Sprintf("Process main pid %d still exists, start ckpool with -H to get a handover or -k if you wish to kill it", old.Process.Pid)
			if err == nil || err.Error() != want {
				t.Fatalf("second start: %v", err)
			}
			if kind == "silent" {
				limit = endTime
			}
			i, err := claimWithin(t.Context(), limit, dir, -1, true)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(i.Release)
			state, err := old.Process.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if killed := state.Sys().(syscall.WaitStatus).Signaled(); killed != (kind == "stubborn") {
				t.Errorf("old instance: %v", state)
			}
			if got := pidIn(t, dir); got != strconv.Itoa(os.Getpid()) {
				t.Errorf("main.pid has %q", got)
			}
		})
	}
}

// Who has told an instance to end may start the next one at once.
func TestEnding(t *testing.T) {
	dir := shortDir(t)
	input, end := io.Pipe()
	defer end.Close() // else the instance never ends
	old := instanceCommand("slow", dir)
	old.Stdin = input
	start(t, old)
	if _, err := listener(dir).Do(t.Context(), "shutdown"); err != nil {
		t.Fatal(err)
	}
	claimAfter(t, dir, false, 100*time.Millisecond, end)
}

// An instance that takes its time to end is not killed: it may be writing the files
// of many miners.
func TestEndedInPeace(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	input, end := io.Pipe()
	defer end.Close() // else the instance never ends
	old := instanceCommand("slow", dir)
	old.Stdin = input
	start(t, old)
	claimAfter(t, dir, true, 1500*time.Millisecond, end) // three times what ckpool in C gives
	state, err := old.Process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if state.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("old instance: %v", state)
	}
}

// An instance that was killed leaves nothing that stops the next start.
func TestKilled(t *testing.T) {
	dir := shortDir(t)
	old := startInstance(t, "polite", dir)
	old.Process.Kill() // a zombie until the end of the test
	if !poll(t.Context(), 10*time.Second, func() bool { return !Alive(old.Process.Pid) }) {
		t.Fatal("not killed")
	}
	if got := pidIn(t, dir); got != strconv.Itoa(old.Process.Pid) {
		t.Fatalf("main.pid has %q", got)
	}
	claim(t, dir, false)
}

// Who has ended does not run again: not while its parent asks how, either.
func TestAliveNoMore(t *testing.T) {
	for range 200 {
		child := exec.Command("true")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			child.Wait()
		}()
		ended := false
		for waiting := true; waiting; {
			select {
			case <-asked:
				waiting = false
			default:
			}
			alive := Alive(child.Process.Pid)
			if ended && alive && waiting {
				t.Error("runs after its end")
			}
			ended = ended || !alive
		}
	}
}

// An instance is one until it has ended, also while it is ending.
func TestPoolUntilItsEnd(t *testing.T) {
	for range 200 {
		child := exec.Command("true")
		child.Args = []string{"ckpool"}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		pid := child.Process.Pid
		for Alive(pid) { // until it is a zombie
			if !isPool(pid) && Alive(pid) {
				t.Error("is no instance, and runs")
			}
		}
		child.Wait()
	}
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stranger.Process.Kill()
		stranger.Wait()
	}()
	if !poll(t.Context(), 10*time.Second, func() bool { return AwaitEnd(t.Context(), stranger.Process.Pid, 0) }) {
		t.Error("another program with the pid is waited for, and would be ended")
	}
	if isPool(2) { // kthreadd, where it can be seen
		if _, err := os.Stat("/proc/2/stat"); err == nil && kernelThread(2) {
			t.Error("a kernel thread is taken for an instance")
		}
	}
}

func TestStalePID(t *testing.T) {
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	for name, content := range map[string]string{
		"empty": "", "no number": "x", "negative": "-1", "far off": "99999999999999999999", "never there": "4194303",
		"own pid": strconv.Itoa(os.Getpid()), "another program's": strconv.Itoa(other.Process.Pid), "newline": "4194303\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "main.pid"), []byte(content), 0o640); err != nil {
				t.Fatal(err)
			}
			claim(t, dir, true)
		})
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("an innocent process was killed:", err)
	}
}

// A pid file that was left behind may name any program after the machine has started again.
func TestOtherProgramsAreNoPools(t *testing.T) {
	for called, want := range map[string]bool{
		"/usr/bin/dockerd": false, "rocksdb": false, "/sbin/rpc.lockd": false, "": false,
		"/opt/bin/ckpool": true, "ckproxy": true, "./cknode": true, "solo-ckpool": true,
	} {
		if got := poolName(called); got != want {
			t.Errorf("%q: %v", called, got)
		}
	}
}

// A pid file that was left behind may name the instance of another directory, after the
// machine has started again: that is neither in the way nor ended.
func TestPIDOfAnotherInstance(t *testing.T) {
	other := startInstance(t, "polite", shortDir(t))
	dir := shortDir(t)
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.pid"), []byte(strconv.Itoa(other.Process.Pid)), 0o640); err != nil {
		t.Fatal(err)
	}
	if pid, err := Running(dir); pid != 0 || err != nil {
		t.Errorf("process %d, %v", pid, err)
	}
	claim(t, dir, true)
	if !Alive(other.Process.Pid) {
		t.Error("the other instance was ended")
	}
}

// Of several starts at the same time one wins.
func TestSimultaneous(t *testing.T) {
	dir := shortDir(t)
	const starts = 8
	results := make(chan error, starts)
	ended := make(chan struct{})
	for range starts {
		c := instanceCommand("silent", dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			line := make([]byte, 200)
			n, _ := out.Read(line)
			if text := string(line[:n]); text == "running\n" {
				results <- nil
				<-ended
				c.Process.Kill()
			} else {
				results <- errors.New(text)
			}
			c.Wait()
		}()
	}
	won := 0
	for range starts {
		err := <-results
		switch {
		case err == nil:
			won++
		// The one that has won may be held up before it says who it is.
		case !strings.Contains(err.Error(), "still exists") && !strings.Contains(err.Error(), "another instance is starting"):
			t.Error(err)
		}
	}
	close(ended)
	if won != 1 {
		t.Errorf("%d instances run", won)
	}
}

func TestClaimErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pidDir := filepath.Join(dir, "pid")
	if err := os.MkdirAll(filepath.Join(pidDir, "main.pid"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ dir, want string }{
		{filepath.Join(dir, "no", "parent"), "Failed to make directory " + dir + "/no/parent: no such file or directory"},
		{file, "Failed to make directory " + file + ": not a directory"},
		{filepath.Join(file, "x"), "Failed to make directory " + file + "/x: not a directory"},
		{pidDir, "Failed to open file " + pidDir + "/main.pid: is a directory"},
	} {
		if _, err := Claim(t.Context(), tt.dir, -1, true); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", tt.dir, err)
		}
	}
}

// Another process that took the directory keeps its pid file.
func TestReleaseLeavesOthers(t *testing.T) {
	dir := shortDir(t)
	i := claim(t, dir, false)
	if err := os.WriteFile(filepath.Join(dir, "main.pid"), []byte("1"), 0o640); err != nil {
		t.Fatal(err)
	}
	i.Release()
	if got := pidIn(t, dir); got != "1" {
		t.Errorf("main.pid has %q", got)
	}
}

func TestProcessName(t *testing.T) {
	before, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	defer SetProcessName(strings.TrimSpace(string(before)))
	if err := SetProcessName("ckpool-of-the-north"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile("/proc/self/comm"); string(got) != "ckpool-of-the-\n" {
		t.Errorf("%q", got)
	}
}

// claimAfter sees that dir cannot be claimed for a while, ends the instance that
// has it, and claims it.
func claimAfter(t *testing.T, dir string, killOld bool, while time.Duration, end io.Closer) {
	t.Helper()
	claimed := make(chan error)
	go func() {
		i, err := Claim(t.Context(), dir, -1, killOld)
		if err == nil {
			i.Release()
		}
		claimed <- err
	}()
	select {
	case err := <-claimed:
		t.Errorf("while the old one is there: %v", err)
	case <-time.After(while):
		end.Close()
		if err := <-claimed; err != nil {
			t.Error(err)
		}
	}
}
