package accounting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
)

const (
	// maxRecords are stored in one transaction.
	maxRecords = 50_000
	// gatherTime is how long records are gathered for one where fewer come.
	gatherTime = 200 * time.Millisecond
	// retryTime is between tries of what fails, and between looks at whether the
	// directory has another journal by now.
	retryTime = time.Second
	// tellEvery is how often the same trouble is told.
	tellEvery = time.Minute
)

// Store is what takes batches: a database, or what sends them to where one is. It
// does as [store.Store] does.
type Store interface {
	Begin(context.Context, store.Instance, []store.Epoch) (store.Start, error)
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

	// owned by Run
	troubled bool             // and that was told
	differs  bool             // errParted was the last trouble, and nothing was read since
	checker  *journal.Checker // of what is read now; nil: it is a pool's own journal
	limiter  *logfile.Limiter
	cursor   error // that was told

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
	Time     int64            // of that record, microseconds since 1970; 0 if none was since the start
	Shares   uint64           // stored by this process
	Err      string           // why it does not go on
	Refused  bool             // and will not by itself
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

func (r refusal) Unwrap() error { return r.error }

// errReplaced tells that the directory has another journal by now.
var errReplaced = errors.New("another journal is in its place")

// errParted tells that the directory has other records by now. The next begin tells it.
var errParted = errors.New("an older copy of it was put back")

// Run stores until ctx ends. The error is of what a person has to mend: a journal
// that is not to be stored here, or is a later release's. What else fails, such as a
// database that is away, is told and tried again.
func (f *Follower) Run(ctx context.Context) error {
	f.limiter = logfile.NewLimiter(tellEvery)
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var no refusal
		if errors.As(err, &no) {
			err = fmt.Errorf("journal %s is not stored: %w", f.Dir, no.error)
			f.note(func(p *Progress) { p.Err, p.Refused = err.Error(), true })
			return err
		}
		parted := errors.Is(err, errParted)
		if !parted || f.differs { // begin did not see it
			f.tell(err)
		}
		f.differs = parted
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryTime):
		}
	}
}

// tell tells trouble that may pass.
func (f *Follower) tell(err error) {
	var moved *store.CursorError
	text := strings.Join(strings.Fields(err.Error()), " ") // drivers of databases break lines
	switch {
	case errors.As(err, &moved):
		text = "somebody else stores it as well: another ckdb with the same database, or this one from a copy of it in another directory; end one of them"
	case errors.Is(err, journal.ErrNone), errors.Is(err, fs.ErrNotExist):
		text = "there is none yet; ckpool writes it where its configuration has the key \"journal\""
	}
	f.note(func(p *Progress) { p.Err = text })
	if text, ok := f.limiter.Pass(text); ok {
		f.troubled = true
		f.Events.Say(event.Warning, "Journal "+f.Dir+": "+text+"; trying again")
	}
}

// mended tells that trouble has passed, if it was told.
func (f *Follower) mended() {
	f.note(func(p *Progress) { p.Err = "" })
	if f.troubled {
		f.Events.Say(event.Notice, "Journal "+f.Dir+" is stored again")
	}
	f.troubled, f.differs = false, false
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
		if err := f.apply(ctx, b); err != nil {
			return err
		}
	}
}

// begin finds out where the database is and reads from there: the cursor in the
// journal says no more than what may be deleted.
func (f *Follower) begin(ctx context.Context) (*journal.Reader, *batch, error) {
	h, err := journal.Describe(f.Dir)
	if err != nil {
		return nil, nil, f.reading(err, "")
	}
	id, err := instanceOf(h.Instance)
	if err != nil {
		return nil, nil, refusal{err}
	}
	list, err := journal.Epochs(f.Dir)
	if err != nil {
		return nil, nil, f.reading(err, h.Instance)
	}
	start, err := f.Store.Begin(ctx, store.Instance{ID: id, Name: h.Name, Network: h.Network}, EpochsOf(list))
	if errors.Is(err, store.ErrNetwork) {
		return nil, nil, refusal{err}
	}
	if err != nil {
		return nil, nil, err
	}
	at := start.At
	if start.Replaced != (store.Position{}) {
		f.parted(&start)
	}
	position := journal.Position{Epoch: uint64(at.Epoch), Number: uint64(at.Number)}
	r, err := journal.Open(f.Dir, journal.Cursor{Instance: h.Instance, Network: h.Network, Position: position, Life: at.Life})
	if err != nil {
		return nil, nil, f.reading(err, h.Instance)
	}
	f.writeCursor(r.Cursor())
	if f.checker = nil; isCopy(f.Dir) {
		f.checker = journal.NewChecker(r)
	}
	b := newBatch(id, h.Network)
	b.rows.From, b.rows.To = at, at
	if last := f.Progress(); last.Instance != "" && last.Instance != h.Instance {
		f.Events.Say(event.Warning, fmt.Sprintf("Journal %s: %v: that of the instance %s is gone, with what was not stored of it after record %v",
			f.Dir, errReplaced, last.Instance, last.Position))
	}
	f.note(func(p *Progress) {
		if p.Instance != h.Instance {
			*p = Progress{Instance: h.Instance}
		}
		p.Name, p.Network, p.Position = h.Name, h.Network, position
	})
	return r, b, nil
}

// parted tells that an older copy of the journal was put back.
func (f *Follower) parted(start *store.Start) {
	from := "its beginning"
	if start.At != (store.Position{}) {
		from = fmt.Sprintf("record %s", start.At)
	}
	text := fmt.Sprintf("an older copy of it was put back: it has other records than the database since %s, and is read from there; what it had after record %s is gone, unless the database has it",
		from, start.Replaced)
	if text, ok := f.limiter.PassKind(errParted.Error(), text); ok {
		f.Events.Say(event.Warning, "Journal "+f.Dir+": "+text)
	}
}

