package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

// upgradeMiners is how many miners a farm has that is upgraded.
const upgradeMiners = 40

// moved waits for so many more shares above.
func moved(t *testing.T, above *otherpool.Pool, shares int64) {
	t.Helper()
	before := above.Accepted.Load()
	eventually(t, 2*patience, fmt.Sprint(shares, " shares above"), func() bool { return above.Accepted.Load() >= before+shares })
}

// sameBooks fails the test unless what miners were told, what is counted here and what is
// in the book of the pool above are the same.
func sameBooks(t *testing.T, p *running, above *otherpool.Pool, h harvest) {
	t.Helper()
	f, here := p.upstreams()[0], ask[exactStats](p, "poolstats")
	t.Logf("%+v, above %d accepted, %d refused", h, above.Accepted.Load(), above.Refused.Load())
	if above.Invalid.Load() != 0 || h.unsure+h.wrong != 0 {
		t.Errorf("%d invalid above: %q; miners were told %+v", above.Invalid.Load(), above.Faults(), h)
	}
	if int(above.Accepted.Load()) != h.above || int(above.Refused.Load()) != h.refused {
		t.Errorf("above: %d accepted and %d refused; miners were told %+v", above.Accepted.Load(), above.Refused.Load(), h)
	}
	if f.Accepted != h.above || f.Refused != h.refused || f.NotSent != h.here || f.Unanswered+f.Unsendable+f.Waiting != 0 {
		t.Errorf("figures: %+v; miners were told %+v", f, h)
	}
	if here.AcceptedCount != h.here+h.above || here.Accepted != float64(h.here+h.above)*farmHere || here.RejectedCount != h.refused {
		t.Errorf("here: %+v; miners were told %+v", here, h)
	}
}

// Z1: a proxy that is upgraded under load, ten times. Neither its miners nor the pools
// above notice: these have the connections they had, and every share gets its verdict.
func TestZ1Upgrade(t *testing.T) {
	t.Parallel()
	c := otherpool.Config{Difficulty: farmAbove, Delay: 40 * time.Millisecond, RejectEvery: 9}
	above, reserve := otherPool(t, 0xaa, c), otherPool(t, 0xbb, c)
	s := proxyOf(ofFarm, above.Addr, reserve.Addr)
	p := s.start(t)
	p.worksAt(t, above, reserve)
	miners := p.mine(t, farmHashRate, farmUsers()[:upgradeMiners]...)
	for round := range 10 {
		moved(t, above, 10)
		if round%3 == 0 {
			above.NewJob()
		}
		p = p.upgrade(s)
		above.NewJob()
	}
	moved(t, above, 10)
	miners.stop()
	sameBooks(t, p, above, miners.harvest())
	for _, e := range miners.lost {
		t.Errorf("a miner lost its connection: %v", e)
	}
	if a, b := above.Connections.Load(), reserve.Connections.Load(); a != 1 || b != 1 {
		t.Errorf("%d and %d connections above", a, b)
	}
	if p.log.count("Miners work for upstream") != 0 {
		t.Error("pools were chosen anew")
	}
}

// A handover that ends at any step: the connections above go on in the old process, with
// the shares that wait.
func TestProxyUpgradeFails(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Difficulty: farmAbove, Delay: 40 * time.Millisecond})
	s := proxyOf(ofFarm, above.Addr)
	p := s.start(t)
	p.works(t)
	miners := p.mine(t, farmHashRate, farmUsers()[:upgradeMiners]...)
	for _, step := range []string{"hello", "copied", "ready", "section", "end", "complete", "have", "yours"} {
		moved(t, above, 5)
		next, err := p.succeed(s, func(at string) error {
			if at == step {
				return errors.New("the end at " + at)
			}
			return nil
		})
		if err == nil {
			next.end()
			t.Fatalf("%s: taken over", step)
		}
		above.NewJob()
	}
	for name, v := range map[string]struct {
		s    setup
		want string
	}{
		"other mode":  {setup{nodes: []keys{}}, "this is a pool, the running instance a proxy"},
		"other pools": {proxyOf(ofFarm, "127.0.0.1:1"), ""},
	} {
		_, err := p.succeed(v.s, func(at string) error {
			if at == "copied" && name == "other pools" { // it would last until the time is up
				return errors.New("enough")
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), v.want) {
			t.Fatalf("%s: %v, want %q", name, err, v.want)
		}
	}
	moved(t, above, 5)
	p = p.upgrade(s)
	moved(t, above, 5)
	miners.stop()
	miners.undisturbed()
	sameBooks(t, p, above, miners.harvest())
	if n := above.Connections.Load(); n != 1 {
		t.Errorf("%d connections above", n)
	}
}

