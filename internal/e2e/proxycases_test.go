package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

// stratum-mining/stratum#2260, #2330: numbers of miners that have left are not given to
// others while the job they had still counts. All miners here search alike, so that two
// with one number would find the same share.
func TestChurn(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Extranonce2Len: 4})
	p := proxyOf(keys{"max_connections_per_proxy": 8}, above.Addr).start(t)
	p.works(t)
	stays := p.connect(t, "steady")
	stays.goesUp(stays.job())
	shares := 1
	var late *hand
	var lateJob client.Notify
	for i := range 600 {
		h := p.connect(t, fmt.Sprintf("visitor%d.rig", i%50))
		j := h.job()
		if i%4 == 0 {
			h.goesUp(j)
			shares++
		}
		if late == nil {
			late, lateJob = h, j
			continue
		}
		h.client.Close()
	}
	// The space is not lost: it is used again when the job is over.
	for range 3 {
		since := time.Now()
		if err := above.NewBlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		stays.jobSince(patience, since)
	}
	for i := range 100 {
		h := p.connect(t, fmt.Sprintf("visitor%d.rig", i%50))
		j := h.job()
		h.goesUp(j)
		shares++
		h.client.Close()
	}
	// One for a job of long ago is good nowhere.
	if r := late.submit(late.solve(lateJob, targetOf(lateJob))); r == nil && above.Refused.Load()+above.Invalid.Load() > 0 {
		t.Error("a late share is accepted here and refused above")
	} else if r == nil {
		shares++
	}
	stays.goesUp(stays.job())
	stays.connected()
	booked(t, above, shares+1)
	if n := above.Connections.Load(); n > 8 {
		t.Errorf("%d connections", n)
	}
}

// braiins/farm-proxy#16: pools that are proxies themselves give an empty extranonce1 and
// odd sizes. When one is lost, miners go on at the other.
func TestFailoverOfEmptyExtranonces(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 3, 4} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			c := otherpool.Config{Extranonce1: func(int) string { return "" }, Extranonce2Len: size}
			a, b := otherPool(t, 0, c), otherPool(t, 0, c)
			p := proxyOf(nil, a.Addr, b.Addr).start(t)
			p.worksAt(t, a, b)
			miners := []*hand{p.connectAs(t, "rig0", rolling)}
			if size > 2 { // which are enough for one
				miners = append(miners, p.connectAs(t, "rig1", rolling), p.connect(t, "rig2"))
			}
			for _, h := range miners {
				h.goesUp(h.job())
			}
			booked(t, a, len(miners))
			since := time.Now()
			a.Down(net.ErrClosed)
			for _, h := range miners {
				j, _ := h.jobSince(patience, since)
				h.goesUp(j)
				h.connected()
			}
			booked(t, b, len(miners))
		})
	}
}

// oliverw/miningcore#1549: a miner that comes while there is no pool yet, and speaks of
// version rolling first, is served on that connection as soon as there is one.
func TestMinerBeforeUpstream(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{VersionMask: 0x00ffe000})
	above.Down(net.ErrClosed)
	p := proxyOf(nil, above.Addr).start(t)
	p.log.wait(t, 0, "Upstream "+above.Addr)
	c := p.rawFrom(t, "127.0.0.1")
	if _, err := c.Write([]byte(`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}` + "\n" +
		`{"id":2,"method":"mining.subscribe","params":["e2e/1"]}` + "\n")); err != nil {
		t.Fatal(err)
	}
	above.Down(nil)
	for _, want := range []string{"00ffe000", `"mining.notify"`} {
		line, err := c.read.ReadString('\n')
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%q, %v, want %s", line, err, want)
		}
	}
	h := p.connectAs(t, "rig", rolling)
	h.goesUp(h.job())
	booked(t, above, 1)
}

