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
	left   bool      // guarded by mu; nothing is posted any more
	queue  []func()  // guarded by mu; from head on
	head   int       // guarded by mu
	given  []arrival // guarded by mu

	taken []arrival // owned by the loop
	count [8]byte   // owned by the loop; scratch of seen
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
	if m.closed || m.left {
		m.mu.Unlock()
		return
	}
	m.queue = append(m.queue, fn)
	m.mu.Unlock()
	m.signal()
}

// leave forgets what was posted, and all that will be.
func (m *mailbox) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = true
	m.queue, m.head = nil, 0
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

// next takes the function posted first, nil when there is none.
func (m *mailbox) next() func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.head == len(m.queue) {
		return nil
	}
	fn := m.queue[m.head]
	m.queue[m.head] = nil
	if m.head++; m.head == len(m.queue) {
		m.queue, m.head = m.queue[:0], 0
	}
	return fn
}

// run calls what was posted until now and tells whether there was anything. A
// posted function may call it too.
func (m *mailbox) run() bool {
	m.mu.Lock()
	n := len(m.queue) - m.head
	m.mu.Unlock()
	for range n {
		fn := m.next()
		if fn == nil {
			break
		}
		fn()
	}
	return n > 0
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.queue, m.head = nil, 0
		unix.Close(m.fd)
	}
}
