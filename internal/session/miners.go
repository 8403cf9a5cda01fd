package session

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/ckpool/ckpool/internal/netserver"
)

// MaxListed is how many miners a list has at most.
const MaxListed = 100_000

// Miners are the sessions of all loops, as operators ask for them and act on them.
// Their methods may be called from any goroutine but a loop's.
type Miners struct {
	Loops    []*netserver.Loop
	Handlers []*Handler // by loop
}

// Sessions is a snapshot of the connections of the workers that match chooses, by
// id, at most MaxListed. Loops serve their miners between its parts.
func (m *Miners) Sessions(ctx context.Context, match func(WorkerID) bool) ([]Info, error) {
	return m.list(ctx, match, MaxListed)
}

// Every is Sessions of all workers, however many there are.
func (m *Miners) Every(ctx context.Context) ([]Info, error) {
	return m.list(ctx, func(WorkerID) bool { return true }, math.MaxInt)
}

func (m *Miners) list(ctx context.Context, match func(WorkerID) bool, most int) ([]Info, error) {
	done := make(chan []Info, len(m.Loops)) // no loop waits
	var all []Info
	for i, l := range m.Loops {
		var list []Info
		var part func(first netserver.Slot)
		part = func(first netserver.Slot) {
			var next netserver.Slot
			var more bool
			list, next, more = m.Handlers[i].Sessions(list, first, match)
			if more && len(all)+len(list) < most && ctx.Err() == nil {
				l.Post(func() { part(next) }) // by itself: on a busy machine it would wait long for each answer
				return
			}
			done <- list
		}
		l.Post(func() { part(0) })
		select {
		case list := <-done:
			all = append(all, list...)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if len(all) >= most {
			break
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(len(all), most)], nil
}

// onLoops has every loop do something and waits for what each gives to done, or
// for ctx. done is called once, and never blocks a loop.
func onLoops[T any](ctx context.Context, m *Miners, do func(h *Handler, done func(T))) ([]T, error) {
	results := make(chan T, len(m.Handlers))
	for i, l := range m.Loops {
		l.Post(func() { do(m.Handlers[i], func(r T) { results <- r }) })
	}
	var all []T
	for range m.Handlers {
		select {
		case r := <-results:
			all = append(all, r)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return all, nil
}

// do is onLoops for what is done to clients: it returns how many.
func (m *Miners) do(ctx context.Context, do func(h *Handler, done Done)) (clients int, err error) {
	parts, err := onLoops(ctx, m, func(h *Handler, done func(int)) { do(h, done) })
	for _, n := range parts {
		clients += n
	}
	return clients, err
}

// Count sums what every loop knows at once.
func (m *Miners) Count(ctx context.Context, count func(h *Handler) int) (int, error) {
	return m.do(ctx, func(h *Handler, done Done) { done(count(h)) })
}

// Listeners are how many miners have come by each of the first n listeners, those behind
// links by that of the link, as of the last tick. No loop is asked.
func (m *Miners) Listeners(n int) []int64 {
	all := make([]int64, min(n, maxListeners))
	for _, h := range m.Handlers {
		for i := range all {
			all[i] += h.connected[i].Load()
		}
	}
	return all
}

// Session is one miner, ok false where there is none.
func (m *Miners) Session(ctx context.Context, id uint64) (i Info, ok bool, err error) {
	parts, err := onLoops(ctx, m, func(h *Handler, done func([]Info)) {
		var list []Info
		if i, ok := h.Session(id); ok {
			list = append(list, i)
		}
		done(list)
	})
	for _, list := range parts {
		for _, i := range list {
			return i, true, nil
		}
	}
	return i, false, err
}

// MessageUser shows text on the miners of a user.
func (m *Miners) MessageUser(ctx context.Context, user, text string) (int, error) {
	return m.do(ctx, func(h *Handler, done Done) { h.MessageUser(user, text, done) })
}

// Lock tells the miners of a user why they may mine no more, and closes them, without
// waiting.
func (m *Miners) Lock(user, text string) {
	m.post(func(h *Handler) { h.Lock(user, text, func(int) {}) })
}

// SetMinimum gives a worker another least difficulty, 0 for none, without waiting.
func (m *Miners) SetMinimum(w WorkerID, difficulty float64) {
	m.post(func(h *Handler) { h.SetMinimum(w, difficulty, func(int) {}) })
}

// Show shows text on the miners of a user, or on all if it is "", without waiting.
func (m *Miners) Show(user, text string) {
	m.post(func(h *Handler) {
		if user == "" {
			h.Message(0, text, func(int) {})
		} else {
			h.MessageUser(user, text, func(int) {})
		}
	})
}

// post has every loop do something some time.
func (m *Miners) post(do func(h *Handler)) {
	for i, l := range m.Loops {
		l.Post(func() { do(m.Handlers[i]) })
	}
}

// Move brings clients to other sources, without waiting.
func (m *Miners) Move(list []Move) {
	m.post(func(h *Handler) { h.Move(list) })
}

// Send writes a line, its LF included, to one client.
func (m *Miners) Send(ctx context.Context, client uint64, line []byte) (int, error) {
	return m.do(ctx, func(h *Handler, done Done) { h.Send(client, line, done) })
}

// Message shows text on one client, or on all when client is 0.
func (m *Miners) Message(ctx context.Context, client uint64, text string) (int, error) {
	return m.do(ctx, func(h *Handler, done Done) { h.Message(client, text, done) })
}

// Reconnect sends client.reconnect to one client, or to all when client is 0.
func (m *Miners) Reconnect(ctx context.Context, client uint64, host, port string) (int, error) {
	return m.do(ctx, func(h *Handler, done Done) { h.Reconnect(client, host, port, done) })
}

// Drop closes one client, or all when client is 0.
func (m *Miners) Drop(ctx context.Context, client uint64, why netserver.Reason) (int, error) {
	return m.do(ctx, func(h *Handler, done Done) { h.Drop(client, why, done) })
}

// Close closes a client on whatever loop it is, without waiting.
func (m *Miners) Close(client uint64, why netserver.Reason) {
	m.post(func(h *Handler) { h.Drop(client, why, func(int) {}) })
}
