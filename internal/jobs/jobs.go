package jobs

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// How long shares are taken. Everything else that concerns them is kept as long
// as the jobs are: see session.Work.
const (
	keepJobs   = 600 * time.Second // jobs of the present tip, after the next job
	keepStale  = 120 * time.Second // jobs of earlier tips, after the tip changed
	maxTipJobs = 1024
	// Of so many jobs it is looked once in ageEvery which are too old: there may be a source
	// for each of a thousand users, and all give new work at the same moment.
	manyJobs = 2 * maxTipJobs
	ageEvery = time.Second
)

// Jobs are the newest work of each source and the recent jobs of all by id. Publishing
// is for one goroutine at a time; lookups are lock-free from anywhere. The pool's own
// source, which is nodes, is number 0.
type Jobs struct {
	own    atomic.Pointer[session.Work]             // newest of the pool's own source
	others atomic.Pointer[map[uint32]*session.Work] // newest of each other source; nil: none ever, immutable maps
	newest atomic.Pointer[session.Work]             // of any source
	recent atomic.Pointer[[]*session.Work]          // ids count up; immutable lists

	renewals chan struct{} // capacity 1; there is something in renew

	mu    sync.Mutex
	next  uint64               // guarded by mu
	made  int64                // guarded by mu; in this process
	ended map[uint32]time.Time // guarded by mu; sources of recent jobs that have ended
	aged  time.Time            // guarded by mu; when it was last looked which of recent are too old

	// Room for fresh, guarded by mu.
	sources []ageing
	places  map[uint32]int // in sources, by number

	renewMu sync.Mutex        // held for no time: loops take it
	renew   map[uint32]uint64 // guarded by renewMu; sources whose job is to be another, later than the one of this id
}

// New starts the job ids at the given time, so that no id returns after a
// restart: seconds in the upper half, as scripts know them, microseconds in the
// next 20 bits. 4,096 jobs a microsecond are more than can be made.
func New(start time.Time) *Jobs {
	micro := uint64(start.Nanosecond() / 1000)
	return &Jobs{
		next:     uint64(uint32(start.Unix()))<<32 | micro<<12,
		renewals: make(chan struct{}, 1), ended: map[uint32]time.Time{}, renew: map[uint32]uint64{}, places: map[uint32]int{},
	}
}

// Work is the newest work of a source, nil before the first and after its end.
func (j *Jobs) Work(from uint32) *session.Work {
	if from == 0 {
		return j.own.Load()
	}
	if others := j.others.Load(); others != nil {
		return (*others)[from]
	}
	return nil
}

// Newest is the newest work of all sources, nil before the first. Its source may have
// ended.
func (j *Jobs) Newest() *session.Work { return j.newest.Load() }

// Find looks the work of a job up by its id; nil: unknown or aged out.
func (j *Jobs) Find(id uint64) *session.Work {
	recent := j.Recent()
	if len(recent) == 0 {
		return nil
	}
	first := recent[0].Job.ID
	if id < first {
		return nil
	}
	n := uint64(len(recent))
	if i := id - first; i < n && recent[i].Job.ID == id {
		return recent[i]
	}
	if recent[n-1].Job.ID-first == n-1 { // without a gap
		return nil
	}
	if i, ok := slices.BinarySearchFunc(recent, id, func(w *session.Work, id uint64) int { return cmp.Compare(w.Job.ID, id) }); ok {
		return recent[i]
	}
	return nil
}

