package operation

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// crossing is a TCP relay before the pool's end of a link.
type crossing struct {
	addr, to string
	dialect0 bool // the Hello is changed, so that both ends speak as ckpool in C does

	mu sync.Mutex
	// guarded by mu
	open    map[net.Conn]bool // false: what comes from it is forgotten
	closed  bool              // nobody comes through
	silence *sync.WaitGroup   // while it lasts nothing is brought over; nil: there is none
}

func startCrossing(t *testing.T, to string, dialect0 bool) *crossing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &crossing{addr: l.Addr().String(), to: to, dialect0: dialect0, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.silent(false)
		w.close(true)
		running.Wait()
	})
	return w
}

// carry brings what comes over a connection to the other side, until one of both ends.
func (w *crossing) carry(c net.Conn) {
	defer c.Close()
	d, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer d.Close()
	w.mu.Lock()
	closed := w.closed
	if !closed {
		w.open[c], w.open[d] = true, true
	}
	w.mu.Unlock()
	if closed {
		return
	}
	var both sync.WaitGroup
	for _, ends := range [][2]net.Conn{{c, d}, {d, c}} {
		both.Go(func() {
			w.bring(ends[0], ends[1], w.dialect0 && ends[0] == c)
			ends[0].Close()
			ends[1].Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
	delete(w.open, d)
}

func (w *crossing) bring(from, to net.Conn, change bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		w.mu.Lock()
		silence, heard := w.silence, w.open[from]
		w.mu.Unlock()
		if silence != nil {
			silence.Wait()
		}
		text := b[:n]
		if !heard {
			text = nil
		}
		if change && n > 0 { // the Hello is short and comes alone
			text, change = bytes.Replace(text, []byte(`"dialect":1`), []byte(`"dialect":0`), 1), false
		}
		if _, failed := to.Write(text); err != nil || failed != nil {
			return
		}
	}
}

// close ends all connections, and lets nobody through until it is opened again.
func (w *crossing) close(closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = closed
	for c := range w.open {
		c.Close()
	}
}

// silent keeps back what comes, and brings it over at the end of that.
func (w *crossing) silent(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if silent == (w.silence != nil) {
		return
	}
	if silent {
		w.silence = &sync.WaitGroup{}
		w.silence.Add(1)
		return
	}
	w.silence.Done()
	w.silence = nil
}

// forgets swallows for ever what comes over the connections that are open now; neither side
// hears of it. New ones are as they should be.
func (w *crossing) forgets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		w.open[c] = false
	}
}
