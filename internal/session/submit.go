package session

import (
	"encoding/binary"

	"ckpool/difficulty"
	"ckpool/internal/netserver"
	"ckpool/stratum"
)

// onSubmit answers mining.submit. Nothing here allocates.
func (h *Handler) onSubmit(slot netserver.Slot, s *session) *stratum.Reject {
	if !s.is(subscribed) {
		h.reject(slot, h.msg.ID, &rejectNotSubscribed)
		return nil
	}
	sub := &h.submit
	if r := sub.Parse(h.msg.Params, h.b.Settings().Extranonce2Len, h.scratch[:0]); r != nil {
		h.reject(slot, h.msg.ID, r)
		h.ladder(slot, s, true)
		return nil
	}
	login := h.findLogin(slot, s, sub.Worker)
	now := h.seconds()
	sh := &h.share
	*sh = Share{
		Time: h.t.Now(), Loop: h.loop, Client: s.client, Submit: sub,
		Extranonce1: s.extranonce1Bytes(), Payout: h.payout(s), Profile: s.profile,
		Remote: h.t.Remote(slot), Listener: int(s.listener), UserAgent: h.agents.get(s.agent),
	}
	if login != 0 {
		sh.Worker = h.logins.rows[login-1].value.worker
	}
	h.judge(s, sh, now)
	if login == 0 {
		// A block is taken from anybody, credit is not.
		sh.Reject = &rejectWorker
		if !s.is(authorised) {
			sh.Reject = &rejectNotAuthorised
		}
	}
	if sh.Computed != nil && sh.Computed.Block {
		h.b.Block(sh)
	}
	if sh.Worker != 0 {
		h.account(slot, s, sh, now)
	}
	if sh.Reject != nil {
		h.reject(slot, h.msg.ID, sh.Reject)
	} else {
		h.accept(slot, h.msg.ID)
	}
	h.ladder(slot, s, sh.Reject != nil)
	if sh.Reject == nil {
		h.retarget(slot, s, sh, now)
	}
	return nil
}

// judge computes the share and fills in the verdict.
func (h *Handler) judge(s *session, sh *Share, now float64) {
	w := h.b.Work()
	sub := sh.Submit
	sh.Current = w.Job
	sh.Difficulty = s.sent()
	found := Found{}
	if !sub.JobIDBad {
		found = h.b.Find(sub.JobID)
	}
	// Without a sent difficulty the miner never had a job; without a payout in
	// solo mode its coinbase is unknown.
	if found.Job == nil || s.changesLen == 0 || h.b.Settings().Solo && sh.Payout == nil {
		sh.Reject = &rejectJob
		return
	}
	job := found.Job
	accept, credit := s.judge(sub.JobID, sub.Suffix, now)
	sh.Job, sh.Difficulty = job, credit

	mask := h.jobMask(s, job.Mask)
	if now < s.maskUntil {
		mask |= s.oldMask & job.Mask
	}
	sh.Mask = mask
	var bits uint32
	if sub.HasVersionBits {
		bits = sub.VersionBits
	}
	// The header is hashed with whatever bits were sent: a block is a block.
	job.Hash(&h.computed, sh.Profile, sh.Payout, sh.Extranonce1, sub, mask|bits)
	sh.Computed = &h.computed

	switch {
	case found.Tip != w.Tip:
		sh.Reject = &rejectStale
	case sub.NTime < job.NTimeMin || sub.NTime > job.NTimeMax:
		sh.Reject = &rejectNTime
	case bits&^mask != 0:
		sh.Reject = &rejectMask
	case !difficulty.Meets(&h.computed.Hash, accept) && !h.computed.Block:
		sh.Reject = &rejectAboveTarget
	case !h.first(s, now):
		sh.Reject = &rejectDuplicate
	case difficulty.Meets(&h.computed.Hash, credit):
		sh.Credit = credit
	}
}

// first records the computed share and reports false when the session, here or
// on a loop it was on before, has already been credited for it.
func (h *Handler) first(s *session, now float64) bool {
	fp := binary.LittleEndian.Uint64(h.computed.Hash[:])
	if s.loops != 1<<(h.loop%64) {
		for i, other := range h.g.seen {
			if i != h.loop && s.loops>>(i%64)&1 != 0 && other.has(fp) {
				return false
			}
		}
	}
	return h.seen.add(fp, now)
}

// account tells the backend and keeps the session's own figures.
func (h *Handler) account(slot netserver.Slot, s *session, sh *Share, now float64) {
	best := h.b.Share(sh)
	if sh.Reject != nil {
		return
	}
	s.lastShare = now
	s.rates.add(sh.Credit, now)
	s.best = max(s.best, sh.Computed.Difficulty)
	if best != BestNone && h.showsMessages(s) {
		h.showMessage(slot, bestText(best, sh.Computed.Difficulty))
	}
}

// retarget lets vardiff look at an accepted share.
func (h *Handler) retarget(slot netserver.Slot, s *session, sh *Share, now float64) {
	d := s.vardiff.Share(now, sh.Credit, s.sent(), h.limits(s))
	if d.Difficulty <= 0 {
		return
	}
	s.want = d.Difficulty
	if d.Urgent {
		h.changeNow(slot, s, true)
	}
}

// Steps of the ladder for connections whose shares are all bad: seconds since
// the first, and what is tried.
const (
	ladderResend    = 60
	ladderReconnect = 120
	ladderDrop      = 180
)

// ladder follows continuous bad shares: new work, then client.reconnect, then a
// close. One good share starts it anew.
func (h *Handler) ladder(slot netserver.Slot, s *session, bad bool) {
	if !bad {
		s.firstInvalid, s.invalid = 0, 0
		return
	}
	now := h.seconds()
	if s.firstInvalid == 0 {
		s.firstInvalid = now
		return
	}
	switch past := now - s.firstInvalid; {
	case past > ladderDrop && s.invalid < 3:
		s.invalid = 3
		h.messageIfShown(slot, s, "Disconnecting for continuous invalid shares")
		h.t.Close(slot, netserver.Invalid)
	case past > ladderReconnect && s.invalid < 2:
		s.invalid = 2
		h.messageIfShown(slot, s, "Reconnecting for continuous invalid shares")
		h.write(slot, stratum.AppendReconnect(h.out[:0], "", ""))
	case past > ladderResend && s.invalid == 0:
		s.invalid = 1
		if s.job != 0 {
			s.tip = 0 // clean
			h.sendWork(slot, s)
		}
	}
}
