package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ckpool/ckpool/stratum"
)

// ErrBusy is why a share is not sent: the pool has not taken, or not answered,
// too many of those before.
var ErrBusy = errors.New("the pool does not keep up")

// ErrUnanswered is why a share has no verdict that the pool has not answered in
// Options.AnswerTimeout, while it answers others.
var ErrUnanswered = errors.New("timed out")

// maxUnanswered is how many requests may wait for their answers.
const maxUnanswered = 1 << 16

// Share is a solution of a job.
type Share struct {
	Worker         string // empty: the endpoint's user
	Extranonce2    []byte // as long as the job's Extranonce says
	NTime, Nonce   uint32 // of the header
	VersionBits    uint32 // only bits of the job's VersionMask
	HasVersionBits bool   // version bits were negotiated and are sent
}

// Verdict is what a pool says of a share. Without Reject and Err it is accepted.
type Verdict struct {
	Reject *stratum.Reject // why it was refused, with a text of at most 200 bytes
	// Err is why there is no answer, an ErrClosed or ErrUnanswered: the share may count, or not.
	// It is also an ErrMoving where the answer comes in another process, to ID.
	Err  error
	ID   uint64        // of the share, on its connection
	Took time.Duration // from Send to the verdict
}

// Send sends a share without waiting. verdict is called once, on a goroutine of the
// client's, which it must not hold up: it may call Send and End, but neither Submit nor
// Close, which wait for that goroutine. An error says that the share is not sent:
// it is ErrBusy or an ErrClosed, and verdict is not called.
func (c *Client) Send(jobID string, s Share, verdict func(Verdict)) error {
	_, err := c.submit(jobID, &s, c.verdict(time.Now(), verdict))
	return err
}

// verdict is what tells the verdict on a share.
func (c *Client) verdict(began time.Time, tell func(Verdict)) replyFunc {
	return func(id uint64, m *stratum.Message) {
		v := Verdict{ID: id, Took: time.Since(began)}
		if m == nil {
			v.Err = c.unanswered()
		} else if v.Reject = m.Verdict(); v.Reject != nil {
			v.Reject.Text = short(v.Reject.Text, maxReason)
		}
		tell(v)
	}
}

// Submit sends a share and waits for the pool's verdict: a nil Reject means
// accepted. The error tells that there was no verdict.
func (c *Client) Submit(ctx context.Context, jobID string, s Share) (*stratum.Reject, error) {
	verdict := make(chan *stratum.Reject, 1)
	id, err := c.submit(jobID, &s, func(_ uint64, m *stratum.Message) {
		if m != nil {
			verdict <- m.Verdict()
		}
		close(verdict)
	})
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	select {
	case r, answered := <-verdict:
		if !answered {
			return nil, fmt.Errorf("submit: %w", c.unanswered())
		}
		return r, nil
	case <-ctx.Done():
		c.forget(id)
		return nil, fmt.Errorf("submit: no answer: %w", ctx.Err())
	}
}

func (c *Client) submit(jobID string, s *Share, reply replyFunc) (id uint64, err error) {
	worker := s.Worker
	if worker == "" {
		worker = c.endpoint.User
	}
	return c.enqueue(func(b, id []byte) []byte {
		return stratum.AppendSubmit(b, id, worker, jobID, s.Extranonce2, s.NTime, s.Nonce, s.VersionBits, s.HasVersionBits)
	}, reply, true)
}

// unanswered is why there is no answer to a share.
func (c *Client) unanswered() error {
	c.mu.Lock()
	alive := c.err == nil
	c.mu.Unlock()
	if alive {
		return ErrUnanswered
	}
	return c.ended()
}

// overdue finds the share that has waited longest for its answer.
type overdue struct {
	timer    *time.Timer
	since    []asked   // in the order they were sent; some are answered
	answered time.Time // when the last answer to a share came
}

type asked struct {
	id uint64
	at time.Time
}

// add notes a share. c.mu is held.
func (o *overdue) add(c *Client, id uint64) {
	if c.opts.AnswerTimeout <= 0 {
		return
	}
	if len(o.since) > 2*len(c.pending)+1024 { // an old one is open and many behind it are not
		kept := o.since[:0]
		for _, a := range o.since {
			if _, open := c.pending[a.id]; open {
				kept = append(kept, a)
			}
		}
		o.since = kept
	}
	if o.since = append(o.since, asked{id, time.Now()}); o.timer == nil {
		o.timer = time.AfterFunc(c.opts.AnswerTimeout, c.lookOverdue)
	} else if len(o.since) == 1 {
		o.timer.Reset(c.opts.AnswerTimeout)
	}
}

func (o *overdue) stop() {
	if o.timer != nil {
		o.timer.Stop()
	}
}

// lookOverdue gives up shares that have waited too long, or the connection when no other
// was answered meanwhile.
func (c *Client) lookOverdue() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	o, now, n := &c.shares, time.Now(), 0
	late := map[uint64]replyFunc{}
	dead := false
	for ; n < len(o.since); n++ {
		a := o.since[n]
		p, open := c.pending[a.id]
		if !open {
			continue
		}
		if rest := c.opts.AnswerTimeout - now.Sub(a.at); rest > 0 {
			o.timer.Reset(rest)
			break
		}
		if dead = now.Sub(o.answered) >= c.opts.AnswerTimeout; dead {
			break
		}
		late[a.id] = p.reply
		delete(c.pending, a.id)
	}
	o.since = append(o.since[:0], o.since[n:]...)
	c.forgetting.Add(1)
	c.mu.Unlock()
	for id, reply := range late {
		reply(id, nil)
	}
	c.forgetting.Done()
	if dead {
		c.fail(fmt.Errorf("%w for %v", errUnanswered, c.opts.AnswerTimeout))
	}
}

// short is a text of at most so many bytes.
func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.Clone(s[:most])
}
