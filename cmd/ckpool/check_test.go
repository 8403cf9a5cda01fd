package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// What a start depends on beside the file's own text, each with its line.
func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate.New(t, "pool.example", 1).Write(t, dir)
	oldCert, oldKey := certificate.NewExpired(t, "pool.example", 2).Write(t, t.TempDir())
	tls := func(cert, key string) string {
		return fmt.Sprintf("{\"serverurl\": [\":1\", {\"url\": \"stratum+ssl://:2\",\n\"tls\": {\"cert\": %q, \"key\": %q}, \"proxy_protocol\": true}]}", cert, key)
	}
	tests := []struct {
		name, text       string
		ignoreUnknown    bool
		errors, warnings string // FILE stands for the file's path
	}{
		{"good", `{"mindiff": 2}`, false, "", ""},
		{"warning", `{"mindif": 2}`, false, "", "FILE:1: unknown key \"mindif\", ignored; did you mean \"mindiff\"?"},
		{"errors", "{\n\"mindiff\": \"x\",\n\"startdiff\": -1}", false,
			"FILE:2: \"mindiff\": want a number above 0, got \"x\"\nFILE:3: \"startdiff\": want a number above 0, got -1", ""},
		{"tls", tls(cert, key), false, "", ""},
		{"no certificate", tls(dir+"/none", key), false, "FILE:2: TLS certificate " + dir + "/none: no such file or directory", ""},
		{"another's key", tls(cert, oldKey), false, "FILE:2: TLS certificate " + cert + " with key " + oldKey + ": private key does not match public key", ""},
		{"expired", tls(oldCert, oldKey), false, "",
			"FILE:2: TLS certificate " + oldCert + " has expired on " + time.Now().Add(-time.Hour).UTC().Format(time.DateOnly) + ", miners may refuse it"},
		{"one listener", `{"serverurl": {"url": ":1", "tls": {"cert": "/none", "key": "k"}}}`, false, "FILE:1: TLS certificate /none: no such file or directory", ""},
		{"foreign key", `{"donrate": 1}`, false, `FILE:1: unknown key "donrate": here it is "donation"`, ""},
		{"foreign key, ignored", `{"donrate": 1}`, true, "", `FILE:1: ignored: unknown key "donrate": here it is "donation"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, warnings, err := loadConfig(Options{Config: path, Mode: config.Solo, IgnoreUnknown: tt.ignoreUnknown})
			var errs config.Errors
			if err != nil && !errors.As(err, &errs) {
				t.Errorf("an error of type %T", err)
			}
			named := func(s string) string { return strings.ReplaceAll(s, "FILE", path) }
			if got := errs.Error(); got != named(tt.errors) {
				t.Errorf("errors\n%s\nwant\n%s", got, named(tt.errors))
			}
			if got := strings.Join(texts(warnings), "\n"); got != named(tt.warnings) {
				t.Errorf("warnings\n%s\nwant\n%s", got, named(tt.warnings))
			}
		})
	}
}

// All nodes are asked at the same time, and each is told of.
func TestCheckNodes(t *testing.T) {
	main := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, Height: 900007})
	regtest := testkit.StartFakeNode(t, fakenode.Config{})
	hanging := testkit.StartFakeNode(t, fakenode.Config{})
	hanging.SetFault(fakenode.Fault{Kind: fakenode.Hang})
	node := func(n *testkit.FakeNode) string {
		return fmt.Sprintf(`{"url": %q, "auth": %q, "pass": %q}`, n.Addr(), testkit.FakeNodeUser, testkit.FakeNodePassword)
	}
	t.Chdir(t.TempDir())
	port, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	const path, many, waits = "pool.conf", 8, 8 * time.Second // for each of the many that hang
	defer func(d time.Duration) { probeTime = d }(probeTime)
	probeTime = waits // the others may take as long on a busy machine
	text := fmt.Sprintf("{\"serverurl\": \"127.0.0.1:%s\", \"solo\": true, \"btcd\": [\n%s,\n%s%s]}",
		port, node(main), node(regtest), strings.Repeat(",\n"+node(hanging), many))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	begun := time.Now()
	status := run([]string{"ckpool", "--check", "-c", path, "-s", "sockets"}, &stdout, &stderr)
	if took := time.Since(begun); took > many/2*waits {
		t.Errorf("it took %v", took)
	}
	for _, want := range []string{
		"node     " + main.Addr() + "  main, height 900,007, in sync\n",
		"node     " + regtest.Addr() + "  regtest, height 1,000, in sync\n",
		"node     " + hanging.Addr() + "  unreachable\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("stdout lacks %s", want)
		}
	}
	for _, want := range []string{
		path + ":3: node " + regtest.Addr() + ": is on the chain regtest, the first node on main\n",
		path + ":4: warning: node " + hanging.Addr() + ": no answer within 8s: it hangs or is overloaded\n",
		path + ":5: warning: node " + hanging.Addr() + ": no answer within 8s: it hangs or is overloaded\n",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %s", want)
		}
	}
	if status != 1 || t.Failed() {
		t.Errorf("status %d\n%s%s", status, &stderr, &stdout)
	}
}
