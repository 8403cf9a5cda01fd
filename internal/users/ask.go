package users

import (
	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/session"
)

// Accounts is who is asked whether users may mine, such as an [authority.Client]. Its
// methods are called on loops and return at once.
type Accounts interface {
	// Ask gives the answer if it is known, else it is not ok and done is called with it
	// once, from any goroutine, within [authority.AnswerTime]. Texts of q are kept only as
	// copies.
	Ask(q authority.Question, done func(authority.Answer)) (a authority.Answer, ok bool)
	// Known gives the answer if it is known.
	Known(q authority.Question) (a authority.Answer, ok bool)
}

// tryAgain is for a registered name that nobody can tell anything about.
const tryAgain = "Accounts cannot be checked at the moment: try again in a minute, or use a bitcoin address as user name"

// ask finds out whether a login is allowed by who keeps the accounts. It fills in the
// grant, or leaves it undecided; refused is "" if the login goes on.
func (s *Users) ask(l *session.Login, name string, payable bool, g *session.Grant) (refused string) {
	user, _ := splitName(name)
	q := authority.Question{
		User: user, Worker: name, Password: l.Password, Remote: l.Remote.Addr().Unmap(), UserAgent: l.UserAgent, Payable: payable,
	}
	v := l.Verdict
	if v == nil || !v.Answered { // a change may say what no answer did
		a, ok := authority.Answer{}, false
		if v == nil {
			a, ok = s.cfg.Accounts.Ask(q, s.answerTo(l.Ticket))
		} else {
			a, ok = s.cfg.Accounts.Known(q)
		}
		switch {
		case ok:
			now := verdict(a)
			v = &now
		case v == nil:
			g.Undecided = true
			return ""
		}
	}
	switch {
	case v.Refused != "":
		return v.Refused
	case !v.Answered && !payable && !s.knows(user):
		return tryAgain
	}
	g.Minimum = v.Minimum
	return ""
}

// answerTo passes an answer on.
func (s *Users) answerTo(t session.Ticket) func(authority.Answer) {
	return func(a authority.Answer) { t.Give(verdict(a)) }
}

func verdict(a authority.Answer) (v session.Verdict) {
	switch a.Verdict {
	case authority.Allowed:
		v = session.Verdict{Answered: true, Minimum: a.Minimum}
	case authority.Refused, authority.Locked:
		if v = (session.Verdict{Answered: true, Refused: a.Text}); v.Refused == "" {
			v.Refused = "This account may not mine"
		}
	}
	return v
}

// knows tells whether the user has mined here, in this run or an earlier one.
func (s *Users) knows(name string) bool {
	u := s.directory.user(name)
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.loggedIn || u.lastShare != never
}

// MayMine decides a login of a miner elsewhere, whom no worker is made for. done is told why
// it may not mine, "" if it may; it is called at once or from another goroutine, once, and
// must not block.
func (s *Users) MayMine(l *session.Login, done func(refused string)) {
	refused := checkName(l.Worker)
	if refused == "" && !passwordMatches(s.settings.Load().Password, l.Password) {
		refused = "Invalid password"
	}
	if refused != "" || s.cfg.Accounts == nil {
		done(refused)
		return
	}
	name := canonicalName(l.Worker)
	user, _ := splitName(name)
	a, err := address.Parse(user)
	payable := s.checkPayout(a, err) == ""
	decide := func(a authority.Answer) {
		v := verdict(a)
		if v.Refused == "" && !v.Answered && !payable && !s.knows(user) {
			v.Refused = tryAgain
		}
		done(v.Refused)
	}
	if a, known := s.cfg.Accounts.Ask(authority.Question{
		User: user, Worker: name, Password: l.Password, Remote: l.Remote.Addr().Unmap(), UserAgent: l.UserAgent, Payable: payable,
	}, decide); known {
		decide(a)
	}
}
