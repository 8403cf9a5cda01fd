package systemd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's side of the socket.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func next(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for name, socket := range map[string]string{"path": path, "abstract": fmt.Sprintf("@ckpool-test-%d", os.Getpid())} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, socket)
			n, err := NewNotifier(socket)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			for _, tt := range []struct {
				send func() error
				want string
			}{
				{func() error { return n.Ready("mining") }, "READY=1\nSTATUS=mining"},
				{func() error { return n.Status("two\nlines") }, "STATUS=two lines"},
				{n.Alive, "WATCHDOG=1"},
				{n.Stopping, "STOPPING=1"},
				{func() error { return n.MainPID(4711) }, "MAINPID=4711"},
			} {
				if err := tt.send(); err != nil {
					t.Fatal(err)
				}
				if got := next(t, m); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
			if err := n.Reloading(); err != nil {
				t.Fatal(err)
			}
			usec, ok := strings.CutPrefix(next(t, m), "RELOADING=1\nMONOTONIC_USEC=")
			if _, err := strconv.ParseUint(usec, 10, 64); !ok || err != nil {
				t.Errorf("reloading: %q", usec)
			}
		})
	}
}

func TestNoManager(t *testing.T) {
	n, err := NewNotifier("")
	if err != nil || n != nil {
		t.Fatalf("%v, %v", n, err)
	}
	if err := n.Ready("x"); err != nil {
		t.Error(err)
	}
	n.Close()
	if _, err := NewNotifier(filepath.Join(t.TempDir(), "nobody")); err == nil {
		t.Error("no error without a manager")
	}
}

func TestWatchdog(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
		fails     bool
	}{
		{"", "", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", own, 30 * time.Second, false},
		{"30000000", "1", 0, false},
		{"x", "", 0, true},
		{"0", own, 0, true},
	} {
		if got, err := Watchdog(tt.usec, tt.pid); got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%q %q: %v, %v", tt.usec, tt.pid, got, err)
		}
	}
}

const socketsKey = "CK_TEST_SOCKETS"

// A process that is passed two sockets can use them.
func TestSockets(t *testing.T) {
	if fds := os.Getenv(socketsKey); fds != "" {
		files, err := Sockets(fds, strconv.Itoa(os.Getpid()))
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, f := range files {
			l, err := net.FileListener(f)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println(l.Addr())
		}
		return
	}
	var want []string
	c := exec.Command(os.Args[0], "-test.run", "^TestSockets$")
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.ExtraFiles = append(c.ExtraFiles, f)
		want = append(want, l.Addr().String())
	}
	c.Env = append(os.Environ(), socketsKey+"=2")
	out, err := c.Output()
	if err != nil || !strings.HasPrefix(string(out), strings.Join(want, "\n")+"\n") {
		t.Errorf("%v: %s, want %v", err, out, want)
	}
	for _, tt := range []struct{ fds, pid string }{{"", ""}, {"2", "1"}, {"2", ""}} {
		if files, err := Sockets(tt.fds, tt.pid); files != nil || err != nil {
			t.Errorf("%q %q: %v, %v", tt.fds, tt.pid, files, err)
		}
	}
	for _, fds := range []string{"x", "-1", "100000"} {
		if _, err := Sockets(fds, strconv.Itoa(os.Getpid())); err == nil {
			t.Errorf("LISTEN_FDS=%s is taken", fds)
		}
	}
}
