package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
)

// Config is a pool and an account there.
type Config struct {
	URL, User, Password string

	Agent           string  // what the pool is told that connects; "" as client.Options has it
	VersionMask     uint32  // bits to ask for, 0 none
	LeastDifficulty float64 // suggested to a pool that asks for less, which counts as failed if it goes on; 0: nothing is suggested
	MaxLines        int     // most connections; 0 is 32
	Weight          float64 // its part of the hash rate beside the weights of other pools; 0: it is in reserve
	Workers         bool    // shares go up under the names of workers if the pool agrees, else all under User

	TLS    *tls.Config // as in client.Options
	Pin    []byte      // likewise
	SOCKS5 string      // likewise
}

// Options are what a Pool needs of what is around it.
type Options struct {
	// Updates takes the updates of all connections, those of each source in their
	// order. It is called from any goroutine, and must not block.
	Updates func(source.Update)
	// Finder hears of shares that came from another process with their connection.
	Finder source.Finder
	// Number gives a number that no source has had.
	Number func() uint32
	Events event.Func
	// Changed is told when the pool can be worked for from now on, or no longer, and when
	// the first attempt has failed. It must not block.
	Changed func()
	// Dial replaces the TCP connect.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	given *given // by all pools of a Group; nil: of none
}

// Times of a pool.
const (
	answerTimeout  = 30 * time.Second // of a share, or of all shares of a connection, which is dead then
	silenceTimeout = 10 * time.Minute
	retireAfter    = 10 * time.Minute // without a session, but for the first connection
	tendEvery      = time.Minute
	fullFor        = 10 * time.Second // that a source without an extranonce1 left is not asked
	defaultLines   = 32
)

// Pool is one pool that shares are found for: the connections to it, and what becomes
// of shares. It has one connection as long as it runs, and more as sessions need them.
type Pool struct {
	// Immutable.
	config  Config
	options Options
	name    string  // host:port, or what is configured
	id      int64   // among those of a Group; set when it is made
	member  *member // of that Group, likewise; nil: of none
	ledger  *ledger
	habits  habits
	wake    chan struct{} // capacity 1: look whether connections are missing
	running sync.Mutex    // held by Run

	mu       sync.Mutex
	slots    []*slot // the first is kept for good
	refusals refusals
	single   bool // the pool gives all connections the same work
	wanted   int  // newcomers that found no room since the last look
	reason   string
	err      error // why the first connection was lost or not made, nil while there is work
	saying   saying
	quoting  saying        // of what the pool says
	up       bool          // as Changed was last told
	tried    bool          // there was work since Run was called, or an attempt has failed
	retry    time.Duration // until the first connection is made again
	lastID   int64         // of the slots
	recruits int           // connections to be opened that no session has asked for

	suspended bool       // connections are on their way to another process, and none is made
	standing  []*line    // whose answers are kept back meanwhile, since they do not move
	adoptions []adoption // that Run is to go on with
}

// slot is a place for a connection, with who makes it again and again.
type slot struct {
	// guarded by the pool's mu
	id       int64 // 0 is the first, no other has that of another
	asked    bool  // an operator wants it, and it has not had work yet
	cancel   context.CancelFunc
	kept     chan struct{} // closed when nobody keeps the connection any more: it was suspended, or retired
	line     *line         // nil while there is none
	source   uint32
	shape    source.Shape
	works    bool   // there is a job
	told     bool   // and it was told
	lost     bool   // there was one on the connection that has ended
	mask     uint32 // of the version bits that may be rolled of it
	sessions int
	idle     time.Time // since when there is no session
	full     time.Time // until then there is no extranonce1 left
}

// NewPool makes a pool, which does nothing before Run. The error says what is wrong
// with the configuration.
func NewPool(c Config, o Options) (*Pool, error) {
	if _, err := (client.Endpoint{URL: c.URL}).Address(); err != nil {
		return nil, err
	}
	if c.User == "" {
		return nil, fmt.Errorf("pool %s: no user", c.URL)
	}
	if c.MaxLines <= 0 {
		c.MaxLines = defaultLines
	}
	name, _ := (client.Endpoint{URL: c.URL}).Address()
	return &Pool{config: c, options: o, name: name, ledger: newLedger(nil), wake: make(chan struct{}, 1),
		reason: "not connected yet", saying: newSaying(), quoting: newSaying()}, nil
}

