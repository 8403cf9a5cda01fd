package forward

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
)

const (
	// batchSize is what a message has, about. Servers take 1 MB if not told otherwise.
	batchSize = 512 << 10
	// mostSent are batches that were published and that the database has not; more
	// wait in the journal.
	mostSent = 10_000

	// DefaultMaxBytes is the size of a stream.
	DefaultMaxBytes = 1 << 30
	// maxAge is how long a stream has a message that no receiver comes for.
	maxAge = 7 * 24 * time.Hour
	// repeatWindow is how long JetStream knows a message again.
	repeatWindow = 2 * time.Minute

	// mostEpochs are asked about: those that a journal was not stored of for long.
	mostEpochs = 1000

	askEvery = 500 * time.Millisecond
	// stalledAfter is how long the database may stand still before the stream is
	// looked at.
	stalledAfter = 5 * time.Second
	// countEvery is how often what is behind is counted in the journal, at most.
	countEvery = 5 * time.Second
	// retryTime is between tries of what fails.
	retryTime = time.Second
	// tellEvery is how often the same trouble is told.
	tellEvery = time.Minute
)

// Forwarder sends what one pool's journal tells to the accounting database. Make it
// with its exported fields, which are immutable.
type Forwarder struct {
	Dir    string // the journal
	Reader string // name of the cursor in it, which is where the database is
	Conn   *nats.Conn
	// Of the stream: how many servers have it, 0 is 1, and its size in bytes, 0 is
	// DefaultMaxBytes.
	Replicas int
	MaxBytes int64
	Events   event.Func

	follower accounting.Follower // its exported fields are guarded by mu until Run runs
	js       jetstream.JetStream // immutable once Run runs

	// owned by watch
	written journal.Cursor // the cursor in the journal
	badly   bool           // writing it has failed
	counted time.Time      // when backlog is to be counted again

	mu sync.Mutex
	// guarded by mu
	state
	end func() // ends the follower, so that another generation begins
}

// state is where a generation is. The zero value is that of none.
type state struct {
	generation uint64
	instance   store.Instance
	committed  store.Position // of the database
	time       int64          // of the last record in it, 0 if it is not known
	moved      time.Time      // when it moved last, or had nothing to come
	sent       []sentBatch    // published after committed
	shares     uint64         // in sent
	sequence   uint64         // in the stream, of the last of sent
	published  store.Position // the last record that was published, or is being so
	again      string         // why it is over: the journal is read again
	room       chan struct{}  // closed when there is room in sent; nil if nobody waits
	backlog    journal.Backlog
	trouble    string // why no answers come
}

type sentBatch struct {
	to     store.Position
	time   int64
	shares uint64
}

// Progress is how a Forwarder does.
type Progress struct {
	accounting.Progress                // of reading; Position was published
	Committed           store.Position // the database has everything up to here
	Sent                uint64         // shares published after it
	Behind              journal.Backlog
	Trouble             string // why it is not known where the database is
}

// Progress is for any goroutine.
func (f *Forwarder) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{Progress: f.follower.Progress()}
	p.Dir, p.Committed, p.Sent, p.Behind, p.Trouble = f.Dir, f.committed, f.shares, f.backlog, f.trouble
	return p
}

// Run sends until ctx ends. The error is of what a person has to mend, as that of
// [accounting.Follower].
func (f *Forwarder) Run(ctx context.Context) error {
	js, err := jetstream.New(f.Conn, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		return err
	}
	f.js = js
	c, err := journal.ReadCursor(f.Dir, f.Reader)
	f.mu.Lock()
	if err == nil { // as far as is known until the database is asked
		f.committed, f.time = store.Position{Epoch: int64(c.Epoch), Number: int64(c.Number), Life: c.Life}, c.Time
	}
	f.follower.Dir, f.follower.Store, f.follower.Events, f.follower.MaxSize = f.Dir, f, f.Events, batchSize
	f.mu.Unlock()
	watching, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { f.watch(watching) })
	defer group.Wait()
	defer cancel()
	for limiter := logfile.NewLimiter(tellEvery); ; {
		why, at, err := f.follow(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		text := fmt.Sprintf("Journal %s: %s; it is sent again from record %s on, where the accounting database is", f.Dir, why, at)
		if text, ok := limiter.PassKind(why, text); ok {
			f.Events.Say(event.Warning, text)
		}
	}
}

