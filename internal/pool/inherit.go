package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"ckpool/internal/instance"
	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
)

// templateTime is how long a node has for its first template before the other
// process is left to go on. It is shorter than what that one waits for, so that it
// hears the reason.
const templateTime = 18 * time.Second

// Inheritance is what a pool is given by others before it runs: listening
// sockets of a service manager, or of the process whose place it takes.
type Inheritance struct{ *Pool }

// Take gives the pool listening sockets for Listen; the files are closed.
func (i Inheritance) Take(files []*os.File) error {
	var sockets []netserver.Inherited
	for n, f := range files {
		if l, err := net.FileListener(f); err == nil {
			i.logAt(logfile.LevelNotice, fmt.Sprintf("Inherited server socket %d url %v", n, l.Addr()))
			l.Close()
		}
		sockets = append(sockets, netserver.Inherited{File: f})
	}
	return i.server.Inherit(sockets)
}

// ErrHidden is what Listen wraps where the system does not show whose an address
// is.
var ErrHidden = errors.New("it cannot be seen whether")

// Listen is that of the pool, as far as it can be done while process pid, whose
// place is to be taken, still runs: false means that it has other addresses in
// use that are wanted. An address that stays in use when it has ended, or may,
// is an error. A pid of 0 is a process that is not known.
func (i Inheritance) Listen(ctx context.Context, pid int) (bool, error) {
	for until := time.Now().Add(freedTime); ; {
		opened, err := i.listen(ctx, pid)
		if !errors.Is(err, instance.ErrNobody) || time.Now().After(until) {
			return opened, err
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freedTime is how long an address may be in use without anybody who listens on
// it: who had it may have ended between the two looks, the one to be taken over from
// too.
const freedTime = time.Second

func (i Inheritance) listen(ctx context.Context, pid int) (bool, error) {
	err := i.Pool.Listen(ctx)
	if err == nil {
		return true, nil
	}
	inUse := netserver.InUse(err)
	for _, b := range inUse {
		if pid == 0 {
			return false, fmt.Errorf("listen address %q: %v is in use, and which process is to be taken over from is not known: end it first", b.URL, b.Addr)
		}
		theirs, hidden := instance.Listens(b.Addr, pid, os.Getpid()) // this one has the sockets it was given
		switch {
		case errors.Is(hidden, instance.ErrNobody):
			return false, fmt.Errorf("%w (%w)", b.ByOther(), hidden)
		case hidden != nil && !instance.Alive(pid): // it has ended now, and lets go of what it had
		case hidden != nil:
			return false, fmt.Errorf("listen address %q: %v is in use, and %w process %d, whose place is to be taken, has it: %w; start ckpool as that one's user, or end it first", b.URL, b.Addr, ErrHidden, pid, hidden)
		case !theirs:
			return false, b.ByOther()
		}
	}
	if inUse != nil {
		err = nil
	}
	return false, err
}

// Drop closes the sockets that no listen address wants.
func (i Inheritance) Drop() {
	for _, addr := range i.server.DropInherited() {
		i.logAt(logfile.LevelWarning, fmt.Sprintf("Handed over socket url %s does not match config, not listening there", addr))
	}
}

// Load reads what an earlier run has left, for a pool made with TakeOver.
func (i Inheritance) Load(now time.Time) error { return loadSaved(i.Pool, now) }

// Prepare sees that files can be written, connects to the nodes and waits for a
// template that work can be made of, before Run.
func (i Inheritance) Prepare(until context.Context) error {
	p, u := i.Pool, i.updater
	for _, dir := range logDirs(p.config.Load().LogDir) {
		if err := instance.Usable(dir); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(until, templateTime)
	defer cancel()
	p.background.start(p.nodes.Run)
	select {
	case <-until.Done():
		return fmt.Errorf("no node has given a template: %w", context.Cause(until))
	case <-ctx.Done():
		return fmt.Errorf("no node has given a template within %v: %s", templateTime, p.nodeTrouble())
	case <-p.background.done:
		return fmt.Errorf("nodes: %w", p.background.err)
	case t := <-p.nodes.Templates():
		if err := u.learnChain(); err != nil {
			return err
		}
		if _, err := u.builder.Job(t.Template, 1, time.Now()); err != nil {
			return fmt.Errorf("template of %s gives no work: %w", t.Node, err)
		}
		u.first = &t
		return nil
	}
}

// nodeTrouble is why nodes cannot be used.
func (p *Pool) nodeTrouble() string {
	var texts []string
	for _, n := range p.nodes.Status() {
		texts = append(texts, fmt.Sprintf("node %s %s", n.URL, cmp.Or(n.Reason, "is "+n.State)))
	}
	return strings.Join(texts, "; ")
}
