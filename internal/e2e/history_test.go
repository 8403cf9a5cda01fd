package e2e

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/history"
)

// recorded waits until the history of a pool has at least so many values.
func (r *running) recorded(begun time.Time, wanted int) {
	r.t.Helper()
	eventually(r.t, patience, "recorded", func() bool {
		c, err := r.pool.History().Pool(begun, time.Now(), 1000, history.Miners)
		if err != nil {
			return false
		}
		n := 0
		for _, v := range c.Values[0] {
			if !math.IsNaN(v) {
				n++
			}
		}
		return n >= wanted
	})
}

// One process at a time writes the history, and what the one before wrote is there.
func TestHandoverOfHistory(t *testing.T) {
	t.Parallel()
	begun := time.Now().Add(-10 * time.Second)
	_, s, old, _ := startRare(t, "alice.rig1")
	old.recorded(begun, 1)
	idle := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := old.pool.History().Hold(ctx); err != nil {
			t.Fatal(err)
		}
		old.pool.History().Release()
	}
	idle()
	if _, err := old.succeed(s, func(step string) error {
		if step == "complete" {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if old.pool.History().Hold(ctx) == nil {
				t.Error("the old one may write while the new one is about to")
			}
			return errors.New("not today")
		}
		return nil
	}); err == nil {
		t.Fatal("it was handed over")
	}
	idle() // the old one may write again
	p := old.upgrade(s)
	if _, err := old.pool.History().Pool(begun, time.Now(), 1000, history.Miners); !errors.Is(err, history.ErrClosed) {
		t.Errorf("the old one: %v", err)
	}
	p.recorded(begun, 2)
}
