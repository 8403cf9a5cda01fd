package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

// cable is a way to a pool that can be cut.
type cable struct {
	t      *testing.T
	listen net.Listener
	mu     sync.Mutex
	to     string // "": it is cut
	inC    bool   // who connects is made to say that it speaks the dialect of C
	open   map[net.Conn]bool
	carry  sync.WaitGroup
}

func newCable(t *testing.T) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{t: t, listen: l, open: map[net.Conn]bool{}}
	c.carry.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.lead("")
		c.carry.Wait()
	})
	return c
}

func (c *cable) addr() string { return c.listen.Addr().String() }

// lead has the cable lead to an address from now on, "" nowhere.
func (c *cable) lead(to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = to
	for conn := range c.open {
		conn.Close()
	}
	clear(c.open)
}

func (c *cable) accept() {
	for {
		conn, err := c.listen.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		to := c.to
		c.mu.Unlock()
		other, err := net.Dial("tcp", to)
		if err != nil {
			conn.Close()
			continue
		}
		c.mu.Lock()
		if c.to != to {
			conn.Close()
			other.Close()
		}
		c.open[conn], c.open[other] = true, true
		c.mu.Unlock()
		if c.inC {
			for b := make([]byte, 1); b[0] != '\n'; {
				if _, err := conn.Read(b); err != nil {
					break
				}
			}
			_, _ = other.Write([]byte(`{"method": "mining.remote", "params": ["ckpool\/0.9.9"]}` + "\n"))
		}
		for _, way := range [][2]net.Conn{{conn, other}, {other, conn}} {
			c.carry.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				way[0].Close()
				way[1].Close()
			})
		}
	}
}

// far is a main pool and a trusted remote of it, each on a node of its own.
type far struct {
	mainNode, remoteNode *testkit.FakeNode
	mainSetup            setup
	remoteSetup          setup
	main, remote         *running
	cable                *cable
}

// trusted is the address of a pool for trusted remotes.
func (r *running) trusted() string {
	all := regexp.MustCompile(`Listening on (\S+)`).FindAllStringSubmatch(r.log.text(), -1)
	return all[len(all)-1][1]
}

func startFar(t *testing.T, bits uint32, mainKeys, remoteKeys keys, prepare ...func(f *far)) *far {
	t.Helper()
	f := &far{cable: newCable(t)}
	eventually(t, patience, "two nodes on one chain", func() bool { // which those of one second are
		f.mainNode = testkit.StartFakeNode(t, fakenode.Config{Bits: bits})
		f.remoteNode = testkit.StartFakeNode(t, fakenode.Config{Bits: bits})
		_, here := f.mainNode.Tip()
		_, there := f.remoteNode.Tip()
		return here == there
	})
	f.mainSetup = setup{nodes: []keys{fakeEntry(f.mainNode)}, keys: keys{"trusted": []string{"127.0.0.1:1"}, "serverurl": "127.0.0.1:2", "link_secret": "far"}}
	f.remoteSetup = setup{remote: true, nodes: []keys{fakeEntry(f.remoteNode)}, keys: keys{"upstream": f.cable.addr(), "journal": "journal", "link_secret": "far"}}
	for k, v := range mainKeys {
		f.mainSetup.keys[k] = v
	}
	for k, v := range remoteKeys {
		f.remoteSetup.keys[k] = v
	}
	for _, p := range prepare {
		p(f)
	}
	f.main = f.mainSetup.start(t)
	f.cable.lead(f.main.trusted())
	f.remote = f.remoteSetup.start(t)
	f.remote.log.wait(t, 0, "is linked")
	return f
}

// sums are the difficulty of the shares of all users, by name.
func (r *running) sums() map[string]float64 {
	list := map[string]float64{}
	for _, u := range r.pool.Users().List(time.Now(), 1000) {
		list[u.Name] = u.Shares
	}
	for _, w := range r.pool.Users().Workers(time.Now(), 1000) {
		list["worker "+w.Name] = w.Shares
		list["accepted "+w.Name] = float64(w.Rejects.Accepted)
	}
	return list
}