// follow follows the journal for one generation, and tells why that is over and where
// the database is then.
func (f *Forwarder) follow(ctx context.Context) (why string, at store.Position, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	f.forget()
	f.end = cancel
	f.mu.Unlock()
	err = f.follower.Run(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.again, f.committed, err
}

// forget ends a generation but for what is true of any. f.mu is held.
func (f *Forwarder) forget() {
	f.state = state{committed: f.committed, time: f.time, backlog: f.backlog, trouble: f.trouble}
}

// Begin begins a generation where the database is. It is the follower's.
func (f *Forwarder) Begin(ctx context.Context, in store.Instance, epochs []store.Epoch) (start store.Start, err error) {
	f.mu.Lock()
	f.forget()
	f.mu.Unlock()
	id := hex.EncodeToString(in.ID[:])
	// A question has to fit a message of NATS.
	epochs = epochs[max(0, len(epochs)-mostEpochs):]
	a, err := f.ask(ctx, id, question{Name: in.Name, Network: in.Network, Begin: true, Epochs: epochs})
	if err != nil {
		return start, err
	}
	if a.Refused != "" {
		return start, refusal(a)
	}
	if err := f.makeStream(ctx, in); err != nil {
		return start, err
	}
	at := a.position()
	start.At = at
	if a.Replaced != nil {
		start.Replaced = a.Replaced.position()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state{generation: rand.Uint64() | 1, instance: in, committed: at, published: at, moved: time.Now(), backlog: f.backlog}
	return start, nil
}

func refusal(a *answer) error {
	if a.Network {
		return fmt.Errorf("%w: the accounting database says: %s", store.ErrNetwork, a.Refused)
	}
	return errors.New("the accounting database says: " + a.Refused)
}

func (f *Forwarder) makeStream(ctx context.Context, in store.Instance) error {
	id := hex.EncodeToString(in.ID[:])
	size := f.MaxBytes
	if size <= 0 {
		size = DefaultMaxBytes
	}
	_, err := f.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName(id), Subjects: []string{batchSubject(id)}, Description: "journal of the pool " + in.Name + " on " + in.Network,
		Storage: jetstream.FileStorage, Replicas: max(f.Replicas, 1), MaxBytes: size, MaxAge: maxAge, Duplicates: repeatWindow,
		// What does not go in stays in the journal.
		Discard: jetstream.DiscardNew, AllowDirect: true,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", streamName(id), err)
	}
	return nil
}

// ask asks where the database is.
func (f *Forwarder) ask(ctx context.Context, id string, q question) (*answer, error) {
	q.Version = version
	data, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := f.Conn.RequestWithContext(ctx, askSubject(id), data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errors.New("no ckdb with an accounting database answers")
	case err != nil && !f.Conn.IsConnected():
		return nil, errors.New("NATS cannot be reached")
	case err != nil:
		return nil, fmt.Errorf("NATS: %w", err)
	}
	var a answer
	if err := readJSON(m.Data, "an answer", &a); err != nil {
		return nil, err
	}
	return &a, nil
}

// Apply publishes a batch. It is the follower's. What fails is tried again here, until
// the generation is over.
func (f *Forwarder) Apply(ctx context.Context, b *store.Batch) (store.Result, error) {
	generation, in, err := f.wait(ctx, b)
	if err != nil {
		return store.Result{}, err
	}
	m := message{generation: generation, name: in.Name, network: in.Network, batch: *b}
	data := m.encode(nil)
	if most := f.Conn.MaxPayload(); int64(len(data)) > most {
		return store.Result{}, fmt.Errorf("records %s to %s take %d bytes, and the NATS server takes %d: raise its max_payload", b.From, b.To, len(data), most)
	}
	id := fmt.Sprintf("%x/%s/%s/%x", b.Instance, b.From, b.To, generation)
	for told := false; ; told = true {
		sequence, err := f.publish(ctx, in, data, id)
		if err == nil {
			f.publishedAs(sequence, b)
			return store.Result{New: len(b.Shares)}, ctx.Err()
		}
		if ctx.Err() != nil {
			return store.Result{}, ctx.Err()
		}
		if !told && f.Conn.IsConnected() {
			f.Events.Say(event.Warning, fmt.Sprintf("Journal %s: %v; trying again", f.Dir, err))
		}
		select {
		case <-ctx.Done():
			return store.Result{}, ctx.Err()
		case <-time.After(retryTime):
		}
	}
}

// wait waits for room for a batch.
func (f *Forwarder) wait(ctx context.Context, b *store.Batch) (uint64, store.Instance, error) {
	for {
		f.mu.Lock()
		if len(f.sent) < mostSent {
			defer f.mu.Unlock()
			f.published = b.To
			return f.generation, f.instance, nil
		}
		room := make(chan struct{})
		f.room = room
		f.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, store.Instance{}, ctx.Err()
		}
	}
}

func (f *Forwarder) publish(ctx context.Context, in store.Instance, data []byte, id string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	name := hex.EncodeToString(in.ID[:])
	ack, err := f.js.Publish(ctx, batchSubject(name), data, jetstream.WithMsgID(id), jetstream.WithExpectStream(streamName(name)), jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		// It is gone, or the server does not have it again yet.
		if made := f.makeStream(ctx, in); made != nil {
			return 0, made
		}
	}
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", streamName(name), err)
	}
	return ack.Sequence, nil
}

