package session

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
)

const (
	// maxUnjudged is how many shares of a loop may wait for another pool.
	maxUnjudged = 1 << 14
	// judgeTime is how long one waits, in seconds: a Judge has 30, and says so itself.
	judgeTime = 32
	// maxVerdictText is how much of what another pool says is passed on, in bytes.
	maxVerdictText = 200
	// maxWaitingID is the largest id of a message that is kept for the answer, in bytes.
	maxWaitingID = 256
)

// unjudgedShares are the shares of a loop that another pool is to judge: their miners
// hear what that says, and so do the sinks.
type unjudgedShares struct {
	byNumber map[uint64]*unjudged
	byClient map[uint64]int // how many
	unused   []*unjudged
	order    fifo[waitingSince] // the oldest first; those that were judged meanwhile are skipped
	last     uint64             // number, in its lower 48 bits; begins anywhere, since shares of another process go on
	leaving  map[uint64]*leaving

	unresolved []unresolved // of another process, until Resume

	arrived map[uint64]source.Verdict // by number, of those in decided; made for records
	waiting map[uint64][]waitingSince // by client, the oldest first; likewise

	// For Step.
	decided fifo[judged]
	due     bool // shares may have waited for too long
}

// unjudged is one share that waits.
type unjudged struct {
	number uint64
	slot   netserver.Slot
	id     []byte // of the message, as it is to be answered
	worker string // as the miner spelt it
	share  Share
}

type waitingSince struct {
	number uint64
	at     moment
}

// leaving is what a client that has ended still holds until its shares are judged.
type leaving struct {
	shares  int
	workers []WorkerID
	agent   string
}

// judged is a verdict on its way to the loop.
type judged struct {
	client, number uint64
	verdict        source.Verdict
}

// verdicts is where other goroutines leave them.
type verdicts struct {
	mu   sync.Mutex
	list []judged // guarded by mu
}

func newUnjudgedShares() unjudgedShares {
	return unjudgedShares{byNumber: map[uint64]*unjudged{}, byClient: map[uint64]int{}, leaving: map[uint64]*leaving{}, last: randomUint64()}
}

// Verdict implements source.Finder: it brings a verdict to the loop that has the share.
func (g *Group) Verdict(client, share uint64, v source.Verdict) {
	loop := int(share>>48) % g.loops
	if moved := g.moved.Load(); moved != nil { // from another process, whose loops were others
		if to, ok := (*moved)[share]; ok {
			loop = to
		}
	}
	h := g.handlers[loop]
	b := &h.verdicts
	b.mu.Lock()
	first := len(b.list) == 0
	b.list = append(b.list, judged{client, share, v})
	b.mu.Unlock()
	if first {
		h.t.Post(h.takeVerdicts)
	}
}

// collectVerdicts leaves what has come to Step.
func (h *Handler) collectVerdicts() {
	b := &h.verdicts
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.list {
		h.unjudged.decided.push(d)
	}
	b.list = b.list[:0]
}

// stepVerdicts answers the next shares that have their verdicts.
func (h *Handler) stepVerdicts() {
	u := &h.unjudged
	for range min(u.decided.len(), stepSize) {
		d := *u.decided.front()
		u.decided.pop()
		if k := u.byNumber[d.number]; k != nil && k.share.Client == d.client {
			h.conclude(k, d.verdict)
		}
	}
}

// goesUp tells that a share is for another pool to judge: it meets what that takes, and
// nothing here speaks against it. That it is stale the pool decides as well, as far as
// it still has the job; and of what is a block it hears in any case but twice.
func (s *Share) goesUp() bool {
	if s.Upstream == nil || !s.Hashed {
		return false
	}
	if (s.Version^s.Job.Template.Version)&^s.Upstream.VersionMask != 0 {
		return false // that pool cannot make the header
	}
	if s.Reason != Accepted && s.Reason != Stale {
		return s.Computed.Block && s.Reason != Duplicate
	}
	return s.Computed.Block || difficulty.Meets(&s.Computed.Hash, s.Upstream.Difficulty)
}