// publish builds the job of an update, which pays outputs, and makes it the current
// work of its source, once before, if any, has been told.
func (j *Jobs) publish(b *work.Builder, outputs []work.Output, t *source.Update, now time.Time, before func(*session.Work)) (*session.Work, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	from := sourceOf(t.Upstream)
	old := j.Work(from)
	tip := j.next
	if old != nil && old.Job.Template.PrevHash == t.Template.PrevHash && !t.Clean {
		tip = old.Tip
	}
	job, err := b.Job(t.Template, j.next, now, outputs)
	if err != nil {
		return nil, err
	}
	if old != nil && t.Template.SameWork(old.Job.Template) {
		if job, err = j.other(job, old.Job, b, now); err != nil {
			return nil, err
		}
	}
	j.next++
	j.made++
	w := &session.Work{Job: job, Tip: tip, Upstream: t.Upstream}
	recent := j.Recent()
	if len(recent) <= manyJobs || now.Sub(j.aged).Abs() >= ageEvery {
		recent, j.aged = j.fresh(from, tip, now), now
	}
	recent = append(recent, w) // behind the end of what others have
	w.Oldest = recent[0].Job.ID
	w.OldestOfSource = oldestOf(recent, from)
	if before != nil {
		before(w)
	}
	j.recent.Store(&recent)
	j.setCurrent(w)
	j.newest.Store(w)
	return w, nil
}

// other is a job of the template of a new one, of which old is as well, that is other
// work than old: miners begin anew with it. With few bytes for variants the new one may
// have those of old by chance; without any only the time tells them apart.
func (j *Jobs) other(job, old *work.Job, b *work.Builder, now time.Time) (*work.Job, error) {
	same := func() bool { return bytes.Equal(job.Coinbase(0).Head, old.Coinbase(0).Head) }
	var err error
	for try := 0; err == nil && try < 3 && job.Variants() > 1 && same(); try++ {
		job, err = b.Job(job.Template, j.next, now, nil)
	}
	if err == nil && same() {
		job, err = b.Job(laterThan(job.Template, old, now), j.next, now, nil)
	}
	return job, err
}

// laterThan is a template with a time that nobody has reached who works on a job.
func laterThan(t *work.Template, job *work.Job, now time.Time) *work.Template {
	passed := uint32(max(now.Sub(job.Created)/time.Second, 0)) + 1
	reached := max(job.Template.CurTime, t.CurTime) + passed
	return t.Later(min(reached, job.NTimeMax) - t.CurTime)
}

// sourceOf is the number of the source that work is of.
func sourceOf(u *source.Upstream) uint32 {
	if u == nil {
		return 0
	}
	return u.Source
}

// setCurrent is for a caller that holds mu.
func (j *Jobs) setCurrent(w *session.Work) {
	from := w.Source()
	if from == 0 {
		j.own.Store(w)
		return
	}
	others := map[uint32]*session.Work{}
	if present := j.others.Load(); present != nil {
		maps.Copy(others, *present)
	}
	others[from] = w
	delete(j.ended, from)
	j.others.Store(&others)
}

// end makes the jobs of a source nobody's work. Shares of them are judged for a while,
// as those of earlier tips.
func (j *Jobs) end(from uint32, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.setEnded(from, now)
}

// setEnded is for a caller that holds mu.
func (j *Jobs) setEnded(from uint32, now time.Time) {
	present := j.others.Load()
	if present == nil || (*present)[from] == nil {
		return
	}
	others := maps.Clone(*present)
	delete(others, from)
	j.ended[from] = now
	j.others.Store(&others)
}

// endedSources are those of recent jobs that have ended, with when; nil: none.
func (j *Jobs) endedSources() (ended map[uint32]int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for from, at := range j.ended {
		if ended == nil {
			ended = map[uint32]int64{}
		}
		ended[from] = at.UnixNano()
	}
	return ended
}

// oldestOf is the id of the oldest job of a source, which has one.
func oldestOf(recent []*session.Work, from uint32) uint64 {
	for _, w := range recent {
		if w.Source() == from {
			return w.Job.ID
		}
	}
	return recent[len(recent)-1].Job.ID + 1
}

// ageing is what is known of a source while its jobs are looked at, the newest first.
type ageing struct {
	source uint32
	tip    uint64 // the present one
	n      int    // jobs so far

	// Of the job after the one looked at, if followed.
	followed bool
	nextTip  uint64
	replaced time.Time // when it came

	ended time.Time // when the tip of the one looked at did, if it is not the present one
	gone  bool      // all that are older are dropped
}

