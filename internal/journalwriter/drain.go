package journalwriter

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/journal"
)

// A drain takes records out of the rings of one epoch, numbers them, and writes them
// to segments. It is owned by one goroutine at a time: that of Writer.Run, or who
// opens or closes.
type drain struct {
	// immutable
	dir         string
	header      segment.Header // of segments, without what differs between them
	segmentSize int64
	rings       []*ring // nil for one that is gone; the last is the shared one
	open        func(path string) (file, error)

	number uint64         // of the next record
	states []segment.Ring // what was encoded
	jobs   []liveJob      // that shares may still come for, the oldest first

	// Of the current segment.
	file    file // nil: there is none yet, or the last one is whole
	named   bool // it has its name
	mark    segment.Mark
	first   uint64
	offset  int64  // of what is written
	pending []byte // encoded, not written
	miners  map[string]uint64
	defined map[uint64]uint64 // jobs, by id

	// Of the frame that is being made.
	frame         []byte // records
	defs          []byte
	frameMiners   int // numbers of the first that are defined in it
	frameJobs     int
	frameTime     int64
	lastTime      int64
	count, shares uint32

	unsynced []chunk  // what was encoded since the last sync that succeeded
	redo     []chunk  // what of it must be written again
	damaged  []string // places in rings where there is no record

	synced     atomic.Uint64 // number of the last record that is safe
	safeShares atomic.Uint64
	size       atomic.Int64 // of the current segment
	current    atomic.Pointer[string]
}

// file is what a drain needs of one.
type file interface {
	WriteAt(b []byte, at int64) (int, error)
	Sync() error
	Close() error
}

// diskFile is a file whose Sync leaves out what only times are of.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("sync %s: %w", f.Name(), err)
			}
			return nil
		}
	}
}

func createFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// chunk is a part of a ring, with the number its first record has, or a record of
// what was lost.
type chunk struct {
	ring     int
	from, to uint64
	first    uint64
	shares   uint64
	lost     *journal.Lost
}

// liveJob is the record of a job.
type liveJob struct {
	id     uint64
	oldest uint64
	record []byte
}

// round writes all that is published in the rings and makes it safe. After an error
// the next round goes on where this one has ended.
func (d *drain) round() error {
	if err := d.again(); err != nil {
		return err
	}
	// The shared ring is looked at last and drained first: a job is told before any
	// share of it.
	heads := make([]uint64, len(d.rings))
	var lost []journal.Lost
	for i, r := range d.rings {
		if r == nil {
			heads[i] = d.states[i].At
			continue
		}
		if n := r.lostRecords.Load(); n != d.states[i].Lost {
			shares := r.lostShares.Load()
			lost = append(lost, journal.Lost{
				Ring: i, Records: n - d.states[i].Lost, Shares: shares - d.states[i].Shares, TotalRecords: n, TotalShares: shares,
			})
		}
		heads[i] = r.head.Load()
	}
	shared := len(d.rings) - 1
	for i := range d.rings {
		ring := (i + shared) % len(d.rings)
		if err := d.take(ring, heads[ring]); err != nil {
			return err
		}
	}
	for i := range lost {
		if err := d.lose(&lost[i]); err != nil {
			return err
		}
	}
	if err := d.sync(); err != nil {
		return err
	}
	d.forgetJobs()
	return nil
}

// take encodes the records of a ring up to a position.
func (d *drain) take(ring int, to uint64) error {
	if d.states[ring].At == to {
		return nil
	}
	if err := d.ready(); err != nil {
		return err
	}
	return d.encode(chunk{ring: ring, from: d.states[ring].At, to: to, first: d.number})
}

// lose encodes a record of what was lost.
func (d *drain) lose(l *journal.Lost) error {
	if err := d.ready(); err != nil {
		return err
	}
	if l.Time == 0 {
		l.Time = time.Now().UnixMicro()
	}
	return d.encode(chunk{ring: l.Ring, from: d.states[l.Ring].At, to: d.states[l.Ring].At, first: d.number, lost: l})
}

// encode encodes a chunk and writes it. An error leaves what is encoded pending, and
// what is not in the ring.
func (d *drain) encode(c chunk) error {
	d.unsynced = append(d.unsynced, c)
	u := &d.unsynced[len(d.unsynced)-1]
	u.to = c.from
	if l := c.lost; l != nil {
		body, _ := l.AppendBinary(nil)
		d.record(journal.KindLost, l.Time, 0, nil, body)
		d.states[c.ring].Lost, d.states[c.ring].Shares = l.TotalRecords, l.TotalShares
		return d.endFrame(c.ring, segment.LostFrame)
	}
	r := d.rings[c.ring]
	for at := c.from; at != c.to; {
		k, err := r.take(at, c.to)
		if err != nil { // of a ring that another process has left
			d.damaged = append(d.damaged, fmt.Sprintf("%s: %d bytes at %d: %v", r.path, c.to-at, at, err))
			k = ringRecord{next: c.to}
		}
		if k.kind == journal.KindJob && len(k.body) >= 8 {
			j := liveJob{k.job, binary.BigEndian.Uint64(k.body), slices.Clone(k.body[8:])}
			d.keep(j)
			d.define(&j)
			k.body = k.body[:8]
		}
		if err == nil {
			d.record(k.kind, k.time, k.job, k.miner, k.body)
		}
		if k.kind == journal.KindShare {
			u.shares++
		}
		at = k.next
		d.states[c.ring].At, u.to = at, at
		if len(d.frame)+len(d.defs) < segment.FrameSize && at != c.to {
			continue
		}
		if err := d.endFrame(c.ring, segment.RecordsFrame); err != nil {
			return err
		}
		// What is not encoded yet is the rest of the ring, but for a chunk that
		// is encoded again.
		if at != c.to && d.offset+int64(len(d.pending)) >= d.segmentSize && d.redo == nil {
			if err := d.ready(); err != nil {
				return err
			}
			return d.encode(chunk{ring: c.ring, from: at, to: c.to, first: d.number})
		}
	}
	return nil
}

