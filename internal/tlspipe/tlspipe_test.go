package tlspipe

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func configs(t testing.TB, version uint16) (server, client *tls.Config) {
	pair := certificate.New(t, "pool.example", 1)
	return &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}, MinVersion: version, MaxVersion: version},
		&tls.Config{InsecureSkipVerify: true}
}

// connect joins a server to a client.
func connect(t testing.TB, serverConfig, clientConfig *tls.Config) (server, client *Conn) {
	t.Helper()
	server, client = Server(serverConfig), Client(clientConfig)
	done := make(chan error, 1)
	go func() { done <- server.Handshake(make(Limit, 1), func(b []byte) { client.Feed(b) }) }()
	if err := client.Handshake(nil, func(b []byte) { server.Feed(b) }); err != nil {
		t.Fatal("client:", err)
	}
	if err := <-done; err != nil {
		t.Fatal("server:", err)
	}
	server.Established()
	client.Established()
	return server, client
}

// read is all there is to read.
func read(c *Conn) (string, error) {
	var all strings.Builder
	buf := make([]byte, 16<<10)
	for {
		n, err := c.Read(buf)
		all.Write(buf[:n])
		if err == ErrEmpty {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
	}
}

// However the wire is cut into pieces, the other side reads what was sealed.
func TestAnyPieces(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			serverConfig, clientConfig := configs(t, version)
			server, client := connect(t, serverConfig, clientConfig)
			rnd := rand.New(rand.NewPCG(1, 2))
			for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
				from, to := ends[0], ends[1]
				if _, err := read(to); err != nil { // what the handshake left
					t.Fatal(err)
				}
				var want, got strings.Builder
				var wire []byte
				for range 200 {
					p := strings.Repeat("x", rnd.IntN(5000)) + "\n"
					want.WriteString(p)
					wire = from.Seal(wire, []byte(p))
				}
				for len(wire) > 0 {
					n := min(1+rnd.IntN(1+rnd.IntN(10_000)), len(wire))
					piece := append([]byte(nil), wire[:n]...)
					to.Receive(piece)
					p, err := read(to)
					if err != nil {
						t.Fatal(err)
					}
					got.WriteString(p)
					for i := range piece {
						piece[i] = 0 // a loop's buffer is used again
					}
					wire = wire[n:]
				}
				if got.String() != want.String() {
					t.Errorf("read %d bytes of %d, or wrong ones", got.Len(), want.Len())
				}
			}
		})
	}
}

// What the peer sends right behind its handshake is not lost.
func TestFedBehindTheHandshake(t *testing.T) {
	serverConfig, clientConfig := configs(t, tls.VersionTLS13)
	server, client := Server(serverConfig), Client(clientConfig)
	done := make(chan error, 1)
	go func() { done <- server.Handshake(nil, func(b []byte) { client.Feed(b) }) }()
	if err := client.Handshake(nil, func(b []byte) { server.Feed(b) }); err != nil {
		t.Fatal(err)
	}
	client.Established()
	server.Feed(client.Seal(nil, []byte("first\n")))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	server.Feed(client.Seal(nil, []byte("second\n")))
	server.Established()
	server.Receive(client.Seal(nil, []byte("third\n")))
	if got, err := read(server); got != "first\nsecond\nthird\n" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestClose(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := connect(t, first(configs(t, version)), &tls.Config{InsecureSkipVerify: true})
		client.Receive(server.Close(server.Seal(nil, []byte("bye\n"))))
		if got, err := read(client); got != "bye\n" || err != io.EOF {
			t.Errorf("read %q, %v; want bye and the end", got, err)
		}
	}
}

func first(c, _ *tls.Config) *tls.Config { return c }

// A record that was changed ends the connection, and the peer is told why.
func TestBrokenRecord(t *testing.T) {
	serverConfig, clientConfig := configs(t, tls.VersionTLS13)
	server, client := connect(t, serverConfig, clientConfig)
	record := client.Seal(nil, []byte("a share\n"))
	record[len(record)-1] ^= 1
	server.Receive(record)
	if got, err := read(server); got != "" || err == nil || err == io.EOF {
		t.Fatalf("read %q, %v", got, err)
	}
	if server.Pending() == 0 {
		t.Fatal("no alert for the peer")
	}
	client.Receive(server.Seal(nil, nil))
	if _, err := read(client); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the peer reads %v", err)
	}
}

func TestNotTLS(t *testing.T) {
	c := Server(first(configs(t, tls.VersionTLS12)))
	c.Feed([]byte(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n"))
	var header tls.RecordHeaderError
	if err := c.Handshake(nil, func([]byte) {}); !errors.As(err, &header) {
		t.Errorf("handshake with plain text: %v", err)
	}
}

// Handshakes that wait for their peers keep no others from computing, and end
// when they are aborted.
func TestWaitingDoesNotCount(t *testing.T) {
	serverConfig, clientConfig := configs(t, tls.VersionTLS13)
	limit := make(Limit, 1)
	var stuck []*Conn
	done := make(chan error)
	for range 50 {
		c := Server(serverConfig)
		c.Feed([]byte{22, 3, 1}) // a begun record
		stuck = append(stuck, c)
		go func() { done <- c.Handshake(limit, func([]byte) {}) }()
	}
	for _, c := range stuck {
		for !c.Waiting() {
			<-time.After(time.Millisecond)
		}
	}
	server, client := Server(serverConfig), Client(clientConfig)
	ok := make(chan error, 1)
	go func() { ok <- server.Handshake(limit, func(b []byte) { client.Feed(b) }) }()
	if err := client.Handshake(nil, func(b []byte) { server.Feed(b) }); err != nil {
		t.Fatal(err)
	}
	if err := <-ok; err != nil {
		t.Fatal(err)
	}
	for _, c := range stuck {
		c.Abort()
	}
	for range stuck {
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("aborted handshake: %v", err)
		}
	}
}

func TestTooMuchUnread(t *testing.T) {
	c := Server(first(configs(t, tls.VersionTLS12)))
	for range 64 {
		if !c.Feed(make([]byte, 1<<10)) {
			t.Fatal("handshakes may need this much")
		}
	}
	if c.Feed([]byte{0}) {
		t.Error("a peer may send without end")
	}
}

func BenchmarkLine(b *testing.B) {
	server, client := connect(b, first(configs(b, tls.VersionTLS13)), &tls.Config{InsecureSkipVerify: true})
	if _, err := read(client); err != nil {
		b.Fatal(err)
	}
	line, buf := []byte(strings.Repeat("x", 100)+"\n"), make([]byte, 0, 4096)
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = server.Seal(buf[:0], line)
		client.Receive(buf)
		if n, err := client.Read(p); n != len(line) || err != nil {
			b.Fatal(n, err)
		}
		if _, err := client.Read(p); err != ErrEmpty {
			b.Fatal(err)
		}
	}
}

func BenchmarkHandshake(b *testing.B) {
	for name, pair := range map[string]certificate.Pair{"ecdsa": certificate.New(b, "a", 1), "rsa": certificate.NewRSA(b, "a", 1)} {
		b.Run(name, func(b *testing.B) {
			config := &tls.Config{Certificates: []tls.Certificate{pair.TLS(b)}}
			for b.Loop() {
				connect(b, config, &tls.Config{InsecureSkipVerify: true})
			}
		})
	}
}
