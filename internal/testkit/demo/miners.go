package demo

import (
	"context"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/firmware"
)

// mine runs the simulated miners until ctx ends.
func (d *demo) mine(ctx context.Context, running *sync.WaitGroup, s *settings, m *money) {
	every := d.config.pace.pool
	var all float64
	for _, rate := range s.rates {
		all += rate
	}
	for i, user := range s.users {
		name := []string{"Bitaxe", "cgminer", "Whatsminer"}[i%3]
		family, known := firmware.Find(name)
		if !known {
			panic("demo: no firmware " + name)
		}
		opts := firmware.Options{
			Suggest:    -1,
			ShareRate:  s.rates[i],
			BlockEvery: time.Duration(float64(every) * all / s.rates[i]),
		}
		if m != nil {
			opts.Withhold = func() bool { return m.waiting(ctx) }
		}
		addr := s.miners
		if i < len(s.where) {
			addr = s.where[i]
		}
		running.Go(func() {
			// One after the other, lest their blocks come in pairs.
			if pause(ctx, every*time.Duration(i)) {
				d.keepMining(ctx, family, addr, user, opts)
			}
		})
	}
	if m != nil {
		running.Go(func() { m.others(ctx) })
	}
}

// keepMining connects again whenever the connection is lost.
func (d *demo) keepMining(ctx context.Context, f firmware.Family, addr, user string, opts firmware.Options) {
	for ctx.Err() == nil {
		device, err := f.Dial(ctx, addr, user, opts)
		if err == nil {
			_, err = device.Mine(ctx, func(firmware.Stats) bool { return ctx.Err() != nil })
			device.Close()
		}
		if err != nil && ctx.Err() == nil {
			d.console.print("simulated miner %s: %v", user, err)
			pause(ctx, time.Second)
		}
	}
}

// pause is false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
