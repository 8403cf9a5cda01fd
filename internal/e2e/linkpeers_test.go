package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/poolproto"
)

const helloShort = `{"method":"mining.passthrough","params":["test",{"dialect":1}]}`

// subscribed brings a miner over a link in the dialect of C.
func (l link) subscribed(channel uint32) {
	l.t.Helper()
	l.say(`{"id":1,"method":"mining.subscribe","params":["m"],"client_id":%d,"address":"192.0.2.7","server":0}`, channel)
	l.tagged("subscribe.result", int(channel))
}

// until passes over lines until one begins as it should.
func (l link) until(begins string) {
	l.t.Helper()
	line := l.next()
	for !strings.HasPrefix(line, begins) {
		line = l.next()
	}
}

// A link that dies takes its miners along at once, and nobody else, whatever the numbers.
func TestP11LinkDies(t *testing.T) {
	t.Parallel()
	_, _, p, h := startRare(t, "alice")
	l := p.link(t, helloC)
	l.next()
	for id := range uint32(20) { // those of direct miners are among them
		l.subscribed(id)
	}
	if n := len(ask[struct{ Clients []struct{} }](p, "clients").Clients); n != 21 {
		t.Fatalf("%d sessions", n)
	}
	l.Close()
	eventually(t, patience, "the miners behind the link are gone", func() bool {
		return len(ask[struct{ Clients []struct{} }](p, "clients").Clients) == 1
	})
	h.share()
	h.connected()
}

// Whatever a link says harms that link alone, or the miner that it is about.
func TestP12HostileLink(t *testing.T) {
	t.Parallel()
	_, _, p, h := startRare(t, "alice")
	for _, hello := range []string{helloC, helloShort} {
		l := p.link(t, hello)
		l.next()
		long := strings.Repeat("7", 600)
		for _, line := range []string{
			``, `x`, `[]`, `{}`, `[{"client_id":1}]`, `{"client_id":-1,"address":"192.0.2.7"}`, `{"client_id":4294967296,"address":"192.0.2.7"}`,
			`{"client_id":99999999999999999999,"address":"192.0.2.7"}`, `{"id":1,"method":"mining.subscribe","params":[],"address":"192.0.2.7"}`,
			`{"id":1,"method":"mining.subscribe","params":[],"client_id":5}`, `{"id":1,"method":"mining.subscribe","params":[],"client_id":5,"address":"` + long + `"}`,
			`{"id":42,"method":"mining.term","params":[],"client_id":77,"address":"192.0.2.7"}`,
			`o 1 0 x`, `o -1 0 ::1`, `o 99999999999 0 ::1`, `l 7 {}`, `c 7 x`, `w 1 {}`, `b 1 1+4294967295`, `s x`, `z`, `p`,
			`{"id":1,"method":"mining.subscribe","params":["` + strings.Repeat("x", 1<<20) + `"],"client_id":6,"address":"192.0.2.7"}`,
			`l 6 ` + strings.Repeat("x", 1<<20),
		} {
			l.say("%s", line)
		}
		if hello == helloC {
			l.subscribed(1000)
		} else {
			l.say("o 1000 0 192.0.2.7")
			l.say(`l 1000 {"id":1,"method":"mining.subscribe","params":[]}`)
			l.until(`l 1000 {"result":[[`)
		}
		l.Close()
	}
	h.share()
	h.connected()
}

// A line of a miner that is as long as a passthrough in C lets through, and one that is longer
// than any, disturb nobody else.
func TestP10LongLine(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	l := p.link(t, helloC)
	l.next()
	l.subscribed(1)
	l.subscribed(2)
	for channel, length := range map[int]int{1: 1000, 2: 100_000} {
		l.say(`{"id":8,"method":"mining.subscribe","params":["%s"],"client_id":%d,"address":"192.0.2.7","server":0}`, strings.Repeat("x", length), channel)
	}
	l.until("dropclient=2")
	l.subscribed(3)
	l.say(`{"id":9,"method":"mining.ping","params":[],"client_id":1,"address":"192.0.2.7","server":0}`)
	l.tagged("error", 1) // it is there
	if links := ask[control.LinkList](p, "links").Links; len(links) != 1 || links[0].Miners != 2 {
		t.Errorf("links %+v", links)
	}
}

