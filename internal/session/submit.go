package session

import (
	"encoding/binary"

	"ckpool/difficulty"
	"ckpool/internal/netserver"
	"ckpool/stratum"
)

// onSubmit answers mining.submit. Nothing here allocates.
func (q request) onSubmit() *stratum.Reject {
	if !q.s.is(subscribed) {
		q.reject(q.msg.ID, &rejectNotSubscribed)
		return nil
	}
	sub := &q.submit
	if r := sub.Parse(q.msg.Params, q.b.Settings().Extranonce2Len, q.scratch[:0]); r != nil {
		q.reject(q.msg.ID, r)
		q.ladder(true)
		return nil
	}
	login := q.findLogin(sub.Worker)
	now := q.seconds()
	sh := &q.share
	*sh = Share{
		Time: q.t.Now(), Loop: q.loop, Client: q.s.client, Submit: sub,
		Extranonce1: q.s.extranonce1Bytes(), Payout: q.payout(), Profile: q.s.profile,
		Remote: q.t.Remote(q.slot), Listener: int(q.s.listener), UserAgent: q.agents.get(q.s.agent),
	}
	if login != 0 {
		sh.Worker = q.logins.at(login).value.worker
	}
	q.judge(sh, now)
	if login == 0 {
		// A block is taken from anybody, credit is not.
		sh.Reject = &rejectWorker
		if !q.s.is(authorised) {
			sh.Reject = &rejectNotAuthorised
		}
	}
	if sh.Computed != nil && sh.Computed.Block {
		q.b.Block(sh)
	}
	if sh.Worker != 0 {
		q.account(sh, now)
	}
	if sh.Reject != nil {
		q.reject(q.msg.ID, sh.Reject)
	} else {
		q.accept(q.msg.ID)
	}
	q.ladder(sh.Reject != nil)
	if sh.Reject == nil {
		q.retarget(sh, now)
	}
	return nil
}

// judge computes the share and fills in the verdict.
func (q request) judge(sh *Share, now float64) {
	w := q.b.Work()
	sub := sh.Submit
	sh.Current = w.Job
	sh.Difficulty = q.s.sent()
	found := Found{}
	if !sub.JobIDBad {
		found = q.b.Find(sub.JobID)
	}
	// Without a sent difficulty the miner never had a job; without a payout in
	// solo mode its coinbase is unknown.
	if found.Job == nil || q.s.sent() == 0 || q.b.Settings().Solo && sh.Payout == nil {
		sh.Reject = &rejectJob
		return
	}
	job := found.Job
	accept, credit := q.client.judge(sub.JobID, sub.Suffix, now)
	sh.Job, sh.Difficulty = job, credit

	mask := q.jobMask(job.Mask)
	if now < float64(q.s.maskUntil) {
		mask |= q.s.oldMask & job.Mask
	}
	sh.Mask = mask
	var bits uint32
	if sub.HasVersionBits {
		bits = sub.VersionBits
	}
	// The header is hashed with whatever bits were sent: a block is a block.
	job.Hash(&q.computed, sh.Profile, sh.Payout, sh.Extranonce1, sub, mask|bits)
	sh.Computed = &q.computed

	switch {
	case found.Tip != w.Tip:
		sh.Reject = &rejectStale
	case sub.NTime < job.NTimeMin || sub.NTime > job.NTimeMax:
		sh.Reject = &rejectNTime
	case bits&^mask != 0:
		sh.Reject = &rejectMask
	case !difficulty.Meets(&q.computed.Hash, accept) && !q.computed.Block:
		sh.Reject = &rejectAboveTarget
	case !q.first(now - q.t.Now().Sub(w.Job.Created).Seconds()):
		sh.Reject = &rejectDuplicate
	case difficulty.Meets(&q.computed.Hash, credit):
		sh.Credit = credit
	}
}

// first records the computed share and reports false when the session, here or
// on a loop it was on before, has already been credited for it. published is
// when the newest job was: as long as none comes the old ones stay, and what
// was found on them must be remembered.
func (q request) first(published float64) bool {
	fp := binary.LittleEndian.Uint64(q.computed.Hash[:])
	if q.s.loops != 1<<(q.loop%64) {
		for i, other := range q.g.seen {
			if i != q.loop && q.s.loops>>(i%64)&1 != 0 && other.has(fp) {
				return false
			}
		}
	}
	return q.seen.add(fp, published)
}

// account tells the backend and keeps the session's own figures.
func (q request) account(sh *Share, now float64) {
	best := q.b.Share(sh)
	if sh.Reject != nil {
		return
	}
	q.s.lastShare, q.s.refusals = moment(now), 0
	q.s.rates.add(sh.Credit, now)
	q.s.best = max(q.s.best, sh.Computed.Difficulty)
	if best != BestNone && q.showsMessages() {
		q.showMessage(bestText(best, sh.Computed.Difficulty))
	}
}

// retarget lets vardiff look at an accepted share.
func (q request) retarget(sh *Share, now float64) {
	d := q.s.vardiff.Share(now, sh.Credit, q.s.sent(), q.limits())
	if d.Difficulty <= 0 {
		return
	}
	if d.Urgent && d.Difficulty > q.s.sent() {
		q.s.flags |= flooded
	}
	q.s.want = d.Difficulty
	if d.Urgent {
		q.changeNow()
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
func (c client) ladder(bad bool) {
	if !bad {
		c.s.firstInvalid, c.s.invalid = 0, 0
		return
	}
	now := c.seconds()
	if c.s.firstInvalid == 0 {
		c.s.firstInvalid = moment(now)
		return
	}
	switch past := c.s.firstInvalid.since(now); {
	case past > ladderDrop && c.s.invalid < 3:
		c.s.invalid = 3
		c.messageIfShown("Disconnecting for continuous invalid shares")
		c.t.Close(c.slot, netserver.Invalid)
	case past > ladderReconnect && c.s.invalid < 2:
		c.s.invalid = 2
		c.messageIfShown("Reconnecting for continuous invalid shares")
		c.write(stratum.AppendReconnect(c.out[:0], "", ""))
	case past > ladderResend && c.s.invalid == 0:
		c.s.invalid = 1
		if c.s.job != 0 {
			c.s.tip = 0 // clean
			c.sendWork()
		}
	}
}