// agree waits until the main pool counts what the remote does.
func (f *far) agree(t *testing.T) {
	t.Helper()
	eventually(t, patience, "sums are the same", func() bool {
		return fmt.Sprint(f.main.sums()) == fmt.Sprint(f.remote.sums()) && len(f.main.sums()) > 0
	})
}

// copyOf is the copy of the remote's journal at the main pool.
func (f *far) copyOf(t *testing.T) string {
	t.Helper()
	list := journalwriter.Mirrors(filepath.Join(f.main.config.LogDir, "remotes"))
	if len(list) != 1 {
		t.Fatalf("copies: %q", list)
	}
	return list[0]
}

// sharesIn are the sums of those in a journal, by worker and reason, each computed again.
func sharesIn(t *testing.T, dir string) map[string]float64 {
	t.Helper()
	s, err := journal.Check(dir, func(f journal.Finding) { t.Errorf("%v: %s", f.Position, f.Text) }, nil)
	if err != nil || s.Wrong > 0 || s.Missing > 0 || s.JobMissing > 0 {
		t.Errorf("%+v, %v", s, err)
	}
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list := map[string]float64{}
	for {
		k, err := r.Read()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if k.Kind == journal.KindShare {
			list[k.Miner.Worker+" "+k.Reason] += k.Share.Credit
			list["n "+k.Reason]++
		}
	}
}

// A miner of a trusted remote is answered there, and counted at the main pool: accepted
// shares with their credit, refused ones as refused.
func TestT2TrustedRemote(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	h := f.remote.connect(t, "alice.rig1")
	for range 3 {
		h.share()
	}
	j := h.job()
	s := h.solve(j, targetOf(j))
	h.submit(s)
	if reject := h.submit(s); reject == nil {
		t.Error("a share counts twice")
	}
	f.agree(t)
	eventually(t, patience, "four shares and one that is refused at the main pool", func() bool {
		w, known := f.main.pool.Users().Worker("alice.rig1", time.Now())
		return known && w.Rejects.Accepted == 4 && len(w.Rejects.Counts) == 1 && w.Rejects.Counts[0].Count == 1
	})
}

// Shares are at the main pool once, over a cut link, an end of either side in order, and
// an upgrade of either.
func TestT8TotalsAreExact(t *testing.T) {
	t.Parallel()
	f := startFar(t, 0x1d00ffff, nil, keys{"maxdiff": 1e-8})
	c := f.remote.mine(t, 2000, "a.1", "a.2", "b")
	more := func() {
		t.Helper()
		had := len(c.all())
		eventually(t, patience, "shares", func() bool { return len(c.all()) > had+100 })
	}
	more()
	f.cable.lead("")
	more()
	f.cable.lead(f.main.trusted())
	more()
	f.main.stop()
	more()
	f.mainSetup.keys["logdir"] = f.main.config.LogDir
	f.main = f.mainSetup.start(t)
	f.cable.lead(f.main.trusted())
	more()
	f.main = f.main.upgrade(f.mainSetup)
	more()
	f.remote = f.remote.upgrade(f.remoteSetup)
	more()
	f.main = f.main.upgrade(f.mainSetup)
	more()
	c.stop()
	f.agree(t)
	f.remote.stop()
	f.main.stop()
	f.kept(t, len(c.all()))
}

// kept checks that the copy at the main pool has all accepted shares, once, and is right.
func (f *far) kept(t *testing.T, accepted int) {
	t.Helper()
	in := sharesIn(t, f.copyOf(t))
	sums := f.remote.sums()
	if in["n accepted"] != float64(accepted) {
		t.Errorf("%v shares were accepted, want %d", in["n accepted"], accepted)
	}
	for name, sum := range sums {
		if worker, ok := strings.CutPrefix(name, "worker "); ok && in[worker+" accepted"] != sum {
			t.Errorf("worker %s has %v in the copy, want %v", worker, in[worker+" accepted"], sum)
		}
	}
}

