package session

import (
	"time"

	"ckpool/internal/netserver"
	"ckpool/stratum"
	"ckpool/work"
)

const (
	silence   = 31 // seconds without a word after which the job is sent again
	idleTime  = 60 // seconds without a share that count as idle
	maxSuffix = 255
)

// sendWork sends the newest job, with the wanted difficulty before it if that
// is not what the miner has. The job the miner already has goes out under a
// fresh wire id and with a later time: much firmware ignores an id it knows, and
// begins anew with every other, which would find the same shares again.
func (c client) sendWork() {
	w := c.b.Work()
	if w == nil {
		return
	}
	suffix, later, again := uint8(0), uint32(0), false
	if c.s.job == w.Job.ID {
		again = true
	} else if c.s.is(resumed) { // it had this job on its last connection
		again = true
		c.s.later++
		c.s.flags &^= resumed
	}
	if again {
		var ok bool
		if suffix, ok = c.g.registry.announce(c.s.id, w.Job.ID); !ok {
			return // the next job brings it
		}
		later = c.laterTime(w.Job)
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
	difficulty := c.s.sent()
	change := c.s.want != difficulty && (difficulty == 0 || c.mayChange(now, w))
	if change {
		difficulty = c.s.want
	}
	if change || dropped&tagDifficulty != 0 {
		tag |= tagDifficulty
		out = stratum.AppendSetDifficulty(out, difficulty)
	}
	if change {
		c.changed(w, suffix, now)
	}
	payout := c.payout()
	switch {
	case len(out) == 0 && suffix == 0 && payout == nil:
		c.t.WriteWork(c.slot, w.Job.Notify(c.s.profile, clean), tag)
	default:
		out = w.Job.AppendNotify(out, c.s.profile, payout, work.Announcement{
			Suffix: suffix, Extranonce1: c.s.extranonce1Bytes(), Later: later, Clean: clean,
		})
		c.t.WriteWork(c.slot, out, tag)
		c.out = out[:0]
	}
	c.s.job, c.s.tip, c.s.lastSent = w.Job.ID, w.Tip, moment(now)
	c.s.later = later
}

// laterTime is how many seconds after the job's time it is announced again:
// more than have passed, and than the last time.
func (c client) laterTime(j *work.Job) uint32 {
	passed := uint32(max(c.t.Now().Sub(j.Created)/time.Second, 0))
	return min(max(passed+1, c.s.later+1), j.NTimeMax-j.Template.CurTime)
}

// mayChange keeps changes of a difficulty apart. Out of a flood of shares it
// goes up at once. While as many changes as can be remembered are still needed
// there is no further one.
func (c client) mayChange(now float64, w *Work) bool {
	if c.s.is(hasEarlier) && c.earlier[c.slot].full(w.Oldest) {
		return false
	}
	return c.s.lastChange == 0 || c.s.lastChange.since(now) >= changePause || c.s.is(flooded)
}

// changed notes that the wanted difficulty goes out with the newest job.
func (c client) changed(w *Work, suffix uint8, now float64) {
	if c.s.sent() != 0 {
		c.g.Log.difficulty(c)
		c.s.vardiff.Changed(now)
		if c.s.is(authorised) {
			c.s.lastChange = moment(now)
		}
	}
	c.record(change{c.s.want, now, w.Job.ID, suffix}, w.Oldest)
	c.s.flags &^= deferred | flooded
}

// payout is the script of a solo miner's coinbase, nil in pool mode.
func (c client) payout() []byte {
	if c.s.login == 0 {
		return nil
	}
	return c.logins.at(c.s.login).value.payout
}

// receives reports whether the session gets jobs.
func (c client) receives() bool {
	return c.s.is(subscribed) && c.s.job != 0
}

// Step implements netserver.Handler: it brings new work to the next clients, or
// else the job again to those that were sent nothing for long.
func (h *Handler) Step() (more bool) {
	w := h.b.Work()
	if w == nil {
		return false
	}
	return h.stepWork(w) || h.stepDue()
}

func (h *Handler) stepWork(w *Work) (more bool) {
	if w != h.work {
		h.g.follow(h.loop, w)
		first := h.work == nil
		h.work, h.cursor, h.walking = w, 0, true
		if first {
			h.releaseHeld()
		}
	}
	if !h.walking {
		return false
	}
	for n := 0; n < stepSize && h.cursor < h.top; h.cursor++ {
		c := h.client(h.cursor)
		if c.s.client == 0 || c.s.job == w.Job.ID || !c.receives() {
			continue
		}
		c.sendWork()
		n++
	}
	h.walking = h.cursor < h.top
	return h.walking
}

// stepDue sends the job again to the next of those Tick has marked. Their
// list may name a slot that is another's by now, which is not marked.
func (h *Handler) stepDue() (more bool) {
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
	return h.dueList != nil
}

// releaseHeld handles the lines that waited for the first work.
func (h *Handler) releaseHeld() {
	for slot, lines := range h.held {
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
		}
	}
}

// Tick implements netserver.Handler: time limits, the idle rule, silence.
func (h *Handler) Tick(time.Time) {
	set := h.b.Settings()
	now := h.seconds()
	h.closeTold(now)
	haveWork := h.b.Work() != nil
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		s := h.session(slot)
		if s.client == 0 {
			continue
		}
		if !s.is(authorised) {
			// Waiting for work is not being unauthorised.
			if s.is(holding) || !haveWork {
				s.start = moment(now)
			} else if s.start.since(now) > set.UnauthTimeout.Seconds() {
				h.t.Close(slot, netserver.UnauthorizedTimeout)
			}
			continue
		}
		h.client(slot).tickAuthorised(set, now)
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
	w := c.b.Work()
	if c.s.is(hasEarlier) && w != nil && c.s.present.job < w.Oldest {
		c.forgetEarlier()
	}
	if !c.receives() {
		return
	}
	if d := c.s.vardiff.Idle(now, c.s.sent(), c.limits()); d.Difficulty > 0 {
		c.s.want = d.Difficulty
		c.s.flags |= deferred
	}
	if c.s.want != c.s.sent() && c.s.is(deferred) && c.mayChange(now, w) || c.s.lastSent.since(now) >= silence {
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
