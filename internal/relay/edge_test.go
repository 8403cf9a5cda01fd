package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// longest is how long a test waits for what has no limit of its own.
const longest = time.Minute

// fakePool is a pool that says what a test wants.
type fakePool struct {
	t        *testing.T
	listener net.Listener
}

func startFakePool(t *testing.T) *fakePool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &fakePool{t, l}
}

func (p *fakePool) addr() string { return p.listener.Addr().String() }

// fakeLink is a link of it.
type fakeLink struct {
	net.Conn
	t    *testing.T
	read *bufio.Reader
}

// accept gives the next link, with a dialect.
func (p *fakePool) accept(dialect int) *fakeLink {
	p.t.Helper()
	c, err := p.listener.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(longest))
	l := &fakeLink{c, p.t, bufio.NewReader(c)}
	l.next("mining.passthrough")
	_, _ = c.Write(poolproto.AppendAnswer(nil, &poolproto.Answer{Accepted: true, Dialect: dialect}))
	return l
}

// next is the next line that contains a text; others are passed over.
func (l *fakeLink) next(part string) string {
	l.t.Helper()
	for {
		line, err := l.read.ReadString('\n')
		if err != nil {
			l.t.Fatalf("%q was never said: %v", part, err)
		}
		if strings.Contains(line, part) {
			return strings.TrimSuffix(line, "\n")
		}
	}
}

func (l *fakeLink) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l, format, args...) // the edge may have closed it, which is what is tested
}

// closes waits until the edge has closed the link.
func (l *fakeLink) closes() {
	l.t.Helper()
	if _, err := io.Copy(io.Discard, l.read); errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("the link stays: %v", err)
	}
}

// testEdge is an edge that runs until the end of the test.
type testEdge struct {
	t      *testing.T
	edge   *Edge
	server *netserver.Server
	addr   string

	mu  sync.Mutex
	log strings.Builder // guarded by mu
}

func startTestEdge(t *testing.T, dialect int, pools ...string) *testEdge {
	t.Helper()
	return startMovingEdge(t, 2000, dialect, pools...)
}

// startMovingEdge starts one that asks so many miners in a second to connect again.
func startMovingEdge(t *testing.T, moves, dialect int, pools ...string) *testEdge {
	t.Helper()
	e := &testEdge{t: t}
	o := EdgeOptions{Program: "test/1", MovesPerSecond: moves, Events: e.tell, Workless: func(workless bool) {
		if workless {
			e.server.Refuse(netserver.NoWork)
		} else {
			e.server.Admit()
		}
	}}
	for _, addr := range pools {
		o.Uplinks = append(o.Uplinks, Uplink{Endpoint: client.Endpoint{URL: addr}, Dialect: dialect, Secret: func() string { return "" }})
	}
	e.edge = NewEdge(o)
	var err error
	if e.server, err = netserver.New(netserver.Config{Loops: 2, Descriptors: 4096, Events: e.tell}, e.edge.Handler); err != nil {
		t.Fatal(err)
	}
	if _, err := e.server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	e.addr = e.server.Listeners()[0].Addrs[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { e.edge.Run(ctx) })
	running.Go(func() {
		if err := e.server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if t.Failed() {
			t.Log(e.text())
		}
	})
	return e
}

func (e *testEdge) tell(v event.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fmt.Fprintln(&e.log, int(v.Level), v.Text)
}

func (e *testEdge) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.String()
}

func (e *testEdge) logs(text string) {
	e.t.Helper()
	wait.Until(e.t, longest, "log: "+text, func() bool { return strings.Contains(e.text(), text) })
}

// connect is a miner.
func (e *testEdge) connect() *fakeLink {
	e.t.Helper()
	e.logs("serves the miners")
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(longest))
	return &fakeLink{c, e.t, bufio.NewReader(c)}
}

// channel connects a miner, and tells which the pool knows it by.
func (e *testEdge) channel(l *fakeLink) (m *fakeLink, channel uint32) {
	e.t.Helper()
	m = e.connect()
	m.say(`{"id":1,"method":"mining.subscribe","params":["miner/1"]}` + "\n")
	line := l.next("mining.subscribe")
	f, err := poolproto.ParseFrame([]byte(line))
	if err != nil {
		e.t.Fatalf("%s: %v", line, err)
	}
	return m, f.Channel
}

