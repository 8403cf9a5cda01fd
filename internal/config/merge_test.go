package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each key of the file is one that may change or one that may not.
func TestPartsAreAllKeys(t *testing.T) {
	c := Default(Pool)
	r := reader{Config: &c}
	missing := r.fields()
	for _, key := range []string{"serverurl", "nodeserver", "trusted", "passthroughserver", "zmqblock"} { // merged apart, part of btcd
		delete(missing, key)
	}
	fields := map[any]bool{}
	for _, p := range parts {
		if _, ok := missing[p.key]; !ok {
			t.Errorf("%s is no key, or twice", p.key)
		}
		delete(missing, p.key)
		fields[p.in(&c)] = true
	}
	for key := range missing {
		t.Errorf("%s is missing", key)
	}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name != "File" && name != "Servers" && !fields[v.Field(i).Addr().Interface()] {
			t.Errorf("field %s belongs to no key", name)
		}
	}
}

func TestMerge(t *testing.T) {
	const before = `"mindiff": 1, "serverurl": ["a:1", {"url": "b:2", "startdiff": 50}]`
	tests := []struct {
		name, before, after string
		changed, restart    []string
		servers             []string // url startdiff
	}{
		{"nothing", before, before, nil, nil, []string{"a:1 42", "b:2 50"}},
		{"order and form", before, `"serverurl": [{"url": "b:2", "startdiff": 50}, "a:1"], "mindiff": 1.0`, nil, nil, []string{"a:1 42", "b:2 50"}},
		{"difficulty", before, `"mindiff": 2, "startdiff": 43, "serverurl": ["a:1", {"url": "b:2", "startdiff": 50}]`,
			[]string{"mindiff", "startdiff"}, nil, []string{"a:1 43", "b:2 50"}},
		{"difficulty of a listener", before, `"mindiff": 1, "serverurl": ["a:1", {"url": "b:2", "startdiff": 51}]`,
			[]string{"serverurl"}, nil, []string{"a:1 42", "b:2 51"}},
		{"listeners added", before, `"mindiff": 1, "serverurl": ["c:3", "a:1", {"url": "b:2", "startdiff": 60}, "d:4"]`,
			[]string{"serverurl"}, nil, []string{"a:1 42", "b:2 60", "c:3 42", "d:4 42"}},
		{"listener removed", before, `"mindiff": 1, "serverurl": "a:1"`, nil, []string{"serverurl"}, []string{"a:1 42", "b:2 50"}},
		{"listener with TLS", before, `"mindiff": 1, "serverurl": [{"url": "a:1", "tls": {"cert": "c", "key": "k"}}, {"url": "b:2", "startdiff": 50}]`,
			nil, []string{"serverurl"}, []string{"a:1 42", "b:2 50"}},
		{"both kinds", `"pooltag": "x"`, `"pooltag": "y", "dropidle": 5, "logdir": "z"`,
			[]string{"dropidle"}, []string{"pooltag", "logdir"}, []string{"[::]:3333 42"}},
		{"upstreams", `"proxy": [{"url": "a:1", "auth": "u"}]`,
			`"proxy": [{"url": "a:1", "auth": "u", "weight": 1}], "proxy_hold": 1, "max_connections_per_proxy": 1, "max_user_proxies": 1`,
			nil, []string{"proxy", "proxy_hold", "max_connections_per_proxy", "max_user_proxies"}, []string{"[::]:3333 42"}},
		{"nodes", ``, `"zmqblock": "tcp://127.0.0.1:1"`, []string{"btcd"}, nil, []string{"[::]:3333 42"}},
		{"networks", ``, `"trusted_networks": "192.0.2.1"`, []string{"limit_exempt", "trusted_networks"}, nil, []string{"[::]:3333 42"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old, _ := parse(t, "{"+payTo+tt.before+"}", Pool)
			next, _ := parse(t, "{"+payTo+tt.after+"}", Pool)
			kept, _ := parse(t, "{"+payTo+tt.before+"}", Pool)
			m := old.Merge(&next)
			if !reflect.DeepEqual(old, kept) {
				t.Error("the old configuration was changed")
			}
			var servers []string
			for _, l := range m.Servers {
				servers = append(servers, l.URL+" "+fmt.Sprint(l.StartDiff))
			}
			if diff := cmp.Diff([][]string{tt.changed, tt.restart, tt.servers}, [][]string{m.Changed, m.Restart, servers}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if again := m.Merge(&next); again.Changed != nil || !reflect.DeepEqual(again.Restart, m.Restart) {
				t.Errorf("a second time: %v, %v", again.Changed, again.Restart)
			}
		})
	}
	old, _ := parse(t, "{"+payTo+`"pooltag": "old", "startdiff": 1}`, Pool)
	next, _ := parse(t, "{"+payTo+`"pooltag": "new", "startdiff": 2}`, Pool)
	if m := old.Merge(&next); m.PoolTag != "old" || m.StartDiff != 2 {
		t.Errorf("in force: %q, %v", m.PoolTag, m.StartDiff)
	}
}

// What operators read of a reload is what it does.
func TestReloadIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\nAfter SIGHUP or `ckpmsg reload` these keys are in force at once")
	text, _, ends := strings.Cut(text, "\nAll others, such as `btcaddress`, wait for the next start.")
	if !found || !ends {
		t.Fatal("docs/operations.md has no list of the keys that a reload takes")
	}
	for _, p := range parts {
		if told := strings.Contains(text, "`"+p.key+"`"); told != p.live && p.key != "allow_low_diff" { // which has no effect
			t.Errorf("%s: taken %v, told %v", p.key, p.live, told)
		}
	}
}

// A session remembers its listener in a byte, also one that a reload has opened.
func TestMergeTooManyServers(t *testing.T) {
	list := func(port, n int) Config {
		var urls []string
		for i := range n {
			urls = append(urls, fmt.Sprintf(`"127.0.0.1:%d"`, port+i))
		}
		c, _ := parse(t, "{"+payTo+`"serverurl": [`+strings.Join(urls, ",")+"]}", Pool)
		return c
	}
	for _, tt := range []struct {
		n    int
		want string
	}{{56, "<nil>"}, {57, "257 listeners, with those that stay open until the next start: at most 256 can be"}} {
		old, next := list(1000, 200), list(2000, tt.n)
		m := old.Merge(&next)
		if got := fmt.Sprint(m.Room()); got != tt.want {
			t.Errorf("200 and %d others: %s, want %s", tt.n, got, tt.want)
		}
	}
}
