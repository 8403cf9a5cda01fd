package web

import (
	"fmt"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
)

// texts are figures as people read them, by the names that pages have for their places.
// Streams bring the same texts up to date: no script formats a figure.
type texts map[string]string

const day = 24 * time.Hour

func poolTexts(p *poolAnswer, now time.Time) texts {
	t := texts{
		"hashrate": figures.Rate(p.Hashrate.M1), "hashrate5m": figures.Rate(p.Hashrate.M5), "hashrate1h": figures.Rate(p.Hashrate.H1),
		"hashrate1d": figures.Rate(p.Hashrate.D1), "hashrate7d": figures.Rate(*p.Hashrate.D7),
		"miners": figures.Count(p.Miners), "users": figures.Count(p.Users),
		"sps":      fmt.Sprintf("%.3g", p.SharesPerSec),
		"accepted": figures.Count(p.Accepted.Shares), "acceptedDifficulty": figures.Number(p.Accepted.Difficulty),
		"rejected": figures.Count(p.Rejected.Shares), "rejectedPart": figures.Percent(part(p.Rejected.Shares, p.Accepted.Shares)),
		"best": figures.Number(p.BestShare), "bestStart": figures.Number(p.BestStart), "bestEver": figures.Number(p.BestEver), "network": "–",
		"bestPart": "–", "expected": "–", "odds": "–", "effort": "–",
		"height": "–", "work": "no work", "age": "–", "fees": "–", "reward": "–", "transactions": "–",
		"uptime": figures.Duration(now.Sub(p.Started)), "updated": now.UTC().Format("15:04:05 UTC"),
	}
	if p.Network.Difficulty > 0 { // else there is no work
		t["network"] = figures.Number(p.Network.Difficulty)
		t["bestPart"] = figures.Percent(p.BestShare / p.Network.Difficulty)
		t["effort"] = figures.Percent(*p.Effort)
	}
	if p.ExpectedBlock != nil {
		t["expected"] = expected(*p.ExpectedBlock)
		t["odds"] = figures.Odds(difficulty.Chance(day.Seconds() / *p.ExpectedBlock * p.Network.Difficulty, p.Network.Difficulty))
	}
	if p.Network.Height != nil {
		t["height"] = figures.Count(*p.Network.Height)
	}
	t["shareP50"], t["shareP99"], t["lastNotify"] = seconds(p.Latency.ShareP50), seconds(p.Latency.ShareP99), seconds(p.Latency.LastNotify)
	if w := p.Work; w != nil {
		t["age"] = figures.Duration(time.Duration(w.Age * float64(time.Second)))
		t["work"] = t["age"] + " old"
		if w.Transactions != nil {
			t["transactions"] = figures.Count(*w.Transactions)
		}
		if w.Fees != nil {
			t["fees"] = figures.Bitcoins(*w.Fees)
		}
		if w.Reward != nil {
			t["reward"] = figures.Bitcoins(*w.Reward)
		}
	}
	return t
}

// seconds are few of them: 0.25 ms, 1.5 s.
func seconds(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case *v < 1:
		return figures.Number(*v*1000) + " ms"
	}
	return figures.Number(*v) + " s"
}

// expected is how long something takes on average, up to ages.
func expected(seconds float64) string {
	const year = 365.25 * 24 * 3600
	switch {
	case seconds < 2*year:
		return figures.Duration(time.Duration(seconds * float64(time.Second)))
	case seconds < 1000*year:
		return figures.Count(int64(seconds/year)) + " years"
	}
	return figures.Number(seconds/year) + " years"
}

// part is what n is of n and others, 0 of nothing.
func part(n, others int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(n) / float64(n+others)
}

func userTexts(u *userAnswer, now time.Time) texts {
	return texts{
		"user.hashrate": figures.Rate(u.Hashrate.M5), "user.hashrate1h": figures.Rate(u.Hashrate.H1),
		"user.hashrate1d": figures.Rate(u.Hashrate.D1), "user.hashrate7d": figures.Rate(*u.Hashrate.D7),
		"user.miners": figures.Count(u.Miners), "user.lastShare": ago(u.LastShare, now),
		"user.best": figures.Number(u.BestShare), "user.bestEver": figures.Number(u.BestEver),
		"user.workers": figures.Count(int64(u.Workers)),
	}
}

// ago is how long ago something was.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return figures.Duration(now.Sub(*t)) + " ago"
}
