// Package otherpool is another pool, for tests of what connects to pools: miners, load
// generators and proxies. It gives out made-up work and checks every share from
// first principles, building each header from its own parts without the code that
// clients use. It keeps a book of what it accepted, and can be any odd pool. It can be
// reached over TCP, or in memory, where it runs in bubbles of synctest too.
package otherpool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// Pool is a running pool. The counters may be read at any time.
type Pool struct {
	Addr                       string       // of one that listens
	Accepted, Refused, Invalid atomic.Int64 // shares: good, refused as configured, wrong
	Authorized                 atomic.Int64
	Connections                atomic.Int64 // ever made

	config Config
	t      testing.TB
	wg     sync.WaitGroup

	mu         sync.Mutex
	listener   net.Listener
	down       error // why connections are refused
	silent     bool  // lines are read and not answered, and nothing is sent
	stopped    bool
	height     int
	difficulty float64
	job        job // the newest, without what is a connection's own
	jobs       int // given so far
	clients    map[*conn]bool
	seen       map[string]int // height at which a share was taken, by its hash; of the last two
	workers    map[string]int
	book       map[string]Account
	refused    map[string]int // by reason
	faults     []string       // what was wrong with shares, the first few
	lines      []string       // of connections but for shares, the first thousand
}

// Account is what the pool owes a name.
type Account struct {
	Shares     int
	Difficulty float64 // their sum, each at the difficulty it was judged by
}

// Start runs a pool on a free port until the test ends.
func Start(t testing.TB, c Config) *Pool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(t, c)
	p.Addr, p.listener = l.Addr().String(), l
	p.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			p.connection(nc)
		}
	})
	return p
}

// New runs a pool that is reached by Dial alone until the test ends.
func New(t testing.TB, c Config) *Pool {
	if c.Difficulty == 0 {
		c.Difficulty = 1e-10
	}
	if c.Version == 0 {
		c.Version = 0x20000000
	}
	if c.Extranonce2Len == 0 {
		c.Extranonce2Len = 8
	}
	c.Extranonce2Len = max(c.Extranonce2Len, 0)
	if c.Answer == nil {
		c.Answer = Arrays
	}
	p := &Pool{config: c, t: t, clients: map[*conn]bool{}, seen: map[string]int{}, workers: map[string]int{},
		book: map[string]Account{}, refused: map[string]int{}, difficulty: c.Difficulty}
	p.nextJob(true)
	t.Cleanup(p.stop)
	return p
}

func (p *Pool) stop() {
	if p.listener != nil {
		p.listener.Close()
	}
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.DropAll()
	p.wg.Wait()
}

// Dial connects to the pool in memory, whatever the address.
func (p *Pool) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	err := p.down
	if p.stopped {
		err = errors.New("the pool has been stopped")
	}
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	near, far := net.Pipe()
	p.connection(far)
	return near, nil
}

// Down closes all connections and refuses new ones for that reason; nil ends that.
func (p *Pool) Down(why error) {
	p.mu.Lock()
	p.down = why
	p.mu.Unlock()
	if why != nil {
		p.DropAll()
	}
}

// DropAll closes all connections.
func (p *Pool) DropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		c.Close()
	}
}

// Silence makes the pool read and never answer, as if the way back were cut.
func (p *Pool) Silence(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = on
}

// Faults are what was wrong with invalid shares.
func (p *Pool) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// Lines are what clients have sent beside shares.
func (p *Pool) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Workers is how many different names have authorized.
func (p *Pool) Workers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.workers)
}

// Book is what the pool owes, by name.
func (p *Pool) Book() map[string]Account {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.book)
}

// RefusedFor is how many shares were refused, by reason.
func (p *Pool) RefusedFor() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.refused)
}

// Connected is how many connections there are.
func (p *Pool) Connected() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients)
}

// Configure changes how the pool is from now on.
func (p *Pool) Configure(change func(*Config)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.config)
}

func (p *Pool) options() Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config
}

// NewBlock gives all clients clean work; its form fits the bench package's
// triggers.
func (p *Pool) NewBlock(context.Context) error {
	p.give(func() { p.nextJob(true) })
	return nil
}

// NewJob gives all clients other work for the same block.
func (p *Pool) NewJob() { p.give(func() { p.nextJob(false) }) }

// Resend sends the newest job again under its id.
func (p *Pool) Resend() { p.give(func() {}) }

// give changes something and sends the newest job.
func (p *Pool) give(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	for c := range p.clients {
		if c.ready {
			p.notify(c)
		}
	}
}

// SetDifficulty tells all clients another difficulty, which is that of jobs that
// follow, and by the Policy of present ones.
func (p *Pool) SetDifficulty(d float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.difficulty = d
	for c := range p.clients {
		if c.ready {
			p.tellDifficulty(c)
		}
	}
}

// SetExtranonce gives every client another extranonce1, hexadecimal, made of its
// number, for jobs that follow.
func (p *Pool) SetExtranonce(extranonce1 func(n int) string, extranonce2Len int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		c.extranonce1, c.extranonce2Len = extranonce1(c.number), extranonce2Len
		c.line(fmt.Sprintf(`{"id":null,"method":"mining.set_extranonce","params":[%q,%d]}`, c.extranonce1, c.extranonce2Len))
	}
}

// SetVersionMask tells all clients another mask, for jobs that follow.
func (p *Pool) SetVersionMask(mask uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.VersionMask = mask
	for c := range p.clients {
		c.mask = mask
		c.line(fmt.Sprintf(`{"id":null,"method":"mining.set_version_mask","params":["%08x"]}`, mask))
	}
}

// Send sends a line to all clients.
func (p *Pool) Send(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		c.line(line)
	}
}

func (p *Pool) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) < 5 {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