// fresh copies the jobs that may still get shares, when there is a new one of a source
// on a tip. Of each source they are dropped from the front only, so that with a
// single source ids stay without a gap. It is for a caller that holds mu.
func (j *Jobs) fresh(from uint32, tip uint64, now time.Time) []*session.Work {
	old := j.Recent()
	kept := make([]*session.Work, len(old)+1)
	sources := append(j.sources[:0], ageing{source: from, tip: tip, n: 1, followed: true, nextTip: tip, replaced: now, ended: now})
	clear(j.places)
	j.places[from] = 0
	first := len(old)
	for i := len(old) - 1; i >= 0; i-- {
		f := old[i]
		k, known := j.places[f.Source()]
		if !known {
			k = len(sources)
			sources = append(sources, j.ageingOf(f))
			j.places[f.Source()] = k
		}
		if a := &sources[k]; a.keep(f, now) {
			first--
			kept[first] = f
		}
	}
	for number := range j.ended {
		if _, known := j.places[number]; !known {
			delete(j.ended, number)
		}
	}
	j.sources = sources
	return kept[first:len(old):len(kept)]
}

// ageingOf is for a source that has no new job and whose newest is f.
func (j *Jobs) ageingOf(f *session.Work) ageing {
	a := ageing{source: f.Source(), tip: f.Tip}
	if at, ended := j.ended[a.source]; ended {
		a.followed, a.tip, a.nextTip, a.replaced = true, f.Tip+1, f.Tip+1, at
	}
	return a
}

// keep tells whether a job may still get shares.
func (a *ageing) keep(f *session.Work, now time.Time) bool {
	if a.gone {
		return false
	}
	if a.followed {
		if a.nextTip != f.Tip {
			a.ended = a.replaced
		}
		present := f.Tip == a.tip
		a.gone = present && now.Sub(a.replaced) > keepJobs || !present && now.Sub(a.ended) > keepStale ||
			(present || a.source != 0) && a.n >= maxTipJobs
	}
	a.followed, a.nextTip, a.replaced = true, f.Tip, f.Job.Created
	a.n++
	return !a.gone
}

// Recent are the jobs that shares are taken for, the oldest first. They are
// shared: do not change them.
func (j *Jobs) Recent() []*session.Work {
	if recent := j.recent.Load(); recent != nil {
		return *recent
	}
	return nil
}

// restore makes recent, which is not empty, the jobs; ids go on after them.
func (j *Jobs) restore(recent []*session.Work, ended map[uint32]time.Time) {
	last := recent[len(recent)-1]
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next = last.Job.ID + 1 // without a gap
	j.recent.Store(&recent)
	oldest, others := map[uint32]uint64{}, map[uint32]*session.Work{}
	for _, w := range recent {
		from := w.Source()
		if _, known := oldest[from]; !known {
			oldest[from] = w.Job.ID
		}
		w.Oldest, w.OldestOfSource = recent[0].Job.ID, oldest[from]
		if from == 0 {
			j.own.Store(w)
		} else {
			others[from] = w
		}
	}
	if len(others) > 0 {
		j.others.Store(&others)
	}
	for from, at := range ended {
		j.setEnded(from, at)
	}
	j.newest.Store(last)
}

// Renew asks for another job of what a source has at present, which some session is to
// have after the job of an id.
func (j *Jobs) Renew(from uint32, after uint64) {
	j.renewMu.Lock()
	j.renew[from] = max(j.renew[from], after)
	j.renewMu.Unlock()
	j.renewWanted()
}

func (j *Jobs) renewWanted() {
	select {
	case j.renewals <- struct{}{}:
	default: // there is something to look at anyway
	}
}

// renewal is an update that Renew has asked for; not ok: there is none.
func (j *Jobs) renewal(now time.Time) (t source.Update, ok bool) {
	j.renewMu.Lock()
	defer j.renewMu.Unlock()
	for from, after := range j.renew {
		delete(j.renew, from)
		if w := j.Work(from); w != nil && w.Job.ID <= after {
			if len(j.renew) > 0 {
				j.renewWanted()
			}
			return source.Update{Template: w.Job.Template, Upstream: w.Upstream, From: "none", Received: now}, true
		}
	}
	return t, false
}

// Made is how many jobs were made in this process.
func (j *Jobs) Made() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.made
}
