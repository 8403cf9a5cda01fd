//go:build linux

package netserver

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A miner that is closed has two seconds to read why, while it goes on to send.
func TestLingering(t *testing.T) {
	st := newStepped(t, Config{})
	s, peer := st.connect(t, 4096)
	st.Write(s, []byte("why\n"))
	st.Close(s, Dropped)
	st.once()
	closed := st.now
	after := func(d time.Duration, held int64) {
		t.Helper()
		_, _ = unix.Write(peer, []byte("a share\n"))
		st.once()
		st.now = closed.Add(d)
		st.tick()
		if got := st.server.held.Load(); got != held {
			t.Errorf("after %v: %d sockets", d, got)
		}
	}
	after(0, 1)
	after(1900*time.Millisecond, 1)
	if got := readAll(peer); got != "why\n" {
		t.Errorf("peer read %q", got)
	}
	after(2100*time.Millisecond, 0)
}
