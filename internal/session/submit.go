package session

import (
	"encoding/binary"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// onSubmit answers mining.submit. Nothing here allocates.
func (q request) onSubmit() *stratum.Reject {
	sub, sh := &q.submit, &q.share
	*sh = Share{
		Time: q.t.Now(), Loop: q.loop, Client: q.s.client,
		Remote: q.t.Remote(q.slot), Listener: int(q.s.listener), UserAgent: q.agents.get(q.s.agent),
		Limit: int(q.s.limit), Payout: q.payout(), Extranonce1: MakeExtranonce(q.s.extranonce1Bytes()),
	}
	now := q.seconds()
	sh.Format = q.parseSubmit(sub)
	sh.Variant, sh.NTime, sh.Nonce = sub.Suffix, sub.NTime, sub.Nonce
	sh.Extranonce2 = MakeExtranonce(sub.Extranonce2[:sub.Extranonce2Len])
	login := q.findLogin(sub.Worker)
	if sh.Format != nil && login == 0 {
		login = q.s.login // whoever is meant, it came from here
	}
	if login != 0 {
		sh.Worker = q.logins.at(login).value.worker
	} else if u := q.undecided.find(q.slot, sub.Worker); u != nil && q.s.is(subscribed) && q.undecided.hold(u, q.line) {
		q.lookForBlock(sh, sub)
		return nil // judged when the login is decided
	}
	switch {
	case !q.s.is(subscribed):
		sh.Reason = NotSubscribed
	case sh.Format != nil:
		sh.Reason = Malformed
	default:
		q.judge(sh, sub, now)
		if login == 0 { // a block is taken from anybody, credit is not
			sh.Reason, sh.Credit = WorkerMismatch, 0
			if !q.s.is(authorised) {
				sh.Reason = Unauthorized
			}
		}
	}
	if sh.Computed.Block {
		q.b.Block(sh)
	}
	if sh.goesUp() && q.sendUp(sh, login) {
		return nil // answered with what the pool above says
	}
	q.answer(sh, q.msg.ID, now)
	q.t.Answered()
	return nil
}

// answer counts a judged submit, the one of a message with an id, and tells the miner.
func (q request) answer(sh *Share, id []byte, now float64) {
	q.account(sh, now)
	if r := sh.Reject(); r != nil {
		q.reject(id, r)
	} else {
		q.accept(id)
	}
	if sh.Reason != NotSubscribed && sh.Reason != Unanswered { // for which the miner can do nothing
		q.ladder(sh.Reason != Accepted)
	}
	if sh.Reason == Accepted {
		q.retarget(sh, now)
	}
}

// parseSubmit reads a submit, also one of a former source, whose extranonce2 may have
// another length.
func (q request) parseSubmit(sub *stratum.Submit) *stratum.Reject {
	r := sub.Parse(q.msg.Params, q.extranonce2Len(), q.scratch[:0])
	if r == nil || !q.s.is(hasFormer) {
		return r
	}
	for _, f := range q.former[q.slot] {
		if f.extranonce2Len != q.s.extranonce2Len && sub.Parse(q.msg.Params, int(f.extranonce2Len), q.scratch[:0]) == nil {
			return nil
		}
	}
	return sub.Parse(q.msg.Params, q.extranonce2Len(), q.scratch[:0])
}

// judge computes the share and fills in the verdict.
func (q request) judge(sh *Share, sub *stratum.Submit, now float64) {
	w := q.work()
	sh.Difficulty = q.s.sent()
	found, bits := q.hash(sh, sub, w, now)
	if found == nil {
		sh.Reason = UnknownJob
		return
	}
	job := found.Job
	accept, credit := q.difficultyOfJob(sub.JobID, sub.Suffix, now)
	sh.Difficulty = credit
	stale := q.stale(found, w) && !q.forgiven(found, w)
	switch {
	case !q.wasSent(sub.JobID, sub.Suffix):
		sh.Reason = UnknownJob
	case stale && found.Upstream == nil:
		sh.Reason = Stale
	case sub.NTime < job.NTimeMin || sub.NTime > job.NTimeMax:
		sh.Reason = NTimeRange
	case bits&^sh.Mask != 0:
		sh.Reason = VersionMask
	case !difficulty.Meets(&sh.Computed.Hash, accept) && !sh.Computed.Block:
		sh.Reason = AboveTarget
	default:
		if found.Upstream != nil { // of what sources there are, seen shares follow the newest
			w = q.b.Jobs.Newest()
		}
		if sh.Reason = q.repeated(sh, w); sh.Reason == Accepted && difficulty.Meets(&sh.Computed.Hash, credit) {
			sh.Credit = credit
		}
		if stale && sh.Reason == Accepted {
			sh.Reason, sh.Credit = Stale, 0
		}
	}
}

// stale tells that a job is not of the present tip of its source, where w is the newest
// work of the client's.
func (c client) stale(found, w *Work) bool {
	if found.Source() != c.s.source {
		w = c.b.Jobs.Work(found.Source())
	}
	return w == nil || found.Tip != w.Tip
}

// forgiven tells that a share of the tip before the present one is late by no fault of its
// miner: new work was still on its way to it. w is the newest work.
func (q request) forgiven(found, w *Work) bool {
	if q.Latency == nil || found.Upstream != nil || w == nil {
		return false
	}
	latency := q.Latency(q.slot)
	if latency <= 0 {
		return false
	}
	next, last := q.b.Jobs.Find(w.Tip), q.b.Jobs.Find(w.Tip-1)
	return next != nil && last != nil && last.Tip == found.Tip && q.t.Now().Sub(next.Job.Created) < latency
}

// hash computes the share on its job, which is nil where there is none to compute it
// on. bits are those of the version that the miner sent.
func (q request) hash(sh *Share, sub *stratum.Submit, w *Work, now float64) (found *Work, bits uint32) {
	if w == nil { // its source has ended
		w = q.b.Jobs.Newest()
	}
	sh.Current = w.Job
	if !sub.JobIDBad {
		found = q.b.Jobs.Find(sub.JobID)
	}
	// Without a sent difficulty the miner never had a job; without a payout in
	// solo mode its coinbase is unknown.
	if found == nil || q.s.sent() == 0 || q.b.Settings().Solo && sh.Payout == nil {
		return nil, 0
	}
	if found.Upstream != nil && !q.asSent(sh, found) {
		return nil, 0
	}
	job := found.Job
	mask := q.jobMask(job.Mask)
	if now < float64(q.s.maskUntil) {
		mask |= q.s.oldMask & job.Mask
	}
	sh.Job, sh.Upstream, sh.Mask, sh.Version = job, found.Upstream, mask, job.Version
	if sub.HasVersionBits {
		bits = sub.VersionBits
		sh.Version = rolled(job.Version, mask, bits)
	}
	m, solution := sh.Miner(), sh.Solution()
	job.Hash(&sh.Computed, &m, &solution)
	sh.Hashed = true
	return found, bits
}

// asSent gives the share the extranonce1 that the miner had when it was sent the job;
// false where it cannot have been sent it.
func (q request) asSent(sh *Share, w *Work) bool {
	if q.s.is(hasFormer) {
		if f := q.formerOf(w); f != nil {
			sh.Extranonce1 = f.extranonce1
			return int(sh.Extranonce2.length) == int(f.extranonce2Len)
		}
	}
	return w.Source() == q.s.source && int(sh.Extranonce2.length) == int(q.s.extranonce2Len)
}

// lookForBlock takes the block that a share may be which is judged later: a block
// waits for nobody.
func (q request) lookForBlock(sh *Share, sub *stratum.Submit) {
	if sh.Format != nil {
		return
	}
	if q.hash(sh, sub, q.work(), q.seconds()); sh.Computed.Block {
		q.b.Block(sh)
	}
}

// rolled is the version of a header whose miner sent bits: they replace those under
// the mask (BIP310). Others are in it as well, if any were sent: a block is a block.
func rolled(version, mask, bits uint32) uint32 { return version&^mask | bits }

// repeated remembers the computed share, and refuses it when the session, here
// or on a loop it was on before, may already have been credited for it.
func (q request) repeated(sh *Share, w *Work) Reason {
	job := sh.Job.ID
	fp := binary.LittleEndian.Uint64(sh.Computed.Hash[:])
	found := neverSeen
	if q.s.loops != 1<<(q.loop%64) || len(q.g.seen) > 64 { // of so many several have the same bit
		for i, other := range q.g.seen {
			if i != q.loop && q.s.loops>>(i%64)&1 != 0 && found == neverSeen {
				found = other.look(fp, job)
			}
		}
	}
	if found == neverSeen {
		found = q.seen.add(fp, job, q.s.client, w)
	}
	switch found {
	case alreadySeen:
		return Duplicate
	case maybeSeen: // the tip, or the session's connection, has changed at this very moment
		return Stale
	}
	return Accepted
}

// account tells the backend and keeps the session's own figures.
func (q request) account(sh *Share, now float64) {
	for _, s := range q.b.Sinks {
		s.Share(sh)
	}
	q.g.Log.share(q.client, sh)
	if sh.Reason != Accepted {
		q.s.rejected += 1 + sh.Also
		return
	}
	q.s.accepted++
	q.s.lastShare, q.s.refusals = moment(now), 0
	q.s.rates.add(sh.Credit, now)
	q.s.best = max(q.s.best, sh.Computed.Difficulty)
	if sh.Best != BestNone && q.showsMessages() {
		q.showMessage(bestText(sh.Best, sh.Computed.Difficulty))
	}
}

// retarget lets vardiff look at an accepted share.
func (q request) retarget(sh *Share, now float64) {
	d := q.s.vardiff.Share(now, sh.Credit, q.s.sent(), q.vardiffLimits())
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
	// ladderUpstream is how much later it is where another pool judges: one that refuses
	// everything is given up before its miners are.
	ladderUpstream = 60
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
	past := c.s.firstInvalid.since(now)
	if c.s.source != 0 {
		past -= ladderUpstream
	}
	switch {
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
