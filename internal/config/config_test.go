package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/poolproto"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const payTo = `"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",`

// comparePrefixes lets cmp look at netip values.
var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

func parse(t *testing.T, text string, m Mode) (Config, []Warning) {
	t.Helper()
	c, warnings, err := Parse("ckpool.conf", []byte(text), m)
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

func TestDefaults(t *testing.T) {
	for m := Pool; m <= Remote; m++ {
		want := Default(m)
		want.File = "ckpool.conf"
		required := `"proxy": [{"url": "a:1", "auth": "u"}], "redirecturl": ["b:2"], "upstream": "c:3",` + payTo
		got, warnings := parse(t, "{"+required+"}", m)
		if diff := cmp.Diff(want, got, comparePrefixes, cmpopts.IgnoreFields(Config{}, "Proxies", "RedirectURLs", "Upstream", "BTCAddress")); diff != "" {
			t.Errorf("mode %d: an empty file is not the default (-want +got):\n%s", m, diff)
		}
		if warnings != nil {
			t.Errorf("mode %d: warnings %v", m, warnings)
		}
	}
	c := Default(Pool)
	if c.MinDiff != 0.0001 || c.StartDiff != 42 || c.MaxDiff != 0 || c.Servers[0].URL != "[::]:3333" || c.Nonce2Length != 8 ||
		c.BlockPoll != 100*time.Millisecond || c.UpdateInterval != 30*time.Second || c.DropWithoutWork != 5*time.Minute {
		t.Errorf("unexpected defaults: %+v", c)
	}
	if c.ProxyHold != time.Minute || c.MaxConnectionsPerProxy != 32 || c.MaxUserProxies != 1000 {
		t.Errorf("unexpected defaults of upstreams: %+v", c)
	}
	// A proxy's default is another port, which its guide tells.
	guide, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(Default(Proxy).Servers[0].URL, "]")
	if want := "stratum+tcp://<this machine>" + port; !strings.Contains(string(guide), want) {
		t.Errorf("docs/proxy.md does not tell %s", want)
	}
	if p := Default(Passthrough); p.Servers[0].URL != "[::]:3334" || p.Nonce2Length != 0 {
		t.Errorf("unexpected defaults of a proxy mode: %+v", p)
	}
}

func TestAllKeys(t *testing.T) {
	c, warnings := parse(t, `{
		// nodes
		"btcd": [
			{"url": "127.0.0.1:8332", "auth": "rpcuser", "pass": "rpcpass", "notify": true},
			{"url": "http://[::1]:18443/wallet/x", "cookie": "/data/.cookie", "zmq": ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]},
			{"url": "node.example", "auth": "a", "pass": "", "zmq": "tcp://node.example:28332"},
		],
		"zmqblock": "tcp://127.0.0.1:28333",
		"blockpoll": 250, "update_interval": 20,
		"proxy": [
			{"url": "stratum+tcp://pool-a.example:3333", "auth": "user.worker", "pass": "x"}, {"url": "b:1", "auth": "u"},
			{"url": "stratum+ssl://c.example:443", "auth": "u", "weight": 0.7, "socks5": "127.0.0.1:9050", "agent": "farm/1.0",
			 "pin": "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"},
		],
		"proxy_hold": 90, "max_connections_per_proxy": 5, "max_user_proxies": 0,
		"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "btcsig": "/sig/", "pooltag": "mypool",
		"donaddress": "bc1q8qkesw5kyplv7hdxyseqls5m78w5tqdfd40lf5", "donation": 1.5,
		"version_mask": "1FFFE000", "nonce1length": 3, "nonce2length": 7,
		"serverurl": [
			"0.0.0.0:3333", "0.0.0.0:4001",
			{"url": "[::]:443", "mindiff": 5, "startdiff": 6.5, "maxdiff": 0, "tls": {"cert": "c.pem", "key": "k.pem"},
			 "public_url": "stratum+ssl://pool.example:443",
			 "proxy_protocol": true, "trusted_networks": ["192.0.2.0/24"]},
		],
		"nodeserver": ["127.0.0.1:3335"], "trusted": "127.0.0.1:3336", "passthroughserver": ["127.0.0.1:3337"], "link_secret": "hidden",
		"upstream": "main.example:3336", "redirecturl": ["r.example:3333"], "reconnects_per_second": 300,
		"mindiff": 0.5, "startdiff": 64, "highdiff": 2e6, "maxdiff": 1e9, "allow_low_diff": true,
		"journal": "shares", "journal_sync": 20, "journal_size": 3, "metrics": "127.0.0.1:9100",
		"logdir": "/var/log/ckpool", "loglevel": 6, "maxclients": 5000, "dropidle": 3600, "useragent": ["cgminer", "Nerd"],
		"max_pool_useragents": 0, "password": "s3cret", "drop_without_work": 0, "max_line": 4096,
		"max_connections_per_address": 10, "new_connections_per_second": 0, "new_connections_burst": 7,
		"http": {"url": "0.0.0.0:8443", "tls": {"cert": "c.pem", "key": "k.pem"}}, "http_base": "/a/b/", "http_trusted_networks": ["192.0.2.7"],
		"http_origins": ["https://stats.example", "*"], "private_users": ["alice"],
		"notify": [{"type": "slack", "url": "https://hooks.slack.example/x", "events": "node_up"}],
		"max_unauthorised_per_address": 8, "limit_exempt": [], "trusted_networks": ["10.1.2.3/8", "2001:db8::1"],
	}
	free text } here, {"mindiff": "even this"`, Pool)
	if warnings != nil {
		t.Errorf("warnings: %v", warnings)
	}
	listener := func(key, url string, links poolproto.Role) Listener {
		return Listener{Key: key, URL: url, Links: links, MinDiff: 0.5, StartDiff: 64, MaxDiff: 1e9}
	}
	high := listener("serverurl[1]", "0.0.0.0:4001", 0)
	high.HighDiff = 2e6
	want := Config{
		File: "ckpool.conf",
		Nodes: []bitcoind.Config{
			{URL: "127.0.0.1:8332", User: "rpcuser", Pass: "rpcpass", Notify: true, ZMQ: []string{"tcp://127.0.0.1:28333"}},
			{URL: "http://[::1]:18443/wallet/x", Cookie: "/data/.cookie", ZMQ: []string{"tcp://127.0.0.1:1", "tcp://127.0.0.1:2"}},
			{URL: "node.example", User: "a", ZMQ: []string{"tcp://node.example:28332"}},
		},
		BlockPoll: 250 * time.Millisecond, UpdateInterval: 20 * time.Second,
		BTCAddress: "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", BTCSig: "/sig/", PoolTag: "mypool",
		DonAddress: "bc1q8qkesw5kyplv7hdxyseqls5m78w5tqdfd40lf5", Donation: 1.5,
		VersionMask: 0x1fffe000, Nonce1Length: 3, Nonce2Length: 7,
		Servers: []Listener{listener("serverurl[0]", "0.0.0.0:3333", 0), high, {
			Key: "serverurl[2]", URL: "[::]:443", MinDiff: 5, StartDiff: 6.5, TLSCert: "c.pem", TLSKey: "k.pem",
			PublicURL:     "stratum+ssl://pool.example:443",
			ProxyProtocol: true, TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		}, listener("nodeserver[0]", "127.0.0.1:3335", poolproto.Node), listener("trusted[0]", "127.0.0.1:3336", poolproto.Remote),
			listener("passthroughserver[0]", "127.0.0.1:3337", poolproto.Passthrough)},
		LinkSecret: "hidden",
		MinDiff:    0.5, StartDiff: 64, MaxDiff: 1e9, HighDiff: 2e6,
		Proxies: []Upstream{
			{URL: "stratum+tcp://pool-a.example:3333", User: "user.worker", Pass: "x"}, {URL: "b:1", User: "u"},
			{URL: "stratum+ssl://c.example:443", User: "u", Weight: 0.7, SOCKS5: "127.0.0.1:9050", Agent: "farm/1.0",
				Pin: bytes.Repeat([]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}, 4)},
		},
		ProxyHold: 90 * time.Second, MaxConnectionsPerProxy: 5,
		Upstream: Upstream{URL: "main.example:3336"}, RedirectURLs: []string{"r.example:3333"}, ReconnectsPerSecond: 300,
		LogDir: "/var/log/ckpool", LogLevel: 6, UserAgents: []string{"cgminer", "Nerd"}, Password: "s3cret", DropIdle: time.Hour,
		Journal: "shares", JournalSync: 20 * time.Millisecond, JournalSize: 3 << 30, Metrics: "127.0.0.1:9100",
		HTTP: HTTP{Listen: "0.0.0.0:8443", TLSCert: "c.pem", TLSKey: "k.pem"}, HTTPBase: "/a/b",
		HTTPTrustedNetworks: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}, HTTPOrigins: []string{"https://stats.example", "*"},
		PrivateUsers: []string{"alice"},
		Notify: []Target{{
			Key: "notify[0]", Name: "slack", Service: "slack", URL: "https://hooks.slack.example/x", Events: []string{"node_up"}, PerHour: 20, Timeout: 30 * time.Second,
		}},
		AllowLowDiff: true, MaxClients: 5000, MaxLine: 4096, MaxConnectionsPerAddress: 10,
		NewConnectionsBurst: 7, MaxUnauthorisedPerAddress: 8, LimitExempt: []netip.Prefix{},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")},
	}
	if diff := cmp.Diff(want, c, comparePrefixes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The sample is what users copy: with nothing but an address put in it must be
// taken without a warning and be the defaults, and it must show every key. As it is
// it must be refused.
func TestSample(t *testing.T) {
	text, err := os.ReadFile("../../docs/ckpool.conf")
	if err != nil {
		t.Fatal(err)
	}
	sample := string(text)
	if sample != Sample() {
		t.Error("docs/ckpool.conf is not as make manual writes it")
	}
	_, _, err = Parse("ckpool.conf", text, Pool)
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), `"btcaddress": want your own bitcoin address`) {
		t.Errorf("unchanged: %v", err)
	}
	want := Default(Pool)
	want.File, want.BTCAddress, want.HighDiff = "ckpool.conf", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", 0
	want.Nodes[0].URL = "127.0.0.1:8332"
	want.LogLevel, want.UserAgents, want.TrustedNetworks = 5, []string{}, []netip.Prefix{}
	want.HTTPOrigins, want.PrivateUsers = []string{}, []string{}
	c, warnings := parse(t, strings.Replace(sample, "YOUR-BITCOIN-ADDRESS", want.BTCAddress, 1), Pool)
	if diff := cmp.Diff(want, c, comparePrefixes); diff != "" || warnings != nil {
		t.Errorf("with an address: warnings %v, -default +got:\n%s", warnings, diff)
	}
	for key := range (&reader{Config: &Config{}}).fields() {
		if !strings.Contains(sample, "\t\""+key+"\":") {
			t.Errorf("%q is not in the sample", key)
		}
	}
	for line := range strings.Lines(sample) {
		if len(strings.ReplaceAll(line, "\t", "    ")) > 100 {
			t.Errorf("long line: %s", line)
		}
	}
}

