package journalwriter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
)

const (
	keepEvery  = 10 * time.Second
	watchEvery = time.Second
	// stalledAfter is how long a disk may take.
	stalledAfter = 3 * time.Second
	// tellEvery is how often the same trouble is told.
	tellEvery = time.Minute
)

// kept is what is known of the directory. It is immutable.
type kept struct {
	segments []keptSegment
	size     int64 // without the current segment
	cursors  map[string]journal.Cursor
	read     map[string]journal.Position // how far each says that this journal was read
}

// keptSegment is a segment, and the last record of the epoch before it.
type keptSegment struct {
	segment.File
	size  int64
	after journal.Position // zero if its header cannot be read
	life  string           // likewise
}

// take notes how far the cursors say that this journal was read. One of another journal,
// or of records in whose place an older copy was put back, says nothing.
func (k *kept) take(cursors map[string]journal.Cursor, instance string) {
	var epochs []journal.Epoch
	for _, g := range k.segments {
		epochs = append(epochs, journal.Epoch{Number: g.Epoch, Life: g.life})
	}
	k.cursors, k.read = cursors, map[string]journal.Position{}
	for name, c := range cursors {
		if c.Instance == instance && c.In(epochs) {
			k.read[name] = c.Position
		}
	}
}

// end is the position of the last record in segment i, as far as later segments tell.
func (k *kept) end(i int) (end journal.Position, ok bool) {
	if i+1 >= len(k.segments) {
		return end, false
	}
	g, next := k.segments[i], k.segments[i+1]
	if next.Epoch == g.Epoch {
		return journal.Position{Epoch: g.Epoch, Number: next.First - 1}, true
	}
	return next.after, next.after.Epoch == g.Epoch
}

// behind is how many records there are after a position, up to the last.
func (k *kept) behind(p, last journal.Position) (n uint64) {
	for i, g := range k.segments {
		end, ok := k.end(i)
		if !ok || end.Epoch == last.Epoch {
			end = journal.Position{Epoch: g.Epoch, Number: max(end.Number, g.First-1)}
			if g.Epoch == last.Epoch && i+1 == len(k.segments) {
				end = last
			}
		}
		first := g.First
		if p.Epoch == g.Epoch {
			first = max(first, p.Number+1)
		}
		if p.Epoch <= g.Epoch && end.Number+1 > first {
			n += end.Number + 1 - first
		}
	}
	return n
}

// keeper keeps the directory of a journal small. Owned by the goroutine of keep, but for
// kept.
type keeper struct {
	// immutable
	dir      string
	instance string
	maxSize  int64 // bytes of all segments
	events   event.Func
	current  func() (name string, size int64) // of the segment that is being written; for any goroutine

	kept atomic.Pointer[kept]
}

