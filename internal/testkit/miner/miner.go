// Package miner is simulated miners that do real hashing on the CPU, for tests
// and load. It knows the stratum client and nothing of the pool.
package miner

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

const (
	maxUnanswered = 64                   // shares
	slice         = 5 * time.Millisecond // of hashing between looks at the pool's events
	sliceHashes   = 1 << 14              // of an uncapped miner
	answerTimeout = time.Minute          // for a share
	usualDrain    = 2 * time.Second
	rollAfter     = 1 << 16 // nonces of a header before a version is rolled
)

// Config is one simulated miner.
type Config struct {
	Endpoint client.Endpoint
	Client   client.Options // with a VersionMask the version is rolled
	HashRate float64        // most hashes per second; 0 is what one core gives
	// Drain is how long verdicts are waited for at the end; 0 is 2 s.
	Drain time.Duration
	// OnShare is told the verdict on each share, OnEvent what the pool sent;
	// both may be nil. OnShare is called by several goroutines, one at a time.
	OnShare func(Share)
	OnEvent func(client.Event)
}

// Share is a submitted share and what came of it.
type Share struct {
	Job        client.Notify
	Submitted  client.Share
	Hash       [32]byte // internal order
	Difficulty float64  // that the hash achieves
	Block      bool     // the hash meets the target of the job's bits
	Reject     *stratum.Reject
	Err        error // no verdict
	Latency    time.Duration
}

// Run mines until ctx is done, and connects again when the pool is lost. It
// waits for the verdicts on what it has submitted, for a while at most.
func Run(ctx context.Context, c Config) error {
	m := miner{config: c, hasher: NewHasher(), unanswered: make(chan struct{}, maxUnanswered)}
	group := client.NewGroup([]client.Endpoint{c.Endpoint}, c.Client)
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	m.connected = connected
	var connection sync.WaitGroup
	connection.Go(func() { _ = group.Run(connected) }) // ends with the context
	err := m.run(ctx, group.Events())
	patience := time.AfterFunc(cmp.Or(c.Drain, usualDrain), disconnect)
	m.submitting.Wait()
	patience.Stop()
	disconnect()
	connection.Wait()
	return err
}

type miner struct {
	// Immutable.
	config     Config
	connected  context.Context // ends after ctx of Run, when the verdicts are in
	unanswered chan struct{}

	// Owned by run.
	hasher      *Hasher
	search      Search
	job         *client.Notify
	target      difficulty.Target
	block       difficulty.Target
	extranonce2 []byte
	counter     uint64
	version     uint32
	headerTries int

	submitting sync.WaitGroup
	reporting  sync.Mutex // one OnShare at a time
}

func (m *miner) run(ctx context.Context, events <-chan client.Event) error {
	due := time.Now() // when the hashes done so far are due at the capped rate
	for {
		var wait <-chan time.Time
		switch ahead := time.Until(due); {
		case m.job == nil:
			wait = nil // for an event
		case ahead > 0:
			wait = time.After(ahead)
		default:
			wait = closed
			if ahead < -time.Second {
				due = time.Now() // a stall is not made up for
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				return ctx.Err()
			}
			if m.event(e) {
				due = time.Now()
			}
		case <-wait:
			tried := m.hash(ctx)
			if m.config.HashRate > 0 {
				due = due.Add(time.Duration(float64(tried) / m.config.HashRate * float64(time.Second)))
			}
		}
	}
}

// closed is a timer that has always fired.
var closed = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// event takes what the pool sent; began reports the first job after none.
func (m *miner) event(e client.Event) (began bool) {
	switch e := e.(type) {
	case client.Notify:
		began = m.job == nil
		m.start(&e)
	case client.Failed:
		m.job = nil
	}
	if m.config.OnEvent != nil {
		m.config.OnEvent(e)
	}
	return began
}

func (m *miner) start(job *client.Notify) {
	d := job.Difficulty
	if d == 0 {
		d = 1
	}
	m.job = job
	m.target = difficulty.TargetFromDifficulty(d)
	m.block, _ = difficulty.TargetFromBits(job.Bits)
	m.extranonce2 = make([]byte, job.Extranonce.Extranonce2Len)
	m.counter = rand.Uint64()
	m.nextHeader()
}

// nextHeader goes on to the next version, and to the next extranonce2 when
// those are through.
func (m *miner) nextHeader() {
	mask := m.job.VersionMask
	rolled := (m.version | ^mask) + 1 // carries over the bits outside the mask
	m.version = rolled & mask
	if m.version == 0 {
		m.counter++
		var digits [8]byte
		binary.LittleEndian.PutUint64(digits[:], m.counter)
		copy(m.extranonce2, digits[:])
	}
	m.headerTries = 0
	m.hasher.Start(&m.search, &m.job.Notify, m.job.Extranonce.Extranonce1, m.extranonce2,
		m.job.Version&^mask|m.version)
}

// hash does one slice of work.
func (m *miner) hash(ctx context.Context) (tried int) {
	limit := sliceHashes
	if m.config.HashRate > 0 {
		limit = max(1, min(limit, int(m.config.HashRate*slice.Seconds())))
	}
	for tried < limit {
		n, found := m.hasher.Find(&m.search, &m.target, limit-tried)
		tried += n
		m.headerTries += n
		if found {
			m.submit(ctx)
		}
		if n == 0 || m.headerTries >= rollAfter && m.job.VersionMask != 0 {
			m.nextHeader()
		}
	}
	return tried
}

// submit sends the share just found and leaves the waiting to another
// goroutine.
func (m *miner) submit(ctx context.Context) {
	s := Share{
		Job:        *m.job,
		Hash:       m.search.Hash,
		Difficulty: difficulty.OfHash(&m.search.Hash),
		Block:      m.block.MetBy(&m.search.Hash),
		Submitted: client.Share{
			Extranonce2:    append([]byte(nil), m.extranonce2...),
			NTime:          m.job.NTime,
			Nonce:          m.search.Nonce,
			VersionBits:    m.version,
			HasVersionBits: m.job.VersionMask != 0,
		},
	}
	select {
	case m.unanswered <- struct{}{}:
	case <-ctx.Done():
		return
	}
	m.submitting.Go(func() {
		defer func() { <-m.unanswered }()
		ctx, cancel := context.WithTimeout(m.connected, answerTimeout)
		defer cancel()
		sent := time.Now()
		s.Reject, s.Err = s.Job.Submit(ctx, s.Submitted)
		s.Latency = time.Since(sent)
		if m.config.OnShare != nil {
			m.reporting.Lock()
			defer m.reporting.Unlock()
			m.config.OnShare(s)
		}
	})
}
