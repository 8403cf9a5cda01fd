package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

// The tests named X are the rows of that name of the proxy's scenarios, with whole pools
// and proxies. Those that need minutes (X10, the limits of X6) are in the package
// upstream, where time is made up.

// aboveDifficulty is what other pools ask for: a power of two, so that sums of it are
// exact.
const aboveDifficulty = 1.0 / (1 << 26)

// proxyOf is a proxy before pools, as farm, with further keys. Its miners have the
// difficulty that is asked for above, until vardiff finds it too high for them.
func proxyOf(more keys, addrs ...string) setup {
	var entries []keys
	for _, addr := range addrs {
		entries = append(entries, keys{"url": addr, "auth": "farm", "pass": "x"})
	}
	k := keys{"btcaddress": "", "proxy": entries, "proxy_hold": 1, "startdiff": 1}
	maps.Copy(k, more)
	return setup{proxy: true, nodes: []keys{}, keys: k}
}

// before runs a proxy before one of our pools.
func (r *running) before(t *testing.T, more keys) *running {
	t.Helper()
	p := proxyOf(more, r.addr).start(t)
	p.works(t)
	return p
}

// works waits until miners get work from a pool.
func (r *running) works(t *testing.T) {
	t.Helper()
	r.log.wait(t, 0, "Miners work for upstream ")
	r.log.wait(t, 0, "New block: ")
}

// worksAt waits until miners get work from the first of some pools and the others are
// ready, in whatever order they were connected.
func (r *running) worksAt(t *testing.T, pools ...*otherpool.Pool) {
	t.Helper()
	r.works(t)
	r.hasWorkOf(t, pools...)
}

// hasWorkOf is worksAt for a proxy that has taken over.
func (r *running) hasWorkOf(t *testing.T, pools ...*otherpool.Pool) {
	t.Helper()
	type list struct {
		Proxies []struct {
			URL           string
			Alive, Active bool
		}
	}
	eventually(t, patience, "work of all pools", func() bool {
		all := ask[list](r, "list").Proxies
		for i, k := range all {
			if k.URL != pools[i].Addr || !k.Alive || k.Active != (i == 0) {
				return false
			}
		}
		return len(all) == len(pools)
	})
}

// otherPool runs a pool whose extranonce1 begin with a byte of its own.
func otherPool(t *testing.T, mark byte, c otherpool.Config) *otherpool.Pool {
	t.Helper()
	if c.Difficulty == 0 {
		c.Difficulty = aboveDifficulty
	}
	if c.Extranonce1 == nil {
		c.Extranonce1 = func(n int) string { return fmt.Sprintf("%02x%02x%02x%02x", mark, mark, n>>8&0xff, n&0xff) }
	}
	return otherpool.Start(t, c)
}

// rolling are the options of a miner that can do everything.
var rolling = client.Options{VersionMask: 0x1fffe000, ExtranonceSubscribe: true}

// connectAs is connect with options.
func (r *running) connectAs(t *testing.T, user string, o client.Options) *hand {
	t.Helper()
	return connectTo(t, client.Endpoint{URL: r.addr, User: user, Password: "x"}, o)
}

// from tells whether a job is of the pool with that mark: it ends in its extranonce1 and
// what the proxy puts behind.
func from(mark byte) func(client.Notify, time.Time) bool {
	return func(j client.Notify, _ time.Time) bool { return bytes.Contains(j.Coinb1, []byte{mark, mark}) }
}

// goesUp submits a share that goes up and is accepted there.
func (h *hand) goesUp(j client.Notify) {
	h.t.Helper()
	if r := h.submit(h.solve(j, targetOf(j))); r != nil {
		h.t.Errorf("refused: %v", r)
	}
}

