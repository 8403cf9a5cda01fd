package jobs

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Version of the records here; older ones are read.
const recordVersion = 1

// Exporter writes jobs to another process, in one attempt to hand over.
type Exporter struct {
	Jobs   *Jobs
	writer work.JobWriter
	last   uint64          // id of the last one written
	recent []*session.Work // the jobs in use when last was written
}

// New writes a record of each job that is new since the last call.
func (e *Exporter) New(send func(record []byte) error) error {
	e.recent = e.Jobs.Recent()
	for _, f := range e.recent {
		if f.Job.ID <= e.last {
			continue
		}
		record, err := appendJob(nil, &e.writer, f)
		if err != nil {
			return err
		}
		if err := send(record); err != nil {
			return err
		}
		e.last = f.Job.ID
	}
	return nil
}

// InUse is the record that tells which of the jobs written are still in use.
func (e *Exporter) InUse() ([]byte, error) {
	r := inUse{Version: recordVersion, Count: len(e.recent), Ended: e.Jobs.endedSources()}
	if r.Count > 0 {
		r.First = e.recent[0].Job.ID
		if last := e.recent[r.Count-1].Job.ID; last-r.First != uint64(r.Count-1) {
			for _, w := range e.recent {
				r.IDs = append(r.IDs, w.Job.ID)
			}
		}
	}
	return json.Marshal(r)
}

// Importer reads what an Exporter has written. The zero value is ready to use.
type Importer struct {
	// Judge is who has shares judged that are for the work of a source, nil of one that has
	// not come along: it has ended. Restore asks. A Judge of nil: there are no other pools.
	Judge func(number uint32) source.Judge

	reader work.JobReader
	jobs   []*session.Work
	inUse  inUse
}

// Job reads the record of a job.
func (m *Importer) Job(record []byte) error {
	w, err := readJob(record, &m.reader)
	m.jobs = append(m.jobs, w)
	return err
}

// InUse reads the record that tells which of the jobs are still in use.
func (m *Importer) InUse(record []byte) (err error) {
	m.inUse, err = readInUse(record)
	return err
}

// Restore makes the jobs in use those that a generator goes on from.
func (m *Importer) Restore(g *Generator) error {
	k := m.inUse
	if k.Count == 0 {
		return nil
	}
	recent := m.jobs
	if k.IDs != nil { // jobs between others have aged out
		recent = slices.DeleteFunc(slices.Clone(m.jobs), func(w *session.Work) bool {
			_, used := slices.BinarySearch(k.IDs, w.Job.ID)
			return !used
		})
	} else if first := slices.IndexFunc(m.jobs, func(w *session.Work) bool { return w.Job.ID == k.First }); first >= 0 {
		recent = m.jobs[first:]
	}
	if len(recent) != k.Count {
		return fmt.Errorf("%d jobs, but %d from %016x on are in use", len(m.jobs), k.Count, k.First)
	}
	for i, f := range recent {
		id := k.First + uint64(i)
		if k.IDs != nil {
			id = k.IDs[i]
		}
		if f.Job.ID != id {
			return fmt.Errorf("job %016x stands where %016x should", f.Job.ID, id)
		}
	}
	ended := map[uint32]time.Time{}
	for number, at := range k.Ended {
		ended[number] = time.Unix(0, at)
	}
	judges := map[uint32]source.Judge{} // who asks looks through all connections
	for _, f := range recent {
		u := f.Upstream
		if u == nil || m.Judge == nil {
			continue
		}
		judge, known := judges[u.Source]
		if !known {
			judge = m.Judge(u.Source)
			judges[u.Source] = judge
		}
		if u.Judge = judge; judge == nil && ended[u.Source].IsZero() {
			ended[u.Source] = time.Now()
		}
	}
	g.inherit(recent, ended)
	if last := recent[len(recent)-1]; last.Upstream != nil { // it may be long until that pool sends something
		return g.learnNetwork()
	}
	return nil
}

// jobRecord is before a job, which has a form of its own.
type jobRecord struct {
	tip uint64 // that the job is on
	// upstream is nil for the pool's own jobs.
	upstream *source.Upstream
}

func (k *jobRecord) fields(c *wire.Codec) {
	wire.Word(c, &k.tip)
	c.Record(k.upstreamFields)
}

// upstreamFields are those of another pool's job; of others there are none.
func (k *jobRecord) upstreamFields(c *wire.Codec) {
	u := k.upstream
	if c.Reading() {
		u = new(source.Upstream)
	}
	if u == nil {
		return
	}
	wire.Uint(c, &u.Source, &u.VersionMask)
	c.Text(&u.JobID)
	wire.Amount(c, &u.Difficulty)
	wire.Int(c, &u.Shape.Own, &u.Shape.Extranonce2)
	if c.Reading() && u.Source != 0 {
		k.upstream = u
		if !(u.Difficulty > 0) || u.Shape.Own < 0 || u.Shape.Own > 8 || u.Shape.Extranonce2 < 1 || u.Shape.Extranonce2 > 8 {
			c.Fail(fmt.Errorf("a job of another pool at difficulty %g with extranonces of %d and %d bytes", u.Difficulty, u.Shape.Own, u.Shape.Extranonce2))
		}
	}
}

// appendJob appends the record of a job.
func appendJob(b []byte, w *work.JobWriter, f *session.Work) ([]byte, error) {
	k, c := jobRecord{f.Tip, f.Upstream}, wire.Append(b)
	c.Versioned(recordVersion, k.fields)
	return w.Append(c.Written(), f.Job)
}

func readJob(record []byte, from *work.JobReader) (*session.Work, error) {
	var k jobRecord
	c := wire.Read(record)
	c.Versioned(recordVersion, k.fields)
	if err := c.Err(); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	j, err := from.Read(c.Rest())
	if err == nil && j.Given() != (k.upstream != nil) {
		err = fmt.Errorf("job %016x is of another pool, or not", j.ID)
	}
	return &session.Work{Job: j, Tip: k.tip, Upstream: k.upstream}, err
}

// inUse tells which jobs are in use by their ids, which count up.
type inUse struct {
	Version int              `json:"version"`
	First   uint64           `json:"first"` // id
	Count   int              `json:"count"`
	IDs     []uint64         `json:"ids,omitempty"`   // of all, where there are others between them
	Ended   map[uint32]int64 `json:"ended,omitempty"` // sources of them that have ended, with when; unix nanoseconds
}

func readInUse(record []byte) (k inUse, err error) {
	err = wire.ReadJSON(record, recordVersion, &k)
	if err == nil && (k.Count < 0 || k.IDs != nil && len(k.IDs) != k.Count) {
		err = fmt.Errorf("%d jobs", k.Count)
	}
	if err != nil {
		return k, fmt.Errorf("list of jobs: %w", err)
	}
	return k, nil
}
