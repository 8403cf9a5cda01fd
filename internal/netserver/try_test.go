//go:build linux

package netserver

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/port"
)

// Addresses are tried together, and free again afterwards.
func TestTry(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + free
	for range 2 {
		errs := Try(t.Context(), []string{used.Addr().String(), address, address, "192.0.2.1:3333", "no-such-host.invalid:1"})
		if !errors.Is(errs[0], unix.EADDRINUSE) || errs[1] != nil || !errors.Is(errs[2], unix.EADDRINUSE) ||
			!errors.Is(errs[3], unix.EADDRNOTAVAIL) || errs[4] == nil {
			t.Errorf("%q", errs)
		}
	}
}
