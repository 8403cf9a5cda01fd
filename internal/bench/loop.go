package bench

import (
	"bytes"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/epoll"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/stratum"
)

const (
	maxHandshakes  = 512                   // connections of a loop between connect and work
	connectsAtOnce = 32                    // before the loop looks at its sockets again
	longestPark    = 20 * time.Millisecond // until the loop looks at the engine's goal
	maxOwed        = 64                    // replies a miner of a rate may be owed
	triesAtOnce    = 1024                  // hashes before the loop looks at its sockets again
	bufferSize     = 64 << 10
)

// loop is one event loop. All of it is owned by its goroutine but what is atomic and
// what mu guards.
type loop struct {
	engine *engine
	index  int
	poller *epoll.Poller
	conns  []conn
	totals totals

	in     []byte // one read
	out    []byte // lines to the connection being served
	plain  []byte // one decrypted record; nil before the first
	sealed []byte // out as TLS records
	hasher *miner.Hasher

	unopened   int // conns[unopened:] are not yet connected
	handshakes int // connections under way
	started    bool
	searching  []int32 // slots of miners whose next share is not yet found
	round      int32
	turn       int           // whose share of the rate is next
	due        time.Duration // when

	quota     int64  // shares to submit in all
	owed      int64  // replies the pool owes
	knownLine []byte // of the newest notify
	known     *stratum.Notify
	unread    stratum.Notify // of a miner that submits nothing and so does not keep it

	spent   atomic.Bool  // the quota is submitted
	drained atomic.Bool  // nothing is submitted any more, nothing owed
	slowest atomic.Int64 // latency in ns since it was asked for

	mu       sync.Mutex
	arrivals []time.Duration // guarded by mu: clean work of this round
}

func newLoop(e *engine, index int) (*loop, error) {
	p, err := epoll.New()
	if err != nil {
		return nil, err
	}
	l := &loop{engine: e, index: index, poller: p, in: make([]byte, bufferSize), hasher: miner.NewHasher(),
		quota:  math.MaxInt64,
		totals: totals{Rejects: map[string]int64{}, Drops: map[string]int64{}}}
	if all := e.plan.shares; all > 0 {
		l.quota = (all + int64(e.opts.Loops-1-index)) / int64(e.opts.Loops)
	}
	for i := index; i < e.connections(); i += e.opts.Loops {
		l.conns = append(l.conns, conn{number: i, submits: i < e.plan.miners})
	}
	for i := range l.conns {
		if err := l.conns[i].socket(e.target); err != nil {
			l.end()
			return nil, err
		}
	}
	return l, nil
}

func (l *loop) run() {
	defer l.end()
	for !l.engine.stop.Load() {
		l.open()
		park := l.step()
		if l.unopened < len(l.conns) && l.handshakes < maxHandshakes {
			park = 0
		}
		if err := l.wait(park); err != nil {
			l.engine.failed <- fmt.Errorf("load client: %w", err)
			return
		}
		l.round = l.engine.round.Load()
		for _, ev := range l.poller.Events {
			l.serve(&l.conns[ev.Fd], ev.Events)
		}
		l.drained.Store(l.owed == 0 && l.engine.goal.Load() == draining)
	}
}

// wait fetches events and waits for one for at most the given time.
func (l *loop) wait(most time.Duration) error {
	if err := l.poller.Wait(false); err != nil || len(l.poller.Events) > 0 || most <= 0 {
		return err
	}
	if err := l.poller.Until(time.Now().Add(most)); err != nil {
		return err
	}
	return l.poller.Wait(true)
}

// end closes all sockets.
func (l *loop) end() {
	for i := range l.conns {
		if c := &l.conns[i]; c.state != absent && c.state != dead {
			c.close()
		}
	}
	l.poller.Close()
}

// open connects a few more, but leaves the pool's accept queue room.
func (l *loop) open() {
	for range connectsAtOnce {
		if l.unopened == len(l.conns) || l.handshakes >= maxHandshakes {
			return
		}
		c := &l.conns[l.unopened]
		l.handshakes++
		l.unopened++
		l.connect(c, int32(l.unopened-1))
	}
}

// step does what is due by the clock and returns how long the loop may wait.
func (l *loop) step() time.Duration {
	if l.engine.goal.Load() != submitting {
		return longestPark
	}
	if !l.started {
		l.started = true
		l.due = l.engine.now()
		for i := range l.conns {
			l.refill(&l.conns[i])
			l.flush(&l.conns[i])
		}
	}
	wait := longestPark
	if l.engine.plan.every > 0 {
		wait = min(wait, l.pace())
	}
	l.search()
	if len(l.searching) > 0 {
		return 0
	}
	return wait
}

