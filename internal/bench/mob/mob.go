// Package mob is clients that do harm to a stratum pool, to see that the others
// do not notice: some never read, some read or send a byte a second, some send
// garbage as fast as it goes, some only connect and leave. All of it goes to
// this machine only.
package mob

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config is how many clients do what.
type Config struct {
	Address  string        // of the pool, on this machine
	Deaf     int           // ask and never read
	Sipping  int           // ask and read a byte a second
	Dripping int           // send a byte a second
	Garbage  int           // send garbage at line rate, and come back when they are thrown out
	Churn    int           // connections a second that are opened and closed at once
	Duration time.Duration // 0: until ctx ends
}

// Slow is how many clients may have a backlog in the pool.
func (c *Config) Slow() int { return c.Deaf + c.Sipping }

// The bounds of a run.
const (
	maxClients = 10_000
	maxChurn   = 20_000
)

// Report is what the clients did.
type Report struct {
	Mode     string  `json:"mode"`
	Seconds  float64 `json:"seconds"`
	Asked    int64   `json:"asked"`   // requests of clients that do not read, or hardly
	Garbage  int64   `json:"garbage"` // bytes
	Thrown   int64   `json:"thrown"`  // connections that the pool ended
	Churned  int64   `json:"churned"` // connections opened and closed at once
	Failures int64   `json:"failures"`
	Failure  string  `json:"failure,omitempty"` // the first
}

// mob is the state of a run.
type mob struct {
	Config
	to   unix.Sockaddr
	wg   sync.WaitGroup
	done <-chan struct{}

	asked, garbage, thrown, churned, failures atomic.Int64

	mu      sync.Mutex
	failure string // guarded by mu; the first
}

// Run does harm until the duration is over or ctx ends.
func Run(ctx context.Context, c Config) (*Report, error) {
	to, err := c.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if c.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	began := time.Now()
	m := &mob{Config: c, to: to, done: ctx.Done()}
	for _, k := range []struct {
		n    int
		live func(n int)
	}{{c.Deaf, m.deaf}, {c.Sipping, m.sip}, {c.Dripping, m.drip}, {c.Garbage, m.rant}} {
		for i := range k.n {
			m.wg.Go(func() { k.live(i) })
		}
	}
	if c.Churn > 0 {
		m.wg.Go(m.churn)
	}
	m.wg.Wait()
	return &Report{Mode: "mob", Seconds: time.Since(began).Seconds(), Asked: m.asked.Load(), Garbage: m.garbage.Load(),
		Thrown: m.thrown.Load(), Churned: m.churned.Load(), Failures: m.failures.Load(), Failure: m.failure}, nil
}

func (c *Config) resolve(ctx context.Context) (unix.Sockaddr, error) {
	for _, n := range []int{c.Deaf, c.Sipping, c.Dripping, c.Garbage} {
		if n < 0 || n > maxClients {
			return nil, fmt.Errorf("%d clients of a kind: must be 0 to %d", n, maxClients)
		}
	}
	if c.Churn < 0 || c.Churn > maxChurn {
		return nil, fmt.Errorf("%d connections a second: must be 0 to %d", c.Churn, maxChurn)
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("pool %q: not host:port", c.Address)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", c.Address, err)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", c.Address, err)
	}
	ip := ips[0].Unmap()
	if !ip.IsLoopback() {
		return nil, fmt.Errorf("pool %s is not on this machine", c.Address)
	}
	return sockaddr(netip.AddrPortFrom(ip, uint16(n))), nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// fail notes what the machine, not the pool, refused.
func (m *mob) fail(err error) {
	m.failures.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure == "" {
		m.failure = err.Error()
	}
}

// pause waits; false when it is over.
func (m *mob) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-m.done:
		return false
	case <-t.C:
		return true
	}
}

func (m *mob) over() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// dial connects, with a small receive buffer, so that what is not read stays
// with the pool. It is closed without TIME_WAIT when the run is over.
func (m *mob) dial() (conn *net.TCPConn, stop func(), err error) {
	d := net.Dialer{Timeout: 5 * time.Second, Control: smallBuffer}
	c, err := d.Dial("tcp", m.Address)
	if err != nil {
		return nil, nil, err
	}
	conn = c.(*net.TCPConn)
	_ = conn.SetLinger(0)
	ended := make(chan struct{})
	m.wg.Go(func() {
		select {
		case <-m.done:
		case <-ended:
		}
		conn.Close()
	})
	return conn, func() { close(ended) }, nil
}

// lives connects again and again, as long as the pool lets it.
func (m *mob) lives(live func(conn *net.TCPConn) error) {
	for !m.over() {
		conn, stop, err := m.dial()
		if err != nil {
			if !m.over() {
				m.fail(err)
			}
			m.pause(100 * time.Millisecond)
			continue
		}
		err = live(conn)
		stop()
		if m.over() {
			return
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			m.thrown.Add(1)
		}
		m.pause(10 * time.Millisecond)
	}
}
