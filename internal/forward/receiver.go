package forward

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
)

const (
	// listEvery is how often streams are looked for whose forwarder does not ask.
	listEvery = 5 * time.Second
	// pollEvery is how often a stream is looked at that has nothing.
	pollEvery = 100 * time.Millisecond
	// mostTogether is the bytes of messages that are stored in one transaction, or
	// one that is larger.
	mostTogether = 4 << 20
	// purgeAfter so many messages they are purged, where more are there.
	purgeAfter = 32
)

// Receiver stores what forwarders send. Make it with its exported fields, which are
// immutable. Several may run with one database.
type Receiver struct {
	Conn   *nats.Conn
	Store  accounting.Store
	Events event.Func

	js jetstream.JetStream // immutable once Run runs

	mu    sync.Mutex
	sites map[string]*site // by instance in hexadecimal; guarded by mu
}

// site is an instance that sends.
type site struct {
	id string // immutable
	// guarded by the Receiver's mu
	SiteProgress
	hole    uint64    // see answer
	network bool      // Refused is because of it
	parted  time.Time // when it was told that an older copy of its journal was put back
}

// SiteProgress is how an instance does that sends.
type SiteProgress struct {
	store.Instance
	Known    bool           // that the database is at Position
	Position store.Position // the last record stored
	Shares   uint64         // stored by this process
	Waiting  uint64         // messages in the stream
	Asked    time.Time      // when its forwarder asked last; what follows is as of then
	Behind   uint64         // shares in its journal that are not stored
	Since    int64          // time of the first record of them, microseconds since 1970
	Refused  string         // why nothing is stored
}

// Progress are the instances that send, by name. It is for any goroutine.
func (r *Receiver) Progress() (list []SiteProgress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range maps.Values(r.sites) {
		list = append(list, s.SiteProgress)
	}
	slices.SortFunc(list, func(a, b SiteProgress) int {
		return strings.Compare(a.Name+string(a.ID[:]), b.Name+string(b.ID[:]))
	})
	return list
}

// Run stores until ctx ends.
func (r *Receiver) Run(ctx context.Context) error {
	js, err := jetstream.New(r.Conn, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		return err
	}
	r.js = js
	r.mu.Lock()
	r.sites = map[string]*site{}
	r.mu.Unlock()
	asked := make(chan *nats.Msg, 1024)
	sub, err := r.Conn.ChanSubscribe(askSubject("*"), asked)
	if err != nil {
		return fmt.Errorf("NATS: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails where the connection is closed
	var group sync.WaitGroup
	defer group.Wait()
	ticker := time.NewTicker(listEvery)
	defer ticker.Stop()
	for r.list(ctx, &group); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.list(ctx, &group)
		case m := <-asked:
			r.answer(ctx, &group, m)
		}
	}
}

// list finds streams.
func (r *Receiver) list(ctx context.Context, group *sync.WaitGroup) {
	ctx2, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	names := r.js.StreamNames(ctx2, jetstream.WithStreamListSubject(batchSubject("*")))
	for name := range names.Name() {
		if id, ok := instanceIn(name, streamPrefix, ""); ok {
			r.site(ctx, group, id)
		}
	}
	// An error is that NATS is away: the connection tells.
}

// site is that of an instance; a new one is read from now on.
func (r *Receiver) site(ctx context.Context, group *sync.WaitGroup, id [16]byte) *site {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := hex.EncodeToString(id[:])
	s := r.sites[text]
	if s == nil {
		s = &site{id: text, SiteProgress: SiteProgress{Instance: store.Instance{ID: id}}}
		r.sites[text] = s
		group.Go(func() { r.read(ctx, s) })
	}
	return s
}

// answer answers a forwarder. Where the database is away it does not.
func (r *Receiver) answer(ctx context.Context, group *sync.WaitGroup, m *nats.Msg) {
	id, ok := instanceIn(m.Subject, subjectPrefix, askSuffix)
	if !ok {
		return
	}
	a := answer{Version: version}
	var q question
	if err := readJSON(m.Data, "a question", &q); err != nil {
		a.Refused = err.Error()
	} else {
		s := r.site(ctx, group, id)
		r.mu.Lock()
		s.Asked, s.Behind, s.Since = time.Now(), q.Behind, q.Since
		known := s.Known && s.Name == q.Name && s.Instance.Network == q.Network
		r.mu.Unlock()
		if q.Begin || !known {
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			start, err := r.begin(ctx, s, q.Name, q.Network, q.Epochs)
			cancel()
			if err != nil && !errors.Is(err, store.ErrNetwork) {
				return
			}
			if start.Replaced != (store.Position{}) {
				replaced := placeOf(start.Replaced)
				a.Replaced = &replaced
			}
		}
		r.mu.Lock()
		a.place, a.Hole, a.Refused, a.Network = placeOf(s.Position), s.hole, s.Refused, s.network
		r.mu.Unlock()
	}
	if data, err := json.Marshal(a); err == nil {
		_ = m.Respond(data) // the forwarder asks again
	}
}