// booked fails the test unless a pool has just so many shares of one user, and saw
// nothing wrong.
func booked(t *testing.T, above *otherpool.Pool, shares int) {
	t.Helper()
	book := above.Book()
	if len(book) != 1 || book["farm"].Shares != shares || above.Invalid.Load() != 0 || above.Refused.Load() != 0 {
		t.Errorf("the pool's book: %v, want %d shares; %d invalid: %q", book, shares, above.Invalid.Load(), above.Faults())
	}
}

// X1: miners of any name submit, the pool above sees its one account, and answers true.
// Its extranonce1 is in the first part of the coinbase, the miners have short ones of
// their own behind.
func TestX1(t *testing.T) {
	t.Parallel()
	t.Run("our pool", func(t *testing.T) {
		t.Parallel()
		n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
		m := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"mindiff": 1e-8, "startdiff": 1e-8}}.start(t)
		p := m.before(t, nil)
		for i := range 3 {
			h := p.connect(t, fmt.Sprintf("anybody%d.rig", i))
			for range 4 {
				h.goesUp(h.job())
			}
		}
		if st := ask[poolStats](m, "poolstats"); st.Accepted != 12 || st.Rejected != 0 || st.Workers != 1 {
			t.Errorf("above: %+v", st)
		}
		if st := ask[poolStats](p, "poolstats"); st.Accepted != 12 || st.Rejected != 0 || st.Workers != 3 {
			t.Errorf("here: %+v", st)
		}
		type list struct{ Workers []struct{ Worker string } }
		if all := ask[list](m, "workers").Workers; len(all) != 1 || all[0].Worker != "farm" {
			t.Errorf("workers above %+v", all)
		}
		// A block there is clean work here, at once.
		h := p.connect(t, "anybody0.rig")
		j, _ := h.jobOn(patience, n.NewBlock())
		if !j.Clean {
			t.Error("the job on another block is not clean")
		}
		h.goesUp(j)
	})
	t.Run("another pool", func(t *testing.T) {
		t.Parallel()
		above := otherPool(t, 0xaa, otherpool.Config{})
		p := proxyOf(nil, above.Addr).start(t)
		p.works(t)
		own := map[string]bool{}
		for i := range 3 {
			h := p.connect(t, fmt.Sprintf("anybody%d.rig", i))
			j := h.job()
			if e := j.Extranonce; len(e.Extranonce1) != 2 || e.Extranonce2Len != 4 || !bytes.HasSuffix(j.Coinb1[:len(j.Coinb1)-2], []byte{0xaa, 0xaa, 0, 0}) {
				t.Errorf("extranonce %+v behind %x", e, j.Coinb1)
			}
			own[hex.EncodeToString(j.Extranonce.Extranonce1)] = true
			for range 4 {
				h.goesUp(j)
			}
		}
		if len(own) != 3 {
			t.Errorf("extranonce1 of three miners: %v", own)
		}
		booked(t, above, 12)
		if d := above.Book()["farm"].Difficulty; d != 12*aboveDifficulty {
			t.Errorf("accepted difficulty %v", d)
		}
	})
	// A block that a miner finds behind a proxy is in the chain.
	t.Run("btcd", func(t *testing.T) {
		t.Parallel()
		n := testkit.StartBtcd(t, btcd.Options{})
		n.SegwitTemplate(2)
		m := setup{nodes: []keys{btcdEntry(n)}}.start(t)
		p := m.before(t, nil)
		h := p.connectAs(t, "anybody", rolling)
		for range 3 {
			j, _ := h.jobOn(patience, n.BestBlockHash())
			s := h.solveBlock(j)
			if r := h.submit(s); r != nil {
				t.Fatalf("refused: %v", r)
			}
			b := m.block(s.hash, "confirmed 1")
			if b.Worker != "farm" || n.BlockHash(b.Height) != s.hash {
				t.Errorf("%+v", b)
			}
		}
		h.connected()
	})
}

