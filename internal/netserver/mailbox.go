//go:build linux

package netserver

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// mailbox is how other goroutines reach a loop. Any number of signals while
// the loop is busy cost one event.
type mailbox struct {
	fd        int         // eventfd
	signalled atomic.Bool // fd was written and the loop has not seen it
	step      atomic.Bool // Wake
	gate      atomic.Bool // look again whether to accept

	mu     sync.Mutex
	closed bool      // guarded by mu
	queue  []func()  // guarded by mu
	given  []arrival // guarded by mu

	running []func()  // owned by the loop
	taken   []arrival // owned by the loop
	count   [8]byte   // owned by the loop; scratch of seen
}

// one is what is written to an eventfd to make it readable.
var one = binary.NativeEndian.AppendUint64(nil, 1)

func (m *mailbox) init() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("netserver: eventfd: %w", err)
	}
	m.fd = fd
	return nil
}

// signal makes the loop's wait return. Set what it is about before.
func (m *mailbox) signal() {
	if m.signalled.Swap(true) {
		return
	}
	// Under the lock, so that the number is not another file's after close.
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		_, _ = unix.Write(m.fd, one) // EAGAIN: it is readable anyway
	}
}

// seen forgets the signal; what it was about is looked at afterwards, so that
// nothing is missed.
func (m *mailbox) seen() {
	_, _ = unix.Read(m.fd, m.count[:])
	m.signalled.Store(false)
}

func (m *mailbox) post(fn func()) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.queue = append(m.queue, fn)
	m.mu.Unlock()
	m.signal()
}

// give passes an accepted socket to the loop.
func (m *mailbox) give(a arrival) {
	m.mu.Lock()
	m.given = append(m.given, a)
	m.mu.Unlock()
	m.signal()
}

// arrivals are the sockets given until now, valid until the next call.
func (m *mailbox) arrivals() []arrival {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken, m.given = m.given, m.taken[:0]
	return m.taken
}

// run calls what was posted until now.
func (m *mailbox) run() {
	m.mu.Lock()
	m.running, m.queue = m.queue, m.running[:0]
	m.mu.Unlock()
	for i, fn := range m.running {
		fn()
		m.running[i] = nil
	}
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.queue = nil
		unix.Close(m.fd)
	}
}