// Configurations of ckpool in C are taken as they are.
func TestFilesOfC(t *testing.T) {
	for name, text := range map[string]string{
		"2014": `{
"btcd" :  [
	{ "url" : "localhost:8332", "auth" : "user", "pass" : "pass" },
	{ "url" : "backup:8332", "auth" : "user", "pass" : "pass", "notify" : false }
],
"btcaddress" : "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "btcsig" : "/mined by us/",
"blockpoll" : 500, "nonce1length" : 4, "nonce2length" : 8, "update_interval" : 30,
"serverurl" : "pool.example:3333", "mindiff" : 1, "startdiff" : 42, "maxdiff" : 0, "maxclients" : 10000, "logdir" : "logs"
}
Comments from here on are ignored.
`,
		"2026": `{
"btcd" :  [
	{ "url" : "127.0.0.1:8332", "auth" : "user", "pass" : "pass", "notify" : true },
	{ "url" : "backup:8332", "cookie" : "/home/bitcoin/.bitcoin/.cookie" }
],
"proxy" : [ { "url" : "pool-a.example:3333", "auth" : "user.worker", "pass" : "x" } ],
"btcaddress" : "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "btcsig" : "/mined by us/",
"donation" : 0, "blockpoll" : 100, "nonce1length" : 4, "nonce2length" : 8, "update_interval" : 30, "version_mask" : "1fffe000",
"serverurl" : [ "pool.example:3333", "pool.example:80", "[::1]:4444", "127.0.0.1" ],
"nodeserver" : [ "pool.example:3335" ], "trusted" : [ "pool.example:3336" ], "upstream" : "main.example:3336",
"redirecturl" : [ "pool-c.example:3333" ], "mindiff" : 0.001, "startdiff" : 42.5, "highdiff" : 0, "maxdiff" : 0,
"allow_low_diff" : true, "logdir" : "logs", "maxclients" : 0, "dropidle" : 3600, "useragent" : [ "cgminer" ],
"max_pool_useragents" : 100, "zmqblock" : "tcp://127.0.0.1:28332"
}
`,
	} {
		if _, warnings := parse(t, text, Pool); warnings != nil {
			t.Errorf("%s: %v", name, warnings)
		}
	}
	if _, warnings := parse(t, `{ "btcd" : [ { "url" : "127.0.0.1:8332", "auth" : "rpcuser", "pass" : "rpcpass", "notify" : true } ],
  "serverurl" : [ "0.0.0.0:3333" ], "logdir" : "logs" }
free text here, even with } braces {
`, Solo); warnings != nil {
		t.Errorf("solo: %v", warnings)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"example", "{\n\n\"mindiff\": \"x\"}", `ckpool.conf:3: "mindiff": want a number above 0, got "x"`},
		{"negative", `{"startdiff": -1}`, `ckpool.conf:1: "startdiff": want a number above 0, got -1`},
		{"negative maxdiff", `{"maxdiff": -1}`, `ckpool.conf:1: "maxdiff": want a number above 0, or 0 for none, got -1`},
		{"overflow", `{"highdiff": 1e999}`, `ckpool.conf:1: "highdiff": want a number above 0, or 0 for none, got 1e999`},
		{"maxdiff below mindiff", "{" + payTo + "\n\"maxdiff\": 0.5,\n\"mindiff\": 1}",
			`ckpool.conf:2: "maxdiff": want at least mindiff, which is 1, or 0 for none, got 0.5`},
		{"maxdiff of a listener", "{" + payTo + "\n\"serverurl\": [\"a:1\",\n{\"url\": \"b:2\",\n\"maxdiff\": 3, \"mindiff\": 4}]}",
			`ckpool.conf:4: "serverurl[1].maxdiff": want at least mindiff, which is 4, or 0 for none, got 3`},
		{"global maxdiff, listener's mindiff", "{" + payTo + "\n\"maxdiff\": 3, \"serverurl\": [\n{\"url\": \"b:2\", \"mindiff\": 4}]}",
			`ckpool.conf:3: "serverurl[0].maxdiff": want at least mindiff, which is 4, or 0 for none, got 3`},
		{"whole number", `{"blockpoll": 30.0}`, `ckpool.conf:1: "blockpoll": want a whole number of milliseconds, 0 for the default, got 30.0`},
		{"quoted number", `{"update_interval": "30"}`, `ckpool.conf:1: "update_interval": want a whole number of seconds, 0 for the default, got "30"`},
		{"negative interval", `{"blockpoll": -1}`, `ckpool.conf:1: "blockpoll": want a whole number of milliseconds, 0 for the default, got -1`},
		{"null", `{"dropidle": null}`, `ckpool.conf:1: "dropidle": want a whole number of seconds, 0 for never, got null`},
		{"object", `{"logdir": {"a": 1}}`, `ckpool.conf:1: "logdir": want a string, got an object`},
		{"array", `{"btcsig": ["a"]}`, `ckpool.conf:1: "btcsig": want a string, got an array`},
		{"boolean", `{"allow_low_diff": 1}`, `ckpool.conf:1: "allow_low_diff": want true or false, got 1`},
		{"nonce1length", `{"nonce1length": 1}`, `ckpool.conf:1: "nonce1length": want a whole number from 2 to 8 (bytes), 0 for the default, got 1`},
		{"nonce2length", `{"nonce2length": 9}`, `ckpool.conf:1: "nonce2length": want a whole number from 2 to 8 (bytes), 0 for the default, got 9`},
		{"maxclients", `{"maxclients": -5}`, `ckpool.conf:1: "maxclients": want a whole number, 0 for the default, got -5`},
		{"loglevel", `{"loglevel": 8}`, `ckpool.conf:1: "loglevel": want a whole number from 0 to 7, got 8`},
		{"max_line", `{"max_line": 100}`, `ckpool.conf:1: "max_line": want a whole number from 1024 to 1048576 (bytes), got 100`},
		{"version_mask short", `{"version_mask": "1fffe0"}`, `ckpool.conf:1: "version_mask": want a string of 8 hex digits like "1fffe000", got "1fffe0"`},
		{"version_mask not hex", `{"version_mask": "1fffe00g"}`, `ckpool.conf:1: "version_mask": want a string of 8 hex digits like "1fffe000", got "1fffe00g"`},
		{"version_mask signed", `{"version_mask": "+1fffe00"}`, `ckpool.conf:1: "version_mask": want a string of 8 hex digits like "1fffe000", got "+1fffe00"`},
		{"donation", `{"donation": 101}`, `ckpool.conf:1: "donation": want a number from 0 to 100 (percent), got 101`},
		{"donation without address", "{" + payTo + "\n\"donation\": 2}", `ckpool.conf:2: "donation": want a "donaddress" beside it (none is built in), got none`},
		{"pooltag", `{"pooltag": ""}`, `ckpool.conf:1: "pooltag": want a string of 1 to 64 bytes, got ""`},
		{"network", `{"limit_exempt": ["10.0.0.0/8", "10.0.0.0/33"]}`,
			`ckpool.conf:1: "limit_exempt[1]": want an address or a network like "10.0.0.0/8" or "2001:db8::/32", got "10.0.0.0/33"`},
		{"port", `{"serverurl": "0.0.0.0:70000"}`, `ckpool.conf:1: "serverurl": want host:port, ip:port or [v6]:port, got "0.0.0.0:70000"`},
		{"no port", `{"serverurl": ["h:"]}`, `ckpool.conf:1: "serverurl[0]": want host:port, ip:port or [v6]:port, got "h:"`},
		{"listener", `{"serverurl": 3333}`, `ckpool.conf:1: "serverurl": want host:port or an object {"url", …}, got 3333`},
		{"listener without url", "{\"serverurl\": [\n{}]}", `ckpool.conf:2: "serverurl[0].url": want a value, got none`},
		{"tls without key", `{"serverurl": {"url": "a:1", "tls": {"cert": "c"}}}`, `ckpool.conf:1: "serverurl.tls.key": want a value, got none`},
		{"TLS without certificate", "{\"serverurl\": [\n\"stratum+ssl://a:1\"]}",
			`ckpool.conf:2: "serverurl[0]": want an object {"url", "tls": {"cert", "key"}} for TLS, got "stratum+ssl://a:1"`},
		{"TLS without certificate in an object", "{\"serverurl\": {\n\"url\": \"SSL://a:1\"}}",
			`ckpool.conf:2: "serverurl.url": want an object {"url", "tls": {"cert", "key"}} for TLS, got "SSL://a:1"`},
		{"btcd", `{"btcd": "localhost"}`, `ckpool.conf:1: "btcd": want an array of nodes [{"url", "auth", "pass"}], got "localhost"`},
		{"btcd entry", `{"btcd": ["localhost"]}`, `ckpool.conf:1: "btcd[0]": want an object {…}, got "localhost"`},
		{"btcd without url", `{"btcd": [{"auth": "a", "pass": "b"}]}`, `ckpool.conf:1: "btcd[0].url": want a value, got none`},
		{"btcd without pass", `{"btcd": [{"url": "a:1", "auth": "a"}]}`, `ckpool.conf:1: "btcd[0].pass": want a value, got none`},
		{"credentials in url", `{"btcd": [{"url": "http://u:p@h:1", "auth": "a", "pass": ""}]}`, `ckpool.conf:1: "btcd[0].url": want host:port, got one with a user and a password, which are keys of their own`},
		{"credentials of a pool", `{"proxy": [{"url": "http://u:p@h:1", "auth": "a", "pass": "b"}]}`, `ckpool.conf:1: "proxy[0].url": want host:port, or stratum+tcp://host:port, or for TLS stratum+ssl://host:port, got one with a user and a password, which are keys of their own`},
		{"credentials of a mail server", `{"notify": [{"type": "email", "server": "smtp://u:p@h:587", "from": "a@b.c", "to": "a@b.c"}]}`, `ckpool.conf:1: "notify[0].server": want smtp://host:port, which uses STARTTLS, or smtps://host:port, got one with a user and a password, which are keys of their own`},
		{"passwords stay secret", `{"btcd": [{"url": "h", "auth": "a", "pass": 12345}]}`, `ckpool.conf:1: "btcd[0].pass": want a string, got a number`},
		{"password", `{"password": 12345}`, `ckpool.conf:1: "password": want a string, got a number`},
		{"zmq", `{"zmqblock": "127.0.0.1:28332"}`, `ckpool.conf:1: "zmqblock": want an endpoint like "tcp://127.0.0.1:28332" or "ipc:///path", got "127.0.0.1:28332"`},
		{"zmq of a socket", `{"zmqblock": "ipc://zmq"}`, `ckpool.conf:1: "zmqblock": want an endpoint like "tcp://127.0.0.1:28332" or "ipc:///path", got "ipc://zmq"`},
		{"proxy without auth", `{"proxy": [{"url": "a:1"}]}`, `ckpool.conf:1: "proxy[0].auth": want a value, got none`},
		{"useragent", `{"useragent": ["a", 1]}`, `ckpool.conf:1: "useragent[1]": want a string or an array of strings, got 1`},
		{"address", "{\n\"btcaddress\": \"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3\"}", `ckpool.conf:2: "btcaddress": want a bitcoin address, got "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3": `},
		{"networks differ", "{" + payTo + "\n\"donation\": 1,\n\"donaddress\": \"tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx\"}",
			`ckpool.conf:3: "donaddress": want an address of the same network as btcaddress, got "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"`},
		{"no address", `{}`, `ckpool.conf: "btcaddress" is missing: set it to the address that blocks are to pay, or "solo": true to pay the miners who find them`},
		{"not an object", `[1]`, `ckpool.conf:1: want an object {…}, got an array`},
		{"empty", ``, `ckpool.conf:1: the file is empty, want an object {…}`},
		{"missing comma", "{\n\"mindiff\": 1\n  \"maxdiff\": 2}", `ckpool.conf:3: a comma is missing before "maxdiff"`},
		{"missing comma after a string", "{\"btcsig\": \"x\"\n\"maxdiff\": 2}", `ckpool.conf:2: a comma is missing before "maxdiff"`},
		{"missing comma after an array", "{\"btcd\": []\n// nodes\n\"maxdiff\": 2}", `ckpool.conf:3: a comma is missing before "maxdiff"`},
		{"missing comma in an array", "{\"btcd\": [{}\n{}]}", `ckpool.conf:2: a comma is missing before {`},
		{"missing comma before a secret", "{\"useragent\": [\"a\"\n\"s3cret\"]}", `ckpool.conf:2: a comma is missing before a string`},
		{"missing colon", `{"mindiff" 1}`, `ckpool.conf:1: a colon is missing before 1`},
		{"equals sign", `{"mindiff" = 1}`, `ckpool.conf:1: a key is followed by a colon, as in "mindiff": 1, not by =`},
		{"missing value", `{"mindiff": }`, `ckpool.conf:1: a value is missing before }`},
		{"two commas", "{\"mindiff\": 1,\n, \"maxdiff\": 2}", `ckpool.conf:2: a comma too many`},
		{"unclosed", "{\n\"mindiff\": 1", `ckpool.conf:1: the { of this line is never closed`},
		{"unclosed array", "{\n\"btcd\": [\n{\"url\": \"h\"}", `ckpool.conf:2: the [ of this line is never closed`},
		{"wrong bracket", "{\n\"useragent\": [\"a\"}", `ckpool.conf:2: a ] is missing before }`},
		{"unclosed string", "{\n\"mindiff: 1}", `ckpool.conf:2: a string without its closing quote`},
		{"missing quote", "{\n\"password\": \"s3cret,\n\"mindiff\": 1}", `ckpool.conf:2: a string without its closing quote, or with a wrong escape`},
		{"wrong escape", `{"logdir": "C:\pool"}`, `ckpool.conf:1: a string without its closing quote, or with a wrong escape`},
		{"single quotes", `{'mindiff': 1}`, `ckpool.conf:1: strings stand in double quotes ("), not in single ones (')`},
		{"typographic quotes", `{“mindiff”: 1}`, `ckpool.conf:1: strings stand in straight quotes ("), not in typographic ones`},
		{"key without quotes", "{\nmindiff: 1}", `ckpool.conf:2: a key stands in double quotes, got mindiff`},
		{"value without quotes", `{"btcsig": mine}`, `ckpool.conf:1: want a string in double quotes, a number, true or false, got mine`},
		{"number as key", `{1: 2}`, `ckpool.conf:1: a key stands in double quotes, got 1`},
		{"string without quotes", `{"logdir": /var/log}`, `ckpool.conf:1: want a value, got /var/log`},
		{"not a literal", `{"notify": True}`, `ckpool.conf:1: want true, got True`},
		{"yes", `{"notify": yes}`, `ckpool.conf:1: want true, got yes`},
		{"comment", "{\n# mine\n}", `ckpool.conf:2: comments begin with //, not with #`},
		{"unclosed comment", "{ /* \n }", `ckpool.conf:1: a comment without its end */`},
		{"YAML", "# my pool\nbtcd:\n  - url: x\n", `ckpool.conf:2: this is YAML, want JSON like {"btcaddress": "bc1q…", "mindiff": 1}`},
		{"YAML document", "---\nmindiff: 1", `ckpool.conf:1: this is YAML, want JSON like {"btcaddress": "bc1q…", "mindiff": 1}`},
		{"TOML", "\n[pool]\nmindiff = 1", `ckpool.conf:2: this is TOML, INI or a node's bitcoin.conf, want JSON like {"btcaddress": "bc1q…", "mindiff": 1}`},
		{"bitcoin.conf", "server=1\nrpcuser=s3cret", `ckpool.conf:1: this is TOML, INI or a node's bitcoin.conf, want JSON like {"btcaddress": "bc1q…", "mindiff": 1}`},
		{"not UTF-8", "{\n\"btcsig\": \"a\xffb\"}", `ckpool.conf:2: not UTF-8`},
		{"too deep", strings.Repeat("[", 1000), `ckpool.conf:1: nested too deep`},
		{"long btcsig", `{"btcsig": "` + strings.Repeat("x", 39) + `"}`,
			`ckpool.conf:1: "btcsig": want at most 38 bytes, got "` + strings.Repeat("x", 39) + `"`},
		{"sample's address", `{"btcaddress": "YOUR-BITCOIN-ADDRESS"}`,
			`ckpool.conf:1: "btcaddress": want your own bitcoin address, to which blocks are to pay, got the words of the sample configuration`},
		{"README's address", `{"btcaddress": "bc1q…"}`,
			`ckpool.conf:1: "btcaddress": want your own bitcoin address, to which blocks are to pay, got the words of the sample configuration`},
		{"address of the C sample", `{"btcaddress": "14BMjogz69qe8hk9thyzbmR5pg34mVKB1e"}`,
			`ckpool.conf:1: "btcaddress": want your own bitcoin address, got "14BMjogz69qe8hk9thyzbmR5pg34mVKB1e", which is that of a stranger in the sample configuration of ckpool in C`},
		{"address of a fork's sample", "{" + payTo + "\"donation\": 1,\n\"donaddress\": \"1PKN98VN2z5gwSGZvGKS2bj8aADZBkyhkZ\"}",
			`ckpool.conf:2: "donaddress": want your own bitcoin address, got "1PKN98VN2z5gwSGZvGKS2bj8aADZBkyhkZ", which is that of a stranger in the sample configuration of ckpool in C`},
		{"same listener twice", "{\"serverurl\": [\"0.0.0.0:3333\",\n\"stratum+tcp://0.0.0.0\"]}",
			`ckpool.conf:2: "serverurl[1]": want an address that no other entry listens on, got "stratum+tcp://0.0.0.0" beside "0.0.0.0:3333"`},
		{"overlap with all", `{"serverurl": ["[::]:3333", {"url": "127.0.0.1:3333"}]}`,
			`ckpool.conf:1: "serverurl[1]": want an address that no other entry listens on, got "127.0.0.1:3333" beside "[::]:3333"`},
		{"unknown home", `{"logdir": "~no-such-user/logs"}`,
			`ckpool.conf:1: "logdir": want a path whose ~ is known (user: unknown user no-such-user), got "~no-such-user/logs"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := Solo // which needs no address
			if strings.Contains(tt.text, "btcaddress") || tt.name == "no address" {
				m = Pool
			}
			_, _, err := Parse("ckpool.conf", []byte(tt.text), m)
			if err == nil {
				t.Fatal("no error")
			}
			got := err.Error()
			if got != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(got, tt.want)) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRequiredByMode(t *testing.T) {
	tests := []struct {
		mode Mode
		text string
		want string // empty: accepted
	}{
		{Pool, `{}`, `"btcaddress" is missing: set it to the address`},
		{Remote, `{"upstream": "h:1"}`, `"btcaddress" is missing: set it to the address`},
		{Remote, `{` + payTo + `}`, "No upstream server set in remote trusted server mode"},
		{Remote, `{` + payTo + `"upstream": "h:1"}`, ""},
		{Remote, `{` + payTo + `"upstream": "h:1", "solo": true}`, `ckpool.conf:1: "solo": true is for a pool whose blocks pay the miner who finds them; those of a trusted remote (-t) pay all`},
		{Solo, `{}`, ""},
		{Solo, `{"btcaddress": "not used in this mode"}`, ""},
		{Proxy, `{}`, "No proxy entries found in config file ckpool.conf"},
		{Proxy, `{"proxy": [{"url": "h:1", "auth": "u"}], "solo": true}`, `ckpool.conf:1: "solo": true is for a pool on nodes, whose blocks pay the miner who finds them; in proxy mode the pools in "proxy" pay: remove it, or start without -p and -u`},
		{Node, `{"proxy": []}`, "No proxy entries found in config file ckpool.conf"},
		{Passthrough, `{"proxy": [{"url": "h:1", "auth": "u"}]}`, ""},
		{Passthrough, `{"proxy": [{"url": "h:1"}]}`, ""},
		{Proxy, `{"proxy": [{"url": "h:1"}]}`, `"proxy[0].auth": want a value, got none`},
		{Redirector, `{"proxy": [{"url": "h:1", "auth": "u"}]}`, "No redirect entries found in config file ckpool.conf"},
	}
	for _, tt := range tests {
		_, _, err := Parse("ckpool.conf", []byte(tt.text), tt.mode)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) || (tt.want == "") != (err == nil) {
			t.Errorf("mode %d, %s: got %q, want %q", tt.mode, tt.text, got, tt.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"swapped letters", `{"midniff": 1}`, `ckpool.conf:1: unknown key "midniff", ignored; did you mean "mindiff"?`},
		{"plural", `{"serverurls": 1}`, `ckpool.conf:1: unknown key "serverurls", ignored; did you mean "serverurl"?`},
		{"nothing like it", `{"_comment": "x"}`, `ckpool.conf:1: unknown key "_comment", ignored`},
		{"nested", "{\"btcd\": [{\"url\": \"h\", \"cookie\": \"c\",\n\"colour\": \"x\"}]}", `ckpool.conf:2: unknown key "btcd[0].colour", ignored`},
		{"twice", "{\"mindiff\": 1,\n\"mindiff\": 2}", `ckpool.conf:2: "mindiff" is given twice, this one counts`},
		{"small donation", `{"donation": 0.05}`, `ckpool.conf:1: "donation": 0.05 percent is taken as 0`},
		{"version bits of the template", `{"version_mask": "3fffe000"}`,
			`ckpool.conf:1: "version_mask": bits 29 to 31 are always the template's, a block without them is invalid: "3fffe000" is taken as "1fffe000"`},
		{"no version bits left", `{"version_mask": "20000000"}`,
			`ckpool.conf:1: "version_mask": bits 29 to 31 are always the template's, a block without them is invalid: "20000000" is taken as "00000000"`},
		{"no nodes", `{"btcd": []}`, `ckpool.conf:1: "btcd" is an empty array, taking the default node`},
		{"no servers", `{"serverurl": []}`, `ckpool.conf:1: "serverurl" is an empty array, listening on [::]:3333`},
		{"port above 4000", `{"serverurl": ["0.0.0.0:4444"]}`,
			`ckpool.conf:1: "0.0.0.0:4444" has a port above 4000, which other ckpools start at high difficulty; here it starts like any other. Set "highdiff" to a difficulty for that, or to 0 to silence this`},
		{"port of the nodes", `{"btcd": [{"url": "127.0.0.1:8333", "cookie": "c"}]}`,
			`ckpool.conf:1: "btcd[0].url": port 8333 is where nodes talk to each other; RPC is on port 8332 unless rpcport= of the node says otherwise`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings := parse(t, tt.text, Solo)
			if len(warnings) != 1 || warnings[0].String() != tt.want {
				t.Errorf("got  %v\nwant %s", warnings, tt.want)
			}
		})
	}
}

