package ports

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/netserver"
)

// An address that was in use when it was tried, and that nobody has when it is
// looked up whose it is, as when the old pool dies just then, is tried again.
func TestListenWhereTheOwnerHasGone(t *testing.T) {
	bound, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(bound, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil { // without listening
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(bound)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port))
	server, err := netserver.New(netserver.Config{Loops: 1}, func(*netserver.Loop) netserver.Handler { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := config.Config{Servers: []config.Listener{{URL: at.String(), MinDiff: 1, StartDiff: 1}}}
	p := New(server, func() *config.Config { return &c }, nil)
	time.AfterFunc(100*time.Millisecond, func() { syscall.Close(bound) })
	if opened, err := p.ListenBeside(t.Context(), os.Getppid()); !opened || err != nil {
		t.Errorf("opened %v, %v", opened, err)
	}
}
