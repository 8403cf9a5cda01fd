//go:build linux

package netserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/keypair"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

// startTLS serves with the certificate of a pair of files as second listener.
func startTLS(t *testing.T, c Config, set func(p *probe), pair *keypair.Pair) *running {
	t.Helper()
	return start(t, c, set, func(s *Server) {
		if _, err := s.ListenAll(t.Context(), []Endpoint{{URL: ownAddress, Certificate: pair.Certificate}}); err != nil {
			t.Fatal(err)
		}
	})
}

func openPair(t *testing.T, p certificate.Pair) (pair *keypair.Pair, dir string) {
	t.Helper()
	dir = t.TempDir()
	cert, key := p.Write(t, dir)
	pair, err := keypair.Open(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair, dir
}

// openssl runs openssl s_client with lines of input, until it has printed want.
func openssl(t *testing.T, addr, input, want string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("this test needs openssl: apt-get install openssl")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", addr}, args...)...)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, both, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = both, both
	err = c.Start()
	both.Close()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	read := bufio.NewReader(out)
	for _, line := range strings.SplitAfter(input, "\n") {
		_, _ = io.WriteString(in, line)
		answer := line
		if line == "K\n" { // a change of keys
			answer = "KEYUPDATE\n"
		}
		for line != "" { // the next is not to be typed before
			got, err := read.ReadString('\n')
			all.WriteString(got)
			if err != nil || got == answer {
				break
			}
		}
	}
	for !strings.Contains(all.String(), want) {
		got, err := read.ReadString('\n')
		all.WriteString(got)
		if err != nil {
			break
		}
	}
	in.Close()
	_, _ = io.Copy(&all, read)
	_ = c.Wait() // its status tells nothing of the lines
	if !strings.Contains(all.String(), want) {
		t.Errorf("openssl %q did not print %q:\n%s", args, want, all.String())
	}
	return all.String()
}

func TestOpenSSL(t *testing.T) {
	for name, made := range map[string]certificate.Pair{
		"ecdsa": certificate.New(t, "pool.example", 1), "rsa": certificate.NewRSA(t, "pool.example", 2),
	} {
		t.Run(name, func(t *testing.T) {
			pair, dir := openPair(t, made)
			r := startTLS(t, Config{}, nil, pair)
			trust := []string{"-CAfile", filepath.Join(dir, "cert.pem"), "-verify_return_error", "-servername", "pool.example"}
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				out := openssl(t, r.second(), "a line\nanother\n", "another\n", append(trust, version)...)
				if !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "a line\n") {
					t.Errorf("%s: %s", version, out)
				}
			}
			// A change of keys within the connection, and the answer to it.
			openssl(t, r.second(), "before\nK\nafter\nK\nlast\n", "last\n", append(trust, "-tls1_3")...)
			// The session is resumed without the certificate.
			session := filepath.Join(dir, "session")
			openssl(t, r.second(), "x\n", "x\n", append(trust, "-tls1_2", "-sess_out", session)...)
			openssl(t, r.second(), "y\n", "y\n", append(trust, "-tls1_2", "-sess_in", session)...)
			if out := openssl(t, r.second(), "y\n", "y\n", append(trust, "-tls1_2", "-sess_in", session)...); !strings.Contains(out, "Reused, TLSv1.2") {
				t.Errorf("session is not resumed: %s", out)
			}
			if st := r.Stats(); st.Drops[TLSFailed] != 0 {
				t.Errorf("drops %v", st.Drops)
			}
			// What is not to be accepted.
			openssl(t, r.second(), "", "", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
			eventually(t, "TLS 1.1 is refused", func() bool { return r.Stats().Drops[TLSFailed] == 1 })
			openssl(t, r.second(), "", "", "-verify_return_error")
			eventually(t, "the refusal of the certificate is seen", func() bool { return r.Stats().Drops[TLSFailed] == 2 })
		})
	}
}

func TestPlainTextOnTLSPort(t *testing.T) {
	pair, _ := openPair(t, certificate.New(t, "a", 1))
	r := startTLS(t, Config{}, nil, pair)
	c := dialFrom(t, r.second(), "127.0.0.4", 0)
	c.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	if got, err := c.rest(); err != nil || strings.Contains(got, "{") {
		t.Errorf("%q, %v", got, err)
	}
	if n := r.rec.eventsWith("Dropped 127.0.0.4: TLS failed: the peer does not speak TLS; is its URL stratum+ssl://?"); n != 1 {
		t.Errorf("events %q", r.rec.events)
	}
}