// begin asks the database where it is.
func (r *Receiver) begin(ctx context.Context, s *site, name, network string, epochs []store.Epoch) (store.Start, error) {
	r.mu.Lock()
	in := store.Instance{ID: s.ID, Name: name, Network: network}
	r.mu.Unlock()
	start, err := r.Store.Begin(ctx, in, epochs)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrNetwork):
		s.Name, s.Instance.Network = name, network
		s.Known, s.Refused, s.network = false, err.Error(), true
	case err == nil:
		s.Instance, s.Known, s.Position, s.Refused, s.network = in, true, start.At, "", false
		if start.Replaced != (store.Position{}) && time.Since(s.parted) > tellEvery {
			s.parted = time.Now()
			r.Events.Say(event.Warning, fmt.Sprintf("Journal of pool %s: an older copy of it was put back: it is stored from record %s on, and what it had after record %s is gone, unless it is in the database",
				name, start.At, start.Replaced))
		}
	}
	return start, err
}

// read stores what an instance sends.
func (r *Receiver) read(ctx context.Context, s *site) {
	told := ""
	for {
		err := r.drain(ctx, s)
		if ctx.Err() != nil {
			return
		}
		wait := pollEvery
		if err != nil {
			wait = retryTime
		}
		var later *laterError
		r.mu.Lock()
		if errors.As(err, &later) {
			s.Refused = err.Error()
		}
		r.mu.Unlock()
		if text := fmt.Sprint(err); err != nil && text != told && r.Conn.IsConnected() {
			r.Events.Say(event.Warning, fmt.Sprintf("Stream %s: %s; trying again", streamName(s.id), text))
			told = text
		} else if err == nil {
			told = ""
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// drain stores all that the stream has now, from its first message.
func (r *Receiver) drain(ctx context.Context, s *site) error {
	stream, err := r.js.Stream(ctx, streamName(s.id))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	r.mu.Lock()
	s.Waiting = state.Msgs
	r.mu.Unlock()
	if state.Msgs == 0 {
		return nil
	}
	// Of the messages before next, those before done are not needed any more, and
	// those before purged are gone.
	next, done, purged := state.FirstSeq, state.FirstSeq, state.FirstSeq
	var row []message // from done on, to be stored together
	size := 0
	purge := func() error {
		if purged == done {
			return nil
		}
		purged = done
		return stream.Purge(ctx, jetstream.WithPurgeSequence(done))
	}
	put := func() error {
		if err := r.put(ctx, s, row); err != nil {
			return err
		}
		r.mu.Lock()
		s.Waiting -= min(s.Waiting, next-done)
		r.mu.Unlock()
		row, size, done = row[:0], 0, next
		if done-purged < purgeAfter {
			return nil
		}
		return purge()
	}
	for next <= state.LastSeq {
		raw, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(batchSubject(s.id)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		var m *message
		if err == nil {
			m, err = r.open(ctx, s, raw.Data)
		}
		if err != nil { // it stays, and what was before it is stored
			return cmp.Or(put(), err, purge())
		}
		if m != nil {
			if len(row) > 0 && (size+len(raw.Data) > mostTogether || !m.follows(&row[len(row)-1])) {
				if err := put(); err != nil {
					return cmp.Or(err, purge())
				}
			}
			row, size = append(row, *m), size+len(raw.Data)
		}
		next = raw.Sequence + 1
	}
	return cmp.Or(put(), purge())
}

// open reads a message; nil is one that is nothing to store. An error is that it can
// not be dealt with yet.
func (r *Receiver) open(ctx context.Context, s *site, data []byte) (*message, error) {
	var m message
	var later *laterError
	r.mu.Lock()
	own := s.ID
	r.mu.Unlock()
	err := m.decode(data)
	switch {
	case errors.As(err, &later):
		return nil, err
	case err != nil:
		r.Events.Say(event.Error, fmt.Sprintf("Stream %s has a message that is no batch: %v; it is to be sent again", streamName(s.id), err))
		return nil, nil
	case m.batch.Instance != own:
		r.Events.Say(event.Error, fmt.Sprintf("Stream %s has a batch of another instance, %x, which is not stored", streamName(s.id), m.batch.Instance))
		return nil, nil
	}
	if err := m.batch.Check(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	known := s.Known && s.Instance.Network == m.network && s.Refused == ""
	r.mu.Unlock()
	if known {
		return &m, nil
	}
	_, err = r.begin(ctx, s, m.name, m.network, nil)
	return &m, err
}

// put stores a row of messages of which each follows the one before it, in one
// transaction. Where the database is not right before the first, each goes its own
// way.
func (r *Receiver) put(ctx context.Context, s *site, row []message) error {
	var moved *store.CursorError
	if len(row) > 1 {
		if err := r.take(ctx, s, join(row)); !errors.As(err, &moved) {
			return err
		}
	}
	for i := range row {
		m := &row[i]
		err := r.take(ctx, s, &m.batch)
		if errors.As(err, &moved) {
			// It was stored before, or it is sent again.
			r.mu.Lock()
			if s.Position = moved.Present; m.batch.To.After(moved.Present) {
				s.hole = m.generation
			}
			r.mu.Unlock()
		} else if err != nil {
			return err
		}
	}
	return nil
}

// take stores a batch.
func (r *Receiver) take(ctx context.Context, s *site, b *store.Batch) error {
	result, err := r.Store.Apply(ctx, b)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Position = b.To
	s.Shares += uint64(result.New)
	for _, g := range b.Gaps {
		r.Events.Say(event.Error, fmt.Sprintf("Journal of pool %s: epoch %d: %s", s.Name, g.Epoch, g.Cause))
	}
	return nil
}
