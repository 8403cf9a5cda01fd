package operator

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
)

// TakeoverTime is how long new connections are left to a process that was given
// the listening sockets and said reject. C ckpool, when it takes over, says
// shutdown within a second of that.
const TakeoverTime = 10 * time.Second

// TakeoverEnded is what the log says when such a process has not ended this one in time.
var TakeoverEnded = fmt.Sprintf("The process that was given the listening sockets has not ended this one in %s: new connections are closed again, until ckpmsg accept", TakeoverTime)

// Admission decides whether new connections are let in. Its methods may be called
// from any goroutine.
type Admission struct {
	// immutable
	Server *netserver.Server
	Events event.Func

	mu sync.Mutex
	// guarded by mu
	rejecting bool      // by an operator's word
	workless  bool      // no node has been usable for long
	shared    bool      // another process was given a listening socket, and may take over
	leftSince time.Time // new connections are left to that process; zero: they are not
}

// Reject refuses new connections by an operator's word, or takes that back.
func (a *Admission) Reject(reject bool) { a.change(&a.rejecting, reject) }

// WithoutWork refuses new connections because there is no work for them, or takes
// that back.
func (a *Admission) WithoutWork(workless bool) { a.change(&a.workless, workless) }

// GaveSocket notes that another process was given a listening socket.
func (a *Admission) GaveSocket() { a.change(&a.shared, true) }

// Rejecting tells that new connections are refused by an operator's word.
func (a *Admission) Rejecting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rejecting
}

// EndTakeover closes new connections again when the process they were left to has
// not ended this one in time: nobody may ever accept them. It reports whether that
// is so.
func (a *Admission) EndTakeover(now time.Time) bool {
	a.mu.Lock()
	over := !a.leftSince.IsZero() && now.Sub(a.leftSince) >= TakeoverTime
	a.mu.Unlock()
	if over {
		a.change(&a.shared, false)
	}
	return over
}

func (a *Admission) change(reason *bool, to bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*reason = to
	if leave := a.rejecting && a.shared; !leave {
		a.leftSince = time.Time{}
	} else if a.leftSince.IsZero() {
		a.leftSince = time.Now()
	}
	switch {
	case !a.leftSince.IsZero():
		a.Server.LeaveToOthers()
	case a.rejecting:
		a.Server.Refuse(netserver.Rejecting)
	case a.workless:
		a.Server.Refuse(netserver.NoWork)
	default:
		a.Server.Admit()
	}
}

// Commands registers what lets new connections in or keeps them out, and what gives
// listening sockets to another process.
func (a *Admission) Commands(r Registrar) {
	r.Act("accept", effect("accepting", func() { a.Reject(false) }))
	r.Act("reject", effect("rejecting", func() { a.Reject(true) }))
	r.Server.HandleFD(r.Socket, "getxfd", a.listener)
	r.Server.HandleFD(r.Socket, "getfd", a.listener)
}

// listener is listening socket number n, in the order of the configuration.
func (a *Admission) listener(_ context.Context, n int) (*os.File, error) {
	listeners := a.Server.Listeners()
	if n < 0 || n >= len(listeners) {
		a.Events.Say(event.Warning, fmt.Sprintf("Connector asked to send invalid fd %d", n))
		return nil, fmt.Errorf("no listening socket %d", n)
	}
	files, err := listeners[n].Files()
	if err != nil {
		return nil, err
	}
	for _, f := range files[1:] {
		f.Close()
	}
	a.GaveSocket()
	return files[0], nil
}