func TestTolerated(t *testing.T) {
	c, warnings := parse(t, "\xef\xbb\xbf"+`/* {"mindiff": 3} */ { "mindiff": 7, "startdiff": 1e3, // "}" here
		"nonce1length": 0, "nonce2length": 0, "blockpoll": 0, "update_interval": 0,
		"serverurl": "stratum+tcp://0.0.0.0:3333", "mindiff": 8 }}}} trailing "text`+"\xff", Solo)
	if c.MinDiff != 8 || c.Servers[0].MinDiff != 8 {
		t.Errorf("the last mindiff does not count: %v", c.MinDiff)
	}
	if c.StartDiff != 1000 || c.Nonce1Length != 4 || c.Nonce2Length != 8 || c.BlockPoll != 100*time.Millisecond || c.UpdateInterval != 30*time.Second {
		t.Errorf("0 is not the default: %+v", c)
	}
	if len(warnings) != 1 {
		t.Errorf("warnings: %v", warnings)
	}
}

// Everything that is wrong is told at once, in the order of the file, and what
// follows from it is not.
func TestAllErrors(t *testing.T) {
	c, warnings, err := Parse("ckpool.conf", []byte(`{
"mindiff": "x", "maxdiff": 1e-9,
"btcd": [{"url": 5, "cookie": 6}, 7, {"url": "h", "auth": "a"}],
"startdif": 1,
"serverurl": ["h:", {"mindiff": -1, "tls": {"cert": "c"}}, "0.0.0.0:3333", "127.0.0.1:3333"],
"donation": 5,
"btcaddress": ["x"]
}`), Pool)
	want := `ckpool.conf:2: "mindiff": want a number above 0, got "x"
ckpool.conf:2: "maxdiff": want at least mindiff, which is 0.0001, or 0 for none, got 1e-09
ckpool.conf:3: "btcd[0].url": want host:port, got 5
ckpool.conf:3: "btcd[0].cookie": want a string, got 6
ckpool.conf:3: "btcd[1]": want an object {…}, got 7
ckpool.conf:3: "btcd[2].pass": want a value, got none
ckpool.conf:5: "serverurl[0]": want host:port, ip:port or [v6]:port, got "h:"
ckpool.conf:5: "serverurl[1].mindiff": want a number above 0, got -1
ckpool.conf:5: "serverurl[1].tls.key": want a value, got none
ckpool.conf:5: "serverurl[1].url": want a value, got none
ckpool.conf:5: "serverurl[3]": want an address that no other entry listens on, got "127.0.0.1:3333" beside "0.0.0.0:3333"
ckpool.conf:6: "donation": want a "donaddress" beside it (none is built in), got none
ckpool.conf:7: "btcaddress": want a string, got an array`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if len(warnings) != 1 || warnings[0].Line != 4 {
		t.Errorf("warnings: %v", warnings)
	}
	if c.MinDiff != 0.0001 {
		t.Errorf("mindiff is %v", c.MinDiff)
	}
}