// The accounts of the main pool's ckdb are those of the remote: who may not mine there may
// not here, locks come at once, and while the link is away those go on who are known.
func TestT3Accounts(t *testing.T) {
	t.Parallel()
	d, _, _ := startAccounts(t, nil)
	f := startFar(t, rareBlocks, nil, nil, func(f *far) { f.mainSetup.ckdb = d.Place() })
	f.remote.log.wait(t, 0, "Asking the main pool")
	f.remote.allows(t, "bob.rig1", "wrong", "Wrong password")
	f.remote.allows(t, "nobody", "x", "No account of that name")
	f.remote.allows(t, unlisted, "x", "")
	bob := f.remote.allows(t, "bob.rig1", "secret", "")
	d.Store.Message("bob", "payout on friday")
	if got := bob.line("client.show_message"); got != "payout on friday" {
		t.Errorf("message %q", got)
	}
	f.cable.lead("")
	f.remote.log.wait(t, 0, "the main pool is away")
	f.remote.allows(t, "bob.rig1", "secret", "")
	f.remote.allows(t, "carol", "x", tryAgain)
	d.Store.Lock("bob", "unpaid")
	f.cable.lead(f.main.trusted())
	if got := bob.line("client.show_message"); got != "unpaid" {
		t.Errorf("the lock says %q", got)
	}
	f.remote.allows(t, "bob.rig1", "secret", "unpaid")
	f.remote.allows(t, "carol", "x", "")
}

// Miners behind a passthrough of a remote are users of the main pool too.
func TestT9PassthroughOfRemote(t *testing.T) {
	t.Parallel()
	none := keys{"link_secret": ""}
	f := startFar(t, rareBlocks, none, none)
	e := startEdge(t, 1, relay.EdgeOptions{}, f.remote.addr)
	h, k := e.connect(t, "alice.rig1"), e.connect(t, "bob.rig1")
	h.share()
	k.share()
	h.share()
	f.agree(t)
	if sums := f.main.sums(); sums["accepted alice.rig1"] != 2 || sums["accepted bob.rig1"] != 1 {
		t.Errorf("the main pool has %v", sums)
	}
}

// Who may not report is refused in words, and is served nothing.
func TestRemoteRefused(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	for name, want := range map[string]struct {
		to, secret, text string
	}{
		"another listener": {f.main.addr, "far", "trusted remotes link to the addresses"},
		"another secret":   {f.main.trusted(), "near", "the secret is not"},
		"a remote":         {f.remote.addr, "far", "trusted remotes link to the addresses"},
	} {
		n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
		p := setup{remote: true, nodes: []keys{fakeEntry(n)}, keys: keys{"upstream": want.to, "journal": "journal", "link_secret": want.secret}}.start(t)
		t.Log(name)
		p.log.wait(t, 0, want.text)
		p.stop()
	}
}

// A remote that says what is none of its business loses its link, and nobody else notices.
func TestHostileRemote(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	h := f.remote.connect(t, "alice.rig1")
	journal := `j {"instance":"00112233445566778899aabbccddeeff","name":"evil","network":"regtest"}`
	own := filepath.Base(f.copyOf(t))
	own = own[strings.LastIndexByte(own, '-')+1:]
	for _, lines := range []string{
		"x", "d 0 a", "d 0 00000001-0000000000000001.journal AAAA", journal + "\n" + journal, journal + "\nd 0 ../../x AAAA",
		journal + "\nd 18446744073709551615 00000001-0000000000000001.journal AAAA", journal + "\nz {}\nk 1", "j {}", "j " + strings.Repeat("[", 100000),
		`j {"instance":"00112233445566778899aabbccddeeff","name":"../../etc","network":"regtest"}`,
		`j {"instance":"00112233445566778899aabbccddeeff","name":"evil","network":"main"}`,
		journal + "\nd 0 00000001-0000000000000001.journal " + strings.Repeat("A", 1<<20),
		`j {"instance":"` + own + `","name":"ckpool","network":"regtest"}` + "\nd 0 00000001-0000000000000001.journal AAAA",
	} {
		c, err := net.Dial("tcp", f.main.trusted())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(c, `{"method":"mining.remote","params":["evil/1",{"dialect":1,"secret":"far"}]}`+"\n%s\n", lines)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%.80q: %v", lines, err)
		}
		c.Close()
	}
	h.share()
	f.agree(t)
	if _, err := os.Stat(filepath.Join(f.main.config.LogDir, "x")); err == nil {
		t.Error("a file was made elsewhere")
	}
}

