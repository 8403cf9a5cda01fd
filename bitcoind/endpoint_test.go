package bitcoind

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for raw, want := range map[string]endpoint{
		"localhost:8332":                 {"http://localhost:8332/", "localhost:8332", "", ""},
		" 127.0.0.1:18443 ":              {"http://127.0.0.1:18443/", "127.0.0.1:18443", "", ""},
		"localhost":                      {"http://localhost:8332/", "localhost:8332", "", ""},
		"localhost:":                     {"http://localhost:8332/", "localhost:8332", "", ""},
		"http://localhost":               {"http://localhost:80/", "localhost:80", "", ""},
		"https://node.example":           {"https://node.example:443/", "node.example:443", "", ""},
		"HTTPS://node.example:8":         {"https://node.example:8/", "node.example:8", "", ""},
		"tcp://host:1":                   {"http://host:1/", "host:1", "", ""},
		"//host:1":                       {"http://host:1/", "host:1", "", ""},
		"[::1]:8332":                     {"http://[::1]:8332/", "[::1]:8332", "", ""},
		"[::1]":                          {"http://[::1]:8332/", "[::1]:8332", "", ""},
		"[fe80::1%eth0]:1":               {"http://[fe80::1%25eth0]:1/", "[fe80::1%eth0]:1", "", ""},
		"::1":                            {"http://[::1]:8332/", "[::1]:8332", "", ""},
		"http://h:1/wallet/w?x=y":        {"http://h:1/wallet/w?x=y", "h:1", "", ""},
		"h/path//x":                      {"http://h:8332/path//x", "h:8332", "", ""},
		"http://user:p%40ss@h:1":         {"http://h:1/", "h:1", "user", "p@ss"},
		"u:p:w@[fe80::1]:18332":          {"http://[fe80::1]:18332/", "[fe80::1]:18332", "u", "p:w"},
		"http://__cookie__:00ff@h:1/":    {"http://h:1/", "h:1", "__cookie__", "00ff"},
		"http://me:verysecret@127.0.0.1": {"http://127.0.0.1:80/", "127.0.0.1:80", "me", "verysecret"},
	} {
		if got, err := parseEndpoint(raw); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		"":                     "no host",
		":8332":                "no host",
		"http://":              "no host",
		"h:0":                  `port "0" is not a number`,
		"h:65536":              `port "65536" is not a number`,
		"h:http":               `port "http" is not a number`,
		"a:b:c":                "want host:port",
		"h h:1":                "not a usable address",
		"]":                    "not a usable address",
		"h:1/%zz":              "not a usable address",
		"http://u:sec%ret@h:1": "must be percent-encoded",
	} {
		_, err := parseEndpoint(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "sec") {
			t.Errorf("a password is in %q", err)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"localhost:8332", "http://u:p@[::1]:1/x?y#z", "::1", "//", "a@b@c:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		e, err := parseEndpoint(raw)
		if err != nil {
			return
		}
		u, err := url.Parse(e.url)
		if err != nil || u.Host != e.host || u.Hostname() == "" || u.Port() == "" {
			t.Errorf("%q gives %q, host %q: %+v, %v", raw, e.url, e.host, u, err)
		}
	})
}