// X2: an extranonce2 of 3 bytes carries many miners on one connection.
func TestX2(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Extranonce2Len: 3})
	p := proxyOf(keys{"max_connections_per_proxy": 2}, above.Addr).start(t)
	p.works(t)
	for i := range 5 {
		h := p.connect(t, fmt.Sprint("rig", i))
		h.goesUp(h.job())
	}
	booked(t, above, 5)
	if n := above.Connections.Load(); n != 1 {
		t.Errorf("%d connections for 5 miners", n)
	}
}

// X3: 300 miners where a connection has room for 256: two connections, and no two miners
// do the same work.
func TestX3(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{Extranonce2Len: 4})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	work, connections := map[string]bool{}, map[string]int{}
	var last []*hand
	for i := range 300 {
		h := p.connect(t, fmt.Sprint("rig", i))
		j := h.job()
		at := bytes.Index(j.Coinb1, []byte{0xaa, 0xaa})
		if at < 0 {
			t.Fatalf("no extranonce1 of the pool in %x", j.Coinb1)
		}
		connections[hex.EncodeToString(j.Coinb1[at:at+4])]++
		work[hex.EncodeToString(j.Coinb1[at:])+hex.EncodeToString(j.Extranonce.Extranonce1)] = true
		if last = append(last, h); len(last) > 3 {
			last = last[1:]
		}
		if i == 0 {
			h.goesUp(j)
		}
	}
	if len(work) != 300 || len(connections) != 2 {
		t.Errorf("%d miners have work of their own, on connections %v", len(work), connections)
	}
	for _, n := range connections {
		if n > 256 {
			t.Errorf("%d miners on a connection", n)
		}
	}
	for _, h := range last {
		h.goesUp(h.job())
	}
	booked(t, above, 4)
}

// X4: the pool mined for is lost and comes back. Miners keep their connections, whatever
// they understand, since other pools give work of the same shape.
func TestX4(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{})
	p := proxyOf(nil, a.Addr, b.Addr).start(t)
	p.worksAt(t, a, b)
	var miners []*hand
	for i := range 10 {
		o := client.Options{}
		if i%2 == 0 {
			o = rolling
		}
		miners = append(miners, p.connectAs(t, fmt.Sprint("rig", i), o))
	}
	at := func(mark byte, since time.Time) {
		t.Helper()
		for _, h := range miners {
			j, _ := h.jobWhere(patience, fmt.Sprintf("of %x", mark), func(j client.Notify, came time.Time) bool {
				return came.After(since) && from(mark)(j, came)
			})
			if !j.Clean && !since.IsZero() {
				t.Error("the first job of another pool is not clean")
			}
			h.goesUp(j)
		}
	}
	at(0xaa, time.Time{})
	booked(t, a, 10)
	since := time.Now()
	a.Down(net.ErrClosed)
	at(0xbb, since)
	booked(t, b, 10)
	since = time.Now()
	a.Down(nil)
	at(0xaa, since)
	booked(t, a, 20)
	for _, h := range miners {
		h.connected()
	}
}

// X5: the pool above asks for less, and so do we at once.
func TestX5(t *testing.T) {
	t.Parallel()
	const high, low = 1.0 / (1 << 22), 1.0 / (1 << 28)
	above := otherPool(t, 0xaa, otherpool.Config{Difficulty: high, Policy: otherpool.AtOnce})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	j := h.job()
	if j.Difficulty != high {
		t.Fatalf("difficulty %v, above it is %v", j.Difficulty, high)
	}
	h.goesUp(j)
	above.SetDifficulty(low)
	above.NewJob()
	j, _ = h.jobWhere(patience, "with the difficulty", func(j client.Notify, _ time.Time) bool { return j.Difficulty == low })
	h.goesUp(j)
	booked(t, above, 2)
	if d := above.Book()["farm"].Difficulty; d != high+low {
		t.Errorf("accepted %v", d)
	}
}

