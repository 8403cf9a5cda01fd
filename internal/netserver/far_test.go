//go:build linux

package netserver

import (
	"crypto/tls"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/tlspipe"
)

// far is the peer's end of a connection of a stepped loop.
type far struct {
	fd  int
	tls *tlspipe.Conn // nil without TLS
}

// testCertificate is one for all tests.
var testCertificate = sync.OnceValue(func() *tls.Certificate {
	var t testing.T // a test that fails here fails for want of entropy
	c := certificate.New(&t, "pool.example", 1).TLS(&t)
	return &c
})

func getTestCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return testCertificate(), nil
}

// connectTLS is connect over TLS.
func (st *stepped) connectTLS(t testing.TB, buffer int) (s Slot, peer far) {
	t.Helper()
	fds := socketpair(t, buffer)
	opened := false
	st.probe.open = func(_ *probe, slot Slot) { s, opened = slot, true }
	st.server.hold()
	st.counters.assigned.Add(1)
	endpoint := Endpoint{Certificate: getTestCertificate}
	st.entrance.admit(arrival{fd: int32(fds[0]), at: endpoint.listener(), remote: netip.MustParseAddrPort("127.0.0.1:1")})
	peer = far{fds[1], tlspipe.Client(&tls.Config{InsecureSkipVerify: true})}
	done := make(chan error, 1)
	go func() {
		done <- peer.tls.Handshake(nil, func(b []byte) { _, _ = unix.Write(peer.fd, b) })
	}()
	buf := make([]byte, 1<<16)
	finished := false
	for end := time.Now().Add(patience); !opened || !finished; {
		st.once()
		if n, err := unix.Read(peer.fd, buf); n > 0 && err == nil {
			peer.tls.Feed(buf[:n])
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			finished = true
		case <-time.After(50 * time.Microsecond):
		}
		if time.Now().After(end) {
			t.Fatal("no handshake")
		}
	}
	peer.tls.Established()
	return s, peer
}

// read takes at most n bytes off the wire and gives what they say.
func (f far) read(n int) string {
	buf := make([]byte, n)
	n, err := unix.Read(f.fd, buf)
	if n <= 0 || err != nil {
		return ""
	}
	if f.tls == nil {
		return string(buf[:n])
	}
	f.tls.Receive(buf[:n])
	var text []byte
	plain := make([]byte, 16<<10)
	for {
		n, err := f.tls.Read(plain)
		text = append(text, plain[:n]...)
		if err != nil {
			return string(text)
		}
	}
}

// readAll takes all that is there.
func (f far) readAll() (text string) {
	for {
		t := f.read(1 << 16)
		if t == "" {
			return text
		}
		text += t
	}
}