// sendUp has the pool above judge a share, and keeps it meanwhile; false: it is judged
// here alone.
func (q request) sendUp(sh *Share, login uint32) bool {
	u := &q.unjudged
	asked := sh.Reason == Accepted || sh.Reason == Stale
	if asked && (len(u.byNumber) >= maxUnjudged || len(q.msg.ID) > maxWaitingID) {
		return q.unsent(sh)
	}
	var k *unjudged
	worker := ""
	if login != 0 {
		worker = q.logins.at(login).value.name
	}
	f := &q.found
	*f = source.Found{
		Upstream: sh.Upstream, Worker: worker, Finder: q.g, Client: sh.Client,
		NTime: sh.NTime, Nonce: sh.Nonce, VersionBits: sh.Version & sh.Upstream.VersionMask, HasVersionBits: sh.Upstream.VersionMask != 0,
		Difficulty: sh.Computed.Difficulty, Block: sh.Computed.Block, Stale: sh.Reason == Stale,
	}
	m, solution := sh.Miner(), sh.Solution()
	f.Extranonce2Len = len(sh.Job.AppendGivenExtranonce(f.Extranonce2[:0], &m, &solution))
	if asked {
		u.last = (u.last + 1) & (1<<48 - 1)
		f.Share = uint64(q.loop)<<48 | u.last
	}
	if sh.Upstream.Judge == nil || !sh.Upstream.Judge.Submit(f) {
		return asked && q.unsent(sh)
	}
	if !asked { // whatever the pool says, the miner hears what is wrong with it
		return false
	}
	if n := len(u.unused); n > 0 {
		k, u.unused = u.unused[n-1], u.unused[:n-1]
	} else {
		k = &unjudged{}
	}
	k.number, k.slot, k.worker, k.share = f.Share, q.slot, worker, *sh
	k.id = append(k.id[:0], q.msg.ID...)
	if q.msg.ID == nil {
		k.id = nil
	}
	u.keep(k, moment(q.seconds()))
	return true
}

// keep remembers a share until it is judged.
func (u *unjudgedShares) keep(k *unjudged, since moment) {
	u.byNumber[k.number] = k
	u.byClient[k.share.Client]++
	u.order.push(waitingSince{k.number, since})
}

// forget is for one that is judged.
func (u *unjudgedShares) forget(k *unjudged) {
	delete(u.byNumber, k.number)
	client := k.share.Client
	if u.byClient[client]--; u.byClient[client] == 0 {
		delete(u.byClient, client)
	}
}

// unsent is for a share that could not go up.
func (q request) unsent(sh *Share) bool {
	if sh.Reason == Accepted {
		sh.Reason, sh.Credit = Unanswered, 0
	}
	return false
}

// conclude gives a share what the pool above says of it.
func (h *Handler) conclude(k *unjudged, v source.Verdict) {
	u := &h.unjudged
	u.forget(k)
	sh := &k.share
	sh.WentUp, sh.Above, sh.AboveDifficulty, sh.Here = true, v.State, v.Difficulty, sh.Reason
	stale := sh.Reason == Stale
	switch {
	case v.State == source.AcceptedAbove, v.State == source.NotSent && !stale:
		sh.Reason, sh.Credit = Accepted, 0
		if difficulty.Meets(&sh.Computed.Hash, sh.Difficulty) {
			sh.Credit = sh.Difficulty
		}
	case v.State == source.RefusedAbove:
		sh.Reason, sh.Credit = Refused, 0
		sh.Format = refusal(v)
	case v.State == source.Unanswered:
		sh.Reason, sh.Credit = Unanswered, 0
		if v.TimedOut {
			sh.Format = timedOut
		}
	}
	q := h.request(k.slot)
	if q.s.client == sh.Client {
		h.submit = stratum.Submit{Worker: append(h.scratch[:0], k.worker...)}
		q.answer(sh, k.id, q.seconds())
	} else {
		for _, s := range h.b.Sinks {
			s.Share(sh)
		}
		h.letGo(sh.Client)
	}
	id := k.id
	*k = unjudged{id: id[:0]}
	u.unused = append(u.unused, k)
}

