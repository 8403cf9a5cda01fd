package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/nodework"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

const (
	helloNode      = `{"method": "mining.node", "params": ["ckpool\/0.9.9"]}`
	helloShortNode = `{"method":"mining.node","params":["ckpool/1",{"dialect":1}]}`
)

// startNodePool starts a pool with a listener for nodes.
func startNodePool(t *testing.T, c fakenode.Config, more keys) (n *testkit.FakeNode, s setup, p *running) {
	t.Helper()
	if c.Bits == 0 {
		c.Bits = rareBlocks
	}
	n = testkit.StartFakeNode(t, c)
	s = setup{nodes: []keys{fakeEntry(n)}, keys: keys{"nodeserver": []string{"127.0.0.1:3335"}}}
	for k, v := range more {
		s.keys[k] = v
	}
	return n, s, s.start(t)
}

// listening is the address of a listener, in the order of the configuration.
func (r *running) listening(i int) string {
	return regexp.MustCompile(`Listening on (\S+)`).FindAllStringSubmatch(r.log.text(), -1)[i][1]
}

// nodeLink is the other end of the link of a node, by hand.
func (r *running) nodeLink(t *testing.T, hello string) link {
	t.Helper()
	at := *r
	at.addr = r.listening(1)
	return at.link(t, hello)
}

// own is a node that a test has started: an edge with a bitcoin node of its own.
type own struct {
	*edge
	users *users.Users
	work  *lines // what it says of work and blocks
}

// startNode runs a node before pools until the end of the test.
func startNode(t *testing.T, dialect int, on keys, pools ...string) *own {
	t.Helper()
	log := newLines()
	dir := t.TempDir()
	group, err := bitcoind.NewGroup([]bitcoind.Config{{URL: on["url"].(string), User: on["auth"].(string), Pass: on["pass"].(string)}},
		bitcoind.Options{SaveDir: filepath.Join(dir, "blocks"), Events: log.add})
	if err != nil {
		t.Fatal(err)
	}
	o := &own{users: users.New(users.Config{LogDir: dir, Loops: 2, Events: log.add}, time.Now())}
	end := nodework.NewNode(nodework.Options{Network: group, Workers: o.users, Sink: o.users, Loops: 2, Events: log.add})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := group.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { end.Run(ctx) })
	t.Cleanup(func() { // after the edge
		cancel()
		running.Wait()
		if t.Failed() {
			t.Logf("log of the node:\n%s", log.text())
		}
	})
	o.edge = startEdge(t, dialect, relay.EdgeOptions{Node: end}, pools...)
	o.work = log
	return o
}

// message is the next message for the node, which has a tag.
func (l link) message(tag string) []byte {
	l.t.Helper()
	line := l.next()
	if !strings.HasSuffix(line, `,"node.method":"`+tag+`"}`) {
		l.t.Fatalf("%.200s…, want a %s", line, tag)
	}
	return []byte(line)
}

// work is the next work, and the transactions before it.
func (l link) work() (w poolproto.WorkInfo, txs []poolproto.NamedTransaction) {
	l.t.Helper()
	for {
		line := l.next()
		switch {
		case strings.HasSuffix(line, `,"node.method":"transactions"}`):
			list, err := poolproto.ParseTransactions([]byte(line))
			if err != nil {
				l.t.Fatal(err)
			}
			txs = append(txs, list...)
		case strings.HasSuffix(line, `,"node.method":"workinfo"}`):
			if err := w.Parse([]byte(line)); err != nil {
				l.t.Fatal(err)
			}
			return w, txs
		default:
			l.t.Fatalf("%.200s… before work", line)
		}
	}
}

