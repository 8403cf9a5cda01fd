package upstream

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// job is a job of a pool as it was given on: each of its updates has one, as its Judge.
// Immutable.
type job struct {
	line      *line
	notify    client.Notify
	announced float64 // the difficulty that was in force when the pool sent it
	upstream  source.Upstream
}

// Submit implements source.Judge.
func (j *job) Submit(f *source.Found) bool { return j.line.submit(f, j.announced) }

// submit has a share judged of a job that was sent at a difficulty.
func (l *line) submit(f *source.Found, announced float64) bool {
	u := f.Upstream
	q := l.question(announced)
	if !q.worthSending(f.Difficulty) && !f.Block {
		l.ledger.notSent(u.Difficulty)
		f.Finder.Verdict(f.Client, f.Share, source.Verdict{State: source.NotSent})
		return true
	}
	share := client.Share{
		Worker:      l.worker(f.Worker),
		Extranonce2: bytes.Clone(f.Extranonce2[:f.Extranonce2Len]),
		NTime:       f.NTime, Nonce: f.Nonce,
		// A miner that does not roll has them cleared as well, where the pool lets them be
		// rolled: it may have set some.
		VersionBits: f.VersionBits, HasVersionBits: f.HasVersionBits || u.VersionMask != 0,
	}
	sent := flight{finder: f.Finder, client: f.Client, share: f.Share, credit: q.credit(), direction: q.direction, between: q.between}
	l.ledger.sent()
	if err := l.client.Load().Send(u.JobID, share, l.answer(&sent, q)); err != nil {
		q.giveBack()
		l.ledger.notTaken() // a Sink counts what becomes of it
		return false
	}
	return true
}

// answer takes the pool's answer to a share. q is nil for one that is no longer asked
// anything but what its flight has.
func (l *line) answer(f *flight, q *question) func(client.Verdict) {
	if q == nil {
		q = &question{habits: &l.pool.habits, direction: f.direction, between: f.between}
	}
	return func(v client.Verdict) {
		if errors.Is(v.Err, client.ErrMoving) {
			q.giveBack()
			f.id = v.ID
			l.mu.Lock()
			l.flights = append(l.flights, *f)
			l.mu.Unlock()
			return
		}
		verdict := source.Verdict{State: source.AcceptedAbove}
		switch {
		case v.Err != nil:
			verdict = source.Verdict{State: source.Unanswered, TimedOut: errors.Is(v.Err, client.ErrUnanswered)}
		case v.Reject != nil:
			verdict = source.Verdict{State: source.RefusedAbove, Code: int(v.Reject.Code), Text: v.Reject.Text}
		}
		verdict.Difficulty = f.credit
		l.take(answer{f, q, verdict, v.Took})
	}
}

// answer is what a pool has said to a share.
type answer struct {
	flight   *flight
	question *question
	verdict  source.Verdict
	took     time.Duration
}

// answers are those of a connection on their way to figures and finders. While it is not
// known which process the shares are of they are kept back: another process has the shares as
// unanswered, and one that only figures or only the finder had of an answer would differ.
type answers struct {
	mu   sync.Mutex // held while one is told
	kept bool
	late []answer // came meanwhile
}

// take tells an answer, or keeps it back.
func (l *line) take(a answer) {
	l.answers.mu.Lock()
	defer l.answers.mu.Unlock()
	if l.answers.kept {
		l.answers.late = append(l.answers.late, a)
		return
	}
	l.tell(a)
}

// keepAnswers keeps back what comes from now on.
func (l *line) keepAnswers() {
	l.answers.mu.Lock()
	l.answers.kept = true
	l.answers.mu.Unlock()
}

// tellAnswers tells what was kept back, and what comes from now on.
func (l *line) tellAnswers() {
	l.answers.mu.Lock()
	defer l.answers.mu.Unlock()
	for _, a := range l.answers.late {
		l.tell(a)
	}
	l.answers.kept, l.answers.late = false, nil
}

// tell tells an answer to figures and finder.
func (l *line) tell(a answer) {
	f := a.flight
	a.question.learn(a.verdict)
	l.ledger.verdict(f.credit, a.verdict, a.took)
	l.pool.judged(f.client, a.verdict)
	finder := f.finder
	if finder == nil {
		finder = l.pool.options.Finder
	}
	finder.Verdict(f.client, f.share, a.verdict)
}

// Pools judge a share of a job that they sent before they changed their difficulty by
// the one or by the other. Which, they are asked by shares that meet the lower one
// alone: few at once, so that few are refused.
type habits struct {
	mu     sync.Mutex
	habits [2]habit // guarded by mu; by direction
}