// keep deletes what all readers have read, and what there is no room for.
func (w *keeper) keep(ctx context.Context) {
	timer := time.NewTicker(keepEvery)
	defer timer.Stop()
	var told time.Time
	for {
		if err := w.clean(ctx); err != nil && ctx.Err() == nil && time.Since(told) >= tellEvery {
			told = time.Now()
			w.events.Say(event.Error, fmt.Sprintf("Journal %s: %v", w.dir, err))
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// clean is one look at the directory.
func (w *keeper) clean(ctx context.Context) error {
	k, bad := w.look()
	if k == nil {
		return bad
	}
	current, size := w.current()
	var deleted int
	size += k.size
	for i, g := range k.segments {
		if g.Name == current || i == len(k.segments)-1 {
			break
		}
		end, known := k.end(i)
		if !known { // who is in a later epoch has read it
			end = journal.Position{Epoch: g.Epoch + 1}
		}
		read := len(k.cursors) > 0
		for name := range k.cursors {
			read = read && !k.read[name].Before(end)
		}
		if !read && size <= w.maxSize {
			break
		}
		if !read {
			if err := w.tellUnread(ctx, k, i); err != nil {
				return err
			}
		}
		if err := os.Remove(filepath.Join(w.dir, g.Name)); err != nil {
			return err
		}
		size -= g.size
		k.size -= g.size
		deleted++
	}
	k.segments = k.segments[deleted:]
	w.kept.Store(k)
	return bad
}

// look lists segments and cursors.
func (w *keeper) look() (*kept, error) {
	list, err := segment.List(w.dir)
	if err != nil {
		return nil, err
	}
	k := &kept{}
	cursors, bad := journal.Cursors(w.dir)
	if cursors == nil {
		return nil, bad
	}
	var before map[string]keptSegment
	if last := w.kept.Load(); last != nil {
		before = make(map[string]keptSegment, len(last.segments))
		for _, g := range last.segments {
			before[g.Name] = g
		}
	}
	current, _ := w.current()
	for i, s := range list {
		info, err := os.Stat(filepath.Join(w.dir, s.Name))
		if err != nil {
			return nil, err
		}
		g, known := before[s.Name]
		if !known {
			if open, err := segment.Open(w.dir, s); err == nil {
				g.after, g.life = journal.Position(open.Header.After), open.Header.Life
				open.Close()
			} else if !errors.Is(err, segment.ErrNoHeader) && (!errors.Is(err, unix.EIO) || i == len(list)-1) {
				return nil, err
			}
		}
		g.File, g.size = s, info.Size()
		k.segments = append(k.segments, g)
		if s.Name != current {
			k.size += g.size
		}
	}
	k.take(cursors, w.instance)
	return k, bad
}

// tellUnread tells which readers lose how many shares with segment i, which must go
// before they have read it.
func (w *keeper) tellUnread(ctx context.Context, k *kept, i int) error {
	names := slices.Sorted(maps.Keys(k.cursors))
	counts := make([]uint64, len(names))
	var all uint64
	g := k.segments[i]
	r, err := journal.Open(w.dir, journal.Cursor{Instance: w.instance, Position: journal.Position{Epoch: g.Epoch, Number: g.First - 1}})
	if err == nil {
		defer r.Close()
	} else if !errors.Is(err, unix.EIO) {
		return err
	}
	for err == nil && ctx.Err() == nil {
		var record *journal.Record
		record, err = r.Read()
		if err != nil || r.Header().Epoch != g.Epoch || r.Header().First != g.First {
			break // the end, or what nobody can read
		}
		if record.Kind != journal.KindShare {
			continue
		}
		all++
		for j, name := range names {
			if k.read[name].Before(record.Position) {
				counts[j]++
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var lost []string
	for j, name := range names {
		if counts[j] > 0 {
			lost = append(lost, fmt.Sprintf("%s has lost %d shares", name, counts[j]))
		}
	}
	if len(names) == 0 {
		lost = []string{fmt.Sprintf("nobody has read its %d shares", all)}
	}
	if errors.Is(err, unix.EIO) {
		lost = append(lost, fmt.Sprintf("what of it cannot be read is not counted: %v", err))
	}
	text := "nothing was lost by that"
	if len(lost) > 0 {
		text = strings.Join(lost, ", ")
	}
	w.events.Tell(event.Event{Level: event.Error, Headline: true, Text: fmt.Sprintf(
		"Journal %s is larger than %d MB: %s is deleted although not all have read it: %s", w.dir, w.maxSize/1e6, g.Name, text)})
	return nil
}

// watch tells trouble with the disk, and what was lost by it.
func (w *Writer) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	t := troubles{}
	for {
		select {
		case <-ticker.C:
			t.tell(w.dir, w.options.Events, w.Status(), time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// troubles is what was told.
type troubles struct {
	troubled bool
	told     time.Time
	lost     uint64 // records that were told of
}

func (t *troubles) tell(dir string, events event.Func, s Status, now time.Time) {
	stalled := s.UnsafeAge > stalledAfter
	if !stalled && s.Err == nil {
		if t.troubled {
			text := "nothing was lost"
			if s.LostRecords > t.lost {
				text = fmt.Sprintf("%d records are lost, of them %d shares, in all since the start", s.LostRecords, s.LostShares)
			}
			events.Say(event.Notice, fmt.Sprintf("Journal %s is written again: %s", dir, text))
		}
		*t = troubles{lost: s.LostRecords}
		return
	}
	if t.troubled && now.Sub(t.told) < tellEvery {
		return
	}
	t.troubled, t.told = true, now
	why := fmt.Sprintf("its disk has taken nothing for %v", s.UnsafeAge.Round(time.Second))
	if s.Err != nil {
		why = s.Err.Error()
	}
	text := fmt.Sprintf("Journal %s cannot be written: %s; %d shares are held in memory and are not yet safe", dir, why, s.UnsafeShares)
	if s.LostRecords > t.lost {
		text += fmt.Sprintf("; there is no more room: %d records are lost, of them %d shares", s.LostRecords, s.LostShares)
	}
	events.Say(event.Error, text)
}
