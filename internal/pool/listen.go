package pool

import (
	"context"
	"fmt"
	"os"

	"github.com/ckpool/ckpool/internal/instance"
)

// Listen opens the ports. The error says which and why.
func (p *Pool) Listen(ctx context.Context) error { return p.ports.Listen(ctx) }

// ListenBeside is Listen beside the process whose place is to be taken, see package ports.
func (p *Pool) ListenBeside(ctx context.Context, pid int) (bool, error) {
	return p.ports.ListenBeside(ctx, pid)
}

// Inherit gives the pool listening sockets for Listen.
func (p *Pool) Inherit(files []*os.File) error { return p.ports.Inherit(files) }

// DropInherited closes the sockets that no listen address wants.
func (p *Pool) DropInherited() { p.ports.DropInherited() }

// Prepare sees that files can be written, connects to the nodes and waits for a
// template that work can be made of, unless work comes from another process, and for the
// accounts of users that do not come with it; before Run.
func (p *Pool) Prepare(ctx context.Context) error {
	for _, dir := range logDirs(p.config.Load().LogDir) {
		if err := instance.Usable(dir); err != nil {
			return err
		}
	}
	p.background.start(p.runSource)
	if !p.workComes {
		if err := p.awaitWork(ctx); err != nil {
			return err
		}
	}
	if p.logins != nil {
		p.logins.AwaitAhead(ctx)
	}
	return nil
}

func (p *Pool) awaitWork(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var err error // valid after prepared
	prepared := make(chan struct{})
	go func() {
		err = p.generator.AwaitTemplate(ctx)
		close(prepared)
	}()
	select {
	case <-prepared:
		return err
	case <-p.background.done:
		cancel(nil)
		<-prepared
		return fmt.Errorf("nodes: %w", p.background.err)
	}
}