// X6: what is refused above is false for the miner, with the reason, and counted as
// refused, in whatever form the pool says it.
func TestX6(t *testing.T) {
	t.Parallel()
	for name, form := range otherpool.Forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := otherPool(t, 0xaa, otherpool.Config{Answer: form, RejectEvery: 2})
			p := proxyOf(nil, above.Addr).start(t)
			p.works(t)
			h := p.connect(t, "rig")
			for i := range 6 {
				j := h.job()
				r := h.submit(h.solve(j, targetOf(j)))
				if refused := i%2 == 1; refused != (r != nil) || refused && !strings.Contains(r.Text, "Made up") {
					t.Errorf("share %d: %v", i, r)
				}
			}
			if above.Accepted.Load() != 3 || above.Invalid.Load() != 0 {
				t.Errorf("%d accepted above: %q", above.Accepted.Load(), above.Faults())
			}
			if st := ask[poolStats](p, "poolstats"); st.Accepted != 3 || st.Rejected != 3 {
				t.Errorf("%+v", st)
			}
			h.connected()
		})
	}
}

// X7: the pool sends us elsewhere. Within its domain we go, also where the port is a
// string, and miners go on as they are; elsewhere we do not.
func TestX7(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{})
	p := proxyOf(nil, a.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	h.goesUp(h.job())

	a.Send(`{"id":null,"method":"client.reconnect","params":["pool.example.org",3333,0]}`)
	a.NewJob()
	p.log.wait(t, 0, "another domain")
	h.goesUp(h.job())
	if n := a.Connections.Load(); n != 1 {
		t.Errorf("%d connections: the line should have stayed", n)
	}

	since := time.Now()
	a.Send(`{"id":null,"method":"client.reconnect","params":[]}`)
	j, _ := h.jobWhere(patience, "of the second connection", func(j client.Notify, came time.Time) bool {
		return came.After(since) && bytes.Contains(j.Coinb1, []byte{0xaa, 0xaa, 0, 1})
	})
	h.goesUp(j)
	booked(t, a, 3)

	_, port, err := net.SplitHostPort(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	a.Send(fmt.Sprintf(`{"id":null,"method":"client.reconnect","params":["127.0.0.1",%q,0]}`, port))
	j, _ = h.jobWhere(patience, "of the other address", from(0xbb))
	h.goesUp(j)
	booked(t, b, 1)
	h.connected()
}

// X8: versions rolled by a miner count above, and where the pool above refuses that, the
// miner is told so.
func TestX8(t *testing.T) {
	t.Parallel()
	t.Run("our pool", func(t *testing.T) {
		t.Parallel()
		n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
		m := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"mindiff": 1e-8, "startdiff": 1e-8}}.start(t)
		p := m.before(t, nil)
		h := p.connectAs(t, "rig", rolling)
		rolls(t, h)
		if st := ask[poolStats](m, "poolstats"); st.Accepted != 5 || st.Rejected != 0 {
			t.Errorf("%+v", st)
		}
	})
	for _, mask := range []uint32{0x1fffe000, 0x00ffe000} {
		t.Run(fmt.Sprintf("mask %08x", mask), func(t *testing.T) {
			t.Parallel()
			above := otherPool(t, 0xaa, otherpool.Config{VersionMask: mask})
			p := proxyOf(nil, above.Addr).start(t)
			p.works(t)
			h := p.connectAs(t, "rig", rolling)
			if got := h.job().VersionMask; got != mask {
				t.Errorf("mask %08x, above it is %08x", got, mask)
			}
			rolls(t, h)
			booked(t, above, 5)
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		above := otherPool(t, 0xaa, otherpool.Config{Configure: otherpool.ConfigureError})
		p := proxyOf(nil, above.Addr).start(t)
		p.works(t)
		h := p.connectAs(t, "rig", rolling)
		if got := h.job().VersionMask; got != 0 {
			t.Errorf("the miner may roll %08x, above nobody may", got)
		}
		h.goesUp(h.job())
		booked(t, above, 1)
	})
}

