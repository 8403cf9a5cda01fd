package session

import (
	"time"

	"ckpool/internal/netserver"
	"ckpool/stratum"
)

const (
	silence   = 31 // seconds without a word after which the job is sent again
	idleTime  = 60 // seconds without a share that count as idle
	maxSuffix = 255
)

// sendWork sends the newest job, with the wanted difficulty before it if that
// is not what the miner has. The job the miner already has goes out under a
// fresh wire id.
func (h *Handler) sendWork(slot netserver.Slot, s *session) {
	w := h.b.Work()
	if w == nil {
		return
	}
	suffix := uint8(0)
	if s.job == w.Job.ID {
		if s.suffix == maxSuffix {
			return // the next job brings it
		}
		suffix = s.suffix + 1
	}
	if s.is(maskSent) {
		h.sendMask(slot, s)
	}
	// What is still unsent is replaced; what it said must be said again.
	dropped := h.t.DropWork(slot)
	clean := s.tip != w.Tip || dropped&tagClean != 0
	now := h.seconds()
	out := h.out[:0]
	var tag uint8
	if clean {
		tag = tagClean
	}
	if s.want != s.sent() || dropped&tagDifficulty != 0 {
		tag |= tagDifficulty
		out = stratum.AppendSetDifficulty(out, s.want)
		if s.want != s.sent() {
			if s.changesLen > 0 {
				s.vardiff.Changed(now)
				if s.is(authorised) {
					s.lastChange = now
				}
			}
			s.record(s.want, w.Job.ID, suffix, now)
		}
	}
	payout := h.payout(s)
	switch {
	case len(out) == 0 && suffix == 0 && payout == nil:
		h.t.WriteWork(slot, w.Job.Notify(s.profile, clean), tag)
	default:
		out = w.Job.AppendNotify(out, s.profile, payout, suffix, clean)
		h.t.WriteWork(slot, out, tag)
		h.out = out[:0]
	}
	s.flags &^= deferred
	s.job, s.tip, s.suffix, s.lastSent = w.Job.ID, w.Tip, suffix, now
}

// payout is the script of a solo miner's coinbase, nil in pool mode.
func (h *Handler) payout(s *session) []byte {
	if s.login == 0 {
		return nil
	}
	return h.logins.rows[s.login-1].value.payout
}

// receives reports whether the session gets jobs.
func (h *Handler) receives(s *session) bool {
	return s.is(subscribed) && s.job != 0
}

// Step implements netserver.Handler: it brings new work to the next clients.
func (h *Handler) Step() (more bool) {
	w := h.b.Work()
	if w == nil {
		return false
	}
	if w != h.work {
		if h.work == nil || w.Tip != h.work.Tip {
			h.seen.reset(h.seconds())
		}
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
		s := h.session(h.cursor)
		if s.client == 0 || s.job == w.Job.ID || !h.receives(s) {
			continue
		}
		h.sendWork(h.cursor, s)
		n++
	}
	h.walking = h.cursor < h.top
	return h.walking
}

// releaseHeld handles the lines that waited for the first work.
func (h *Handler) releaseHeld() {
	for slot, lines := range h.held {
		delete(h.held, slot)
		s := h.session(slot)
		client := s.client
		s.flags &^= holding
		for len(lines) > 0 && s.client == client {
			n := 0
			for lines[n] != '\n' {
				n++
			}
			h.dispatch(slot, s, lines[:n])
			lines = lines[n+1:]
		}
	}
}

// Tick implements netserver.Handler: time limits, the idle rule, silence.
func (h *Handler) Tick(time.Time) {
	set := h.b.Settings()
	now := h.seconds()
	haveWork := h.b.Work() != nil
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		s := h.session(slot)
		if s.client == 0 {
			continue
		}
		if !s.is(authorised) {
			// Waiting for work is not being unauthorised.
			if s.is(holding) || !haveWork {
				s.start = now
			} else if now-s.start > set.UnauthTimeout.Seconds() {
				h.t.Close(slot, netserver.UnauthorizedTimeout)
			}
			continue
		}
		h.tickAuthorised(slot, s, set, now)
	}
}

func (h *Handler) tickAuthorised(slot netserver.Slot, s *session, set *Settings, now float64) {
	quiet := now - max(s.lastShare, s.start)
	if set.DropIdle > 0 && quiet > set.DropIdle.Seconds() {
		h.t.Close(slot, netserver.Idle)
		return
	}
	if quiet > idleTime && now-s.rates.last >= idleTime {
		s.rates.decay(now)
	}
	if !h.receives(s) {
		return
	}
	if d := s.vardiff.Idle(now, s.sent(), h.limits(s)); d.Difficulty > 0 {
		s.want = d.Difficulty
		h.changeNow(slot, s, false)
	}
	switch {
	case s.want != s.sent() && s.is(deferred):
		h.changeNow(slot, s, false)
	case now-s.lastSent >= silence:
		h.sendWork(slot, s)
	}
}
