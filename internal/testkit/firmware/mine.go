package firmware

import (
	"context"
	"fmt"
	"time"
)

// share is a hash that was submitted.
type share struct {
	difficulty float64 // it was mined at
	block      bool
}

// drainTimeout bounds the wait for replies once mining is over.
const drainTimeout = 10 * time.Second

// batch is how many hashes go between two looks at the connection.
const batch = 64

// Mine hashes and submits until the condition holds, then waits for the replies
// still missing. Called again it goes on. The error says why it ended
// otherwise; the stats are right in any case.
func (d *Device) Mine(ctx context.Context, until func(Stats) bool) (Stats, error) {
	d.hashedSince, d.hashedBase = time.Now(), d.stats.Hashes
	for !until(d.stats) {
		if err := d.turn(ctx); err != nil {
			return d.stats, fmt.Errorf("%s: %w", d.family.Name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for d.outstanding > 0 {
		if err := d.next(ctx); err != nil {
			return d.stats, fmt.Errorf("%s: %d submits without a reply: %w", d.family.Name, d.outstanding, err)
		}
	}
	return d.stats, nil
}

// SetHashRate changes Options.HashRate.
func (d *Device) SetHashRate(perSecond float64) {
	d.opts.HashRate = perSecond
	d.hashedSince, d.hashedBase = time.Now(), d.stats.Hashes
}

// Suggest changes Options.Suggest and suggests that, as its user may have it do
// whatever the firmware does by itself.
func (d *Device) Suggest(difficulty float64) error {
	d.opts.Suggest = difficulty
	_, err := d.sendStep(suggest)
	return err
}

// turn handles what has come and hashes a little, or waits if it may not hash.
func (d *Device) turn(ctx context.Context) error {
	for {
		select {
		case line, open := <-d.link.lines:
			if !open {
				return ErrClosed
			}
			if err := d.handle(line); err != nil {
				return err
			}
			continue
		default:
		}
		break
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.keepAlive(); err != nil {
		return err
	}
	if pause := d.pause(); pause > 0 {
		return d.wait(ctx, pause)
	}
	return d.hash()
}

// pause is how long there is nothing to hash: without a job or with a full
// window a while, for the caps exactly.
func (d *Device) pause() time.Duration {
	const idle = 50 * time.Millisecond // until conditions are looked at again
	if d.job == nil || d.outstanding >= d.opts.Window {
		return idle
	}
	var pause time.Duration
	if d.opts.ShareRate > 0 {
		pause = time.Until(d.nextShare)
	}
	if d.opts.HashRate > 0 {
		due := float64(d.stats.Hashes-d.hashedBase) / d.opts.HashRate
		pause = max(pause, time.Until(d.hashedSince.Add(time.Duration(due*float64(time.Second)))))
	}
	return min(pause, idle)
}

// wait handles the next line, if one comes in time.
func (d *Device) wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case line, open := <-d.link.lines:
		if !open {
			return ErrClosed
		}
		return d.handle(line)
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keepAlive suggests the difficulty again where the firmware does so when idle.
func (d *Device) keepAlive() error {
	if d.opts.KeepAlive <= 0 || time.Since(d.link.lastSent) < d.opts.KeepAlive {
		return nil
	}
	_, err := d.sendStep(suggest)
	return err
}

// hash tries a few nonces and submits what meets the difficulty.
func (d *Device) hash() error {
	for range batch {
		h, nonce := d.search.hash(d)
		d.stats.Hashes++
		reached := difficultyOf(&h)
		if reached >= d.difficulty && d.mayUse(reached) {
			err := d.submit(nonce, reached)
			d.search.step(d)
			return err
		}
		d.search.step(d)
	}
	return nil
}

// mayUse withholds blocks that come too often.
func (d *Device) mayUse(reached float64) bool {
	if reached < d.job.network {
		return true
	}
	if time.Since(d.lastBlock) < d.opts.BlockEvery || d.opts.Withhold != nil && d.opts.Withhold() {
		return false
	}
	d.lastBlock = time.Now()
	return true
}

func (d *Device) submit(nonce uint32, reached float64) error {
	s := &d.search
	ntime := fmt.Sprintf("%08x", s.ntime)
	nonceText := fmt.Sprintf("%08x", nonce)
	if d.traits.shortNonce {
		nonceText = fmt.Sprintf("%x", nonce)
	}
	params := []any{d.name(s.worker), d.job.id, s.hex2, ntime, nonceText}
	if d.traits.rolls != never && d.mask != 0 {
		params = append(params, fmt.Sprintf("%08x", s.bits))
	}
	id, err := d.link.send(submit, "mining.submit", list(params...))
	if err != nil {
		return err
	}
	d.link.pending[id].share = share{difficulty: d.difficulty, block: reached >= d.job.network}
	d.outstanding++
	d.stats.Submitted++
	d.stats.Best = max(d.stats.Best, reached)
	if d.opts.ShareRate > 0 {
		d.nextShare = time.Now().Add(time.Duration(float64(time.Second) / d.opts.ShareRate))
	}
	return nil
}
