package bitcoind

import (
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

// evaluate decides what to follow, deliver, ask for and tell. The caller holds
// mu.
func (tr *tracker) evaluate(now time.Time) {
	tr.findLagging(now)
	tr.chooseNode(now)
	tr.deliverBest(now)
	tr.requestTemplates()
	tr.report(now)
}

func (tr *tracker) findLagging(now time.Time) {
	highest := tr.highest()
	for _, n := range tr.nodes {
		switch {
		case n.tip.height < 0: // it will be known in a moment
		case n.tip.height >= highest:
			n.behind = time.Time{}
		case n.behind.IsZero():
			n.behind = now
			fallthrough
		case now.Sub(n.behind) <= lagTime:
			tr.wakeAt(n.behind.Add(lagTime + time.Millisecond))
		}
	}
}

func (tr *tracker) chooseNode(now time.Time) {
	candidates := make([]candidate, len(tr.nodes))
	for i, n := range tr.nodes {
		candidates[i] = candidate{tr.usable(n), n.effective(), n.steady}
	}
	index := -1
	if tr.current != nil {
		index = tr.current.index
	}
	index = choose(candidates, index)
	if index < 0 {
		tr.current = nil
		return
	}
	best := tr.nodes[index]
	if tr.chain == "" && tr.current != nil {
		tr.chain = tr.current.chain
	}
	switch {
	case best == tr.current:
	case tr.last == nil && tr.awaitsBetterRank(best, now):
	case !tr.usable(tr.current), best.effective().compare(tr.published) <= 0:
		tr.follow(best)
	default:
		// It has news: it is followed when its template is there, should the
		// current node not be faster.
	}
}

// awaitsBetterRank gives nodes earlier in the list a moment to answer at start.
func (tr *tracker) awaitsBetterRank(best *node, now time.Time) bool {
	deadline := tr.started.Add(rankPatience)
	if !now.Before(deadline) {
		return false
	}
	for _, n := range tr.nodes[:best.index] {
		if !n.asked || !n.verified && n.reachable() {
			tr.wakeAt(deadline)
			return true
		}
	}
	return false
}

// follow makes n the current node. Fresh work of it is wanted, unless all that
// happened is that nodes learned of the same block one after the other.
func (tr *tracker) follow(n *node) {
	if tr.chain == "" {
		tr.chain = n.chain
	}
	level := event.Warning
	tr.leading = tr.leading && tr.usable(tr.current)
	if tr.leading {
		level = event.Info
	} else if tr.published.hash != [32]byte{} {
		tr.wish++
	}
	if tr.last == nil {
		tr.tell(NodeFollowed{n.client.name}, event.Warning, "Connected to bitcoind: %s", n.client)
	} else if tr.last != n {
		tr.tell(NodeFollowed{n.client.name}, level, "Failed over to bitcoind: %s", n.client)
	}
	tr.current, tr.last = n, n
	if n.tip.hash == tr.published.hash {
		tr.source = n
	}
}

// deliverBest delivers a template that is waiting, if one is worth it.
func (tr *tracker) deliverBest(now time.Time) {
	if tr.current == nil {
		return
	}
	tr.deliverFrom(tr.current, now)
	for _, n := range tr.nodes {
		tr.deliverFrom(n, now)
	}
}

func (tr *tracker) deliverFrom(n *node, now time.Time) {
	t := n.template
	if t == nil || t.work == nil || !tr.usable(n) {
		return
	}
	if tr.published.hash == t.built.hash {
		if n == tr.current && t.wish > tr.granted {
			tr.deliver(n, t, false)
		}
		t.work = nil
		return
	}
	if !tr.worthy(n, t, now) {
		return
	}
	tr.published = n.builtOn(t)
	tr.held, tr.warned = time.Time{}, false
	for _, other := range tr.nodes {
		other.steady = false
	}
	if n != tr.current {
		tr.tell(NodeFollowed{n.client.name}, event.Info, "Failed over to bitcoind: %s, first with block %d", n.client, t.built.height)
		tr.current, tr.last, tr.leading = n, n, true
	}
	tr.deliver(n, t, true)
	t.work = nil
}

// worthy reports whether a template on another tip is to be delivered.
func (tr *tracker) worthy(n *node, t *template, now time.Time) bool {
	built := n.builtOn(t)
	none := tr.published.hash == [32]byte{}
	if n == tr.current && n == tr.source && built.height > tr.published.height {
		return true // the usual new block; its work need not be asked for
	}
	if n.outdated(t) && n.tip.compare(built) < 0 {
		return false // the node has given that block up
	}
	if n.owesWork(built) || tr.usable(tr.source) && tr.source.owesWork(tr.published) {
		return false
	}
	if !none && built.compare(tr.published) > 0 {
		return true
	}
	if n.outdated(t) && !none {
		return false // the one that is asked for now is on the newest block
	}
	return n == tr.current && !tr.holds(n, built, now)
}

// holds reports whether work on built must wait, because another node claims a
// better tip and may soon give work for it.
func (tr *tracker) holds(n *node, built tip, now time.Time) bool {
	var better *node
	for _, other := range tr.nodes {
		if other == n || tr.wrongChain(other) || other.tip.hash == built.hash {
			continue
		}
		if other.tip.compare(built) > 0 || other.answers && !other.informed() {
			better = other
			break
		}
	}
	if better == nil {
		tr.held, tr.warned = time.Time{}, false
		return false
	}
	if tr.held.IsZero() {
		tr.held = now
	}
	if until := tr.held.Add(holdTime); now.Before(until) {
		tr.wakeAt(until)
		return true
	}
	if !tr.warned {
		tr.warned = true
		tr.tell(nil, event.Warning, "bitcoind %s knows block %s but gives no work for it; going on at block %d of %s",
			better.client, better.tip, built.height, n.client)
	}
	return false
}

// deliver puts an update where the reader finds it, in place of an unread one.
func (tr *tracker) deliver(n *node, t *template, newTip bool) {
	tr.granted = max(tr.granted, t.wish)
	tr.source = n
	u := source.Update{Template: t.work, NewTip: newTip, From: n.client.name, Received: t.answered}
	select {
	case unread := <-tr.updates:
		u.NewTip = u.NewTip || unread.NewTip
	default:
	}
	tr.updates <- u // never waits: update's lock is held
}

// requestTemplates asks nodes for templates that are missing.
func (tr *tracker) requestTemplates() {
	for _, n := range tr.nodes {
		if tr.needs(n) {
			n.want()
		}
	}
}

func (tr *tracker) needs(n *node) bool {
	if n.fetching || !n.answers {
		return false // the fetcher asks again by itself
	}
	t := n.template
	outdated := n.outdated(t)
	switch {
	case n == tr.current && tr.wish > tr.granted:
		return outdated || t.wish < tr.wish
	case !outdated, n.tip.hash == tr.published.hash:
		return false
	case n == tr.current:
		return true
	case n.tip.height >= 0 && n.tip.compare(tr.published) <= 0:
		return false
	}
	for _, other := range tr.nodes {
		if other != n && other.fetching && other.tip.hash == n.tip.hash {
			return false
		}
	}
	return true
}