// dialTLS is a client that trusts a certificate of any serial number, and tells
// which it saw.
func dialTLS(addr string) (*tls.Conn, int64, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, 0, err
	}
	_ = c.NetConn().(*net.TCPConn).SetLinger(0)
	_ = c.SetDeadline(time.Now().Add(patience))
	return c, c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func echoTLS(c *tls.Conn, line string) error {
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != line {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

// The certificate changes while clients connect and talk: nobody is dropped,
// and soon all that come are shown the new one.
func TestRotationUnderLoad(t *testing.T) {
	pair, dir := openPair(t, certificate.New(t, "a", 1))
	r := startTLS(t, Config{}, nil, pair)
	stays, serial, err := dialTLS(r.second())
	if err != nil || serial != 1 {
		t.Fatal(serial, err)
	}
	defer stays.Close()
	var newest atomic.Int64
	var failed atomic.Pointer[error]
	end := load(4, func() bool {
		before := newest.Load()
		c, serial, err := dialTLS(r.second())
		if err == nil {
			err = echoTLS(c, "a line\n")
			c.Close()
		}
		if err == nil && serial < before {
			err = fmt.Errorf("certificate %d after %d was shown", serial, before)
		}
		if err != nil {
			failed.Store(&err)
		}
		return err == nil
	})
	for serial := int64(2); serial <= 5; serial++ {
		certificate.New(t, "a", serial).Write(t, dir)
		if err := pair.Reload(); err != nil {
			t.Fatal(err)
		}
		newest.Store(serial)
		if err := echoTLS(stays, fmt.Sprintf("through %d\n", serial)); err != nil {
			t.Fatal(err)
		}
		before := r.Stats().Accepted
		eventually(t, "more clients", func() bool { return r.Stats().Accepted > before+20 || failed.Load() != nil })
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := pair.Reload(); err == nil {
		t.Error("a file without key is taken")
	}
	before := r.Stats().Accepted
	eventually(t, "clients with the old pair", func() bool { return r.Stats().Accepted > before+20 || failed.Load() != nil })
	end()
	if err := failed.Load(); err != nil {
		t.Error(*err)
	}
	if st := r.Stats(); st.Drops[TLSFailed] != 0 {
		t.Errorf("drops %v", st.Drops)
	}
}

// Clients come and go in all ways; afterwards there are no more descriptors,
// goroutines (see TestMain) or places taken than before.
func TestTLSComingAndGoing(t *testing.T) {
	pair, _ := openPair(t, certificate.New(t, "a", 1))
	r := startTLS(t, Config{}, nil, pair)
	r.dial().send("warm\n")
	eventually(t, "one", func() bool { return r.Clients() == 1 })
	before := openDescriptors(t)
	const each, at = 250, 8
	var all sync.WaitGroup
	errs := make(chan error, at)
	for i := range at {
		all.Go(func() {
			for j := range each {
				if err := comeAndGo(r.second(), i*each+j); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	eventually(t, "all gone", func() bool {
		st := r.Stats()
		return st.Clients == 1 && st.Entering == 0 && r.held.Load() == 1
	})
	if n := openDescriptors(t); n > before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	for _, l := range r.loops {
		onLoop(l, func() {
			if n := len(l.output.tls) + len(l.entrance.guests) + len(l.lingering); n > 0 {
				t.Errorf("loop %d still has %d of them", l.index, n)
			}
		})
	}
}

func comeAndGo(addr string, how int) error {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer raw.Close()
	_ = raw.(*net.TCPConn).SetLinger(0)
	_ = raw.SetDeadline(time.Now().Add(patience))
	switch how % 8 {
	case 0: // says nothing
		return nil
	case 1: // goes within its hello
		_, err := raw.Write([]byte{22, 3, 1, 2, 0, 1})
		return err
	case 2: // is no TLS client
		_, _ = io.WriteString(raw, "hello\n")
		_, _ = io.Copy(io.Discard, raw)
		return nil
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return err
	}
	switch how % 8 {
	case 3: // goes right after the handshake
		return nil
	case 4: // says good-bye
		return c.Close()
	}
	return echoTLS(c, "a line\n")
}

// The server ends while handshakes wait and compute.
func TestShutdownWithinHandshakes(t *testing.T) {
	pair, _ := openPair(t, certificate.NewRSA(t, "a", 1))
	r := startTLS(t, Config{}, nil, pair)
	for range 20 {
		dialFrom(t, r.second(), "", 0).send("\x16\x03\x01\x01\x00\x01")
	}
	end := load(20, func() bool {
		if c, _, err := dialTLS(r.second()); err == nil {
			_ = echoTLS(c, "x\n")
			c.Close()
		}
		return true
	})
	eventually(t, "some", func() bool { return r.Stats().Accepted > 20 })
	r.stop()
	end()
}

// Others have their answers while handshakes take all the time they are given.
func TestHandshakesLeaveLoopsAlone(t *testing.T) {
	pair, _ := openPair(t, certificate.NewRSA(t, "a", 1))
	r := startTLS(t, Config{}, nil, pair)
	c := r.dial()
	end := load(50, func() bool {
		if c, _, err := dialTLS(r.second()); err == nil {
			c.Close()
		}
		return true
	})
	eventually(t, "a queue", func() bool { return r.Stats().Entering > 10 })
	for range 200 {
		c.send("x\n")
		c.wantLine("x")
	}
	most := 0
	for range 100 {
		most = max(most, len(r.computing))
	}
	if most > cap(r.computing) || cap(r.computing) < 1 {
		t.Errorf("%d handshakes compute at once", most)
	}
	end()
}

// load does something in n goroutines, again and again while it reports true, until
// end is called.
func load(n int, do func() bool) (end func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range n {
		running.Go(func() {
			for do() {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	return func() {
		close(stop)
		running.Wait()
	}
}