// A trusted remote that brings solutions of headers which name an easy target, of which there is
// no end, or headers that are no solution, has no block of them submitted anywhere. Nor does
// its clock go unnoticed.
func TestNoBlocksOfRemote(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	h := f.remote.connect(t, "alice.rig1")
	if strings.Contains(f.main.log.text(), "the clocks") {
		t.Error("one clock is another")
	}
	for name, tt := range map[string]struct {
		bits   uint32
		solved bool
		want   string
	}{
		"easy":     {0x207fffff, true, "left alone: Block 1001, hash HASH, by alice @ easy is of difficulty "},
		"unsolved": {rareBlocks, false, "left alone: block: HASH is no solution of its header"},
	} {
		b := poolproto.WholeBlock{Height: 1001, Worker: "alice", Block: make([]byte, 200)}
		binary.LittleEndian.PutUint32(b.Block[72:], tt.bits)
		for nonce := uint32(0); b.Hash == ""; nonce++ {
			binary.LittleEndian.PutUint32(b.Block[76:], nonce)
			if hash := work.HashHeader((*[80]byte)(b.Block)); work.SolvedHeader((*[80]byte)(b.Block), hash) == tt.solved {
				b.Hash = work.FormatHash(hash)
			}
		}
		c, err := net.Dial("tcp", f.main.trusted())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = fmt.Fprintf(c, `{"method":"mining.remote","params":["evil/1",{"dialect":1,"secret":"far"}]}`+"\n"+
			`j {"instance":"%032x","name":%q,"network":"regtest","time":%d}`+"\n", name[0], name, time.Now().Add(-time.Hour).Unix())
		_, _ = c.Write(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Whole, Text: b.Append(nil)}))
		f.main.log.wait(t, 0, "Trusted remote "+name+": the clocks of both are 1h0m")
		f.main.log.wait(t, 0, strings.ReplaceAll(tt.want, "HASH", b.Hash))
	}
	h.share()
	for _, n := range []*testkit.FakeNode{f.mainNode, f.remoteNode} {
		if list := n.Submissions(); len(list) > 0 {
			t.Errorf("%d blocks are submitted", len(list))
		}
	}
}

// A block that is found at a trusted remote is submitted by the main pool too, and by its
// other remotes; one that is found at the main pool by all remotes.
func TestT4T5T6Blocks(t *testing.T) {
	t.Parallel()
	none := keys{"link_secret": "", "nodeserver": "127.0.0.1:3"}
	f := startFar(t, rareBlocks, none, none)
	node, nodesNode := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks}), testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	startNode(t, 1, fakeEntry(nodesNode), f.main.listening(1)).log.wait(t, 0, "serves the miners")
	second := f.remoteSetup
	second.nodes = []keys{fakeEntry(node)}
	other := second.start(t)
	other.log.wait(t, 0, "is linked")
	nodes := []*testkit.FakeNode{f.mainNode, f.remoteNode, node, nodesNode}
	own := []*testkit.FakeNode{f.remoteNode, f.mainNode, node}
	for i, p := range []*running{f.remote, f.main, other} {
		h := p.connect(t, "alice.rig")
		_, tip := own[i].Tip() // which the block before may be
		j, _ := h.jobOn(patience, tip)
		block := h.solveBlock(j)
		if reject := h.submit(block); reject != nil {
			t.Fatal(reject)
		}
		for i, n := range nodes {
			eventually(t, patience, fmt.Sprintf("node %d has the block", i), func() bool {
				return slices.ContainsFunc(n.Submissions(), func(s fakenode.Submission) bool { return s.Block != nil && s.Block.BlockHash().String() == block.hash })
			})
		}
	}
}

