package session

import (
	"math"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

const (
	silence   = 31 // seconds without a word after which the job is sent again
	idleTime  = 60 // seconds without a share that count as idle
	maxSuffix = 255
)

// RenewAfter is the age at which a job is replaced even if no node has given a
// template. A session can have a job announced again maxSuffix times: changes of
// difficulty use them up in twice this age, silence in six times.
const RenewAfter = maxSuffix / 2 * changePause * time.Second

// unknowable is from how many bytes of extranonce1 on nobody gets one that he has chosen,
// however often he tries while a job counts.
const unknowable = 4

// sendWork sends the newest job, with the wanted difficulty before it if that
// is not what the miner has. The job the miner already has goes out under a
// fresh wire id and with a later time: much firmware ignores an id it knows, and
// begins anew with every other, which would find the same shares again.
func (c client) sendWork() {
	w := c.work()
	if w == nil {
		return
	}
	suffix, later, again := uint8(0), uint16(0), false
	if c.s.job == w.Job.ID {
		again = true
	} else if c.s.is(resumed) { // it had this job on its last connection
		again = true
		c.s.later++
		c.s.flags &^= resumed
	}
	most := uint8(w.Job.Variants() - 1)
	if again {
		var ok bool
		if suffix, ok = c.g.registry.announce(c.s.id, w.Job.ID, most); !ok {
			c.s.job = w.Job.ID // no announcement of it is left: the next job brings what is new
			return
		}
		later = c.laterTime(w.Job)
	} else if c.s.job == 0 && c.s.extranonce1Len < unknowable && most > 0 {
		// Its miner may have tried until it got the extranonce1 that it has hashes with.
		suffix, _ = c.g.registry.announce(c.s.id, w.Job.ID, most)
	}
	c.s.flags &^= due
	if c.s.is(maskSent) {
		c.sendMask()
	}
	// What is still unsent is replaced; what it said must be said again.
	dropped := c.t.DropWork(c.slot)
	clean := c.s.tip != w.Tip || dropped&tagClean != 0
	now := c.seconds()
	out := c.out[:0]
	if c.s.sent() == 0 { // the network's difficulty may not have been known
		c.s.want = c.clamp(c.s.want)
	}
	var tag uint8
	if clean {
		tag = tagClean
	}
	difficulty, wanted := c.s.sent(), c.wanted(w)
	change := wanted != difficulty && (difficulty == 0 || c.mayChange(now, w))
	if change {
		difficulty = wanted
	}
	if change || dropped&tagDifficulty != 0 {
		tag |= tagDifficulty
		out = stratum.AppendSetDifficulty(out, difficulty)
	}
	if change {
		c.changed(w, wanted, suffix, now)
	}
	m := c.miner()
	switch {
	case len(out) == 0 && suffix == 0 && m.Payout == nil:
		c.t.WriteShared(c.slot, w.shared(m.Limit, clean), tag)
	default:
		out = w.appendLine(out, &m, announcement{suffix, uint32(later), clean})
		c.t.WriteWork(c.slot, out, tag)
		c.out = out[:0]
	}
	c.s.job, c.s.tip, c.s.lastSent = w.Job.ID, w.Tip, moment(now)
	c.s.later = later
}

// laterTime is how many seconds after the job's time it is announced again:
// more than have passed, and than the last time.
func (c client) laterTime(j *work.Job) uint16 {
	passed := uint32(max(c.t.Now().Sub(j.Created)/time.Second, 0))
	later := min(max(passed+1, uint32(c.s.later)+1), j.NTimeMax-j.Template.CurTime)
	return uint16(min(later, math.MaxUint16))
}

// work is the newest of the client's source, nil where that has none.
func (c client) work() *Work { return c.b.Jobs.Work(c.s.source) }

// wanted is the difficulty that the miner is to have with work: what it shall have, as
// far as its shares would go up to the pool that the work is of.
func (c client) wanted(w *Work) float64 {
	if w == nil || w.Upstream == nil {
		return c.s.want
	}
	return difficulty.Limits{Max: w.most()}.Clamp(c.s.want)
}

// mayChange keeps changes of a difficulty apart. Out of a flood of shares it
// goes up at once, and down from where shares are lost. While as many changes as can be
// remembered are still needed there is no further one.
func (c client) mayChange(now float64, w *Work) bool {
	if w == nil || c.s.is(hasEarlier) && c.earlier[c.slot].full(w.Oldest) {
		return false
	}
	if most := w.most(); most > 0 && c.s.sent() > most {
		return true
	}
	return c.s.lastChange == 0 || c.s.lastChange.since(now) >= changePause || c.s.is(flooded)
}

// changed notes that another difficulty goes out with the newest job.
func (c client) changed(w *Work, to float64, suffix uint8, now float64) {
	if c.s.sent() != 0 {
		c.g.Log.difficulty(c, to)
		c.s.vardiff.Changed(now)
		if c.s.is(authorised) {
			c.s.lastChange = moment(now)
			if c.b.Witness != nil {
				c.b.Witness.Difficulty(c.event(c.logins.get(c.s.login).worker), to, w.Job.ID)
			}
		}
	}
	c.record(change{to, w.Job.ID, moment(now), suffix}, w.Oldest)
	c.s.flags &^= deferred | flooded
}

// miner is what of the client is in its coinbase. It aliases the session.
func (c client) miner() work.Miner {
	return work.Miner{Limit: int(c.s.limit), Payout: c.payout(), Extranonce1: c.s.extranonce1Bytes()}
}

// payout is the script of a solo miner's coinbase, nil in pool mode.
func (c client) payout() []byte {
	if c.s.login == 0 {
		return nil
	}
	return c.logins.at(c.s.login).value.user.Payout
}

// receives reports whether the session gets jobs.
func (c client) receives() bool {
	return c.s.is(subscribed) && c.s.job != 0
}

// Step implements netserver.Handler: it does a part of what is to be done to many
// clients. New work comes first, then lines that waited for a verdict or for work,
// and then the job again to those that were sent nothing for long.
func (h *Handler) Step() (more bool) {
	w := h.b.Jobs.Newest()
	switch {
	case w != nil && h.stepWork(w):
	case h.unjudged.decided.len() > 0:
		h.stepVerdicts()
	case w != nil && len(h.undecided.decided) > 0:
		h.stepDecided()
	case w != nil && len(h.heldList) > 0 && (h.b.Sources == nil || h.heldTurn > 0):
		h.stepHeld()
	case w != nil && len(h.dueList) > 0:
		h.stepDue()
	case h.unjudged.due:
		h.stepExpire()
	case len(h.walks) > 0:
		h.stepWalks()
	case h.ticking.underway:
		h.stepTick()
	default:
		return false
	}
	return true
}

// stepWork brings new work to the next clients; it is false when all have what is new
// of their sources. Work that comes meanwhile is brought to all from there on: with
// many sources it may always do.
func (h *Handler) stepWork(w *Work) bool {
	if w != h.work {
		h.g.follow(h.loop, w)
		h.work, h.left = w, h.top
		h.heldTurn = len(h.heldList)
	}
	if h.left == 0 {
		return false
	}
	n := 0
	for looked := 0; n < stepSize && looked < workPart && h.left > 0; looked++ {
		if h.cursor >= h.top {
			h.cursor = 0
		}
		c := h.client(h.cursor)
		h.cursor++
		h.left--
		if m, waits := h.moves[c.slot]; waits {
			c.move(m.to, m.ask)
		}
		if c.s.client == 0 || c.s.job == w.Job.ID || !c.receives() {
			continue
		}
		if c.s.source != w.Source() {
			if own := c.work(); own == nil || own.Job.ID == c.s.job {
				continue
			}
		}
		c.sendWork()
		if w.Tip == w.Job.ID && c.s.source == w.Source() {
			c.t.Notified(w.Job.Created)
		}
		n++
	}
	return true
}

// workPart is how many places a Step looks at for clients that need new work.
const workPart = 1024

// stepDue sends the job again to the next of those Tick has marked. Their
// list may name a slot that is another's by now, which is not marked.
func (h *Handler) stepDue() {
	n := min(len(h.dueList), stepSize)
	for _, slot := range h.dueList[:n] {
		c := h.client(slot)
		if c.s.is(due) && c.receives() {
			c.sendWork()
		}
		c.s.flags &^= due // also when the job cannot be announced again
	}
	if h.dueList = h.dueList[n:]; len(h.dueList) == 0 {
		h.dueList = nil
	}
}

// stepHeld handles lines that waited for work, those of at most stepSize
// clients and about as much as one may have.
func (h *Handler) stepHeld() {
	n, size := 0, 0
	for n < min(len(h.heldList), stepSize) && size < maxHeld {
		size += h.releaseHeld(h.heldList[n])
		n++
	}
	h.heldTurn = max(h.heldTurn-n, 0)
	if h.heldList = h.heldList[n:]; len(h.heldList) == 0 {
		h.heldList = nil
	}
}

// releaseHeld handles the lines of a client that waited for work and returns
// how many bytes they were, 0 when there are none any more.
func (h *Handler) releaseHeld(slot netserver.Slot) int {
	lines := h.held[slot]
	size := len(lines)
	delete(h.held, slot)
	q := h.request(slot)
	client := q.s.client
	q.s.flags &^= holding
	for len(lines) > 0 && q.s.client == client {
		n := 0
		for lines[n] != '\n' {
			n++
		}
		q.dispatch(lines[:n])
		lines = lines[n+1:]
		if q.s.is(holding) && q.s.client == client { // it still has no place
			h.held[slot] = append(h.held[slot], lines...)
			break
		}
	}
	return size
}

// tickWalk is a walk over all sessions that Tick has begun.
type tickWalk struct {
	underway  bool
	next      netserver.Slot
	idle      int // of those before next, as are the next
	noRolling int
	connected [maxListeners]int64 // by listener
}

// Tick implements netserver.Handler: time limits, the idle rule, silence. Step
// does it, unless it has not done with the tick before.
func (h *Handler) Tick(time.Time) {
	h.ticking.underway = true
	h.heldTurn = len(h.heldList)
	h.unjudged.due = h.unjudged.order.len() > 0
}

func (h *Handler) stepTick() {
	set := h.b.Settings()
	now := h.seconds()
	haveWork := h.b.Jobs.Newest() != nil
	t := &h.ticking
	for end := min(t.next+walkPart, h.top); t.next < end; t.next++ {
		s := h.session(t.next)
		if s.client == 0 {
			continue
		}
		t.connected[s.listener]++
		switch {
		case s.toldToGo != 0 && s.toldToGo.since(now) > reconnectTime:
			h.t.Close(t.next, netserver.Dropped)
		case s.is(authorised):
			if max(s.lastShare, s.start).since(now) > idleTime {
				t.idle++
			}
			if s.is(noRolling) {
				t.noRolling++
			}
			h.client(t.next).tickAuthorised(set, now)
		case !haveWork || s.is(holding) && h.b.Sources == nil: // waiting for work is not being unauthorised
			s.start = moment(now)
		case s.start.since(now) > set.UnauthTimeout.Seconds():
			h.t.Close(t.next, netserver.UnauthorizedTimeout)
		}
	}
	if t.next >= h.top {
		h.idle, h.noRolling = t.idle, t.noRolling
		for i, n := range t.connected {
			h.connected[i].Store(n)
		}
		*t = tickWalk{}
	}
}

func (c client) tickAuthorised(set *Settings, now float64) {
	quiet := max(c.s.lastShare, c.s.start).since(now)
	if set.DropIdle > 0 && quiet > set.DropIdle.Seconds() {
		c.t.Close(c.slot, netserver.Idle)
		return
	}
	if quiet > idleTime && now-c.s.rates.last >= idleTime {
		c.s.rates.decay(now)
	}
	w := c.work()
	if c.s.is(hasEarlier) && c.s.sent() != 0 && w != nil && c.s.present.job < w.Oldest {
		c.forgetEarlier()
		c.g.registry.forgetEarlier(c.s.id, c.s.client)
	}
	if c.s.is(hasFormer) {
		c.forgetFormer()
	}
	if !c.receives() {
		return
	}
	if d := c.s.vardiff.Idle(now, c.s.sent(), c.vardiffLimits()); d.Difficulty > 0 {
		c.s.want = d.Difficulty
		c.s.flags |= deferred
	}
	if c.wanted(w) != c.s.sent() && c.s.is(deferred) && c.mayChange(now, w) || c.s.lastSent.since(now) >= silence {
		c.mark()
	}
}

// mark leaves it to Step to send the job again: after a quiet time all miners
// may be due at once.
func (c client) mark() {
	if !c.s.is(due) {
		c.s.flags |= due
		c.dueList = append(c.dueList, c.slot)
	}
}
