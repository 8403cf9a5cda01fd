package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/internal/config"
)

func TestOptions(t *testing.T) {
	def := Options{Name: "ckpool", Config: "ckpool.conf", SockDir: "/tmp/ckpool", Group: -1, LogLevel: -1, CkdbName: "ckdb"}
	tests := []struct {
		args string
		want func(*Options)
	}{
		{"", func(*Options) {}},
		{"-B", func(o *Options) { o.Mode = config.Solo }},
		{"-P", func(o *Options) {
			o.Mode, o.Name, o.Config, o.SockDir = config.Passthrough, "ckpassthrough", "ckpassthrough.conf", "/tmp/ckpassthrough"
		}},
		{"--redir -n r", func(o *Options) { o.Mode, o.Name, o.Config, o.SockDir = config.Redirector, "r", "r.conf", "/tmp/r" }},
		{"--btc", func(o *Options) { o.Mode = config.Solo }},
		{"-u", func(o *Options) {
			o.Mode, o.Name, o.Config, o.SockDir = config.UserProxy, "ckproxy", "ckproxy.conf", "/tmp/ckproxy"
		}},
		{"-B -B", func(o *Options) { o.Mode = config.Solo }},
		{"-N -N", func(o *Options) {
			o.Mode, o.Name, o.Config, o.SockDir = config.Node, "cknode", "cknode.conf", "/tmp/cknode"
		}},
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
		{"-A", func(o *Options) { o.Standalone = true }},
		{"-d ckdb", func(o *Options) { o.WithCkdb = true }},
		{"--ckdb-n x", func(o *Options) { o.CkdbName, o.WithCkdb = "x", true }},
		{"-S /opt/ckdb", func(o *Options) { o.CkdbDir, o.WithCkdb = "/opt/ckdb", true }},
		{"-A -d ckdb2 -S /opt/ckdb2 --standalone --ckdb-n x --ckdb-s y", func(o *Options) { o.Standalone, o.CkdbName, o.CkdbDir = true, "x", "y" }},
		{"--check", func(o *Options) { o.Check = true }},
		{"--ignore-unknown", func(o *Options) { o.IgnoreUnknown = true }},
		{"--version", func(o *Options) { o.Version = true }},
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
		{"ckpool -t -A", "-A keeps no journal, and a trusted remote (-t) reports what is in it: leave -A out"},
		{"ckpool -t -d db", "-d and -S name a ckdb, and a trusted remote (-t) asks the one of its main pool: leave them out"},
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
		{"ckpool -X", "ckpool: invalid option -- 'X'; see ckpool -h"},
		{"./ckpool -qX", "ckpool: invalid option -- 'X'; see ckpool -h"},
		{"ckpool --nothing", "ckpool: unrecognized option '--nothing'; see ckpool -h"},
		{"ckpool -c", "ckpool: option requires an argument -- 'c'; see ckpool -h"},
		{"ckpool --name", "ckpool: option '--name' requires an argument; see ckpool -h"},
		{"ckpool --quiet=5", "ckpool: option '--quiet' doesn't allow an argument; see ckpool -h"},
		{"ckpool --log 5", "ckpool: option --log is ambiguous: --loglevel, --log-shares; see ckpool -h"},
		{"ckpool pool.conf -k", `ckpool: "pool.conf" is no option; see ckpool -h`},
		{"ckpool -- -X", `ckpool: "-X" is no option; see ckpool -h`},
		{"ckpool -l abc", "Invalid loglevel (range 0 - 7): abc"},
		{"ckpool -l 8", "Invalid loglevel (range 0 - 7): 8"},
		{"ckpool -l -1", "Invalid loglevel (range 0 - 7): -1"},
		{"ckpool -g no-such-group", "Failed to find group no-such-group"},
		{"ckpool -d /opt/ckdb", `Invalid name "/opt/ckdb" of ckdb: it is that of a directory; its place is -S`},
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

// Help fits 80 columns, begins with how to call the program, and hides what is of
// no use.
func TestHelp(t *testing.T) {
	const want = `Starting
-c, --config FILE
-B, --btcsolo
-p, --proxy
-u, --userproxy
-P, --passthrough
-N, --node
-R, --redirector
-t, --trusted
    --check
-D, --daemonise
-n, --name NAME
    --ignore-unknown
The running instance
-H, --handover
-k, --killold
-s, --sockdir DIR
-g, --group GROUP
The database
-d, --ckdb-name NAME
-S, --ckdb-sockdir DIR
-A, --standalone
What it tells
-l, --loglevel LEVEL
-L, --log-shares
-q, --quiet
Help
-h, --help
    --version
`
	for _, args := range []string{"-h", "--help", "--he", "-X -h", "--nothing -h", "-l 99 -h", "-p -B -h", "-kh"} {
		var stdout, stderr bytes.Buffer
		status := run(append([]string{"ckpool"}, strings.Fields(args)...), &stdout, &stderr)
		text := stdout.String()
		if !strings.HasPrefix(text, "Usage: ckpool [options]\n       ckpool --check ") {
			t.Errorf("%s: %s", args, text)
		}
		_, text, _ = strings.Cut(text, "\n\n") // of the usage line
		_, text, _ = strings.Cut(text, "\n\n") // of the few words
		var options strings.Builder            // without the texts behind them
		for line := range strings.Lines(text) {
			if len(line) > 81 {
				t.Errorf("long line: %s", line)
			}
			if strings.HasPrefix(line, "         ") || line == "\n" {
				continue
			}
			indent := len(line) - len(strings.TrimLeft(line, " "))
			option, text, _ := strings.Cut(line[indent:], "  ")
			if indent > 0 && strings.TrimSpace(text) == "" {
				t.Errorf("no text: %s", line)
			}
			options.WriteString(strings.Repeat(" ", max(0, indent-2)) + strings.TrimSpace(option) + "\n")
		}
		if status != 0 || options.String() != want || stderr.Len() > 0 {
			t.Errorf("%s: status %d, stderr %q, options\n%s", args, status, &stderr, &options)
		}
	}
}
