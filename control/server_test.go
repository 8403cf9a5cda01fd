package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/internal/testkit/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortDir is a temporary directory whose path leaves room for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve runs s until the test ends or stop is called.
func serve(t testing.TB, s *Server) (stop func()) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Serve(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func static(reply string) func(context.Context, string) (string, error) {
	return func(context.Context, string) (string, error) { return reply, nil }
}

func echo(_ context.Context, args string) (string, error) { return "[" + args + "]", nil }

func TestCommands(t *testing.T) {
	dir := shortDir(t)
	s := NewServer(dir, -1)
	s.Handle("listener", "ping", static("pong"))
	s.Handle("listener", "loglevel", echo)
	s.Handle("listener", "message:", echo)
	s.Handle("listener", "message", echo)
	s.Handle("listener", "{", echo)
	s.Handle("listener", "quiet", static(""))
	s.Handle("listener", "bad", func(context.Context, string) (string, error) {
		return "ignored", errors.New(`no user "bob"`)
	})
	s.Handle("stratifier", "workerclients", static("clients of a worker"))
	s.Handle("stratifier", "worker", static("workers"))
	serve(t, s)

	tests := []struct{ socket, cmd, want string }{
		{"listener", "ping", "pong"},
		{"listener", "PINGxyz", "pong"},
		{"listener", "ping\n", "pong"},
		{"listener", "pin", "unknown"},
		{"listener", "stats", "unknown"},
		{"listener", "\xff\xfe", "unknown"},
		{"listener", "loglevel=7", "[7]"},
		{"listener", "LogLevel 7=8", "[7=8]"},
		{"listener", "loglevel", "[]"},
		{"listener", "message=hello", "[hello]"},
		{"listener", "message:12=hello", "[12=hello]"},
		{"listener", `{"a":1}`, `["a":1}]`},
		{"listener", "quiet", "ok"},
		{"listener", "bad", `{"errormsg": "no user \"bob\""}`},
		{"listener", "worker", "unknown"},
		{"stratifier", "workerclients=x", "clients of a worker"},
		{"stratifier", "workers", "workers"},
	}
	for _, tt := range tests {
		got, err := Dial(filepath.Dir(dir), filepath.Base(dir), tt.socket).Do(t.Context(), tt.cmd)
		if err != nil || got != tt.want {
			t.Errorf("%s %q: %q, %v; want %q", tt.socket, tt.cmd, got, err, tt.want)
		}
	}
}

func dial(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// The framing as programs in C use it, byte by byte.
func TestForeignClients(t *testing.T) {
	dir := shortDir(t)
	s := NewServer(dir, -1)
	got := make(chan string, 1)
	s.Handle("stratifier", "ping", static("pong"))
	s.Handle("stratifier", "update", func(_ context.Context, args string) (string, error) {
		got <- args
		return strings.Repeat("x", 1<<20), nil
	})
	serve(t, s)
	path := filepath.Join(dir, "stratifier")

	t.Run("shuts down its write side", func(t *testing.T) {
		c := dial(t, path)
		io.WriteString(c, "\x04\x00\x00\x00ping")
		c.CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "\x04\x00\x00\x00pong" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("keeps its write side", func(t *testing.T) {
		c := dial(t, path)
		io.WriteString(c, "\x04\x00\x00\x00ping")
		if b, err := io.ReadAll(c); string(b) != "\x04\x00\x00\x00pong" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("sends more than its frame", func(t *testing.T) {
		c := dial(t, path)
		io.WriteString(c, "\x04\x00\x00\x00ping and something else")
		if b, err := io.ReadAll(c); string(b) != "\x04\x00\x00\x00pong" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("never reads", func(t *testing.T) {
		c := dial(t, path)
		io.WriteString(c, "\x06\x00\x00\x00update")
		c.Close()
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Error("the command was not run")
		}
	})
	for name, in := range map[string]string{
		"length 0":         "\x00\x00\x00\x00",
		"over 16 MiB":      "\x01\x00\x00\x01",
		"cut off":          "\x04\x00\x00\x00pi",
		"length cut off":   "\x04",
		"not this framing": "GET / HTTP/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, path)
			io.WriteString(c, in)
			c.CloseWrite()
			if b, err := ReadFrame(c, 100); string(b) != "failed" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestLongRequestAndReply(t *testing.T) {
	dir := shortDir(t)
	s := NewServer(dir, -1)
	s.Handle("listener", "echo", echo)
	s.replyTime, s.wholeTime = time.Minute, time.Minute // a busy machine copies slowly
	serve(t, s)
	do := func(request string) (string, error) { // as a client without its time limits
		c := dial(t, filepath.Join(dir, "listener"))
		_ = c.SetDeadline(time.Time{})
		if err := WriteFrame(c, []byte(request)); err != nil {
			return "", err
		}
		reply, err := ReadFrame(c, maxReply)
		return string(reply), err
	}
	long := strings.Repeat("0123456789abcdef", MaxRequest/16)[:MaxRequest-5]
	if got, err := do("echo=" + long); err != nil || got != "["+long+"]" {
		t.Errorf("16 MiB: %d bytes, %v", len(got), err)
	}
	if got, err := do("echo=" + long + "x"); err == nil && got != "failed" {
		t.Errorf("over 16 MiB: %.20q, %v", got, err)
	}
}

// Neither a client that stalls nor a slow command may keep others waiting.
func TestClientsDoNotBlockEachOther(t *testing.T) {
	dir := shortDir(t)
	s := NewServer(dir, -1)
	release := make(chan struct{})
	s.Handle("listener", "ping", static("pong"))
	s.Handle("listener", "slow", func(ctx context.Context, _ string) (string, error) {
		<-release
		return "done", nil
	})
	s.replyTime, s.wholeTime = time.Minute, time.Minute // what is slow waits for the end of ping
	serve(t, s)
	for range 50 {
		io.WriteString(dial(t, filepath.Join(dir, "listener")), "\xff\x00\x00")
	}
	slow := dial(t, filepath.Join(dir, "listener"))
	WriteFrame(slow, []byte("slow"))
	if got, err := Dial(dir, "", "listener").Do(t.Context(), "ping"); got != "pong" {
		t.Errorf("%q, %v", got, err)
	}
	close(release)
	if b, err := ReadFrame(slow, 100); string(b) != "done" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestSlowCommandIsAnsweredInTime(t *testing.T) {
	dir := shortDir(t)
	s := NewServer(dir, -1)
	s.replyTime = 20 * time.Millisecond
	release := make(chan struct{})
	s.Handle("listener", "getbase", func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		<-release
		return "late", nil
	})
	stop := serve(t, s)
	got, err := Dial(dir, "", "listener").Do(t.Context(), "getbase")
	var reply struct{ Errormsg string }
	if err != nil || json.Unmarshal([]byte(got), &reply) != nil || reply.Errormsg != "getbase takes longer than 20ms" {
		t.Errorf("%q, %v", got, err)
	}
	close(release)
	stop()
}

func TestStopSendsRepliesUnderWay(t *testing.T) {
	dir := shortDir(t)
	s := NewServer(dir, -1)
	var stop func()
	stopped := make(chan struct{})
	s.Handle("listener", "shutdown", func(context.Context, string) (string, error) {
		go func() { stop(); close(stopped) }()
		return "exiting", nil
	})
	stop = serve(t, s)
	idle := dial(t, filepath.Join(dir, "listener"))
	if got, err := Dial(dir, "", "listener").Do(t.Context(), "shutdown"); got != "exiting" {
		t.Errorf("%q, %v", got, err)
	}
	select {
	case <-stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("a silent client holds up the end")
	}
	if n, err := idle.Read(make([]byte, 100)); err == nil && n > 0 {
		idle.Read(make([]byte, 100))
	}
	if _, err := os.Lstat(filepath.Join(dir, "listener")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "listener")
	// A stale socket of a process that was killed.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()

	gid := os.Getgid()
	if groups, _ := os.Getgroups(); os.Getuid() == 0 {
		gid = 12345
	} else if len(groups) > 0 {
		gid = groups[len(groups)-1]
	}
	s := NewServer(dir, gid)
	s.Handle("listener", "ping", static("pong"))
	serve(t, s)
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o770 {
		t.Errorf("mode %v", info.Mode())
	}
	if got := int(info.Sys().(*syscall.Stat_t).Gid); got != gid {
		t.Errorf("group %d, want %d", got, gid)
	}
	if got, err := Dial(dir, "", "listener").Do(t.Context(), "ping"); got != "pong" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "second")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewServer(dir, -1)
	s.Handle("first", "ping", static("pong"))
	s.Handle("second", "ping", static("pong"))
	err := s.Listen()
	if want := path + " already exists and is not a socket, not removing"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file now has %q", b)
	}
	if _, err := os.Lstat(filepath.Join(dir, "first")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other socket is left: %v", err)
	}

	s = NewServer(filepath.Join(dir, strings.Repeat("d", 100)), -1)
	s.Handle("listener", "ping", static("pong"))
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "longer than 107 bytes") {
		t.Errorf("long path: %v", err)
	}
	s = NewServer(filepath.Join(dir, "missing"), -1)
	s.Handle("listener", "ping", static("pong"))
	if err := s.Listen(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

// In a handover the new process replaces the sockets before the old one ends.
func TestCloseLeavesTheSuccessorsSocket(t *testing.T) {
	dir := shortDir(t)
	old, successor := NewServer(dir, -1), NewServer(dir, -1)
	old.Handle("listener", "ping", static("old"))
	successor.Handle("listener", "ping", static("new"))
	stopOld := serve(t, old)
	serve(t, successor)
	stopOld()
	if got, err := Dial(dir, "", "listener").Do(t.Context(), "ping"); got != "new" {
		t.Errorf("%q, %v", got, err)
	}
}

// What comes while commands are held waits in the socket, for this process or for one that
// has it too. What was asked before is answered.
func TestHold(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "listener")
	old, successor := NewServer(dir, -1), NewServer(dir, -1)
	begun, finish := make(chan struct{}), make(chan struct{})
	old.Handle("listener", "ping", static("old"))
	old.Handle("listener", "slow", func(context.Context, string) (string, error) {
		close(begun)
		<-finish
		return "slow", nil
	})
	successor.Handle("listener", "ping", static("new"))
	old.replyTime = time.Minute
	serve(t, old)
	ask := func(request string) *net.UnixConn {
		c := dial(t, path)
		if err := WriteFrame(c, []byte(request)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c *net.UnixConn, want string) {
		t.Helper()
		if b, err := ReadFrame(c, 1000); string(b) != want {
			t.Errorf("%q, %v, want %q", b, err, want)
		}
	}

	slow := ask("slow")
	<-begun
	old.holdTime = time.Minute
	held := make(chan struct{})
	go func() {
		old.Hold(t.Context())
		close(held)
	}()
	close(finish)
	<-held
	answered(slow, "slow")
	c := ask("ping")
	old.Release()
	answered(c, "old")

	asking := func(what string, n int) {
		t.Helper()
		wait.Until(t, time.Minute, what, func() bool {
			old.mu.Lock()
			defer old.mu.Unlock()
			return len(old.asking) == n
		})
	}
	asking("the reply is noted", 0)
	silent := dial(t, path)
	asking("the connection is accepted", 1)
	old.holdTime = time.Millisecond // it says nothing
	old.Hold(t.Context())
	c = ask("ping")
	files, err := old.Files()
	if err != nil {
		t.Fatal(err)
	}
	successor.Inherit("listener", files["listener"])
	old.Leave()
	serve(t, successor)
	answered(c, "new")
	if err := WriteFrame(silent, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	answered(silent, `{"errormsg": "another process has just taken over: ask again"}`)
}