// A passthrough of 2014 says no "server", its own address for that of each miner, and nothing
// when a miner leaves.
func TestP13LinesOf2014(t *testing.T) {
	t.Parallel()
	_, _, p, _ := startRare(t, "alice")
	l := p.link(t, `{"method": "mining.passthrough", "params": ["ckproxy\/0.8.1"]}`)
	if got := l.next(); got != `{"result":true}` {
		t.Fatalf("answer %s", got)
	}
	l.say(`{"id":1,"method":"mining.subscribe","params":["cgminer/4.5.0"],"client_id":3,"address":"127.0.0.1"}`)
	l.tagged("subscribe.result", 3)
	l.tagged("update", 3)
	l.say(`{"id":2,"method":"mining.authorize","params":["carol.1","x"],"client_id":3,"address":"127.0.0.1"}`)
	if got := l.tagged("auth.result", 3); string(got["result"]) != "true" {
		t.Errorf("authorize: %s", got)
	}
	l.say(`{"id":3,"method":"mining.submit","params":["carol.1","ffffffffffffffff","0000000000000000","00000000","00000000"],"client_id":3,"address":"127.0.0.1"}`)
	if got := l.tagged("share.result", 3); string(got["result"]) != "false" {
		t.Errorf("share: %s", got)
	}
	if c := p.clients()["carol.1"]; c.Address != "127.0.0.1" || c.UserAgent != "cgminer/4.5.0" {
		t.Errorf("session %+v", c)
	}
	l.Close()
	p.gone("carol.1")
}

// A miner, direct or behind a link, cannot become a link, nor end or name another's.
func TestP12MinerNoLink(t *testing.T) {
	t.Parallel()
	_, _, p, h := startRare(t, "alice")
	e := startEdge(t, poolproto.Dialect, relay.EdgeOptions{}, p.addr)
	e.log.wait(t, 0, "serves the miners")
	l := p.link(t, helloC)
	l.next()
	l.subscribed(3)
	for _, method := range []string{"mining.passthrough", "mining.node", "mining.remote"} {
		l.say(`{"id":1,"method":"%s","params":["x"],"client_id":4,"address":"127.0.0.1","server":0}`, method) // from where links are taken
		l.until("dropclient=4")
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, `{"id":1,"method":"%s","params":["x"]}`+"\n", method)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(string(got), "this is a passthrough") {
			t.Errorf("%s behind a passthrough: %q, %v", method, got, err)
		}
	}
	// What a miner says of its own about the link is not believed.
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, `{"id":42,"method":"mining.term","params":[],"client_id":3,"address":"192.0.2.9","server":0}`)
	l.say(`{"id":2,"method":"mining.ping","params":[],"client_id":3,"address":"192.0.2.7","server":0}`)
	l.tagged("error", 3) // it is there
	h.connected()
}

// Nodes and remotes are refused on listeners that are not for them, in words.
func TestP12Gate(t *testing.T) {
	t.Parallel()
	n, _, _, _ := startRare(t, "alice")
	p := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"link_secret": "open sesame"}}.start(t)
	for hello, want := range map[string]string{
		helloC: "the secret is not that of",
		`{"method":"mining.passthrough","params":["x",{"secret":"wrong"}]}`:       "the secret is not that of",
		`{"method":"mining.passthrough","params":["x",{"secret":"open sesame"}]}`: `{"result":true}`,
	} {
		l := p.link(t, hello)
		if got := l.next(); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", hello, got, want)
		}
	}
}

