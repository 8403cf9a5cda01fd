package forward

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
)

// counter is a store that only counts: what is measured with it is the way there.
type counter struct {
	at     store.Position
	shares atomic.Int64
}

func (c *counter) Begin(context.Context, store.Instance, []store.Epoch) (store.Start, error) {
	return store.Start{At: c.at}, nil
}

func (c *counter) Apply(_ context.Context, b *store.Batch) (store.Result, error) {
	if b.From != c.at {
		return store.Result{}, &store.CursorError{From: b.From, Present: c.at}
	}
	c.at = b.To
	c.shares.Add(int64(len(b.Shares)))
	return store.Result{New: len(b.Shares)}, nil
}

// BenchmarkStream brings a backlog of shares from a journal through a server in
// another process to a database, and to nothing in its place.
func BenchmarkStream(b *testing.B) {
	const shares = 100_000
	for _, tt := range []struct {
		name  string
		store func(b *testing.B) (to accounting.Store, stored func() int64)
	}{
		{"counted", func(b *testing.B) (accounting.Store, func() int64) {
			c := &counter{}
			return c, c.shares.Load
		}},
		{"SQLite", func(b *testing.B) (accounting.Store, func() int64) {
			d := openDatabase(b)
			return d.store, func() int64 {
				list, _, err := d.store.Status(b.Context())
				if err != nil || len(list) == 0 {
					return 0
				}
				return list[0].Shares
			}
		}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			p := startPool(b, 1)
			for range shares / 10_000 {
				p.mine(10_000)
				until(b, "the journal", func() bool { return p.w.Status().UnsafeShares == 0 })
			}
			for b.Loop() {
				broker := startBroker(b)
				to, stored := tt.store(b)
				r := &Receiver{Conn: connect(b, broker.url()), Store: to}
				receiver := run(b, r.Conn, r.Run)
				c := connect(b, broker.url())
				until(b, "a connection", c.IsConnected)
				f := &Forwarder{Dir: p.dir, Reader: reader, Conn: c}
				began := time.Now()
				forwarder := run(b, c, f.Run)
				until(b, "all shares", func() bool { return stored() == shares })
				b.ReportMetric(shares/time.Since(began).Seconds(), "shares/s")
				forwarder.stop(b)
				receiver.stop(b)
			}
		})
	}
}