// rolls submits shares with versions of their own.
func rolls(t *testing.T, h *hand) {
	t.Helper()
	for i := range uint32(5) {
		j := h.job()
		bits := j.VersionMask & (i << 13)
		rolled := j
		rolled.Version |= bits
		s := h.solve(rolled, targetOf(j))
		s.VersionBits, s.HasVersionBits = bits, true
		if r := h.submit(s); r != nil {
			t.Errorf("bits %08x: %v", bits, r)
		}
	}
}

// X9: without any pool miners stay, and go on when one is back.
func TestX9(t *testing.T) {
	t.Parallel()
	a, b := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{})
	p := proxyOf(nil, a.Addr, b.Addr).start(t)
	p.worksAt(t, a, b)
	miners := []*hand{p.connect(t, "rig1"), p.connectAs(t, "rig2", rolling)}
	first := miners[0].job().PrevHash
	for _, h := range miners {
		h.goesUp(h.job())
	}
	a.Down(net.ErrClosed)
	b.Down(net.ErrClosed)
	p.log.wait(t, 0, "and there is no other")
	// What is found now counts nowhere, and nobody is told otherwise.
	for _, h := range miners {
		j := h.job()
		if r := h.submit(h.solve(j, targetOf(j))); r == nil {
			t.Error("accepted without a pool")
		}
	}
	// On another block, since the second pool may have had the miners for a moment.
	if err := b.NewBlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Down(nil)
	for _, h := range miners {
		j, _ := h.jobWhere(patience, "of the second pool", func(j client.Notify, came time.Time) bool {
			return from(0xbb)(j, came) && !bytes.Equal(j.PrevHash[:], first[:])
		})
		h.goesUp(j)
		h.connected()
	}
	booked(t, b, 2)
	booked(t, a, 2)
}

// Without any pool for drop_without_work, miners are closed so that they go to their
// other pools, and taken again when there is one.
func TestMinersLeaveWithoutUpstream(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := proxyOf(keys{"drop_without_work": 3}, above.Addr).start(t)
	p.works(t)
	h := p.connectAs(t, "rig", rolling)
	h.job()
	above.Down(net.ErrClosed)
	eventually(t, patience, "the miner's end", func() bool { return h.ended() != nil })
	p.log.wait(t, 0, "1 miners closed so that they go to their other pools")
	if _, ok := p.served(t, "127.0.0.1"); ok {
		t.Error("a miner that comes back is served without work")
	}
	above.Down(nil)
	eventually(t, patience, "work", func() bool {
		_, ok := p.served(t, "127.0.0.1")
		return ok
	})
	h = p.connect(t, "rig")
	h.goesUp(h.job())
}

// X11: what pools ask and tell is answered, and the log stays quiet.
func TestX11(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	h.goesUp(h.job())
	said := func() (n int) { // without statistics, which come when it is time for them
		for line := range strings.Lines(p.log.text()) {
			if !strings.Contains(line, " Pool:") && !strings.Contains(line, " User rig:") {
				n++
			}
		}
		return n
	}
	before := said()
	for _, line := range []string{
		`{"id":"v","method":"client.get_version","params":[]}`, `{"id":41,"result":null,"error":[-1,"Unknown method mining.suggest",null]}`,
		`{"id":7,"method":"mining.ping","params":[]}`, `{"id":null,"method":"client.show_message","params":["maintenance at noon"]}`,
	} {
		above.Send(line)
	}
	p.log.wait(t, 0, "maintenance at noon")
	eventually(t, patience, "the answers", func() bool {
		lines := above.Lines()
		return slices.Contains(lines, `{"result":"pong","error":null,"id":7}`) && slices.Contains(lines, `{"result":"ckpool","error":null,"id":"v"}`)
	})
	if said()-before > 1 {
		t.Error("more in the log than the message")
	}
	h.goesUp(h.job())
	booked(t, above, 2)
}