// bitaxeorg/ESP-Miner#1451: what was found for one pool never goes to another, nor under
// the account there. It is refused.
func TestIdentitiesAreNotMixed(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{})
	p := proxyOf(keys{"proxy": []keys{
		{"url": a.Addr, "auth": "first.account", "pass": "x"}, {"url": b.Addr, "auth": "second", "pass": "y", "agent": "farm/7"},
	}}).start(t)
	p.worksAt(t, a, b)
	miners := []*hand{p.connect(t, "alice"), p.connectAs(t, "bob", rolling)}
	var former []client.Notify
	for _, h := range miners {
		former = append(former, h.job())
		h.goesUp(h.job())
	}
	a.Down(net.ErrClosed)
	for i, h := range miners {
		j, _ := h.jobWhere(patience, "of the second pool", from(0xbb))
		if r := h.submit(h.solve(former[i], targetOf(former[i]))); r == nil {
			t.Error("a share for the pool that is gone is accepted")
		}
		h.goesUp(j)
		h.connected()
	}
	for name, above := range map[string]*otherpool.Pool{"first.account": a, "second": b} {
		if book := above.Book(); len(book) != 1 || book[name].Shares != 2 || above.Invalid.Load() != 0 {
			t.Errorf("the book of %s: %v, faults %q", name, book, above.Faults())
		}
	}
	// braiins/farm-proxy#20: what a pool is told of who connects.
	if lines := strings.Join(b.Lines(), "\n"); !strings.Contains(lines, `"mining.subscribe","params":["farm/7"]`) {
		t.Errorf("the pool has seen\n%s", lines)
	}
}

// xmrig/xmrig-proxy#266, btccom/btcagent#42: what knocks at the port and is no miner, or
// comes and goes, is not heard above and harms nobody.
func TestNoiseStaysHere(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	h.goesUp(h.job())
	before := len(above.Lines())
	greetings := []string{
		"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",                            // RDP
		"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00", // TLS
		"GET / HTTP/1.1\r\nHost: pool\r\n\r\n",
		`{"id":1,"method":"mining.subscribe","params":[]}` + "\n", "",
	}
	for i := range 400 {
		c, err := p.dialRaw(t, fmt.Sprintf("127.0.0.%d", 2+i%200))
		if err != nil {
			continue // it may be refused
		}
		_, _ = c.Write([]byte(greetings[i%len(greetings)])) // it may be closed already
		c.Close()
		if i%100 == 50 {
			h.goesUp(h.job())
		}
	}
	h.goesUp(h.job())
	h.connected()
	booked(t, above, 6)
	if n := len(above.Lines()); n != before || above.Connections.Load() != 1 {
		t.Errorf("%d connections above, and lines %q", above.Connections.Load(), above.Lines()[before:])
	}
}

// stratum-mining/stratum#1006, #791: whatever a pool refuses for, the miner is told, and
// only what is accepted above is accepted.
func TestEachReason(t *testing.T) {
	t.Parallel()
	reasons := []string{otherpool.LowDifficulty, otherpool.UnknownJob, otherpool.Duplicate, otherpool.Unauthorized, "Above target", "Time too new", ""}
	above := otherPool(t, 0xaa, otherpool.Config{Refuse: func(_ string, share int) string { return reasons[share%len(reasons)] }})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	accepted, told := 0, map[string]int{}
	for range 3 * len(reasons) {
		j := h.job()
		if r := h.submit(h.solve(j, targetOf(j))); r != nil {
			told[r.Text]++
		} else {
			accepted++
		}
	}
	h.connected()
	for _, reason := range reasons[:len(reasons)-1] {
		n := 0
		for text, times := range told {
			if strings.Contains(text, reason) {
				n += times
			}
		}
		if n != 3 {
			t.Errorf("%q was told %d times: %v", reason, n, told)
		}
	}
	if st := ask[poolStats](p, "poolstats"); accepted != 3 || above.Accepted.Load() != 3 || st.Accepted != 3 || st.Rejected != 18 {
		t.Errorf("%d accepted, above %d, here %+v", accepted, above.Accepted.Load(), st)
	}
	booked := above.Book()["farm"]
	if booked.Shares != 3 || above.Invalid.Load() != 0 {
		t.Errorf("%+v", booked)
	}
}

