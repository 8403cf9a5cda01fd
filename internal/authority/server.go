package authority

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/credentials"
)

// Account is what is known of a user and one of its workers.
type Account struct {
	Registered bool    // there is one of that name
	Open       bool    // there is none, and none is needed: nobody has registered
	Password   string  // hashed, see package credentials; "": every password will do
	Locked     bool    // it may not mine
	Text       string  // for its miners: why it is locked
	Minimum    float64 // least difficulty of the worker, 0 none
}

// Accounts are those of a store. Methods may be called from any goroutine.
type Accounts interface {
	// Find looks up who a question is about. A user that nobody has registered is
	// no error.
	Find(ctx context.Context, q Question) (Account, error)
	// Position is the newest change. Its Store is another one whenever numbers
	// may mean something else, as after a backup was restored.
	Position(ctx context.Context) (Position, error)
	// Changes are those after a number, at most so many, the oldest first. It
	// waits until there is one or ctx ends. Of several locks, unlocks, passwords,
	// minimums or privacies of the same user or worker the last is enough.
	Changes(ctx context.Context, after uint64, most int) ([]Change, error)
	// AddTry counts a try of a password by each of the limits, or by none and says
	// how long to wait. It outlives this process.
	AddTry(ctx context.Context, limits []credentials.Limit) (wait time.Duration, err error)
	// TakeBackTry takes back what AddTry counted.
	TakeBackTry(ctx context.Context, limits []credentials.Limit) error
}

// Server answers pools. Its methods may be called from any goroutine.
type Server struct {
	// immutable
	accounts  Accounts
	program   string
	events    event.Func
	passwords *passwords

	mu   sync.Mutex
	told time.Time // guarded by mu; when an error was last told
}

// NewServer serves accounts. program is the name and version that pools are told.
func NewServer(accounts Accounts, program string, events event.Func) *Server {
	return &Server{accounts: accounts, program: program, events: events, passwords: newPasswords(accounts)}
}

// Commands registers what pools ask for with a control server.
func (s *Server) Commands(c *control.Server) { c.HandleConn(Socket, Command, s.serve) }

// Serve talks to a pool that is reached by other means, until ctx ends or the connection
// does, which is closed then.
func (s *Server) Serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(helloTime))
	request, err := control.ReadFrame(conn, maxFrame)
	if err != nil {
		return
	}
	_, args, _ := strings.Cut(string(request), " ")
	s.serve(ctx, conn, args)
}

const (
	// lookups is how many questions of a pool are looked up at the same time.
	lookups = 32
	// lookupTime is for one: the pool has given up long before.
	lookupTime = 10 * time.Second
)

// connection is one connected pool.
type connection struct {
	server *Server
	conn   *net.UnixConn

	writing sync.Mutex // one frame at a time
}

// serve talks to one pool until ctx ends or the connection does.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn, args string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := &connection{server: s, conn: conn}
	pool, after, err := c.greet(ctx, args)
	if err != nil {
		s.events.Say(event.Warning, "Not talking to a pool: "+err.Error())
		return
	}
	if pool.Program == "" { // [Place.Answers]
		return
	}
	s.events.Say(event.Notice, fmt.Sprintf("A pool (%s) asks who may mine", pool.Program))
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := c.tellChanges(ctx, after, pool.Privacy); err != nil && ctx.Err() == nil {
			s.tell("Changes of accounts do not reach a pool", err)
		}
		cancel() // the pool connects again
	})
	err = c.answer(ctx)
	ended := ctx.Err() != nil
	cancel()
	parts.Wait()
	if err != nil && !ended && !errors.Is(err, io.EOF) {
		s.events.Say(event.Warning, fmt.Sprintf("A pool (%s) is gone: %v", pool.Program, err))
	}
}

// subscription is where changes begin that a pool is to hear of.
type subscription struct {
	number uint64
	// state tells that the pool knew nothing: up to this number it gets what is
	// true now, but no message again.
	state uint64
}

