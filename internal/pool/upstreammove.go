package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/upstream"
)

// verdictTime is how long everything stands still at most for the verdicts on shares whose
// connection cannot move.
const verdictTime = 500 * time.Millisecond

// outgoingUpstreams are the connections to other pools on their way to another process.
type outgoingUpstreams struct {
	record []byte // of what is known of the pools
	lines  []upstream.Moving
}

// suspendUpstreams stops the connections to other pools, as all miners stand still.
func (o *Outgoing) suspendUpstreams(ctx context.Context) {
	if o.pool.upstreams == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, verdictTime)
	defer cancel()
	o.pool.upstreams.Settle(ctx)
	o.upstreams.record, o.upstreams.lines = o.pool.upstreams.Suspend()
}

func (o *Outgoing) sendUpstreams(send handover.Send) error {
	if o.pool.upstreams == nil {
		return nil
	}
	if err := send(sectionUpstreams, o.upstreams.record, nil); err != nil {
		return err
	}
	for _, l := range o.upstreams.lines {
		if err := sendLine(l, send); err != nil {
			return err
		}
	}
	return nil
}

func sendLine(l upstream.Moving, send handover.Send) error {
	socket, ok := l.Conn.(interface{ File() (*os.File, error) })
	if !ok {
		return fmt.Errorf("upstream connection: a %T has no descriptor", l.Conn)
	}
	f, err := socket.File()
	if err != nil {
		return fmt.Errorf("upstream connection: %w", err)
	}
	defer f.Close()
	kind := sectionUpstreamLine
	if l.Account {
		kind = sectionLoginLine
	}
	return send(kind, l.Record, []int{handover.FD(f)})
}

// resumeUpstreams goes on with them here.
func (o *Outgoing) resumeUpstreams() {
	if o.pool.upstreams != nil {
		o.pool.upstreams.Resume(o.upstreams.lines)
		o.upstreams = outgoingUpstreams{}
	}
}

// leaveUpstreams closes what is another process's now, which those pools do not notice.
func (o *Outgoing) leaveUpstreams() {
	for _, l := range o.upstreams.lines {
		l.Conn.Close()
	}
}

// incomingUpstreams are the connections of another process.
type incomingUpstreams struct {
	record []byte // nil: it has none that move
	lines  []incomingLine
}

type incomingLine struct {
	conn    net.Conn
	record  []byte
	account bool // of a user's own
}

func (u *incomingUpstreams) takeLine(record []byte, fds []int, account bool) error {
	if len(fds) != 1 {
		handover.CloseAll(fds)
		return fmt.Errorf("upstream connection with %d sockets", len(fds))
	}
	f := os.NewFile(uintptr(fds[0]), "upstream")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("upstream connection: %w", err)
	}
	u.lines = append(u.lines, incomingLine{conn, record, account})
	return nil
}

// adoptUpstreams makes them the pool's. Those to pools that are not configured any more
// are left.
func (a *Incoming) adoptUpstreams() error {
	g, u := a.pool.upstreams, &a.upstreams
	if g == nil || u.record == nil {
		return nil
	}
	if err := g.Adopt(u.record); err != nil {
		return err
	}
	for len(u.lines) > 0 {
		l := u.lines[0]
		adopt := g.AdoptLine
		if l.account {
			adopt = a.adoptLoginLine
		}
		err := adopt(l.conn, l.record)
		if err != nil && !errors.Is(err, upstream.ErrNotConfigured) && !errors.Is(err, upstream.ErrConnected) {
			return err
		}
		if err != nil {
			a.pool.events.Say(event.Notice, "Left: "+err.Error())
			l.conn.Close()
		}
		u.lines = u.lines[1:]
	}
	return nil
}

// adoptLoginLine is for one of a user's own account.
func (a *Incoming) adoptLoginLine(conn net.Conn, record []byte) error {
	if a.pool.logins == nil { // max_user_proxies is 0 here
		return upstream.ErrNotConfigured
	}
	return a.pool.logins.AdoptLine(conn, record)
}

// abandonUpstreams lets go of all that has come.
func (a *Incoming) abandonUpstreams() {
	for _, l := range a.upstreams.lines {
		l.conn.Close()
	}
	if a.pool.upstreams != nil {
		a.pool.upstreams.Abandon()
	}
}
