package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// Quirks are what a pool turned out not to take, which a connection after the
// next one need not find out again. The zero value is a pool that takes
// everything. They are for one Dial at a time.
type Quirks struct {
	noConfigure      bool // closes the connection on mining.configure
	noSubscribeParam bool // wants mining.subscribe without parameters
}

// dial tries again where the pool seems to dislike an optional part of the
// handshake, and remembers it.
func dial(ctx context.Context, e Endpoint, opts Options) (*Client, error) {
	q := opts.Quirks
	if q == nil {
		q = new(Quirks)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.HandshakeTimeout,
		fmt.Errorf("no answer in %v", opts.HandshakeTimeout))
	defer cancel()
	for {
		c, err := attempt(ctx, e, opts, q)
		if err == nil {
			return c, nil
		}
		var refused *RefusedError
		var unusable *UnusableError
		var redirected *redirectedError
		dropped := errors.Is(err, ErrClosed)
		notSubscribed := errors.As(err, &unusable) || errors.As(err, &refused) && refused.Method == "mining.subscribe"
		switch {
		case errors.As(err, &redirected):
			return nil, err
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case dropped && opts.VersionMask != 0 && !q.noConfigure:
			q.noConfigure = true
			continue
		case (dropped || notSubscribed) && !q.noSubscribeParam:
			q.noSubscribeParam = true
			continue
		}
		*q = Quirks{} // the fault was another one
		return nil, err
	}
}

// attempt connects and goes through the handshake once. Errors that are
// ErrClosed mean that the pool dropped the connection before it had answered
// mining.subscribe.
func attempt(ctx context.Context, e Endpoint, opts Options, q *Quirks) (*Client, error) {
	conn, err := e.connect(ctx, &opts)
	if err != nil {
		return nil, err
	}
	c := newClient(conn, e, opts)
	c.Start()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	err = c.handshake(q)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.Close()
		for _, held := range c.held {
			if e, ok := held.(Reconnect); ok {
				return nil, &redirectedError{e.Reconnect}
			}
		}
		return nil, err
	}
	return c, nil
}

// redirectedError is a client.reconnect instead of an answer to mining.subscribe.
type redirectedError struct{ stratum.Reconnect }

func (*redirectedError) Error() string { return errReconnect.Error() }

func newClient(conn net.Conn, e Endpoint, opts Options) *Client {
	c := &Client{
		endpoint: e,
		opts:     opts,
		conn:     conn,
		events:   make(chan Event, maxEvents+1),
		done:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
		ending:   make(chan struct{}),
		written:  make(chan struct{}),
		lines:    lineReader{r: conn, max: opts.MaxLine},
		pending:  map[uint64]pending{},
	}
	c.allowance.at = time.Now()
	return c
}

func (c *Client) handshake(q *Quirks) error {
	if c.opts.VersionMask != 0 && !q.noConfigure {
		// Not waited for: some pools never answer it.
		if _, err := c.request(func(b, id []byte) []byte {
			return stratum.AppendConfigure(b, id, c.opts.VersionMask, c.opts.MinBitCount)
		}, c.configured); err != nil {
			return err
		}
	}
	agent, session := c.opts.UserAgent, c.opts.SessionID
	if q.noSubscribeParam {
		agent = ""
	}
	if err := c.call(func(b, id []byte) []byte {
		return stratum.AppendSubscribe(b, id, agent, session)
	}, c.subscribe); err != nil {
		return err
	}
	err := c.call(authorizeLine(c.endpoint.User, c.endpoint.Password), authorized)
	if errors.Is(err, ErrClosed) {
		return errors.New("connection was closed instead of an answer to mining.authorize")
	}
	if err != nil {
		return err
	}
	if c.opts.ExtranonceSubscribe {
		if _, err := c.request(stratum.AppendExtranonceSubscribe, noReply); err != nil {
			return err
		}
	}
	if c.opts.SuggestDifficulty > 0 {
		return c.SuggestDifficulty(c.opts.SuggestDifficulty)
	}
	return nil
}

// SuggestDifficulty asks for a difficulty. A pool that has it sends it as one, others
// ignore it. An error says that nothing was asked.
func (c *Client) SuggestDifficulty(d float64) error {
	_, err := c.request(func(b, id []byte) []byte { return stratum.AppendSuggestDifficulty(b, id, d) }, noReply)
	return err
}

// call sends a request and waits until accept, on the reading goroutine, has
// seen the reply.
func (c *Client) call(line func(b, id []byte) []byte, accept func(*stratum.Message) error) error {
	result := make(chan error, 1)
	if _, err := c.request(line, func(_ uint64, m *stratum.Message) {
		if m == nil {
			result <- c.ended()
		} else {
			result <- accept(m)
		}
	}); err != nil {
		return err
	}
	return <-result
}

// subscribe takes the reply to mining.subscribe.
func (c *Client) subscribe(m *stratum.Message) error {
	extranonce, err := stratum.ParseSubscribeResult(m.Result)
	if err == nil {
		if len(extranonce.SessionID) > maxSessionID {
			extranonce.SessionID = ""
		}
		c.setExtranonce(extranonce)
		return nil
	}
	reject := stratum.Reject{Code: stratum.Other}
	if text, ok := stratum.String(m.Result, nil); ok && len(text) > 0 {
		reject.Text = string(text)
	} else if m.HasError() {
		reject = *m.Verdict()
	} else {
		return &UnusableError{err}
	}
	reject.Text = short(reject.Text, maxReason)
	return &RefusedError{"mining.subscribe", reject}
}

func authorizeLine(user, password string) func(b, id []byte) []byte {
	return func(b, id []byte) []byte { return stratum.AppendAuthorize(b, id, user, password) }
}

// Authorize asks for one more name on the connection, without waiting. answer is called
// once, on a goroutine of the client's, which it must not hold up: with nil, a
// RefusedError, or an ErrClosed where there is no answer. An error says that nothing was
// asked and answer is not called. Pools refuse to be asked for a name twice.
func (c *Client) Authorize(user, password string, answer func(error)) error {
	_, err := c.request(authorizeLine(user, password), func(_ uint64, m *stratum.Message) {
		if m == nil {
			answer(c.ended())
		} else {
			answer(authorized(m))
		}
	})
	return err
}

// authorized takes the reply to mining.authorize: without an error, null or
// nothing counts as true.
func authorized(m *stratum.Message) error {
	if !m.HasError() && (m.Result == nil || string(m.Result) == "null") && m.RejectReason == nil {
		return nil
	}
	if reject := m.Verdict(); reject != nil {
		reject.Text = short(reject.Text, maxReason)
		return &RefusedError{"mining.authorize", *reject}
	}
	return nil
}

// configured takes the reply to mining.configure.
func (c *Client) configured(_ uint64, m *stratum.Message) {
	if m == nil || m.HasError() {
		return
	}
	if mask, err := stratum.ParseConfigureResult(m.Result); err == nil {
		_ = c.setVersionMask(mask) // too much before the subscription is told by what follows
	}
}

func noReply(uint64, *stratum.Message) {}
