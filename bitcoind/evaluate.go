package bitcoind

import (
	"time"
)

// evaluate decides what to follow, deliver, ask for and tell. The caller holds
// mu.
func (g *Group) evaluate(now time.Time) {
	g.findLagging(now)
	g.chooseNode(now)
	g.deliverBest(now)
	g.requestTemplates()
	g.report(now)
}

func (g *Group) findLagging(now time.Time) {
	highest := g.highest()
	for _, n := range g.nodes {
		switch {
		case n.tip.height < 0 || n.tip.height >= highest:
			n.behind = time.Time{}
		case n.behind.IsZero():
			n.behind = now
			fallthrough
		case now.Sub(n.behind) <= lagTime:
			g.wakeAt(n.behind.Add(lagTime + time.Millisecond))
		}
	}
}

func (g *Group) chooseNode(now time.Time) {
	candidates := make([]candidate, len(g.nodes))
	for i, n := range g.nodes {
		candidates[i] = candidate{g.usable(n), n.effective(), n.steady}
	}
	index := -1
	if g.current != nil {
		index = g.current.index
	}
	index = choose(candidates, index)
	if index < 0 {
		g.current = nil
		return
	}
	best := g.nodes[index]
	switch {
	case best == g.current:
	case g.last == nil && g.awaitsBetterRank(best, now):
	case !g.usable(g.current), best.effective().compare(g.published) <= 0:
		g.follow(best)
	default:
		// It has news: it is followed when its template is there, should the
		// current node not be faster.
	}
}

// awaitsBetterRank gives nodes earlier in the list a moment to answer at start.
func (g *Group) awaitsBetterRank(best *node, now time.Time) bool {
	deadline := g.started.Add(rankPatience)
	if !now.Before(deadline) {
		return false
	}
	for _, n := range g.nodes[:best.index] {
		if !n.asked || !n.verified && n.reachable() {
			g.wakeAt(deadline)
			return true
		}
	}
	return false
}

// follow makes n the current node. Fresh work of it is wanted, unless all that
// happened is that nodes learned of the same block one after the other.
func (g *Group) follow(n *node) {
	if g.chain == "" {
		g.chain = n.chain
	}
	level := levelWarning
	g.leading = g.leading && g.usable(g.current)
	if g.leading {
		level = levelInfo
	} else if g.published.hash != [32]byte{} {
		g.wish++
	}
	if g.last == nil {
		g.say(levelWarning, "Connected to bitcoind: %s", n.client)
	} else if g.last != n {
		g.say(level, "Failed over to bitcoind: %s", n.client)
	}
	g.current, g.last = n, n
}

// deliverBest delivers a template that is waiting, if one is worth it.
func (g *Group) deliverBest(now time.Time) {
	if g.current == nil {
		return
	}
	g.deliverFrom(g.current, now)
	for _, n := range g.nodes {
		g.deliverFrom(n, now)
	}
}

func (g *Group) deliverFrom(n *node, now time.Time) {
	t := n.template
	if t == nil || t.work == nil || !g.usable(n) {
		return
	}
	if g.published.hash == t.built.hash {
		if n == g.current && t.wish > g.granted {
			g.deliver(n, t, false)
		}
		t.work = nil
		return
	}
	if !g.worthy(n, t, now) {
		return
	}
	g.published = n.builtOn(t)
	g.held, g.warned = time.Time{}, false
	for _, other := range g.nodes {
		other.steady = false
	}
	if n != g.current {
		g.say(levelInfo, "Failed over to bitcoind: %s, first with block %d", n.client, t.built.height)
		g.current, g.last, g.leading = n, n, true
	}
	g.deliver(n, t, true)
	t.work = nil
}

// worthy reports whether a template on another tip is to be delivered.
func (g *Group) worthy(n *node, t *template, now time.Time) bool {
	built := n.builtOn(t)
	none := g.published.hash == [32]byte{}
	if n == g.current && !none && built.height > g.published.height {
		return true // the usual new block; its work need not be asked for
	}
	if built.work == nil && !n.noWork {
		return false // the answer of getblockchaininfo is on its way
	}
	if !none && built.compare(g.published) > 0 {
		return true
	}
	return n == g.current && !g.holds(n, built, now)
}

// holds reports whether work on built must wait, because another node claims a
// better tip and may soon give work for it.
func (g *Group) holds(n *node, built tip, now time.Time) bool {
	var better *node
	for _, other := range g.nodes {
		if other != n && !g.wrongChain(other) && other.tip.compare(built) > 0 {
			better = other
			break
		}
	}
	if better == nil {
		g.held, g.warned = time.Time{}, false
		return false
	}
	if g.held.IsZero() {
		g.held = now
	}
	if until := g.held.Add(holdTime); now.Before(until) {
		g.wakeAt(until)
		return true
	}
	if !g.warned {
		g.warned = true
		g.say(levelWarning, "bitcoind %s knows block %d but gives no work for it; going on at block %d of %s",
			better.client, better.tip.height, built.height, n.client)
	}
	return false
}

// deliver puts an update where the reader finds it, in place of an unread one.
func (g *Group) deliver(n *node, t *template, newTip bool) {
	g.granted = max(g.granted, t.wish)
	u := Update{Template: t.work, NewTip: newTip, Node: n.client.name, Answered: t.answered}
	select {
	case unread := <-g.updates:
		u.NewTip = u.NewTip || unread.NewTip
	default:
	}
	g.updates <- u // never waits: update's lock is held
}

// requestTemplates asks nodes for templates that are missing.
func (g *Group) requestTemplates() {
	for _, n := range g.nodes {
		if g.needs(n) {
			n.want()
		}
	}
}

func (g *Group) needs(n *node) bool {
	if n.fetching || !n.answers {
		return false // the fetcher asks again by itself
	}
	t := n.template
	outdated := t.tips != n.tips && t.built.hash != n.tip.hash
	switch {
	case n == g.current && g.wish > g.granted:
		return outdated || t.wish < g.wish
	case !outdated, n.tip.hash == g.published.hash:
		return false
	case n == g.current:
		return true
	case n.tip.height >= 0 && n.tip.compare(g.published) <= 0:
		return false
	}
	for _, other := range g.nodes {
		if other != n && other.fetching && other.tip.hash == n.tip.hash {
			return false
		}
	}
	return true
}