// A pool that is not in the new configuration is left, and miners go where that says. The
// other way round, a pool that is new there is connected to.
func TestProxyUpgradeToOtherPools(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{Difficulty: farmAbove}), otherPool(t, 0xbb, otherpool.Config{Difficulty: farmAbove})
	p := proxyOf(ofFarm, a.Addr).start(t)
	p.works(t)
	miners := p.mine(t, farmHashRate, farmUsers()[:upgradeMiners]...)
	moved(t, a, 5)
	p = p.upgrade(proxyOf(ofFarm, a.Addr, b.Addr))
	moved(t, a, 5)
	p.hasWorkOf(t, a, b)
	p.upgrade(proxyOf(ofFarm, b.Addr))
	moved(t, b, 20)
	eventually(t, patience, "the end of the connection", func() bool { return a.Connected() == 0 })
	miners.stop()
	for _, e := range miners.lost {
		t.Errorf("a miner lost its connection: %v", e)
	}
	h := miners.harvest()
	if n := int(a.Accepted.Load() + b.Accepted.Load()); n < h.above || n > h.above+h.unsure || h.wrong != 0 || a.Connections.Load() != 1 || b.Connections.Load() != 1 {
		t.Errorf("%d and %d accepted above, on %d and %d connections; miners were told %+v",
			a.Accepted.Load(), b.Accepted.Load(), a.Connections.Load(), b.Connections.Load(), h)
	}
	if a.Invalid.Load()+b.Invalid.Load() != 0 {
		t.Errorf("shares that no pool above can take: %q, %q", a.Faults(), b.Faults())
	}
}

// A connection over TLS cannot move: another one is opened first, and miners go there. Of
// what was on its way each miner hears the truth.
func TestProxyUpgradeOfTLS(t *testing.T) {
	t.Parallel()
	certificate := certificate.New(t, "localhost", 1).TLS(t)
	above := otherPool(t, 0xaa, otherpool.Config{Difficulty: farmAbove, Delay: 30 * time.Millisecond, Wrap: func(c net.Conn) net.Conn {
		return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}})
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pin := fmt.Sprintf("%x", sha256.Sum256(leaf.RawSubjectPublicKeyInfo))
	more := keys{"proxy": []keys{{"url": "stratum+ssl://" + above.Addr, "auth": "farm", "pass": "x", "pin": pin}}}
	for name, v := range ofFarm {
		more[name] = v
	}
	s := proxyOf(more)
	p := s.start(t)
	p.works(t)
	miners := p.mine(t, farmHashRate, farmUsers()[:upgradeMiners]...)
	for range 5 {
		moved(t, above, 20)
		p = p.upgrade(s)
	}
	moved(t, above, 20)
	miners.stop()
	for _, e := range miners.lost {
		t.Errorf("a miner lost its connection: %v", e)
	}
	h, f := miners.harvest(), p.upstreams()[0]
	t.Logf("%+v, above %d accepted; %+v", h, above.Accepted.Load(), f)
	// Work of the connection before is stale until miners have that of the next.
	if n := int(above.Accepted.Load()); n < h.above || n > h.above+h.unsure || h.wrong != 0 || above.Refused.Load()+above.Invalid.Load() != 0 {
		t.Errorf("%d accepted above, miners were told %+v; %q", n, h, above.Faults())
	}
	if n, now := above.Connections.Load(), above.Connected(); n != 6 || now != 1 {
		t.Errorf("%d connections, %d now", n, now)
	}
	if f.Accepted != h.above || f.Waiting != 0 || f.Unanswered > h.unsure {
		t.Errorf("figures: %+v; miners were told %+v", f, h)
	}
}

