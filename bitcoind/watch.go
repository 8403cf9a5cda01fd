package bitcoind

import (
	"context"
	"time"
)

// watcher makes the calls to one node.
type watcher struct {
	tr *tracker
	n  *node
}

// fetchLoop asks the node for templates: when wanted, and after a failure
// again and again until one comes.
func (w watcher) fetchLoop(ctx context.Context) {
	var p pause
	w.tr.update(func(time.Time) { w.n.want() })
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.n.fetchNow:
		}
		for ctx.Err() == nil && w.fetch(ctx) {
			d := p.step()
			if w.refuses() {
				d = checkEvery // the node logs and delays each attempt
			}
			sleep(ctx, d, w.n.fetchNow)
		}
		p.reset()
	}
}

func (w watcher) refuses() bool {
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	return w.n.problem.barred()
}

// fetch makes one request and reports whether it has to be repeated.
func (w watcher) fetch(ctx context.Context) (again bool) {
	var t template
	w.tr.update(func(time.Time) {
		w.n.fetching = true
		t.tips, t.had, t.wish = w.n.tips, w.n.tip.hash, w.tr.wish
		// On another block this is what a long poll would bring, too.
		if had := w.n.template; had != nil && had.built.hash != w.n.tip.hash && w.n.endLongPoll != nil {
			w.n.endLongPoll()
		}
	})
	err := t.ask(ctx, w.n.client, "")
	if ctx.Err() != nil {
		return false
	}
	p := w.n.client.explain(err)
	w.tr.update(func(now time.Time) {
		w.n.fetching = false
		if err != nil {
			w.n.asked, again = true, true
			w.n.fail(p)
			if !w.n.verified {
				signal(w.n.checkNow) // its chain may explain
			}
			return
		}
		w.tr.receive(w.n, &t, now)
		again = w.n.disagrees()
	})
	return again
}

// tips returns the node's count of tips, to tell later whether an answer is
// older than other news, and whether the node gives templates.
func (w watcher) tips() (count uint64, answers bool) {
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	return w.n.tips, w.n.answers
}

// asked notes what the node has told when a template is asked for.
func (w watcher) asked(t *template) {
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	t.tips, t.had = w.n.tips, w.n.tip.hash
}

// lost takes in that a call other than getblocktemplate failed. Only what
// means that the node cannot be used now counts; the fetcher finds out more.
func (w watcher) lost(err error, asked time.Time) {
	p := w.n.client.explain(err)
	w.tr.update(func(time.Time) {
		switch {
		case !w.n.answers:
			return
		case p.kind == kindTimeout && w.n.answered.After(asked):
			return
		case !p.refusal():
			w.n.fail(p)
			w.n.want()
		}
	})
}

// pollLoop asks a node that gives templates for its newest block.
func (w watcher) pollLoop(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, w.n.pollEvery, w.n.pollNow)
		before, answers := w.tips()
		if !answers || ctx.Err() != nil {
			continue
		}
		asked := time.Now()
		hash, err := w.n.client.BestBlockHash(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.lost(err, asked)
			sleep(ctx, time.Second, w.n.pollNow)
			continue
		}
		w.heardByPoll(hash, before)
	}
}

// heardByPoll is the usual case, nothing new, and changes nothing then.
func (w watcher) heardByPoll(hash [32]byte, before uint64) {
	w.tr.mu.Lock()
	w.n.answered = time.Now()
	news := w.n.tip.hash != hash
	w.tr.mu.Unlock()
	if !news {
		return
	}
	w.tr.update(func(time.Time) {
		if w.n.tips == before { // else the answer crossed with news
			w.tr.hear(w.n, hash)
		}
	})
}

// connect makes a subscriber tell the group of a node's blocks.
func (w watcher) connect(s *subscriber) {
	s.block = func(hash [32]byte) {
		w.tr.update(func(time.Time) { w.tr.hear(w.n, hash) })
	}
	s.missed = func() { signal(w.n.pollNow) }
	s.events = w.tr.options.Events
}

// warmLoop keeps a submission connection open: a solved block must not wait
// for a handshake.
func (w watcher) warmLoop(ctx context.Context) {
	for ctx.Err() == nil {
		if _, answers := w.tips(); answers {
			_ = w.n.client.call(ctx, w.n.client.submissions, w.n.client.options.Timeout, nil, "getblockcount")
		}
		sleep(ctx, warmEvery, nil)
	}
}
