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
	tick           = time.Second      // between events of one
	turn           = tick / 100       // between those of two
	lookEvery      = tick / 5         // for new streams, at least
	keptEvent      = tick / 5         // that one event is told to the streams of later turns as well
	heartbeat      = 15 * time.Second // without anything else to tell
	maxStreams     = 1000
	maxOfTurn      = maxStreams / 500 // that many streams wait 5 s for their turns and no longer
	maxOfAddress   = 50
	maxWatched     = 8                // users of a stream
	streamPatience = 10 * time.Second // that a reader who does not read is given
)

// hub sends what has changed to all streams: each event is made once, however many read.
type hub struct {
	server *Server // immutable

	mu        sync.Mutex
	streams   []*stream      // guarded by mu; by when they are due
	addresses map[string]int // guarded by mu; streams by the address they come from
	closed    bool           // guarded by mu
}

// stream is one reader.
type stream struct {
	users   []string    // that it watches, beside the pool; immutable
	page    bool        // it wants texts as pages have them; immutable
	address string      // immutable
	due     time.Time   // when it is told next; guarded by the hub's mu
	told    time.Time   // when it was; owned by the hub's goroutine
	events  chan []byte // one waits at most: the newest counts
}

func newHub(s *Server) *hub {
	return &hub{server: s, addresses: make(map[string]int)}
}

// open adds a stream, nil where there are too many.
func (h *hub) open(users []string, page bool, address string) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.streams) >= maxStreams || h.addresses[address] >= maxOfAddress {
		return nil
	}
	s := &stream{users: users, page: page, address: address, due: time.Now(), events: make(chan []byte, 1)}
	h.insert(s)
	h.addresses[address]++
	return s
}

// insert puts a stream behind those that are due no later. The caller holds mu.
func (h *hub) insert(s *stream) {
	i := len(h.streams)
	for i > 0 && h.streams[i-1].due.After(s.due) {
		i--
	}
	h.streams = slices.Insert(h.streams, i, s)
}

func (h *hub) close(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.streams, s)
	if i < 0 {
		return
	}
	h.streams = slices.Delete(h.streams, i, i+1)
	if h.addresses[s.address]--; h.addresses[s.address] == 0 {
		delete(h.addresses, s.address)
	}
}

// run sends events until ctx ends, and then ends all streams. Streams have their turns one
// after the other, so that many of them do not all want the processors at once, which shares
// would wait for. With more than have a turn in a tick, each has to wait longer.
func (h *hub) run(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	made, since := make(map[string][]byte), time.Time{}
	for {
		select {
		case <-ctx.Done():
			h.end()
			return
		case now := <-t.C:
			if now.Sub(since) >= keptEvent {
				clear(made)
				since = now
			}
			streams, wait := h.next(now)
			h.send(ctx, now, streams, made)
			t.Reset(wait)
		}
	}
}

// next are the streams whose turn it is, and how long it is until the next turn, or until it
// is time to look for new streams.
func (h *hub) next(now time.Time) (streams []*stream, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range 1 + len(h.streams)*maxOfTurn/(maxStreams+1) {
		if len(h.streams) == 0 || h.streams[0].due.After(now) {
			break
		}
		s := h.streams[0]
		h.streams = slices.Delete(h.streams, 0, 1)
		s.due = now.Add(tick)
		h.insert(s)
		streams = append(streams, s)
	}
	wait = lookEvery
	if len(h.streams) > 0 {
		wait = min(wait, h.streams[0].due.Sub(now))
	}
	return streams, max(wait, turn)
}

func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.streams {
		close(s.events)
	}
	h.streams = nil
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
	if !slices.Contains(h.streams, s) {
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
