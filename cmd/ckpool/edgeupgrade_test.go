package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/sharelog"
)

// behind starts a passthrough before pools, or what else args say.
func behind(t *testing.T, args []string, keys map[string]any, pools ...*faulty) *faulty {
	t.Helper()
	var list []any
	for _, p := range pools {
		list = append(list, map[string]any{"url": p.addr})
	}
	all := map[string]any{"proxy": list}
	for key, v := range keys {
		all[key] = v
	}
	return startFaultyOn(t, 1e-10, all, args)
}

// redirecting are keys of a redirector.
var redirecting = map[string]any{"redirecturl": []string{"eu.pool.example:3333", "us.pool.example:3333"}}

// eachEdge runs a test for a passthrough and for a redirector before a pool.
func eachEdge(t *testing.T, test func(t *testing.T, p, e *faulty)) {
	for name, args := range map[string][]string{"passthrough": {"-P"}, "redirector": {"-R"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startFaulty(t)
			test(t, p, behind(t, args, redirecting, p))
		})
	}
}

// miners is how many a pool has.
func (f *faulty) miners() int {
	f.t.Helper()
	reply, err := f.do("clients")
	var list struct{ Clients []struct{ Authorised bool } }
	if err == nil {
		err = json.Unmarshal([]byte(reply), &list)
	}
	if err != nil {
		f.t.Errorf("clients: %q, %v", reply, err)
	}
	return len(slices.DeleteFunc(list.Clients, func(c struct{ Authorised bool }) bool { return !c.Authorised }))
}

// mined waits until a pool has accepted so many more shares.
func (f *faulty) mined(more int64) {
	f.t.Helper()
	until := f.accepted() + more
	f.await("shares", func() bool { return f.accepted() >= until })
}

// Upgraded ten times under load, with new work all the time, neither miners nor pool notice:
// every share is answered once, and no connection is made anew.
func TestZ1UpgradeEdge(t *testing.T) {
	t.Parallel()
	eachEdge(t, func(t *testing.T, p, e *faulty) {
		before := p.accepted()
		connected := p.connections()
		r := e.mine(func(ctx context.Context) {
			var renewing sync.WaitGroup
			defer renewing.Wait()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			renewing.Go(func() {
				for ctx.Err() == nil {
					if reply, err := p.do("update"); err != nil {
						t.Errorf("%q, %v", reply, err)
					}
				}
			})
			for range 10 {
				e.upgraded()
			}
		})
		p.unharmed(r, before)
		if n := p.connections() - connected; n != 0 {
			t.Errorf("%d new connections at the pool", n)
		}
	})
}

// Pool and passthrough are upgraded by turns, and at the same time, under load: the miners do
// not notice, and the link is the same.
func TestUpgradeBothEnds(t *testing.T) {
	t.Parallel()
	p := startFaulty(t)
	e := behind(t, []string{"-P"}, nil, p)
	before, connected := p.accepted(), p.connections()
	r := e.mine(func(context.Context) {
		for range 5 {
			p.upgraded()
			e.upgraded()
			var both sync.WaitGroup
			for _, f := range []*faulty{p, e} {
				both.Go(func() { f.upgraded() })
			}
			both.Wait()
		}
	})
	p.unharmed(r, before)
	if n := p.connections() - connected; n != 0 {
		t.Errorf("%d new connections at the pool", n)
	}
}

