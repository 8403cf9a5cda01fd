package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// MaxVirtual is how many miners there may be behind links.
const MaxVirtual = 4_000_000

// LinksConfig is a run of Links.
type LinksConfig struct {
	Options          // Miners are all of them together
	Links    int     // that they come over
	Rate     float64 // shares a second, of miners by chance
	Duration time.Duration
	Block    Trigger // nil: no new block
	Rounds   int     // of it
}

// LinksReport is what Links measured.
type LinksReport struct {
	Mode       string           `json:"mode"`
	Links      int              `json:"links"`
	Miners     int              `json:"miners"`
	Authorised float64          `json:"authorised_s"` // until all were
	Accepted   int64            `json:"accepted"`
	Rejects    map[string]int64 `json:"rejects"`
	Unanswered int64            `json:"unanswered"`
	Latency    Latency          `json:"latency"`
	Rounds     []LinksRound     `json:"rounds"`
	Lost       int              `json:"links_lost"`
	Closed     int64            `json:"miners_closed"`
	Server     *Process         `json:"server,omitempty"`
	PerMiner   float64          `json:"rss_per_miner,omitempty"`
}

// LinksRound is how a new block came, in milliseconds since it was asked for.
type LinksRound struct {
	Asked float64 `json:"block_made_ms"`
	Links float64 `json:"links_ms"` // until every link had the job
	Last  float64 `json:"last_ms"`  // until every miner had
}

// shareDifficulty is what almost every hash meets.
const shareDifficulty = 1e-9

// Links brings miners over links, as a passthrough does, and measures what they cost the
// pool, how soon shares of some of them are answered, and how soon all have new work.
func Links(ctx context.Context, c LinksConfig) (*LinksReport, error) {
	if c.Links < 1 || c.Links > 1000 || c.Miners < c.Links || c.Miners > MaxVirtual {
		return nil, fmt.Errorf("%d miners over %d links: must be at least one each, %d in all, over 1,000 links", c.Miners, c.Links, MaxVirtual)
	}
	if err := checkDuration("duration", c.Duration); err != nil {
		return nil, err
	}
	all := c.Miners
	c.Miners = c.Links
	to, err := c.resolve(ctx, c.Links)
	if err != nil {
		return nil, err
	}
	c.Miners = all
	m, err := newMeter(c.Pid)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &fleet{config: &c}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	began := time.Now()
	for i := range c.Links {
		l, err := f.link(ctx, to, i)
		if err != nil {
			return nil, err
		}
		defer l.conn.Close()
		f.links = append(f.links, l)
		running.Go(func() { l.lost(l.read()) })
		running.Go(func() { l.begin(ctx) })
	}
	if err := f.await(ctx, c.Ready, "all miners authorised", func() bool { return f.sum(func(l *virtual) int64 { return l.authorised.Load() }) == int64(all) }); err != nil {
		return nil, fmt.Errorf("%w; %d of %d are", err, f.sum(func(l *virtual) int64 { return l.authorised.Load() }), all)
	}
	r := &LinksReport{Mode: "links", Links: c.Links, Miners: all, Authorised: time.Since(began).Seconds()}
	if err := f.await(ctx, c.Ready, "all miners with work", f.allHave(0)); err != nil {
		return nil, err
	}
	if err := m.begin(); err != nil {
		return nil, err
	}
	if c.Rate > 0 {
		f.shares(ctx)
	}
	for range c.Rounds {
		if c.Block == nil {
			break
		}
		round, err := f.block(ctx)
		if err != nil {
			return nil, err
		}
		r.Rounds = append(r.Rounds, round)
	}
	if r.Server, err = m.end(); err != nil {
		return nil, err
	}
	if r.Server != nil {
		r.PerMiner = float64(r.Server.RSSAfter-r.Server.RSSBefore) / float64(all)
	}
	var latencies histogram
	r.Rejects = map[string]int64{}
	for _, l := range f.links {
		l.mu.Lock()
		latencies.merge(&l.latency)
		r.Accepted += l.accepted
		r.Unanswered += int64(len(l.waiting))
		r.Closed += l.closed
		for text, n := range l.rejects {
			r.Rejects[text] += n
		}
		if l.err != nil {
			r.Lost++
		}
		l.mu.Unlock()
	}
	r.Latency = latencies.latency()
	return r, nil
}