// Of lines that come in halves the miner has what is whole, at once.
func TestHalfLines(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 1, p.addr())
	l := p.accept(1)
	m, n := e.channel(l)
	l.say(`l %d {"id":1,"result":true,"error":null}`+"\nl %d {\"id\":2,\"res", n, n)
	m.next(`{"id":1,"result":true,"error":null}`)
	l.say(`ult":false,"error":null}` + "\r\n")
	if got := m.next("id"); got != `{"id":2,"result":false,"error":null}` {
		t.Error(got)
	}
}

// A pool that says what it cannot mean loses the link, and nothing else happens: the miners
// are served by the next one.
func TestHostileUpstream(t *testing.T) {
	for name, hostile := range map[string]string{
		"garbage":             "\x00\xff{[nonsense\n",
		"unknown kind":        "z 1 2 3\n",
		"for pools":           "o 7 0 192.0.2.1\n",
		"no channel":          "l x {}\n",
		"channel too large":   "l 4294967296 {}\n",
		"empty":               "\n",
		"never said":          "b 3 1+5\n",
		"for the whole world": "w 1 {}\nb 1 0+4294967295\n",
		"an object":           `{"id":1,"result":true}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := startFakePool(t), startFakePool(t)
			e := startTestEdge(t, 1, bad.addr(), good.addr())
			l := bad.accept(1)
			next := good.accept(1)
			unheard, _ := e.channel(l)
			heard, n := e.channel(l)
			l.say(`l %d {"id":1,"result":true,"error":null}`+"\n", n)
			heard.next(`"result":true`)
			l.say("%s", hostile)
			l.closes()
			e.logs("is lost: it breaks the protocol")
			heard.next("client.reconnect")                                          // which it needs a session for, to go on without
			e.logs("4 Upstream " + good.addr() + " serves the miners from here on") // as prominent as that there was none
			f, err := poolproto.ParseFrame([]byte(next.next("mining.subscribe")))
			if err != nil {
				t.Fatal(err)
			}
			next.say(`l %d {"id":1,"result":"begun","error":null}`+"\n", f.Channel)
			unheard.next("begun") // who had heard of no pool begins with the next
			e.channel(next)
		})
	}
}

// In the dialect of ckpool in C, whose passthroughs take commands from their pool, whatever is
// neither a line for a miner nor the word that one is to go is left alone.
func TestHostileUpstreamInC(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 0, p.addr())
	l := p.accept(0)
	m := e.connect()
	m.say(`{"id":1,"method":"mining.subscribe","params":["miner/1"]}` + "\n")
	w, err := poolproto.ParseWrapped([]byte(l.next("mining.subscribe")))
	if err != nil {
		t.Fatal(err)
	}
	l.say("shutdown\nreject\nloglevel=7\ndropall\n\x00\xff\n[]\n5\n\"x\"\n{\n{}\ndropclient=\ndropclient=-1\ndropclient=4294967296\n" +
		`{"client_id":"1","result":true}` + "\n" + `{"client_id":-1}` + "\n" + `{"client_id":1e3}` + "\n" +
		`{"node.method":"workinfo","jobid":5}` + "\n" + `{"method":"client.reconnect","params":[]}` + "\n\n")
	l.say(`{"id":1,"result":true,"error":null,"node.method":"subscribe.result","client_id":%d}`+"\n", w.Channel)
	if got := m.next("{"); got != `{"id":1,"result":true,"error":null}` {
		t.Error(got)
	}
	l.say("dropclient=%d\ndropclient=%d\n", w.Channel+2, w.Channel)
	m.closes()
	l.next(fmt.Sprintf(`"client_id":%d,"address":"0.0.0.0","server":0,"method":"mining.term"`, w.Channel+2))
	l.next(fmt.Sprintf(`"client_id":%d,"address":"127.0.0.1","server":0,"method":"mining.term"`, w.Channel))
}

// endless is a line without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'l'
	}
	return len(b), nil
}

// A line that does not end costs the pool its link when it is longer than any can be, and
// the edge that much memory until then.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 1, p.addr())
	l := p.accept(1)
	n, err := io.Copy(l, io.LimitReader(endless{}, 2<<30))
	if err == nil || n > 2*maxLine {
		t.Errorf("%d bytes, %v", n, err)
	}
	e.logs("a line of more than 33554432 bytes")
}

// A pool that acknowledges nothing any more is noticed by the kernel, which would go on sending
// for a quarter of an hour otherwise.
func TestVanishedPool(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 0, p.addr())
	p.accept(0)
	e.logs("serves the miners")
	e.edge.mu.Lock()
	conn := e.edge.uplinks[0].wire.conn
	e.edge.mu.Unlock()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		for option, want := range map[int]int{unix.TCP_USER_TIMEOUT: 75_000, unix.TCP_KEEPIDLE: 45, unix.TCP_KEEPINTVL: 30, unix.TCP_KEEPCNT: 1} {
			if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); got != want || err != nil {
				t.Errorf("option %d is %d, %v, want %d", option, got, err, want)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// A pool is asked for a sign of life, and taken for dead when it says nothing.
func TestSilentPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		w := newWire("pool", here)
		w.dialect = 1
		w.prepare(&Edge{}, 1)
		began := time.Now()
		const answers = 30
		var asked int
		var pool sync.WaitGroup
		pool.Go(func() {
			for in := bufio.NewScanner(there); in.Scan(); {
				if asked++; in.Text() != "p" {
					t.Errorf("it is told %q", in.Text())
				}
				if asked <= answers {
					fmt.Fprintln(there, "q")
				} else if asked > 2*answers { // it is never given up
					there.Close()
				}
			}
		})
		err := w.serve(t.Context())
		pool.Wait()
		if err == nil || err.Error() != "it has said nothing for 30s" || time.Since(began) != answers*pingAfter+deadAfter || asked < answers+2 {
			t.Errorf("%v after %v and %d questions", err, time.Since(began), asked)
		}
	})
}

// Lines for miners that are not here are told of, not too often, and cost those who are
// here nothing.
func TestUnknownChannels(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 1, p.addr())
	l := p.accept(1)
	m, n := e.channel(l)
	l.say("l %d {}\nc %d go\n", n+2, n+4)
	if got := l.next("c "); got != fmt.Sprintf("c %d not here", n+2) {
		t.Error(got)
	}
	flood := bytes.Repeat(fmt.Appendf(nil, "l %d {\"id\":1,\"result\":true}\n", n+2), 20_000)
	_, _ = l.Write(flood)
	l.say(`l %d {"id":1,"result":true,"error":null}`+"\n", n)
	m.next(`"result":true`)
	m.Close()
	told := 0
	for {
		line := l.next("c ")
		if line == fmt.Sprintf("c %d closed by peer", n) {
			break
		}
		told++
	}
	if told > 10*ghostsPerTick {
		t.Errorf("told of %d", told)
	}
}

// A pool that is not there at the start is tried again soon.
func TestPoolComesLater(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	began := time.Now()
	e := startTestEdge(t, 1, p.addr())
	for range 3 {
		c, err := p.listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	p.accept(1)
	e.logs("serves the miners")
	if took := time.Since(began); took > 2*retryAfter {
		t.Errorf("it is linked to after %v", took)
	}
}

// A miner that another pool begins with has another channel there: the first may come back,
// and still say something about the former one.
func TestChannelOfAnotherPool(t *testing.T) {
	t.Parallel()
	first, second := startFakePool(t), startFakePool(t)
	e := startTestEdge(t, 1, first.addr(), second.addr())
	l, other := first.accept(1), second.accept(1)
	_, channel := e.channel(l)
	l.Close()
	if f, err := poolproto.ParseFrame([]byte(other.next("mining.subscribe"))); err != nil || f.Channel == channel {
		t.Errorf("%+v, %v, was %d", f, err, channel)
	}
}

// The last word of a resumption that comes after its pool has been given up says nothing to
// whoever serves the miners then: not to another pool, which knows no such channel, and not to
// nobody, whom nothing can be said to.
func TestResumedTooLate(t *testing.T) {
	for _, anew := range []bool{true, false} {
		k := startChecked(t)
		k.says(`{"id":7,"method":"mining.submit","params":["bob.rig","66aa","0000000000000001","68e77800","00000001"]}`)
		k.next(2)
		if up := k.up(); !strings.HasPrefix(up, "o 2 ") || !strings.Contains(up, "l 2 {\"id\":\"resume-1\"") {
			t.Fatalf("not resumed:\n%s", up)
		}
		for _, line := range []string{
			`l 2 {"id":"resume-0","result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}`,
			`l 2 {"id":"resume-1","result":true,"error":null}`,
		} {
			if err := k.w.frame(t.Context(), []byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		k.w.deliver(t.Context()) // and the loop has no time for it yet
		if !anew {
			k.h.edge.active.Store(nil)
			k.h.closeAll()
			k.hears()
			if k.h.loop.Channel(k.slot) {
				t.Error("a miner whom no pool serves is not closed")
			}
			continue
		}
		k.next(3)
		if up := k.up(); !strings.HasPrefix(up, "o 3 ") || strings.Contains(up, "mining.submit") {
			t.Errorf("the next pool is told before it knows the miner:\n%s", up)
		}
		k.hears(
			`l 3 {"id":"resume-0","result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}`,
			`l 3 {"id":"resume-1","result":true,"error":null}`,
		)
		if up := k.up(); strings.Count(up, "mining.submit") != 1 || !strings.HasPrefix(up, "l 3 ") {
			t.Errorf("the share without an answer went up as:\n%s", up)
		}
	}
}

// Miners who have to connect again are asked to a few at a time.
func TestMovesAreSpread(t *testing.T) {
	t.Parallel()
	first, other := startFakePool(t), startFakePool(t)
	e := startMovingEdge(t, 2, 1, first.addr(), other.addr()) // one on each loop
	l := first.accept(1)
	other.accept(1)
	var miners []*fakeLink
	for range 10 {
		m, n := e.channel(l)
		l.say(`l %d {"id":1,"result":[[["mining.notify","1"]],"00000001",4],"error":null}`+"\n", n)
		m.next(`"id":1,`)
		miners = append(miners, m)
	}
	began := time.Now()
	l.Close()
	var told []time.Duration
	for _, m := range miners {
		m.next("client.reconnect")
		told = append(told, time.Since(began))
	}
	// Those of the loop with the most are asked in five rounds at least, a second between two.
	if last := slices.Max(told); last < 3*time.Second {
		t.Errorf("all are told after %v", last)
	}
}

// crowd is a standing edge with so many miners, who have logged in or only subscribed, and a
// wire that serves them next.
func crowd(t *testing.T, authorised ...bool) (k *checked, miners []netserver.Slot) {
	t.Helper()
	h, w, slot := standing(t, 1, strings.NewReader(""))
	k = &checked{t: t, h: h, w: w, slot: slot}
	for i, login := range authorised {
		if i > 0 {
			slot = h.loop.OpenChannel(netip.MustParseAddrPort("192.0.2.7:1"))
			h.Open(slot, h.loop.Remote(slot), 0)
		}
		miners = append(miners, slot)
		k.slot = slot
		k.says(`{"id":1,"method":"mining.subscribe","params":["miner/1"]}`)
		k.hears(fmt.Sprintf(`l %d {"id":1,"result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}`, h.miner(slot).id))
		if login {
			k.says(`{"id":2,"method":"mining.authorize","params":["bob.rig","x"]}`)
			k.hears(fmt.Sprintf(`l %d {"id":2,"result":true,"error":null}`, h.miner(slot).id))
		}
	}
	k.next(2)
	return k, miners
}

// next has another wire serve the miners.
func (k *checked) next(number uint32) {
	k.t.Helper()
	k.w = newWire("pool", input{strings.NewReader("")})
	k.w.dialect = 1
	k.w.prepare(k.h.edge, number)
	k.h.edge.active.Store(k.w)
	k.h.follow(k.w)
	k.hears()
}

// told is how many of some miners were asked to connect again.
func (k *checked) told(miners []netserver.Slot) (n int) {
	for _, slot := range miners {
		if k.h.miner(slot).told != 0 {
			n++
		}
	}
	return n
}

// Miners whose sessions a pool does not know are asked to connect again a few at a time, and
// those who still wait are not if a pool comes that knows them.
func TestStrangersAreSpread(t *testing.T) {
	k, miners := crowd(t, true, true, true, true) // of whom one may be asked in a second
	unknown := func() {
		for _, slot := range miners {
			if m := k.h.miner(slot); m.resuming() {
				k.hears(fmt.Sprintf(`l %d {"id":"resume-0","result":[[["mining.notify","fedcba9876543210"]],"0a0b0c0d",8],"error":null}`, m.id))
			}
		}
	}
	unknown()
	if up := k.up(); k.told(miners) != 1 || strings.Count(up, " moved\n") != len(miners) {
		t.Fatalf("%d of %d are told at once; the pool heard\n%s", k.told(miners), len(miners), up)
	}
	k.h.Tick(k.h.loop.Now().Add(time.Second))
	k.hears()
	if n := k.told(miners); n != 2 {
		t.Fatalf("%d are told after a second", n)
	}
	k.next(3)
	up := k.up()
	if n := strings.Count(up, `"mining.subscribe"`); k.told(miners) != 2 || n != 2 {
		t.Fatalf("%d are told, %d go on at a pool that may know them:\n%s", k.told(miners), n, up)
	}
	unknown()
	for i := range 2 {
		k.h.Tick(k.h.loop.Now().Add(time.Duration(2+i) * time.Second))
		k.hears()
		if n := k.told(miners); n != 3+i {
			t.Fatalf("%d are told", n)
		}
	}
}

// Miners who have to connect again do not hold up those whose sessions a pool knows.
func TestResumedBesideOthers(t *testing.T) {
	k, miners := crowd(t, false, false, false, true)
	if up := k.up(); k.told(miners) != 1 || strings.Count(up, "o ") != 1 || strings.Count(up, `"resume-`) != 2 {
		t.Errorf("%d are told, and the pool heard\n%s", k.told(miners), up)
	}
}

// A pool that stands by says nothing to miners who are served by another, and closes none.
func TestHostileStandby(t *testing.T) {
	t.Parallel()
	first, standby := startFakePool(t), startFakePool(t)
	e := startTestEdge(t, 1, first.addr(), standby.addr())
	l, other := first.accept(1), standby.accept(1)
	m, n := e.channel(l)
	const evil = `{"id":null,"method":"client.reconnect","params":["evil.example","1"]}`
	other.say("l %d %s\nw 1 %s\nb 1 %d\nc %d go\n", n, evil, evil, n, n)
	for range 2 { // after the second answer the loop has what came before the first
		other.say("p\n")
		other.next("q")
	}
	l.say(`l %d {"id":1,"result":true,"error":null}`+"\n", n)
	if line, err := m.read.ReadString('\n'); err != nil || !strings.Contains(line, `"id":1,`) {
		t.Errorf("the miner hears %q, %v", line, err)
	}
}

// A pool that stands by and floods delays nobody who is served by another.
func TestFloodOfStandby(t *testing.T) {
	t.Parallel()
	first, standby := startFakePool(t), startFakePool(t)
	e := startTestEdge(t, 1, first.addr(), standby.addr())
	l, other := first.accept(1), standby.accept(1)
	m, n := e.channel(l)
	var flooding sync.WaitGroup
	flooding.Go(func() {
		other.say("w 1 {\"method\":\"mining.notify\",\"params\":[]}\n")
		flood := bytes.Repeat([]byte("b 1 0+1048575\n"), 10_000)
		for range 10 {
			if _, err := other.Write(flood); err != nil {
				return
			}
		}
	})
	for i := range 50 {
		began := time.Now()
		m.say(`{"id":%d,"method":"mining.extranonce.subscribe","params":[]}`+"\n", i)
		l.next(fmt.Sprintf(`"id":%d,`, i))
		l.say(`l %d {"id":%d,"result":true,"error":null}`+"\n", n, i)
		m.next(fmt.Sprintf(`"id":%d,`, i))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("an answer took %v", took)
		}
	}
	other.Close()
	flooding.Wait()
}

// Another edge that wants a link is told in words that there is none.
func TestP14EdgeBehindEdge(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	inner := startTestEdge(t, 1, p.addr())
	p.accept(1)
	inner.logs("serves the miners")
	outer := startTestEdge(t, 1, inner.addr)
	outer.logs("cannot be linked to: it gives no link: this is a passthrough, which has no links of its own: link to the pool itself")
}

// A miner that says more than the link takes is closed, and the link stays.
func TestFloodOfMiner(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 1, p.addr())
	l := p.accept(1)
	other, n := e.channel(l)
	m := e.connect()
	flood := bytes.Repeat([]byte(`{"id":null,"method":"mining.suggest_difficulty","params":[1]}`+"\n"), 200_000)
	_, _ = m.Write(flood) // the pool does not read meanwhile
	m.closes()
	l.say(`l %d {"id":1,"result":true,"error":null}`+"\n", n)
	other.next(`"result":true`)
	if n := e.server.Stats().Drops[netserver.Flooding]; n != 1 {
		t.Errorf("%d miners closed for it", n)
	}
}