// search goes on with one of the shares that are not yet found, so that replies
// do not wait for the others.
func (l *loop) search() {
	if len(l.searching) == 0 {
		return
	}
	c := &l.conns[l.searching[0]]
	l.searching = append(l.searching[:0], l.searching[1:]...)
	c.searching = false
	if l.submit(c) {
		l.refill(c)
	}
	l.flush(c)
}

// pace sends the shares that the rate says are due and returns when the next
// one is.
func (l *loop) pace() time.Duration {
	every := l.engine.plan.every * time.Duration(l.engine.opts.Loops)
	now := l.engine.now()
	if now-l.due > time.Second {
		l.due = now // a stall of this machine is not made up for
	}
	for ; l.due <= now; l.due += every {
		c := l.nextMiner()
		if c == nil {
			return longestPark
		}
		if c.outstanding >= maxOwed || c.searching {
			l.totals.Late++
			continue
		}
		l.submit(c)
		l.flush(c)
	}
	return l.due - now
}

// nextMiner goes around the miners that have work.
func (l *loop) nextMiner() *conn {
	for range l.conns {
		l.turn = (l.turn + 1) % len(l.conns)
		if c := &l.conns[l.turn]; c.submits && c.state == ready {
			return c
		}
	}
	return nil
}

// serve handles what epoll says of a connection.
func (l *loop) serve(c *conn, events uint32) {
	if c.state == dead {
		return
	}
	if c.state == opening {
		if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
			return
		}
		if !l.opened(c) {
			return
		}
	}
	if events&unix.EPOLLOUT != 0 && len(c.unsent) > 0 {
		l.flush(c)
	}
	if c.state == shaking {
		l.shaken(c)
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 && c.state != dead {
		l.read(c)
	}
}

// read takes all lines that are there and answers them in one write.
func (l *loop) read(c *conn) {
	for {
		n, errno := epoll.Receive(c.fd, l.in)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			l.refill(c)
			l.flush(c)
			return
		case errno != 0:
			l.drop(c, errno.Error())
			return
		case n == 0:
			l.drop(c, "closed by the pool")
			return
		}
		if c.tls == nil && !l.lines(c, l.in[:n]) || c.tls != nil && !c.decrypt(l, l.in[:n]) {
			return
		}
		if n < len(l.in) {
			l.refill(c)
			l.flush(c)
			return
		}
	}
}

// lines handles the lines that data completes, false when the connection is
// lost.
func (l *loop) lines(c *conn, data []byte) bool {
	now := l.engine.now()
	if len(c.partial) > 0 {
		c.partial = append(c.partial, data...)
		data = c.partial
	}
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			break
		}
		l.line(c, data[:i], now)
		if c.state == dead {
			return false
		}
		data = data[i+1:]
	}
	if len(data) > 0 {
		c.partial = append(c.partial[:0], data...)
	} else {
		c.partial = nil
	}
	return true
}

// flush writes what has been put together for c, and notes the time of its
// shares.
func (l *loop) flush(c *conn) {
	if len(l.out) == 0 && len(c.unsent) == 0 {
		return
	}
	if c.stamped < c.nextID {
		for now := l.engine.now(); c.stamped < c.nextID; c.stamped++ {
			c.owed[c.stamped%uint64(len(c.owed))].sent = now
		}
	}
	data := l.out
	if c.tls != nil {
		l.sealed = c.tls.Seal(l.sealed[:0], l.out)
		data = l.sealed
	}
	if len(c.unsent) > 0 {
		c.unsent = append(c.unsent, data...)
		data = c.unsent
	}
	l.out = l.out[:0]
	waiting := len(c.unsent) > 0
	for len(data) > 0 {
		n, errno := epoll.Send(c.fd, data)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 {
			l.drop(c, errno.Error())
			return
		}
		data = data[n:]
	}
	c.unsent = append(c.unsent[:0], data...)
	if waits := len(data) > 0; waits != waiting {
		l.watch(c, waits)
	}
}

func (l *loop) drop(c *conn, why string) {
	if c.state == dead {
		return
	}
	c.close()
	if c.state != ready {
		l.handshakes--
	} else {
		l.engine.ready.Add(-1)
	}
	c.state = dead
	l.owed -= int64(c.outstanding)
	l.out = l.out[:0]
	l.totals.Drops[why]++
	l.engine.dead.Add(1)
}
