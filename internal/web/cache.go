package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/recent"
)

// fresh is how long an answer is given again: however many ask, it is made once.
const fresh = time.Second

// maxAnswers is how many answers are kept, and maxAnswerBytes how much of them.
const (
	maxAnswers     = 4000
	maxAnswerBytes = 64 << 20
)

// answer is a body that many readers are given.
type answer struct {
	made   time.Time
	status int
	kind   string // Content-Type
	body   []byte
	tag    string // ETag
}

// cache keeps answers for a moment. Each is made by one who asks, while others who ask
// for the same wait.
type cache struct {
	mu      sync.Mutex
	answers recent.Map[string, *answer] // guarded by mu
	size    int                         // guarded by mu; of the answers put since they were last forgotten, in bytes
	making  map[string]chan struct{}    // guarded by mu; closed when it is made
}

func newCache() *cache {
	return &cache{answers: recent.New[string, *answer](maxAnswers), making: make(map[string]chan struct{})}
}

// get is the answer of a key, which make makes if there is no fresh one. The error is
// that of ctx, or of make.
func (c *cache) get(ctx context.Context, key string, make func() (*answer, error)) (*answer, error) {
	for {
		a, wait, mine := c.look(key)
		if a != nil {
			return a, nil
		}
		if mine {
			return c.made(key, make)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// made makes an answer, and tells who waits for it even where making it panics.
func (c *cache) made(key string, make func() (*answer, error)) (a *answer, err error) {
	defer func() { c.put(key, a) }()
	return make()
}

// look finds a fresh answer, or whom to wait for, or makes it the caller's to make.
func (c *cache) look(key string) (a *answer, wait chan struct{}, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.answers.Get(key); ok && time.Since(a.made) < fresh {
		return a, nil, false
	}
	if wait, ok := c.making[key]; ok {
		return nil, wait, false
	}
	c.making[key] = make(chan struct{})
	return nil, nil, true
}

// put keeps an answer, nil if there is none, and tells who waits.
func (c *cache) put(key string, a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a != nil {
		if c.size += len(a.body); c.size > maxAnswerBytes {
			c.answers = recent.New[string, *answer](maxAnswers)
			c.size = len(a.body)
		}
		c.answers.Put(key, a)
	}
	close(c.making[key])
	delete(c.making, key)
}

// seal gives an answer its tag and its time.
func seal(status int, kind string, body []byte) *answer {
	sum := sha256.Sum256(body)
	return &answer{made: time.Now(), status: status, kind: kind, body: body, tag: `"` + hex.EncodeToString(sum[:12]) + `"`}
}