// fleet is all links.
type fleet struct {
	config *LinksConfig
	links  []*virtual
}

func (f *fleet) sum(of func(l *virtual) int64) (n int64) {
	for _, l := range f.links {
		n += of(l)
	}
	return n
}

// await looks now and then until something is so.
func (f *fleet) await(ctx context.Context, within time.Duration, what string, is func() bool) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		for _, l := range f.links {
			if err := l.failure(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("%s: not within %v", what, within)
		case <-tick.C:
		}
	}
	return nil
}

// allHave tells whether every miner has the newest job of its link, which is number after
// or a later one.
func (f *fleet) allHave(after int64) func() bool {
	return func() bool {
		for _, l := range f.links {
			if l.jobs.Load() <= after || l.have.Load() < int64(l.n) {
				return false
			}
		}
		return true
	}
}

// block has the node make a block and waits until all have work on it.
func (f *fleet) block(ctx context.Context) (r LinksRound, err error) {
	before := make([]int64, len(f.links))
	for i, l := range f.links {
		before[i] = l.cleans.Load()
	}
	began := time.Now()
	if err := f.config.Block(ctx); err != nil {
		return r, fmt.Errorf("new block: %w", err)
	}
	r.Asked = milliseconds(time.Since(began))
	if err := f.await(ctx, roundTimeout, "every link with the new job", func() bool {
		for i, l := range f.links {
			if l.cleans.Load() <= before[i] {
				return false
			}
		}
		return true
	}); err != nil {
		return r, err
	}
	var last int64
	for _, l := range f.links {
		last = max(last, l.cleanAt.Load())
	}
	r.Links = milliseconds(time.Unix(0, last).Sub(began))
	if err := f.await(ctx, roundTimeout, "every miner with the new job", f.allHave(0)); err != nil {
		return r, err
	}
	for _, l := range f.links {
		last = max(last, l.haveAt.Load())
	}
	r.Last = milliseconds(time.Unix(0, last).Sub(began))
	return r, nil
}

// shares submits shares of miners by chance for a while.
func (f *fleet) shares(ctx context.Context) {
	var running sync.WaitGroup
	for _, l := range f.links {
		running.Go(func() { l.submit(ctx, f.config.Rate/float64(len(f.links)), f.config.Duration) })
	}
	running.Wait()
	_ = f.await(ctx, 5*time.Second, "answers", func() bool { // what is missing is reported
		return f.sum(func(l *virtual) int64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return int64(len(l.waiting))
		}) == 0
	})
}

// virtual is one link with its miners, whose channels are 1 to n.
type virtual struct {
	fleet *fleet
	index int
	conn  net.Conn
	in    *bufio.Reader
	n     int

	authorised atomic.Int64
	jobs       atomic.Int64 // lines that were defined
	cleans     atomic.Int64 // of them those that void all before
	cleanAt    atomic.Int64 // when the last came, unix nanoseconds
	have       atomic.Int64 // miners that have the newest
	haveAt     atomic.Int64

	extranonce1 []uint64 // by channel, as a big-endian number; written by read before authorised counts
	length      int      // of extranonce1, likewise
	room        chan struct{}

	mu       sync.Mutex
	out      *bufio.Writer
	job      *stratum.Notify      // newest
	waiting  map[uint64]time.Time // by channel and id
	latency  histogram
	accepted int64
	closed   int64
	rejects  map[string]int64
	err      error
}

// window is how many miners of a link may be between their opening and their login.
const window = 2000