// While much waits to be sent to the pool, a miner may say little.
func TestFloods(t *testing.T) {
	w := &wire{}
	m := edgeMiner{wire: w}
	if m.floods(1, saidMost) || !m.floods(1, 1) || m.floods(2, saidMost) {
		t.Error("not by the second")
	}
	w.unsent.Store(crowded + 1)
	if m.floods(3, saidLeast) || !m.floods(3, 1) {
		t.Error("not by what waits")
	}
}

// Who does not log in is closed, in the dialect of C too, where the pool hears nothing of
// those who say nothing.
func TestNewcomersInTime(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 0, p.addr())
	l := p.accept(0)
	m, other := e.connect(), e.connect()
	other.say(`{"id":1,"method":"mining.authorize","params":["bob","x"]}` + "\n")
	w, err := poolproto.ParseWrapped([]byte(l.next("mining.authorize")))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = l.Write(poolproto.AppendTagged(nil, []byte(`{"result":true,"error":null,"id":1}`+"\n"), w.Channel, nil))
	other.next("true")
	wait.Until(t, longest, "both are here", func() bool { return e.server.Clients() == 2 })
	for _, after := range []time.Duration{authoriseTime - 5*time.Second, authoriseTime + 5*time.Second} {
		e.edge.each(func(h *EdgeHandler) { h.endFresh(time.Now().Add(after).Unix()) })
	}
	m.closes()
	if n := e.server.Stats().Drops[netserver.UnauthorizedTimeout]; n != 1 || e.server.Clients() != 1 {
		t.Errorf("%d closed, %d are here", n, e.server.Clients())
	}
}

