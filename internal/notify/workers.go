package notify

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
)

// When a worker is down.
const (
	// silenceLeast is how long a connected one may always be silent, and gone how long one
	// that is not connected.
	silenceLeast = 10 * time.Minute
	gone         = 5 * time.Minute
	// Shares come at random: a pause of 15 times the mean is one in three million.
	expected = 15
	// wellKnown is how many shares the mean is of.
	wellKnown = 32
	// quietTime is how long nobody is down after a start, and after all were without work.
	quietTime = 10 * time.Minute
	// pauseTime is more than two looks are apart, unless the process stood still.
	pauseTime = 3 * time.Minute
	// recently is when a worker must have had a share to be missed at the start: where
	// nothing was ever told it may have been switched off on purpose.
	recently        = 24 * time.Hour
	recentlyAtFirst = time.Hour
	// forgotten is after how long one that is down is no longer expected back.
	forgotten = 7 * 24 * time.Hour
)

// Bounds of what is remembered.
const (
	maxWatched = 200_000
	gather     = 3 // looks until those that are down are told, while there are more each time
)

// watched is what is remembered of a worker. Owned by the Notifier's Run.
type watched struct {
	user      string
	lastShare time.Time
	accepted  int64
	interval  time.Duration // between its shares, on average; 0: not known
	shares    int64         // that this is of, at most wellKnown
	connected time.Time     // when it last was
	seen      time.Time     // when it was last in a list
}

// lookAtWorkers finds those that are down and those that are up again.
func (n *Notifier) lookAtWorkers(now time.Time, users []string) {
	if n.view.Workers == nil || len(users) == 0 {
		clear(n.workers)
		return
	}
	quiet := n.quiet(now)
	if slices.Contains(users, "") {
		users = []string{""}
	}
	for _, user := range users {
		list := n.view.Workers(now, user)
		for i := range list {
			n.watch(now, &list[i])
		}
	}
	n.lastLook = now
	found, elsewhere := 0, n.view.Elsewhere != nil && n.view.Elsewhere()
	for name, w := range n.workers {
		since, down := n.state.Down[name]
		_, pending := n.down[name]
		switch {
		case !slices.Contains(users, "") && !slices.Contains(users, w.user):
			delete(n.workers, name) // nobody asks any more
		case down && w.lastShare.After(since):
			n.up[name] = downWorker{name: name, user: w.user}
		case !down && !w.seen.Equal(now): // a list that is too long has others: nobody knows
			delete(n.workers, name)
			delete(n.down, name)
		case !down && !quiet && w.silent(now, n.quietUntil, elsewhere):
			n.down[name] = downWorker{name, w.user, now.Sub(w.lastShare), w.interval}
			if !pending {
				found++
			}
		case pending:
			delete(n.down, name)
		case down && now.Sub(since) > forgotten:
			delete(n.workers, name)
		}
	}
	for name, since := range n.state.Down {
		if now.Sub(since) > forgotten {
			delete(n.state.Down, name)
			n.state.dirty = true
		}
	}
	n.flushWorkers(now, found)
}

// downWorker is one that is to be told of.
type downWorker struct {
	name, user string
	silence    time.Duration // 0 of one that is up again
	interval   time.Duration // 0: not known
}

// flushWorkers tells of all that were found, as one message, when there are no more of them.
func (n *Notifier) flushWorkers(now time.Time, found int) {
	n.gathered++
	if found > 0 && n.gathered < gather {
		return
	}
	n.gathered = 0
	n.tellWorkers(now, config.EventWorkerDown, n.down)
	n.tellWorkers(now, config.EventWorkerUp, n.up)
	for name := range n.down {
		n.state.Down[name], n.state.dirty = now, true
	}
	for name := range n.up {
		delete(n.state.Down, name)
		n.state.dirty = true
	}
	clear(n.down)
	clear(n.up)
}

