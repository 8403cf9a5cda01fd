package operation

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// notices is a service manager that sees which process says what.
type notices struct {
	t    *testing.T
	conn *net.UnixConn
}

func listenNotices(t *testing.T, path string) *notices {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		if err == nil {
			err = controlErr
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return &notices{t, c}
}

func (n *notices) next() (pid int, text string) {
	n.t.Helper()
	_ = n.conn.SetReadDeadline(time.Now().Add(patience))
	data, control := make([]byte, 4096), make([]byte, 256)
	k, controlLen, _, _, err := n.conn.ReadMsgUnix(data, control)
	if err != nil {
		n.t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil || len(messages) != 1 {
		n.t.Fatalf("no credentials: %v", err)
	}
	return int(int32(binary.NativeEndian.Uint32(messages[0].Data))), string(data[:k])
}

// hears takes messages until one of the process matches. Before it only those
// that come from time to time may be there.
func (n *notices) hears(pid int, pattern string) {
	n.t.Helper()
	re := regexp.MustCompile("(?s)^" + pattern + "$")
	for {
		from, text := n.next()
		switch {
		case from == pid && re.MatchString(text):
			return
		case !strings.HasPrefix(text, "STATUS=") && text != "WATCHDOG=1":
			n.t.Fatalf("process %d says %q, want %s of %d", from, text, pattern, pid)
		}
	}
}

const (
	ready     = `READY=1\nSTATUS=.*`
	reloading = `RELOADING=1\nMONOTONIC_USEC=\d+`
)

// With whatever command the process changes, the manager hears of the new one
// from the old one, which says no more after it, and of the new one that it
// is ready. The watchdog is served on, also by a process that the manager has
// not started.
func TestMainPID(t *testing.T) {
	t.Parallel()
	p := newPlace(t, freeAddrs(t, "127.0.0.1")...)
	manager := listenNotices(t, filepath.Join(p.dir, "notify"))
	// The shell gives the program its own process id, as the manager does.
	first := p.command("sh", "-c", `WATCHDOG_PID=$$ LISTEN_PID=$$ LISTEN_FDS=0 exec "$0" -s "$1"`, filepath.Join(programs, "ckpool"), p.sockets())
	p.run(first, []string{"NOTIFY_SOCKET=" + filepath.Join(p.dir, "notify"), "WATCHDOG_USEC=30000000"})
	manager.hears(first.Process.Pid, ready)
	manager.hears(first.Process.Pid, "WATCHDOG=1")
	p.serving(first.Process.Pid)

	// moved sees the change from a process and returns the new one.
	moved := func(from int) int {
		t.Helper()
		isReady := regexp.MustCompile("(?s)^" + ready + "$")
		to, said := 0, false
		for to == 0 || !said { // on a busy machine the new one does not wait for the old one's word
			pid, text := manager.next()
			switch now := p.pid(); {
			case strings.HasPrefix(text, "STATUS="), text == "WATCHDOG=1":
			case pid == from && to == 0 && now != from && text == "MAINPID="+strconv.Itoa(now):
				to = now
			case pid == now && pid != from && !said && isReady.MatchString(text):
				said = true
			default:
				t.Fatalf("process %d says %q, %d has handed over to %d", pid, text, from, now)
			}
		}
		manager.hears(to, "WATCHDOG=1")
		p.await(func() error { return awaitExit(from) })
		return to
	}
	p.change("upgrade")
	pid := moved(first.Process.Pid)
	p.end(first)
	foreign := p.pool("-H") // which knows nothing of the manager
	pid = moved(pid)
	if pid != foreign.Process.Pid {
		t.Errorf("process %d, want %d", pid, foreign.Process.Pid)
	}
	p.must(syscall.Kill(pid, syscall.SIGHUP))
	manager.hears(pid, reloading)
	manager.hears(pid, ready)
	p.change("restart")
	pid = moved(pid)
	p.end(foreign)
	p.must(syscall.Kill(pid, syscall.SIGHUP))
	manager.hears(pid, reloading)
	manager.hears(pid, ready)
	// What does not succeed is not told.
	if out, err := p.ask("upgrade", "/bin/false"); err == nil {
		t.Fatalf("/bin/false has taken over: %s", out)
	}
	p.must(syscall.Kill(pid, syscall.SIGTERM))
	manager.hears(pid, "STOPPING=1")
}
