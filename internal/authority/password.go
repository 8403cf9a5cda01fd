package authority

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/recent"
)

// maxCandidates bounds what one question costs.
const maxCandidates = 4

// candidates are the passwords that a miner may mean: what it sent, or a part of it
// where it sent options of difficulty along, as in "secret,d=500".
func candidates(sent string) []string {
	list := []string{sent}
	add := func(s string) {
		if s != "" && len(list) < maxCandidates && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	var rest []string
	for part := range strings.SplitSeq(sent, ",") {
		name, _, option := strings.Cut(strings.Trim(part, " \t"), "=")
		switch strings.ToLower(name) {
		case "d", "diff", "md":
			if option {
				continue
			}
		}
		rest = append(rest, part)
	}
	add(strings.Join(rest, ","))
	for _, part := range rest {
		add(strings.Trim(part, " \t"))
	}
	return list
}

// passwords checks those of accounts. What was found right or wrong once is
// remembered while it is asked for, so that a farm costs one computation, and a
// miner that tries again with what it has costs none and is no guess.
type passwords struct {
	key       [32]byte      // of digests; what is remembered is of no use elsewhere
	computing chan struct{} // full while as many are computed as may be
	accounts  Accounts

	mu    sync.Mutex
	known recent.Map[digest, bool] // guarded by mu
	aged  time.Time                // guarded by mu; when known last forgot
	// Who is over a limit, by source and account: until when it waits, and when that
	// was found. Guarded by mu.
	over  recent.Map[string, overLimit]
	gates map[string]*gate // guarded by mu; of those who are looked at or wait, likewise
}

// gate lets a few at a time try a password of an account from one source.
type gate struct {
	room  chan struct{}
	users int // who are in it or wait; guarded by passwords.mu
}

// together is how many that are. Each is counted before it is known to be right: as many as
// come at once when a farm connects anew would be over the limit.
const together = 3

type overLimit struct{ until, found time.Time }

// overTime is how long who is over a limit is refused without another look at what is
// stored: a flood of guesses costs little, and where a right password has made room
// again, that soon counts.
const overTime = time.Second

type digest [sha256.Size]byte

const (
	knownPasswords = 100_000
	knownTime      = time.Hour
	knownOver      = 10_000
)

func newPasswords(accounts Accounts) *passwords {
	p := &passwords{
		// Others on this machine, the pool among them, have the rest. It is fewer than may be
		// wrong of a source.
		computing: make(chan struct{}, min(max(runtime.GOMAXPROCS(0)/2, 1), 64)),
		accounts:  accounts,
		known:     recent.New[digest, bool](knownPasswords),
		over:      recent.New[string, overLimit](knownOver),
		gates:     map[string]*gate{},
	}
	rand.Read(p.key[:])
	return p
}

// check tells whether the password of a question is the account's. wait is how long
// its source must wait before it may try another one, 0 if it was looked at.
func (p *passwords) check(ctx context.Context, q *Question, hash string) (right bool, wait time.Duration, err error) {
	if hash == "" {
		return true, 0, nil
	}
	h, err := credentials.ParseHash(hash)
	if err != nil {
		return false, 0, err
	}
	d := p.digest(q.User, hash, q.Password)
	if right, known := p.remembered(d); known {
		return right, 0, nil
	}
	limits := credentials.PasswordLimits(q.User, q.Remote)
	if wait := p.waits(limits[0].Key); wait > 0 {
		return false, wait, nil
	}
	leave, err := p.enter(ctx, limits[0].Key)
	if err != nil {
		return false, 0, err
	}
	defer leave()
	if right, known := p.remembered(d); known { // by one that was before this
		return right, 0, nil
	}
	if wait := p.waits(limits[0].Key); wait > 0 { // likewise
		return false, wait, nil
	}
	// Tries are counted no faster than passwords can be computed, which bounds what is
	// kept of them.
	select {
	case p.computing <- struct{}{}:
		defer func() { <-p.computing }()
	case <-ctx.Done():
		return false, 0, ctx.Err()
	}
	if wait := p.waits(limits[0].Key); wait > 0 {
		return false, wait, nil
	}
	// Counted before it is known to be one: many may come at once.
	if wait, err := p.accounts.AddTry(ctx, limits); err != nil || wait > 0 {
		p.isOver(limits[0].Key, wait)
		return false, wait, err
	}
	list := candidates(q.Password)
	if right = slices.ContainsFunc(list, h.Matches); right {
		if err := p.accounts.TakeBackTry(ctx, limits); err != nil {
			return false, 0, err
		}
	}
	for n := 2; n < len(list) && !right; n++ { // parts are guesses as well, beside the whole with options and without
		if _, err := p.accounts.AddTry(ctx, limits); err != nil {
			return false, 0, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Put(d, right)
	return right, 0, nil
}

// enter waits until few enough of a source and account are looked at, to be one of them until
// leave.
func (p *passwords) enter(ctx context.Context, who string) (leave func(), err error) {
	p.mu.Lock()
	g := p.gates[who]
	if g == nil {
		g = &gate{room: make(chan struct{}, together)}
		p.gates[who] = g
	}
	g.users++
	p.mu.Unlock()
	forget := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(p.gates, who)
		}
	}
	select {
	case g.room <- struct{}{}:
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
	return func() {
		<-g.room
		forget()
	}, nil
}

// waits is how long who was over a limit a moment ago must wait.
func (p *passwords) waits(who string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o, ok := p.over.Get(who); ok && time.Since(o.found) < overTime {
		return time.Until(o.until)
	}
	return 0
}

func (p *passwords) isOver(who string, wait time.Duration) {
	if wait <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.over.Put(who, overLimit{now.Add(wait), now})
}

func (p *passwords) digest(parts ...string) (d digest) {
	m := hmac.New(sha256.New, p.key[:])
	for _, s := range parts {
		fmt.Fprintf(m, "%d:%s", len(s), s)
	}
	m.Sum(d[:0])
	return d
}

func (p *passwords) remembered(d digest) (right, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.aged) >= knownTime {
		p.known.Age()
		p.aged = now
	}
	if right, known = p.known.Get(d); known {
		p.known.Put(d, right)
	}
	return right, known
}

func retryIn(wait time.Duration) string {
	return fmt.Sprintf("retry in %.0f s", math.Ceil(wait.Seconds()))
}
