// Package stubpool is a small stratum pool for testing clients and load
// generators. It gives out made-up work, checks every share from first
// principles, without the code that clients use, and can be told to misbehave.
package stubpool

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Config is what the pool gives and how it misbehaves. The zero value is a
// well-behaved pool at difficulty 1e-10.
type Config struct {
	Difficulty   float64
	Branches     int
	VersionMask  uint32
	RejectEvery  int  // every n-th share is refused as "Made up"
	RepeatEvery  int  // every n-th reply is sent twice
	DropAfter    int  // shares of a connection until it is closed
	SilentAfter  int  // shares of a connection until no more are answered
	NoAuthorize  bool // authorize is refused
	Stuck        bool // connections are taken, nothing is answered
	JobPerClient bool // each connection gets work of its own

	// Wrap is what a connection is spoken over, such as TLS; it is first used by
	// the goroutine of the connection.
	Wrap func(net.Conn) net.Conn
}

// Pool is a running pool. The counters may be read at any time.
type Pool struct {
	Addr                       string
	Accepted, Refused, Invalid atomic.Int64 // shares: good, refused as configured, wrong
	Authorized                 atomic.Int64

	config   Config
	t        testing.TB
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	height  int
	clients map[*conn]bool
	seen    map[string]bool // hashes
	workers map[string]int
	faults  []string // what was wrong with shares, the first few
}

type conn struct {
	net.Conn
	writing     sync.Mutex
	extranonce1 string
	mask        uint32
	ready       bool
	jobs        map[string]int // height of each job given
	shares      int
}

// Start runs a pool on a free port until the test ends.
func Start(t testing.TB, c Config) *Pool {
	if c.Difficulty == 0 {
		c.Difficulty = 1e-10
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Pool{Addr: l.Addr().String(), config: c, t: t, listener: l, clients: map[*conn]bool{},
		seen: map[string]bool{}, workers: map[string]int{}, height: 1}
	p.wg.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

func (p *Pool) stop() {
	p.listener.Close()
	p.DropAll()
	p.wg.Wait()
}

// DropAll closes all connections.
func (p *Pool) DropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		c.Close()
	}
}

// Faults are what was wrong with invalid shares.
func (p *Pool) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// Workers is how many different names have authorized.
func (p *Pool) Workers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.workers)
}

// NewBlock gives all clients clean work; its form fits the bench package's
// triggers.
func (p *Pool) NewBlock(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.height++
	for c := range p.clients {
		if c.ready {
			p.notify(c)
		}
	}
	return nil
}

func (p *Pool) accept() {
	for n := 0; ; n++ {
		nc, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.config.Wrap != nil {
			nc = p.config.Wrap(nc)
		}
		c := &conn{Conn: nc, extranonce1: fmt.Sprintf("%08x", n), jobs: map[string]int{}}
		p.mu.Lock()
		p.clients[c] = true
		p.mu.Unlock()
		p.wg.Go(func() {
			p.serve(c)
			c.Close()
			p.mu.Lock()
			delete(p.clients, c)
			p.mu.Unlock()
		})
	}
}

type request struct {
	ID     json.RawMessage
	Method string
	Params []json.RawMessage
}

func (p *Pool) serve(c *conn) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			p.fault("line is not JSON: %.100q", in.Text())
			return
		}
		if !p.config.Stuck && !p.handle(c, &r) {
			return
		}
	}
}

func (p *Pool) handle(c *conn, r *request) (keep bool) {
	switch r.Method {
	case "mining.configure":
		c.mask = p.config.VersionMask
		c.send(`{"result":{"version-rolling":%v,"version-rolling.mask":"%08x"},"error":null,"id":%s}`, c.mask != 0, c.mask, r.ID)
	case "mining.subscribe":
		c.send(`{"result":[[["mining.notify","%s"]],"%s",8],"error":null,"id":%s}`, c.extranonce1, c.extranonce1, r.ID)
	case "mining.authorize":
		if p.config.NoAuthorize {
			c.send(`{"reject-reason":"no","result":false,"error":[24,"no",null],"id":%s}`, r.ID)
			return true
		}
		c.send(`{"result":true,"error":null,"id":%s}`, r.ID)
		p.Authorized.Add(1)
		p.mu.Lock()
		p.workers[string(r.Params[0])]++
		c.ready = true
		p.notify(c)
		p.mu.Unlock()
	case "mining.submit":
		return p.submit(c, r)
	default:
		c.send(`{"result":null,"error":[20,"Unknown method",null],"id":%s}`, r.ID)
	}
	return true
}

func (p *Pool) submit(c *conn, r *request) (keep bool) {
	if c.shares++; p.config.DropAfter > 0 && c.shares > p.config.DropAfter {
		return false
	}
	if p.config.SilentAfter > 0 && c.shares > p.config.SilentAfter {
		return true
	}
	reply := fmt.Sprintf(`{"result":true,"error":null,"id":%s}`, r.ID)
	switch err := p.check(c, r.Params); {
	case err != nil:
		p.Invalid.Add(1)
		p.fault("%v", err)
		reply = fmt.Sprintf(`{"result":false,"error":[20,%q,null],"id":%s}`, err, r.ID)
	case p.config.RejectEvery > 0 && c.shares%p.config.RejectEvery == 0:
		p.Refused.Add(1)
		reply = fmt.Sprintf(`{"reject-reason":"Made up","result":false,"error":[23,"Made up",null],"id":%s}`, r.ID)
	default:
		p.Accepted.Add(1)
	}
	c.send("%s", reply)
	if p.config.RepeatEvery > 0 && c.shares%p.config.RepeatEvery == 0 {
		c.send("%s", reply)
	}
	return true
}

