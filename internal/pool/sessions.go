package pool

import (
	"cmp"
	"context"
	"slices"

	"ckpool/internal/netserver"
	"ckpool/internal/session"
)

// maxListed is how many entries of a list a reply has.
const maxListed = 100_000

// Sessions is a snapshot of the connections of the workers that match chooses, by
// id, at most maxListed. Loops serve their miners between its parts.
func (p *Pool) Sessions(ctx context.Context, match func(session.WorkerID) bool) ([]session.Info, error) {
	type part struct {
		list []session.Info
		next netserver.Slot
		more bool
	}
	done := make(chan part, 1) // one is under way at a time: no loop waits
	var all []session.Info
	for i, l := range p.server.Loops() {
		at := part{more: true}
		for at.more && len(all) < maxListed {
			l.Post(func() {
				var r part
				r.list, r.next, r.more = p.handlers[i].Sessions(nil, at.next, match)
				done <- r
			})
			select {
			case at = <-done:
				all = append(all, at.list...)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	slices.SortFunc(all, func(a, b session.Info) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(len(all), maxListed)], nil
}

// onLoops has every loop do something and waits for what each gives to done, or
// for ctx. done is called once, and never blocks a loop.
func onLoops[T any](ctx context.Context, p *Pool, do func(h *session.Handler, done func(T))) ([]T, error) {
	results := make(chan T, len(p.handlers))
	for i, l := range p.server.Loops() {
		l.Post(func() { do(p.handlers[i], func(r T) { results <- r }) })
	}
	var all []T
	for range p.handlers {
		select {
		case r := <-results:
			all = append(all, r)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return all, nil
}

// doOnLoops is onLoops for what is done to clients: it returns how many.
func (p *Pool) doOnLoops(ctx context.Context, do func(h *session.Handler, done session.Done)) (clients int, err error) {
	parts, err := onLoops(ctx, p, func(h *session.Handler, done func(int)) { do(h, done) })
	for _, n := range parts {
		clients += n
	}
	return clients, err
}

// countOnLoops sums what every loop knows at once.
func (p *Pool) countOnLoops(ctx context.Context, count func(h *session.Handler) int) (int, error) {
	return p.doOnLoops(ctx, func(h *session.Handler, done session.Done) { done(count(h)) })
}

// Message shows text on one client, or on all when client is 0.
func (p *Pool) Message(ctx context.Context, client uint64, text string) (int, error) {
	return p.doOnLoops(ctx, func(h *session.Handler, done session.Done) { h.Message(client, text, done) })
}

// Reconnect sends client.reconnect to one client, or to all when client is 0.
func (p *Pool) Reconnect(ctx context.Context, client uint64, host, port string) (int, error) {
	return p.doOnLoops(ctx, func(h *session.Handler, done session.Done) { h.Reconnect(client, host, port, done) })
}

// Drop closes one client, or all when client is 0.
func (p *Pool) Drop(ctx context.Context, client uint64, why netserver.Reason) (int, error) {
	return p.doOnLoops(ctx, func(h *session.Handler, done session.Done) { h.Drop(client, why, done) })
}

// closeClient closes a client on whatever loop it is, without waiting.
func (p *Pool) closeClient(client uint64, why netserver.Reason) {
	for i, l := range p.server.Loops() {
		l.Post(func() { p.handlers[i].Drop(client, why, func(int) {}) })
	}
}

// broadcastMessage shows text on all miners, without waiting.
func (p *Pool) broadcastMessage(text string) {
	for i, l := range p.server.Loops() {
		l.Post(func() { p.handlers[i].Message(0, text, func(int) {}) })
	}
}
