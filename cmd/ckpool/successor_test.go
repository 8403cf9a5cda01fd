package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/handover"
)

// beLate is a ckpool that is so slow to start that the one it is to take over
// from is ending by then.
func beLate() {
	c := control.Dial(os.Args[slices.Index(os.Args, "-s")+1], "", "listener")
	for {
		if _, err := c.Do(context.Background(), "ping"); err != nil {
			main()
			return
		}
		<-time.After(time.Millisecond)
	}
}

// A pool that is told to end ends, whatever it has started to take over.
func TestEndDuringUpgrade(t *testing.T) {
	t.Parallel()
	late, err := exec.LookPath("lateckpool")
	if err != nil {
		t.Fatal(err)
	}
	f := startFaulty(t)
	log := filepath.Join(f.dir, "logs", "ckpool.log")
	go func() { _, _ = f.do("upgrade " + late) }() // there may be no reply
	upgrading := regexp.MustCompile(`Upgrading to .*, process (\d+)\n`)
	var child int
	f.await("upgrade", func() bool {
		text, _ := os.ReadFile(log)
		said := upgrading.FindSubmatch(text)
		if said != nil {
			child, _ = strconv.Atoi(string(said[1]))
		}
		return said != nil
	})
	if err := f.first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-f.ended
	if pid, state := f.pid(), f.first.ProcessState; pid != 0 || !state.Success() {
		t.Errorf("the pool ended with %v; process %d goes on", state, pid)
	}
	// It may have come as far as its first line in the log, and is gone before the pool is.
	if err := syscall.Kill(child, 0); err != syscall.ESRCH {
		t.Errorf("process %d, which was to take over, goes on: %v", child, err)
	}
}

// An upgrade runs what a symbolic link leads to now, not what it led to when
// the pool was started.
func TestUpgradeFollowsLink(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	current := filepath.Join(f.dir, "current")
	use := func(version string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(f.dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		program, err := exec.LookPath("ckpool")
		if err == nil {
			err = exec.Command("cp", program, filepath.Join(f.dir, version)).Run()
		}
		if err == nil {
			_ = os.Remove(current)
			err = os.Symlink(version, current)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	runs := func(version string) {
		t.Helper()
		path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", f.pid()))
		if want := filepath.Join(f.dir, version, "ckpool"); err != nil || path != want {
			t.Errorf("the pool is %s, %v, want %s", path, err, want)
		}
	}
	use("1")
	if reply, err := f.do("upgrade " + filepath.Join(current, "ckpool")); err != nil || !strings.HasPrefix(reply, "upgraded") {
		t.Fatalf("%q, %v", reply, err)
	}
	runs("1")
	use("2")
	f.upgraded()
	runs("2")
}

// The log does not say that the pool shuts down when it goes on in another
// process.
func TestUpgradeIsNoShutdown(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	f.upgraded()
	<-f.ended
	text, err := os.ReadFile(filepath.Join(f.dir, "logs", "ckpool.log"))
	if err != nil || strings.Contains(string(text), "shutting down") {
		t.Errorf("%v %s", err, text)
	}
}

// A process that has taken over in the background serves, also when the one that started it
// is gone by then, as when a terminal is closed.
func TestStarterGoneDuringUpgrade(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	old := f.first.Process.Pid
	r := f.mine(func(ctx context.Context) {
		f.set("old", "hello") // which is the parent of the one that takes over
		c := exec.CommandContext(ctx, "ckpool", "-c", filepath.Join(f.dir, "ckpool.conf"), "-s", f.sockets(), "-n", "ckpool", "-L", "-q", "-H", "-D")
		c.Env = append(os.Environ(), faultKey+"="+f.fault)
		if err := c.Run(); err == nil || c.ProcessState.Exited() {
			t.Errorf("who starts it was not killed: %v", err)
		}
		f.await("a new process", func() bool {
			reply, err := f.do("ping")
			pid := f.pid()
			return err == nil && reply == "pong" && pid != old && pid != 0
		})
		<-f.ended
	})
	f.unharmed(r, 0)
}

// A log that is renamed while a process is about to take over, of which only the old one can be
// told, is written under its name afterwards.
func TestLogRenamedDuringUpgrade(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	f.set("renamed", "hello")
	f.upgraded()
	f.await("a log", func() bool {
		text, _ := os.ReadFile(filepath.Join(f.dir, "logs", "ckpool.log"))
		return strings.Contains(string(text), "Took over ")
	})
}

// An instance that says nothing for a while, and then does, is asked again: it is not taken for
// one that can only be ended.
func TestInstanceThatWasBusy(t *testing.T) {
	t.Parallel() // it waits for handover.AgreeTime

	dir, err := os.MkdirTemp("", "ck") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	running := control.NewServer(dir, -1)
	running.Handle("listener", "ping", func(context.Context, string) (string, error) { return "pong", nil })
	ended := make(chan struct{})
	var asked atomic.Int32
	running.HandleConn("listener", handover.Command, func(_ context.Context, c *net.UnixConn, _ string) {
		if asked.Add(1) == 1 {
			<-ended
			return
		}
		_ = control.WriteFrame(c, []byte(control.Fault(errors.New("it is not the time"))))
	})
	if err := running.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		running.Serve(ctx)
		close(served)
	}()
	s := &service{options: Options{SockDir: dir}}
	done, err := s.takeOver(t.Context(), config.Config{})
	if done || err == nil || !strings.Contains(err.Error(), "the running instance refuses: it is not the time") {
		t.Errorf("%v, %v", done, err)
	}
	close(ended)
	cancel()
	<-served
}