// direction is that of a change of a difficulty.
type direction uint8

const (
	lowered direction = iota
	raised
)

type habit struct {
	known  bool
	lower  bool      // that which is lower suffices
	since  time.Time // when that was last found
	asking int       // shares under way to find it out
}

// age forgets a habit that is to be asked for again.
func (h *habit) age() {
	if h.known && !h.lower && time.Since(h.since) >= askAgain {
		h.known = false
	}
}

const (
	// mostAsking is how many shares may be refused to find a habit out.
	mostAsking = 4
	// askAgain is after what time a pool is asked again that wanted the higher one.
	askAgain = time.Hour
)

// question is what a share of a job asks, beside being good.
type question struct {
	habits           *habits
	announced, force float64 // difficulty that the job was sent with, and that is in force
	direction        direction
	between          bool // the share meets the lower one alone
	asks             bool // and is sent to find the habit out
	lowerSuffices    bool // as far as was known when the share was sent
}

// question is that of a share of a job which was sent at a difficulty.
func (l *line) question(announced float64) *question {
	q := &question{habits: &l.pool.habits, announced: announced, force: l.difficulty(), lowerSuffices: true}
	if q.force > announced {
		q.direction = raised
	}
	return q
}

// worthSending tells whether the pool may take a share of a difficulty.
func (q *question) worthSending(d float64) bool {
	low, high := min(q.announced, q.force), max(q.announced, q.force)
	if low == high {
		return d >= low
	}
	q.habits.mu.Lock()
	defer q.habits.mu.Unlock()
	h := &q.habits.habits[q.direction]
	h.age()
	q.lowerSuffices = !h.known || h.lower
	q.between = d >= low && d < high
	switch {
	case !q.between:
		return d >= high
	case h.known:
		return h.lower
	case h.asking >= mostAsking:
		return false
	}
	h.asking++
	q.asks = true
	return true
}

// credit is the difficulty that the pool owes for the share.
func (q *question) credit() float64 {
	if q.lowerSuffices {
		return min(q.announced, q.force)
	}
	return max(q.announced, q.force)
}

// giveBack tells that a share that asks was not sent.
func (q *question) giveBack() {
	if q.asks {
		q.habits.mu.Lock()
		q.habits.habits[q.direction].asking--
		q.habits.mu.Unlock()
	}
}

// learn takes the answer.
func (q *question) learn(v source.Verdict) {
	if !q.between {
		return
	}
	q.habits.mu.Lock()
	defer q.habits.mu.Unlock()
	h := &q.habits.habits[q.direction]
	if q.asks {
		h.asking--
	}
	switch {
	case v.State == source.AcceptedAbove:
		*h = habit{known: true, lower: true, since: time.Now(), asking: h.asking}
	case v.State == source.RefusedAbove && forDifficulty(v):
		*h = habit{known: true, lower: false, since: time.Now(), asking: h.asking}
	}
}

// forDifficulty tells whether a share was refused since its difficulty is too low.
func forDifficulty(v source.Verdict) bool {
	if v.Code == int(stratum.LowDifficulty) {
		return true
	}
	text := strings.ToLower(v.Text)
	return strings.Contains(text, "difficulty") || strings.Contains(text, "low diff") || strings.Contains(text, "above target")
}

// A pool that refuses everything, from several miners, counts as failed.
const (
	onlyRefusalsFor   = 150 * time.Second
	onlyRefusalsCount = 20
)

// refusals are those since the last accepted share.
type refusals struct {
	since   time.Time // of the first
	count   int
	miner   uint64 // whose the first was
	several bool   // others' were refused as well
}

// judged notes a verdict, and gives all connections up when the pool refuses all there
// is.
func (p *Pool) judged(miner uint64, v source.Verdict) {
	if v.State == source.Unanswered {
		return
	}
	p.mu.Lock()
	r := &p.refusals
	if v.State == source.AcceptedAbove {
		*r = refusals{}
		p.mu.Unlock()
		return
	}
	now := time.Now()
	if r.count == 0 {
		*r = refusals{since: now, miner: miner}
	}
	r.count++
	r.several = r.several || r.miner != miner
	failed := r.several && r.count >= onlyRefusalsCount && now.Sub(r.since) >= onlyRefusalsFor
	if failed {
		*r = refusals{}
	}
	p.mu.Unlock()
	if failed {
		p.endLines(&refusesError{v.Text})
	}
}

// refusesError is why a pool was given up that answers and accepts nothing.
type refusesError struct{ last string }

func (e *refusesError) Error() string {
	return "the pool has refused every share for " + onlyRefusalsFor.String() + ", the last as: " + e.last
}
