// Package authority is what a pool asks ckdb and what ckdb tells a pool: who may
// mine, with what least difficulty, and what becomes of that later. [Client] is the
// pool's side, [Server] is ckdb's, over what [Accounts] knows.
//
// The pool connects to ckdb's socket "listener" and sends the request "authority"
// with its hello as JSON. From then on both sides send frames of package control,
// each one message in JSON: questions and answers, which have a number and come in
// any order, and changes, which ckdb sends of itself. A change has a number too,
// and a pool that connects again says which one was its last, so that it gets those
// it has missed, and none twice.
//
// No answer is one as well: a pool that hears nothing in time goes on without, see
// [Unanswered].
package authority

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/control"
)

// Where a pool finds ckdb, and what it asks for there.
const (
	Socket  = "listener"
	Command = "authority"
)

// version is that of the protocol. Each side refuses another one in words.
const version = 1

const (
	maxFrame = 1 << 20 // bytes
	maxBatch = 64      // questions, answers or changes in a frame
	maxText  = 256     // bytes of what a miner has sent, in a question

	// helloTime is for connecting and the hello of the other side.
	helloTime = 3 * time.Second
	// pingEvery is how often the pool shows that it is there, and asks for a sign
	// of ckdb; without one for silentTime either side gives the connection up.
	pingEvery  = 5 * time.Second
	silentTime = 15 * time.Second
	writeTime  = 10 * time.Second
)

// Question is whether a user and its worker may mine.
type Question struct {
	ID        uint64     `json:"id"`     // of the connection
	User      string     `json:"user"`   // without the worker
	Worker    string     `json:"worker"` // with the user
	Password  string     `json:"password,omitempty"`
	Remote    netip.Addr `json:"remote"` // the miner's address
	UserAgent string     `json:"useragent,omitempty"`
	// Payable tells that the user is an address of the pool's network, which may
	// mine without an account.
	Payable bool `json:"payable,omitempty"`
}

// Verdict is what an answer comes to.
type Verdict string

const (
	// Unanswered: ckdb does not know, or there is no ckdb. The pool decides.
	Unanswered Verdict = ""
	Allowed    Verdict = "allowed"
	Refused    Verdict = "refused" // with a text for the miner
	Locked     Verdict = "locked"  // likewise; the account exists
)

// Answer is that to the question of the same ID.
type Answer struct {
	ID      uint64  `json:"id"`
	Verdict Verdict `json:"verdict,omitempty"`
	Text    string  `json:"text,omitempty"`
	// Minimum is the least difficulty of the worker, 0 none.
	Minimum float64 `json:"minimum,omitempty"`
	// Password tells that the password was looked at: with another one the answer
	// may be another.
	Password bool `json:"password,omitempty"`
	// Open tells that the user is allowed because nobody has registered yet. It is
	// asked for again: somebody may have by then.
	Open bool `json:"open,omitempty"`
}

func (a *Answer) check() error {
	switch a.Verdict {
	case Unanswered, Allowed, Refused, Locked:
	default:
		return fmt.Errorf("answer %d is %.40q", a.ID, a.Verdict)
	}
	return checkMinimum(a.Minimum)
}

func checkMinimum(d float64) error {
	if d < 0 || math.IsInf(d, 0) || d != d {
		return fmt.Errorf("least difficulty %v", d)
	}
	return nil
}

// Kind is what a change is about.
type Kind string

const (
	Lock     Kind = "lock"     // of a user; the text is for its miners
	Unlock   Kind = "unlock"   // of a user
	Password Kind = "password" // of a user: it has another one, or none
	Minimum  Kind = "minimum"  // of a worker: its least difficulty, 0 none
	Message  Kind = "message"  // to the miners of a user
	Privacy  Kind = "privacy"  // of a user: it is named to nobody, or is again
)

// Change is one that a pool is to hear of at once.
type Change struct {
	Number  uint64  `json:"number"` // from 1, growing, with gaps
	Kind    Kind    `json:"kind"`
	User    string  `json:"user"`
	Worker  string  `json:"worker,omitempty"` // with the user, for Minimum
	Text    string  `json:"text,omitempty"`   // of Lock and Message
	Minimum float64 `json:"minimum,omitempty"`
	Private bool    `json:"private,omitempty"` // of Privacy
}

func (c *Change) check() error {
	switch c.Kind {
	case Lock, Unlock, Password, Minimum, Message, Privacy:
	default:
		return fmt.Errorf("change %d is of kind %.40q", c.Number, c.Kind)
	}
	if c.Number == 0 || c.User == "" || c.Kind == Minimum && c.Worker == "" {
		return fmt.Errorf("change %d is of nobody", c.Number)
	}
	return checkMinimum(c.Minimum)
}

// Position is how far somebody knows the changes of a store. Those of another store
// have nothing to do with it.
type Position struct {
	Store  string `json:"store"` // a name that no other store has
	Number uint64 `json:"number"`
}

// hello is the first of each side.
type hello struct {
	Version int    `json:"version"`
	Program string `json:"program"` // that speaks, with its version
	// Position: of the pool the last change it has heard of, of ckdb the last there
	// is.
	Position Position `json:"position"`
	// Privacy tells that the pool knows changes of that kind. Of others it would hear
	// nonsense.
	Privacy bool `json:"privacy,omitempty"`
	// Refused is why ckdb does not go on.
	Refused string `json:"refused,omitempty"`
}

// message is a frame after the hellos.
type message struct {
	Questions []Question `json:"questions,omitempty"`
	Answers   []Answer   `json:"answers,omitempty"`
	Changes   []Change   `json:"changes,omitempty"`
	// Number, if not 0, is that of the last change there is, as far as this
	// message goes: those that concern no pool are left out.
	Number uint64 `json:"number,omitempty"`
	Ping   bool   `json:"ping,omitempty"` // to be sent back
}

var errLong = fmt.Errorf("a message with more than %d entries", maxBatch)

func (m *message) check() error {
	if max(len(m.Questions), len(m.Answers), len(m.Changes)) > maxBatch {
		return errLong
	}
	for i := range m.Answers {
		if err := m.Answers[i].check(); err != nil {
			return err
		}
	}
	for i := range m.Changes {
		if err := m.Changes[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// readMessage reads a frame. The error is io.EOF at the end.
func readMessage(r io.Reader) (m message, err error) {
	frame, err := control.ReadFrame(r, maxFrame)
	if err != nil {
		return m, err
	}
	if err = json.Unmarshal(frame, &m); err == nil {
		err = m.check()
	}
	if err != nil {
		return m, fmt.Errorf("%w: %w", errNonsense, err)
	}
	return m, nil
}

var errNonsense = errors.New("what came is no message")

func write(w io.Writer, v any) error {
	frame, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return control.WriteFrame(w, frame)
}

// cut is the beginning of what a miner has sent.
func cut(s string) string { return s[:min(len(s), maxText)] }
