package authority

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"ckpool/internal/recent"
)

// Cost of a new hash: memory in KiB, passes, threads. About 20 ms and 19 MiB, the
// least that OWASP's cheat sheet on storing passwords gives for argon2id.
const (
	hashMemory  = 19 << 10
	hashPasses  = 2
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

// HashPassword makes what an [Account] keeps of a password: argon2id in the form
// "$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH" of the PHC string format.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > maxText {
		return "", fmt.Errorf("want a password of 1 to %d bytes", maxText)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, hashPasses, hashMemory, hashThreads, hashLength)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashPasses, hashThreads, b64(salt), b64(sum)), nil
}

// parsedHash is a hash of a password, as HashPassword or other software made it.
type parsedHash struct {
	memory, passes uint32
	threads        uint8
	salt, sum      []byte
}

// errHash says nothing of the hash: it may be in a log.
var errHash = errors.New("the account's password is kept in a form that is not known: set it again")

func parseHash(s string) (h parsedHash, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.threads); err != nil {
		return h, errHash
	}
	var saltErr, sumErr error
	h.salt, saltErr = base64.RawStdEncoding.DecodeString(parts[4])
	h.sum, sumErr = base64.RawStdEncoding.DecodeString(parts[5])
	const most = 1 << 20 // 1 GiB
	if saltErr != nil || sumErr != nil || h.memory < 8 || h.memory > most || h.passes < 1 || h.passes > 100 || h.threads < 1 || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errHash
	}
	return h, nil
}

func (h *parsedHash) matches(password string) bool {
	sum := argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

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
	guesses   guesses

	mu    sync.Mutex
	known recent.Map[digest, bool] // guarded by mu
	aged  time.Time                // guarded by mu; when known last forgot
}

type digest [sha256.Size]byte

const (
	knownPasswords = 100_000
	knownTime      = time.Hour
)

func newPasswords() *passwords {
	p := &passwords{
		// Others on this machine, the pool among them, have the rest.
		computing: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		guesses:   newGuesses(),
		known:     recent.New[digest, bool](knownPasswords),
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
	h, err := parseHash(hash)
	if err != nil {
		return false, 0, err
	}
	d := p.digest(q.User, hash, q.Password)
	if right, known := p.remembered(d); known {
		return right, 0, nil
	}
	// Counted before it is known to be one: many may come at once.
	now := time.Now()
	if wait := p.guesses.add(q.User, q.Remote, now); wait > 0 {
		return false, wait, nil
	}
	select {
	case p.computing <- struct{}{}:
	case <-ctx.Done():
		p.guesses.takeBack(q.User, q.Remote)
		return false, 0, ctx.Err()
	}
	right = slices.ContainsFunc(candidates(q.Password), h.matches)
	<-p.computing
	if right {
		p.guesses.takeBack(q.User, q.Remote)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Put(d, right)
	return right, 0, nil
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

// guesses counts wrong passwords of an account from a source, and of a source, so
// that neither can be guessed and nobody can lock the owner out from elsewhere.
type guesses struct {
	mu     sync.Mutex
	counts recent.Map[guess, count] // guarded by mu
	aged   time.Time                // guarded by mu
}

// guess is what is counted; without a user all of a source.
type guess struct {
	user string
	from netip.Prefix
}

type count struct {
	begun time.Time
	n     int
}

// Wrong passwords within guessTime.
const (
	guessTime   = 10 * time.Minute
	mostGuesses = 10  // of an account from a source
	mostOfAll   = 100 // of a source
	maxCounts   = 200_000
)

func newGuesses() guesses { return guesses{counts: recent.New[guess, count](maxCounts)} }

func (g *guesses) keys(user string, from netip.Addr) [2]guess {
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64 // who has one of its addresses has all
	}
	source, _ := from.Prefix(bits)
	return [2]guess{{user, source}, {"", source}}
}

// add counts a guess unless it is one too many: then it gives how long to wait.
func (g *guesses) add(user string, from netip.Addr, now time.Time) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.aged) >= guessTime {
		g.counts.Age()
		g.aged = now
	}
	keys := g.keys(user, from)
	var counts [2]count
	for i, most := range [2]int{mostGuesses, mostOfAll} {
		c, ok := g.counts.Get(keys[i])
		if !ok || now.Sub(c.begun) >= guessTime {
			c = count{begun: now}
		}
		if c.n >= most {
			wait = max(wait, c.begun.Add(guessTime).Sub(now))
		}
		c.n++
		counts[i] = c
	}
	if wait == 0 {
		for i, k := range keys {
			g.counts.Put(k, counts[i])
		}
	}
	return wait
}

func (g *guesses) takeBack(user string, from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.keys(user, from) {
		if c, ok := g.counts.Get(k); ok && c.n > 0 {
			c.n--
			g.counts.Put(k, c)
		}
	}
}

func retryIn(wait time.Duration) string {
	return fmt.Sprintf("retry in %.0f s", math.Ceil(wait.Seconds()))
}
