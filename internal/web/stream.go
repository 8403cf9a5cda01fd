package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Of streams.
const (
	tick           = time.Second // between events
	turnsOfTick    = 100
	keptEvent      = tick / 5         // that one event is told to the streams of later turns as well
	heartbeat      = 15 * time.Second // without anything else to tell
	maxStreams     = 1000
	maxOfAddress   = 50
	maxWatched     = 8                // users of a stream
	streamPatience = 10 * time.Second // that a reader who does not read is given
)

// hub sends what has changed to all streams: each event is made once, however many read.
type hub struct {
	server *Server // immutable

	mu        sync.Mutex
	streams   map[*stream]bool // guarded by mu
	addresses map[string]int   // guarded by mu; streams by the address they come from
	closed    bool             // guarded by mu
	opened    int              // guarded by mu; streams so far
}

// stream is one reader.
type stream struct {
	users   []string    // that it watches, beside the pool; immutable
	page    bool        // it wants texts as pages have them; immutable
	address string      // immutable
	turn    int         // of a tick, in which it is told; immutable
	told    time.Time   // when it was; owned by the hub's goroutine
	events  chan []byte // one waits at most: the newest counts
}

func newHub(s *Server) *hub {
	return &hub{server: s, streams: make(map[*stream]bool), addresses: make(map[string]int)}
}

// open adds a stream, nil where there are too many.
func (h *hub) open(users []string, page bool, address string) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.streams) >= maxStreams || h.addresses[address] >= maxOfAddress {
		return nil
	}
	s := &stream{users: users, page: page, address: address, turn: h.opened % turnsOfTick, events: make(chan []byte, 1)}
	h.opened++
	h.streams[s] = true
	h.addresses[address]++
	return s
}

func (h *hub) close(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.streams[s] {
		return
	}
	delete(h.streams, s)
	if h.addresses[s.address]--; h.addresses[s.address] == 0 {
		delete(h.addresses, s.address)
	}
}

// run sends events until ctx ends, and then ends all streams. Each stream has a turn of a
// tick, so that many of them do not all want the processors at once, which shares would wait
// for. Turns that no stream has wake nobody.
func (h *hub) run(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	made, since := make(map[string][]byte), time.Time{}
	for turn, passed := 0, 0; ; turn = (turn + passed) % turnsOfTick {
		select {
		case <-ctx.Done():
			h.end()
			return
		case now := <-t.C:
			if now.Sub(since) >= keptEvent {
				clear(made)
				since = now
			}
			h.send(ctx, now, h.list(turn), made)
			passed = h.next(turn)
			t.Reset(time.Duration(passed) * tick / turnsOfTick)
		}
	}
}

// next is in how many turns after one it is a stream's turn, or time to look for new streams.
func (h *hub) next(turn int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	turns := turnsOfTick / 5
	for s := range h.streams {
		turns = min(turns, (s.turn-turn-1+turnsOfTick)%turnsOfTick+1)
	}
	return turns
}

// list are the streams of a turn.
func (h *hub) list(turn int) (streams []*stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		if s.turn == turn {
			streams = append(streams, s)
		}
	}
	return streams
}

func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.streams {
		close(s.events)
	}
	h.streams = make(map[*stream]bool)
}

// send gives streams what they watch, or a heartbeat where there is nothing to tell. What is
// made for them is kept in made.
func (h *hub) send(ctx context.Context, now time.Time, streams []*stream, made map[string][]byte) {
	for _, s := range streams {
		event := h.event(ctx, s, now, made)
		if event == nil && now.Sub(s.told) >= heartbeat {
			event = []byte(": \n\n")
		}
		if event != nil {
			s.told = now
			h.give(s, event)
		}
	}
}

// give replaces what a reader has not read yet.
func (h *hub) give(s *stream, event []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.streams[s] {
		return
	}
	select {
	case <-s.events:
	default:
	}
	s.events <- event
}

// event is all that a stream is told at once.
func (h *hub) event(ctx context.Context, s *stream, now time.Time, made map[string][]byte) []byte {
	all := h.part(ctx, "", s.page, now, made)
	for _, user := range s.users {
		all = slices.Concat(all, h.part(ctx, user, s.page, now, made))
	}
	return all
}

// part is the event of the pool, or of a user; nil where there is nothing to tell.
func (h *hub) part(ctx context.Context, user string, page bool, now time.Time, made map[string][]byte) []byte {
	key := fmt.Sprint(page, user)
	if b, ok := made[key]; ok {
		return b
	}
	b, err := h.server.event(ctx, user, page, now)
	if err != nil {
		b = nil
	}
	made[key] = b
	return b
}

// event is one of a stream: named pool or user, with what /api/v1/pool or
// /api/v1/users/USER answers; for pages named texts, of a user with its name in "user": all
// tabs of a browser hear of whom any of them shows.
func (s *Server) event(ctx context.Context, user string, page bool, now time.Time) ([]byte, error) {
	name, v, err := "pool", any(nil), error(nil)
	if user == "" {
		var a poolAnswer
		a, err = s.keptPool(ctx, now)
		if v = a; page && err == nil {
			name, v = "texts", poolTexts(&a, now)
		}
	} else {
		name = "user"
		u, failed := s.user(user, now)
		if err = failed; err == nil {
			var a userAnswer
			a, err = s.keptUser(ctx, &u, now)
			if v = a; page && err == nil {
				t := userTexts(&a, now)
				t["user"] = a.User
				name, v = "texts", t
			}
		}
	}
	if err != nil {
		return nil, err
	}
	b, err := encode(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n", name, b), nil // b ends its line
}

// serveStream is /api/v1/stream?user=NAME…: server-sent events (HTML, 9.2).
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	watched := q["user"]
	if len(watched) > maxWatched {
		s.fail(w, r, &failure{http.StatusBadRequest, fmt.Sprintf(`"user" may be given %d times`, maxWatched)})
		return
	}
	st := s.hub.open(watched, q.Has("page"), s.reader(r).String())
	if st == nil {
		w.Header().Set("Retry-After", "30")
		s.fail(w, r, &failure{http.StatusTooManyRequests, "too many streams are open"})
		return
	}
	defer s.hub.close(st)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // nginx passes events on at once
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	write := func(b []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(streamPatience))
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !write([]byte("retry: 2000\n\n")) {
		return
	}
	for {
		select {
		case event, more := <-st.events:
			if !more || !write(event) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