// A node is told the result first, then transactions, then the present work, and of new
// work before its miners have it. Nothing is asked of it first.
func TestN1N7Registration(t *testing.T) {
	t.Parallel()
	n, _, p := startNodePool(t, fakenode.Config{}, nil)
	l := p.nodeLink(t, helloNode)
	if got := l.next(); got != `{"result":true}` {
		t.Fatalf("answer %s", got)
	}
	w, _ := l.work()
	if height, hash := n.Tip(); w.Height != height+1 || display(w.PrevHash) != hash || w.Extranonce1Len != 4 || w.Extranonce2Len != 8 {
		t.Errorf("work %+v on block %d %s", w, height, hash)
	}
	l.say(`{"id":1,"method":"mining.subscribe","params":["miner/1"],"client_id":12,"address":"192.0.2.7","server":0}`)
	l.tagged("subscribe.result", 12)
	job := l.tagged("update", 12)
	if want := fmt.Sprintf(`"%016x",`, w.JobID); !strings.Contains(string(job["params"]), want) {
		t.Errorf("the miner has job %.60s, the node %s", job["params"], want)
	}
	for range 3 {
		hash := n.NewBlock()
		w, _ := l.work()
		if display(w.PrevHash) != hash {
			t.Errorf("work on %s, want %s", display(w.PrevHash), hash)
		}
		job := l.tagged("update", 12)
		if want := fmt.Sprintf(`"%016x",`, w.JobID); !strings.Contains(string(job["params"]), want) {
			t.Errorf("the miner has job %.60s, the node %s", job["params"], want)
		}
	}
}

func txid(t *testing.T, data []byte) [32]byte {
	t.Helper()
	tx, err := work.ReadTransaction(data)
	if err != nil {
		t.Fatal(err)
	}
	return tx.TxID
}

// A block that is found elsewhere is told to all nodes, and one of a node's miner to all
// but that one.
func TestN3N4Blocks(t *testing.T) {
	t.Parallel()
	n, _, p := startNodePool(t, fakenode.Config{Bits: 0x207fffff, Transactions: 2}, nil)
	h := p.connect(t, "alice")
	c, short := p.nodeLink(t, helloNode), p.nodeLink(t, helloShortNode)
	c.next()
	c.work()
	short.next()
	first := short.next()
	var w poolproto.WorkInfo
	if err := w.Parse([]byte(strings.TrimPrefix(first, "i "))); err != nil {
		t.Fatalf("%s: %v", first, err)
	}
	short.say("r " + string(poolproto.AppendRequest(nil, w.TxIDs)))
	answer := short.next()
	txs, err := poolproto.ParseTransactions([]byte(strings.TrimPrefix(answer, "t ")))
	if err != nil || len(txs) != 2 {
		t.Fatalf("%s: %v", answer, err)
	}
	found := h.findBlock()
	var k poolproto.Block
	if err := k.Parse(c.message("block")); err != nil {
		t.Fatal(err)
	}
	if text := short.next(); !strings.HasPrefix(text, "k {") {
		t.Errorf("%s, want a block", text)
	}
	if k.JobID != w.JobID || k.Name != "ckpool" {
		t.Errorf("block %+v of job %d", k, w.JobID)
	}
	eventually(t, patience, "submission", func() bool { return len(n.Submissions()) > 0 })
	submitted := blockHex(n)[0]
	if !strings.HasPrefix(submitted, hex.EncodeToString(k.Header[:])+"03") {
		t.Errorf("the header is not that of the block of %s", found.hash)
	}
	for _, tx := range txs {
		if !strings.Contains(submitted, hex.EncodeToString(tx.Data)) {
			t.Errorf("transaction %x is not in the block", tx.Data)
		}
	}
}

// blockHex are the blocks that a node was given, in hex.
func blockHex(n *testkit.FakeNode) (list []string) {
	for _, s := range n.Submissions() {
		list = append(list, hex.EncodeToString(s.Raw))
	}
	return list
}

// Miners of a node mine as those of its pool, and are counted there too.
func TestN2Mining(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		n, _, p := startNodePool(t, fakenode.Config{Transactions: 3}, nil)
		e := startNode(t, dialect, fakeEntry(n), p.listening(1))
		h := e.connect(t, "bob.rig")
		for range 5 {
			h.share()
			h.jobOn(patience, n.NewBlock())
		}
		h.connected()
		s := e.users.Status(time.Now(), users.Sessions{})
		if s.AcceptedCount != 5 || s.Accepted == 0 || s.BestShare == 0 || s.Workers != 1 {
			t.Errorf("the node has counted %+v", s)
		}
		if c := p.clients()["bob.rig"]; c.Address != "127.0.0.1" {
			t.Errorf("the pool has the miner as %+v", c)
		}
	})
}

