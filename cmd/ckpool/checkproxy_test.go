package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/upstream"
)

// Each pool of a proxy is tried and told of, with what it gives or why it gives nothing,
// beside its place in the file. Neither a node nor a payout is asked for.
func TestCheckPools(t *testing.T) {
	defer func(d time.Duration) { difficultyTime = d }(difficultyTime)
	difficultyTime = 4 * time.Second
	pair := certificate.New(t, "pool.example", 1)
	cert, err := x509.ParseCertificate(pair.TLS(t).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
	overTLS := func(c net.Conn) net.Conn {
		return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}})
	}
	good := otherpool.Start(t, otherpool.Config{Difficulty: 1000, VersionMask: 0x1fffe000})
	odd := otherpool.Start(t, otherpool.Config{Difficulty: 0.5, WorkFirst: true, NoParams: true, Configure: otherpool.ConfigureCloses,
		Extranonce1: func(int) string { return "010203040506070809" }, Extranonce2Len: 3})
	untold := otherpool.Start(t, otherpool.Config{NoDifficulty: true})
	stranger := otherpool.Start(t, otherpool.Config{NoAuthorize: true})
	full := otherpool.Start(t, otherpool.Config{Full: true})
	easy := otherpool.Start(t, otherpool.Config{Difficulty: 1e-9})
	willing := otherpool.Start(t, otherpool.Config{Difficulty: 1e-9, Suggested: true})
	secure := otherpool.Start(t, otherpool.Config{Difficulty: 2, Wrap: overTLS})
	talker := otherpool.Start(t, otherpool.Config{Wrap: func(c net.Conn) net.Conn {
		_, _ = c.Write([]byte(`{"id":null,"method":"client.show_message","params":["hello"]}` + "\n")) // the connection tells
		return c
	}})
	gone, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	own, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("ab", sha256.Size)
	tests := []struct{ url, more, stdout, stderr string }{
		{good.Addr, "", "ok: extranonce1 of 4 bytes, extranonce2 of 8 bytes, difficulty 1000, version mask 1fffe000", ""},
		{odd.Addr, "", "ok: extranonce1 of 9 bytes, extranonce2 of 3 bytes, difficulty 0.5, no version rolling", ""},
		{untold.Addr, "", "ok: extranonce1 of 4 bytes, extranonce2 of 8 bytes, difficulty 1, no version rolling", ""},
		{stranger.Addr, "", "refused", `refuses the user "farm": no`},
		{full.Addr, "", "no work", "warning: pool " + full.Addr + ": mining.subscribe refused: server is full"},
		{easy.Addr, "", "cannot be used: extranonce1 of 4 bytes, extranonce2 of 8 bytes, difficulty 1e-09, no version rolling",
			`it asks for a difficulty of 1e-09, and no miner's falls below 0.0001: set "mindiff" to that or less`},
		{willing.Addr, "", "ok: extranonce1 of 4 bytes, extranonce2 of 8 bytes, difficulty 0.0001, no version rolling", ""},
		{"127.0.0.1:" + gone, "", "unreachable", "warning: pool 127.0.0.1:" + gone + ": connect: connection refused"},
		{"localhost:" + own, "", "this instance", "pool localhost:" + own + ": that is this instance itself, by its serverurl"},
		{"stratum+ssl://127.0.0.1:" + own, "", "this instance", "that is this instance itself"},
		{"stratum+ssl://" + secure.Addr, "", "certificate refused",
			`certificate signed by unknown authority; "pin": "` + key + `" takes it all the same, if the pool says that this is its key`},
		{"stratum+ssl://" + secure.Addr, `, "pin": "` + key + `"`, "ok: extranonce1 of 4 bytes, extranonce2 of 8 bytes, difficulty 2, no version rolling", ""},
		{"stratum+ssl://" + secure.Addr, `, "pin": "` + other + `"`, "another key", "has the key sha256:" + key + ", not the pinned one"},
		{"stratum+ssl://" + good.Addr, "", "no TLS", "warning: pool stratum+ssl://" + good.Addr + ": closed the connection before TLS was agreed on: is that its port for TLS?"},
		{"stratum+ssl://" + talker.Addr, "", "no TLS", "does not speak TLS there: use stratum+tcp://, or its port for TLS"},
	}
	text := fmt.Sprintf("{\"highdiff\": 0, \"serverurl\": \"127.0.0.1:%s\", \"proxy\": [", own)
	for _, tt := range tests {
		text += fmt.Sprintf("\n{\"url\": %q, \"auth\": \"farm\", \"pass\": \"x\"%s},", tt.url, tt.more)
	}
	t.Chdir(t.TempDir())
	const path = "proxy.conf"
	if err := os.WriteFile(path, []byte(text+"]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"ckpool", "--check", "-p", "-c", path, "-s", "sockets"}, &stdout, &stderr); status != 1 {
		t.Errorf("status %d", status)
	}
	states := map[string][]string{}
	for line := range strings.Lines(stdout.String()) {
		if rest, ok := strings.CutPrefix(line, "pool "); ok {
			url, state, _ := strings.Cut(strings.TrimSpace(rest), " ")
			states[url] = append(states[url], strings.TrimSpace(state))
		}
	}
	for i, tt := range tests {
		if !strings.Contains(strings.Join(states[tt.url], "\n"), tt.stdout) {
			t.Errorf("pool %s: %q, want %q", tt.url, states[tt.url], tt.stdout)
		}
		told := ""
		for line := range strings.Lines(stderr.String()) {
			if text, ok := strings.CutPrefix(line, fmt.Sprintf("%s:%d: ", path, i+2)); ok {
				told += text
			}
		}
		if (told == "") != (tt.stderr == "") || !strings.Contains(told, tt.stderr) || strings.Count(told, "\n") > 1 {
			t.Errorf("pool %s: told %q, want one line with %q", tt.url, told, tt.stderr)
		}
	}
	if out := stdout.String(); !strings.Contains(out, "mode     proxy") || strings.Contains(out, "node") ||
		!strings.Contains(out, fmt.Sprintf("%s: 7 errors, 3 warnings; not checked: pool %s, pool 127.0.0.1:%s, pool stratum+ssl://%s\n", path, full.Addr, gone, good.Addr)) {
		t.Errorf("stdout\n%s", out)
	}
	if t.Failed() {
		t.Logf("\n%s%s", &stdout, &stderr)
	}
}

