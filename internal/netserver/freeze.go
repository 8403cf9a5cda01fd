//go:build linux

package netserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Frozen is a server whose loops stand still between two lines of input: all
// output was handed to the system or is in a backlog, nothing is read and
// nothing accepted. It ends with Thaw or Release, once.
type Frozen struct {
	server *Server
	tasks  []chan func(l *Loop) // by loop; closed at the end
}

// Freeze stops all loops of a running server; ctx bounds how long that may
// take, not how long it lasts. One at a time.
func (s *Server) Freeze(ctx context.Context) (*Frozen, error) {
	if !s.frozen.CompareAndSwap(false, true) {
		return nil, errors.New("netserver: frozen already")
	}
	f := &Frozen{server: s}
	standing := make(chan struct{}, len(s.loops))
	for _, l := range s.loops {
		tasks := make(chan func(*Loop))
		f.tasks = append(f.tasks, tasks)
		l.Post(func() {
			l.gate.update()
			standing <- struct{}{}
			for task := range tasks {
				task(l)
			}
			thaw(l)
		})
	}
	for range s.loops {
		select {
		case <-standing:
		case <-ctx.Done():
			f.Thaw()
			return nil, fmt.Errorf("netserver: loops do not stop: %w", context.Cause(ctx))
		}
	}
	// Every gate is closed by now: nothing comes any more.
	f.Each(quiesce)
	return f, nil
}

// quiesce ends what is under way on a loop that stands still: sockets it was given,
// posted functions, output.
func quiesce(l *Loop) {
	l.now = time.Now()
	for _, a := range l.mailbox.arrivals() {
		l.entrance.admit(a)
	}
	l.mailbox.run()
	l.flush()
}

// thaw lets the loop go on with what it had at its freezing, less what Export
// gave away for good.
func thaw(l *Loop) {
	l.now = time.Now()
	if !l.server.stopping.Load() {
		l.moved = nil
	}
	l.gate.update()
}

// Each runs fn on every loop's goroutine, all at the same time, and waits.
func (f *Frozen) Each(fn func(l *Loop)) {
	var wg sync.WaitGroup
	for _, tasks := range f.tasks {
		wg.Add(1)
		tasks <- func(l *Loop) {
			defer wg.Done()
			fn(l)
		}
	}
	wg.Wait()
}

// Thaw lets the loops go on as if nothing had happened.
func (f *Frozen) Thaw() {
	f.server.frozen.Store(false)
	f.end()
}

// Release ends the server: what was exported is another process's now and is
// closed here without its peers noticing, every other connection is closed as
// when Run's ctx ends. Run returns afterwards.
func (f *Frozen) Release() {
	f.Each(func(l *Loop) {
		abandon(l)
		l.left = true
		l.mailbox.leave()
	})
	f.server.stopping.Store(true)
	f.end()
}

func (f *Frozen) end() {
	for _, tasks := range f.tasks {
		close(tasks)
	}
}

// abandon forgets the connections that were exported.
func abandon(l *Loop) {
	for _, s := range l.moved {
		c := l.slab.at(s)
		if c.is(channel) {
			l.forgetChannel(s)
			continue
		}
		l.output.forget(s, c)
		l.partials.take(s, c)
		l.entrance.leave(s, c)
		l.server.limits.forget(c.remote().Addr(), c.flags)
		if c.is(open) {
			l.counters.clients.Add(-1)
		}
		c.flags = 0
		l.release(s, closeSocket) // the other process has the same socket open
	}
	l.moved = nil
}