// Run keeps the connections until ctx is done. Called again, it waits until the call
// before has returned.
func (p *Pool) Run(ctx context.Context) {
	p.running.Lock()
	defer p.running.Unlock()
	p.mu.Lock()
	began := len(p.slots) > 0 // with connections of another process
	p.single, p.reason = false, "not connected yet"
	p.tried = p.works()
	p.mu.Unlock()
	var keepers sync.WaitGroup
	defer func() {
		keepers.Wait()
		p.mu.Lock()
		p.slots, p.reason = nil, "not connected to"
		p.mu.Unlock()
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.adopted(ctx, &keepers); !began {
		p.open(ctx, &keepers, false)
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.wake:
		}
		p.adopted(ctx, &keepers)
		for range p.tend(time.Now()) {
			p.open(ctx, &keepers, false)
		}
		for range p.recruited() {
			p.open(ctx, &keepers, true)
		}
	}
}

// recruited is how many connections are to be opened that no session has asked for.
func (p *Pool) recruited() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, p.recruits = p.recruits, 0
	return n
}

// add adds a slot. p.mu is held.
func (p *Pool) add(s *slot) {
	if len(p.slots) > 0 {
		p.lastID++
		s.id = p.lastID
	}
	p.slots = append(p.slots, s)
}

// open makes one more connection, which is made again until it is retired. asked tells that
// an operator wants it.
func (p *Pool) open(ctx context.Context, keepers *sync.WaitGroup, asked bool) {
	s := &slot{asked: asked, idle: time.Now(), kept: make(chan struct{})}
	p.mu.Lock()
	p.add(s)
	p.mu.Unlock()
	p.keep(ctx, keepers, s, nil, nil)
}

// keep keeps the connection of a slot, which is there already unless c is nil.
func (p *Pool) keep(ctx context.Context, keepers *sync.WaitGroup, s *slot, c *client.Client, state *client.State) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	s.cancel = cancel
	kept := s.kept
	p.mu.Unlock()
	k := client.NewKeeper(p.endpoint(), p.clientOptions(), func(c *client.Client, e client.Event) error { return p.event(s, c, e) })
	if c != nil {
		k.Begin(c, state)
	}
	keepers.Go(func() {
		k.Run(ctx)
		cancel()
		close(kept)
	})
}

func (p *Pool) endpoint() client.Endpoint {
	return client.Endpoint{URL: p.config.URL, User: p.config.User, Password: p.config.Password}
}

func (p *Pool) clientOptions() client.Options {
	return client.Options{
		UserAgent: p.config.Agent, VersionMask: p.config.VersionMask, MinBitCount: 2,
		ExtranonceSubscribe: true,
		SilenceTimeout:      silenceTimeout, AnswerTimeout: answerTimeout,
		TLS: p.config.TLS, Pin: p.config.Pin, SOCKS5: p.config.SOCKS5, Dial: p.options.Dial,
	}
}

// event takes an event of a connection.
func (p *Pool) event(s *slot, c *client.Client, e client.Event) error {
	if failed, ok := e.(client.Failed); ok {
		p.failed(s, failed)
		return nil
	}
	l := s.line // no other goroutine sets it
	if closed, ok := e.(client.Closed); ok {
		if errors.Is(closed.Err, client.ErrMoving) {
			return nil
		}
		if l != nil {
			l.end()
			p.ended(s)
			close(l.over)
		}
		return nil
	}
	if l == nil {
		l = &line{pool: p, slot: s, ledger: newLedger(p.ledger), began: time.Now(), over: make(chan struct{})}
		l.client.Store(c)
		p.mu.Lock()
		s.line = l
		p.mu.Unlock()
	}
	return l.event(e)
}

// failed tells that a connection could not be made, or has ended.
func (p *Pool) failed(s *slot, e client.Failed) {
	p.mu.Lock()
	first := len(p.slots) > 0 && p.slots[0] == s
	if first {
		p.reason, p.err, p.retry = Reason(p.name, e.Err), e.Err, e.Retry
	}
	works, lost := p.works(), s.lost
	s.lost = false
	untried := !p.tried
	p.tried = true
	p.mu.Unlock()
	if untried && p.options.Changed != nil {
		p.options.Changed()
	}
	level := event.Warning
	what := "gives no work"
	var op *net.OpError
	switch {
	case works:
		level, what = event.Notice, "has lost a connection"
	case lost:
		what = "is lost"
	case errors.As(e.Err, &op) && op.Op == "dial":
		what = "cannot be reached"
	}
	p.report(level, fmt.Sprintf("Upstream %s %s: %s; again in %v", p.name, what, Reason(p.name, e.Err), e.Retry.Round(time.Second)))
	p.look()
}

// Reason is why something failed at an address, as host:port, which it does not repeat.
func Reason(address string, err error) string {
	text := err.Error()
	var op *net.OpError
	if !errors.As(err, &op) || op.Err == nil {
		return text
	}
	reason := op.Err.Error()
	var call *os.SyscallError
	switch {
	case op.Op != "dial" && errors.As(op.Err, &call): // what was done stands before it
		reason = call.Err.Error()
	case op.Op == "dial" && op.Addr != nil && op.Addr.String() != address:
		reason = op.Addr.String() + ": " + reason
	}
	return strings.Replace(text, op.Error(), reason, 1)
}