// A block is submitted to the bitcoin nodes of pool and node to the byte alike, whoever
// finds it, although the node's own has none of its transactions.
func TestN3N4Submitted(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		n, _, p := startNodePool(t, fakenode.Config{Bits: 0x207fffff, Transactions: 3}, nil)
		other := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x207fffff, Transactions: 2})
		third := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x207fffff})
		e := startNode(t, dialect, fakeEntry(other), p.listening(1))
		another := startNode(t, dialect, fakeEntry(third), p.listening(1))
		direct, behind := p.connect(t, "alice"), e.connect(t, "bob")
		another.log.wait(t, 0, "serves the miners")
		for i, h := range []*hand{direct, behind} {
			for _, node := range []*own{e, another} {
				node.work.wait(t, 0, "Stored work")
			}
			h.findBlock()
			for _, at := range []*testkit.FakeNode{n, other, third} {
				eventually(t, patience, "submissions", func() bool { return len(blockHex(at)) > i })
			}
			want := blockHex(n)[i]
			for _, at := range []*testkit.FakeNode{other, third} {
				if !slices.Contains(blockHex(at), want) {
					t.Errorf("the pool's node has got\n%s\nand another\n%s", want, blockHex(at)[i])
				}
			}
			behind.jobWhere(patience, "after the block", func(j client.Notify, _ time.Time) bool {
				_, tip := n.Tip()
				return display(j.PrevHash) == tip
			})
		}
		if e.work.count("by a miner of ckpool") > 1 {
			t.Error("the node was told of its own block")
		}
	})
}

// Blocks with transactions become blocks of two real nodes that know nothing of each other,
// through the pool and its node alone.
func TestN3N4OnBtcd(t *testing.T) {
	t.Parallel()
	a := testkit.StartBtcd(t, btcd.Options{})
	a.SegwitTemplate(3)
	b := testkit.StartBtcd(t, btcd.Options{})
	for height := int64(1); height <= a.BlockCount(); height++ {
		if verdict, err := b.SubmitBlock(t.Context(), a.BlockAt(height)); verdict != "" || err != nil {
			t.Fatal(verdict, err)
		}
	}
	p := setup{nodes: []keys{btcdEntry(a)}, keys: keys{"nodeserver": []string{"127.0.0.1:3335"}}}.start(t)
	e := startNode(t, poolproto.Dialect, btcdEntry(b), p.listening(1))
	direct, behind := p.connect(t, "alice"), e.connect(t, "bob")
	tip := a.BestBlockHash()
	for i, h := range []*hand{direct, behind} {
		h.jobOn(patience, tip)
		from := e.work.wait(t, 0, "Stored work")
		tip = h.findBlock().hash
		b.WaitTip(tip)
		a.WaitTip(tip)
		if block := b.BlockAt(b.BlockCount()); i == 0 && len(block.Transactions) != 4 {
			t.Errorf("the block has %d transactions, want 4", len(block.Transactions))
		}
		e.work.wait(t, from-1, "is confirmed")
	}
}

// Without its bitcoin node a node goes on serving miners, and what is found meanwhile is
// submitted when that is back.
func TestNodeWithoutBitcoind(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect int) {
		n, _, p := startNodePool(t, fakenode.Config{Bits: 0x207fffff, Transactions: 3}, nil)
		other := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x207fffff})
		other.SetFault(fakenode.Fault{Kind: fakenode.Cut})
		e := startNode(t, dialect, fakeEntry(other), p.listening(1))
		h := e.connect(t, "bob")
		e.work.wait(t, 0, "Stored work")
		h.findBlock()
		e.work.wait(t, 0, "SUBMIT BLOCK GOT NO RESPONSE")
		eventually(t, patience, "a submission", func() bool { return len(blockHex(n)) > 0 })
		_, tip := n.Tip()
		h.jobOn(patience, tip)
		h.connected()
		other.ClearFault()
		eventually(t, patience, "the submission", func() bool { return slices.Contains(blockHex(other), blockHex(n)[0]) })
	})
}