// A file that is wrong everywhere is told so in bounded time.
func TestManyErrors(t *testing.T) {
	for name, text := range map[string]string{
		"nodes":     `{"btcd": [` + strings.Repeat("{},\n", 100000) + `]}`,
		"listeners": `{"serverurl": [` + strings.Repeat("\"a\",\n", 10000) + `]}`,
		"keys":      `{` + strings.Repeat("\"mindiff\": 1,\n", 50000) + `"poolfee": 1}`,
	} {
		begun := time.Now()
		_, warnings, err := Parse("f", []byte(text), Solo)
		if errs, ok := err.(Errors); !ok || len(errs) > 100 || len(warnings) > 100 || time.Since(begun) > 20*time.Second {
			t.Errorf("%s: %d errors, %d warnings, %v", name, len(errs), len(warnings), time.Since(begun))
		}
	}
}

// What belongs to other software is told by what it is called here. What would
// move money or difficulty is an error that may be ignored, unless the key of
// ours is there too.
func TestForeignKeys(t *testing.T) {
	node := `"btcd": [{"url": "h", "cookie": "c"}]`
	tests := []struct{ text, want string }{
		{`"bitcoind": []`, `unknown key "bitcoind": here it is "btcd": [{"url": "127.0.0.1:8332", "auth": "user", "pass": "password"}]`},
		{`"rpcuser": "s3cret"`, `unknown key "rpcuser": here it is "btcd": [{"url": "127.0.0.1:8332", "auth": "user", "pass": "password"}]`},
		{`"pools": []`, `unknown key "pools": here it is "btcd": [{"url": "127.0.0.1:8332", "auth": "user", "pass": "password"}]`},
		{`"stratum_port": 3334`, `unknown key "stratum_port": here it is "serverurl": ["0.0.0.0:3333"]`},
		{`"wallet-address": "x"`, `unknown key "wallet-address": here it is "btcaddress"`},
		{`"MinDiff": 5`, `unknown key "MinDiff": here it is "mindiff"`},
		{`"difficulty": 5`, `unknown key "difficulty": here it is "startdiff"`},
		{`"donrate": 1`, `unknown key "donrate": here it is "donation"`},
		{`"serverurl": [{"url": "h:1", "diff": 5}]`, `unknown key "serverurl[0].diff": here it is "serverurl[0].startdiff"`},
		{`"poolfee": 1.0`, `"poolfee" is not supported: blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"; remove it, or start with --ignore-unknown`},
		{`"pool_fee": 1.0`, `"pool_fee" is not supported: blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"; remove it, or start with --ignore-unknown`},
		{`"pooladdress": "1"`, `"pooladdress" is not supported: blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"; remove it, or start with --ignore-unknown`},
		{`"mindiff_overrides": {}`, `"mindiff_overrides" is not supported: give such miners a port of their own, {"url", "mindiff"} in "serverurl", or have them set the password d=DIFFICULTY; remove it, or start with --ignore-unknown`},
		// Warnings.
		{`"bitcoind": [], ` + node, `unknown key "bitcoind", ignored; "btcd" counts`},
		{`"address": "x", ` + payTo, `unknown key "address", ignored; "btcaddress" counts`},
		{`"btcd": [{"url": "h", "user": "x", "cookie": "c", "auth": "y"}]`, `unknown key "btcd[0].user", ignored; "btcd[0].auth" counts`},
		{`"asicboost": true`, `unknown key "asicboost", ignored`},
	}
	for _, tt := range tests {
		_, warnings, err := Parse("f", []byte("{"+strings.TrimSuffix(tt.text, ",")+"}"), Solo)
		var got []string
		if errs, ok := err.(Errors); ok {
			for _, e := range errs {
				if !e.Unknown {
					t.Errorf("%s: cannot be ignored: %v", tt.text, e)
				}
				got = append(got, e.Error())
			}
		}
		isError := strings.Contains(tt.want, "here it is") || strings.Contains(tt.want, "not supported")
		if isError != (err != nil) {
			t.Errorf("%s: error %v", tt.text, err)
		}
		for _, w := range warnings {
			got = append(got, w.String())
		}
		if len(got) != 1 || got[0] != "f:1: "+tt.want {
			t.Errorf("%s:\ngot  %q\nwant %s", tt.text, got, tt.want)
		}
	}
	// A node without what it needs is one error more.
	_, _, err := Parse("f", []byte(`{"btcd": [{"url": "h", "user": "u", "rpcpassword": "p"}]}`), Solo)
	want := `f:1: unknown key "btcd[0].user": here it is "btcd[0].auth"
f:1: unknown key "btcd[0].rpcpassword": here it is "btcd[0].pass"
f:1: "btcd[0]": want "cookie", or "auth" and "pass", got neither`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestSolo(t *testing.T) {
	for _, tt := range []struct {
		text string
		mode Mode
		solo bool
	}{
		{`{"solo": true}`, Pool, true},
		{`{"solo": false,` + payTo + `}`, Pool, false},
		{`{` + payTo + `}`, Pool, false},
		{`{}`, Solo, true},
		{`{"solo": false}`, Solo, true}, // as with -B
	} {
		if c, _ := parse(t, tt.text, tt.mode); c.Solo != tt.solo {
			t.Errorf("%s in mode %d: solo is %v", tt.text, tt.mode, c.Solo)
		}
	}
}

// ~ is what it is for shells.
func TestHome(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	c, _ := parse(t, `{"logdir": "~/logs", "btcd": [{"url": "h", "cookie": "~/.bitcoin/.cookie"}],
		"serverurl": [{"url": "h:1", "tls": {"cert": "~/c~.pem", "key": "~"}}]}`, Solo)
	got := []string{c.LogDir, c.Nodes[0].Cookie, c.Servers[0].TLSCert, c.Servers[0].TLSKey}
	if want := []string{"/home/me/logs", "/home/me/.bitcoin/.cookie", "/home/me/c~.pem", "/home/me"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c, _ = parse(t, `{"logdir": "~root/logs"}`, Solo)
	if root, err := user.Lookup("root"); err != nil || c.LogDir != filepath.Join(root.HomeDir, "logs") {
		t.Errorf("got %q, %v", c.LogDir, err)
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		first, second string
		want          bool
	}{
		{"a:1", "a:1", true},
		{"a:1", "A:1", true},
		{"a:1", "a:2", false},
		{"a:1", "b:1", false},
		{"a", "a:3333", true},
		{":3333", "127.0.0.1", true},
		{"[::]:1", "0.0.0.0:1", true},
		{"0.0.0.0:1", "[::]:1", false},
		{"0.0.0.0:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "0.0.0.0:1", true},
		{"0.0.0.0:1", "[::1]:1", false},
		{"[::1]:1", "[::]:1", true},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"[::ffff:127.0.0.1]:1", "127.0.0.1:1", true},
	} {
		a, port := listenHost(tt.first)
		b, port2 := listenHost(tt.second)
		if got := port == port2 && overlap(a, b); got != tt.want {
			t.Errorf("%s and %s: %v", tt.first, tt.second, got)
		}
	}
}

func TestHighDifficulty(t *testing.T) {
	c, warnings := parse(t, `{"serverurl": ["[::]:4001", "h:4000", {"url": "h:4002"}], "highdiff": 5000}`, Solo)
	var got []float64
	for _, l := range c.Servers {
		got = append(got, l.HighDiff)
	}
	if want := []float64{5000, 0, 0}; !reflect.DeepEqual(got, want) || warnings != nil {
		t.Errorf("got %v, want %v; warnings %v", got, want, warnings)
	}
	// 0 is as without the key, but nobody is warned.
	c, warnings = parse(t, `{"serverurl": ["[::]:4001"], "highdiff": 0}`, Solo)
	if c.Servers[0].HighDiff != 0 || warnings != nil {
		t.Errorf("high difficulty %v, warnings %v", c.Servers[0].HighDiff, warnings)
	}
}

func TestZMQ(t *testing.T) {
	node := func(url, zmq string) string { return fmt.Sprintf(`{"url": %q, "cookie": "c"%s}`, url, zmq) }
	tests := []struct {
		name, text string
		want       [][]string
	}{
		{"default node", `{}`, [][]string{{defaultZMQ}}},
		{"default node, endpoint", `{"zmqblock": "tcp://h:1"}`, [][]string{{"tcp://h:1"}}},
		{"a socket", `{"zmqblock": "ipc:///run/bitcoind/zmq"}`, [][]string{{"ipc:///run/bitcoind/zmq"}}},
		{"remote nodes have no default", `{"btcd": [` + node("a:1", "") + `,` + node("127.0.0.1:8332", "") + `]}`, [][]string{nil, {defaultZMQ}}},
		{"to the first without its own", `{"zmqblock": "tcp://h:1", "btcd": [` + node("a", `, "zmq": "tcp://a:2"`) + `,` + node("b", "") + `,` + node("c", "") + `]}`,
			[][]string{{"tcp://a:2"}, {"tcp://h:1"}, nil}},
		{"none wanted", `{"btcd": [` + node("localhost", `, "zmq": []`) + `]}`, [][]string{{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := parse(t, tt.text, Solo)
			var got [][]string
			for _, n := range c.Nodes {
				got = append(got, n.ZMQ)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLimitExempt(t *testing.T) {
	c, _ := parse(t, `{"trusted_networks": "203.0.113.0/24"}`, Solo)
	exempt := func(s string) bool {
		a := netip.MustParseAddr(s)
		for _, p := range c.LimitExempt {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "192.168.1.9": true, "172.31.0.1": true, "172.32.0.1": false,
		"fd00::1": true, "203.0.113.5": true, "8.8.8.8": false, "2001:db8::1": false,
	} {
		if exempt(addr) != want {
			t.Errorf("%s exempt: %v, want %v", addr, !want, want)
		}
	}
}

func TestSplitURL(t *testing.T) {
	tests := []struct {
		in, host string
		port     uint16
		ok       bool
	}{
		{"h:3333", "h", 3333, true},
		{"stratum+tcp://h:3333", "h", 3333, true},
		{"http://h:8332/wallet/a:b", "h", 8332, true},
		{"[::1]:8332", "::1", 8332, true},
		{"[::1]", "::1", 0, true},
		{"::1", "::1", 0, true},
		{"10.0.0.1", "10.0.0.1", 0, true},
		{":3333", "", 3333, true},
		{"h", "h", 0, true},
		{"h:", "", 0, false},
		{"h:0", "", 0, false},
		{"h:65536", "", 0, false},
		{"h:+1", "", 0, false},
		{"h:1:2", "", 0, false},
		{"[::1", "", 0, false},
		{"[h]:1", "", 0, false},
		{"[::1]1", "", 0, false},
		{"u@h:1", "", 0, false},
		{"a b:1", "", 0, false},
	}
	for _, tt := range tests {
		host, port, err := splitURL(tt.in)
		if (err == nil) != tt.ok || tt.ok && (host != tt.host || port != tt.port) {
			t.Errorf("splitURL(%q) = %q, %d, %v", tt.in, host, port, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ckpool.conf")
	if _, _, err := Load(path, Solo); err == nil || err.Error() != path+": cannot read the configuration: no such file or directory; name another file with -c FILE, or let \"ckpool init\" write a first one" {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load(dir, Solo); err == nil || err.Error() != dir+": cannot read the configuration: is a directory" {
		t.Errorf("directory: %v", err)
	}
	if _, _, err := Load("/dev/zero", Solo); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("endless file: %v", err)
	}
	os.WriteFile(path, []byte(`{"mindiff": 3}`), 0o600)
	c, _, err := Load(path, Solo)
	if err != nil || c.MinDiff != 3 || c.File != path {
		t.Errorf("Load: %+v, %v", c, err)
	}
}

// Against encoding/json: it reads one value and leaves the rest, too.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("../../docs/ckpool.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(sample), `{}`, `{"mindiff": 1} text }`, `{"btcd":[{"url":"h:1","cookie":"c","zmq":[]}]} "`, `{"a":"\"}"}`,
		`{"serverurl":[{"url":"[::]:1","maxdiff":1,"tls":{}}]}`, "{//}\n}", `[{"a":/*]*/1}]`, "\xef\xbb\xbf{}", "{\n# mine\n}", "btcd:\n - url", "[a]\nb = 1",
		"{\"a\": \"x\n\"b\": 1}", `{'a': 1}`, `{“a”: 1}`, `{"a" = 1}`, `{"a": 1 "b": 2}`, `{"a": [1, /* x`, `{"a": yes}`,
		`{"bitcoind": 1, "poolfee": 1, "btcd": [{"user": "x", "cookie": "~root/c"}]}`, `{"donation":1,` + payTo + `}`,
		`{"proxy":[{"url":"stratum+ssl://h:1","auth":"u","weight":1,"socks5":"a:b@h:1","pin":"` + aPin + `","agent":"x"},{"user":5}]}`,
		`{"url":"stratum+ssl://h:1","auth":"u","pin":"` + aPin + `"}`,
		`{"notify":[{"type":"email","server":"smtp://h","from":"a@b","to":["c@d"],"user":"u","events":["worker_up"],"template":"{{.Text}}"},{"type":"command","command":["/x"]}],"private_users":"*"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if u, err := ParseUpstream(data); err == nil && (u.URL == "" || u.Pin != nil && !u.TLS()) {
			t.Errorf("accepted: %+v", u)
		} else if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("not one line: %q", err)
		}
		for m := Pool; m <= Remote; m++ {
			c, warnings, err := Parse("f", data, m)
			for _, w := range warnings {
				if s := w.String(); strings.ContainsAny(s, "\n\r") {
					t.Errorf("warning of more than one line: %q", s)
				}
			}
			if err != nil {
				for _, e := range err.(Errors) {
					if s := e.Error(); strings.ContainsAny(s, "\n\r") || !strings.HasPrefix(s, "f:") {
						t.Errorf("not one line with a place: %q", s)
					}
				}
				continue
			}
			if m == Pool && c.Solo {
				m = Solo
			}
			if errs := c.Validate(m); errs != nil {
				t.Errorf("accepted, but: %v", errs)
			}
			if len(c.Servers) == 0 || len(c.Nodes) == 0 || len(c.BTCSig) > 38 || !(c.MinDiff > 0) {
				t.Errorf("accepted: %+v", c)
			}
		}
		var object map[string]json.RawMessage
		if err := json.NewDecoder(strings.NewReader(string(data))).Decode(&object); err != nil || object == nil {
			return
		}
		end, err := firstValue(data)
		if err == nil && !json.Valid(data[:end]) {
			t.Errorf("first value of %q ends at %d", data, end)
		}
	})
}

// A session remembers its listener in a byte.
func TestTooManyServers(t *testing.T) {
	list := func(n int) string {
		var entries strings.Builder
		for i := range n - 1 {
			fmt.Fprintf(&entries, ",\n\"127.0.0.1:%d\"", 1001+i)
		}
		return "{\n\"serverurl\": [\"127.0.0.1:1000\"" + entries.String() + "]}"
	}
	if _, _, err := Parse("ckpool.conf", []byte(list(256)), Pool); err != nil && strings.Contains(err.Error(), "listeners") {
		t.Errorf("256 listeners: %v", err)
	}
	_, _, err := Parse("ckpool.conf", []byte(list(257)), Pool)
	if want := `ckpool.conf:258: "serverurl[256]": want at most 256 listeners in all`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("257 listeners: %v, want %s", err, want)
	}
}
