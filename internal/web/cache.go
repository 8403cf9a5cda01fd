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

// freshFigures is how long answers are made of the same figures, so that one that differs
// in a word, such as what is searched for, costs no look at the pool of its own.
const freshFigures = 300 * time.Millisecond

// maxAnswers is how many answers are kept, and maxAnswerBytes how much of them, with what
// was asked; maxFigures is how many users and workers are.
const (
	maxAnswers     = 4000
	maxAnswerBytes = 64 << 20
	maxFigures     = 100_000
)

// answer is a body that many readers are given.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
	tag    string // ETag
}

// cache keeps values for a moment. Each is made by one who asks, while others who ask
// for the same wait.
type cache[T any] struct {
	// immutable
	fresh time.Duration
	most  int                           // of the sizes together
	size  func(key string, value T) int // of a value, at least 1

	mu     sync.Mutex
	values recent.Map[string, kept[T]] // guarded by mu
	sizes  int                         // guarded by mu; of the values put since they were last forgotten
	making map[string]chan struct{}    // guarded by mu; closed when it is made
}

type kept[T any] struct {
	made  time.Time
	value T
}

func newCache[T any](fresh time.Duration, most int, size func(string, T) int) *cache[T] {
	return &cache[T]{fresh: fresh, most: most, size: size, values: recent.New[string, kept[T]](maxAnswers), making: make(map[string]chan struct{})}
}

// get is the value of a key, which make makes if there is no fresh one. The error is
// that of ctx, or of make.
func (c *cache[T]) get(ctx context.Context, key string, make func() (T, error)) (T, error) {
	for {
		v, ok, wait := c.look(key)
		if ok {
			return v, nil
		}
		if wait == nil {
			return c.make(key, make)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

// make makes a value, and tells who waits for it even where making it panics.
func (c *cache[T]) make(key string, make func() (T, error)) (v T, err error) {
	made := false
	defer func() { c.put(key, v, made && err == nil) }()
	v, err = make()
	made = true
	return v, err
}

// look finds a fresh value, or whom to wait for; nil: it is the caller's to make.
func (c *cache[T]) look(key string) (v T, ok bool, wait chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.values.Get(key); ok && time.Since(k.made) < c.fresh {
		return k.value, true, nil
	}
	if wait, ok := c.making[key]; ok {
		return v, false, wait
	}
	c.making[key] = make(chan struct{})
	return v, false, nil
}

// put keeps a value, if there is one, and tells who waits.
func (c *cache[T]) put(key string, v T, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		if c.sizes += c.size(key, v); c.sizes > c.most {
			c.values = recent.New[string, kept[T]](maxAnswers)
			c.sizes = c.size(key, v)
		}
		c.values.Put(key, kept[T]{time.Now(), v})
	}
	close(c.making[key])
	delete(c.making, key)
}

// seal gives an answer its tag.
func seal(status int, kind string, body []byte) *answer {
	sum := sha256.Sum256(body)
	return &answer{status: status, kind: kind, body: body, tag: `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// What making answers may cost, whoever asks for how many: one is made at a time, in a
// part of all time of one core, after a first while without limit.
const (
	makingPart  = 4 // one of so many
	makingFirst = 2 * time.Second
	makingTime  = 5 * time.Second // of one answer
)

// turns lets answers be made one after another.
type turns struct {
	turn chan struct{} // capacity 1; holds one while an answer is made
	paid time.Time     // until when what was used is paid for; of who has the turn
}

func newTurns() *turns { return &turns{turn: make(chan struct{}, 1)} }

// take waits for a turn, which the caller then has until it calls done. The error is that
// of ctx.
func (t *turns) take(ctx context.Context) (done func(), err error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if owed := time.Until(t.paid.Add(-makingPart * makingFirst)); owed > 0 {
		wait := time.NewTimer(owed)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			<-t.turn
			return nil, ctx.Err()
		}
	}
	began := time.Now()
	return func() {
		now := time.Now()
		if t.paid.Before(began) {
			t.paid = began
		}
		t.paid = t.paid.Add(makingPart * now.Sub(began))
		<-t.turn
	}, nil
}
