package authority

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
)

// Miners are whom changes concern. Methods are called one at a time and must not
// wait.
type Miners interface {
	// Lock sends the miners of a user away with a text.
	Lock(user, text string)
	// SetMinimum gives a worker another least difficulty; 0 is none.
	SetMinimum(worker string, difficulty float64)
	// SetPrivate has a user named to nobody, or ends that.
	SetPrivate(user string, private bool)
	// Message shows a text to the miners of a user.
	Message(user, text string)
}

// Options are what a Client needs.
type Options struct {
	Place   Place
	Program string // name and version, for ckdb
	Miners  Miners
	Events  event.Func
}

// Client asks ckdb and hears its changes, while Run runs. Its methods may be called
// from any goroutine and never wait for ckdb.
type Client struct {
	// immutable
	options Options
	wake    chan struct{} // capacity 1: there is something to send

	mu sync.Mutex
	// guarded by mu
	answers  answers
	asked    map[uint64]*asked
	unsent   []*asked // in the order they came; some may be over
	lastID   uint64
	up       bool      // connected, and something sensible has come
	since    time.Time // when up changed last
	position Position
}

// asked is a question that has no answer yet.
type asked struct {
	question Question
	done     func(Answer) // nil: it is answered without ckdb
	at       time.Time
	change   uint64 // the newest change when it was sent
}

const (
	// AnswerTime is how long a miner that logs in waits for ckdb.
	AnswerTime = 3 * time.Second
	// lateTime is how long an answer is of use that comes too late for the login.
	lateTime = 30 * time.Second
	// maxAsked is how many questions there may be at a time.
	maxAsked = 1 << 14

	sweepEvery = 250 * time.Millisecond
	// Pauses between attempts to connect, doubled from the first to the last.
	firstPause = 100 * time.Millisecond
	lastPause  = time.Second
)

// NewClient makes a client that knows nothing yet.
func NewClient(o Options) *Client {
	return &Client{
		options: o, wake: make(chan struct{}, 1),
		answers: newAnswers(), asked: map[uint64]*asked{}, since: time.Now(),
	}
}

// Ask gives the answer to a question if it is known, or if nobody will give one:
// that is Unanswered. Otherwise ok is false, and done is called once within
// AnswerTime, from another goroutine; it must not block. Texts of q are kept only
// as copies.
func (c *Client) Ask(q Question, done func(Answer)) (a Answer, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.answers.find(&q); ok {
		return a, true
	}
	now := time.Now()
	if len(c.asked) >= maxAsked || !c.up && now.Sub(c.since) > AnswerTime {
		return Answer{}, true
	}
	c.lastID++
	q.ID = c.lastID
	q.User, q.Worker, q.Password, q.UserAgent = strings.Clone(q.User), strings.Clone(q.Worker), strings.Clone(cut(q.Password)), strings.Clone(cut(q.UserAgent))
	k := &asked{question: q, done: done, at: now}
	c.asked[q.ID] = k
	c.send(k)
	return a, false
}

// Known is the answer if it is known now.
func (c *Client) Known(q Question) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers.find(&q)
}

// send is for a caller that holds mu.
func (c *Client) send(k *asked) {
	c.unsent = append(c.unsent, k)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Position is up to where changes are known, for the Client of another process
// to go on from.
func (c *Client) Position() Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position
}

// SetPosition makes Run go on from there. Only before it.
func (c *Client) SetPosition(p Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.position = p
}