// What a miner says of itself in the words of the pool changes nothing.
func TestMinerTag(t *testing.T) {
	t.Parallel()
	n, _, p := startNodePool(t, fakenode.Config{}, nil)
	e := startNode(t, 0, fakeEntry(n), p.listening(1))
	e.connect(t, "bob")
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	read := bufio.NewReader(c)
	for _, line := range []string{
		`{"id":1,"method":"mining.subscribe","params":["x"],"node.method":"auth.result","client_id":1,"result":true}`,
		`{"id":2,"result":true,"error":null,"node.method":"share.result"}`,
		`{"id":3,"method":"mining.authorize","params":["eve","x"],"node.method":"workinfo"}`,
	} {
		fmt.Fprintln(c, line)
	}
	for range 2 {
		for answer := ""; !strings.Contains(answer, `"result":`); {
			if answer, err = read.ReadString('\n'); err != nil || strings.Contains(answer, "node.method") {
				t.Fatalf("%s, %v", answer, err)
			}
		}
	}
	if s := e.users.Status(time.Now(), users.Sessions{}); s.AcceptedCount != 0 || s.Users != 2 {
		t.Errorf("the node has counted %+v", s)
	}
}

// Work comes with all of its transactions before it, in whatever number.
func TestN5Transactions(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, 3000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			n, _, p := startNodePool(t, fakenode.Config{Transactions: count}, nil)
			l := p.nodeLink(t, helloNode)
			l.next()
			known := map[string]bool{}
			for range 3 {
				w, txs := l.work()
				for _, tx := range txs {
					known[display(tx.Hash)] = true
				}
				if len(w.TxIDs) != count || len(known) < count {
					t.Errorf("work of %d transactions, of which %d were said", len(w.TxIDs), len(known))
				}
				n.NewBlock()
			}
		})
	}
}

// Nodes link to their own addresses alone, and miners behind links never become nodes.
func TestN6Refused(t *testing.T) {
	t.Parallel()
	_, _, p := startNodePool(t, fakenode.Config{}, keys{"link_secret": "hidden"})
	for _, c := range []struct {
		link link
		why  string
	}{
		{p.link(t, `{"method":"mining.node","params":["x",{"secret":"hidden"}]}`), "nodeserver"},
		{p.nodeLink(t, helloNode), "link_secret"},
	} {
		_ = c.link.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(c.link.read)
		var answer map[string]json.RawMessage
		if err != nil || json.Unmarshal(got, &answer) != nil || string(answer["result"]) != "false" || !strings.Contains(string(answer["error"]), c.why) {
			t.Errorf("%s, %v: want a refusal that speaks of %s", got, err, c.why)
		}
	}
	l := p.nodeLink(t, `{"method":"mining.node","params":["x",{"secret":"hidden"}]}`)
	l.next()
	l.work()
	l.say(`{"id":7,"method":"mining.node","params":["x",{"secret":"hidden"}],"client_id":12,"address":"192.0.2.7","server":0}`)
	if got := l.next(); strings.Contains(got, "true") {
		t.Errorf("a miner behind a node is told %s", got)
	}
}

// A node goes on with a pool that is upgraded: it is told nothing twice, and nothing is
// left out.
func TestNodeLinkUpgrade(t *testing.T) {
	t.Parallel()
	n, s, p := startNodePool(t, fakenode.Config{Transactions: 20}, nil)
	for _, hello := range []string{helloNode, helloShortNode} {
		l := p.nodeLink(t, hello)
		l.next()
		if hello == helloShortNode {
			l.next()
			continue
		}
		known := map[[32]byte]bool{}
		_, txs := l.work()
		for _, tx := range txs {
			known[tx.Hash], known[txid(t, tx.Data)] = true, true
		}
		for range 3 {
			p = p.upgrade(s)
			hash := n.NewBlock()
			for on := ""; on != hash; { // the new pool makes another job first
				w, txs := l.work()
				for _, tx := range txs {
					if known[tx.Hash] {
						t.Errorf("transaction %s is said again", display(tx.Hash))
					}
					known[tx.Hash] = true
					known[txid(t, tx.Data)] = true
				}
				for _, id := range w.TxIDs {
					if !known[id] {
						t.Errorf("transaction %s was never said", display(id))
					}
				}
				on = display(w.PrevHash)
			}
		}
	}
}

