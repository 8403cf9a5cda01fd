//go:build linux

package netserver

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB) []byte {
	t.Helper()
	here, there := net.Pipe()
	go func() {
		_ = tls.Client(there, &tls.Config{ServerName: "pool.example"}).Handshake()
	}()
	b := make([]byte, 4096)
	n, err := here.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	here.Close()
	return b[:n]
}

// Who is no miner is told by the first bytes, however they come, and closed at
// once; what a miner says is not touched.
func TestGreetings(t *testing.T) {
	key := make([]byte, greetingSize)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(key)
	for i, c := range key { // a line feed that comes before the rest ends a line
		if c == '\n' {
			key[i] = 0
		}
	}
	for _, c := range []struct {
		name  string
		first []byte
		why   Reason
	}{
		{"TLS", clientHello(t), UnexpectedTLS},
		{"Stratum V2", key, StratumV2},
		{"Stratum V2 with a brace", append([]byte("{"), key[1:]...), StratumV2},
		{"Stratum V2 in plain", []byte("\x00\x00\x00\x1f\x00\x00\x02"), StratumV2},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: pool.example\r\n\r\n"), HTTPRequest},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HTTPRequest},
	} {
		for _, bytewise := range []bool{false, true} {
			r := start(t, Config{}, nil, nil)
			conn := r.dial()
			if bytewise {
				for i := range c.first {
					if _, err := conn.Write(c.first[i : i+1]); err != nil {
						break // it is recognised
					}
				}
			} else {
				conn.send(string(c.first))
			}
			eventually(t, c.name+" to be recognised", func() bool { return r.Stats().Drops[c.why] == 1 })
			closedBy(t, conn)
			if n := r.rec.eventsWith("Dropped 127.0.0.1: " + c.why.String()); n != 1 {
				t.Errorf("%s: %q", c.name, r.rec.events)
			}
		}
	}
	for _, line := range []string{
		`{"id":1,"method":"mining.subscribe","params":["GET / HTTP/1.1"]}`, ` {"id":1}`, "\t\r{}", "G", "GE", "POS", "\x16", "\x16\x04", "\x00\x00", "é",
		`{"id":1,"method":"mining.authorize","params":["` + "\xfc" + `ber","x"]}`, strings.Repeat("GET", 100), string(key[:30]),
	} {
		line = strings.ReplaceAll(line, "\n", "")
		r := start(t, Config{}, nil, nil)
		whole, bytewise := r.dial(), r.dial()
		whole.send(line + "\n")
		want := strings.TrimSuffix(line, "\r")
		whole.wantLine(want)
		for i := range len(line) {
			bytewise.send(line[i : i+1])
		}
		bytewise.send("\n")
		bytewise.wantLine(want)
		whole.send("GET / HTTP/1.1\n") // only the first bytes count
		whole.wantLine("GET / HTTP/1.1")
	}
}

// A browser gets a page it understands, to the end, on a port with TLS or without
// and whether it speaks TLS there or not.
func TestPage(t *testing.T) {
	page := func(secure bool) string { return fmt.Sprintf("port of a pool, TLS %v\n", secure) }
	pair, _ := openPair(t, certificate.New(t, "pool.example", 1))
	r := startTLS(t, Config{Page: page}, nil, pair)
	secured := r.Listeners()[1].Addrs[0].String()
	for _, c := range []struct {
		url    string
		secure bool
	}{{"http://" + r.addr, false}, {"http://" + secured, true}, {"https://" + secured, true}} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			request, err := http.NewRequestWithContext(t.Context(), method, c.url+"/favicon.ico", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			reply, err := client.Do(request)
			if err != nil {
				t.Fatal(c.url, err)
			}
			body, err := io.ReadAll(reply.Body)
			reply.Body.Close()
			want := page(c.secure)
			if method == "HEAD" {
				want = ""
			}
			if err != nil || string(body) != want || reply.ContentLength != int64(len(page(c.secure))) || !reply.Close {
				t.Errorf("%s %s: %q, %v, %+v", method, c.url, body, err, reply)
			}
		}
	}
	eventually(t, "all to be counted", func() bool { return r.Stats().Drops[HTTPRequest] == 9 })
}

func FuzzRecognise(f *testing.F) {
	f.Add([]byte("{"), uint8(3))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint8(2))
	f.Add(append([]byte{0x16, 3, 1}, bytes.Repeat([]byte{200, 1}, 40)...), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		whole := recognise(b[:min(len(b), greetingSize)], len(b))
		// Nothing that is a line of JSON is taken for something else.
		if len(b) > 0 && b[0] == '{' && len(b) != greetingSize && whole != greetingLine && whole != greetingUnknown {
			t.Fatalf("%q is %d", b, whole)
		}
		// What is told from a part is told from more.
		n := min(int(cut), len(b), greetingSize-1)
		if part := recognise(b[:n], n); part != greetingUnknown && part != greetingLine && part != whole {
			t.Fatalf("%q is %d, its first %d bytes are %d", b, whole, n, part)
		}
	})
}