func (f *fleet) link(ctx context.Context, to netip.AddrPort, index int) (*virtual, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	n := f.config.Miners / f.config.Links
	if index < f.config.Miners%f.config.Links {
		n++
	}
	l := &virtual{
		fleet: f, index: index, conn: conn, n: n, in: bufio.NewReaderSize(conn, 1<<20), out: bufio.NewWriterSize(conn, 64<<10),
		extranonce1: make([]uint64, n+1), room: make(chan struct{}, window), waiting: map[uint64]time.Time{}, rejects: map[string]int64{},
	}
	hello := poolproto.Hello{Role: poolproto.Passthrough, Program: "ckbench", Dialect: poolproto.Dialect}
	if _, err := conn.Write(poolproto.AppendHello(nil, &hello)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	line, err := l.in.ReadSlice('\n')
	if err == nil {
		var a poolproto.Answer
		if a, err = poolproto.ParseAnswer(line); err == nil && (!a.Accepted || a.Dialect != poolproto.Dialect) {
			err = fmt.Errorf("the pool gives no such link: %s", line)
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

func (l *virtual) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// lost notes why the link has ended.
func (l *virtual) lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("link %d: %w", l.index, err)
	}
}

// number tells a miner from those of all links.
func (l *virtual) number(channel int) int {
	return l.index*(l.fleet.config.Miners/l.fleet.config.Links+1) + channel
}

// worker is a miner's name. No user has more workers than people do.
func (l *virtual) worker(channel int) string {
	return fmt.Sprintf("%s%d.%d", l.fleet.config.User, l.number(channel)/1000, l.number(channel)%1000)
}

// begin opens all miners and logs them in.
func (l *virtual) begin(ctx context.Context) {
	var b []byte
	line := func(channel uint32, text []byte) {
		b = poolproto.AppendFrame(b, &poolproto.Frame{Kind: poolproto.Line, Channel: channel, Text: text[:len(text)-1]})
	}
	subscribe := stratum.AppendSubscribe(nil, []byte("1"), "ckbench/1", "")
	for i := 1; i <= l.n; i++ {
		select {
		case l.room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		number := l.number(i)
		b = poolproto.AppendFrame(b[:0], &poolproto.Frame{
			Kind: poolproto.Open, Channel: uint32(i), Address: netip.AddrFrom4([4]byte{127, byte(number >> 16), byte(number >> 8), byte(number)}),
		})
		line(uint32(i), subscribe)
		line(uint32(i), stratum.AppendAuthorize(nil, []byte("2"), l.worker(i), fmt.Sprintf("d=%g", shareDifficulty)))
		l.mu.Lock()
		_, err := l.out.Write(b)
		if err == nil && (len(l.room) >= window/2 || i == l.n) {
			err = l.out.Flush()
		}
		l.mu.Unlock()
		if err != nil {
			l.lost(err)
			return
		}
	}
}

// read handles what the pool says until the link ends.
func (l *virtual) read() error {
	var long []byte
	for {
		line, err := l.in.ReadSlice('\n')
		long = long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, line...)
			line, err = l.in.ReadSlice('\n')
		}
		if err != nil {
			return err
		}
		if len(long) > 0 {
			line = append(long, line...)
			long = line
		}
		f, err := poolproto.ParseFrame(line[:len(line)-1])
		if err != nil {
			return err
		}
		if err := l.frame(&f); err != nil {
			return err
		}
	}
}

func (l *virtual) frame(f *poolproto.Frame) error {
	switch f.Kind {
	case poolproto.Define:
		return l.defined(f.Text)
	case poolproto.Send:
		n := int64(0)
		for first, last := range poolproto.Channels(f.Text) {
			n += int64(last-first) + 1
		}
		l.haveAt.Store(time.Now().UnixNano())
		l.have.Add(n)
	case poolproto.Line:
		return l.line(f.Channel, f.Text)
	case poolproto.Close:
		l.mu.Lock()
		l.closed++
		l.mu.Unlock()
	case poolproto.Ping:
		l.mu.Lock()
		defer l.mu.Unlock()
		_, err := l.out.Write(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Pong}))
		return errors.Join(err, l.out.Flush())
	}
	return nil
}

// defined notes a new job.
func (l *virtual) defined(text []byte) error {
	var m stratum.Message
	stratum.Scan(text, &m)
	n := new(stratum.Notify)
	if err := n.Parse(m.Params); err != nil {
		return err
	}
	l.mu.Lock()
	l.job = n
	l.mu.Unlock()
	l.have.Store(0)
	l.jobs.Add(1)
	if n.Clean {
		l.cleanAt.Store(time.Now().UnixNano())
		l.cleans.Add(1)
	}
	return nil
}

