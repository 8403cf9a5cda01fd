package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

const aPin = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// What is wrong with an entry of "proxy" is said in a line, in the file and behind
// addproxy.
func TestUpstreamErrors(t *testing.T) {
	const (
		wantURL    = `want host:port, or stratum+tcp://host:port, or for TLS stratum+ssl://host:port, got `
		wantWeight = `want a number above 0, its part of the hash rate beside the weights of other entries, got `
		wantSOCKS5 = `want host:port of a SOCKS5 proxy, or USER:PASSWORD@host:port, got `
		wantPin    = `want the SHA-256 of the public key of the pool's certificate in 64 hex digits, got `
		wantAgent  = `want a name of 1 to 100 bytes, got `
	)
	for _, tt := range []struct{ members, key, want string }{
		{`"auth": "u"`, "url", `want a value, got none`},
		{`"url": "h:1"`, "auth", `want a value, got none`},
		{`"auth": "u", "url": ""`, "url", wantURL + `""`},
		{`"auth": "u", "url": 5`, "url", wantURL + `5`},
		{`"auth": "u", "url": "http://h:1"`, "url", wantURL + `"http://h:1"`},
		{`"auth": "u", "url": "ssl://h:1"`, "url", wantURL + `"ssl://h:1"`},
		{`"auth": "u", "url": "h:0"`, "url", wantURL + `"h:0"`},
		{`"auth": "u", "url": "stratum+tcp://h:3333#xnsub"`, "url", wantURL + `"stratum+tcp://h:3333#xnsub"`},
		{`"auth": "u", "url": "stratum+tcp://:3333"`, "url", wantURL + `"stratum+tcp://:3333"`},
		{`"auth": 5, "url": "h:1"`, "auth", `want a string, got 5`},
		{`"auth": "u", "url": "h:1", "pass": 12345`, "pass", `want a string, got a number`},
		{`"auth": "u", "url": "h:1", "weight": 0`, "weight", wantWeight + `0`},
		{`"auth": "u", "url": "h:1", "weight": -70`, "weight", wantWeight + `-70`},
		{`"auth": "u", "url": "h:1", "weight": "70"`, "weight", wantWeight + `"70"`},
		{`"auth": "u", "url": "h:1", "weight": 1e999`, "weight", wantWeight + `1e999`},
		{`"auth": "u", "url": "h:1", "socks5": "127.0.0.1"`, "socks5", wantSOCKS5 + `"127.0.0.1"`},
		{`"auth": "u", "url": "h:1", "socks5": "socks5://127.0.0.1:9050"`, "socks5", wantSOCKS5 + `"socks5://127.0.0.1:9050"`},
		{`"auth": "u", "url": "h:1", "socks5": "me:s3cret@127.0.0.1"`, "socks5", wantSOCKS5 + `a string`},
		{`"auth": "u", "url": "h:1", "socks5": "me@h:1"`, "socks5", wantSOCKS5 + `a string`},
		{`"auth": "u", "url": "h:1", "socks5": true`, "socks5", wantSOCKS5 + `true`},
		{`"auth": "u", "url": "stratum+ssl://h:1", "pin": "` + aPin[2:] + `"`, "pin", wantPin + `"` + aPin[2:62] + `"`},
		{`"auth": "u", "url": "stratum+ssl://h:1", "pin": "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8="`, "pin", wantPin + `"ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8="`},
		{`"auth": "u", "url": "stratum+ssl://h:1", "pin": ""`, "pin", wantPin + `""`},
		{`"auth": "u", "url": "stratum+tcp://h:1", "pin": "` + aPin + `"`, "pin", `want a url of TLS beside it, like stratum+ssl://host:port, got "stratum+tcp://h:1"`},
		{`"auth": "u", "pin": "` + aPin + `", "url": "h:1"`, "pin", `want a url of TLS beside it, like stratum+ssl://host:port, got "h:1"`},
		{`"auth": "u", "url": "h:1", "agent": ""`, "agent", wantAgent + `""`},
		{`"auth": "u", "url": "h:1", "agent": "a\nb"`, "agent", wantAgent + `"a\nb"`},
		{`"auth": "u", "url": "h:1", "agent": "` + strings.Repeat("x", 101) + `"`, "agent", wantAgent + `"` + strings.Repeat("x", 60) + `"`},
	} {
		_, err := ParseUpstream([]byte("{" + tt.members + "}"))
		if want := `"proxy.` + tt.key + `": ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("{%s}:\ngot  %v\nwant %s", tt.members, err, want)
		}
		_, _, err = Parse("f", []byte("{\"proxy\": [{\"url\": \"a:1\", \"auth\": \"u\"},\n{"+tt.members+"}]}"), Proxy)
		if want := `f:2: "proxy[1].` + tt.key + `": ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("{%s}:\ngot  %v\nwant %s", tt.members, err, want)
		}
	}
	for text, want := range map[string]string{
		``:                          `the file is empty, want an object {…}`,
		`[]`:                        `want an object {…}, got an array`,
		`{"url": "h:1" "auth": ""}`: `a comma is missing before "auth"`,
		`{"url": "h:1", "user": "u", "auth": "v"}`: ``, // "auth" counts
		`{"url": "h:1", "auth": "u", "userid": 5}`: ``, // not of the entry
	} {
		_, err := ParseUpstream([]byte(text))
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Schemes say whether there is TLS, in upper and lower case; without one there is none.
func TestUpstreamURL(t *testing.T) {
	for url, tls := range map[string]bool{
		"h": false, "h:3333": false, "[2001:db8::1]:3333": false, "stratum+tcp://h:3333/": false, "STRATUM+TCP://h:1": false,
		"stratum+ssl://h:443": true, "stratum+tls://h:443": true, "Stratum+SSL://[::1]:443": true,
	} {
		u, err := ParseUpstream([]byte(`{"auth": "u", "url": "` + url + `"}`))
		if err != nil || u.URL != url || u.TLS() != tls {
			t.Errorf("%s: %+v, TLS %v, %v", url, u, u.TLS(), err)
		}
	}
}

func TestUpstreamValues(t *testing.T) {
	u, err := ParseUpstream([]byte(`{"url": "stratum+tls://h:1", "auth": "u", "pass": "", "socks5": "me:a@b:c@[::1]:9050", "pin": "sha256:` + aPin + `"}`))
	want := Upstream{URL: "stratum+tls://h:1", User: "u", SOCKS5: "me:a@b:c@[::1]:9050", Pin: u.Pin}
	if err != nil || !reflect.DeepEqual(u, want) || len(u.Pin) != 32 || u.Pin[0] != 0x01 || u.Pin[31] != 0xef {
		t.Errorf("%+v, %v", u, err)
	}
	u, err = ParseUpstream([]byte(`{"url": "h:1", "auth": "u", "socks5": ""}`))
	if err != nil || !reflect.DeepEqual(u, Upstream{URL: "h:1", User: "u"}) {
		t.Errorf("%+v, %v", u, err)
	}
}

// Keys of the proxy beside its list.
func TestProxyKeys(t *testing.T) {
	for text, want := range map[string]string{
		`"proxy_hold": -1`:                                    `"proxy_hold": want a whole number of seconds, 0 for none, got -1`,
		`"proxy_hold": 1.5`:                                   `"proxy_hold": want a whole number of seconds, 0 for none, got 1.5`,
		`"max_connections_per_proxy": 0`:                      `"max_connections_per_proxy": want a whole number from 1 to 1000, got 0`,
		`"max_connections_per_proxy": 1001`:                   `"max_connections_per_proxy": want a whole number from 1 to 1000, got 1001`,
		`"max_user_proxies": "many"`:                          `"max_user_proxies": want a whole number, 0 for none, got "many"`,
		`"max_user_proxies": -1`:                              `"max_user_proxies": want a whole number, 0 for none, got -1`,
		`"proxy": [{"url": "h:1", "user": "u"}]`:              `unknown key "proxy[0].user": here it is "proxy[0].auth"`,
		`"proxy": [{"url": "h:1", "auth": "u", "quota": 70}]`: `unknown key "proxy[0].quota": here it is "proxy[0].weight"`,
	} {
		_, _, err := Parse("f", []byte("{"+text+"}"), Solo)
		var errs Errors
		if !errors.As(err, &errs) || errs[0].Error() != "f:1: "+want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	c, _ := parse(t, `{"proxy_hold": 0, "max_connections_per_proxy": 1000}`, Solo)
	if c.ProxyHold != 0 || c.MaxConnectionsPerProxy != 1000 {
		t.Errorf("%v, %d", c.ProxyHold, c.MaxConnectionsPerProxy)
	}
}

// The keys of proxies are described as they are read: the sample has their defaults, and
// what its comments show is taken.
func TestSampleOfProxyKeys(t *testing.T) {
	sample := Sample()
	for _, key := range []string{"proxy", "proxy_hold", "max_connections_per_proxy", "max_user_proxies"} {
		if !strings.Contains(sample, "\t\""+key+"\":") {
			t.Errorf("%s is not described", key)
		}
	}
	c, warnings := parse(t, sample, Solo)
	d := Default(Solo)
	if len(c.Proxies) != 0 || c.ProxyHold != d.ProxyHold || c.MaxConnectionsPerProxy != d.MaxConnectionsPerProxy || c.MaxUserProxies != d.MaxUserProxies || warnings != nil {
		t.Errorf("%+v, warnings %v", c, warnings)
	}
	c, warnings = parse(t, strings.ReplaceAll(sample, "// {\"url\": \"", "{\"url\": \""), Proxy)
	if len(c.Proxies) != 3 || c.Proxies[2].SOCKS5 != "127.0.0.1:9050" || warnings != nil {
		t.Errorf("%+v, warnings %v", c.Proxies, warnings)
	}
}