// EpochsOf are those of a journal as a database has them.
func EpochsOf(list []journal.Epoch) (epochs []store.Epoch) {
	for _, e := range list {
		epochs = append(epochs, store.Epoch{Number: int64(e.Number), Life: e.Life})
	}
	return epochs
}

// gather reads what is stored together: of one epoch, at most maxRecords, for
// gatherTime at most after the first.
func (f *Follower) gather(ctx context.Context, r *journal.Reader, b *batch) error {
	if b.ahead == nil {
		k, err := f.next(ctx, r, b)
		if err != nil {
			return err
		}
		b.ahead = k
	}
	for deadline := time.Now().Add(gatherTime); b.records < maxRecords; {
		if b.records > 0 && int64(b.ahead.Epoch) != b.rows.To.Epoch {
			return nil
		}
		if why := f.wrong(b.ahead); why != nil {
			b.pass(b.ahead, r.Cursor().Life)
			if text, ok := f.limiter.PassKind("wrong", why.Error()); ok {
				f.Events.Say(event.Error, fmt.Sprintf("Journal %s: record %v is not stored: %s", f.Dir, b.ahead.Position, text))
			}
		} else if err := b.add(b.ahead, r.Cursor().Life); err != nil {
			return refusal{err}
		}
		b.cursor, b.ahead = r.Cursor(), nil
		if f.MaxSize > 0 && b.size >= f.MaxSize {
			return nil
		}
		k, err := r.Read()
		if err == io.EOF {
			wait, cancel := context.WithDeadline(ctx, deadline)
			k, err = r.Next(wait)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				return ctx.Err()
			}
		}
		if err != nil {
			// What was gathered is stored first; then the error comes again.
			if ctx.Err() == nil {
				return nil
			}
			return err
		}
		b.ahead = k
	}
	return nil
}

// isCopy tells that a directory is a main pool's copy of the journal of a trusted remote.
func isCopy(dir string) bool {
	_, _, is := journalwriter.MirrorOf(dir)
	return is
}

// wrong is why the record that was read last is not to be stored: it comes from another pool,
// and what it earns cannot be computed from what was found.
func (f *Follower) wrong(k *journal.Record) error {
	if f.checker == nil || k.Kind != journal.KindShare {
		return nil
	}
	if k.Share.Above != journal.NotSent {
		return errors.New("a share that a trusted remote says to have sent to another pool, which it has none of")
	}
	if k.Share.Time <= 0 {
		return errors.New("a share of a trusted remote without a time")
	}
	_, err := f.checker.Share(k)
	return err
}

// next waits for a record.
func (f *Follower) next(ctx context.Context, r *journal.Reader, b *batch) (*journal.Record, error) {
	instance := fmt.Sprintf("%x", b.rows.Instance)
	for {
		wait, cancel := context.WithTimeout(ctx, retryTime)
		k, err := r.Next(wait)
		cancel()
		switch {
		case err == nil:
			return k, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, journal.ErrHistory):
			return nil, errParted
		case !errors.Is(err, context.DeadlineExceeded):
			return nil, f.reading(err, instance)
		}
		f.mended() // there is nothing to store
		if f.cursor != nil {
			f.writeCursor(r.Cursor())
		}
		switch h, err := journal.Describe(f.Dir); {
		case err != nil || instance == "":
		case h.Instance != instance:
			return nil, errReplaced
		case r.Cursor().Beyond(&h):
			return nil, errParted
		}
	}
}

// replaced tells whether the directory has another journal than the one that is read.
func (f *Follower) replaced(instance string) bool {
	h, err := journal.Describe(f.Dir)
	return err == nil && instance != "" && h.Instance != instance
}

// reading tells apart what a person has to mend. All else may pass: a journal that is just
// being copied has files that are not whole.
func (f *Follower) reading(err error, instance string) error {
	switch {
	case errors.Is(err, journal.ErrLater):
		return refusal{err}
	case f.replaced(instance):
		return errReplaced
	}
	return err
}

// apply stores a batch and says in the journal that it is stored.
func (f *Follower) apply(ctx context.Context, b *batch) error {
	result, err := f.Store.Apply(ctx, &b.rows)
	var moved *store.CursorError
	if errors.As(err, &moved) && moved.Present.Life == b.rows.To.Life && moved.From.Life != b.rows.To.Life {
		return errParted // from a newer copy: the epoch was stored, and begin finds how far
	}
	if err != nil {
		return err
	}
	f.note(func(p *Progress) {
		p.Position = journal.Position{Epoch: uint64(b.rows.To.Epoch), Number: uint64(b.rows.To.Number)}
		p.Time = b.rows.At
		p.Shares += uint64(result.New)
	})
	f.mended()
	for _, text := range b.losses {
		f.Events.Say(event.Error, "Journal "+f.Dir+": "+text)
	}
	b.reset()
	f.writeCursor(b.cursor)
	return nil
}

// writeCursor lets go of what is stored. Where that fails the journal is only longer, and it
// is tried again with the next batch, or while there is none.
func (f *Follower) writeCursor(c journal.Cursor) {
	if f.Reader == "" {
		return
	}
	err := journal.WriteCursor(f.Dir, f.Reader, c)
	if err != nil && f.cursor == nil {
		f.Events.Say(event.Warning, fmt.Sprintf("Journal %s: what is stored of it cannot be deleted: %v", f.Dir, err))
	}
	f.cursor = err
}
