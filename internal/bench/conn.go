package bench

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/stratum"
)

type state uint8

const (
	absent      state = iota // has no socket
	unopened                 // has a socket
	opening                  // connect is under way
	shaking                  // TLS handshake
	subscribing              // waiting for the reply
	authorizing
	waiting // for work
	ready
	dead
)

// The ids of requests; shares count up from the last.
const (
	subscribeID = 1
	authorizeID = 2
	firstShare  = 16
)

// conn is one simulated miner, owned by its loop.
type conn struct {
	fd      int32
	slot    int32 // in the loop
	number  int   // of the miner, in the engine
	state   state
	submits bool

	tls     *secured // nil without TLS
	partial []byte   // of a line not yet complete
	unsent  []byte

	extranonce     stratum.Extranonce
	nextExtranonce *stratum.Extranonce // for the jobs that follow
	announced      float64             // difficulty, for the jobs that follow
	judged         float64             // difficulty of the job
	target         difficulty.Target
	job            *stratum.Notify
	round          int32 // of the last clean work
	jobs           int32 // received
	worker         string

	search      miner.Search
	searched    *stratum.Notify // job of the search
	extranonce2 []byte          // of the search
	counter     uint64          // of extranonce2
	jobChanged  bool            // a new search is to begin
	searching   bool            // is on the loop's list

	nextID      uint64
	stamped     uint64 // shares with lower ids have their time
	outstanding int
	owed        []owed // by id modulo length

	openedAt, readyAt time.Duration
}

// owed is a share without a reply; id 0 is none.
type owed struct {
	id   uint64
	sent time.Duration
	hash [32]byte // where answers are told
}

// addressMiners come from one address of 127.0.0.0/8: it has not ports for all.
const addressMiners = 20_000

const readEvents = unix.EPOLLIN | unix.EPOLLRDHUP

// socket makes the socket of c: before the measurement, which is of the pool.
func (c *conn) socket(to netip.AddrPort) error {
	family, _ := sockaddr(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.fd, c.state = int32(fd), unopened
	// The latter ends it without TIME_WAIT, which would spoil the next run.
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err == nil {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err != nil {
		return fmt.Errorf("socket options: %w", err)
	}
	if c.number < addressMiners || !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return nil
	}
	// The port is chosen when it connects: only then is it known to be free
	// for this target.
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + c.number/addressMiners)}}
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err == nil {
		err = unix.Bind(fd, from)
	}
	if err != nil {
		return fmt.Errorf("miner %d from %v: %w", c.number, from.Addr, err)
	}
	return nil
}

// connect opens the connection in a slot of the loop.
func (l *loop) connect(c *conn, slot int32) {
	c.slot, c.openedAt, c.state = slot, l.engine.now(), opening
	_, to := sockaddr(l.engine.target)
	err := unix.Connect(int(c.fd), to)
	connected := err == nil
	events := uint32(readEvents)
	if err == unix.EINPROGRESS {
		events |= unix.EPOLLOUT
		err = nil
	}
	if err == nil {
		err = l.poller.Control(unix.EPOLL_CTL_ADD, int(c.fd), events, slot, 0)
	}
	switch {
	case err != nil:
		l.drop(c, "connect: "+err.Error())
	case connected:
		l.begin(c)
	}
}

func sockaddr(a netip.AddrPort) (family int, to unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// opened is called when the connect under way has ended.
func (l *loop) opened(c *conn) bool {
	code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		l.drop(c, "connect: "+err.Error())
		return false
	}
	l.watch(c, false)
	l.begin(c)
	return c.state != dead
}

// watch has epoll tell when c can be read and, if it is to, written.
func (l *loop) watch(c *conn, write bool) {
	events := uint32(readEvents)
	if write {
		events |= unix.EPOLLOUT
	}
	if err := l.poller.Control(unix.EPOLL_CTL_MOD, int(c.fd), events, c.slot, 0); err != nil {
		l.drop(c, err.Error())
	}
}

func (l *loop) subscribe(c *conn) {
	c.state = subscribing
	l.out = stratum.AppendSubscribe(l.out, strconv.AppendInt(nil, subscribeID, 10), "ckbench", "")
	l.flush(c)
}

// line handles one line from the pool.
func (l *loop) line(c *conn, line []byte, now time.Duration) {
	// A broadcast: as long as lines get, and the same for all.
	if l.known != nil && (l.known != &l.unread || !c.submits) && bytes.Equal(line, l.knownLine) {
		l.notified(c, l.known, now)
		return
	}
	var m stratum.Message
	if stratum.Scan(line, &m) != stratum.Object {
		return
	}
	if !m.MethodPresent {
		l.reply(c, &m, now)
		return
	}
	switch string(m.Method) {
	case "mining.notify":
		n := &l.unread
		if c.submits {
			n = new(stratum.Notify)
		}
		if err := n.Parse(m.Params); err != nil {
			l.drop(c, "bad work: "+err.Error())
			return
		}
		l.known, l.knownLine = n, append(l.knownLine[:0], line...)
		l.notified(c, n, now)
	case "mining.set_difficulty":
		d, err := stratum.ParseDifficulty(m.Params)
		if err != nil {
			l.drop(c, "bad difficulty: "+err.Error())
			return
		}
		c.announced = d
	case "mining.set_extranonce":
		if e, err := stratum.ParseExtranonce(m.Params); err == nil {
			c.nextExtranonce = &e
		}
	}
}

func (l *loop) notified(c *conn, n *stratum.Notify, now time.Duration) {
	l.totals.Notifies++
	c.jobs++
	c.job, c.jobChanged = n, true
	if c.nextExtranonce != nil {
		c.extranonce, c.nextExtranonce = *c.nextExtranonce, nil
	}
	if c.announced == 0 {
		c.announced = 1
	}
	if c.announced != c.judged {
		c.judged = c.announced
		c.target = difficulty.TargetFromDifficulty(c.judged)
	}
	if c.state == waiting {
		l.nowReady(c, now)
	}
	if n.Clean && c.round != l.round {
		c.round = l.round
		l.mu.Lock()
		l.arrivals = append(l.arrivals, now)
		l.mu.Unlock()
	}
}

func (l *loop) nowReady(c *conn, now time.Duration) {
	c.state, c.readyAt = ready, now
	c.round = l.round
	l.handshakes--
	l.engine.ready.Add(1)
}

func (l *loop) reply(c *conn, m *stratum.Message, now time.Duration) {
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	switch {
	case err != nil:
		l.totals.Unmatched++
	case id == subscribeID && c.state == subscribing:
		l.subscribed(c, m)
	case id == authorizeID && c.state == authorizing:
		l.authorized(c, m, now)
	default:
		l.verdict(c, id, m, now)
	}
}

func (l *loop) subscribed(c *conn, m *stratum.Message) {
	e, err := stratum.ParseSubscribeResult(m.Result)
	if err != nil {
		reason := err.Error()
		if m.HasError() {
			reason = m.Verdict().String()
		}
		l.drop(c, "subscribe refused: "+reason)
		return
	}
	c.extranonce, c.state = e, authorizing
	c.worker = l.engine.opts.worker(c.number)
	l.out = stratum.AppendAuthorize(l.out, strconv.AppendInt(nil, authorizeID, 10), c.worker, l.engine.opts.Password)
}

func (l *loop) authorized(c *conn, m *stratum.Message, now time.Duration) {
	if r := m.Verdict(); r != nil {
		l.drop(c, "authorize refused: "+r.String())
		return
	}
	c.state = waiting
	if c.job != nil {
		l.nowReady(c, now)
	}
}
