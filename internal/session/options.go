package session

import (
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
)

// passwordOptions are what a miner asked for in its password.
type passwordOptions struct {
	difficulty float64 // d= or diff=: start and floor, 0 none
	floor      float64 // md=, 0 none
	unusable   string  // first option that has no usable value
}

// maxPassword is how much of a password is looked at, in bytes.
const maxPassword = 64

// parsePassword reads the comma separated options d=, diff= and md= of a
// password. The first of a kind counts. Names are in any case and the value
// follows the equals sign at once; anything else is an ordinary password.
func parsePassword(password string) passwordOptions {
	var o passwordOptions
	if len(password) > maxPassword {
		password = password[:maxPassword]
	}
	var haveDifficulty, haveFloor bool
	for item := range strings.SplitSeq(password, ",") {
		item = strings.Trim(item, " \t")
		name, value, ok := strings.Cut(item, "=")
		if !ok {
			continue
		}
		to, have := &o.difficulty, &haveDifficulty
		switch strings.ToLower(name) {
		case "d", "diff":
		case "md":
			to, have = &o.floor, &haveFloor
		default:
			continue
		}
		if *have {
			continue
		}
		*have = true
		v, ok := stratum.PositiveNumber(value)
		if ok {
			*to = v
		} else if o.unusable == "" {
			o.unusable = item
		}
	}
	return o
}

// applyPassword takes what a miner asked for, as far as the pool allows.
func (q request) applyPassword(o passwordOptions) {
	if o.floor > 0 {
		q.s.floor = q.clamp(o.floor)
		q.s.want = max(q.s.want, q.s.floor)
	}
	if o.difficulty > 0 {
		q.s.floor = q.clamp(o.difficulty)
		q.s.want = q.s.floor
		q.s.flags |= fixed
	}
}

// notGranted says for which option the pool, which allows what clamp does, uses
// another value, "" if there is none.
func (o passwordOptions) notGranted(clamp func(float64) float64) string {
	for _, option := range []struct {
		name  string
		asked float64
	}{{"d", o.difficulty}, {"md", o.floor}} {
		if option.asked <= 0 {
			continue
		}
		asked := difficulty.Limits{}.Clamp(option.asked) // whole from 1 on
		granted := clamp(option.asked)
		how := ""
		switch {
		case granted > asked:
			how = "below the least"
		case granted < asked:
			how = "above the largest"
		default:
			continue
		}
		return fmt.Sprintf("Password option %s=%s is %s difficulty here: %s is used",
			option.name, difficulty.AppendWire(nil, asked), how, difficulty.AppendWire(nil, granted))
	}
	return ""
}

// clamp bounds a difficulty a miner asks for.
func (c client) clamp(d float64) float64 {
	l := c.limits()
	l.Floor = c.minimum()
	return l.Clamp(d)
}

// onSuggest takes mining.suggest_difficulty or mining.suggest_target: never
// answered when usable. Before authorize it waits for that.
func (q request) onSuggest(method, arg []byte) *stratum.Reject {
	v, ok := stratum.Suggestion(method, q.msg.Params, arg)
	if !ok {
		return &rejectParams
	}
	if q.s.is(fixed) {
		return nil
	}
	d := q.clamp(v)
	if d == q.s.floor { // sent again as a keep-alive
		return nil
	}
	q.s.floor, q.s.want = d, d
	if q.s.is(authorised) {
		q.changeNow()
	}
	return nil
}

// changePause is the least time between two changes of a session's difficulty,
// in seconds.
const changePause = 10

// changeNow brings a wanted difficulty to the miner at once, or, when the last
// change is too recent, with a later tick.
func (c client) changeNow() {
	w := c.work()
	switch {
	case !c.s.is(subscribed|authorised) || c.wanted(w) == c.s.sent():
	case c.mayChange(c.seconds(), w):
		c.sendWork()
	default:
		c.s.flags |= deferred
	}
}
