package operation

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// configurations are those of a page, by name: an object behind the name in backquotes.
func configurations(t *testing.T, page string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)((?:`[a-z]+\\.conf`[^`{}]*?)+):.{0,250}?\n\n +(\\{ .*? \\})\n").FindAllStringSubmatch(string(text), -1) {
		for _, name := range regexp.MustCompile("`([a-z]+\\.conf)`").FindAllStringSubmatch(m[1], -1) {
			found[name[1]] = m[2]
		}
	}
	return found
}

// The configurations of docs/links.md work together: a pool, passthroughs on three continents,
// and a redirector that a newcomer is sent on from to one of them.
func TestLinksPage(t *testing.T) {
	t.Parallel()
	page := configurations(t, "../../docs/links.md")
	n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	pair := certificate.New(t, "pool.example", 1)
	cert, err := x509.ParseCertificate(pair.TLS(t).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ck") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	pair.Write(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	free := func() string {
		p, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + p
	}
	links := free()
	at := map[string]string{}
	for _, name := range []string{"ckpool", "ckpassthrough", "eu", "us", "asia", "ckredirector"} {
		at[name] = free()
	}
	start := func(name string, options ...string) {
		t.Helper()
		text, ok := page[name+".conf"]
		if !ok {
			t.Fatalf("no %s.conf on the page, but %d others", name, len(page))
		}
		for was, is := range map[string]string{
			`{"url": "127.0.0.1:8332", "cookie": "~/.bitcoin/.cookie"}`: fmt.Sprintf(`{"url": %q, "auth": "user", "pass": "pass"}`, n.Addr()),
			"bc1q…":                  "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
			"[::]:3443":              links,
			"[::]:3333":              at[name],
			"main.pool.example:3443": links,
			"pool.example:3443":      links,
			"eu.pool.example:3333":   at["eu"],
			"us.pool.example:3333":   at["us"],
			"asia.pool.example:3333": at["asia"],
			"2f0c5d1e3b4a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0": fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo)),
		} {
			if was != "pool.example:3443" || !strings.Contains(text, "main.pool.example") {
				text = strings.ReplaceAll(text, was, is)
			}
		}
		if name == "ckpool" {
			text = fmt.Sprintf(`{"serverurl": %q, "mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, %s`, at[name], text[1:])
		}
		if err := os.WriteFile(filepath.Join(dir, name+".conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), filepath.Join(programs, "ckpool"), append(options, "-n", name, "-s", filepath.Join(dir, "s", name))...)
		c.Dir = dir
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
			if t.Failed() {
				t.Logf("%s\n%s", name, &out)
			}
		})
		log := filepath.Join(dir, "logs", name+".log")
		if err := await(func() error {
			b, err := os.ReadFile(log)
			if err == nil && !strings.Contains(string(b), map[bool]string{true: "serves the miners", false: "Listening on"}[len(options) > 0]) {
				err = fmt.Errorf("%s: %s", name, b)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	mine := func(where, user string) *scriptMiner {
		t.Helper()
		m, err := dial(at[where], user, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.close)
		if reject, err := m.submit(""); reject != "" || err != nil {
			t.Fatalf("%s: %q, %v", where, reject, err)
		}
		return m
	}
	start("ckpool")
	start("ckpassthrough", "-P")
	mine("ckpassthrough", "alice")
	for _, name := range []string{"eu", "us", "asia"} {
		start(name, "-P")
		mine(name, "bob."+name)
	}
	start("ckredirector", "-R")
	newcomer := mine("ckredirector", "carol")
	host, to, _ := strings.Cut(at["eu"], ":")
	if err := newcomer.await(regexp.MustCompile(fmt.Sprintf("reconnect %q %s$", host, to))); err != nil {
		t.Fatal(err)
	}
	mine("eu", "carol")
	reply, err := wait.Reply(t.Context(), control.Dial(filepath.Join(dir, "s"), "ckpool", "listener"), "users")
	var list control.UserList
	if err == nil {
		err = json.Unmarshal([]byte(reply), &list)
	}
	if err != nil || len(list.Users) != 3 {
		t.Errorf("%s, %v", reply, err)
	}
}
