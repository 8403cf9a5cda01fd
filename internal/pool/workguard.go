package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
)

// workGuard watches for too long a time without a usable node or upstream. Owned by the
// goroutine that keeps statistics.
type workGuard struct {
	pool    *Pool
	since   time.Time // without one, zero with one
	dropped bool
}

// look closes miners when neither has been usable for so long that they
// are better off with their other pools, and refuses new ones until there is
// work again.
func (g *workGuard) look(ctx context.Context, now time.Time) {
	p := g.pool
	limit := p.config.Load().DropWithoutWork
	usable := p.source.Usable()
	what, one := "node", "A node"
	if p.options.Proxy {
		what, one = "upstream", "An upstream"
	} else if p.options.Source != nil {
		what, one = "source", "A source"
	}
	switch {
	case usable:
		if g.dropped {
			g.dropped = false
			p.admission.WithoutWork(false)
			p.events.Say(event.Warning, fmt.Sprintf("%s is usable again: miners are accepted", one))
		}
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = now
	case limit > 0 && !g.dropped && now.Sub(g.since) >= limit:
		g.dropped = true
		p.admission.WithoutWork(true)
		n, _ := p.miners.Drop(ctx, 0, netserver.NoWork)
		p.events.Say(event.Warning, fmt.Sprintf("No usable %s for %s: %d miners closed so that they go to their other pools, new ones are refused until one is usable", what, limit, n))
	}
}