// Up tells whether ckdb is there.
func (c *Client) Up() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// Run keeps a connection to ckdb until ctx ends. Then nothing is asked any more.
func (c *Client) Run(ctx context.Context) {
	var limits sync.WaitGroup
	defer limits.Wait()
	limits.Go(func() { c.keepLimits(ctx) })
	pause, last := firstPause, ""
	for ctx.Err() == nil {
		wasUp, err := c.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		if wasUp {
			pause = firstPause
		}
		// Of the next attempts, all for the same reason, nobody wants to hear.
		if text := reason(err); wasUp || text != last {
			last = text
			c.options.Events.Say(event.Warning, c.options.Place.who()+" is away: "+text+"; known users go on, addresses may mine, other new names are told to try again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// reason is an error in words for an operator.
func reason(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it has closed the connection"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "it does not answer"
	}
	return err.Error()
}

// connection is one connection to ckdb, from hello to end.
func (c *Client) connection(ctx context.Context) (wasUp bool, err error) {
	conn, theirs, err := c.options.Place.dial(ctx, hello{Version: version, Program: c.options.Program, Position: c.Position(), Privacy: true})
	if err != nil {
		return false, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fresh := c.begin(theirs.Position)
	var writing sync.WaitGroup
	writing.Go(func() {
		if c.write(ctx, conn) != nil {
			_ = conn.CloseRead()
		}
	})
	err = c.read(conn, fresh, theirs.Program)
	cancel()
	writing.Wait()
	return c.end(), err
}

// newStore is a store that changes are not known of. Until all is that was changed
// before, it is none to go on from.
type newStore struct{ until Position }

// begin is for a connection after the hellos.
func (c *Client) begin(theirs Position) *newStore {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.position.Store == theirs.Store && c.position.Number <= theirs.Number {
		return nil
	}
	c.answers = newAnswers() // of another store, or without changes that were missed
	c.position = Position{}
	for _, k := range c.asked {
		k.change = 0
	}
	if theirs.Number == 0 {
		c.position = theirs
		return nil
	}
	return &newStore{theirs}
}

// isUp notes that ckdb talks.
func (c *Client) isUp(program string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.up {
		c.up, c.since = true, time.Now()
		c.options.Events.Say(event.Notice, fmt.Sprintf("Asking %s (%.60s) who may mine", c.options.Place.who(), program))
	}
}

// end leaves questions to the next connection.
func (c *Client) end() (wasUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wasUp = c.up; wasUp {
		c.up, c.since = false, time.Now()
	}
	c.unsent = c.unsent[:0]
	for id, k := range c.asked {
		if k.done == nil {
			delete(c.asked, id)
			continue
		}
		c.send(k)
	}
	return wasUp
}

// write sends questions as they come, and a ping when there are none.
func (c *Client) write(ctx context.Context, conn *net.UnixConn) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	m := message{Ping: true}
	for {
		for {
			m.Questions = c.take()
			if len(m.Questions) == 0 && !m.Ping {
				break
			}
			_ = conn.SetWriteDeadline(time.Now().Add(writeTime))
			if err := write(conn, m); err != nil {
				return err
			}
			m.Ping = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ping.C:
			m.Ping = true
		case <-c.wake:
		}
	}
}

// take is the next questions to send.
func (c *Client) take() (list []Question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.unsent) > 0 && len(list) < maxBatch {
		k := c.unsent[0]
		c.unsent[0] = nil
		c.unsent = c.unsent[1:]
		if c.asked[k.question.ID] == k && k.done != nil {
			k.change = c.answers.change
			list = append(list, k.question)
		}
	}
	if len(c.unsent) == 0 {
		c.unsent = nil
	}
	return list
}

// read takes answers and changes until the connection ends.
func (c *Client) read(conn *net.UnixConn, fresh *newStore, program string) error {
	for {
		_ = conn.SetReadDeadline(time.Now().Add(silentTime))
		m, err := readMessage(conn)
		if err != nil {
			return err
		}
		c.isUp(program)
		for i := range m.Changes {
			c.changed(&m.Changes[i])
		}
		for i := range m.Answers {
			c.answered(&m.Answers[i])
		}
		if m.Number == 0 {
			continue
		}
		if fresh != nil && m.Number < fresh.until.Number {
			continue
		}
		c.mu.Lock()
		if fresh != nil {
			c.position.Store = fresh.until.Store
			fresh = nil
		}
		c.position.Number = max(c.position.Number, m.Number)
		c.mu.Unlock()
	}
}

// changed puts a change in force: first for logins to come, then for the miners
// that are there.
func (c *Client) changed(n *Change) {
	c.mu.Lock()
	c.answers.apply(n)
	c.mu.Unlock()
	switch n.Kind {
	case Lock:
		c.options.Miners.Lock(n.User, lockText(n.Text))
	case Minimum:
		c.options.Miners.SetMinimum(n.Worker, n.Minimum)
	case Message:
		c.options.Miners.Message(n.User, n.Text)
	case Privacy:
		c.options.Miners.SetPrivate(n.User, n.Private)
	}
}

// answered gives an answer to who has asked.
func (c *Client) answered(a *Answer) {
	c.mu.Lock()
	k := c.asked[a.ID]
	if k == nil {
		c.mu.Unlock()
		return
	}
	if a.Verdict != Unanswered && c.answers.isLater(&k.question, k.change) { // it may be what was true before
		if k.done != nil {
			c.send(k)
		}
		c.mu.Unlock()
		return
	}
	delete(c.asked, a.ID)
	c.answers.put(&k.question, a)
	done := k.done
	c.mu.Unlock()
	if done != nil {
		done(*a)
		return
	}
	// The miner is mining, or was sent away, without.
	if a.Verdict == Locked {
		c.options.Miners.Lock(k.question.User, lockText(a.Text))
	}
	if a.Minimum > 0 {
		c.options.Miners.SetMinimum(k.question.Worker, a.Minimum)
	}
}

// keepLimits answers what has waited too long.
func (c *Client) keepLimits(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, done := range c.overdue(time.Now().Add(lateTime)) {
				done(Answer{})
			}
			return
		case now := <-tick.C:
			for _, done := range c.overdue(now) {
				done(Answer{})
			}
		}
	}
}

func (c *Client) overdue(now time.Time) (over []func(Answer)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers.age(now)
	for id, k := range c.asked {
		waited := now.Sub(k.at)
		if k.done != nil && waited >= AnswerTime {
			over = append(over, k.done)
			k.done = nil
		}
		if waited >= lateTime {
			delete(c.asked, id)
		}
	}
	return over
}
