package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
