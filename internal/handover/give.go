package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Format is the newest version of the protocol and of the records that go over
// it. A program takes over from every older one.
const Format = 1

// Hello is the first thing the old process says.
type Hello struct {
	Format   int             `json:"format"`
	Program  string          `json:"program"` // its version
	PID      int             `json:"pid"`
	Instance json.RawMessage `json:"instance"` // what the new process must agree with
}

// Send sends a section. The descriptors stay the caller's. Several goroutines
// may call.
type Send func(kind Kind, data []byte, fds []int) error

// Source is the instance that is to be moved.
type Source interface {
	// Describe gives what the new process is to agree with, and the program's
	// version.
	Describe() (instance any, program string)
	// Copy sends what can be copied while everything goes on: all of it at
	// first, later what has changed since.
	Copy(ctx context.Context, first bool, send Send) error
	// Ready tells, while everything goes on for the last time, what would keep another process
	// from going on with it, such as a disk that is full.
	Ready(ctx context.Context) error
	// Freeze stops everything within ctx and tells since when nothing is
	// served. Rest then sends what is left.
	Freeze(ctx context.Context) (since time.Time, err error)
	Rest(send Send) error
	// Thaw goes on as if nothing had happened; it is called after Freeze
	// succeeded. Leave ends instead, without a word to the miners.
	Thaw()
	Leave()
	// Forget is for the end of an attempt that Leave did not end.
	Forget()
}

// Limits are how long the parts of a handover may take.
type Limits struct {
	Ready time.Duration // until the new process is ready to serve
	Pause time.Duration // while everything stands still
	Start time.Duration // from yours to running
}

// DefaultLimits of a handover.
var DefaultLimits = Limits{Ready: 22 * time.Second, Pause: 5 * time.Second, Start: 5 * time.Second}

const (
	// roundsEnough: no more copying when a round took at most shortRound, or
	// after maxRounds.
	shortRound = 10 * time.Millisecond
	maxRounds  = 8
)

// Report is what became of a handover that succeeded.
type Report struct {
	PID   int           // of the new process
	Pause time.Duration // in which nothing was served
}

// RefusedError is the new process's own reason for not taking over.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }

// Give moves src to the process at the other end of c, which has sent the
// command. After an error src goes on as before. The caller closes c.
func Give(ctx context.Context, c *net.UnixConn, src Source, limits Limits) (Report, error) {
	pid, _, err := Credentials(c)
	if err != nil {
		return Report{}, err
	}
	g := giver{link: newLink(ctx, c), src: src, limits: limits}
	defer func() { CloseAll(g.link.fds) }()
	defer context.AfterFunc(ctx, g.link.stop)()
	report := Report{PID: pid}
	report.Pause, err = g.run(ctx)
	if err != nil {
		src.Forget()
		err = g.refuse(ctx, err)
	}
	return report, err
}

var (
	errEnded = errors.New("the new process ended before it took over")
	errLate  = errors.New("the new process did not take over in time")
)

type giver struct {
	link   *link
	src    Source
	limits Limits
	sends  sends

	refused bool // the new process was told that it gets nothing
}

func (g *giver) run(ctx context.Context) (pause time.Duration, err error) {
	instance, program := g.src.Describe()
	described, err := json.Marshal(instance)
	if err != nil {
		return 0, err
	}
	hello, err := json.Marshal(Hello{Format: Format, Program: program, PID: os.Getpid(), Instance: described})
	if err != nil {
		return 0, err
	}
	g.link.within(g.limits.Ready)
	if err := g.link.send(kindHello, hello, nil); err != nil {
		return 0, g.explain(err)
	}
	if err := g.copy(ctx); err != nil {
		return 0, g.explain(err)
	}
	if err := g.src.Ready(ctx); err != nil {
		return 0, err
	}
	g.link.within(g.limits.Pause)
	freezing, cancel := context.WithTimeout(ctx, g.limits.Pause)
	defer cancel()
	since, err := g.src.Freeze(freezing)
	if err != nil {
		return 0, err
	}
	if err := g.handOut(); err != nil {
		// The new process does not serve, whatever it does now. It is told before what
		// it may hold, such as files it has locked, is wanted back.
		err = g.refuse(ctx, g.explain(err))
		g.src.Thaw()
		return 0, err
	}
	pause = time.Since(since)
	g.src.Leave()
	return pause, nil
}

// copy sends what may be sent while serving, until little is left for the
// pause.
func (g *giver) copy(ctx context.Context) error {
	for round := range maxRounds {
		began := time.Now()
		if err := g.src.Copy(ctx, round == 0, g.send); err != nil {
			return err
		}
		if err := g.link.send(kindMark, nil, nil); err != nil {
			return err
		}
		if err := g.expect(kindMarked); err != nil {
			return err
		}
		if round > 0 && time.Since(began) <= shortRound {
			break
		}
	}
	return nil
}

// handOut does what happens while everything stands still. Without an error
// the other process is the owner.
func (g *giver) handOut() error {
	if err := g.src.Rest(g.send); err != nil {
		return err
	}
	if err := g.link.send(kindEnd, nil, nil); err != nil {
		return err
	}
	if err := g.expect(kindHave); err != nil {
		return err
	}
	g.link.within(g.limits.Start)
	if err := g.link.send(kindYours, nil, nil); err != nil {
		return err
	}
	err := g.expect(kindRunning)
	if err == nil {
		return nil
	}
	// From here on its sending running fails. If it has not done so it does
	// not serve; if it has, it is there to be read.
	if closeErr := g.link.conn.CloseRead(); closeErr != nil {
		return errors.Join(err, closeErr)
	}
	_ = g.link.conn.SetDeadline(time.Now().Add(time.Second))
	if g.expect(kindRunning) == nil {
		return nil
	}
	return err
}

func (g *giver) send(kind Kind, data []byte, fds []int) error {
	g.sends.Lock()
	defer g.sends.Unlock()
	return g.link.send(kind, data, fds)
}

// expect receives a frame of the kind.
func (g *giver) expect(kind Kind) error {
	f, err := g.link.receive()
	if err != nil {
		return err
	}
	CloseAll(f.fds)
	switch f.kind {
	case kindRefuse:
		return &RefusedError{string(f.data)}
	case kind:
		return nil
	}
	return fmt.Errorf("the new process sends %v, not %v", f.kind, kind)
}

// explain says in words what happened to the other process.
func (g *giver) explain(err error) error {
	switch {
	case isBroken(err):
		// What it said before it closed is there to be read.
		if refused := (*RefusedError)(nil); errors.As(g.expect(kindRefuse), &refused) {
			return refused
		}
		return errEnded
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errEnded
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errLate
	}
	return err
}

// refuse tells the new process why it does not get anything, once, and returns that.
func (g *giver) refuse(ctx context.Context, err error) error {
	if g.refused {
		return err
	}
	g.refused = true
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	_ = g.link.conn.SetDeadline(time.Now().Add(time.Second))
	_ = g.link.send(kindRefuse, []byte(err.Error()), nil) // it may be gone
	return err
}
