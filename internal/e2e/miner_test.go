package e2e

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// hand is a miner that a test moves by hand: it submits what it is told to and
// keeps one connection.
type hand struct {
	t      *testing.T
	client *client.Client
	hasher *miner.Hasher
	nonce2 uint64
	read   sync.WaitGroup

	mu      sync.Mutex
	jobs    []client.Notify // guarded by mu
	came    []time.Time     // guarded by mu; when the jobs did
	sentOn  []string        // guarded by mu; host:port of each client.reconnect, ":0" for none
	closed  error           // guarded by mu; why the connection ended
	changed chan struct{}   // guarded by mu; closed and replaced with every event
}

// connect is a connection, subscribed and authorized.
func (r *running) connect(t *testing.T, user string) *hand {
	t.Helper()
	return connectTo(t, client.Endpoint{URL: r.addr, User: user, Password: "x"}, client.Options{})
}

func connectTo(t *testing.T, e client.Endpoint, o client.Options) *hand {
	t.Helper()
	o.UserAgent, o.HandshakeTimeout = "e2e/1", patience
	c, err := client.Dial(t.Context(), e, o)
	// Where others say who may mine, a busy machine may be too slow for them.
	for until := time.Now().Add(patience); err != nil && strings.Contains(err.Error(), "try again in a minute") && time.Now().Before(until); {
		c, err = client.Dial(t.Context(), e, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{t: t, client: c, hasher: miner.NewHasher(), changed: make(chan struct{})}
	h.read.Go(h.receive)
	t.Cleanup(func() {
		c.Close()
		h.read.Wait()
	})
	return h
}

// refused is the error of a login.
func (r *running) refused(user string) error {
	r.t.Helper()
	c, err := client.Dial(r.t.Context(), client.Endpoint{URL: r.addr, User: user}, client.Options{HandshakeTimeout: patience})
	if err == nil {
		c.Close()
	}
	return err
}

func (h *hand) receive() {
	for e := range h.client.Events() {
		h.mu.Lock()
		switch e := e.(type) {
		case client.Notify:
			if n := len(h.jobs); n > 0 && !e.Clean && e.PrevHash != h.jobs[n-1].PrevHash {
				h.t.Errorf("the first job on %s is not clean", display(e.PrevHash))
			}
			h.jobs = append(h.jobs, e)
			h.came = append(h.came, time.Now())
		case client.Reconnect:
			h.sentOn = append(h.sentOn, fmt.Sprintf("%s:%d", e.Host, e.Port))
		case client.Closed:
			h.closed = e.Err
		}
		close(h.changed)
		h.changed = make(chan struct{})
		h.mu.Unlock()
	}
}

// jobWhere waits for a job like that and returns the newest, with the time it
// came.
func (h *hand) jobWhere(within time.Duration, what string, is func(j client.Notify, came time.Time) bool) (client.Notify, time.Time) {
	h.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		h.mu.Lock()
		for i, j := range slices.Backward(h.jobs) {
			if at := h.came[i]; is(j, at) {
				h.mu.Unlock()
				return j, at
			}
		}
		changed, closed := h.changed, h.closed
		h.mu.Unlock()
		if closed != nil {
			h.t.Fatalf("connection closed while waiting for a job %s: %v", what, closed)
		}
		select {
		case <-changed:
		case <-deadline.C:
			h.t.Fatalf("no job %s within %v", what, within)
		}
	}
}

// job is the newest job.
func (h *hand) job() client.Notify {
	h.t.Helper()
	j, _ := h.jobWhere(patience, "at all", func(client.Notify, time.Time) bool { return true })
	return j
}

// jobOn waits for a job on top of a block, by its hash as displayed.
func (h *hand) jobOn(within time.Duration, parent string) (client.Notify, time.Time) {
	h.t.Helper()
	return h.jobWhere(within, "on "+parent, func(j client.Notify, _ time.Time) bool { return display(j.PrevHash) == parent })
}

// jobSince waits for a job that came later.
func (h *hand) jobSince(within time.Duration, since time.Time) (client.Notify, time.Time) {
	h.t.Helper()
	return h.jobWhere(within, "after that", func(_ client.Notify, came time.Time) bool { return came.After(since) })
}

// ended is why the connection has ended, nil if it has not.
func (h *hand) ended() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// connected fails the test if the connection was lost.
func (h *hand) connected() {
	h.t.Helper()
	if err := h.ended(); err != nil {
		h.t.Errorf("the miner's connection was closed: %v", err)
	}
}

// solution is a share and the hash of its header, as displayed.
type solution struct {
	client.Share
	job      client.Notify
	hash     string
	achieved float64 // difficulty
}

// solve finds a share of a job that meets a target, and is no block where blocks are
// rarer than that.
func (h *hand) solve(j client.Notify, target difficulty.Target) solution {
	h.t.Helper()
	s := solution{job: j}
	s.NTime, s.Extranonce2 = j.NTime, make([]byte, j.Extranonce.Extranonce2Len)
	h.nonce2++
	var digits [8]byte
	binary.LittleEndian.PutUint64(digits[:], h.nonce2)
	copy(s.Extranonce2, digits[:])
	var search miner.Search
	h.hasher.Start(&search, &j.Notify, j.Extranonce.Extranonce1, s.Extranonce2, j.Version)
	if _, found := h.hasher.Find(&search, &target, 1<<24); !found {
		h.t.Fatal("no share in 16 million hashes")
	}
	block, err := difficulty.TargetFromBits(j.Bits)
	if err != nil {
		h.t.Fatal(err)
	}
	if string(block[:]) < string(target[:]) && block.MetBy(&search.Hash) {
		return h.solve(j, target) // another, that is none
	}
	s.Nonce, s.hash, s.achieved = search.Nonce, display(search.Hash), difficulty.OfHash(&search.Hash)
	return s
}

// targetOf is what a share of a job must meet.
func targetOf(j client.Notify) difficulty.Target {
	return difficulty.TargetFromDifficulty(j.Difficulty)
}

// solveBlock finds a share that is a block.
func (h *hand) solveBlock(j client.Notify) solution {
	h.t.Helper()
	target, err := difficulty.TargetFromBits(j.Bits)
	if err != nil {
		h.t.Fatal(err)
	}
	if share := targetOf(j); string(share[:]) < string(target[:]) {
		target = share // for an answer of true that is credited
	}
	return h.solve(j, target)
}

// submit returns the pool's verdict, nil for true. The answer never waits for
// a node.
func (h *hand) submit(s solution) *stratum.Reject {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), quick)
	defer cancel()
	reject, err := s.job.Submit(ctx, s.Share)
	if err != nil {
		h.t.Fatalf("submit: %v", err)
	}
	return reject
}

