package pool

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ckpool/bitcoind"
	"ckpool/internal/handover"
	"ckpool/internal/session"
	"ckpool/internal/wire"
	"ckpool/work"
)

// Sections of a handover. The numbers are part of the format.
const (
	sectionListeners handover.Kind = handover.FirstSection + iota
	sectionUsers
	sectionJob
	sectionSeen
	sectionMoment
	sectionJobs
	sectionCounts
	sectionRegistry
	sectionLimits
	sectionCandidates
	sectionSessions
	sectionBlocks

	// SectionsOfProcess is the first section that is not the pool's.
	SectionsOfProcess handover.Kind = 128
)

// Versions of the records written here; older ones are read.
const (
	listenersVersion  = 1
	jobVersion        = 1
	momentVersion     = 1
	candidatesVersion = 1
	sessionsVersion   = 1
	blocksVersion     = 1
)

// Instance is what a process that takes over must agree with.
type Instance struct {
	Solo         bool `json:"solo"`
	Nonce1Length int  `json:"nonce1length"`
	Nonce2Length int  `json:"nonce2length"`
	Loops        int  `json:"loops"`
	Miners       int  `json:"miners"` // about how many are to come
}

func instanceOf(p *Pool) Instance {
	c := p.config.Load()
	return Instance{p.options.Solo, c.Nonce1Length, c.Nonce2Length, len(p.handlers), p.server.Clients()}
}

// agrees says why connected miners could not go on in another pool.
func (i Instance) agrees(with Instance) error {
	mode := func(solo bool) string {
		if solo {
			return "solo"
		}
		return "pool"
	}
	const restart = ": this cannot change while miners are connected, stop the running instance first"
	switch {
	case i.Solo != with.Solo:
		return fmt.Errorf("this is a %s, the running instance a %s%s", mode(i.Solo), mode(with.Solo), restart)
	case i.Nonce1Length != with.Nonce1Length:
		return fmt.Errorf("nonce1length is %d, in the running instance %d%s", i.Nonce1Length, with.Nonce1Length, restart)
	case i.Nonce2Length != with.Nonce2Length:
		return fmt.Errorf("nonce2length is %d, in the running instance %d%s", i.Nonce2Length, with.Nonce2Length, restart)
	}
	return nil
}

// listenersRecord are all listeners. The descriptors of the section are in the
// order of all addresses.
type listenersRecord struct {
	Version   int              `json:"version"`
	Listeners []listenerRecord `json:"listeners"`
}

type listenerRecord struct {
	URL   string           `json:"url"`
	Addrs []netip.AddrPort `json:"addrs"`
}

func readListeners(record []byte) ([]listenerRecord, error) {
	var k listenersRecord
	err := json.Unmarshal(record, &k)
	if err == nil && (k.Version < 1 || k.Version > listenersVersion) {
		err = fmt.Errorf("version %d, this program reads 1 to %d", k.Version, listenersVersion)
	}
	if err != nil {
		err = fmt.Errorf("listeners: %w", err)
	}
	return k.Listeners, err
}

// moment is when a pool stood still.
type moment struct {
	at        time.Time // wall clock
	sessions  float64   // clock of the sessions, seconds
	rejecting bool      // an operator has stopped accepting
}

func (m *moment) fields(c *wire.Codec) {
	at := m.at.UnixNano()
	wire.Int(c, &at)
	wire.Float(c, &m.sessions)
	if c.Bool(&m.rejecting); c.Reading() {
		m.at = time.Unix(0, at)
	}
}

func (m *moment) append(b []byte) []byte {
	c := wire.Append(b)
	c.Versioned(momentVersion, m.fields)
	return c.Written()
}

// maxPause bounds how far a moment is taken to be in the past: the wall clock
// may have been set meanwhile.
const maxPause = time.Minute

func readMoment(record []byte, now time.Time) (m moment, err error) {
	c := wire.Read(record)
	c.Versioned(momentVersion, m.fields)
	// By the monotonic clock, as every other time of the pool.
	m.at = now.Add(-min(max(now.Round(0).Sub(m.at), 0), maxPause))
	if err := c.Done(); err != nil {
		return m, fmt.Errorf("moment: %w", err)
	}
	return m, nil
}

// jobRecord is before a job, which has a form of its own.
type jobRecord struct {
	tip uint64 // that the job is on
}

