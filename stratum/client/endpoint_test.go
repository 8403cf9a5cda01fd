package client

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/ckpool/ckpool/stratum"

	"pgregory.net/rapid"
)

func TestEndpoint(t *testing.T) {
	for url, want := range map[string]string{
		"stratum+tcp://pool.example.org:3333": "pool.example.org 3333 plain",
		"pool.example.org:3334":               "pool.example.org 3334 plain",
		"pool.example.org":                    "pool.example.org 3333 plain",
		"stratum+ssl://h:4444/path":           "h 4444 tls",
		"ssl://h":                             "h 3333 tls",
		"[::1]:8332":                          "::1 8332 plain",
		"[::1]":                               "::1 3333 plain",
		"::1":                                 "::1 3333 plain",
		"tcp://127.0.0.1:1":                   "127.0.0.1 1 plain",
	} {
		host, port, secure, err := Endpoint{URL: url}.target()
		got := host + " " + port + " plain"
		if secure {
			got = host + " " + port + " tls"
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
	for _, url := range []string{"", "h:", ":3333", "h:0", "h:65536", "h:x", "ftp://h:1", "a:b:c", "[::1", "stratum+tcp://"} {
		if host, port, _, err := (Endpoint{URL: url}).target(); err == nil {
			t.Errorf("%q: %s %s", url, host, port)
		}
	}
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		from, host string
		port       uint16
		want       string // empty: refused
	}{
		{"us.pool.org:3333", "eu.pool.org", 3334, "stratum+tcp://eu.pool.org:3334"},
		{"us.pool.org:3333", "EU.Pool.org", 0, "stratum+tcp://EU.Pool.org:3333"},
		{"us.pool.org:3333", "", 443, "stratum+tcp://us.pool.org:443"},
		{"ssl://us.pool.org", "eu.pool.org", 0, "stratum+ssl://eu.pool.org:3333"},
		{"pool.org", "eu.pool.org", 0, "stratum+tcp://eu.pool.org:3333"},
		{"127.0.0.1:3333", "127.0.0.1", 3334, "stratum+tcp://127.0.0.1:3334"},
		{"[::1]:3333", "::1", 3334, "stratum+tcp://[::1]:3334"},
		{"pool.org", "evil.org", 0, ""},
		{"us.pool.org", "pool.org.evil.com", 0, ""},
		{"us.pool.org", "evilpool.org", 0, ""},
		{"127.0.0.1", "128.0.0.1", 0, ""},
		{"localhost", "remotehost", 0, ""},
		{"eu.pool.co.uk", "us.pool.co.uk", 0, "stratum+tcp://us.pool.co.uk:3333"},
		{"a.farm.lan", "b.farm.lan", 0, "stratum+tcp://b.farm.lan:3333"},
		{"pool.co.uk", "evil.co.uk", 0, ""}, // anybody may have a name there
		{"pool.duckdns.org", "evil.duckdns.org", 0, ""},
		{"pool.lan", "evil.lan", 0, ""},
		{"pool.org", "evil.org/.pool.org", 0, ""}, // only what stands before the slash would be connected to
		{"us.pool.org", "evil/.pool.org", 0, ""},
		{"pool.org", "evil.org:443/.pool.org", 0, ""},
		{"pool.org", "x://evil.org/.pool.org", 0, ""},
	} {
		got, err := Endpoint{URL: tt.from, User: "u"}.Redirect(stratum.Reconnect{Host: tt.host, Port: tt.port})
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s to %s: followed to %s", tt.from, tt.host, got.URL)
			}
			continue
		}
		if err != nil || got.URL != tt.want || got.User != "u" {
			t.Errorf("%s to %s: %+v, %v", tt.from, tt.host, got, err)
		}
	}
}

// TestTLS runs over real sockets; the certificate is one made for tests.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	roots := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() {
		for range 2 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p := &peer{t, conn, bufio.NewScanner(conn)}
			if p.in.Scan() { // the second client does not trust us
				p.send(`{"result":[[["mining.notify","s1"]],"7e86026b",8],"error":null,"id":1}`)
				p.in.Scan()
				p.send(`{"result":true,"error":null,"id":2}`, notifyLine("a", true))
				p.wait()
			}
			conn.Close()
		}
	})
	e := Endpoint{URL: "stratum+ssl://" + l.Addr().String(), User: "bob"}
	c, err := Dial(t.Context(), e, Options{TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	expectEvents(t, c.Events(), "extranonce 7e86026b/8 session s1", "notify a clean=true diff=0 mask=00000000 en1=7e86026b")
	c.Close()
	if _, err := Dial(t.Context(), e, Options{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

// TestLineReader: however the bytes arrive, the lines are the same, and a
// timeout in between loses none.
func TestLineReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text string
		for i, n := range rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 7, 500, 4095, 4096, 9000}), 0, 10).Draw(t, "lengths") {
			text += strings.Repeat(string(rune('a'+i)), n) + "\n"
		}
		text += rapid.SampledFrom([]string{"", "rest"}).Draw(t, "rest")
		r := lineReader{r: bytes.NewReader([]byte(text)), max: 9000}
		switch rapid.IntRange(0, 3).Draw(t, "reader") {
		case 1:
			r.r = iotest.OneByteReader(r.r)
		case 2:
			r.r = iotest.DataErrReader(r.r)
		case 3:
			r.r = &timeouts{r: strings.NewReader(text)}
		}
		var got []string
		for {
			line, err := r.next()
			if err == os.ErrDeadlineExceeded {
				continue
			}
			if err != nil {
				break
			}
			got = append(got, string(line))
		}
		want := strings.Split(text, "\n")
		want = want[:len(want)-1]
		if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Fatalf("%d lines, want %d", len(got), len(want))
		}
	})
}

// timeouts fails every other read, sometimes with bytes.
type timeouts struct {
	r *strings.Reader
	n int
}

func (r *timeouts) Read(b []byte) (int, error) {
	r.n++
	if r.n%2 == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := r.r.Read(b[:min(301, len(b))])
	if err == nil && r.n%3 == 0 {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}