// ended notes that a slot has no connection any more.
func (p *Pool) ended(s *slot) {
	p.mu.Lock()
	s.lost = s.works
	s.line, s.works, s.told, s.source, s.full = nil, false, false, 0, time.Time{}
	if s.sessions > 0 {
		s.sessions, s.idle = 0, time.Now()
	}
	p.mu.Unlock()
	p.tell()
}

// renumbered notes that a line is another source.
func (p *Pool) renumbered(l *line, number uint32, shape source.Shape, works bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := l.slot
	s.source, s.shape, s.works, s.told, s.sessions, s.idle, s.full = number, shape, works, false, 0, time.Now(), time.Time{}
}

// working notes that a line has a new job. Its mu is held.
func (p *Pool) working(l *line) {
	p.mu.Lock()
	s := l.slot
	first := !s.told
	s.works, s.told, s.asked, s.mask = true, true, false, l.newest.notify.VersionMask
	p.mu.Unlock()
	if first {
		rolling := "no version rolling"
		if mask := l.newest.notify.VersionMask; mask != 0 {
			rolling = fmt.Sprintf("version mask %08x", mask)
		}
		p.report(event.Notice, fmt.Sprintf("Upstream %s gives work: difficulty %g, extranonce1 of %d bytes and extranonce2 of %d, %s",
			p.name, l.newest.announced, len(l.extranonce.Extranonce1), l.extranonce.Extranonce2Len, rolling))
		p.look()
		p.tell()
	}
}

// sameWork tells that another connection has the work of a job, bytes of extranonce2
// aside. The pool has one connection from then on.
func (p *Pool) sameWork(l *line, n *client.Notify) bool {
	p.mu.Lock()
	var others []*line
	for _, s := range p.slots {
		if s.line != nil && s.line != l && s.works {
			others = append(others, s.line)
		}
	}
	p.mu.Unlock()
	for _, other := range others {
		if !other.mu.TryLock() { // it has work of its own just now: the next job will tell
			continue
		}
		same := other.newest != nil && other.newest.notify.PrevHash == n.PrevHash &&
			bytes.Equal(other.newest.notify.Extranonce.Extranonce1, n.Extranonce.Extranonce1) &&
			bytes.Equal(other.newest.notify.Coinb1, n.Coinb1) && bytes.Equal(other.newest.notify.Coinb2, n.Coinb2)
		other.mu.Unlock()
		if same {
			p.mu.Lock()
			p.single = true
			p.mu.Unlock()
			p.look()
			return true
		}
	}
	return false
}

// works tells that some connection has a job. p.mu is held.
func (p *Pool) works() bool {
	return slices.ContainsFunc(p.slots, func(s *slot) bool { return s.works })
}

// connected tells that there is some connection.
func (p *Pool) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.slots, func(s *slot) bool { return s.line != nil })
}

// tell tells Changed if it has.
func (p *Pool) tell() {
	p.mu.Lock()
	up := p.works()
	changed := up != p.up
	p.up, p.tried = up, p.tried || up
	p.mu.Unlock()
	if changed && p.options.Changed != nil {
		p.options.Changed()
	}
}

func (p *Pool) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// tend retires connections that nobody needs, and says how many are missing.
func (p *Pool) tend(now time.Time) (missing int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.suspended {
		return 0
	}
	free, connecting, ahead := 0, 0, 1
	for _, s := range p.slots {
		switch {
		case !s.works:
			connecting++
		case now.After(s.full):
			free += capacity(s.shape) - s.sessions
			ahead = max(ahead, min(capacity(s.shape)/16, 64))
		}
	}
	wanted := p.wanted
	p.wanted = 0
	most := p.config.MaxLines
	if p.single {
		most = 1
	}
	kept := p.slots[:0]
	for i, s := range p.slots {
		room := 0
		if s.works && now.After(s.full) {
			room = capacity(s.shape) - s.sessions
		}
		spare := s.sessions == 0 && i > 0 && free-room >= ahead+wanted
		if i > 0 && i >= most && s.sessions == 0 || spare && !s.asked && (!s.works || now.Sub(s.idle) >= retireAfter) {
			s.cancel()
			free -= room
			if !s.works {
				connecting--
			}
			continue
		}
		kept = append(kept, s)
	}
	clear(p.slots[len(kept):])
	p.slots = kept
	if connecting > 0 || len(p.slots) >= most || free >= ahead+wanted {
		return 0
	}
	return 1
}

