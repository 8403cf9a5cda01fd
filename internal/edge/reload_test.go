package edge

import (
	"slices"
	"testing"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
)

// Miners who come by an address that a reload has added are among those that a node shows by
// address.
func TestReloadOfANode(t *testing.T) {
	const first, added = "127.0.0.1:0", "127.0.0.2:0"
	c := config.Default(config.Node)
	c.LogDir = t.TempDir()
	c.Proxies = []config.Upstream{{URL: "127.0.0.1:1"}}
	c.Servers = []config.Listener{{URL: first}}
	e, err := New(c, Options{Node: true, Version: "test", Events: func(event.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := c
	next.Servers = append(slices.Clone(c.Servers), config.Listener{URL: added})
	if _, err := e.Apply(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if urls := e.node.users.ListenerURLs(); !slices.Equal(urls, []string{first, added}) {
		t.Errorf("miners are shown by %q", urls)
	}
}
