package accounting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"ckpool/event"
	"ckpool/internal/journal"
	"ckpool/internal/store"
)

const (
	// maxRecords are stored in one transaction.
	maxRecords = 50_000
	// gatherTime is how long records are gathered for one where fewer come.
	gatherTime = 200 * time.Millisecond
	// retryTime is between tries of what fails.
	retryTime = time.Second
)

// Store is what takes batches: a database, or what sends them to where one is. It
// does as [store.Store] does.
type Store interface {
	Register(context.Context, store.Instance) (store.Position, error)
	Apply(context.Context, *store.Batch) (store.Result, error)
}

// Follower stores what one pool's journal tells. Make it with its exported fields,
// which are immutable.
type Follower struct {
	Dir    string // the journal
	Reader string // name of the cursor in it; "": what takes the batches writes it
	Store  Store
	Events event.Func
	// MaxSize is the bytes that a batch may have, about, as package forward writes
	// it; 0: any. One record is a batch however long it is.
	MaxSize int

	mu sync.Mutex
	// guarded by mu
	progress Progress
}

// Progress is how a Follower does.
type Progress struct {
	Dir      string
	Instance string // "" until there is a journal
	Name     string // of the instance
	Network  string
	Position journal.Position // of the last record stored
	Time     int64            // of that record, microseconds since 1970
	Shares   uint64           // stored by this process
	Err      string           // why it does not go on
}

// Progress is for any goroutine.
func (f *Follower) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.progress
	p.Dir = f.Dir
	return p
}

func (f *Follower) note(change func(*Progress)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.progress)
}

// refusal is an error that trying again does not mend.
type refusal struct{ error }

// Run stores until ctx ends. The error is of what a person has to mend: a journal
// that is not to be stored here, or is a later release's. What else fails, such as a
// database that is away, is told once and tried again.
func (f *Follower) Run(ctx context.Context) error {
	told := ""
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var no refusal
		if errors.As(err, &no) {
			f.note(func(p *Progress) { p.Err = err.Error() })
			return err
		}
		if text := err.Error(); text != told {
			f.Events.Say(event.Warning, "Journal "+f.Dir+": "+text+"; trying again")
			told = text
		}
		f.note(func(p *Progress) { p.Err = err.Error() })
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryTime):
		}
	}
}

// follow stores until something fails.
func (f *Follower) follow(ctx context.Context) error {
	r, b, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if err := f.gather(ctx, r, b); err != nil {
			return err
		}
		if err := f.apply(ctx, r, b); err != nil {
			return err
		}
	}
}

// begin finds out where the database is and reads from there.
func (f *Follower) begin(ctx context.Context) (*journal.Reader, *batch, error) {
	h, err := journal.Describe(f.Dir)
	if err != nil {
		return nil, nil, err
	}
	id, err := instanceOf(h.Instance)
	if err != nil {
		return nil, nil, refusal{err}
	}
	at, err := f.Store.Register(ctx, store.Instance{ID: id, Name: h.Name, Network: h.Network})
	if errors.Is(err, store.ErrNetwork) {
		return nil, nil, refusal{fmt.Errorf("journal %s: %w", f.Dir, err)}
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := journal.NewReader(f.Dir, journal.Cursor{
		Instance: h.Instance, Network: h.Network, Position: journal.Position{Epoch: uint64(at.Epoch), Number: uint64(at.Number)},
	})
	if err != nil {
		return nil, nil, refusal{err}
	}
	b := newBatch(id, h.Network)
	b.rows.From, b.rows.To = at, at
	f.note(func(p *Progress) {
		p.Instance, p.Name, p.Network, p.Err = h.Instance, h.Name, h.Network, ""
		p.Position = journal.Position{Epoch: uint64(at.Epoch), Number: uint64(at.Number)}
	})
	return r, b, nil
}

// gather reads what is stored together: of one epoch, at most maxRecords, for
// gatherTime at most after the first.
func (f *Follower) gather(ctx context.Context, r *journal.Reader, b *batch) error {
	if b.ahead == nil {
		k, err := r.Next(ctx)
		if err != nil {
			return f.reading(err)
		}
		b.ahead = k
	}
	for deadline := time.Now().Add(gatherTime); b.records < maxRecords; {
		if b.records > 0 && int64(b.ahead.Epoch) != b.rows.To.Epoch {
			return nil
		}
		if err := b.add(b.ahead); err != nil {
			return refusal{err}
		}
		b.cursor, b.ahead = r.Cursor(), nil
		if f.MaxSize > 0 && b.size >= f.MaxSize {
			return nil
		}
		k, err := r.Read()
		for err == io.EOF && time.Now().Before(deadline) {
			wait, cancel := context.WithDeadline(ctx, deadline)
			k, err = r.Next(wait)
			cancel()
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return f.reading(err)
		}
		b.ahead = k
	}
	return nil
}

// reading tells apart what a person has to mend.
func (f *Follower) reading(err error) error {
	var later *journal.LaterError
	if errors.As(err, &later) || errors.Is(err, journal.ErrInstance) {
		return refusal{err}
	}
	return err
}

// apply stores a batch and says in the journal that it is stored.
func (f *Follower) apply(ctx context.Context, r *journal.Reader, b *batch) error {
	result, err := f.Store.Apply(ctx, &b.rows)
	if err != nil {
		return err
	}
	f.note(func(p *Progress) {
		p.Position = journal.Position{Epoch: uint64(b.rows.To.Epoch), Number: uint64(b.rows.To.Number)}
		p.Time, p.Err = b.rows.At, ""
		p.Shares += uint64(result.New)
	})
	for _, g := range b.rows.Gaps {
		f.Events.Say(event.Error, fmt.Sprintf("Journal %s: records %d to %d of epoch %d: %s", f.Dir, g.First, g.Last, g.Epoch, g.Cause))
	}
	b.reset()
	if f.Reader == "" {
		return nil
	}
	return journal.WriteCursor(f.Dir, f.Reader, b.cursor)
}