func (k *jobRecord) fields(c *wire.Codec) { wire.Word(c, &k.tip) }

// appendJob appends the record of a job that is on a tip.
func appendJob(b []byte, w *work.JobWriter, tip uint64, j *work.Job) ([]byte, error) {
	k, c := jobRecord{tip}, wire.Append(b)
	c.Versioned(jobVersion, k.fields)
	return w.Append(c.Written(), j)
}

func readJob(record []byte, from *work.JobReader) (tip uint64, j *work.Job, err error) {
	var k jobRecord
	c := wire.Read(record)
	c.Versioned(jobVersion, k.fields)
	if err := c.Err(); err != nil {
		return 0, nil, fmt.Errorf("job: %w", err)
	}
	j, err = from.Read(c.Rest())
	return k.tip, j, err
}

// jobsRecord tells which of the jobs sent are still in use, by their ids, which
// count up.
type jobsRecord struct {
	Version int    `json:"version"`
	First   uint64 `json:"first"` // id
	Count   int    `json:"count"`
}

func describeJobs(recent []session.Found) jobsRecord {
	r := jobsRecord{Version: jobVersion, Count: len(recent)}
	if r.Count > 0 {
		r.First = recent[0].Job.ID
	}
	return r
}

func readJobs(record []byte) (k jobsRecord, err error) {
	err = json.Unmarshal(record, &k)
	if err == nil && (k.Version < 1 || k.Version > jobVersion) {
		err = fmt.Errorf("version %d, this program reads 1 to %d", k.Version, jobVersion)
	}
	if err == nil && k.Count < 0 {
		err = fmt.Errorf("%d jobs", k.Count)
	}
	if err != nil {
		return k, fmt.Errorf("list of jobs: %w", err)
	}
	return k, nil
}

// blocksRecord is the table of found blocks, and those of them that are only in
// memory.
type blocksRecord struct {
	Version int             `json:"version"`
	Table   []Block         `json:"table"`
	Unsaved []unsavedRecord `json:"unsaved,omitempty"`
}

type unsavedRecord struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"`  // as blocks.json has it
	Block  string `json:"block"` // hex
}

func describeBlocks(t *Blocks, unsaved []bitcoind.SolvedBlock) blocksRecord {
	r := blocksRecord{Version: blocksVersion, Table: t.List()}
	for _, b := range unsaved {
		r.Unsaved = append(r.Unsaved, unsavedRecord{b.Height, display(b.Hash), hex.EncodeToString(b.Serialised)})
	}
	return r
}

func readBlocks(record []byte) (table []Block, unsaved []bitcoind.SolvedBlock, err error) {
	var r blocksRecord
	err = json.Unmarshal(record, &r)
	if err == nil && (r.Version < 1 || r.Version > blocksVersion) {
		err = fmt.Errorf("version %d, this program reads 1 to %d", r.Version, blocksVersion)
	}
	for _, u := range r.Unsaved {
		hash, hashErr := parseDisplay(u.Hash)
		block, blockErr := hex.DecodeString(u.Block)
		err = errors.Join(err, hashErr, blockErr)
		unsaved = append(unsaved, bitcoind.SolvedBlock{Height: u.Height, Hash: hash, Serialised: block})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("found blocks: %w", err)
	}
	return r.Table, unsaved, nil
}

// batchRecord is at the head of connections with their sessions.
type batchRecord struct {
	loop uint16 // that they were on
}

func (k *batchRecord) fields(c *wire.Codec) { wire.Uint(c, &k.loop) }

// fields is for a caller that holds mu.
func (c *candidates) fields(w *wire.Codec) {
	wire.Elements(w, func(yield func(*[32]byte) bool) {
		for _, generation := range []map[[32]byte]bool{c.old, c.hashes} {
			for h := range generation {
				if !yield(&h) {
					return
				}
			}
		}
	}, func(h *[32]byte) { c.remember(*h) }, func(h *[32]byte, w *wire.Codec) { w.Array(h[:]) })
}

func (c *candidates) append(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := wire.Append(b)
	w.Versioned(candidatesVersion, c.fields)
	return w.Written()
}

func (c *candidates) read(record []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes, c.old = nil, nil
	r := wire.Read(record)
	r.Versioned(candidatesVersion, c.fields)
	if err := r.Done(); err != nil {
		return fmt.Errorf("candidates: %w", err)
	}
	return nil
}