// record appends a record to the frame.
func (d *drain) record(kind journal.Kind, time int64, job uint64, miner, body []byte) {
	if d.count == 0 {
		d.frameTime, d.lastTime = time, time
	}
	var m, j uint64
	if len(miner) > 0 {
		var ok bool
		if m, ok = d.miners[string(miner)]; !ok {
			m = uint64(len(d.miners))
			d.miners[string(miner)] = m
			d.defs = segment.AppendMiner(d.defs, miner)
		}
		m++
	}
	if job != 0 {
		n, ok := d.defined[job]
		if j = n + segment.JobDefined; !ok {
			j = segment.JobByID
		}
	}
	d.frame = segment.AppendRecord(d.frame, &segment.Record{Kind: uint8(kind), Time: time, Miner: m, Job: j, ID: job, Body: body}, d.lastTime)
	d.lastTime = time
	d.count++
	if kind == journal.KindShare {
		d.shares++
	}
	d.number++
}

// define defines a job in the segment, unless it is.
func (d *drain) define(j *liveJob) {
	if _, ok := d.defined[j.id]; ok {
		return
	}
	d.defined[j.id] = uint64(len(d.defined))
	d.defs = segment.AppendJob(d.defs, j.id, j.record)
}

// keep remembers a job for the segments to come.
func (d *drain) keep(j liveJob) {
	d.jobs = slices.DeleteFunc(d.jobs, func(k liveJob) bool { return k.id == j.id })
	d.jobs = append(d.jobs, j)
}

// forgetJobs forgets those that no share comes for any more. What the rings held up
// to now is encoded.
func (d *drain) forgetJobs() {
	if n := len(d.jobs); n > 0 {
		oldest := d.jobs[n-1].oldest
		d.jobs = slices.DeleteFunc(d.jobs, func(j liveJob) bool { return j.id < oldest })
	}
}

// endFrame makes a frame of the records and definitions there are, and writes when
// there is enough.
func (d *drain) endFrame(ring int, kind segment.FrameKind) error {
	b := d.pending[len(d.pending):]
	b = segment.BeginFrame(b)
	b = (&segment.Parts{Time: d.frameTime, Miners: d.frameMiners, Jobs: d.frameJobs, Defs: d.defs, Records: d.frame}).AppendTo(b)
	segment.FinishFrame(b, d.mark, &segment.Frame{
		Kind: kind, Ring: ring, First: d.number - uint64(d.count), Position: d.states[ring].At, Count: d.count, Shares: d.shares,
	})
	d.pending = append(d.pending, b...) // in place where there was room
	d.frame, d.defs = d.frame[:0], d.defs[:0]
	d.frameMiners, d.frameJobs, d.count, d.shares = len(d.miners), len(d.defined), 0, 0
	const enough = 1 << 20
	if len(d.pending) < enough {
		return nil
	}
	return d.write()
}

// write writes what is pending. What of it was written is written again after an
// error.
func (d *drain) write() error {
	if len(d.pending) == 0 {
		return nil
	}
	if _, err := d.file.WriteAt(d.pending, d.offset); err != nil {
		return err
	}
	d.offset += int64(len(d.pending))
	d.size.Store(d.offset)
	d.pending = d.pending[:0]
	return nil
}

// sync makes all safe that is encoded, and gives its room back.
func (d *drain) sync() error {
	if d.file == nil || len(d.unsynced) == 0 && len(d.pending) == 0 {
		return nil
	}
	if err := d.write(); err != nil {
		return err
	}
	if err := d.syncFile(); err != nil {
		d.failed()
		return err
	}
	d.safe()
	return nil
}

// syncFile makes what is written safe, and gives a segment its name with the first records
// that are: so what is written again, after a sync that has failed, never has the name of
// what somebody has begun to read, or to copy.
func (d *drain) syncFile() error {
	if !d.named {
		return d.publish()
	}
	return d.file.Sync()
}