// In the dialect of ckpool in C a line that would be too long for that costs its miner the
// connection, and nobody else.
func TestP9LongLine(t *testing.T) {
	t.Parallel()
	p := startFakePool(t)
	e := startTestEdge(t, 0, p.addr())
	l := p.accept(0)
	m, other := e.connect(), e.connect()
	other.say(`{"id":1,"method":"mining.subscribe","params":["other"]}` + "\n")
	l.next(`"other"`)
	m.say(`{"id":1,"method":"mining.subscribe","params":["`+strings.Repeat("x", 1000)+`"]}`+"\n", 0)
	m.closes()
	other.say(`{"id":2,"method":"mining.authorize","params":["other","x"]}` + "\n")
	if line := l.next(`"other"`); len(line) >= poolproto.MaxWrapped {
		t.Errorf("%d bytes", len(line))
	}
}

// input is a connection that something comes over, and nothing goes.
type input struct{ io.Reader }

func (input) Write(b []byte) (int, error)      { return len(b), nil }
func (input) Close() error                     { return nil }
func (input) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (input) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (input) SetDeadline(time.Time) error      { return nil }
func (input) SetReadDeadline(time.Time) error  { return nil }
func (input) SetWriteDeadline(time.Time) error { return nil }

// standing is an edge whose one loop does not run, with one miner, at a pool that says what
// comes from r.
func standing(t *testing.T, dialect int, r io.Reader) (h *EdgeHandler, w *wire, miner netserver.Slot) {
	e := NewEdge(EdgeOptions{MovesPerSecond: 1, Redirect: []string{"pool.example:3333"}})
	server, err := netserver.New(netserver.Config{Loops: 1, Descriptors: 256}, e.Handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		server.Close()
	})
	loop := server.Loops()[0]
	h, w = e.handlers[0], newWire("pool", input{r})
	w.dialect = dialect
	w.sums = dialect > 0
	w.prepare(e, 1)
	e.active.Store(w)
	h.follow(w)
	miner = loop.OpenChannel(netip.MustParseAddrPort("192.0.2.7:1")) // what is written to it goes nowhere
	h.Open(miner, loop.Remote(miner), 0)
	return h, w, miner
}

