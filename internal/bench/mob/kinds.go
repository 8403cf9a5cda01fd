package mob

import (
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/stratum"
)

func smallBuffer(_, _ string, c syscall.RawConn) error {
	var err error
	control := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
	})
	if control != nil {
		return control
	}
	return err
}

// requests are lines with long answers: work, and all transactions of it.
func requests(n int) []byte {
	id := []byte("1")
	b := stratum.AppendSubscribe(nil, id, "mob", "")
	b = stratum.AppendAuthorize(b, id, fmt.Sprint("mob.", n), "x")
	b = append(b, `{"id":2,"method":"mining.get_txnhashes","params":["0000000000000000"]}`+"\n"...)
	for range 20 {
		b = stratum.AppendSubscribe(b, id, "mob", "")
	}
	return b
}

// ask writes requests every 100 ms for as long as the pool takes them.
func (m *mob) ask(conn net.Conn, n int) error {
	lines := requests(n)
	for m.pause(100 * time.Millisecond) {
		if _, err := conn.Write(lines); err != nil {
			return err
		}
		m.asked.Add(23)
	}
	return nil
}

// deaf never reads.
func (m *mob) deaf(n int) {
	m.lives(func(conn *net.TCPConn) error { return m.ask(conn, n) })
}

// sip reads a byte a second.
func (m *mob) sip(n int) {
	m.lives(func(conn *net.TCPConn) error {
		m.wg.Go(func() {
			var b [1]byte
			for m.pause(time.Second) {
				if _, err := conn.Read(b[:]); err != nil {
					return
				}
			}
		})
		return m.ask(conn, n)
	})
}

// drip sends a byte a second, of a line that never ends.
func (m *mob) drip(n int) {
	line := fmt.Appendf(nil, `{"id":%d,"method":"mining.subscribe","params":["%0200d"`, n, n)
	m.lives(func(conn *net.TCPConn) error {
		for i := 0; m.pause(time.Second); i++ {
			if _, err := conn.Write(line[i%len(line):][:1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// rant sends garbage as fast as it goes.
func (m *mob) rant(n int) {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	garbage := make([]byte, 64<<10)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	m.lives(func(conn *net.TCPConn) error {
		for {
			sent, err := conn.Write(garbage)
			m.garbage.Add(int64(sent))
			if err != nil {
				return err
			}
		}
	})
}

// churn opens connections and closes them at once, at the rate.
func (m *mob) churn() {
	every := time.Second / time.Duration(m.Churn)
	for due := time.Now(); !m.over(); due = due.Add(every) {
		wait := time.Until(due)
		if wait < -time.Second {
			due = time.Now() // what this machine does not do is not made up for
		}
		if wait > time.Millisecond && !m.pause(wait) {
			return
		}
		if err := m.touch(); err != nil {
			m.fail(err)
			m.pause(10 * time.Millisecond)
			continue
		}
		m.churned.Add(1)
	}
}

// touch opens a connection and resets it.
func (m *mob) touch() error {
	family := unix.AF_INET
	if _, six := m.to.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("socket options: %w", err)
	}
	limit := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return fmt.Errorf("socket options: %w", err)
	}
	// A signal ends the wait, not the connection.
	if err := unix.Connect(fd, m.to); err != nil && err != unix.EINTR {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}
