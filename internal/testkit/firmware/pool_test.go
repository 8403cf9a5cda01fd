package firmware

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// pool is a scripted pool of one connection at a time: right in everything but
// what a test tells it to get wrong.
type pool struct {
	t          *testing.T
	listener   net.Listener
	done       sync.WaitGroup
	serving    sync.Once
	difficulty string // first one, as written

	// What it does differently, set before a device connects.
	nonce2Size    int    // 0: 8
	coinbaseBytes int    // 0: as short as it gets
	branches      int    // merkle branches
	version       uint32 // of jobs; 0: 20000000
	mask          uint32 // 0: 1fffe000
	early         string // lines sent on connect
	beforeAuth    string // lines sent before the authorize reply
	afterAuth     []func(c *client)
	suggestReply  string // result; empty: true
	paddedNonces  bool   // refuses nonces of less than 8 digits
	integerIDs    bool   // spoils string ids
	everyShares   int    // calls onShares after so many
	onShares      func(c *client)
	refuse        bool

	mu       sync.Mutex
	received []string // methods
}

// client is the pool's side of a connection.
type client struct {
	p          *pool
	conn       net.Conn
	jobs       map[string]*poolJob
	serial     int
	difficulty string
	seen       map[chainhash.Hash]bool
	accepted   int
	authorized map[string]bool
	configured bool
}

type poolJob struct {
	coinb1, coinb2 []byte
	branch         []chainhash.Hash
	version, ntime uint32
	difficulty     string
}

const (
	poolNonce1  = "7e86026b"
	poolSession = "0123456789abcdef"
	poolBits    = 0x1d00ffff
	poolTime    = 1795332621
)

func newPool(t *testing.T, difficulty string) *pool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{t: t, listener: l, difficulty: difficulty, nonce2Size: 8, version: 0x20000000, mask: 0x1fffe000}
	t.Cleanup(func() { l.Close(); p.done.Wait() })
	return p
}

// addr begins to serve: what the pool does wrong is settled from here on.
func (p *pool) addr() string {
	p.serving.Do(func() {
		p.done.Go(func() {
			for {
				conn, err := p.listener.Accept()
				if err != nil {
					return
				}
				c := &client{p: p, conn: conn, jobs: map[string]*poolJob{}, difficulty: p.difficulty,
					seen: map[chainhash.Hash]bool{}, authorized: map[string]bool{}}
				p.done.Go(c.serve)
			}
		})
	})
	return p.listener.Addr().String()
}

func (p *pool) methods() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.received...)
}

func (c *client) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.conn, format+"\n", args...) // the device may have gone
}

func (c *client) serve() {
	defer c.conn.Close()
	if c.p.early != "" {
		c.say("%s", c.p.early)
	}
	r := bufio.NewReader(c.conn)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var m struct {
			ID     json.RawMessage
			Method string
			Params []any
		}
		if err := json.Unmarshal(line, &m); err != nil {
			if !bytes.Contains(line, []byte("pong")) {
				c.p.t.Errorf("line %s: %v", line, err)
			}
			return
		}
		if c.p.integerIDs && m.ID[0] == '"' {
			m.ID = []byte("7")
		}
		c.p.mu.Lock()
		c.p.received = append(c.p.received, m.Method)
		c.p.mu.Unlock()
		c.handle(string(m.ID), m.Method, m.Params)
	}
}

func (c *client) handle(id, method string, params []any) {
	switch method {
	case "mining.subscribe":
		c.say(`{"result":[[["mining.notify","%s"]],"%s",%d],"error":null,"id":%s}`, poolSession, poolNonce1, c.p.nonce2Size, id)
		if c.serial == 0 { // work once, also for those who subscribe twice
			c.setDifficulty(c.difficulty)
			c.notify(c.newJob(0), true)
		}
	case "mining.configure":
		c.configured = true
		c.say(`{"result":{"version-rolling":true,"version-rolling.mask":"%08x"},"error":null,"id":%s}`, c.p.mask, id)
	case "mining.authorize", "login":
		if c.p.refuse {
			c.say(`{"reject-reason":"no","result":false,"error":[24,"no such address",null],"id":%s}`, id)
			return
		}
		if c.p.beforeAuth != "" {
			c.say("%s", c.p.beforeAuth)
		}
		c.say(`{"result":true,"error":null,"id":%s}`, id)
		c.authorized[params[0].(string)] = true
		if c.configured {
			c.say(`{"params":["%08x"],"id":null,"method":"mining.set_version_mask"}`, c.p.mask)
		}
		for _, f := range c.p.afterAuth {
			f(c)
		}
	case "mining.submit":
		c.submit(id, params)
	case "":
	default:
		result := "true"
		if c.p.suggestReply != "" {
			result = c.p.suggestReply
		}
		c.say(`{"result":%s,"error":null,"id":%s}`, result, id)
	}
}

func (c *client) setDifficulty(text string) {
	c.difficulty = text
	c.say(`{"params":[%s],"id":null,"method":"mining.set_difficulty"}`, text)
}