// A program that knows nothing of moving connections above takes over all the same: it makes
// its own, and no miner is told anything that is not true.
func TestProxyUpgradeToOlder(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Difficulty: farmAbove, Delay: 30 * time.Millisecond})
	s := proxyOf(ofFarm, above.Addr)
	p := s.start(t)
	p.works(t)
	miners := p.mine(t, farmHashRate, farmUsers()[:upgradeMiners]...)
	moved(t, above, 20)
	s.older = true
	p = p.upgrade(s)
	moved(t, above, 20)
	s.older = false
	p.upgrade(s)
	moved(t, above, 20)
	miners.stop()
	for _, e := range miners.lost {
		t.Errorf("a miner lost its connection: %v", e)
	}
	h := miners.harvest()
	t.Logf("%+v, above %d accepted", h, above.Accepted.Load())
	if n := int(above.Accepted.Load()); n < h.above || n > h.above+h.unsure || h.wrong != 0 || above.Refused.Load()+above.Invalid.Load() != 0 {
		t.Errorf("%d accepted above, miners were told %+v; %q", n, h, above.Faults())
	}
	if n := above.Connections.Load(); n != 2 {
		t.Errorf("%d connections above", n)
	}
}

// A miner with TLS has to connect again; its share that waits for the pool above counts all
// the same.
func TestProxyUpgradeOfMinerWithTLS(t *testing.T) {
	t.Parallel()
	answers := make(chan struct{})
	answer := sync.OnceFunc(func() { close(answers) })
	above := otherPool(t, 0xaa, otherpool.Config{Answer: func(id, reason string) string {
		<-answers
		return otherpool.Arrays(id, reason)
	}})
	t.Cleanup(answer)
	cert, key := certificate.New(t, "pool.example", 1).Write(t, t.TempDir())
	s := proxyOf(keys{"serverurl": []keys{{"url": "127.0.0.1:1", "tls": keys{"cert": cert, "key": key}}}}, above.Addr)
	p := s.start(t)
	p.works(t)
	h := connectTo(t, client.Endpoint{URL: "stratum+ssl://" + p.addr, User: "alice.rig1", Password: "x"}, through(""))
	j := h.job()
	heard := make(chan client.Verdict, 1)
	if err := h.client.Send(j.JobID, h.solve(j, targetOf(j)).Share, func(v client.Verdict) { heard <- v }); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "a share above", func() bool { return p.upstreams()[0].Waiting == 1 })
	next := p.upgrade(s)
	if v := <-heard; v.Err == nil {
		t.Errorf("the miner is told %+v", v)
	}
	answer()
	eventually(t, patience, "the verdict", func() bool { return ask[poolStats](next, "poolstats").Accepted == 1 })
	booked(t, above, 1)
	type workers struct {
		Workers []struct {
			Worker         string
			AcceptedShares int `json:"accepted_shares"`
		}
	}
	if all := ask[workers](next, "workers").Workers; len(all) != 1 || all[0].Worker != "alice.rig1" || all[0].AcceptedShares != 1 {
		t.Errorf("workers %+v", all)
	}
	if st := ask[poolStats](next, "poolstats"); st.Workers != 0 {
		t.Errorf("%d workers are connected", st.Workers)
	}
	if f := next.upstreams()[0]; f.Accepted != 1 || f.Unanswered+f.Waiting != 0 {
		t.Errorf("%+v", f)
	}
}
