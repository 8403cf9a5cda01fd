package bitcoind

import (
	"fmt"
	"time"
)

// schedule decides when something that lasts is told again: every 5 s in the
// first minute, then every 60 s.
type schedule struct {
	kind        string // what is told; "" nothing
	since, last time.Time
}

// due reports whether kind is to be told now, and when to ask again.
func (s *schedule) due(kind string, now time.Time) (tell bool, next time.Time) {
	if kind != s.kind {
		*s = schedule{kind, now, now}
		return kind != "", s.next()
	}
	if kind == "" {
		return false, time.Time{}
	}
	if !now.Before(s.next()) {
		s.last = now
		return true, s.next()
	}
	return false, s.next()
}

func (s *schedule) next() time.Time {
	if s.last.Sub(s.since) < time.Minute {
		return s.last.Add(5 * time.Second)
	}
	return s.last.Add(time.Minute)
}

// report tells what changed in the nodes and reminds of what lasts.
func (g *Group) report(now time.Time) {
	allAsked := true
	for _, n := range g.nodes {
		allAsked = allAsked && n.asked
		p := g.state(n, now)
		if g.usable(n) != n.alive {
			n.alive = !n.alive
			if n.alive {
				g.say(levelNotice, "Server alive: %s", n.client)
			}
		}
		tell, next := n.told.due(p.kind, now)
		if tell {
			g.say(levelWarning, "bitcoind %s %s", n.client, p.reason)
		}
		if p.kind != "" {
			g.wakeAt(next)
		}
	}
	kind := ""
	if g.current == nil && allAsked && !g.verifying() {
		kind = "none"
	}
	tell, next := g.told.due(kind, now)
	if tell {
		g.say(levelWarning, "CRITICAL: No bitcoinds active!")
	}
	if kind != "" {
		g.wakeAt(next)
	}
}

// verifying reports whether a node that answers is still asked for its chain.
func (g *Group) verifying() bool {
	for _, n := range g.nodes {
		if n.answers && !n.verified {
			return true
		}
	}
	return false
}

// say queues an event; update sends it when the lock is free.
func (g *Group) say(level int, format string, args ...any) {
	g.events = append(g.events, Event{level, fmt.Sprintf(format, args...)})
}
