package bitcoind

import (
	"context"
	"time"
)

// fetchLoop asks the node for templates: when wanted, and after a failure
// again and again until one comes.
func (g *Group) fetchLoop(ctx context.Context, n *node) {
	var p pause
	g.update(func(time.Time) { n.want() })
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.fetchNow:
		}
		for ctx.Err() == nil && g.fetch(ctx, n) {
			d := p.step()
			if g.refuses(n) {
				d = checkEvery // the node logs and delays each attempt
			}
			sleep(ctx, d, n.fetchNow)
		}
		p.reset()
	}
}

func (g *Group) refuses(n *node) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return n.problem.state == stateRefused
}

// fetch makes one request and reports whether it has to be repeated.
func (g *Group) fetch(ctx context.Context, n *node) (again bool) {
	var t template
	g.update(func(time.Time) {
		n.fetching = true
		t.tips, t.wish = n.tips, g.wish
	})
	err := t.ask(ctx, n.client, "")
	if ctx.Err() != nil {
		return false
	}
	p := n.client.explain(err)
	g.update(func(now time.Time) {
		n.fetching = false
		if err != nil {
			n.asked, again = true, true
			n.fail(p)
			if !n.verified {
				signal(n.checkNow) // its chain may explain
			}
			return
		}
		g.receive(n, &t, now)
		again = n.disagrees()
	})
	return again
}

// receive takes in a template of the node.
func (g *Group) receive(n *node, t *template, now time.Time) {
	n.asked, n.answers, n.problem = true, true, problem{}
	n.received, n.answered = now, now
	if !n.verified {
		signal(n.checkNow)
	}
	if n.tip.hash != t.built.hash && n.tipIsNews(t) {
		g.hear(n, t.built.hash)
	}
	if n.tip.hash == t.built.hash {
		t.tips = n.tips
		if n.tip.height < 0 {
			n.tip.height = t.built.height
		}
	}
	n.template = t
	signal(n.longPollNow)
}

// tipIsNews reports whether a template on another block than the node's tip is
// the first to tell of it. Else it is an answer that crossed with news, or that
// of a node at odds with itself.
func (n *node) tipIsNews(t *template) bool {
	if t.tips == n.tips {
		return t.built.height >= n.tip.height
	}
	return n.tip.height >= 0 && t.built.height > n.tip.height
}

// hear takes in that hash is the node's newest block.
func (g *Group) hear(n *node, hash [32]byte) {
	if hash == n.tip.hash {
		return
	}
	n.tip = tip{hash: hash, height: -1}
	n.tips++
	for _, other := range g.nodes {
		if other.tip.hash == hash && other.tip.height >= 0 {
			n.tip = other.tip
		}
	}
	signal(n.checkNow)
	if !n.answers {
		n.want()
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// learn spreads what is known of a block to all who have it.
func (g *Group) learn(known tip) {
	for _, n := range g.nodes {
		if n.tip.hash == known.hash {
			n.tip = known
		}
	}
	if g.published.hash == known.hash {
		g.published = known
	}
}

// tips returns the node's count of tips, to tell later whether an answer is
// older than other news, and whether the node gives templates.
func (g *Group) tips(n *node) (count uint64, answers bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return n.tips, n.answers
}

// lost takes in that a call other than getblocktemplate failed. Only what
// means that the node cannot be used now counts; the fetcher finds out more.
func (g *Group) lost(n *node, err error, asked time.Time) {
	p := n.client.explain(err)
	g.update(func(time.Time) {
		switch {
		case !n.answers:
			return
		case p.kind == kindTimeout && n.answered.After(asked):
			return
		case p.gone, p.state == stateStarting, p.kind == kindPassword, p.kind == kindCookie:
			n.fail(p)
			n.want()
		}
	})
}

// pollLoop asks a node that gives templates for its newest block.
func (g *Group) pollLoop(ctx context.Context, n *node) {
	for ctx.Err() == nil {
		sleep(ctx, n.pollEvery, n.pollNow)
		before, answers := g.tips(n)
		if !answers || ctx.Err() != nil {
			continue
		}
		asked := time.Now()
		hash, err := n.client.BestBlockHash(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.lost(n, err, asked)
			sleep(ctx, time.Second, n.pollNow)
			continue
		}
		g.heardByPoll(n, hash, before)
	}
}

// heardByPoll is the usual case, nothing new, and changes nothing then.
func (g *Group) heardByPoll(n *node, hash [32]byte, before uint64) {
	g.mu.Lock()
	n.answered = time.Now()
	news := n.tip.hash != hash && n.tips == before
	g.mu.Unlock()
	if !news {
		return
	}
	g.update(func(time.Time) {
		if n.tips == before {
			g.hear(n, hash)
		}
	})
}

// longPollLoop waits for the node to give a new template by itself.
func (g *Group) longPollLoop(ctx context.Context, n *node) {
	var p pause
	for ctx.Err() == nil {
		id, built := g.longPollID(n)
		if id == "" {
			sleep(ctx, time.Hour, n.longPollNow)
			continue
		}
		asked := time.Now()
		t := new(template)
		t.tips, _ = g.tips(n)
		err := t.ask(ctx, n.client, id)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// A proxy between may have cut it: the poll finds out.
			signal(n.pollNow)
			p.sleep(ctx, nil)
			continue
		}
		news := false
		g.update(func(now time.Time) {
			if t.built.hash == n.tip.hash || n.tipIsNews(t) {
				news = t.built.hash != built
				g.receive(n, t, now)
			} else {
				signal(n.pollNow) // did it give up its tip?
			}
		})
		if !news && time.Since(asked) < time.Second {
			p.sleep(ctx, nil) // a node that does not wait is not asked in a loop
		} else {
			p.reset()
		}
	}
}

// longPollID is that of the newest template and the block that builds on.
func (g *Group) longPollID(n *node) (id string, built [32]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n.answers && n.template != nil {
		id, built = n.template.longPoll, n.template.built.hash
	}
	return id, built
}

// connect makes a subscriber tell the group of a node's blocks.
func (g *Group) connect(n *node, s *subscriber) {
	s.block = func(hash [32]byte) {
		g.update(func(time.Time) { g.hear(n, hash) })
	}
	s.missed = func() { signal(n.pollNow) }
	s.event = func(level int, text string) { g.options.Event(Event{level, text}) }
}

// warmLoop keeps a submission connection open: a solved block must not wait
// for a handshake.
func (g *Group) warmLoop(ctx context.Context, n *node) {
	for ctx.Err() == nil {
		if _, answers := g.tips(n); answers {
			_ = n.client.call(ctx, n.client.submissions, n.client.options.Timeout, nil, "getblockcount")
		}
		sleep(ctx, warmEvery, nil)
	}
}