// publishedAs notes a batch, unless its place in the stream shows that those before
// it are gone.
func (f *Forwarder) publishedAs(sequence uint64, b *store.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sent) > 0 && sequence <= f.sequence {
		f.restart("the stream has lost what was in it")
		return
	}
	f.sequence = sequence
	if !b.To.After(f.committed) {
		return // the database was faster than the acknowledgement
	}
	if len(f.sent) == 0 {
		f.moved = time.Now()
	}
	f.shares += uint64(len(b.Shares))
	f.sent = append(f.sent, sentBatch{b.To, b.At, uint64(len(b.Shares))})
}

// restart ends the generation. f.mu is held.
func (f *Forwarder) restart(why string) {
	f.again, f.generation = why, 0
	f.end()
}

// watch asks where the database is.
func (f *Forwarder) watch(ctx context.Context) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		f.mu.Lock()
		now := f.state
		f.mu.Unlock()
		f.count(now.committed)
		if now.generation == 0 {
			continue
		}
		err := f.look(ctx, &now)
		if ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		if f.trouble = ""; err != nil {
			f.trouble = err.Error()
		}
		f.mu.Unlock()
	}
}

// look looks once, at a generation as it was.
func (f *Forwarder) look(ctx context.Context, now *state) error {
	id := hex.EncodeToString(now.instance.ID[:])
	empty := false
	if len(now.sent) > 0 && time.Since(now.moved) > stalledAfter {
		// Before the question: what the receiver has dealt with by then is in its answer.
		s, err := f.js.Stream(ctx, streamName(id))
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			empty = true
		case err != nil:
			return fmt.Errorf("stream %s: %w", streamName(id), err)
		default:
			in := s.CachedInfo().State
			empty = in.Msgs == 0 || in.LastSeq < now.sequence
		}
	}
	a, err := f.ask(ctx, id, question{Name: now.instance.Name, Network: now.instance.Network, Behind: now.backlog.Shares, Since: now.backlog.Since})
	if err != nil {
		return err
	}
	if now.committed.After(a.position()) {
		// It may be that of a receiver that did not store the last ones itself.
		if a, err = f.ask(ctx, id, question{Name: now.instance.Name, Network: now.instance.Network, Begin: true}); err != nil {
			return err
		}
	}
	if a.Refused != "" {
		return refusal(a)
	}
	at, time := f.heard(a, now.generation, empty)
	f.writeCursor(&now.instance, at, time)
	return nil
}

// heard takes an answer about a generation.
func (f *Forwarder) heard(a *answer, generation uint64, empty bool) (store.Position, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.generation != generation {
		return f.committed, f.time
	}
	at := a.position()
	switch {
	case f.committed.After(at):
		f.committed = at
		f.restart("the accounting database is back at an earlier place: has a backup been restored?")
	case at.After(f.published):
		f.committed = at
		f.restart("another forwarder has sent more of this journal: end one of them")
	case at.Life != f.committed.Life && at.Life != f.published.Life && !slices.ContainsFunc(f.sent, func(b sentBatch) bool { return b.to.Life == at.Life }):
		f.committed = at
		f.restart("another forwarder sends another copy of this journal: end one of them")
	case a.Hole == generation:
		f.committed = at
		f.restart("the stream has lost some of what was in it")
	case empty && at == f.committed:
		f.restart("the stream has lost what was in it")
	case at != f.committed:
		f.committed, f.moved = at, time.Now()
		n := 0
		for ; n < len(f.sent) && !f.sent[n].to.After(at); n++ {
			f.time = f.sent[n].time
			f.shares -= f.sent[n].shares
		}
		f.sent = append(f.sent[:0], f.sent[n:]...)
		if f.room != nil {
			close(f.room)
			f.room = nil
		}
	}
	return f.committed, f.time
}

// writeCursor lets go of what the database has. Where that fails the journal is only
// longer.
func (f *Forwarder) writeCursor(in *store.Instance, at store.Position, time int64) {
	c := journal.Cursor{
		Instance: hex.EncodeToString(in.ID[:]), Network: in.Network,
		Position: journal.Position{Epoch: uint64(at.Epoch), Number: uint64(at.Number)}, Time: time, Life: at.Life,
	}
	if c == f.written {
		return
	}
	err := journal.WriteCursor(f.Dir, f.Reader, c)
	if err == nil {
		f.written = c
	} else if !f.badly {
		f.Events.Say(event.Warning, fmt.Sprintf("Journal %s: what the database has of it cannot be deleted: %v", f.Dir, err))
	}
	f.badly = err != nil
}

// count counts what the database does not have, seldom where that takes long.
func (f *Forwarder) count(at store.Position) {
	began := time.Now()
	if began.Before(f.counted) {
		return
	}
	b, err := journal.Behind(f.Dir, journal.Position{Epoch: uint64(at.Epoch), Number: uint64(at.Number)})
	f.counted = time.Now().Add(max(countEvery, 50*time.Since(began)))
	if err != nil {
		return // reading it tells of that
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backlog = b
}
