package journalwriter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
)

// tail is how a segment ends, and how far its epoch was then.
type tail struct {
	end    int64 // offset behind the last whole frame
	number uint64
	whole  bool // it has its end
	states []segment.Ring
	jobs   []liveJob
}

// isWhole tells whether a segment's file ends with its end, and the number of the next
// record then.
func isWhole(g *segment.Segment) (number uint64, whole bool, err error) {
	info, err := g.Stat()
	if err != nil {
		return 0, false, err
	}
	end := segment.Scanner{File: g, Mark: g.Mark, At: info.Size() - int64(segment.FrameHead)}
	if end.At < g.At {
		return 0, false, nil
	}
	var f segment.Frame
	_, whole, err = end.Next(&f)
	return f.First, whole && f.Kind == segment.EndFrame, err
}

// tail reads a whole segment.
func readTail(g *segment.Segment) (*tail, error) {
	t := &tail{end: g.At, number: g.First, states: slices.Clone(g.Header.Rings)}
	var oldest uint64
	for {
		var f segment.Frame
		_, whole, err := g.Next(&f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.Path, err)
		}
		if !whole {
			break
		}
		t.end = f.At + f.Size
		t.number = max(t.number, f.End())
		if f.Kind == segment.EndFrame {
			t.whole = true
		}
		r, ok := f.Parts()
		if !ok || f.Ring >= len(t.states) || !g.Define(&f, &r, isMiner) || f.Count == 0 {
			continue
		}
		t.states[f.Ring].At = f.Position
		// What was lost, and which jobs are old, is in records that few frames have.
		if f.Kind == segment.LostFrame || f.Ring == len(t.states)-1 {
			for rest := r.Records; ; {
				k, next, ok := segment.NextRecord(rest, 0)
				if !ok {
					break
				}
				rest = next
				record := journal.Record{Kind: journal.Kind(k.Kind), Time: r.Time + k.Time}
				switch record.Kind {
				case journal.KindLost:
					if record.ReadBody(k.Body, 0) == nil {
						t.states[f.Ring].Lost, t.states[f.Ring].Shares = record.Lost.TotalRecords, record.Lost.TotalShares
					}
				case journal.KindJob:
					if record.ReadBody(k.Body, 0) == nil {
						oldest = record.Job.Oldest
					}
				}
			}
		}
	}
	for i := range g.Jobs() {
		id := g.JobID(i)
		if n, ok := g.JobNumber(id); id == 0 || id < oldest || !ok || n != i {
			continue
		}
		record, err := g.JobRecord(i)
		if err != nil {
			return nil, err
		}
		t.jobs = append(t.jobs, liveJob{id, oldest, record})
	}
	return t, nil
}

// isMiner takes any definition of a miner: who opens a journal needs jobs alone.
func isMiner(int, []byte) bool { return true }

// recovered is where the epoch before has ended.
type recovered struct {
	state segment.State
	after journal.Position
	life  string // of the epoch of after, "" if it is not known
}

// recover ends the epoch that the last writer has begun: what was written of it and
// what is in its rings is made one.
func (w *Writer) recover() (*recovered, error) {
	st, err := segment.ReadState(w.dir)
	if err != nil {
		return nil, err
	}
	list, err := segment.List(w.dir)
	if err != nil {
		return nil, err
	}
	r := &recovered{}
	if st != nil {
		r.state = *st
	}
	// The newest segment whose header can be read knows what the state may not.
	var last *segment.Segment
	for i := len(list) - 1; i >= 0 && last == nil; i-- {
		if last, err = segment.Open(w.dir, list[i]); err != nil && !errors.Is(err, segment.ErrNoHeader) {
			return nil, err
		}
	}
	if last != nil {
		defer func() { last.Close() }()
		h := &last.Header
		if r.state.Instance == "" {
			r.state.Instance, r.state.Network = h.Instance, h.Network
		}
		if h.Instance != r.state.Instance {
			return nil, fmt.Errorf("%s is of another journal than the others in its directory: move it away", last.Path)
		}
	}
	if r.state.Instance == "" {
		return r, nil
	}
	if r.state.Network != w.options.Network {
		return nil, fmt.Errorf("journal %s has shares of the network %s, and this pool mines on %s: give it another directory", w.dir, r.state.Network, w.options.Network)
	}
	if n := len(list); n > 0 && list[n-1].Epoch > r.state.Epoch {
		r.state.Epoch, r.state.Life, r.state.Rings = list[n-1].Epoch, "", nil // an older state was put back
	}
	if last != nil && last.Epoch == r.state.Epoch {
		r.state.Life = last.Header.Life
	}
	return r, w.endEpoch(r, list, last)
}

