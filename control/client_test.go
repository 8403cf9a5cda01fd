package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// foreign answers connections to a socket with f, one after another, until the
// test ends.
func foreign(t *testing.T, f func(c *net.UnixConn)) *Client {
	t.Helper()
	dir := shortDir(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "listener"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return Dial(dir, "", "listener")
}

func TestClientAgainstForeignServer(t *testing.T) {
	const short, long = 100 * time.Millisecond, time.Minute
	tests := []struct {
		name        string
		reply       string
		silent      bool          // keeps the connection open instead of closing it
		first, rest time.Duration // what the client waits for, short where that passes
		want        string
		err         error
	}{
		{"answers", "\x04\x00\x00\x00pong", false, long, long, "pong", nil},
		{"answers and lingers", "\x04\x00\x00\x00pong", true, long, long, "pong", nil},
		{"closes without data", "", false, long, long, "", ErrNoReply},
		{"says nothing", "", true, short, long, "", ErrNoReply},
		{"cuts its reply off", "\x04\x00\x00\x00po", false, long, long, "", io.ErrUnexpectedEOF},
		{"stalls in its reply", "\x04\x00\x00\x00po", true, long, short, "", os.ErrDeadlineExceeded},
		{"replies with length 0", "\x00\x00\x00\x00", false, long, long, "", ErrFrameLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			c := foreign(t, func(c *net.UnixConn) {
				ReadFrame(c, 100)
				c.CloseRead()
				io.WriteString(c, tt.reply)
				if tt.silent {
					<-release
				}
			})
			defer close(release)
			c.ReplyTimeout, c.BodyTimeout = tt.first, tt.rest
			if got, err := c.Do(t.Context(), "ping"); got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestClientCannotConnect(t *testing.T) {
	dir := shortDir(t)
	for name, c := range map[string]*Client{
		"no socket":  Dial(dir, "ckpool", "listener"),
		"long path":  Dial(dir, strings.Repeat("x", 100), "listener"),
		"not socket": Dial("/", "etc", "passwd"),
	} {
		if _, err := c.Do(t.Context(), "ping"); !errors.Is(err, ErrConnect) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClientContext(t *testing.T) {
	release := make(chan struct{})
	c := foreign(t, func(c *net.UnixConn) { <-release })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, "ping")
	close(release)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestPassListener(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	s := NewServer(dir, -1)
	s.Handle("listener", "ping", static("pong"))
	s.HandleFD("listener", "getxfd", func(_ context.Context, n int) (*os.File, error) {
		if n != 0 {
			return nil, errors.New("no such socket")
		}
		return tcp.(*net.TCPListener).File()
	})
	serve(t, s)
	c := Dial(dir, "", "listener")
	if f, err := c.GetFD(t.Context(), 1); !errors.Is(err, ErrNoReply) {
		t.Errorf("socket 1: %v, %v", f, err)
	}
	f, err := c.GetFD(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	checkReceived(t, f)
	received, err := net.FileListener(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer received.Close()
	if received.Addr().String() != tcp.Addr().String() {
		t.Errorf("listens on %v, want %v", received.Addr(), tcp.Addr())
	}
	// The socket works in both hands, one after the other.
	for _, l := range []net.Listener{tcp, received} {
		dialed, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer dialed.Close()
		l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
		tcp.Close() // the sender ends
	}
}

func checkReceived(t *testing.T, f *os.File) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
		if flags&syscall.FD_CLOEXEC == 0 {
			t.Error("not close-on-exec")
		}
		flags, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
		if flags&syscall.O_NONBLOCK == 0 {
			t.Error("not non-blocking")
		}
	})
}

// The oldest servers know getfd for their only socket and answer getxfd0 with
// text, newer ones close.
func TestGetFDFallsBackOnce(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	requests := make(chan string, 10)
	c := foreign(t, func(c *net.UnixConn) {
		b, _ := ReadFrame(c, 100)
		requests <- string(b)
		if string(b) == "getfd" {
			sendFD(c, file)
			return
		}
		WriteFrame(c, []byte("unknown"))
	})
	if f, err := c.GetFD(t.Context(), 1); !errors.Is(err, ErrNoFD) {
		t.Errorf("socket 1: %v, %v", f, err)
	}
	f, err := c.GetFD(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	checkReceived(t, f)
	f.Close()
	for _, want := range []string{"getxfd1", "getxfd0", "getfd"} {
		if got := <-requests; got != want {
			t.Errorf("request %s, want %s", got, want)
		}
	}
}

// What travels with the descriptor is two zero bytes: other programs count.
func TestSendFDData(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ends[i] = c.(*net.UnixConn)
	}
	if err := sendFD(ends[0], os.Stdin); err != nil {
		t.Fatal(err)
	}
	data, rights := make([]byte, 100), make([]byte, 100)
	n, rightsLen, _, _, err := ends[1].ReadMsgUnix(data, rights)
	if err != nil || string(data[:n]) != "\x00\x00" {
		t.Errorf("data %q, %v", data[:n], err)
	}
	got, err := parseRights(rights[:rightsLen])
	if err != nil || len(got) != 1 {
		t.Fatalf("descriptors %v, %v", got, err)
	}
	syscall.Close(got[0])
	ends[0].Close()
	if _, err := receiveFD(ends[1]); err == nil {
		t.Error("a descriptor out of nothing")
	}
}

// A refusal's text arrives as it was, whatever characters it has.
func TestRefusal(t *testing.T) {
	for _, want := range []string{`no user "bob"`, "a <tag> & more\n", ""} {
		reply := Fault(errors.New(want))
		if got := Refusal(reply); got != want || !Failed(reply) {
			t.Errorf("%s: %q, want %q", reply, got, want)
		}
	}
	if got := Refusal("Invalid"); got != "Invalid" {
		t.Errorf("a word is %q", got)
	}
}

func TestFailed(t *testing.T) {
	for reply, want := range map[string]bool{
		"pong": false, "ok": false, "exiting": false, `{"uptime": 60}`: false, "": false,
		"unknown": true, "failed": true, "Failed": true, "Invalid": true,
		`{"errormsg": "no user bob"}`: true, `{"errormsg":"no user bob"}`: true,
	} {
		if got := Failed(reply); got != want {
			t.Errorf("%q: %v", reply, got)
		}
	}
}