// timedOut is what a miner hears of a share that another pool does not answer.
var timedOut = &stratum.Reject{Code: stratum.Other, Text: "Timed out: no answer from upstream"}

// refusal is what a miner hears of another pool's.
func refusal(v source.Verdict) *stratum.Reject {
	r := *Refused.Reject()
	if v.Code > 0 {
		r.Code = stratum.Code(v.Code)
	}
	if v.Text != "" {
		r.Text = strings.ToValidUTF8(v.Text[:min(len(v.Text), maxVerdictText)], "")
	}
	return &r
}

// stepExpire gives up shares that have waited for too long: the pool has said nothing.
func (h *Handler) stepExpire() {
	u := &h.unjudged
	now := h.seconds()
	for n, looked := 0, 0; n < stepSize && looked < workPart; looked++ {
		if u.order.len() == 0 {
			u.due = false
			return
		}
		w := *u.order.front()
		if k := u.byNumber[w.number]; k != nil {
			if w.at.since(now) <= judgeTime {
				u.due = false
				return
			}
			v := source.Verdict{State: source.Unanswered, TimedOut: true}
			if u := k.share.Upstream; u != nil { // else it is of another process, whose job is not known
				v.Difficulty = u.Difficulty
			}
			h.conclude(k, v)
			n++
		}
		u.order.pop()
	}
}

// leave keeps the workers of a client that ends until its shares are judged; false: none
// are to be.
func (c client) leave() bool {
	if c.b.Sources == nil || len(c.unjudged.byNumber) == 0 {
		return false
	}
	n := c.unjudged.byClient[c.s.client]
	if n == 0 {
		return false
	}
	l := &leaving{shares: n, agent: c.agents.get(c.s.agent)}
	for i := range c.allLogins() {
		l.workers = append(l.workers, c.logins.get(i).worker)
		c.logins.release(i)
	}
	c.unjudged.leaving[c.s.client] = l
	delete(c.extra, c.slot)
	c.s.login = 0
	return true
}

// letGo is for a share of a client that has ended: with the last one it holds nothing
// any more.
func (h *Handler) letGo(client uint64) {
	l := h.unjudged.leaving[client]
	if l == nil {
		return
	}
	if l.shares--; l.shares > 0 {
		return
	}
	delete(h.unjudged.leaving, client)
	for _, w := range l.workers {
		h.b.Workers.Detach(w, client, l.agent)
	}
}

// arrive makes ready for records, as the loop stands still: all are looked through once, and
// not for each client.
func (u *unjudgedShares) arrive() {
	u.arrived = make(map[uint64]source.Verdict, u.decided.len())
	for _, d := range u.decided.list[u.decided.begun:] {
		u.arrived[d.number] = d.verdict
	}
	u.waiting = make(map[uint64][]waitingSince, len(u.byClient))
	for _, w := range u.order.list[u.order.begun:] {
		if k := u.byNumber[w.number]; k != nil {
			u.waiting[k.share.Client] = append(u.waiting[k.share.Client], w)
		}
	}
}

// records are the shares of a client that wait, for another process, after arrive.
func (u *unjudgedShares) records(client uint64) (list []unjudgedRecord) {
	for _, w := range u.waiting[client] {
		k := u.byNumber[w.number]
		sh := &k.share
		verdict, decided := u.arrived[k.number]
		list = append(list, unjudgedRecord{
			number: k.number, since: w.at, id: k.id, worker: k.worker, job: sh.Job.ID, time: sh.Time.UnixNano(),
			extranonce1: sh.Extranonce1, extranonce2: sh.Extranonce2, mask: sh.Mask, variant: sh.Variant,
			ntime: sh.NTime, nonce: sh.Nonce, version: sh.Version, difficulty: sh.Difficulty, stale: sh.Reason == Stale,
			decided: decided, verdict: verdict,
		})
	}
	return list
}

