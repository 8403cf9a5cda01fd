package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/nearest"
	"github.com/ckpool/ckpool/internal/page"
)

// worker is what is asked to say whether a miner is fine.
type worker struct {
	control.Worker
	connections []control.Connection
}

// askWorker takes the name as it was typed.
func askWorker(ctx context.Context, c *control.Client, name string) (w worker, err error) {
	if w.Worker, err = c.Worker(ctx, name); err != nil {
		return w, err
	}
	w.connections, err = c.WorkerConnections(ctx, name)
	return w, err
}

// shownConnections bounds the lines of one worker.
const shownConnections = 10

// printWorker prints a worker on one screen, and first whether it mines.
func printWorker(p page.Page, w *worker, now time.Time) error {
	l := p.Lines()
	l.Print("miner", w.presence(now))
	l.Print("worker", page.OneLine(w.Worker.Worker))
	l.Print("hash rate", rates(&w.Rates))
	l.Print("shares", w.shares())
	if text := w.rejected(now); text != "" {
		l.Print("rejects", text)
	}
	l.Print("best share", w.best())
	for i := range w.connections[:min(len(w.connections), shownConnections)] {
		l.Print("connection", connectionText(&w.connections[i]))
	}
	if more := len(w.connections) - shownConnections; more > 0 {
		l.Print("", figures.Count(int64(more))+" more: wcinfo lists all")
	}
	return l.Flush()
}

// presence is what a look at the miner itself would tell.
func (w *worker) presence(now time.Time) string {
	text := "not connected"
	if n := len(w.connections); n > 0 {
		first := slices.MinFunc(w.connections, func(a, b control.Connection) int { return a.Start.Compare(b.Start.Time) })
		text = "connected"
		if n > 1 {
			text = figures.Things(int64(n), "connection")
		}
		text += " since " + page.ShortTime(first.Start.Local(), now)
	}
	if w.LastShare.IsZero() {
		return text + ", no share yet"
	}
	return text + ", last share " + figures.Duration(now.Sub(w.LastShare.Time)) + " ago"
}

func (w *worker) shares() string {
	rejected := int64(0)
	for _, reason := range w.Rejects {
		rejected += reason.Count
	}
	all := w.AcceptedShares + rejected
	if all == 0 {
		return "none yet"
	}
	return fmt.Sprintf("%s accepted, %s rejected (%s)", figures.Count(w.AcceptedShares), figures.Count(rejected),
		figures.Percent(float64(rejected)/float64(all)))
}

func (w *worker) rejected(now time.Time) string {
	text := countReasons(w.Rejects)
	if text != "" && !w.LastRejected.IsZero() {
		text += "; the last " + figures.Duration(now.Sub(w.LastRejected.Time)) + " ago, " + page.OneLine(w.LastReject)
	}
	return text
}

func (w *worker) best() string {
	if w.BestEver == 0 {
		return "none yet"
	}
	round := "none"
	if w.BestDifficulty > 0 {
		round = figures.Number(w.BestDifficulty)
	}
	return fmt.Sprintf("%s ever, %s this round", figures.Number(w.BestEver), round)
}

func connectionText(c *control.Connection) string {
	agent := cmp.Or(figures.Cut(c.UserAgent, 40), "a miner without a name")
	return fmt.Sprintf("%s at %s, difficulty %s", agent, page.OneLine(c.Address), figures.Number(c.Difficulty))
}

// hint is what to do about a name that the pool does not know, "" where the
// refusal is about something else.
func hint(ctx context.Context, c *control.Client, words []string, refusal string) string {
	if len(words) < 2 {
		return ""
	}
	var near []string
	kind := "workers are named USER.rig, and those"
	switch name := words[1]; {
	case strings.HasPrefix(refusal, "Failed to find worker "+name):
		list, err := c.Workers(ctx)
		if err != nil {
			return ""
		}
		near = nearWorkers(name, list)
	case strings.HasPrefix(refusal, "Failed to find user "+name):
		list, err := c.Users(ctx)
		if err != nil {
			return ""
		}
		kind = "users"
		near = nearUsers(name, list)
	default:
		return ""
	}
	if len(near) > 0 {
		return fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
	}
	return "; " + kind + " without an accepted share are forgotten when they disconnect"
}

// shownNames bounds what a hint names.
const shownNames = 3

// nearWorkers are those with a user or a rig of that name, else the nearest.
func nearWorkers(name string, list []control.Worker) (near []string) {
	names := make([]string, len(list))
	for i, w := range list {
		names[i] = page.OneLine(w.Worker)
		if rig := strings.TrimLeft(strings.TrimPrefix(w.Worker, w.User), "._"); strings.EqualFold(name, rig) || strings.EqualFold(name, w.User) {
			near = append(near, names[i])
		}
	}
	if len(near) > 0 {
		return near[:min(len(near), shownNames)]
	}
	return nearestOf(name, names)
}

// nearUsers is the user of a worker of that name, else the nearest.
func nearUsers(name string, list []control.User) []string {
	names := make([]string, len(list))
	for i, u := range list {
		names[i] = page.OneLine(u.User)
		if rest, ok := strings.CutPrefix(name, u.User); ok && rest != "" && strings.ContainsAny(rest[:1], "._") {
			return names[i : i+1]
		}
	}
	return nearestOf(name, names)
}

func nearestOf(name string, names []string) []string {
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(n)
	}
	if i := slices.Index(lower, nearest.Word(name, lower)); i >= 0 {
		return names[i : i+1]
	}
	return nil
}

// refused is the error of a command that the pool has refused.
func (o *options) refused(ctx context.Context, words []string, text string) error {
	text = strings.TrimPrefix(text, words[0]+": ") // some replies begin with it
	return fmt.Errorf("%s: %s%s", strings.Join(words, " "), text, hint(ctx, o.client, words, text))
}

// printOneWorker is the command getworker for people.
func (o *options) printOneWorker(ctx context.Context, p page.Page, words []string) error {
	w, err := askWorker(ctx, o.client, strings.Join(words[1:], " "))
	if refusal := (*control.RefusedError)(nil); errors.As(err, &refusal) {
		return o.refused(ctx, words, refusal.Text)
	}
	if err != nil {
		return o.explain(err)
	}
	return printWorker(p, &w, time.Now())
}
