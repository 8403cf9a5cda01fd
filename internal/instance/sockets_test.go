package instance

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/port"
)

// freePort is one that nobody else listens on, on any address: other tests on this
// machine may listen on what the kernel gives.
func freePort(t *testing.T) string {
	t.Helper()
	p, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// listening is a socket on addr that this process has, with a process that was
// started with it, too.
func listening(t *testing.T, addr string) (at netip.AddrPort, l *net.TCPListener, other int) {
	t.Helper()
	any, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l = any.(*net.TCPListener)
	t.Cleanup(func() { l.Close() })
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := exec.Command("sleep", "100")
	c.ExtraFiles = []*os.File{f}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), l, c.Process.Pid
}

func TestListens(t *testing.T) {
	at, l, child := listening(t, "127.0.0.1:"+freePort(t))
	l.Close() // the child's now
	stranger := exec.Command("sleep", "100")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stranger.Process.Kill()
		stranger.Wait()
	}()
	elsewhere := func(host string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(host), at.Port()) }
	tests := []struct {
		name string
		addr netip.AddrPort
		pid  int
		want bool
		err  error
	}{
		{"its own", at, child, true, nil},
		{"that of a child", at, os.Getpid(), true, nil},
		{"another's", at, stranger.Process.Pid, false, nil},
		{"all of IPv4", elsewhere("0.0.0.0"), child, true, nil},
		{"all addresses", elsewhere("::"), child, true, nil},
		{"all of IPv4, another's", elsewhere("0.0.0.0"), stranger.Process.Pid, false, nil},
		{"nobody on that address", elsewhere("127.0.0.2"), child, false, ErrNobody},
		{"nobody on that address of IPv6", elsewhere("::1"), child, false, ErrNobody},
	}
	for _, tt := range tests {
		if got, err := Listens(tt.addr, tt.pid); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
	if got, err := Listens(at, stranger.Process.Pid, child); !got || err != nil {
		t.Errorf("of two processes: %v, %v", got, err)
	}
	// Somebody else has one of the addresses.
	other, err := net.Listen("tcp", elsewhere("127.0.0.3").String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, err := Listens(elsewhere("::"), child); got || err != nil {
		t.Errorf("one of two: %v, %v", got, err)
	}
	if got, err := Listens(at, 1<<22); got || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that is not there: %v, %v", got, err)
	}
}

func TestListensIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::]:"+freePort(t))
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	for _, host := range []string{"::", "::1", "127.0.0.1"} {
		if got, err := Listens(netip.AddrPortFrom(netip.MustParseAddr(host), port), os.Getpid()); !got || err != nil {
			t.Errorf("%s: %v, %v", host, got, err)
		}
	}
}

// A table that lacks the socket, as it may while others come and go, is read again.
func TestListensInATableThatSkips(t *testing.T) {
	read := 0
	table := func(skips int) func() (map[uint64]bool, error) {
		read = 0
		return func() (map[uint64]bool, error) {
			if read++; read <= skips {
				return nil, nil
			}
			return map[uint64]bool{4711: true}, nil
		}
	}
	for _, skips := range []int{0, 1, 4} {
		if got, err := lookAgain(table(skips)); !got[4711] || err != nil || read != skips+1 {
			t.Errorf("skipped %d times: %v, %v after %d reads", skips, got, err, read)
		}
	}
	if got, err := lookAgain(table(1000)); len(got) != 0 || err != nil || read > 10 {
		t.Errorf("nobody listens: %v, %v after %d reads", got, err, read)
	}
}

// A process whose files this one may not see.
func TestListensHidden(t *testing.T) {
	proc := t.TempDir()
	for name, text := range map[string]string{
		"net/tcp": tcpHeading + tcpLine, "7/stat": "7 (ckpool) S 1 7", "7/fd": "", "8/stat": "8 (a ) S 9) S 7 7", "8/fd/5": "",
	} {
		file := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := netip.MustParseAddrPort("127.0.0.1:3333")
	if got, err := processes(proc).listens(at, []int{7}); got || err == nil || !strings.Contains(err.Error(), filepath.Join(proc, "7/fd")) {
		t.Errorf("%v, %v", got, err)
	}
	socket := filepath.Join(proc, "8/fd/6")
	if err := os.Symlink("socket:[4711]", socket); err != nil {
		t.Fatal(err)
	}
	if got, err := processes(proc).listens(at, []int{7}); !got || err != nil {
		t.Errorf("a child has it: %v, %v", got, err)
	}
}

// Lines of a little-endian machine, as its kernel printed them.
const (
	tcpHeading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n"
	tcpLine    = "   0: 0100007F:0D05 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0                     \n"
	tcpOther   = "   1: 0100007F:E6B4 0100007F:0D05 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0000000000000000 20 4 30 10 -1                    \n"
	tcp6Line   = "   2: 00000000000000000000000001000000:0D06 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0000000000000000 100 0 0 10 0\n"
	tcp4as6    = "   3: 0000000000000000FFFF00000100007F:0D07 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4714 1 0000000000000000 100 0 0 10 0\n"
)

func TestReadListening(t *testing.T) {
	got := map[string]uint64{}
	err := readListening(strings.NewReader(tcpHeading+tcpLine+tcpOther+tcp6Line+tcp4as6), func(at netip.AddrPort, inode uint64) { got[at.String()] = inode })
	want := map[string]uint64{"127.0.0.1:3333": 4711, "[::1]:3334": 4713, "127.0.0.1:3335": 4714}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func FuzzReadListening(f *testing.F) {
	f.Add(tcpHeading + tcpLine + tcpOther + tcp6Line)
	f.Add(tcpHeading)
	f.Add("")
	f.Add(tcpHeading + strings.Replace(tcpLine, "0100007F", "0100007", 1))
	f.Add(tcpHeading + strings.Replace(tcpLine, "4711", "-1", 1))
	f.Fuzz(func(t *testing.T, text string) {
		_ = readListening(strings.NewReader(text), func(at netip.AddrPort, inode uint64) {
			if !at.IsValid() {
				t.Errorf("%v has inode %d", at, inode)
			}
		})
	})
}
