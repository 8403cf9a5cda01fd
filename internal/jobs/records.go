package jobs

import (
	"encoding/json"
	"fmt"
	"slices"

	"ckpool/internal/session"
	"ckpool/internal/wire"
	"ckpool/work"
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
		record, err := appendJob(nil, &e.writer, f.Tip, f.Job)
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
	r := inUse{Version: recordVersion, Count: len(e.recent)}
	if r.Count > 0 {
		r.First = e.recent[0].Job.ID
	}
	return json.Marshal(r)
}

// Importer reads what an Exporter has written. The zero value is ready to use.
type Importer struct {
	reader work.JobReader
	jobs   []*session.Work
	inUse  inUse
}

// Job reads the record of a job.
func (m *Importer) Job(record []byte) error {
	tip, j, err := readJob(record, &m.reader)
	m.jobs = append(m.jobs, &session.Work{Job: j, Tip: tip})
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
	first := slices.IndexFunc(m.jobs, func(w *session.Work) bool { return w.Job.ID == k.First })
	if first < 0 || first+k.Count != len(m.jobs) {
		return fmt.Errorf("%d jobs, but %d from %016x on are in use", len(m.jobs), k.Count, k.First)
	}
	recent := m.jobs[first:]
	for i, f := range recent {
		if f.Job.ID != k.First+uint64(i) {
			return fmt.Errorf("job %016x stands where %016x should", f.Job.ID, k.First+uint64(i))
		}
	}
	g.inherit(recent)
	return nil
}

// jobRecord is before a job, which has a form of its own.
type jobRecord struct {
	tip uint64 // that the job is on
}

func (k *jobRecord) fields(c *wire.Codec) { wire.Word(c, &k.tip) }

// appendJob appends the record of a job that is on a tip.
func appendJob(b []byte, w *work.JobWriter, tip uint64, j *work.Job) ([]byte, error) {
	k, c := jobRecord{tip}, wire.Append(b)
	c.Versioned(recordVersion, k.fields)
	return w.Append(c.Written(), j)
}

func readJob(record []byte, from *work.JobReader) (tip uint64, j *work.Job, err error) {
	var k jobRecord
	c := wire.Read(record)
	c.Versioned(recordVersion, k.fields)
	if err := c.Err(); err != nil {
		return 0, nil, fmt.Errorf("job: %w", err)
	}
	j, err = from.Read(c.Rest())
	return k.tip, j, err
}

// inUse tells which jobs are in use by their ids, which count up.
type inUse struct {
	Version int    `json:"version"`
	First   uint64 `json:"first"` // id
	Count   int    `json:"count"`
}

func readInUse(record []byte) (k inUse, err error) {
	err = wire.ReadJSON(record, recordVersion, &k)
	if err == nil && k.Count < 0 {
		err = fmt.Errorf("%d jobs", k.Count)
	}
	if err != nil {
		return k, fmt.Errorf("list of jobs: %w", err)
	}
	return k, nil
}