// A share that goes up, its answer that comes down, and work for many cost no memory.
func TestNoAllocations(t *testing.T) {
	h, w, slot := standing(t, 1, strings.NewReader(""))
	share := []byte(`{"id":4,"method":"mining.submit","params":["bob.rig","66aa0b21","0000000000000001","66aa0b21","1dac2b7c"]}`)
	answer := []byte(`l 1 {"result":true,"error":null,"id":4}`)
	if err := w.frame(t.Context(), []byte(`w 1 {"method":"mining.notify"}`)); err != nil {
		t.Fatal(err)
	}
	var lines []byte
	did := testing.AllocsPerRun(1000, func() {
		h.miner(slot).bytes = 0 // as if a second had passed
		h.Line(slot, share)
		h.Flush()
		w.mu.Lock()
		lines, w.out = w.out, lines[:0] // as the writer does
		w.mu.Unlock()
		if err := w.frame(t.Context(), answer); err != nil {
			t.Fatal(err)
		}
		w.deliver(t.Context())
		for h.Step() {
		}
	})
	if did > 0 || len(h.miner(slot).flights) > 0 {
		t.Errorf("%v allocations, %d flights", did, len(h.miner(slot).flights))
	}
}

// FuzzUpstream gives an edge with one miner whatever a pool may say.
func FuzzUpstream(f *testing.F) {
	for dialect, text := range map[byte]string{
		0: `{"id":1,"result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null,"node.method":"subscribe.result","client_id":1}
{"id":2,"result":true,"error":null,"node.method":"auth.result","client_id":1}
dropclient=2
{"params":["host","3333",0],"id":null,"method":"client.reconnect","client_id":1}
`,
		1: `l 1 {"id":1,"result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}
w 1 {"params":["66aa","00",[],true],"id":null,"method":"mining.notify"}
b 1 1+3,7
l 1 {"id":2,"result":true,"error":null}
p
l 1 {"id":"resume-0","result":true,"error":null}
l 1 {"id":null,"method":"mining.set_extranonce","params":["01",8]}
s 1 5 
s 9 5 
l 1 {"id":null,"method":"mining.set_difficulty","params":[1]}
c 9 gone
c 1 gone
`,
	} {
		f.Add(dialect, []byte(text))
	}
	f.Fuzz(func(t *testing.T, dialect byte, text []byte) {
		h, w, slot := standing(t, int(dialect%2), bytes.NewReader(text))
		h.Line(slot, []byte(`{"id":1,"method":"mining.subscribe","params":["miner/1"]}`))
		h.Line(slot, []byte(`{"id":2,"method":"mining.authorize","params":["bob","x"]}`))
		if err := w.readAll(t.Context()); err == nil {
			t.Error("the end is no error")
		}
		for h.Step() {
			h.allowed = 1
		}
		h.Flush()
		m := h.miner(slot)
		if h.queued() || h.waiting != 0 || len(m.flights) > flightsMost || len(w.in.buf) > 2*maxLine {
			t.Errorf("%d batches and %d bytes wait, %d flights", len(h.queue), h.waiting, len(m.flights))
		}
	})
}

