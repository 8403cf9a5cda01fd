package bitcoind_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// What a node that is asked once says, or why it cannot be used.
func TestProbe(t *testing.T) {
	n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, Height: 900007})
	closed, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*bitcoind.Config)) bitcoind.Config {
		c := fakeConfig(n)
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name   string
		fault  fakenode.FaultKind
		config bitcoind.Config
		state  string
		reason string // a part of it
	}{
		{"in sync", fakenode.NoFault, fakeConfig(n), "ok", ""},
		{"password", fakenode.NoFault, with(func(c *bitcoind.Config) { c.Pass = "wrong" }), "refused", "refuses the user or password (HTTP 401)"},
		{"cookie", fakenode.NoFault, with(func(c *bitcoind.Config) { c.User, c.Cookie = "", filepath.Join(t.TempDir(), "none") }), "not asked", "no such file or directory"},
		{"nobody there", fakenode.NoFault, bitcoind.Config{URL: "127.0.0.1:" + closed, User: "u"}, "unreachable", "connection refused"},
		{"not allowed", fakenode.Forbidden, fakeConfig(n), "refused", "HTTP 403"},
		{"starting", fakenode.WarmingUp, fakeConfig(n), "starting", "is starting"},
		{"no peers", fakenode.NotConnected, fakeConfig(n), "no peers", "has no peers"},
		{"syncing", fakenode.Downloading, fakeConfig(n), "syncing", "is syncing"},
		{"hangs", fakenode.Hang, fakeConfig(n), "unreachable", "no answer within 2s"},
	} {
		n.SetFault(fakenode.Fault{Kind: tt.fault})
		o := bitcoind.Options{}
		if tt.fault != fakenode.Hang {
			o.ProbeTimeout = time.Minute // the machine may be busy with other tests
		}
		client := bitcoind.NewClient(tt.config, o)
		p := client.Probe(t.Context())
		client.Close()
		if p.State != tt.state || !strings.Contains(p.Reason, tt.reason) || (p.Reason == "") != (tt.reason == "") {
			t.Errorf("%s: %+v", tt.name, p)
		}
		if answers := tt.state == "ok" || tt.state == "no peers" || tt.state == "syncing"; answers != (p.Chain == "main" && p.Height == 900007) {
			t.Errorf("%s: chain %q, height %d", tt.name, p.Chain, p.Height)
		}
	}
}