// line handles a line for one miner.
func (l *virtual) line(channel uint32, text []byte) error {
	if int(channel) > l.n || channel == 0 {
		return fmt.Errorf("a line for channel %d", channel)
	}
	var m stratum.Message
	stratum.Scan(text, &m)
	switch string(m.ID) {
	case "", "null":
		if string(m.Method) == "mining.notify" { // one that only this miner has, such as its first
			l.haveAt.Store(time.Now().UnixNano())
			l.have.Add(1)
		}
	case "1":
		x, err := stratum.ParseSubscribeResult(m.Result)
		if err != nil {
			return err
		}
		for _, c := range x.Extranonce1 {
			l.extranonce1[channel] = l.extranonce1[channel]<<8 | uint64(c)
		}
		l.length = len(x.Extranonce1)
	case "2":
		if string(m.Result) != "true" {
			return fmt.Errorf("login refused: %s", text)
		}
		<-l.room
		l.authorised.Add(1)
	default:
		id, err := strconv.ParseUint(string(m.ID), 10, 32)
		if err != nil {
			return err
		}
		l.answered(uint64(channel)<<32|id, &m)
	}
	return nil
}

func (l *virtual) answered(key uint64, m *stratum.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent, known := l.waiting[key]
	if !known {
		l.rejects["answers to nothing"]++
		return
	}
	delete(l.waiting, key)
	l.latency.add(time.Since(sent))
	if string(m.Result) == "true" {
		l.accepted++
		return
	}
	l.rejects[string(bytes.Trim(m.RejectReason, `"`))]++
}

// submit sends shares at a rate for a while.
func (l *virtual) submit(ctx context.Context, rate float64, during time.Duration) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	end := time.After(during)
	hasher := miner.NewHasher()
	target := difficulty.TargetFromDifficulty(shareDifficulty)
	random := rand.New(rand.NewPCG(uint64(l.index), 1))
	for id := uint32(10); ; id++ {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-tick.C:
		}
		channel := 1 + random.IntN(l.n)
		x1 := make([]byte, l.length)
		for i, x := l.length-1, l.extranonce1[channel]; i >= 0; i, x = i-1, x>>8 {
			x1[i] = byte(x)
		}
		x2 := make([]byte, 8)
		for i := range 4 {
			x2[i] = byte(id >> (8 * i))
		}
		l.mu.Lock()
		job := l.job
		l.mu.Unlock()
		var s miner.Search
		hasher.Start(&s, job, x1, x2, job.Version)
		if _, found := hasher.Find(&s, &target, 1<<20); !found {
			continue
		}
		share := stratum.AppendSubmit(nil, strconv.AppendUint(nil, uint64(id), 10), l.worker(channel), job.JobID, x2, job.NTime, s.Nonce, 0, false)
		frame := poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Line, Channel: uint32(channel), Text: share[:len(share)-1]})
		l.mu.Lock()
		l.waiting[uint64(channel)<<32|uint64(id)] = time.Now()
		_, err := l.out.Write(frame)
		err = errors.Join(err, l.out.Flush())
		l.mu.Unlock()
		if err != nil {
			l.lost(err)
			return
		}
	}
}

// Failed tells whether a link or a miner was lost, or a share not taken.
func (r *LinksReport) Failed() bool {
	return r.Lost > 0 || r.Closed > 0 || r.Unanswered > 0 || len(r.Rejects) > 0
}

// Print writes the report as a table.
func (r *LinksReport) Print(w io.Writer) error {
	t := table{w: w}
	t.row("miners", "%d over %d links, authorised in %.1f s", r.Miners, r.Links, r.Authorised)
	if r.Latency.Count > 0 {
		t.row("shares", "%d accepted", r.Accepted)
		t.latency("share to answer", r.Latency)
	}
	if len(r.Rounds) > 0 {
		t.row("new block", "in ms since it was asked for: every link had the job, every miner had")
		rounds := slices.Clone(r.Rounds)
		for i, x := range rounds {
			t.row(fmt.Sprintf("round %d", i+1), "%8.2f %8.2f (block made after %.2f)", x.Links, x.Last, x.Asked)
		}
	}
	t.counts("rejected", r.Rejects)
	for _, c := range []count{{"links lost", int64(r.Lost)}, {"miners closed", r.Closed}, {"shares unanswered", r.Unanswered}} {
		if c.n > 0 {
			t.row(c.name, "%d", c.n)
		}
	}
	t.row("pool", "%v", r.Server)
	if r.Server != nil {
		t.row("memory per miner", "%.0f B", r.PerMiner)
	}
	return t.err
}