// tellWorkers tells each target of those that it may hear of.
func (n *Notifier) tellWorkers(now time.Time, name string, found map[string]downWorker) {
	list := slices.SortedFunc(maps.Values(found), func(a, b downWorker) int { return strings.Compare(a.name, b.name) })
	for _, s := range n.senders {
		t := &s.target
		if !slices.Contains(t.Events, name) {
			continue
		}
		notice := Notice{ID: fmt.Sprintf("%s-%s-%d", name, t.Name, now.Unix()), Event: name, Time: now, Severity: warning}
		if name == config.EventWorkerUp {
			notice.Severity = info
		}
		users := map[string]bool{}
		for _, d := range list {
			if t.User != "" && d.user != t.User {
				continue
			}
			notice.Count++
			users[d.user] = true
			if t.User == "" && n.options.Private(d.user) {
				notice.Private = true
				continue
			}
			notice.User = d.user
			if len(notice.Workers) < maxNamed {
				notice.Workers = append(notice.Workers, d.name)
			}
			if d.silence > 0 {
				notice.Reason = "No share for " + figures.Duration(d.silence)
				if d.interval > 0 {
					notice.Reason += ", where one was expected every " + figures.Duration(max(d.interval, time.Second))
				}
				notice.Reason += "."
			}
		}
		if notice.Count == 0 {
			continue
		}
		notice.Users = len(users)
		if notice.Count != 1 {
			notice.Reason = ""
		}
		if notice.Count == 1 && len(notice.Workers) == 1 {
			notice.Worker = notice.Workers[0]
		}
		if notice.Users != 1 || notice.Private {
			notice.User = ""
		}
		n.send(s, notice)
	}
}

// watch notes what a worker has done since the last look.
func (n *Notifier) watch(now time.Time, k *control.Worker) {
	last := k.LastShare.Time
	w := n.workers[k.Worker]
	if w == nil {
		missed := recently
		if n.state.fresh {
			missed = recentlyAtFirst
		}
		connected := !k.Started.IsZero()
		if _, down := n.state.Down[k.Worker]; last.IsZero() || !connected && !down && now.Sub(last) > missed || len(n.workers) >= maxWatched {
			return
		}
		w = &watched{user: k.User, lastShare: last, accepted: k.AcceptedShares}
		n.workers[k.Worker] = w
	}
	if shares := k.AcceptedShares - w.accepted; shares > 0 && last.After(w.lastShare) {
		sum := float64(w.shares)*float64(w.interval) + float64(last.Sub(w.lastShare))
		w.interval = time.Duration(sum / float64(w.shares+shares))
		w.shares = min(w.shares+shares, wellKnown)
	}
	w.lastShare, w.accepted, w.seen = last, k.AcceptedShares, now
	if !k.Started.IsZero() {
		w.connected = now
	}
}

// silent tells that a worker is down. Time before quietUntil does not count. Where it may be
// connected elsewhere, also after it was here, its shares alone tell.
func (w *watched) silent(now, quietUntil time.Time, elsewhere bool) bool {
	since := func(t time.Time) time.Duration {
		if t.Before(quietUntil) {
			t = quietUntil
		}
		return now.Sub(t)
	}
	if !elsewhere && w.connected.Before(now) && since(w.connected) >= gone && since(w.lastShare) >= gone {
		return true
	}
	silence := since(w.lastShare)
	return w.interval > 0 && silence >= silenceLeast && silence.Seconds() >= w.intervals()*w.interval.Seconds()
}

// intervals is how many times the time between its shares a worker may be silent. A mean of n
// of them is itself at random: a pause of f times that comes with a probability of
// (1 + f/n)^-n, so that where few are known it has to be longer to mean as much.
func (w *watched) intervals() float64 {
	n := float64(w.shares)
	return n * math.Expm1(expected/n)
}

// quiet tells that silence says nothing of a worker at present: all are without work or
// were a moment ago.
func (n *Notifier) quiet(now time.Time) bool {
	extend := func(until time.Time) {
		if until.After(n.quietUntil) {
			n.quietUntil = until
		}
	}
	extend(n.began.Add(quietTime))
	if !n.lastLook.IsZero() && now.Sub(n.lastLook) > pauseTime {
		extend(now.Add(quietTime))
	}
	if n.view.Usable != nil && !n.view.Usable() {
		extend(now.Add(quietTime))
	}
	if n.view.Proxy && n.view.Places != nil {
		var serving []string
		for _, p := range n.view.Places() {
			if p.Current {
				serving = append(serving, p.URL)
			}
		}
		if n.serving != nil && !slices.Equal(serving, n.serving) {
			extend(now.Add(quietTime))
		}
		n.serving = append([]string{}, serving...)
	}
	return now.Before(n.quietUntil)
}
