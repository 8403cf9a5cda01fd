package metrics

import (
	"regexp"
	"slices"
	"testing"

	"github.com/ckpool/ckpool/control"
)

// An instance without a pool has what it has, and nothing of shares, work or users.
func TestEdge(t *testing.T) {
	s := busy()
	s.Upstreams = []control.Upstream{{URL: "a.example:3333", Alive: true, Active: true, Clients: 30}, {URL: "b.example:3333"}, {URL: "a.example:3333"}}
	got := scraped(t, EdgeHandler(s))
	for _, want := range []string{
		`ckpool_upstream_up{pool="a.example:3333"} 1`, `ckpool_upstream_active{pool="a.example:3333"} 1`, `ckpool_upstream_miners{pool="a.example:3333"} 30`,
		`ckpool_upstream_up{pool="b.example:3333"} 0`, `ckpool_connections 33`, `ckpool_connections_closed_total{reason="no work"} 7`, `ckpool_build_info{version="1.2.3"} 1`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	if len(edgeTable()) != len(shared)+len(upstreams()) {
		t.Errorf("%d metrics", len(edgeTable()))
	}
	for _, line := range got {
		if regexp.MustCompile(`^ckpool_(shares|hashes|miners|users|work|node|journal|round)`).MatchString(line) {
			t.Errorf("it has %s", line)
		}
	}
}