// With -u the same is looked at, and it is said how many users may have accounts.
func TestCheckUserProxy(t *testing.T) {
	above := otherpool.Start(t, otherpool.Config{Difficulty: 1000})
	own, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	text := fmt.Sprintf(`{"highdiff": 0, "serverurl": "127.0.0.1:%s", "proxy": [{"url": %q, "auth": "farm", "pass": "x"}], "max_user_proxies": 7}`, own, above.Addr)
	if err := os.WriteFile("ckproxy.conf", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"ckpool", "--check", "-u", "-s", "sockets"}, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Errorf("status %d, %s", status, &stderr)
	}
	if out := stdout.String(); !strings.Contains(out, "mode     user proxy") || !strings.Contains(out, "up to 7 users with accounts of their own there") ||
		!strings.Contains(out, "ok: extranonce1 of 4 bytes") || !strings.Contains(out, "no errors") {
		t.Errorf("stdout\n%s", out)
	}
}

// A pool that leaves a question open is waited for no longer than 10 seconds.
func TestCheckPoolHangs(t *testing.T) {
	for name, tt := range map[string]struct {
		config otherpool.Config
		want   string
	}{
		"no answer": {otherpool.Config{Stuck: true}, "no answer within 10s"},
		"no work":   {otherpool.Config{NoWork: true}, errNoJob.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := otherpool.New(t, tt.config)
				begun := time.Now()
				_, err := try(t.Context(), upstream.Config{URL: "pool.example:3333", User: "farm"}, p.Dial)
				if err == nil || err.Error() != tt.want || time.Since(begun) != 10*time.Second {
					t.Errorf("%v after %v, want %s after 10s", err, time.Since(begun), tt.want)
				}
			})
		})
	}
}
