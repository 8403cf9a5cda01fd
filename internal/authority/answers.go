package authority

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/recent"
)

// answers are those that were given, kept true by the changes that come after
// them. Refusals are not kept: who is refused may register a moment later.
type answers struct {
	salt     [16]byte
	users    recent.Map[string, knownUser]
	minimums recent.Map[string, float64] // by worker
	aged     time.Time

	// Changes are counted, so that an answer that was under way at one is known
	// from its question. Those of a user are kept for longer than a question lives.
	change      uint64
	changes     recent.Map[string, uint64] // the last of a user
	changesAged time.Time
}

// knownUser may mine unless it is locked; with one of the passwords, if it has any.
type knownUser struct {
	locked    bool
	text      string
	allowed   bool // not only known to be locked or unlocked
	passwords []passwordDigest
	password  bool // is asked for
}

type passwordDigest [sha256.Size]byte

const (
	knownUsers      = 200_000
	knownWorkers    = 500_000
	knownAnswers    = 12 * time.Hour // while nobody logs in
	passwordsOfUser = 4
)

// foldWorker is a worker as workers are compared, whose name begins with the user's.
func foldWorker(user, worker string) string {
	n := min(len(user), len(worker))
	return address.Fold(worker[:n]) + worker[n:]
}

func newAnswers() answers {
	a := answers{
		users: recent.New[string, knownUser](knownUsers), minimums: recent.New[string, float64](knownWorkers),
		changes: recent.New[string, uint64](0),
	}
	rand.Read(a.salt[:])
	return a
}

func (a *answers) digest(password string) passwordDigest {
	return sha256.Sum256(append(a.salt[:len(a.salt):len(a.salt)], password...))
}

// find is the answer to a question.
func (a *answers) find(q *Question) (Answer, bool) {
	u, ok := a.users.Get(address.Fold(q.User))
	if !ok {
		return Answer{}, false
	}
	if u.locked {
		return Answer{Verdict: Locked, Text: u.text}, true
	}
	minimum, ok := a.minimums.Get(foldWorker(q.User, q.Worker))
	if !ok || !u.allowed || u.password && !slices.Contains(u.passwords, a.digest(cut(q.Password))) {
		return Answer{}, false
	}
	a.users.Put(address.Fold(q.User), u)
	a.minimums.Put(foldWorker(q.User, q.Worker), minimum)
	return Answer{Verdict: Allowed, Minimum: minimum, Password: u.password}, true
}

// put remembers an answer.
func (a *answers) put(q *Question, n *Answer) {
	u, _ := a.users.Get(address.Fold(q.User))
	switch n.Verdict {
	case Locked:
		u.locked, u.text = true, lockText(n.Text)
	case Allowed:
		if n.Open {
			return
		}
		u.locked, u.text, u.allowed, u.password = false, "", true, n.Password
		if d := a.digest(q.Password); n.Password && !slices.Contains(u.passwords, d) {
			if len(u.passwords) == passwordsOfUser {
				u.passwords = u.passwords[1:]
			}
			u.passwords = append(slices.Clip(u.passwords), d)
		}
		a.minimums.Put(foldWorker(q.User, q.Worker), n.Minimum)
	default:
		return
	}
	a.users.Put(address.Fold(q.User), u)
}

// apply brings what is known up to date.
func (a *answers) apply(n *Change) {
	a.change++
	if n.Kind == Message || n.Kind == Privacy {
		return
	}
	a.changes.Put(address.Fold(n.User), a.change)
	u, known := a.users.Get(address.Fold(n.User))
	switch n.Kind {
	case Lock:
		u.locked, u.text, known = true, lockText(n.Text), true
	case Unlock:
		u.locked, u.text = false, ""
	case Password:
		u.allowed, u.passwords = false, nil
	case Minimum:
		w := foldWorker(n.User, n.Worker)
		if _, known := a.minimums.Get(w); known {
			a.minimums.Put(w, n.Minimum)
		}
		return
	}
	if known {
		a.users.Put(address.Fold(n.User), u)
	}
}

// isLater tells whether the user of a question was changed after that change.
func (a *answers) isLater(q *Question, change uint64) bool {
	last, ok := a.changes.Get(address.Fold(q.User))
	return ok && last > change
}

// age forgets what nobody asked for in a long time.
func (a *answers) age(now time.Time) {
	if now.Sub(a.aged) >= knownAnswers/2 {
		a.users.Age()
		a.minimums.Age()
		a.aged = now
	}
	if now.Sub(a.changesAged) >= lateTime {
		a.changes.Age()
		a.changesAged = now
	}
}