// endEpoch drains the rings of the epoch in r and sets r.after.
func (w *Writer) endEpoch(r *recovered, list []segment.File, last *segment.Segment) error {
	id, ok := r.state.ID()
	if !ok {
		return fmt.Errorf("journal %s: instance %q: want 32 hex digits", w.dir, r.state.Instance)
	}
	epoch := r.state.Epoch
	defer func() {
		if last == nil && r.after == (journal.Position{}) {
			// Its segments were deleted: who has read them goes on with the next epoch.
			r.after.Epoch = epoch
		}
		switch {
		case r.after.Epoch == epoch:
			r.life = r.state.Life
		case last != nil && r.after.Epoch == last.Epoch:
			r.life = last.Header.Life
		}
	}()
	rings, left, err := w.oldRings(r, id)
	defer func() {
		for _, k := range rings {
			if k != nil {
				k.unmap()
			}
		}
	}()
	if err != nil {
		return err
	}
	d := &drain{
		dir: w.dir, segmentSize: w.options.SegmentSize, rings: rings, open: w.open,
		header: w.header(&r.state), number: 1, states: make([]segment.Ring, len(rings)),
	}
	if last != nil {
		// A segment without a header has numbers up to that of the next one.
		newest := list[len(list)-1]
		r.after = journal.Position{Epoch: newest.Epoch, Number: newest.First - 1}
		if newest.Name != last.Name && left {
			return fmt.Errorf("%s/%s: its header is damaged; move it away, so that what is still in memory can be written", w.dir, newest.Name)
		}
	}
	if last != nil && last.Name == list[len(list)-1].Name {
		number, whole, err := isWhole(last)
		if err != nil {
			return err
		}
		if whole && !left {
			r.after = journal.Position{Epoch: last.Epoch, Number: number - 1}
			return nil
		}
		t, err := readTail(last)
		if err != nil {
			return err
		}
		if err := w.cut(last, t); err != nil {
			return err
		}
		r.after = journal.Position{Epoch: last.Epoch, Number: t.number - 1}
		if last.Epoch == epoch {
			d.header.After, d.header.Before = last.Header.After, last.Header.Before
			if d.number, d.jobs = t.number, t.jobs; len(t.states) == len(rings) {
				d.states = t.states
			}
		}
	}
	if last == nil || last.Epoch != epoch {
		d.header.After = segment.Position(r.after)
		if last != nil && last.Epoch == r.after.Epoch {
			d.header.Before = last.Header.Life
		}
	}
	if !left {
		if last != nil && last.Epoch == epoch || len(r.state.Rings) > 0 {
			w.options.Events.Say(event.Warning, fmt.Sprintf(
				"Journal %s: it was not closed, and its memory is gone, as after a power cut: up to %v of shares before that may be missing", w.dir, w.options.Sync))
		}
		return nil
	}
	before := d.number
	if err := d.finish(); err != nil {
		return fmt.Errorf("journal %s: what the last process has left in memory cannot be written: %w", w.dir, err)
	}
	for _, text := range d.damaged {
		w.options.Events.Say(event.Error, fmt.Sprintf("Journal %s: what the last process has left in memory is damaged: %s", w.dir, text))
	}
	if d.number > 1 {
		r.after = journal.Position{Epoch: epoch, Number: d.number - 1}
	}
	w.options.Events.Say(event.Notice, fmt.Sprintf("Journal %s: it was not closed; %d records were still in memory, and are in it now", w.dir, d.number-before))
	for _, k := range rings {
		if k != nil {
			k.leave()
		}
	}
	return nil
}

// oldRings opens the rings of the epoch in r that are left.
func (w *Writer) oldRings(r *recovered, id [16]byte) (rings []*ring, left bool, err error) {
	rings = make([]*ring, len(r.state.Rings))
	for i, path := range r.state.Rings {
		k, err := openRing(path, ringOwner{id, i}, r.state.Epoch)
		switch {
		case err == errSpare:
			k.unmap()
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return rings, false, err
		default:
			rings[i], left = k, true
		}
	}
	return rings, left, nil
}

// cut cuts off what is behind the last whole frame of the last segment, and makes
// safe what is before.
func (w *Writer) cut(g *segment.Segment, t *tail) error {
	f, err := os.OpenFile(g.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if n := info.Size() - t.end; n > 0 {
		if err := f.Truncate(t.end); err != nil {
			return err
		}
		w.options.Events.Say(event.Notice, fmt.Sprintf("Journal %s: the last %d bytes of %s were not whole and are cut off", w.dir, n, g.Name))
	}
	if !t.whole {
		b := segment.BeginFrame(nil)
		segment.FinishFrame(b, g.Mark, &segment.Frame{Kind: segment.EndFrame, First: t.number})
		if _, err := f.WriteAt(b, t.end); err != nil {
			return err
		}
	}
	return f.Sync()
}
