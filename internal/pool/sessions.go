package pool

import (
	"cmp"
	"context"
	"slices"

	"ckpool/internal/netserver"
	"ckpool/internal/session"
)

// onLoops runs fn on every loop and waits for the results, or for ctx.
func onLoops[T any](ctx context.Context, p *Pool, fn func(h *session.Handler) T) ([]T, error) {
	results := make(chan T, len(p.handlers))
	for i, l := range p.server.Loops() {
		h := p.handlers[i]
		l.Post(func() { results <- fn(h) })
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

func (p *Pool) countOnLoops(ctx context.Context, fn func(h *session.Handler) int) (int, error) {
	parts, err := onLoops(ctx, p, fn)
	total := 0
	for _, n := range parts {
		total += n
	}
	return total, err
}

// Message shows text on one client, or on all when client is 0.
func (p *Pool) Message(ctx context.Context, client uint64, text string) (int, error) {
	return p.countOnLoops(ctx, func(h *session.Handler) int { return h.Message(client, text) })
}

// Reconnect sends client.reconnect to one client, or to all when client is 0.
func (p *Pool) Reconnect(ctx context.Context, client uint64, host, port string) (int, error) {
	return p.countOnLoops(ctx, func(h *session.Handler) int { return h.Reconnect(client, host, port) })
}

// Drop closes one client, or all when client is 0.
func (p *Pool) Drop(ctx context.Context, client uint64, why netserver.Reason) (int, error) {
	return p.countOnLoops(ctx, func(h *session.Handler) int { return h.Drop(client, why) })
}

// closeClient closes a client on whatever loop it is, without waiting.
func (p *Pool) closeClient(client uint64, why netserver.Reason) {
	for i, l := range p.server.Loops() {
		h := p.handlers[i]
		l.Post(func() { h.Drop(client, why) })
	}
}

// broadcastMessage shows text on all miners, without waiting.
func (p *Pool) broadcastMessage(text string) {
	for i, l := range p.server.Loops() {
		h := p.handlers[i]
		l.Post(func() { h.Message(0, text) })
	}
}