// FuzzPast gives the memory of a miner whatever miner and pool may say: it stays small, and
// knows what it has.
func FuzzPast(f *testing.F) {
	f.Add([]byte(`>{"id":1,"method":"mining.subscribe","params":["miner/1"]}
<{"id":1,"result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}
>{"id":2,"method":"mining.authorize","params":["bob.rig","x"]}
<{"id":2,"result":true,"error":null}
>{"id":3,"method":"mining.submit","params":["bob.rig","1","2","3","4"]}
!
<{"id":"resume-0","result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}
<{"id":"resume-1","result":true,"error":null}
<{"id":3,"result":true,"error":null}
`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p past
		for line := range bytes.Lines(text) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			if len(line) == 0 {
				continue
			}
			hear(&p, line[0], line[1:])
			size, flying := 0, 0
			for _, r := range p.requests {
				size += len(r.method) + len(r.params)
			}
			for _, f := range p.flights {
				flying += len(f.line)
			}
			if size >= pastMost || flying != p.flying || len(p.flights) > flightsMost || len(p.flights) > 1 && flying > flightBytesMost || p.replies < 0 {
				t.Fatalf("%d bytes of requests, %d flights of %d bytes (%d), %d replies", size, len(p.flights), flying, p.flying, p.replies)
			}
		}
	})
}

// hear has a miner say a line (>), or a pool (<), or resumes (!).
func hear(p *past, who byte, line []byte) {
	var m stratum.Message
	if who == '!' {
		if p.resumable() {
			p.resume(nil)
		}
		return
	}
	if stratum.Scan(line, &m) != stratum.Object {
		return
	}
	if who == '>' {
		p.said(&m, line)
	} else {
		p.heard(&m)
	}
}