// A block that a trusted remote finds while there is no link is brought over the next one, and
// so are the shares, also where another process makes that: the round of the main pool ends.
func TestBlockWithoutALink(t *testing.T) {
	for name, then := range map[string]func(t *testing.T, f *far){
		"same process": func(*testing.T, *far) {},
		"upgraded":     func(_ *testing.T, f *far) { f.remote = f.remote.upgrade(f.remoteSetup) },
		"restarted": func(t *testing.T, f *far) {
			f.remoteSetup.keys["logdir"] = f.remote.config.LogDir
			f.remote.stop()
			f.remote = f.remoteSetup.start(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFar(t, rareBlocks, nil, nil)
			h := f.remote.connect(t, "alice.rig1")
			f.cable.lead("")
			f.remote.log.wait(t, 0, "is lost: ")
			block := h.findBlock()
			then(t, f)
			f.cable.lead(f.main.trusted())
			eventually(t, patience, "the main pool's node has the block", func() bool {
				return slices.ContainsFunc(f.mainNode.Submissions(), func(s fakenode.Submission) bool { return s.Block != nil && s.Block.BlockHash().String() == block.hash })
			})
			f.main.log.wait(t, 0, "it is part of the chain")
			f.agree(t)
		})
	}
}

// A block of a trusted remote is none that the main pool has found, also where that is started
// anew while the block is kept.
func TestBlockOfRemoteAfterRestart(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	block := f.remote.connect(t, "alice.rig1").findBlock()
	f.main.log.wait(t, 0, "hash "+block.hash+", by alice.rig1 @ ")
	f.main.log.wait(t, 0, "it is part of the chain")
	f.mainSetup.keys["logdir"] = f.main.config.LogDir
	f.main.stop()
	f.main = f.mainSetup.start(t)
	f.main.log.wait(t, 0, "BLOCK ACCEPTED! 1001 "+block.hash)
	f.cable.lead(f.main.trusted())
	own := f.main.connect(t, "bob.rig1").findBlock()
	f.main.block(own.hash, "confirmed 1")
	if list := f.main.blocks(); len(list) != 1 {
		t.Errorf("blocks of the main pool: %+v", list)
	}
	if text := f.main.log.text(); strings.Count(text, "Solved and confirmed block") != 1 || strings.Contains(text, "it is part of the chain") {
		t.Error("a round ended that had ended before")
	}
}

// The main pool knows how many miners a user has at its remotes.
func TestT11Workers(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	f.remote.connect(t, "alice.rig1")
	f.remote.connect(t, "alice.rig2")
	f.cable.lead(f.main.trusted()) // they are said to each new link
	connected := func() int64 {
		for _, u := range f.main.pool.Users().List(time.Now(), 10) {
			if u.Name == "alice" {
				return u.Connected
			}
		}
		return 0
	}
	h := f.remote.connect(t, "alice.rig3")
	h.share()
	eventually(t, 2*time.Minute, "two miners", func() bool { return connected() >= 2 })
	f.remote.stop()
	eventually(t, patience, "no miner", func() bool { return connected() == 0 })
}

// A pool that does not answer a request for a link is told of, and tried again over one
// connection at a time.
func TestT10NoAnswer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tried := make(chan time.Time, 10)
	var open atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if open.Add(1) > 1 {
				t.Error("the connection before is still open")
			}
			tried <- time.Now()
			_, _ = io.WriteString(c, `{"transaction":[],"method":"transactions"}`+"\n")
			go func() {
				_, _ = io.Copy(io.Discard, c) // until it is closed at the other end
				c.Close()
				open.Add(-1)
			}()
		}
	}()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	p := setup{remote: true, nodes: []keys{fakeEntry(n)}, keys: keys{"upstream": l.Addr().String(), "journal": "journal"}}.start(t)
	p.log.wait(t, 0, "it does not answer mining.remote")
	first, second := <-tried, <-tried
	if wait := second.Sub(first); wait < 14*time.Second || wait > patience {
		t.Errorf("tried again after %v, want 10 s for an answer and 5 s", wait)
	}
}

