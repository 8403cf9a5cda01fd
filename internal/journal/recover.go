package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/ckpool/ckpool/event"
)

// tail is how a segment ends, and how far its epoch was then.
type tail struct {
	end    int64 // offset behind the last whole frame
	number uint64
	whole  bool // it has its end
	states []ringState
	jobs   []liveJob
}

// isWhole tells whether the file ends with its end, and the number of the next record
// then.
func (g *segment) isWhole() (number uint64, whole bool, err error) {
	info, err := g.file.Stat()
	if err != nil {
		return 0, false, err
	}
	b := make([]byte, frameHead)
	if info.Size() < g.at+frameHead {
		return 0, false, nil
	}
	if _, err := g.file.ReadAt(b, info.Size()-frameHead); err != nil {
		return 0, false, err
	}
	var f frame
	whole, _ = readFrame(b, g.mark, &f)
	return f.first, whole && f.kind == frameEnd, nil
}

// tail reads a whole segment.
func (g *segment) tail() (*tail, error) {
	t := &tail{end: g.at, number: g.first, states: slices.Clone(g.header.Rings)}
	var oldest uint64
	for {
		var f frame
		_, whole, err := g.next(&f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.path, err)
		}
		if !whole {
			break
		}
		t.end = f.at + f.size
		t.number = max(t.number, f.first+uint64(f.count))
		if f.kind == frameEnd {
			t.whole = true
		}
		r, ok := f.records()
		if !ok || f.ring >= len(t.states) || !g.define(&f, &r) || f.count == 0 {
			continue
		}
		t.states[f.ring].At = f.position
		// What was lost, and which jobs are old, is in records that few frames have.
		if f.kind == frameLost || f.ring == len(t.states)-1 {
			for rest := r.records; ; {
				k, next, ok := nextRecord(rest, 0)
				if !ok {
					break
				}
				rest = next
				record := Record{Kind: k.kind, Time: r.time + k.time}
				switch k.kind {
				case KindLost:
					if record.readBody(k.body, 0) == nil {
						t.states[f.ring].Lost, t.states[f.ring].Shares = record.Lost.TotalRecords, record.Lost.TotalShares
					}
				case KindJob:
					if record.readBody(k.body, 0) == nil {
						oldest = record.Job.Oldest
					}
				}
			}
		}
	}
	for i, j := range g.jobs {
		if j.id == 0 || j.id < oldest || g.byID[j.id] != i {
			continue
		}
		record, err := g.job(i, nil)
		if err != nil {
			return nil, err
		}
		t.jobs = append(t.jobs, liveJob{j.id, oldest, record})
	}
	return t, nil
}

// recovered is where the epoch before has ended.
type recovered struct {
	state state
	after Position
	life  string // of the epoch of after, "" if it is not known
}

// recover ends the epoch that the last writer has begun: what was written of it and
// what is in its rings is made one.
func (w *Writer) recover() (*recovered, error) {
	st, err := readState(w.dir)
	if err != nil {
		return nil, err
	}
	list, err := listSegments(w.dir)
	if err != nil {
		return nil, err
	}
	r := &recovered{}
	if st != nil {
		r.state = *st
	}
	// The newest segment whose header can be read knows what the state may not.
	var last *segment
	for i := len(list) - 1; i >= 0 && last == nil; i-- {
		if last, err = openSegment(w.dir, list[i]); err != nil && !errors.Is(err, errNoHeader) {
			return nil, err
		}
	}
	if last != nil {
		defer func() { last.close() }()
		h := &last.header
		if r.state.Instance == "" {
			r.state.Instance, r.state.Network = h.Instance, h.Network
		}
		if h.Instance != r.state.Instance {
			return nil, fmt.Errorf("%s is of another journal than the others in its directory: move it away", last.path)
		}
	}
	if r.state.Instance == "" {
		return r, nil
	}
	if r.state.Network != w.options.Network {
		return nil, fmt.Errorf("journal %s has shares of the network %s, and this pool mines on %s: give it another directory", w.dir, r.state.Network, w.options.Network)
	}
	if n := len(list); n > 0 && list[n-1].epoch > r.state.Epoch {
		r.state.Epoch, r.state.Life, r.state.Rings = list[n-1].epoch, "", nil // an older state was put back
	}
	if last != nil && last.epoch == r.state.Epoch {
		r.state.Life = last.header.Life
	}
	return r, w.endEpoch(r, list, last)
}

// endEpoch drains the rings of the epoch in r and sets r.after.
func (w *Writer) endEpoch(r *recovered, list []segmentFile, last *segment) error {
	id, ok := r.state.id()
	if !ok {
		return fmt.Errorf("journal %s: instance %q: want 32 hex digits", w.dir, r.state.Instance)
	}
	epoch := r.state.Epoch
	defer func() {
		switch {
		case r.after.Epoch == epoch:
			r.life = r.state.Life
		case last != nil && r.after.Epoch == last.epoch:
			r.life = last.header.Life
		}
	}()
	rings, left, err := w.oldRings(r, id)
	if err != nil {
		return err
	}
	d := &drain{
		dir: w.dir, segmentSize: w.options.SegmentSize, rings: rings, open: w.open,
		header: w.header(&r.state), number: 1, states: make([]ringState, len(rings)),
	}
	if last != nil {
		// A segment without a header has numbers up to that of the next one.
		newest := list[len(list)-1]
		r.after = Position{newest.epoch, newest.first - 1}
		if newest.name != last.name && left {
			return fmt.Errorf("%s/%s: its header is damaged; move it away, so that what is still in memory can be written", w.dir, newest.name)
		}
	}
	if last != nil && last.name == list[len(list)-1].name {
		number, whole, err := last.isWhole()
		if err != nil {
			return err
		}
		if whole && !left {
			r.after = Position{last.epoch, number - 1}
			return nil
		}
		t, err := last.tail()
		if err != nil {
			return err
		}
		if err := w.cut(last, t); err != nil {
			return err
		}
		r.after = Position{last.epoch, t.number - 1}
		if last.epoch == epoch {
			d.header.After, d.header.Before = last.header.After, last.header.Before
			if d.number, d.jobs = t.number, t.jobs; len(t.states) == len(rings) {
				d.states = t.states
			}
		}
	}
	if last == nil || last.epoch != epoch {
		d.header.After = r.after
		if last != nil && last.epoch == r.after.Epoch {
			d.header.Before = last.header.Life
		}
	}
	if !left {
		if last != nil && last.epoch == epoch || len(r.state.Rings) > 0 {
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
		r.after = Position{epoch, d.number - 1}
	}
	w.options.Events.Say(event.Notice, fmt.Sprintf("Journal %s: it was not closed; %d records were still in memory, and are in it now", w.dir, d.number-before))
	for _, k := range rings {
		if k != nil {
			k.leave()
			k.unmap()
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
			return nil, false, err
		default:
			rings[i], left = k, true
		}
	}
	return rings, left, nil
}

// cut cuts off what is behind the last whole frame of the last segment, and makes
// safe what is before.
func (w *Writer) cut(g *segment, t *tail) error {
	f, err := os.OpenFile(g.path, os.O_RDWR, 0)
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
		w.options.Events.Say(event.Notice, fmt.Sprintf("Journal %s: the last %d bytes of %s were not whole and are cut off", w.dir, n, g.name))
	}
	if !t.whole {
		b := beginFrame(nil)
		endFrame(b, g.mark, &frame{kind: frameEnd, first: t.number})
		if _, err := f.WriteAt(b, t.end); err != nil {
			return err
		}
	}
	return f.Sync()
}