// safe notes that all that is encoded is safe.
func (d *drain) safe() {
	var shares uint64
	for i := range d.unsynced {
		shares += d.unsynced[i].shares
	}
	for i, r := range d.rings {
		if r != nil {
			r.freed.Store(d.states[i].At)
		}
	}
	d.unsynced = d.unsynced[:0]
	d.safeShares.Add(shares)
	d.synced.Store(d.number - 1)
}

// failed leaves a segment that a sync of failed: what of it is on disk is not known,
// and another sync would not tell. All since the last good one is written again into
// another segment, out of the rings, which still have it.
func (d *drain) failed() {
	if d.redo = append(d.unsynced, d.redo...); len(d.redo) == 0 {
		d.redo = nil
	}
	d.unsynced = nil
	d.leave()
}

func (d *drain) leave() {
	d.file.Close()
	d.file, d.pending = nil, d.pending[:0]
}

// again writes what must be written again, in the same order under the same numbers:
// some may have read it already. The segment gets its name when all of that is safe;
// until then the one that was left tells who opens the journal what the numbers are.
func (d *drain) again() error {
	if d.redo == nil {
		return nil
	}
	if d.file == nil {
		d.number = d.redo[0].first
		for i := len(d.redo) - 1; i >= 0; i-- {
			if c := &d.redo[i]; c.lost == nil {
				d.states[c.ring].At = c.from
			} else {
				d.states[c.ring].Lost, d.states[c.ring].Shares = c.lost.TotalRecords-c.lost.Records, c.lost.TotalShares-c.lost.Shares
			}
		}
		if err := d.begin(); err != nil {
			return err
		}
	}
	for len(d.redo) > 0 {
		c := &d.redo[0]
		err := d.encode(chunk{ring: c.ring, from: c.from, to: c.to, first: d.number, lost: c.lost})
		if to := d.unsynced[len(d.unsynced)-1].to; c.lost == nil && to != c.to {
			c.from, c.first = to, d.number
		} else {
			d.redo = d.redo[1:]
		}
		if err != nil {
			return err
		}
	}
	if err := d.write(); err != nil {
		return err
	}
	if err := d.publish(); err != nil {
		d.failed()
		return err
	}
	d.redo = nil
	d.safe()
	return nil
}

// ready makes sure that there is a segment with room.
func (d *drain) ready() error {
	if d.file != nil && d.offset+int64(len(d.pending)) >= d.segmentSize && d.number > d.first {
		if err := d.end(); err != nil {
			return err
		}
	}
	if d.file != nil {
		return nil
	}
	return d.begin()
}

// end ends the current segment: it is whole and safe.
func (d *drain) end() error {
	b := segment.BeginFrame(nil)
	segment.FinishFrame(b, d.mark, &segment.Frame{Kind: segment.EndFrame, First: d.number})
	n := len(d.pending)
	d.pending = append(d.pending, b...)
	if err := d.write(); err != nil {
		d.pending = d.pending[:n]
		return err
	}
	if err := d.syncFile(); err != nil {
		d.failed()
		return err
	}
	d.safe()
	d.leave()
	return nil
}

// begin begins a segment, with all jobs that shares may still come for. It has no
// name yet.
func (d *drain) begin() error {
	rand.Read(d.mark[:]) // never fails
	h := d.header
	h.First, h.Created, h.Mark, h.Rings = d.number, time.Now().UnixMicro(), hex.EncodeToString(d.mark[:]), d.states
	b, err := h.AppendTo(nil)
	if err != nil {
		return err
	}
	d.miners, d.defined = map[string]uint64{}, map[uint64]uint64{}
	d.frameMiners, d.frameJobs, d.frameTime = 0, 0, h.Created
	if d.file, err = d.open(filepath.Join(d.dir, segment.Temporary+"segment")); err != nil {
		d.file = nil
		return err
	}
	d.offset, d.pending, d.first, d.named = 0, b, d.number, false
	for i := range d.jobs {
		d.define(&d.jobs[i])
		if len(d.defs) >= segment.FrameSize || i == len(d.jobs)-1 {
			if err = d.endFrame(len(d.rings)-1, segment.RecordsFrame); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = d.write()
	}
	if err != nil {
		d.defs = d.defs[:0]
		d.leave()
	}
	return err
}

// publish makes a segment safe that was begun, and gives it its name.
func (d *drain) publish() error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	name := segment.Name(d.header.Epoch, d.first)
	if err := os.Rename(filepath.Join(d.dir, segment.Temporary+"segment"), filepath.Join(d.dir, name)); err != nil {
		return err
	}
	if err := segment.SyncDir(d.dir); err != nil {
		return err
	}
	d.named = true
	d.current.Store(&name)
	d.size.Store(d.offset)
	return nil
}

// currentName is for any goroutine; "" before there is a segment.
func (d *drain) currentName() string {
	if name := d.current.Load(); name != nil {
		return *name
	}
	return ""
}

// finish drains the rings for the last time and ends the epoch: nobody appends to
// them any more.
func (d *drain) finish() error {
	if err := d.round(); err != nil {
		return err
	}
	if d.file == nil {
		return nil
	}
	return d.end()
}