// newJob makes a job whose header differs from all others by its time.
func (c *client) newJob(later uint32) string {
	script := append([]byte{3, 0x40, 0x0d, 0x03}, make([]byte, 4+c.p.nonce2Size)...)
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Index: 1<<32 - 1}, SignatureScript: script, Sequence: 1<<32 - 1})
	tx.AddTxOut(wire.NewTxOut(50e8, []byte{0x51}))
	if missing := c.p.coinbaseBytes - tx.SerializeSize(); missing > 0 {
		pad := max(0, missing-9) // value and length
		if pad > 252 {
			pad -= 2
		}
		tx.AddTxOut(wire.NewTxOut(0, make([]byte, pad)))
	}
	var raw bytes.Buffer
	if err := tx.Serialize(&raw); err != nil {
		c.p.t.Error(err)
	}
	at := 4 + 1 + 36 + 1 + 4
	j := &poolJob{coinb1: raw.Bytes()[:at], coinb2: raw.Bytes()[at+4+c.p.nonce2Size:],
		version: c.p.version, ntime: poolTime + later, difficulty: c.difficulty}
	for i := range c.p.branches {
		j.branch = append(j.branch, chainhash.HashH([]byte{byte(i)}))
	}
	c.serial++
	id := fmt.Sprintf("%018x", c.serial)
	c.jobs[id] = j
	return id
}

// again announces a job that hashes as another under a new id.
func (c *client) again(id string) string {
	j := *c.jobs[id]
	j.difficulty = c.difficulty
	c.serial++
	fresh := fmt.Sprintf("%018x", c.serial)
	c.jobs[fresh] = &j
	return fresh
}

func (c *client) notify(id string, clean bool) {
	j := c.jobs[id]
	branch := []string{}
	for _, b := range j.branch {
		branch = append(branch, hex.EncodeToString(b[:]))
	}
	list, err := json.Marshal(branch)
	if err != nil {
		c.p.t.Error(err)
	}
	prev := strings.Repeat("00112233", 8)
	c.say(`{"params":["%s","%s","%x","%x",%s,"%08x","%08x","%08x",%t],"id":null,"method":"mining.notify"}`,
		id, prev, j.coinb1, j.coinb2, list, j.version, poolBits, j.ntime, clean)
}

func (c *client) submit(id string, params []any) {
	verdict := c.judge(params)
	if verdict != "" {
		c.say(`{"reject-reason":"%[1]s","result":false,"error":[20,"%[1]s",null],"id":%[2]s}`, verdict, id)
		return
	}
	c.say(`{"result":true,"error":null,"id":%s}`, id)
	c.accepted++
	if n := c.p.everyShares; n > 0 && c.accepted%n == 0 {
		c.p.onShares(c)
	}
}

// judge checks a share with btcd's types.
func (c *client) judge(params []any) string {
	text := make([]string, 6)
	for i, p := range params {
		text[i] = p.(string)
	}
	if !c.authorized[text[0]] {
		return "unauthorized"
	}
	j := c.jobs[text[1]]
	if j == nil {
		return "no such job"
	}
	nonce2, err := hex.DecodeString(text[2])
	if err != nil || len(nonce2) != c.p.nonce2Size {
		return "extranonce2"
	}
	if c.p.paddedNonces && len(text[4]) < 8 {
		return "short nonce"
	}
	var field [3]uint32
	for i, s := range []string{text[3], text[4], text[5]} {
		if s == "" {
			continue
		}
		v, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			return "hex"
		}
		field[i] = uint32(v)
	}
	if field[2]&^c.p.mask != 0 {
		return "version bits"
	}
	nonce1, err := hex.DecodeString(poolNonce1)
	if err != nil {
		return err.Error()
	}
	var coinbase bytes.Buffer
	for _, part := range [][]byte{j.coinb1, nonce1, nonce2, j.coinb2} {
		coinbase.Write(part)
	}
	root := chainhash.DoubleHashH(coinbase.Bytes())
	for _, b := range j.branch {
		root = chainhash.DoubleHashH(append(root[:], b[:]...))
	}
	header := wire.BlockHeader{Version: int32(j.version&^c.p.mask | field[2]), MerkleRoot: root, Bits: poolBits, Nonce: field[1]}
	for i := range 8 {
		copy(header.PrevBlock[4*i:], []byte{0x33, 0x22, 0x11, 0x00})
	}
	var raw bytes.Buffer
	if err := header.Serialize(&raw); err != nil {
		return err.Error()
	}
	b := raw.Bytes()
	b[68], b[69], b[70], b[71] = byte(field[0]), byte(field[0]>>8), byte(field[0]>>16), byte(field[0]>>24)
	hash := chainhash.DoubleHashH(b)
	target, ok := new(big.Float).SetString("26959535291011309493156476344723991336010898738574164086137773096960")
	d, ok2 := new(big.Float).SetString(j.difficulty)
	if !ok || !ok2 || d.Sign() <= 0 {
		return "difficulty"
	}
	limit, _ := target.Quo(target, d).Int(nil)
	if blockchain.HashToBig(&hash).Cmp(limit) > 0 {
		return "above target"
	}
	if c.seen[hash] {
		return "duplicate"
	}
	c.seen[hash] = true
	return ""
}
