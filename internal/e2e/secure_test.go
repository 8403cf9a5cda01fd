package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/stratum/client"
)

// secure is a pool with one listener, with TLS and PROXY protocol if asked.
func secure(t *testing.T, n *testkit.FakeNode, withTLS, proxied bool, more keys) *running {
	t.Helper()
	listener := keys{"url": "127.0.0.1:1", "proxy_protocol": proxied}
	if withTLS {
		cert, key := certificate.New(t, "pool.example", 1).Write(t, t.TempDir())
		listener["tls"] = keys{"cert": cert, "key": key}
	}
	k := keys{"serverurl": []keys{listener}}
	for name, v := range more {
		k[name] = v
	}
	return setup{nodes: []keys{fakeEntry(n)}, keys: k}.start(t)
}

// through dials with a PROXY header before everything else.
func through(source string) client.Options {
	return client.Options{
		TLS: &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil && source != "" {
				_, err = fmt.Fprintf(c, "PROXY TCP6 %s ::1 56506 3333\r\n", source)
			}
			return c, err
		},
	}
}

// Mining is the same over TLS, behind a proxy, and over TLS behind a proxy; the
// pool knows where the miners are.
func TestMiningOverTransports(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		name           string
		withTLS, proxy bool
	}{{"TLS", true, false}, {"PROXY", false, true}, {"TLS behind PROXY", true, true}} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{})
			r := secure(t, n, v.withTLS, v.proxy, nil)
			url, source, address := "stratum+tcp://"+r.addr, "", "127.0.0.1"
			if v.withTLS {
				url = "stratum+ssl://" + r.addr
			}
			if v.proxy {
				source, address = "2001:db8::9", "2001:db8::9"
			}
			h := connectTo(t, client.Endpoint{URL: url, User: "alice.rig1", Password: "x"}, through(source))
			h.job()
			tip := n.NewBlock()
			if j, _ := h.jobOn(patience, tip); !j.Clean {
				t.Error("new work is not clean")
			}
			for range 3 {
				found := h.findBlock()
				r.block(found.hash, "confirmed 1")
				h.jobOn(patience, found.hash)
			}
			h.connected()
			type clients struct{ Clients []struct{ Address string } }
			if all := ask[clients](r, "clients").Clients; len(all) != 1 || all[0].Address != address {
				t.Errorf("clients %+v, want one at %s", all, address)
			}
			r.stop()
		})
	}
}

// Behind a proxy limits are those of the miners' addresses.
func TestLimitsBehindProxy(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{})
	r := secure(t, n, true, true, keys{"limit_exempt": []string{}, "max_connections_per_address": 2})
	dial := func(source string) (*client.Client, error) {
		o := through(source)
		o.HandshakeTimeout = patience
		c, err := client.Dial(t.Context(), client.Endpoint{URL: "stratum+ssl://" + r.addr, User: "bob", Password: "x"}, o)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return c, err
	}
	for _, source := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:203.0.113.1", "::ffff:203.0.113.2"} {
		if _, err := dial(source); err != nil {
			t.Errorf("from %s: %v", source, err)
		}
	}
	if _, err := dial("2001:db8::3"); err == nil {
		t.Error("a third of one /64 is served")
	}
	r.dropped(t, "rate limited", 1)
}

// Who is not trusted cannot say that he is somebody else.
func TestUntrustedProxy(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{})
	r := secure(t, n, false, true, keys{"trusted_networks": []string{"127.0.0.9"}})
	if c, err := r.dialRaw(t, "127.0.0.8"); err == nil {
		_, _ = fmt.Fprint(c, "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\n")
		if _, err := c.ask("mining.subscribe"); err == nil {
			t.Error("served")
		}
	}
	r.dropped(t, "untrusted proxy", 1)
	c := r.rawFrom(t, "127.0.0.9")
	if _, err := fmt.Fprint(c, "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\n"); err != nil {
		t.Fatal(err)
	}
	if a := c.mustAsk("mining.subscribe"); a.code() != 0 {
		t.Errorf("%+v", a)
	}
}
