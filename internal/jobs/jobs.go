package jobs

import (
	"sync"
	"sync/atomic"
	"time"

	"ckpool/internal/session"
	"ckpool/work"
)

// How long shares are taken. Everything else that concerns them is kept as long
// as the jobs are: see session.Work.
const (
	keepJobs   = 600 * time.Second // jobs of the present tip, after the next job
	keepStale  = 120 * time.Second // jobs of earlier tips, after the tip changed
	maxTipJobs = 1024
)

// Jobs are the newest work and the recent jobs by id. Publishing is for one
// goroutine at a time; lookups are lock-free from anywhere.
type Jobs struct {
	current atomic.Pointer[session.Work]
	recent  atomic.Pointer[[]*session.Work] // ids count up without a gap

	mu   sync.Mutex
	next uint64 // guarded by mu
	made int64  // guarded by mu; in this process
}

// New starts the job ids at the given time, so that no id returns after a
// restart: seconds in the upper half, as scripts know them, microseconds in the
// next 20 bits. 4,096 jobs a microsecond are more than can be made.
func New(start time.Time) *Jobs {
	micro := uint64(start.Nanosecond() / 1000)
	return &Jobs{next: uint64(uint32(start.Unix()))<<32 | micro<<12}
}

// Work is the newest work, nil before the first.
func (j *Jobs) Work() *session.Work { return j.current.Load() }

// Find looks the work of a job up by its id; nil: unknown or aged out.
func (j *Jobs) Find(id uint64) *session.Work {
	recent := j.Recent()
	if len(recent) == 0 {
		return nil
	}
	first := recent[0].Job.ID
	if id < first || id-first >= uint64(len(recent)) {
		return nil
	}
	return recent[id-first]
}

// publish builds the job of a template, which pays outputs, and makes it the current
// work, once before, if any, has been told.
func (j *Jobs) publish(b *work.Builder, outputs []work.Output, t *work.Template, now time.Time, before func(*session.Work)) (*session.Work, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	tip := j.next
	if old := j.current.Load(); old != nil && old.Job.Template.PrevHash == t.PrevHash {
		tip = old.Tip
	}
	job, err := b.Job(t, j.next, now, outputs)
	if err != nil {
		return nil, err
	}
	j.next++
	j.made++
	w := &session.Work{Job: job, Tip: tip}
	recent := append(j.fresh(tip, now), w)
	w.Oldest = recent[0].Job.ID
	if before != nil {
		before(w)
	}
	j.recent.Store(&recent)
	j.current.Store(w)
	return w, nil
}

// fresh copies the jobs that may still get shares. They are dropped from the
// front only, so that ids stay without a gap.
func (j *Jobs) fresh(tip uint64, now time.Time) []*session.Work {
	old := j.Recent()
	if len(old) == 0 {
		return nil
	}
	drop := 0
	replaced := now // when the next job came
	ended := now    // when the tip of old[i] did
	for i := len(old) - 1; i >= 0 && drop == 0; i-- {
		f := old[i]
		if i+1 < len(old) && old[i+1].Tip != f.Tip {
			ended = replaced
		}
		if f.Tip == tip {
			if now.Sub(replaced) > keepJobs || len(old)-i >= maxTipJobs {
				drop = i + 1
			}
		} else if now.Sub(ended) > keepStale {
			drop = i + 1
		}
		replaced = f.Job.Created
	}
	return append(make([]*session.Work, 0, len(old)-drop+1), old[drop:]...)
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
func (j *Jobs) restore(recent []*session.Work) {
	last := recent[len(recent)-1]
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next = last.Job.ID + 1 // without a gap
	j.recent.Store(&recent)
	last.Oldest = recent[0].Job.ID
	j.current.Store(last)
}

// Made is how many jobs were made in this process.
func (j *Jobs) Made() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.made
}
