package bitcoind

import (
	"context"
	"time"
)

// Pauses between failed attempts double from the first to the last.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// pause is an exponential back-off. The zero value is ready.
type pause struct{ next time.Duration }

func (p *pause) reset() { p.next = 0 }

// step returns the next pause.
func (p *pause) step() time.Duration {
	p.next = min(max(2*p.next, firstPause), lastPause)
	return p.next
}

// sleep pauses, less long if wake or ctx say so.
func (p *pause) sleep(ctx context.Context, wake <-chan struct{}) {
	sleep(ctx, p.step(), wake)
}

func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}
