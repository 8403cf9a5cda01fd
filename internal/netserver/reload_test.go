//go:build linux

package netserver

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Listeners added while the server runs serve like the first ones, on all
// loops; what cannot be bound adds none.
func TestListenWhileRunning(t *testing.T) {
	r := start(t, Config{Loops: 2}, nil, nil)
	before := len(r.Listeners())
	first, err := r.ListenAll(t.Context(), []Endpoint{{URL: "127.0.0.1:0"}, {URL: "127.0.0.1:0"}})
	if err != nil || first != before {
		t.Fatalf("listener %d: %v", first, err)
	}
	for _, l := range r.Listeners() {
		for range 20 {
			if err := echoOnce(l.Addrs[0].String()); err != nil {
				t.Fatalf("%v: %v", l.Addrs, err)
			}
		}
	}
	taken := r.Listeners()[0].Addrs[0].String()
	if _, err := r.ListenAll(t.Context(), []Endpoint{{URL: "127.0.0.1:0"}, {URL: taken}}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("taken address: %v", err)
	}
	if n := len(r.Listeners()); n != before+2 {
		t.Errorf("%d listeners, want %d", n, before+2)
	}
}

func TestSetLimits(t *testing.T) {
	r := start(t, Config{MaxClients: 1}, nil, nil)
	first := r.dial()
	first.send("x\n")
	first.wantLine("x")
	if !r.refused("127.0.0.1") {
		t.Error("a second is served")
	}
	if err := r.SetLimits(Config{MaxClients: 2, MaxPerAddress: 1, LimitExempt: []netip.Prefix{}}); err != nil {
		t.Fatal(err)
	}
	second := r.dial()
	second.send("x\n")
	second.wantLine("x")
	if r.MaxClients() != 2 {
		t.Errorf("%d clients may come", r.MaxClients())
	}
	// The second came after the limit per address, the first before. A place is
	// free a moment after the client is gone.
	second.Close()
	eventually(t, "another address to be served", func() bool { return !r.refused("127.0.0.2") })
	if err := r.SetLimits(Config{MaxClients: 10, MaxPerAddress: -1, LimitExempt: []netip.Prefix{}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r.refused("127.0.0.1") {
			t.Error("still limited")
		}
	}
	if err := r.SetLimits(Config{MaxClients: -1}); err == nil {
		t.Error("a negative limit is taken")
	}
}
