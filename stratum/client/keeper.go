package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

const (
	backoffStep  = 5 * time.Second
	backoffMax   = time.Minute
	shortLife    = 5 * time.Second // a connection that ends sooner counts as failed
	redirectLife = 3               // failures, or redirections without work, until the configured address is used again
)

// Keeper keeps a connection to one endpoint: after one has ended it makes another, at
// the place that the pool has asked for if Endpoint.Redirect allows it, and again at the
// endpoint's own address after that place has failed three times. What fails is tried
// again after 5 s more each time, up to 60 s.
type Keeper struct {
	// Immutable.
	endpoint Endpoint // as configured
	opts     Options
	handle   func(*Client, Event) error

	// Owned by Run.
	first      *Client // to begin with, nil: none is there
	redirected *Endpoint
	failures   int // at the redirected address
	hops       int // redirections since there was work
	quirks     Quirks
	session    string
	backoff    time.Duration
}

// NewKeeper makes a keeper, which does nothing before Run. handle is told all events, one
// after the other: those of each connection, of which the last is Closed, and Failed after
// each connection and each attempt, without a client. An error of handle ends the
// connection; it is ignored of Closed and Failed.
func NewKeeper(e Endpoint, o Options, handle func(*Client, Event) error) *Keeper {
	return &Keeper{endpoint: e, opts: o.withDefaults(), handle: handle}
}

// Begin makes Run begin with a connection that was resumed from a state, and start it, if
// only to end it where the context is done already.
func (k *Keeper) Begin(c *Client, s *State) {
	k.first, k.session = c, s.Extranonce.SessionID
	if c.endpoint.URL != k.endpoint.URL {
		k.redirected = &c.endpoint
	}
}

// Run keeps the connection until ctx is done, or it is suspended, and may be called
// once.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil || k.first != nil {
		delay, err := k.connection(ctx)
		if ctx.Err() != nil || errors.Is(err, ErrMoving) {
			return
		}
		_ = k.handle(nil, Failed{Err: err, Retry: delay})
		retry := time.NewTimer(delay)
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
		retry.Stop()
	}
}

// connection makes a connection and keeps it while it lasts. It returns why it
// ended, and after what time to make another.
func (k *Keeper) connection(ctx context.Context) (retry time.Duration, err error) {
	c := k.first
	k.first = nil
	began := time.Time{} // of a resumed connection it is long ago
	if c != nil {
		c.Start()
	} else {
		if c, err = k.dial(ctx); err != nil {
			return k.jitter(k.backoff), err
		}
		began = time.Now()
	}
	worked, reconnect, err := k.pump(ctx, c)
	_ = k.handle(c, Closed{err})
	if (worked || began.IsZero()) && time.Since(began) >= shortLife {
		k.backoff, k.failures, k.hops = 0, 0, 0
		k.quirks = Quirks{} // it may have been restarting when it seemed to have them
	} else {
		k.failed()
	}
	if reconnect != nil {
		if reconnect.Host != "" || reconnect.Port != 0 {
			k.hop()
		}
		return max(k.backoff, min(reconnect.Wait, backoffMax)), err
	}
	return k.jitter(max(k.backoff, time.Second)), err
}

// dial makes a connection where one is to be made.
func (k *Keeper) dial(ctx context.Context) (*Client, error) {
	target := k.endpoint
	if k.redirected != nil {
		target = *k.redirected
	}
	opts := k.opts
	opts.SessionID, opts.Quirks = k.session, &k.quirks
	c, err := dial(ctx, target, opts)
	if err != nil {
		k.failed()
		var early *redirectedError
		if errors.As(err, &early) {
			k.follow(target, early.Reconnect)
		}
		if target.URL != k.endpoint.URL {
			err = fmt.Errorf("%s: %w", target.URL, err)
		}
	}
	return c, err
}

// failed makes the next wait longer, and gives a redirection up.
func (k *Keeper) failed() {
	k.backoff = min(k.backoff+backoffStep, backoffMax)
	if k.failures++; k.redirected != nil && k.failures >= redirectLife {
		k.redirected, k.failures = nil, 0
	}
}

// hop ends a chain of redirections that leads to no work.
func (k *Keeper) hop() {
	if k.hops++; k.hops > redirectLife {
		k.redirected, k.hops = nil, 0
	}
}

// jitter keeps the clients of a restarted pool from coming back all at once.
func (k *Keeper) jitter(d time.Duration) time.Duration { return d + rand.N(time.Second) }

// pump passes the events of a connection on. worked tells that there was work,
// reconnect that the pool asked for another connection.
func (k *Keeper) pump(ctx context.Context, c *Client) (worked bool, reconnect *stratum.Reconnect, err error) {
	defer c.Close()
	for {
		select {
		case <-ctx.Done():
			return worked, nil, ctx.Err()
		case event := <-c.Events():
			switch e := event.(type) {
			case Closed:
				return worked, nil, e.Err
			case Extranonce:
				k.session = e.SessionID
			case Notify:
				worked = true
			case Reconnect:
				if k.follow(c.endpoint, e.Reconnect) {
					_ = k.handle(c, e) // it ends anyway
					return worked, &e.Reconnect, errReconnect
				}
			}
			if err := k.handle(c, event); err != nil {
				return worked, nil, err
			}
		}
	}
}

// follow reports whether to make another connection, and notes where.
func (k *Keeper) follow(from Endpoint, r stratum.Reconnect) bool {
	if k.opts.IgnoreRedirects || r.Host == "" && r.Port == 0 {
		return true
	}
	to, err := from.Redirect(r)
	if err != nil {
		return false
	}
	k.redirected, k.failures = &to, 0
	return true
}
