package client

import (
	"context"
	"errors"
	"fmt"

	"ckpool/stratum"
)

// quirks are what a pool turned out not to take.
type quirks struct {
	noConfigure      bool // closes the connection on mining.configure
	noSubscribeParam bool // wants mining.subscribe without parameters
}

// dial tries again where the pool seems to dislike an optional part of the
// handshake, and remembers it in q.
func dial(ctx context.Context, e Endpoint, opts Options, q *quirks) (*Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, opts.HandshakeTimeout,
		fmt.Errorf("no answer in %v", opts.HandshakeTimeout))
	defer cancel()
	for {
		c, err := attempt(ctx, e, opts, q)
		if err == nil {
			return c, nil
		}
		var refused *RefusedError
		dropped, notSubscribed := errors.Is(err, ErrClosed), errors.As(err, &refused) && refused.Method == "mining.subscribe"
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case dropped && opts.VersionMask != 0 && !q.noConfigure:
			q.noConfigure = true
			continue
		case (dropped || notSubscribed) && !q.noSubscribeParam:
			q.noSubscribeParam = true
			continue
		}
		*q = quirks{} // the fault was another one
		return nil, fmt.Errorf("%s: %w", e.URL, err)
	}
}

// attempt connects and goes through the handshake once. Errors that are
// ErrClosed mean that the pool dropped the connection before it had answered
// mining.subscribe.
func attempt(ctx context.Context, e Endpoint, opts Options, q *quirks) (*Client, error) {
	conn, err := e.connect(ctx, &opts)
	if err != nil {
		return nil, err
	}
	c := &Client{
		endpoint: e,
		opts:     opts,
		conn:     conn,
		events:   make(chan Event, maxEvents+1),
		done:     make(chan struct{}),
		pending:  map[uint64]replyFunc{},
	}
	go c.read()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	err = c.handshake(q)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) handshake(q *quirks) error {
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
	if err := c.call("mining.subscribe", func(b, id []byte) []byte {
		return stratum.AppendSubscribe(b, id, agent, session)
	}, c.subscribe); err != nil {
		return err
	}
	err := c.call("mining.authorize", func(b, id []byte) []byte {
		return stratum.AppendAuthorize(b, id, c.endpoint.User, c.endpoint.Password)
	}, authorized)
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
		_, err := c.request(func(b, id []byte) []byte {
			return stratum.AppendSuggestDifficulty(b, id, c.opts.SuggestDifficulty)
		}, noReply)
		return err
	}
	return nil
}

// call sends a request and waits until accept, on the reading goroutine, has
// seen the reply.
func (c *Client) call(method string, line func(b, id []byte) []byte, accept func(*stratum.Message) *stratum.Reject) error {
	result := make(chan error, 1)
	if _, err := c.request(line, func(m *stratum.Message) {
		if m == nil {
			result <- c.ended()
		} else if reject := accept(m); reject != nil {
			result <- &RefusedError{method, *reject}
		} else {
			result <- nil
		}
	}); err != nil {
		return err
	}
	return <-result
}

// subscribe takes the reply to mining.subscribe.
func (c *Client) subscribe(m *stratum.Message) *stratum.Reject {
	extranonce, err := stratum.ParseSubscribeResult(m.Result)
	if err != nil {
		if text, ok := stratum.String(m.Result, nil); ok && len(text) > 0 {
			return &stratum.Reject{Code: stratum.Other, Text: string(text)}
		}
		if m.HasError() {
			return m.Verdict()
		}
		return &stratum.Reject{Code: stratum.Other, Text: err.Error()}
	}
	c.setExtranonce(extranonce)
	return nil
}

// authorized takes the reply to mining.authorize: without an error, null or
// nothing counts as true.
func authorized(m *stratum.Message) *stratum.Reject {
	if !m.HasError() && (m.Result == nil || string(m.Result) == "null") && m.RejectReason == nil {
		return nil
	}
	return m.Verdict()
}

// configured takes the reply to mining.configure.
func (c *Client) configured(m *stratum.Message) {
	if m == nil || m.HasError() {
		return
	}
	if mask, err := stratum.ParseConfigureResult(m.Result); err == nil {
		c.setVersionMask(mask)
	}
}

func noReply(*stratum.Message) {}
