package bitcoind

import (
	"context"
	"net/http/httptrace"
	"time"
)

// claimTime is how long an answer to a long poll that has begun stands for the
// template the node is wanted to give. An answer of megabytes takes some
// milliseconds; one that takes longer may be none.
const claimTime = 200 * time.Millisecond

// longPollLoop waits for the node to give a new template by itself.
func (w watcher) longPollLoop(ctx context.Context) {
	var p pause
	for ctx.Err() == nil {
		id, built := w.longPollID()
		if id == "" {
			sleep(ctx, time.Hour, w.n.longPollNow)
			continue
		}
		asked := time.Now()
		t := new(template)
		w.asked(t)
		poll := w.newLongPoll()
		err := poll.ask(ctx, t, id)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.tr.update(func(time.Time) { poll.end() })
			if poll.replaced {
				w.awaitTemplate(ctx, id)
				continue
			}
			// A proxy between may have cut it: the poll finds out.
			signal(w.n.pollNow)
			p.sleep(ctx, nil)
			continue
		}
		news := false
		w.tr.update(func(now time.Time) {
			poll.end()
			if t.built.hash == w.n.tip.hash || w.n.tipIsNews(t) {
				news = t.built.hash != built
				w.tr.receive(w.n, t, now)
			} else {
				signal(w.n.pollNow) // did it give up its tip?
			}
		})
		if !news && time.Since(asked) < time.Second {
			p.sleep(ctx, nil) // a node that does not wait is not asked in a loop
		} else {
			p.reset()
		}
	}
}

// longPoll is one long poll. To read two templates of the same block at the same
// time would take two processors from the miners who wait for one: the fetcher
// ends a long poll that has not begun to be answered, and does not ask while one
// that has is being read.
type longPoll struct {
	watcher

	// guarded by tracker.mu
	replaced bool // by the fetcher
	claimed  bool // node.fetching is set for it
	expire   *time.Timer
}

func (w watcher) newLongPoll() *longPoll {
	p := &longPoll{watcher: w}
	p.expire = time.AfterFunc(time.Hour, func() { w.tr.update(func(time.Time) { p.end() }) })
	return p
}

// ask fills the template. end must be called afterwards.
func (p *longPoll) ask(ctx context.Context, t *template, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.tr.mu.Lock()
	p.n.endLongPoll = func() {
		p.replaced = true
		cancel()
	}
	p.tr.mu.Unlock()
	return t.ask(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: p.begun}), p.n.client, id)
}

// begun: the answer begins.
func (p *longPoll) begun() {
	p.tr.mu.Lock()
	defer p.tr.mu.Unlock()
	p.n.endLongPoll = nil
	if !p.n.fetching && !p.replaced {
		p.claimed, p.n.fetching = true, true
		p.expire.Reset(claimTime)
	}
}

// end gives back what the long poll has of the node. The caller holds mu.
func (p *longPoll) end() {
	p.expire.Stop()
	p.n.endLongPoll = nil
	if !p.claimed {
		return
	}
	p.claimed, p.n.fetching = false, false
	if !p.n.answers {
		p.n.want() // nobody else has while it was claimed
	}
}

// awaitTemplate waits until another template came than that with the id.
func (w watcher) awaitTemplate(ctx context.Context, id string) {
	end := time.Now().Add(time.Second)
	for ctx.Err() == nil && time.Now().Before(end) {
		if now, _ := w.longPollID(); now != id {
			return
		}
		sleep(ctx, time.Until(end), w.n.longPollNow)
	}
}

// longPollID is that of the newest template and the block that builds on.
func (w watcher) longPollID() (id string, built [32]byte) {
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	if w.n.answers && w.n.template != nil {
		id, built = w.n.template.longPoll, w.n.template.built.hash
	}
	return id, built
}
