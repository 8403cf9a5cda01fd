package bitcoind

import (
	"fmt"
	"time"

	"github.com/ckpool/ckpool/event"
)

// remindEvery is when what lasts is told again.
const remindEvery = time.Minute

// schedule decides when something that lasts is told: when it begins or changes,
// then once a minute.
type schedule struct {
	kind string // what is told; "" nothing
	last time.Time
}

// due reports whether kind is to be told now, and when to ask again.
func (s *schedule) due(kind string, now time.Time) (tell bool, next time.Time) {
	if kind == "" {
		*s = schedule{}
		return false, time.Time{}
	}
	tell = kind != s.kind || now.Sub(s.last) >= remindEvery
	if tell {
		*s = schedule{kind, now}
	}
	return tell, s.last.Add(remindEvery)
}

// report tells what changed in the nodes and reminds of what lasts.
func (tr *tracker) report(now time.Time) {
	if tr.unfit() != nil {
		return // it is about to end, and says why
	}
	allAsked := true
	for _, n := range tr.nodes {
		allAsked = allAsked && n.asked
		p := tr.state(n, now)
		if tr.usable(n) != n.alive {
			n.alive = !n.alive
			if n.alive {
				tr.tell(NodeChange{Node: n.client.name, State: p.state}, event.Notice, "Server alive: %s", n.client)
			}
		}
		tell, next := n.told.due(p.kind, now)
		if tell {
			tr.tell(NodeChange{n.client.name, p.state, p.reason}, event.Warning, "bitcoind %s %s", n.client, p.reason)
		}
		if p.kind != "" {
			tr.wakeAt(next)
		}
	}
	kind := ""
	if tr.current == nil && allAsked && !tr.verifying() {
		kind = "none"
	}
	tell, next := tr.told.due(kind, now)
	if tell {
		tr.tell(NoNode{}, event.Warning, "CRITICAL: No bitcoinds active!")
	}
	if kind != "" {
		tr.wakeAt(next)
	}
}

// verifying reports whether a node that answers is still asked for its chain.
func (tr *tracker) verifying() bool {
	for _, n := range tr.nodes {
		if n.answers && !n.verified && n.nameless.kind == "" {
			return true
		}
	}
	return false
}

// tell queues an event, of a value if what is not nil; update sends it when the
// lock is free.
func (tr *tracker) tell(what any, level event.Level, format string, args ...any) {
	tr.events = append(tr.events, event.Event{Level: level, Text: fmt.Sprintf(format, args...), What: what})
}
