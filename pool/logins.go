package pool

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/authority"
)

const (
	loginsAtOnce  = 16   // calls of the hook
	loginsWaiting = 4096 // for it
)

// busy is for a login that there is no answer for.
const busy = "Logins cannot be checked at the moment: try again in a minute"

// logins asks the hook who may mine: it implements users.Accounts.
type logins struct {
	// immutable
	hook      func(context.Context, Login) error
	questions chan question
}

// question is a login that waits, until a time.
type question struct {
	login  Login
	until  time.Time
	answer func(authority.Answer) // the first call counts
	late   *time.Timer            // answers when it is time
}

func newLogins(hook func(context.Context, Login) error) *logins {
	return &logins{hook: hook, questions: make(chan question, loginsWaiting)}
}

// Ask implements users.Accounts.
func (l *logins) Ask(q authority.Question, done func(authority.Answer)) (authority.Answer, bool) {
	k := question{
		login: Login{
			User: strings.Clone(q.User), Worker: strings.Clone(q.Worker), Password: strings.Clone(q.Password),
			Remote: q.Remote, UserAgent: strings.Clone(q.UserAgent),
		},
		until: time.Now().Add(authority.AnswerTime),
	}
	var once sync.Once
	k.answer = func(a authority.Answer) { once.Do(func() { done(a) }) }
	k.late = time.AfterFunc(authority.AnswerTime, func() { k.answer(refusal(busy)) })
	select {
	case l.questions <- k:
		return authority.Answer{}, false
	default:
		k.late.Stop()
		return refusal(busy), true
	}
}

// Known implements users.Accounts: without an answer nobody mines.
func (l *logins) Known(authority.Question) (authority.Answer, bool) { return refusal(busy), true }

// run asks until ctx ends.
func (l *logins) run(ctx context.Context) {
	var asking sync.WaitGroup
	for range loginsAtOnce {
		asking.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case q := <-l.questions:
					q.answer(l.ask(ctx, &q))
					q.late.Stop()
				}
			}
		})
	}
	asking.Wait()
	for {
		select {
		case q := <-l.questions:
			q.late.Stop()
		default:
			return
		}
	}
}

// ask asks the hook. What it says when it is too late is not looked at.
func (l *logins) ask(ctx context.Context, q *question) authority.Answer {
	ctx, cancel := context.WithDeadline(ctx, q.until)
	defer cancel()
	if ctx.Err() != nil {
		return refusal(busy)
	}
	err := l.hook(ctx, q.login)
	switch {
	case ctx.Err() != nil:
		return refusal(busy)
	case err == nil:
		return authority.Answer{Verdict: authority.Allowed}
	}
	return refusal(err.Error())
}

func refusal(text string) authority.Answer {
	return authority.Answer{Verdict: authority.Refused, Text: text}
}