// A pool in C says work before its transactions, and sometimes both before its answer. Lines
// as it writes them lead to its block at the node's own bitcoin node.
func TestN1LinesOfC(t *testing.T) {
	t.Parallel()
	other := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x207fffff})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := startNode(t, poolproto.Dialect, fakeEntry(other), l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	read := bufio.NewReader(c)
	if hello, err := read.ReadString('\n'); err != nil || !strings.HasPrefix(hello, `{"method":"mining.node","params":["ckpool/`) {
		t.Fatalf("%s, %v", hello, err)
	}
	// One transaction without witness, on whose txid the merkle branch is.
	const (
		tx   = "0200000001070707070707070707070707070707070707070707070707070707070707070701000000000000000001e8030000000000000151" + "00000000"
		prev = "0000000000000000000000000000000000000000000000000000000000000001"
	)
	data, err := hex.DecodeString(tx)
	if err != nil {
		t.Fatal(err)
	}
	id := txid(t, data)
	workinfo := func(job uint64) string {
		return fmt.Sprintf(`{"jobid":%d,"target":"7fffff0000000000000000000000000000000000000000000000000000000000","diff":4.6565423739069247e-10,"version":536870912,"curtime":1760000000,`+
			`"prevhash":%q,"ntime":"68e77800","bbversion":"20000000","nbit":"207fffff","coinbasevalue":314000000,"height":918000,"flags":"","txns":1,"txn_hashes":"%s ",`+
			`"merkles":1,"merklehash":["%x"],"coinb1":"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff10","enonce1varlen":4,"enonce2varlen":8,`+
			`"coinb1len":42,"coinb2len":23,"coinb2":"51515151ffffffff0100000000000000000151%s","node.method":"workinfo"}`+"\n", job, prev, display(id), id, "00000000")
	}
	transactions := fmt.Sprintf(`{"transaction":[{"hash":"%s","data":"%s"}],"node.method":"transactions"}`+"\n", display(id), tx)
	fmt.Fprint(c, workinfo(6888000000000000017), `{"result":true}`+"\n", workinfo(6888000000000000018), transactions)
	e.work.wait(t, 0, "Stored work 5f")
	// Without coinbasehex and swaphex, as before December 2016, and with them.
	var header, coinbase string
	for nonce := uint32(0); header == ""; nonce++ {
		b := mustDecode(t, "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff10"+"21a0aa66"+"0000000000000009"+"51515151ffffffff010000000000000000015100000000")
		root := work.MerkleRoot(work.HashTransaction(b), [][32]byte{id})
		h := mustDecode(t, "00000020"+"00000000000000000000000000000000000000000000000000000000"+"01000000"+hex.EncodeToString(root[:])+"0078e768"+"ffff7f20")
		h = binary.LittleEndian.AppendUint32(h, nonce)
		hash := work.HashHeader((*[80]byte)(h))
		if hash[31] < 0x7f {
			header, coinbase = hex.EncodeToString(h), hex.EncodeToString(b)
			fmt.Fprintf(c, `{"enonce1":"21a0aa66","nonce":"%08x","nonce2":"0000000000000009","ntime32":1760000000,"jobid":6888000000000000018,"diff":1,"name":"mainpool","node.method":"block"}`+"\n", nonce)
		}
	}
	eventually(t, patience, "the block", func() bool {
		return slices.Contains(blockHex(other), header+"02"+coinbase+tx)
	})
}

func mustDecode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