// greet answers the hello of a pool.
func (c *connection) greet(ctx context.Context, args string) (pool hello, after subscription, err error) {
	mine := hello{Version: version, Program: c.server.program}
	if err = json.Unmarshal([]byte(args), &pool); err != nil {
		err = fmt.Errorf("its hello is %.60q", args)
	} else if pool.Version != version {
		err = otherVersion("the pool", pool)
	}
	if err == nil {
		mine.Position, err = c.server.accounts.Position(ctx)
	}
	if err != nil {
		mine.Refused = err.Error()
	}
	if writeErr := c.write(mine); err == nil {
		err = writeErr
	}
	if pool.Position.Store == mine.Position.Store && pool.Position.Number <= mine.Position.Number {
		after.number = pool.Position.Number
	} else {
		after.state = mine.Position.Number
	}
	return pool, after, err
}

func (c *connection) write(v any) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTime))
	return write(c.conn, v)
}

// answer reads questions and answers them.
func (c *connection) answer(ctx context.Context) error {
	var asked sync.WaitGroup
	defer asked.Wait()
	free := make(chan struct{}, lookups)
	answers := make(chan Answer, lookups)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked.Go(func() { c.sendAnswers(ctx, answers) })
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(silentTime))
		m, err := readMessage(c.conn)
		if err != nil {
			return err
		}
		for i := range m.Questions {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			asked.Go(func() {
				a := c.server.Answer(ctx, m.Questions[i])
				<-free
				select {
				case answers <- a:
				case <-ctx.Done():
				}
			})
		}
		if m.Ping {
			if err := c.write(message{Ping: true}); err != nil {
				return err
			}
		}
	}
}

// sendAnswers sends those that there are at a time in one frame.
func (c *connection) sendAnswers(ctx context.Context, answers <-chan Answer) {
	for {
		var m message
		select {
		case a := <-answers:
			m.Answers = append(m.Answers, a)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(m.Answers) < maxBatch; {
			select {
			case a := <-answers:
				m.Answers = append(m.Answers, a)
			default:
				more = false
			}
		}
		if c.write(m) != nil {
			_ = c.conn.CloseRead() // nobody is there to ask
			return
		}
	}
}

// tellChanges sends changes as they come, those of privacy where the pool knows such.
func (c *connection) tellChanges(ctx context.Context, after subscription, privacy bool) error {
	for {
		list, err := c.server.accounts.Changes(ctx, after.number, maxBatch)
		if err != nil {
			return err
		}
		var m message
		for _, change := range list {
			if change.Number <= after.number {
				return fmt.Errorf("change %d comes after %d", change.Number, after.number)
			}
			after.number = change.Number
			if (change.Kind != Message || change.Number > after.state) && (change.Kind != Privacy || privacy) {
				m.Changes = append(m.Changes, change)
			}
		}
		m.Number = after.number
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(list) == 0 {
			continue
		}
		if err := m.check(); err != nil {
			return err
		}
		if err := c.write(m); err != nil {
			return err
		}
	}
}

// Answer decides a question.
func (s *Server) Answer(ctx context.Context, q Question) Answer {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	a, err := s.decide(ctx, &q)
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.tell("A pool gets no answer", err)
		}
		a = Answer{}
	}
	a.ID = q.ID
	return a
}

func (s *Server) decide(ctx context.Context, q *Question) (Answer, error) {
	account, err := s.accounts.Find(ctx, *q)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Verdict: Allowed, Minimum: account.Minimum}
	switch {
	case !account.Registered && !q.Payable && account.Locked: // no password keeps it from strangers
	case !account.Registered && !q.Payable && account.Open:
		a.Open = true
	case !account.Registered && !q.Payable:
		return Answer{Verdict: Refused, Text: "No account of that name: register it, or use a bitcoin address as user name"}, nil
	case account.Registered && account.Password != "":
		a.Password = true
		right, wait, err := s.passwords.check(ctx, q, account.Password)
		switch {
		case err != nil:
			return a, err
		case wait > 0:
			return Answer{Verdict: Refused, Text: "Too many wrong passwords from your address, " + retryIn(wait), Password: true}, nil
		case !right:
			return Answer{Verdict: Refused, Text: "Wrong password", Password: true}, nil
		}
	}
	if account.Locked {
		a.Verdict, a.Text = Locked, lockText(account.Text)
	}
	return a, nil
}

// lockText is what miners of a locked account are told.
func lockText(text string) string {
	if text = strings.TrimSpace(text); text != "" {
		return text
	}
	return "This account is locked: ask the pool's operator"
}

// tell tells an error, once a minute.
func (s *Server) tell(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.told) >= time.Minute {
		s.told = now
		s.events.Say(event.Error, what+": "+err.Error())
	}
}