// Place is a source with room for one more session. One that rolls some of the version
// bits of mask needs a source of which it may roll one of them; with 0 any will do.
func (p *Pool) Place(mask uint32) (number uint32, ok bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.works && (mask == 0 || mask&s.mask != 0) && s.sessions < capacity(s.shape) && now.After(s.full) {
			return s.source, true
		}
	}
	p.wanted++
	p.look()
	return 0, false
}

// Opened tells that a session gets work from a source.
func (p *Pool) Opened(number uint32) {
	p.count(number, func(s *slot) { s.sessions++ })
	p.look()
}

// Closed tells that a session no longer does.
func (p *Pool) Closed(number uint32) {
	p.count(number, func(s *slot) {
		if s.sessions--; s.sessions <= 0 {
			s.sessions, s.idle = 0, time.Now()
		}
	})
}

// Full tells that a source had no extranonce1 left for a session.
func (p *Pool) Full(number uint32) {
	p.count(number, func(s *slot) { s.full = time.Now().Add(fullFor) })
	p.look()
}

func (p *Pool) count(number uint32, change func(*slot)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.source == number && number != 0 {
			change(s)
			return
		}
	}
}

// Has tells that a source is one of the pool's connections.
func (p *Pool) Has(number uint32) bool {
	found := false
	p.count(number, func(*slot) { found = true })
	return found
}

// endLines ends all connections for a reason; they are made again.
func (p *Pool) endLines(reason error) {
	p.mu.Lock()
	var lines []*line
	for _, s := range p.slots {
		if s.line != nil {
			lines = append(lines, s.line)
		}
	}
	p.mu.Unlock()
	for _, l := range lines {
		l.client.Load().End(reason)
	}
}

// Up tells that there is work: a connection is authorized and has a job.
func (p *Pool) Up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.works()
}

// Tried tells that there was work since Run was called, or that an attempt has failed.
func (p *Pool) Tried() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tried
}

// Err is why the pool has no work, as far as connections were made or tried: a
// client.RefusedError where it does not know the user; nil while there is work.
func (p *Pool) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.works() {
		return nil
	}
	return p.err
}

// Config is how the pool was configured.
func (p *Pool) Config() Config { return p.config }

// Status is how the pool does; Current is left to who chooses.
func (p *Pool) Status() source.Status {
	s := source.Status{URL: p.name, State: "ok", Height: -1, Latency: p.ledger.figures().Latency}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.works() {
		s.State, s.Reason = "no work", p.reason
		if len(p.slots) > 0 && p.slots[0].line != nil {
			s.Reason = "connected, no job yet"
		}
	}
	return s
}

// Figures are what became of shares, over all connections there were.
func (p *Pool) Figures() Figures { return p.ledger.figures() }

// Lines is how each connection does.
func (p *Pool) Lines() []LineStatus {
	p.mu.Lock()
	slots := slices.Clone(p.slots)
	lines := make([]*line, len(slots))
	list := make([]LineStatus, len(slots))
	for i, s := range slots {
		lines[i], list[i] = s.line, LineStatus{ID: s.id, Works: s.works, Sessions: s.sessions}
	}
	p.mu.Unlock()
	for i, l := range lines {
		if l != nil {
			l.status(&list[i])
		}
	}
	return list
}

// saying keeps the log of one pool, or of all, short: a few lines at once, and one a
// minute.
type saying struct {
	lines  float64 // that may be written
	at     time.Time
	unsaid int
}

const mostLines = 5

func newSaying() saying { return saying{lines: mostLines, at: time.Now()} }

// report tells an event, if there were not too many.
func (p *Pool) report(level event.Level, text string) {
	p.mu.Lock()
	text, ok := p.saying.line(text, time.Now())
	p.mu.Unlock()
	if ok {
		p.options.Events.Say(level, text)
	}
}

// quote tells what the pool says to people. However much that is, it leaves room for what
// there is to say of the pool.
func (p *Pool) quote(text string) {
	p.mu.Lock()
	text, ok := p.quoting.line(fmt.Sprintf("%s says: %q", p.name, text), time.Now())
	p.mu.Unlock()
	if ok {
		p.options.Events.Say(event.Notice, text)
	}
}

// line is a line as it is to be written, if there were not too many.
func (s *saying) line(text string, now time.Time) (string, bool) {
	s.lines = min(s.lines+now.Sub(s.at).Minutes(), mostLines)
	s.at = now
	if s.lines < 1 {
		s.unsaid++
		return "", false
	}
	s.lines--
	if s.unsaid > 0 {
		text += fmt.Sprintf(" (%d lines about it were left out)", s.unsaid)
		s.unsaid = 0
	}
	return strings.TrimSpace(text), true
}