// A trusted remote that is ckpool in C is answered to the byte, and its good shares count,
// each once, also where it says one again over a new link.
func TestT1T2RemoteInC(t *testing.T) {
	t.Parallel()
	d, _, _ := startAccounts(t, nil)
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff})
	p := setup{nodes: []keys{fakeEntry(n)}, ckdb: d.Place(), keys: keys{"trusted": []string{"127.0.0.1:1"}, "serverurl": "127.0.0.1:2", "journal": "journal"}}.start(t)
	p.log.wait(t, 0, "Asking ckdb")
	const share = `{"workinfoid":6888000000000000031,"clientid":77,"enonce1":"b0a1aa66","nonce2":"0000000000000004","nonce":"9c01ff02","ntime":"68e77815","diff":0.5,"sdiff":733.1,"hash":"00000000%056x","result":%t,"errn":0,"workername":"bob.rig1","username":"bob","address":"192.0.2.9","agent":"miner/1.2","method":"share"}`
	link := func() link {
		p.addr = p.trusted()
		l := p.link(t, `{"method": "mining.remote", "params": ["ckpool\/0.9.9"]}`)
		if got := l.next(); got != `{"result":true,"ckdb":false}` {
			t.Fatalf("the answer is %s", got)
		}
		return l
	}
	l := link()
	answer := func(says, want string) {
		t.Helper()
		var got string
		// A busy machine may be too slow for who says who may mine: then it is tried again.
		for until := time.Now().Add(patience); ; {
			l.say("%s", says)
			got = l.next()
			for strings.HasSuffix(got, `,"method":"workinfo"}`) {
				got = l.next()
			}
			if !strings.Contains(got, tryAgain) || time.Now().After(until) {
				break
			}
		}
		if got != want {
			t.Errorf("%s is answered %s, want %s", says, got, want)
		}
	}
	answer(`{"method":"ping"}`, `{"method":"pong"}`)
	answer(`{"params":["bob.rig1","secret"],"id":2,"method":"auth","useragent":"miner/1.2","enonce1":"b0a1aa66","address":"192.0.2.9","clientid":77}`,
		`{"result":true,"error":null,"id":2,"method":"auth.result","client_id":77}`)
	answer(`{"params":["nobody","x"],"id":"a","method":"auth","useragent":"miner/1.2","enonce1":"b0a1aa66","address":"192.0.2.9","clientid":78}`,
		`{"result":false,"error":"No account of that name: register it, or use a bitcoin address as user name","id":"a","method":"auth.result","client_id":78}`)
	for i := range 3 {
		l.say(share, i+1, true)
	}
	l.say(share, 7, false)
	l.say(share, 8, false)
	for _, bad := range []string{
		`{"method":"workers","username":"bob","workers":3}`, "{", `{"method":"share"}`, `{"method":"block"}`, `{"params":[],"method":"auth"}`, `{"method":"mining.submit","params":[]}`,
		strings.Replace(fmt.Sprintf(share, 9, true), `"diff":0.5`, `"diff":1e70`, 1),
	} {
		l.say("%s", bad)
	}
	answer(`{"method":"ping"}`, `{"method":"pong"}`)
	l.Close()
	l = link()
	l.say(share, 3, true) // which was on its way when the link ended
	answer(`{"method":"ping"}`, `{"method":"pong"}`)
	eventually(t, patience, "three shares", func() bool {
		w, known := p.pool.Users().Worker("bob.rig1", time.Now())
		return known && w.Rejects.Accepted == 3 && w.Shares == 1.5 && len(w.Rejects.Counts) == 1 && w.Rejects.Counts[0].Count == 2
	})
	l.Close()
	p.stop()
	s, err := journal.Check(filepath.Join(p.config.LogDir, "journal"), func(f journal.Finding) { t.Error(f) }, nil)
	if err != nil || s.Shares != 5 || s.Wrong > 0 {
		t.Errorf("the journal: %+v, %v", s, err)
	}
}

