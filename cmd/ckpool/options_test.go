package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ckpool/internal/config"
	"ckpool/internal/testkit/certificate"
)

func TestOptions(t *testing.T) {
	def := Options{Name: "ckpool", Config: "ckpool.conf", SockDir: "/tmp/ckpool", Group: -1, LogLevel: -1}
	tests := []struct {
		args string
		want func(*Options)
	}{
		{"", func(*Options) {}},
		{"-B", func(o *Options) { o.Mode = config.Solo }},
		{"--btc", func(o *Options) { o.Mode = config.Solo }},
		{"-B -B", func(o *Options) { o.Mode = config.Solo }},
		{"-c /etc/pool.conf", func(o *Options) { o.Config = "/etc/pool.conf" }},
		{"--conf=x", func(o *Options) { o.Config = "x" }},
		{"-n btc2", func(o *Options) { o.Name, o.Config, o.SockDir = "btc2", "btc2.conf", "/tmp/btc2" }},
		{"-nx -s /run/y", func(o *Options) { o.Name, o.Config, o.SockDir = "x", "x.conf", "/run/y" }},
		{"-k", func(o *Options) { o.KillOld = true }},
		{"-H", func(o *Options) { o.KillOld, o.Handover = true, true }},
		{"-DLqkl7", func(o *Options) { o.Daemonise, o.LogShares, o.Quiet, o.KillOld, o.LogLevel = true, true, true, true, 7 }},
		{"--logl 0", func(o *Options) { o.LogLevel = 0 }},
		{"-l 3 -l 4", func(o *Options) { o.LogLevel = 4 }},
		{"-g root", func(o *Options) { o.Group = 0 }},
		{"-A -d ckdb2 -S /opt/ckdb2 --standalone --ckdb-n x --ckdb-s y", func(*Options) {}},
		{"operands are ignored -k", func(o *Options) { o.Ignored, o.KillOld = "operands are ignored", true }},
		{"-- -X", func(o *Options) { o.Ignored = "-X" }},
		{"--check", func(o *Options) { o.Check = true }},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			want := def
			tt.want(&want)
			got, err := parseOptions(append([]string{"/usr/bin/ckpool"}, strings.Fields(tt.args)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOptionErrors(t *testing.T) {
	const (
		solo   = "Cannot set both proxy and btcsolo mode"
		node   = "Cannot set another proxy type or redirector and node mode"
		pass   = "Cannot set another proxy type or redirector and passthrough mode"
		proxy  = "Cannot set another proxy type or redirector and proxy mode"
		redir  = "Cannot set a proxy type or passthrough and redirector modes"
		remote = "Cannot set a proxy type and trusted remote mode"
		user   = "Cannot set both userproxy and another proxy type or redirector"
	)
	tests := []struct{ args, want string }{
		{"ckpool -P", "not built yet: -P"},
		{"ckpool --passthrough", "not built yet: -P"},
		{"ckpool -p -p", "not built yet: -p"},
		{"ckpool -R", "not built yet: -R"},
		{"ckpool -N -N", "not built yet: -N"},
		{"ckpool -t", "not built yet: -t"},
		{"ckpool -u", "not built yet: -u"},
		{"ckproxy", "not built yet: -p"},
		{"ckproxy -p", "not built yet: -p"},
		{"ckpool -p -B", solo},
		{"ckpool -B -p", solo},
		{"ckpool -B -P", solo},
		{"ckproxy -B", solo},
		{"ckpool -t -B", "Cannot set both trusted remote and btcsolo mode"},
		{"ckpool -p -N", node},
		{"ckpool -N -P", pass},
		{"ckproxy -P", pass},
		{"ckpool -P -p", proxy},
		{"ckpool -u -R", redir},
		{"ckpool -p -t", remote},
		{"ckpool -t -p", remote},
		{"ckpool -p -u", user},
		{"ckpool -R -u", user},
		{"ckpool -X", "ckpool: invalid option -- 'X'"},
		{"./ckpool -qX", "ckpool: invalid option -- 'X'"},
		{"ckpool --nothing", "ckpool: unrecognized option '--nothing'"},
		{"ckpool -c", "ckpool: option requires an argument -- 'c'"},
		{"ckpool --name", "ckpool: option '--name' requires an argument"},
		{"ckpool --quiet=5", "ckpool: option '--quiet' doesn't allow an argument"},
		{"ckpool --log 5", "ckpool: option --log is ambiguous: --log-shares, --loglevel"},
		{"ckpool -l abc", "Invalid loglevel (range 0 - 7): abc"},
		{"ckpool -l 8", "Invalid loglevel (range 0 - 7): 8"},
		{"ckpool -l -1", "Invalid loglevel (range 0 - 7): -1"},
		{"ckpool -g no-such-group", "Failed to find group no-such-group"},
		{"ckpool -n a/b", `Invalid name "a/b": it becomes a file name`},
	}
	for _, tt := range tests {
		_, err := parseOptions(strings.Fields(tt.args))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.args, err, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	tests := []struct{ args, name string }{
		{"ckpool", "ckpool"}, {"ckpool -B", "ckpool"}, {"ckpool -t", "ckpool"},
		{"ckpool -N", "cknode"}, {"ckpool -R", "ckredirector"}, {"ckpool -P", "ckpassthrough"},
		{"ckpool -p", "ckproxy"}, {"ckpool -u", "ckproxy"},
	}
	for _, tt := range tests {
		f, err := readFlags(strings.Fields(tt.args)[1:])
		if err != nil {
			t.Fatal(err)
		}
		if err := f.resolve(); err != nil || f.Name != tt.name || f.Config != tt.name+".conf" || f.SockDir != "/tmp/"+tt.name {
			t.Errorf("%s: %+v, %v", tt.args, f.Options, err)
		}
	}
}

func TestDefaultConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	check := func(name string, m config.Mode, want string) {
		t.Helper()
		if got := defaultConfig(name, m); got != want {
			t.Errorf("mode %d takes %s, want %s", m, got, want)
		}
	}
	check("ckpassthrough", config.Passthrough, "ckpassthrough.conf")
	os.WriteFile("ckproxy.conf", nil, 0o600)
	check("ckpassthrough", config.Passthrough, "ckproxy.conf")
	check("ckredirector", config.Redirector, "ckproxy.conf")
	check("cknode", config.Node, "ckproxy.conf")
	check("ckpool", config.Pool, "ckpool.conf")
	os.WriteFile("ckpassthrough.conf", nil, 0o600)
	check("ckpassthrough", config.Passthrough, "ckpassthrough.conf")
}

func TestHelp(t *testing.T) {
	const want = `-A | --standalone
-B | --btcsolo
-c CONFIG | --config CONFIG
-D | --daemonise
-d CKDB-NAME | --ckdb-name CKDB-NAME
-g GROUP | --group GROUP
-H | --handover
-h | --help
-k | --killold
-L | --log-shares
-l LOGLEVEL | --loglevel LOGLEVEL
-N | --node
-n NAME | --name NAME
-P | --passthrough
-p | --proxy
-q | --quiet
-R | --redirector
-S CKDB-SOCKDIR | --ckdb-sockdir CKDB-SOCKDIR
-s SOCKDIR | --sockdir SOCKDIR
-t | --trusted
-u | --userproxy
--check
`
	for _, args := range []string{"-h", "--help", "--he", "-X -h", "--nothing -h", "-l 99 -h", "-p -B -h", "-kh"} {
		var stdout, stderr bytes.Buffer
		status := run(append([]string{"ckpool"}, strings.Fields(args)...), &stdout, &stderr)
		var options strings.Builder // without the texts behind them
		for line := range strings.Lines(stdout.String()) {
			option, text, _ := strings.Cut(line, "  ")
			if strings.TrimSpace(text) == "" {
				t.Errorf("no text: %s", line)
			}
			options.WriteString(option + "\n")
		}
		if status != 0 || options.String() != want || stderr.Len() > 0 {
			t.Errorf("%s: status %d, stderr %q, options\n%s", args, status, &stderr, &options)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate.New(t, "pool.example", 1).Write(t, dir)
	oldCert, oldKey := certificate.NewExpired(t, "pool.example", 2).Write(t, t.TempDir())
	tls := func(cert, key string) string {
		return fmt.Sprintf("{\"serverurl\": [\":1\", {\"url\": \"stratum+ssl://:2\",\n\"tls\": {\"cert\": %q, \"key\": %q}, \"proxy_protocol\": true}]}", cert, key)
	}
	tests := []struct {
		name, text     string
		status         int
		stdout, stderr string // FILE stands for the file's path
	}{
		{"good", `{"mindiff": 2}`, 0, "FILE: no errors\n", ""},
		{"warning", `{"mindif": 2}`, 0, "FILE: no errors\n", "FILE:1: unknown key \"mindif\", ignored; did you mean \"mindiff\"?\n"},
		{"error", "{\n\"mindiff\": \"x\"}", 1, "", "FILE:2: \"mindiff\": want a number above 0, got \"x\"\n"},
		{"tls", tls(cert, key), 0, "FILE: no errors\n", ""},
		{"no certificate", tls(dir+"/none", key), 1, "", "FILE:2: TLS certificate " + dir + "/none: no such file or directory\n"},
		{"another's key", tls(cert, oldKey), 1, "", "FILE:2: TLS certificate " + cert + " with key " + oldKey + ": private key does not match public key\n"},
		{"expired", tls(oldCert, oldKey), 0, "FILE: no errors\n",
			"FILE:2: TLS certificate " + oldCert + " has expired on " + time.Now().Add(-time.Hour).UTC().Format(time.DateOnly) + ", miners may refuse it\n"},
		{"one listener", `{"serverurl": {"url": ":1", "tls": {"cert": "/none", "key": "k"}}}`, 1, "", "FILE:1: TLS certificate /none: no such file or directory\n"},
		{"links", `{"nodeserver": ":1"}`, 0, "FILE: no errors\n", "FILE: not built yet: \"nodeserver\", not listening on :1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			status := run([]string{"ckpool", "-B", "--check", "-c", path}, &stdout, &stderr)
			named := func(s string) string { return strings.ReplaceAll(s, "FILE", path) }
			if status != tt.status || stdout.String() != named(tt.stdout) || stderr.String() != named(tt.stderr) {
				t.Errorf("status %d\nstdout %q\nstderr %q", status, &stdout, &stderr)
			}
		})
	}
}