// Ten thousand miners over one link have new work within a second, and cost little.
func TestP15ManyMiners(t *testing.T) {
	t.Parallel()
	const miners = 10_000
	n, _, p, _ := startRare(t, "alice")
	l := p.link(t, helloShort)
	l.next()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	go func() {
		var b []byte
		for i := range uint32(miners) {
			b = fmt.Appendf(b[:0], "o %d 0 127.0.0.1\nl %d {\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\nl %d {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"bob.%d\",\"x\"]}\n", i, i, i, i)
			if _, err := l.Write(b); err != nil {
				return
			}
		}
	}()
	for authorised := 0; authorised < miners; {
		if strings.Contains(l.next(), `{"result":true,"error":null,"id":2}`) {
			authorised++
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes a miner", (after.HeapAlloc-before.HeapAlloc)/miners)
	n.NewBlock()
	number, got := uint64(0), 0
	for got < miners {
		line := l.next()
		f, err := poolproto.ParseFrame([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case f.Kind == poolproto.Define && strings.Contains(line, ",true],"):
			number, got = f.Number, 0
		case f.Kind == poolproto.Send && f.Number == number:
			for first, last := range poolproto.Channels(f.Text) {
				got += int(last-first) + 1
			}
		}
	}
}

// Who comes in the place of a link that has died hears nothing that was for miners behind it,
// although these end one after the other and there is new work meanwhile.
func TestLinkDiesBeforeOthers(t *testing.T) {
	t.Parallel()
	const miners = 30_000
	n, _, p, _ := startRare(t, "alice")
	for range 3 {
		l := p.link(t, helloShort)
		l.next()
		go func() {
			var b []byte
			for i := range uint32(miners) {
				b = fmt.Appendf(b[:0], "o %d 0 127.0.0.1\nl %d {\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n", i, i)
				if _, err := l.Write(b); err != nil {
					return
				}
			}
		}()
		l.until(fmt.Sprintf(`l %d {"result":[[`, miners-1))
		l.Close()
		n.NewBlock()
		var others []*raw
		for range 8 {
			c := p.rawFrom(t, "127.0.0.1")
			fmt.Fprintln(c, `{"id":1,"method":"mining.subscribe","params":[]}`)
			others = append(others, c)
		}
		n.NewBlock()
		eventually(t, patience, "the miners behind the link are gone", func() bool {
			return len(ask[struct{ Links []struct{} }](p, "links").Links) == 0 && len(ask[struct{ Clients []struct{} }](p, "clients").Clients) < 100
		})
		for _, c := range others { // all that was said comes before this answer
			fmt.Fprintln(c, `{"id":2,"method":"mining.ping","params":[]}`)
			for line := ""; !strings.Contains(line, `"pong"`); {
				var err error
				if line, err = c.read.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(line, "{") || strings.Contains(line, "client_id") {
					t.Fatalf("somebody else's line: %.80s", line)
				}
			}
			c.Close()
		}
	}
}

// An operator ends a link: its miners are gone at once, others stay, and its other end links
// again. To drop all ends no link.
func TestDropLink(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		_, _, p, direct := startRare(t, "alice")
		e := startEdge(t, dialect, relay.EdgeOptions{}, p.addr)
		h := e.connect(t, "bob.rig")
		h.share()
		links := func() []control.Link { return ask[control.LinkList](p, "links").Links }
		first := links()
		for _, bad := range []string{"droplink=0", "droplink=x", "droplink", "droplink=99"} {
			if reply := p.command(bad); !strings.Contains(reply, "errormsg") {
				t.Errorf("%s: %s", bad, reply)
			}
		}
		if len(first) != 1 || first[0].ID == 0 {
			t.Fatalf("%+v", first)
		}
		p.command(fmt.Sprintf("droplink=%d", first[0].ID))
		eventually(t, patience, "another link", func() bool {
			l := links()
			return len(l) == 1 && l[0].ID != first[0].ID
		})
		p.log.wait(t, 0, "has ended: dropped by operator")
		direct.connected()
		again := links()
		p.command("dropall")
		direct.closes()
		if l := links(); len(l) != 1 || l[0].ID != again[0].ID {
			t.Errorf("%+v", l)
		}
	})
}