// A block of a trusted remote that is ckpool in C is put together of its work and of
// transactions that it is asked for, and submitted here and by other remotes; such a remote
// gets the work and the blocks of this pool.
func TestT4T7RemoteInC(t *testing.T) {
	t.Parallel()
	none := keys{"link_secret": ""}
	f := startFar(t, rareBlocks, none, none) // a main pool with a remote of ours
	n, _, far := startNodePool(t, fakenode.Config{Transactions: 3}, nil)
	h := far.connect(t, "alice")
	from := far.nodeLink(t, helloNode) // what it says, the remote in C says too
	from.next()
	f.main.addr = f.main.trusted()
	to := f.main.link(t, `{"method": "mining.remote", "params": ["ckpool\/0.9.9"]}`)
	if got := to.next(); got != `{"result":true,"ckdb":false}` {
		t.Fatal(got)
	}
	method := func(want string) string {
		t.Helper()
		for {
			line := to.next()
			if strings.HasSuffix(line, `,"method":"`+want+`"}`) {
				return line
			}
		}
	}
	var w poolproto.WorkInfo
	if err := w.Parse([]byte(method("workinfo"))); err != nil || w.Height != 1001 {
		t.Fatalf("%+v, %v", w, err)
	}
	theirs, txs := from.work()
	to.say("%s", strings.TrimSuffix(string(poolproto.AppendRemoteLine(nil, theirs.Append(nil), "workinfo")), "\n"))
	asked := method("reqtxns")
	if ids, err := poolproto.ParseRequest([]byte(asked)); err != nil || len(ids) != 3 {
		t.Fatalf("%s, %v", asked, err)
	}
	to.say("%s", strings.TrimSuffix(string(poolproto.AppendRemoteLine(nil, poolproto.AppendTransactions(nil, txs), "transactions")), "\n"))
	found := h.findBlock()
	block := strings.Replace(string(from.message("block")), `"jobid":`, `"height":1001,"blockhash":"00","confirmed":"n","username":"alice","workername":"alice","clientid":1,"reward":5,"workinfoid":`, 1)
	to.say("%s", strings.Replace(block, `"node.method":"block"`, `"method":"block"`, 1))
	for _, node := range []*testkit.FakeNode{n, f.mainNode, f.remoteNode} {
		eventually(t, patience, "submission", func() bool {
			return slices.ContainsFunc(node.Submissions(), func(s fakenode.Submission) bool { return s.Block != nil && s.Block.BlockHash().String() == found.hash })
		})
	}
	if a, b := blockHex(n), blockHex(f.mainNode); a[0] != b[0] {
		t.Errorf("the blocks are\n%s\n%s", a[0], b[0])
	}
	f.main.addr = f.main.listening(0)
	bob := f.main.connect(t, "bob")
	_, tip := f.mainNode.Tip() // which the block before may be
	bob.jobOn(patience, tip)
	own := bob.findBlock()
	var k poolproto.Block
	if line := method("block"); k.Parse([]byte(line)) != nil || !strings.Contains(line, `"workinfoid":`) || display(work.HashHeader(&k.Header)) != own.hash {
		t.Errorf("%s, want block %s", line, own.hash)
	}
}

