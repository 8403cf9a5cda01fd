package client

import (
	"context"
	"math/rand/v2"
	"time"

	"ckpool/stratum"
)

const (
	backoffStep  = 5 * time.Second
	backoffMax   = time.Minute
	shortLife    = 5 * time.Second // a connection that ends sooner counts as failed
	redirectLife = 3               // failures at a redirected address until the configured one is used again
)

// link keeps the connection to one endpoint of a group.
type link struct {
	group    *Group
	index    int
	endpoint Endpoint // as configured

	redirected *Endpoint
	failures   int // at the redirected address
	quirks     quirks
	session    string
	backoff    time.Duration
}

func (l *link) run(ctx context.Context) {
	for ctx.Err() == nil {
		delay, err := l.connection(ctx)
		l.send(ctx, nil, Failed{l.index, err, delay})
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

// connection makes a connection and keeps it while it lasts. It returns why it
// ended, and after what time to make another.
func (l *link) connection(ctx context.Context) (retry time.Duration, err error) {
	target := l.endpoint
	if l.redirected != nil {
		target = *l.redirected
	}
	opts := l.group.opts
	opts.SessionID = l.session
	c, err := dial(ctx, target, opts, &l.quirks)
	if err != nil {
		l.failed()
		return l.jitter(l.backoff), err
	}
	began := time.Now()
	worked, reconnect, err := l.pump(ctx, c)
	l.send(ctx, c, Closed{err})
	if worked && time.Since(began) >= shortLife {
		l.backoff, l.failures = 0, 0
	} else {
		l.failed()
	}
	if reconnect != nil {
		return max(l.backoff, min(reconnect.Wait, backoffMax)), err
	}
	return l.jitter(max(l.backoff, time.Second)), err
}

// failed makes the next wait longer, and gives a redirection up.
func (l *link) failed() {
	l.backoff = min(l.backoff+backoffStep, backoffMax)
	if l.failures++; l.redirected != nil && l.failures >= redirectLife {
		l.redirected, l.failures = nil, 0
	}
}

// jitter keeps the clients of a restarted pool from coming back all at once.
func (l *link) jitter(d time.Duration) time.Duration { return d + rand.N(time.Second) }

// pump passes the events of a connection on. worked tells that there was work,
// reconnect that the pool asked for another connection.
func (l *link) pump(ctx context.Context, c *Client) (worked bool, reconnect *stratum.Reconnect, err error) {
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
				l.session = e.SessionID
			case Notify:
				worked = true
			case Reconnect:
				if l.follow(c.endpoint, e.Reconnect) {
					l.send(ctx, c, e)
					return worked, &e.Reconnect, errReconnect
				}
			}
			l.send(ctx, c, event)
		}
	}
}

// follow reports whether to make another connection, and notes where.
func (l *link) follow(from Endpoint, r stratum.Reconnect) bool {
	if l.group.opts.IgnoreRedirects || r.Host == "" && r.Port == 0 {
		return true
	}
	to, err := from.Redirect(r)
	if err != nil {
		return false
	}
	l.redirected, l.failures = &to, 0
	return true
}

func (l *link) send(ctx context.Context, c *Client, e Event) {
	select {
	case l.group.inbox <- groupEvent{l.index, c, e}:
	case <-ctx.Done():
	}
}