// A hostile pool in reserve sends all it can think of. Those who work for the other pool
// notice nothing, and when that is lost they get such work of the hostile one as can be
// hashed.
func TestHostileUpstream(t *testing.T) {
	t.Parallel()
	branches := strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("ab", 32)+`",`, 64), ",")
	notify := func(id, branches string) string {
		return fmt.Sprintf(`{"params":["%s","%s","01000000","02",[%s],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}`,
			id, strings.Repeat("0b", 32), branches)
	}
	send := func(lines ...string) func(*otherpool.Pool) {
		return func(b *otherpool.Pool) {
			for _, line := range lines {
				b.Send(line)
			}
		}
	}
	for name, hurt := range map[string]func(*otherpool.Pool){
		"a long job id":     send(notify(strings.Repeat("j", 8<<10), "")),
		"64 branches":       send(notify("j", branches)),
		"128 branches":      send(notify("j", branches+","+branches)),
		"tiny difficulty":   send(`{"method":"mining.set_difficulty","params":[1e-300]}`, notify("j", "")),
		"no extranonce2":    send(`{"method":"mining.set_extranonce","params":["",0]}`, notify("j", "")),
		"a long extranonce": send(`{"method":"mining.set_extranonce","params":["`+strings.Repeat("ab", 4<<10)+`",8]}`, notify("j", "")),
		"a long line":       send(strings.Repeat("x", 4<<20)),
		"many jobs": func(b *otherpool.Pool) {
			for range 10_000 {
				b.NewJob()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{})
			p := proxyOf(nil, a.Addr, b.Addr).start(t)
			p.worksAt(t, a, b)
			h := p.connect(t, "rig")
			h.goesUp(h.job())
			hurt(b)
			for range 20 {
				h.goesUp(h.job())
			}
			h.connected()
			booked(t, a, 21)
			a.Down(net.ErrClosed)
			// It may be cut off, now or soon, and be tried again.
			eventually(t, patience, "a share for the second pool", func() bool {
				b.NewJob()
				j := h.job()
				return from(0xbb)(j, time.Time{}) && h.submit(h.solve(j, targetOf(j))) == nil
			})
			h.connected()
			// What it sent by hand it does not know, and may have got a share of.
			faults := slices.DeleteFunc(b.Faults(), func(text string) bool { return text == `job "j" was never given` })
			if len(faults) != 0 || len(b.Book()) != 1 {
				t.Errorf("the second pool's book: %v, faults %q", b.Book(), faults)
			}
		})
	}
}

// A share that is above when the line is lost may count there or not: the miner is told
// that there is no answer, not that it is accepted.
func TestShareOnALostLine(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	j := h.job()
	above.Silence(true)
	verdict := make(chan client.Verdict, 1)
	if err := j.Send(h.solve(j, targetOf(j)).Share, func(v client.Verdict) { verdict <- v }); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the share above", func() bool { return above.Accepted.Load() == 1 })
	above.Down(net.ErrClosed)
	select {
	case v := <-verdict:
		if v.Err != nil || v.Reject == nil || v.Reject.Text != "No answer from upstream" {
			t.Errorf("%+v, %v", v.Reject, v.Err)
		}
	case <-time.After(patience):
		t.Error("no verdict")
	}
	h.connected()
	if f := p.upstreams()[0]; f.Unanswered != 1 || f.Accepted != 0 {
		t.Errorf("%+v", f)
	}
}

// xmrig/xmrig-proxy#266: miners that come, get work and leave, as fast as they can. Those
// that stay have their answers, nothing of it is heard above, and
// who is there is told from who has come.
func TestManyConnects(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "steady.rig")
	answered := func(shares int) { // each within the time that submit waits
		t.Helper()
		for range shares {
			s := h.solve(h.job(), targetOf(h.job()))
			if r := h.submit(s); r != nil {
				t.Errorf("refused: %v", r)
			}
		}
	}
	answered(50)
	lines := len(above.Lines())
	const comers, visits = 8, 150
	var coming sync.WaitGroup
	for i := range comers {
		coming.Go(func() {
			for n := range visits {
				c, err := p.dialRaw(t, fmt.Sprintf("127.0.0.%d", 2+i))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = c.ask("mining.subscribe", "e2e/1")
				if err == nil {
					_, err = c.ask("mining.authorize", fmt.Sprintf("visitor%d.rig%d", i, n%10), "x")
				}
				if err != nil {
					t.Errorf("visit %d: %v", n, err)
				}
				c.Close()
			}
		})
	}
	answered(50)
	coming.Wait()
	type counts struct {
		Clients struct{ Count, Generated int }
	}
	eventually(t, patience, "the end of those that left", func() bool { return ask[counts](p, "connectorstats").Clients.Count == 1 })
	if n := ask[counts](p, "connectorstats").Clients.Generated; n < comers*visits+1 {
		t.Errorf("%d have come, by connectorstats", n)
	}
	h.goesUp(h.job())
	h.connected()
	booked(t, above, 101)
	if n := len(above.Lines()); n != lines || above.Connections.Load() != 1 {
		t.Errorf("%d connections above, and lines %q", above.Connections.Load(), above.Lines()[lines:])
	}
}
