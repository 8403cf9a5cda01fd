package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

// A pinned key is what counts: a certificate nobody signed is taken with it, a good
// one without it is not.
func TestPin(t *testing.T) {
	pair := certificate.New(t, "pool.example.org", 1)
	other := certificate.New(t, "pool.example.org", 2)
	pin := func(p certificate.Pair) []byte {
		cert, err := x509.ParseCertificate(p.TLS(t).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		return sum[:]
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pair.Cert)
	secure := Endpoint{URL: "stratum+ssl://pool.example.org:3334", User: "bob", Password: "x"}
	for name, tt := range map[string]struct {
		opts Options
		want string // of the error; empty: connected
	}{
		"unknown certificate": {Options{}, "certificate signed by unknown authority"},
		"known certificate":   {Options{TLS: &tls.Config{RootCAs: roots}}, ""},
		"pinned":              {Options{Pin: pin(pair)}, ""},
		"another pinned":      {Options{Pin: pin(other), TLS: &tls.Config{RootCAs: roots}}, fmt.Sprintf("the certificate of pool.example.org has the key sha256:%x, not the pinned one", pin(pair))},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}})
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				p := &peer{t, conn, scanner(conn)}
				if p.in.Scan() {
					p.send(`{"result":[[["mining.notify","s1"]],"7e86026b",8],"error":null,"id":1}`)
					p.in.Scan()
					p.send(`{"result":true,"error":null,"id":2}`)
					p.wait()
				}
			}()
			defer func() {
				l.Close()
				<-served
			}()
			tt.opts.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
			}
			c, err := Dial(t.Context(), secure, tt.opts)
			if err == nil {
				c.Close()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Through a SOCKS5 proxy the pool's name is for the proxy to resolve: a .onion name is
// none that this machine could.
func TestSOCKS5(t *testing.T) {
	for _, auth := range []string{"", "user:pass@"} {
		var asked string
		var own net.Conn
		p := newPool(t, func(p *peer) {
			var err error
			if asked, err = socks5(p.conn, auth != ""); err != nil {
				t.Error(err)
				return
			}
			p.in = scanner(p.conn)
			p.welcome("a")
			p.wait()
		})
		c, err := Dial(context.Background(), Endpoint{URL: "pool.onion:3333", User: "bob", Password: "x"},
			Options{SOCKS5: auth + "127.0.0.1:9050", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if address != "127.0.0.1:9050" {
					t.Errorf("dialled %s", address)
				}
				var err error
				own, err = p.dial(ctx, network, address)
				return own, err
			}})
		if err != nil {
			t.Fatal(err)
		}
		if c.conn != own {
			t.Errorf("a %T hides the socket, which is to move", c.conn)
		}
		c.Close()
		if want := strings.TrimSuffix(auth, "@") + "pool.onion:3333"; asked != want {
			t.Errorf("asked for %q, want %q", asked, want)
		}
	}
	if _, err := Dial(t.Context(), bob, Options{SOCKS5: "nowhere"}); err == nil || !strings.Contains(err.Error(), `SOCKS5 proxy "nowhere": not host:port`) {
		t.Error(err)
	}
}

// socks5 is the proxy's side of a connect by name (RFC 1928, 1929). It returns user,
// password and target.
func socks5(conn net.Conn, auth bool) (asked string, err error) {
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, e := io.ReadFull(conn, b); e != nil && err == nil {
			err = e
		}
		return b
	}
	head := read(2)
	read(int(head[1]))
	method := byte(0)
	if auth {
		method = 2
	}
	conn.Write([]byte{5, method})
	if auth {
		user := string(read(int(read(2)[1])))
		asked = user + ":" + string(read(int(read(1)[0])))
		conn.Write([]byte{1, 0})
	}
	if kind := read(4)[3]; kind != 3 {
		return "", fmt.Errorf("address of kind %d", kind)
	}
	name := string(read(int(read(1)[0])))
	port := binary.BigEndian.Uint16(read(2))
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return fmt.Sprintf("%s%s:%d", asked, name, port), err
}