// adopt goes on with a share of another process, whose job is not known yet.
func (c client) adopt(r *unjudgedRecord) {
	sh := Share{
		Loop: c.loop, Client: c.s.client, Remote: c.t.Remote(c.slot), Listener: int(c.s.listener), UserAgent: c.agents.get(c.s.agent), Limit: int(c.s.limit),
	}
	if login := c.findLogin([]byte(r.worker)); login != 0 {
		sh.Worker = c.logins.at(login).value.worker
	}
	c.unjudged.adopt(r, c.slot, sh)
}

// adopt completes a share of another process and keeps it.
func (u *unjudgedShares) adopt(r *unjudgedRecord, slot netserver.Slot, sh Share) {
	sh.Time, sh.Extranonce1, sh.Mask, sh.Variant, sh.Extranonce2 = time.Unix(0, r.time), r.extranonce1, r.mask, r.variant, r.extranonce2
	sh.NTime, sh.Nonce, sh.Version, sh.Difficulty = r.ntime, r.nonce, r.version, r.difficulty
	if r.stale {
		sh.Reason = Stale
	}
	u.keep(&unjudged{number: r.number, slot: slot, id: bytes.Clone(r.id), worker: r.worker, share: sh}, r.since)
	u.unresolved = append(u.unresolved, unresolved{r.number, r.job, r.decided, r.verdict})
}

// unresolved is a share of another process, by its number, with the id of its job, and
// with its verdict if there is one.
type unresolved struct {
	number, job uint64
	decided     bool
	verdict     source.Verdict
}

// resumeSources goes on with what sessions of another process had of several sources,
// now that jobs are known. What was to be judged is computed again.
func (h *Handler) resumeSources() {
	if h.b.Sources == nil {
		return
	}
	for slot := range h.top {
		s := h.session(slot)
		if s.client != 0 && s.id != 0 && s.source != 0 {
			h.b.Sources.Opened(s.source)
		}
		if s.client != 0 && s.login != 0 {
			h.b.Sources.Return(h.logins.get(s.login).user.Name)
		}
	}
	u := &h.unjudged
	slices.SortFunc(u.order.list, func(a, b waitingSince) int { return cmp.Compare(a.at, b.at) })
	elsewhere := map[uint64]int{}
	for _, r := range u.unresolved {
		k := u.byNumber[r.number]
		sh := &k.share
		if w := h.b.Jobs.Newest(); w != nil {
			sh.Current = w.Job
		}
		w := h.b.Jobs.Find(r.job)
		known := w != nil && w.Upstream != nil
		switch {
		case known && r.decided:
			u.decided.push(judged{sh.Client, k.number, r.verdict})
		case !known || w.Upstream.Judge == nil: // nobody is there to say anything
			u.decided.push(judged{sh.Client, k.number, source.Verdict{State: source.Unanswered}})
		}
		if !known {
			continue
		}
		sh.Job, sh.Upstream, sh.Hashed = w.Job, w.Upstream, true
		m, solution := sh.Miner(), sh.Solution()
		w.Job.Hash(&sh.Computed, &m, &solution)
		if int(r.number>>48)%h.g.loops != h.loop {
			elsewhere[r.number] = h.loop
		}
	}
	u.unresolved = nil
	if len(elsewhere) > 0 {
		if before := h.g.moved.Load(); before != nil { // loops are resumed one after the other
			maps.Copy(elsewhere, *before)
		}
		h.g.moved.Store(&elsewhere)
	}
}