// findBlock solves a block on the newest job, submits it and returns it.
func (h *hand) findBlock() solution {
	h.t.Helper()
	s := h.solveBlock(h.job())
	if reject := h.submit(s); reject != nil {
		h.t.Fatalf("block refused: %v", reject)
	}
	return s
}

// display is a hash as people see it.
func display(hash [32]byte) string {
	slices.Reverse(hash[:])
	return hex.EncodeToString(hash[:])
}

// crew is miners that mine by themselves until stop.
type crew struct {
	t      *testing.T
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	shares []miner.Share  // guarded by mu
	lost   []client.Event // guarded by mu; connections
}

// mine lets a miner work for each user, at so many hashes per second.
func (r *running) mine(t *testing.T, hashRate float64, users ...string) *crew {
	return r.mineSeeing(t, hashRate, func(string, client.Event) {}, users...)
}

// mineSeeing is mine with what each user's miner is sent.
func (r *running) mineSeeing(t *testing.T, hashRate float64, see func(user string, e client.Event), users ...string) *crew {
	ctx, cancel := context.WithCancel(t.Context())
	c := &crew{t: t, cancel: cancel}
	for _, user := range users {
		config := miner.Config{
			Endpoint: client.Endpoint{URL: r.addr, User: user, Password: "x"},
			Client:   client.Options{VersionMask: 0xffffffff, UserAgent: "e2e/1"},
			HashRate: hashRate,
			Drain:    patience, // the machine may be busy with other tests
			OnShare:  func(s miner.Share) { c.add(s) },
			OnEvent: func(e client.Event) {
				c.event(e)
				see(user, e)
			},
		}
		c.done.Go(func() { _ = miner.Run(ctx, config) }) // that it was told to end
	}
	t.Cleanup(c.stop)
	return c
}

func (c *crew) stop() {
	c.cancel()
	c.done.Wait()
}

func (c *crew) add(s miner.Share) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shares = append(c.shares, s)
}

func (c *crew) event(e client.Event) {
	if _, lost := e.(client.Failed); !lost {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = append(c.lost, e)
}

// all is the shares so far.
func (c *crew) all() []miner.Share {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.shares)
}

// undisturbed fails the test if a connection was lost or a share was not
// accepted, stale ones aside: work that the pool does not know is not stale.
func (c *crew) undisturbed() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.lost {
		c.t.Errorf("a miner lost its connection: %v", e)
	}
	for _, s := range c.shares {
		if s.Err != nil || s.Reject != nil && (s.Reject.Code != stratum.JobNotFound || s.Reject.Text != "Stale") {
			c.t.Errorf("share of job %s: %v, %v", s.Job.JobID, s.Reject, s.Err)
		}
	}
}