// A redirector knows after an upgrade, and after a restart, where it has sent an address.
func TestUpgradeKeepsRedirects(t *testing.T) {
	t.Parallel()
	p := startFaulty(t)
	e := behind(t, []string{"-R"}, redirecting, p)
	e.mine(func(context.Context) { p.mined(20) })
	e.upgraded()
	if err := syscall.Kill(e.pid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(e.dir, "logs", "redirects.json")
	e.await("redirects.json", func() bool { _, err := os.Stat(file); return err == nil })
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), `"127.0.0.1":"eu.pool.example:3333"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// On SIGTERM all ends at once, and the pool keeps no ghosts.
func TestZ1EndEdge(t *testing.T) {
	t.Parallel()
	eachEdge(t, func(t *testing.T, p, e *faulty) {
		r := e.mine(func(ctx context.Context) {
			p.await("miners at the pool", func() bool { return p.miners() == 40 })
			p.mined(20) // else mine waits for a share that is answered
			began := time.Now()
			if err := e.first.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-e.ended
			if took := time.Since(began); took > 30*time.Second || !e.first.ProcessState.Success() {
				t.Errorf("%v after %v", e.first.ProcessState, took)
			}
		})
		if r.Dropped == 0 || r.Rejected > 0 {
			t.Errorf("%d dropped, %d rejected", r.Dropped, r.Rejected)
		}
		p.await("no ghosts", func() bool { return p.miners() == 0 })
	})
}

// Wherever the new process is killed, the old one goes on and no miner notices anything.
func TestNewEdgeKilled(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (p, e *faulty){
		"passthrough": func(t *testing.T) (p, e *faulty) {
			p = startFaulty(t)
			return p, behind(t, []string{"-P"}, nil, p)
		},
		"node": func(t *testing.T) (p, e *faulty) { return startFaultyNode(t, t.TempDir()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, e := start(t)
			before, old := p.accepted(), e.pid()
			r := e.mine(func(context.Context) {
				for _, step := range stepsBefore {
					e.set("new", step)
					reply, err := e.do("upgrade")
					if err != nil || !strings.Contains(reply, "errormsg") || e.pid() != old {
						t.Errorf("%s: %q, %v; process %d, was %d", step, reply, err, e.pid(), old)
					}
					if _, err := os.Stat(e.fault); err == nil {
						t.Errorf("%s: there is no such step", step)
					}
				}
				e.upgraded()
			})
			p.unharmed(r, before)
		})
	}
}

// The old process is killed when the new one has everything: that goes on.
func TestOldEdgeKilled(t *testing.T) {
	for _, step := range []string{"complete", "yours", "running"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			p := startFaulty(t)
			e := behind(t, []string{"-P"}, nil, p)
			before, old := p.accepted(), e.pid()
			r := e.mine(func(context.Context) {
				e.set("old", step)
				_, _ = e.do("upgrade") // there may be no reply
				<-e.ended
				e.await("a new process", func() bool { return e.pid() != old })
			})
			p.unharmed(r, before)
		})
	}
}

// The better pool is killed and comes back: miners mine at the other one meanwhile, and
// nobody is left there.
func TestP6PoolKilled(t *testing.T) {
	t.Parallel()
	a, b := startFaulty(t), startFaulty(t)
	e := behind(t, []string{"-P"}, map[string]any{"proxy_hold": 1}, a, b)
	mines := func(at, notAt *faulty) {
		t.Helper()
		e.await("work", func() bool {
			_, err := bench.Storm(t.Context(), bench.StormConfig{Options: e.load(1)})
			return err == nil
		})
		before := at.accepted()
		at.unharmed(e.mine(func(context.Context) { at.mined(20) }), before)
		at.await("no ghosts", func() bool { return at.miners() == 0 })
		if notAt != nil && notAt.miners() > 0 {
			t.Error("miners are left there")
		}
	}
	active := func(p *faulty) {
		t.Helper()
		e.await("served by "+p.addr, func() bool {
			reply, err := e.do("list")
			var list control.UpstreamList
			if err == nil {
				err = json.Unmarshal([]byte(reply), &list)
			}
			return err == nil && slices.ContainsFunc(list.Upstreams, func(u control.Upstream) bool { return u.URL == p.addr && u.Active })
		})
	}
	mines(a, b)
	_ = a.first.Process.Kill()
	<-a.ended
	active(b)
	mines(b, nil)
	a.start()
	active(a)
	mines(a, b)
}

// A pool is reached over TLS by its key alone. An upgrade of either end makes that link anew: the
// miners stay connected, and no share that is acknowledged is lost or counted twice.
func TestUpgradeOverTLS(t *testing.T) {
	t.Parallel()
	pair := certificate.New(t, "pool.example", 1)
	cert, key := pair.Write(t, t.TempDir())
	parsed, err := x509.ParseCertificate(pair.TLS(t).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	secured, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	p := startFaultySecured(t, secured, cert, key)
	e := startFaultyOn(t, 1e-10, map[string]any{
		"proxy": []any{map[string]any{"url": "stratum+ssl://127.0.0.1:" + secured, "pin": hex.EncodeToString(pin[:])}}, "link_secret": "of the link",
	}, []string{"-P"})
	before := p.accepted()
	r := e.mine(func(context.Context) {
		for range 5 {
			for _, f := range []*faulty{e, p} {
				f.upgraded()
				p.mined(20)
				p.await("miners at the pool", func() bool { return p.miners() == 40 })
			}
		}
	})
	var b strings.Builder
	_ = r.Print(&b)
	n := p.accepted() - before
	t.Logf("the pool counts %d\n%s", n, &b)
	log, err := os.ReadFile(filepath.Join(e.dir, "logs", "ckpool.log"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Dropped > 0 || n < r.Accepted || n > r.Accepted+r.Rejected {
		t.Errorf("the pool counts %d accepted shares\n%s", n, &b)
	}
	if strings.Contains(string(log), "it breaks the protocol") {
		t.Errorf("the passthrough is told what is not for it:\n%s", log)
	}
}

// Miners over TLS cannot move. Where the upgrade fails they notice nothing; where it succeeds
// they connect again, and the pool has no ghosts of them.
func TestUpgradeEdgeWithTLSMiners(t *testing.T) {
	t.Parallel()
	cert, key := certificate.New(t, "pool.example", 1).Write(t, t.TempDir())
	secured, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	p := startFaulty(t)
	e := startFaultyOn(t, 1e-10, map[string]any{"proxy": []any{map[string]any{"url": p.addr}}}, []string{"-P"})
	e.listenTLS(secured, cert, key, nil)
	over := e.load(20)
	over.Address, over.TLS = "127.0.0.1:"+secured, true
	mine := func(do func()) *bench.SharesReport {
		t.Helper()
		r, err := bench.Shares(t.Context(), bench.SharesConfig{Options: over, Window: 1, Rate: 200,
			During: func(context.Context, func() time.Duration) error {
				do()
				return nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := p.accepted()
	r := mine(func() {
		for _, step := range []string{"complete", "have"} {
			e.set("new", step)
			if reply, err := e.do("upgrade"); err != nil || !strings.Contains(reply, "errormsg") {
				t.Errorf("%q, %v", reply, err)
			}
			p.mined(20)
		}
	})
	p.unharmed(r, before)
	if r = mine(func() {
		e.upgraded()
		<-e.ended // which closes their connections
	}); r.Dropped != 20 {
		t.Errorf("%d dropped", r.Dropped)
	}
	p.await("no ghosts", func() bool { return p.miners() == 0 })
}

// startFaultySecured is a pool with a port for TLS besides, that wants a secret for links.
func startFaultySecured(t *testing.T, port, cert, key string) *faulty {
	t.Helper()
	f := startFaulty(t)
	f.listenTLS(port, cert, key, map[string]any{"link_secret": "of the link"})
	return f
}

// listenTLS has an instance listen on a further port, with TLS, and gives it other keys.
func (f *faulty) listenTLS(port, cert, key string, more map[string]any) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "ckpool.conf"))
	if err != nil {
		f.t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		f.t.Fatal(err)
	}
	maps.Copy(keys, more)
	keys["serverurl"] = []any{f.addr, map[string]any{"url": "127.0.0.1:" + port, "mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, "tls": map[string]any{"cert": cert, "key": key}}}
	if text, err = json.Marshal(keys); err == nil {
		err = os.WriteFile(filepath.Join(f.dir, "ckpool.conf"), text, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	if reply, err := f.do("reload"); err != nil || strings.Contains(reply, "errormsg") {
		f.t.Fatalf("%q, %v", reply, err)
	}
}

// A pool does not take over from a passthrough, nor the other way round.
func TestUpgradeToAnotherMode(t *testing.T) {
	t.Parallel()
	p := startFaulty(t)
	e := behind(t, []string{"-P"}, redirecting, p)
	for _, tt := range []struct {
		f    *faulty
		args []string
		want string
	}{
		{e, []string{"-c", filepath.Join(p.dir, "ckpool.conf")}, "this is a pool, the running instance a passthrough: this cannot change"},
		{e, []string{"-R", "-c", filepath.Join(e.dir, "ckpool.conf")}, "this is a redirector, the running instance a passthrough: this cannot change"},
		{p, []string{"-P", "-c", filepath.Join(e.dir, "ckpool.conf")}, "this is a passthrough, the running instance a pool: this cannot change"},
	} {
		old := tt.f.pid()
		out, err := exec.Command("ckpool", append(tt.args, "-n", "ckpool", "-H", "-q", "-s", tt.f.sockets())...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.want) || tt.f.pid() != old {
			t.Errorf("%v: %v, %s", tt.args, err, out)
		}
	}
	if reply, err := e.do("ping"); err != nil || reply != "pong" {
		t.Errorf("%q, %v", reply, err)
	}
}

// startFaultyNode starts a pool and a node before it, each with a bitcoin node.
func startFaultyNode(t *testing.T, logs string) (p, e *faulty) {
	t.Helper()
	forNodes, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	btcd := func() []any {
		n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, Transactions: 20, User: "user", Password: "pass"})
		return []any{map[string]any{"url": n.Addr(), "auth": "user", "pass": "pass", "zmq": []string{}}}
	}
	p = startFaultyOn(t, 1e-10, map[string]any{
		"btcd": btcd(), "nodeserver": "127.0.0.1:" + forNodes, "btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
	}, nil)
	return p, startFaultyOn(t, 1e-10, map[string]any{
		"proxy": []any{map[string]any{"url": "127.0.0.1:" + forNodes}}, "btcd": btcd(), "logdir": logs,
	}, []string{"-N"})
}

// A node and its pool are upgraded in turn under load. Neither miners nor pool notice, and
// both count the same shares.
func TestUpgradeNode(t *testing.T) {
	t.Parallel()
	logs := t.TempDir()
	p, e := startFaultyNode(t, logs)
	before := p.accepted()
	r := e.mine(func(context.Context) {
		for range 5 {
			e.upgraded()
			p.upgraded()
			e.upgraded()
		}
	})
	p.unharmed(r, before)
	began := time.Now()
	e.end()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it has ended after %v", took)
	}
	status, err := sharelog.ReadPoolStatus(filepath.Join(logs, "pool", "pool.status"))
	if all := p.accepted(); err != nil || status.AcceptedCount != all {
		t.Errorf("the node has counted %d shares, %v; the pool %d", status.AcceptedCount, err, all)
	}
}
