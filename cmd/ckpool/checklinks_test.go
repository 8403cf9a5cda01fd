package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// linkTo is a pool that answers a request for a link with a line, "" closing the connection.
func linkTo(t *testing.T, answer string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && strings.Contains(line, "mining.passthrough") && answer != "" {
				fmt.Fprintln(c, answer)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

// Each pool of a redirector is asked for a link, and told of with its place in the file; so
// are pools elsewhere that firmware would not go to.
func TestCheckLinks(t *testing.T) {
	own, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	gone, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	short, inC := linkTo(t, `{"result":true,"dialect":1}`), linkTo(t, `{"result": true}`)
	refuses, mute := linkTo(t, `{"result":false,"error":"the secret is not that of \"link_secret\" here"}`), linkTo(t, "")
	odd := linkTo(t, `{"result":true,"dialect":7}`)
	t.Chdir(t.TempDir())
	const path = "redirector.conf"
	text := fmt.Sprintf(`{"serverurl": "127.0.0.1:%s", "proxy": [
{"url": %q},
{"url": %q},
{"url": %q},
{"url": %q},
{"url": %q},
{"url": "127.0.0.1:%s"}], "redirecturl": [
"EU.pool.example:3333",
"us.pool.example.",
"pool.example.net:3333",
"192.0.2.7:3333"]}`, own, short, inC, refuses, mute, odd, gone)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"ckpool", "--check", "-R", "-c", path, "-s", "sockets"}, &stdout, &stderr); status != 1 {
		t.Errorf("status %d", status)
	}
	out := strings.Join(strings.Fields(stdout.String()), " ")
	for _, want := range []string{
		"mode redirector miners are served by other pools, and sent on",
		"pool " + short + " ok: gives a link, with short lines",
		"pool " + inC + " ok: gives a link, with lines of ckpool in C",
		"pool " + refuses + " refused", "pool " + mute + " refused", "pool " + odd + " unreachable", "pool 127.0.0.1:" + gone + " unreachable",
		"redirect EU.pool.example:3333 from domain pool.example",
		path + ": 2 errors, 4 warnings; not checked: pool " + odd + ", pool 127.0.0.1:" + gone,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, want := range []string{
		path + `:4: pool ` + refuses + `: it gives no link: the secret is not that of "link_secret" here`,
		path + `:5: pool ` + mute + `: it gives no link: it closes the connection`,
		path + `:6: warning: pool ` + odd + `: it answers mining.passthrough with a dialect that was not offered, 7`,
		path + `:7: warning: pool 127.0.0.1:` + gone + `: connect: connection refused`,
		path + `:10: warning: pool.example.net:3333 is in another domain than EU.pool.example:3333: most firmware goes only to the domain that it was given`,
		path + `:11: warning: 192.0.2.7:3333 is in another domain`,
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Logf("\n%s%s", &stdout, &stderr)
	}
}

// Whoever reaches a listener for links has one, where no secret is asked for.
func TestCheckLinkListeners(t *testing.T) {
	dir := t.TempDir()
	for listener, warned := range map[string]bool{
		`"trusted": "127.0.0.1:3443"`: false, `"trusted": "[::1]:3443"`: false, `"nodeserver": "localhost:3443"`: false,
		`"trusted": "0.0.0.0:3443"`: true, `"nodeserver": ["[::]:3443"]`: true, `"passthroughserver": ":3443"`: true,
		`"trusted": "0.0.0.0:3443", "link_secret": "x"`: false,
	} {
		path := filepath.Join(dir, "ckpool.conf")
		if err := os.WriteFile(path, []byte(`{"btcd": [], "serverurl": "0.0.0.0:3333", `+listener+`}`), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		run([]string{"ckpool", "--check", "-c", path, "-s", filepath.Join(dir, "sockets")}, &stdout, &stderr)
		if is := strings.Contains(stderr.String(), ` gives a link to whoever reaches it: set "link_secret", or listen at a private address`); is != warned {
			t.Errorf("%s: %s", listener, &stderr)
		}
	}
}

// A main pool whose certificate or key is not the right one is told of as other pools are: the
// remote would serve miners, and nobody count their shares.
func TestCheckMainPool(t *testing.T) {
	pair := certificate.New(t, "main.example", 1)
	cert, err := x509.ParseCertificate(pair.TLS(t).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
	main := otherpool.Start(t, otherpool.Config{Wrap: func(c net.Conn) net.Conn {
		return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}})
	}}).Addr
	url := "stratum+ssl://" + main
	gone, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	own, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, tt := range []struct {
		upstream, state, told string
		fails                 bool
	}{
		{fmt.Sprintf("%q", url), "main pool " + url + " certificate refused",
			`certificate signed by unknown authority; "pin": "` + key + `" takes it all the same`, true},
		{fmt.Sprintf(`{"url": %q, "pin": "%s"}`, url, strings.Repeat("ab", sha256.Size)), "main pool " + url + " another key", "has the key sha256:" + key, true},
		{`"127.0.0.1:` + gone + `"`, "main pool 127.0.0.1:" + gone + " unreachable", "warning: main pool 127.0.0.1:" + gone, false},
	} {
		path := filepath.Join(dir, "remote.conf")
		text := "{\"btcd\": [], \"serverurl\": \"127.0.0.1:" + own + "\", \"btcaddress\": \"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4\",\n\"upstream\": " + tt.upstream + "}"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		run([]string{"ckpool", "--check", "-t", "-c", path, "-s", filepath.Join(dir, "sockets")}, &stdout, &stderr)
		out := strings.Join(strings.Fields(stdout.String()), " ")
		if !strings.Contains(out, tt.state) || strings.Contains(out, ", main pool ") == tt.fails ||
			!strings.Contains(stderr.String(), tt.told) || strings.Contains(stderr.String(), path+":2: main pool ") != tt.fails {
			t.Errorf("%s:\n%s%s", tt.upstream, &stdout, &stderr)
		}
	}
}