func (p *Pool) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) < 5 {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

func (c *conn) send(format string, args ...any) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, format+"\n", args...)
}

// The made-up work of a height. It differs in every part between heights.
func (p *Pool) prevHash(height int) []byte {
	h := sha256.Sum256([]byte{byte(height), byte(height >> 8), 'p'})
	return h[:]
}

func (p *Pool) branch(height, i int) []byte {
	h := sha256.Sum256([]byte{byte(height), byte(height >> 8), byte(i), 'b'})
	return h[:]
}

const (
	coinb1, coinb2 = "01000000000000aa", "bbffffffff"
	version        = 0x20000000
	bits           = 0x1d00ffff
	ntime          = 0x6b02867d
)

// notify sends the present work; p.mu is held.
func (p *Pool) notify(c *conn) {
	job := fmt.Sprintf("%016x", p.height)
	tail := coinb2
	if p.config.JobPerClient {
		job += c.extranonce1[6:]
		tail += c.extranonce1
	}
	c.jobs[job] = p.height
	var wire strings.Builder
	for prev := p.prevHash(p.height); len(prev) > 0; prev = prev[4:] {
		fmt.Fprintf(&wire, "%02x%02x%02x%02x", prev[3], prev[2], prev[1], prev[0])
	}
	branches := []string{}
	for i := range p.config.Branches {
		branches = append(branches, hex.EncodeToString(p.branch(p.height, i)))
	}
	list, _ := json.Marshal(branches)
	c.send(`{"params":[%s],"id":null,"method":"mining.set_difficulty"}`+"\n"+
		`{"params":["%s","%s","%s","%s",%s,"%08x","%08x","%08x",true],"id":null,"method":"mining.notify"}`,
		strconv.FormatFloat(p.config.Difficulty, 'f', -1, 64),
		job, wire.String(), coinb1, tail, list, version, bits, ntime)
}

// check computes a share anew.
func (p *Pool) check(c *conn, params []json.RawMessage) error {
	var text [6]string
	if len(params) != 5 && len(params) != 6 {
		return fmt.Errorf("%d params", len(params))
	}
	for i, raw := range params {
		if err := json.Unmarshal(raw, &text[i]); err != nil {
			return fmt.Errorf("param %d: %w", i, err)
		}
	}
	p.mu.Lock()
	height, known := c.jobs[text[1]]
	p.mu.Unlock()
	if !known {
		return fmt.Errorf("job %q was never given", text[1])
	}
	tail := coinb2
	if p.config.JobPerClient {
		tail += c.extranonce1
	}
	if len(text[2]) != 16 || len(text[3]) != 8 || len(text[4]) != 8 {
		return fmt.Errorf("lengths of %q", text)
	}
	coinbase, err := hex.DecodeString(coinb1 + c.extranonce1 + text[2] + tail)
	if err != nil {
		return err
	}
	root := doubleHash(coinbase)
	for i := range p.config.Branches {
		root = doubleHash(append(root, p.branch(height, i)...))
	}
	nonce, err1 := strconv.ParseUint(text[4], 16, 32)
	when, err2 := strconv.ParseUint(text[3], 16, 32)
	rolled := uint64(0)
	var err3 error
	if text[5] != "" {
		rolled, err3 = strconv.ParseUint(text[5], 16, 32)
	}
	if err1 != nil || err2 != nil || err3 != nil || uint32(rolled)&^c.mask != 0 {
		return fmt.Errorf("numbers in %q", text)
	}
	header := binary.LittleEndian.AppendUint32(nil, version|uint32(rolled))
	header = append(header, p.prevHash(height)...)
	header = append(header, root...)
	header = binary.LittleEndian.AppendUint32(header, uint32(when))
	header = binary.LittleEndian.AppendUint32(header, bits)
	header = binary.LittleEndian.AppendUint32(header, uint32(nonce))
	h := doubleHash(header)

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[string(h)] {
		return fmt.Errorf("duplicate of %x", h)
	}
	p.seen[string(h)] = true
	if !meets(h, p.config.Difficulty) {
		return fmt.Errorf("hash %x is above the target", h)
	}
	return nil
}

func doubleHash(b []byte) []byte {
	h := sha256.Sum256(b)
	h = sha256.Sum256(h[:])
	return h[:]
}

// meets compares with big rationals: hash × difficulty <= 0xffff × 2^208.
func meets(h []byte, d float64) bool {
	reversed := make([]byte, len(h))
	for i, c := range h {
		reversed[len(h)-1-i] = c
	}
	product := new(big.Rat).SetInt(new(big.Int).SetBytes(reversed))
	product.Mul(product, new(big.Rat).SetFloat64(d))
	one := new(big.Int).Lsh(big.NewInt(0xffff), 208)
	return product.Cmp(new(big.Rat).SetInt(one)) <= 0
}