// A trusted remote that is ckpool in C says something every 5 s: one that is silent for
// half a minute is gone.
func TestRemoteInCSilent(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, keys{"link_secret": ""}, keys{"link_secret": ""})
	f.main.addr = f.main.trusted()
	began := time.Now()
	l := f.main.link(t, `{"method": "mining.remote", "params": ["ckpool\/0.9.9"]}`)
	_ = l.SetDeadline(began.Add(2 * time.Minute))
	if _, err := io.Copy(io.Discard, l); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 28*time.Second || took > time.Minute {
		t.Errorf("it is closed after %v", took)
	}
	if _, ok := f.main.pool.Users().Worker("nobody", time.Now()); ok {
		t.Error("a worker was made")
	}
	f.remote.connect(t, "alice.rig1").share()
	f.agree(t) // whose link has lived through that
}

// A main pool that speaks the dialect of C counts the shares of a remote of ours, and says
// who may mine.
func TestT2MainPoolInC(t *testing.T) {
	t.Parallel()
	d, _, _ := startAccounts(t, nil)
	none := keys{"link_secret": ""}
	f := startFar(t, rareBlocks, none, none, func(f *far) { f.cable.inC, f.mainSetup.ckdb = true, d.Place() })
	f.remote.log.wait(t, 0, "as ckpool in C")
	f.remote.log.wait(t, 0, "Asking the main pool")
	f.remote.allows(t, "nobody", "x", "No account of that name")
	h := f.remote.connect(t, "carol.rig1")
	for range 3 {
		h.share()
	}
	f.agree(t)
	f.cable.lead("")
	f.remote.log.wait(t, 0, "is lost: ") // what is on its way then is not counted
	h.share()
	f.cable.lead(f.main.trusted())
	h.share()
	f.agree(t)
	if w, _ := f.main.pool.Users().Worker("carol.rig1", time.Now()); w.Rejects.Accepted != 5 {
		t.Errorf("the main pool has %+v", w)
	}
}

// T1 in our own dialect: the answer is the first line, the place in the journal the next, a
// ping is answered. Work and transactions do not go over the link: blocks go whole.
func TestT1ShortLines(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	c, err := net.Dial("tcp", f.main.trusted())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintln(c, `{"method":"mining.remote","params":["hand/1",{"dialect":1,"secret":"far"}]}`)
	in := bufio.NewReader(c)
	next := func(want string) {
		t.Helper()
		if line, err := in.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
	}
	next(`{"result":true,"ckdb":false,"dialect":1}`)
	_, _ = fmt.Fprintln(c, `j {"instance":"00112233445566778899aabbccddeeff","name":"hand","network":"regtest"}`)
	next("j {}")
	hash := f.mainNode.NewBlock() // of whose work nothing is said
	h := f.main.connect(t, "alice.rig")
	h.jobOn(patience, hash)
	block := h.findBlock()
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "z ") || !strings.Contains(line, block.hash) {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = fmt.Fprintln(c, "p")
	next("q")
}

// T7 in our own dialect: a block has transactions that the node of the other pool lacks, in
// both directions. It is submitted there whole, and nothing is asked for.
func TestT7OtherTransactions(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil, func(f *far) {
		f.remoteNode = testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks, Transactions: 30})
		f.mainNode = testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks, Transactions: 5})
		f.remoteSetup.nodes, f.mainSetup.nodes = []keys{fakeEntry(f.remoteNode)}, []keys{fakeEntry(f.mainNode)}
	})
	for _, k := range []struct {
		p            *running
		node         *testkit.FakeNode
		transactions int
	}{{f.remote, f.remoteNode, 30}, {f.main, f.mainNode, 5}} {
		h := k.p.connect(t, "alice.rig")
		_, tip := k.node.Tip() // which the block before may be
		h.jobOn(patience, tip)
		block := h.findBlock()
		for i, n := range []*testkit.FakeNode{f.mainNode, f.remoteNode} {
			eventually(t, patience, fmt.Sprintf("node %d has the block", i), func() bool {
				return slices.ContainsFunc(n.Submissions(), func(s fakenode.Submission) bool {
					return s.Block != nil && s.Block.BlockHash().String() == block.hash && len(s.Block.Transactions) == 1+k.transactions
				})
			})
		}
	}
}
