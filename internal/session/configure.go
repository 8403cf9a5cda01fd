package session

import (
	"slices"

	"github.com/ckpool/ckpool/stratum"
)

// maskGrace is how long bits of an earlier, larger mask are accepted, in
// seconds.
const maskGrace = 60

// onConfigure answers mining.configure (BIP310): params are a list of
// extensions and an object of their parameters.
func (q request) onConfigure() *stratum.Reject {
	var asked stratum.Configure
	if bad := asked.Parse(q.msg.Params); bad != nil {
		return bad
	}
	// Whether a miner may roll depends on where it gets work from.
	if slices.Contains(asked.Extensions, "version-rolling") && !q.place(q.agents.get(q.s.agent), "", true, asked.VersionMask) && q.waits() {
		return nil
	}
	var grants []stratum.Grant
	for _, extension := range asked.Extensions {
		g := stratum.Grant{Extension: extension, Granted: true}
		switch extension {
		case "version-rolling":
			g.Granted = q.grantMask(asked.VersionMask)
			q.noteRolling(g.Granted)
			g.VersionMask = q.s.mask
		case "minimum-difficulty":
			if d := asked.MinimumDifficulty; d > 0 && !q.s.is(fixed) {
				q.s.floor = q.clamp(d)
				q.s.want = max(q.s.want, q.s.floor)
			}
		case "subscribe-extranonce":
			q.takeExtranonce()
		case "info":
		default:
			g.Granted = false
		}
		grants = append(grants, g)
	}
	q.write(stratum.AppendConfigureResult(q.out[:0], q.msg.ID, grants))
	q.sendMask()
	q.changeNow()
	return nil
}

// noteRolling notes whether the miner may roll versions as it has asked for. One that may
// not is named as soon as it has a name: some leave for that.
func (c client) noteRolling(granted bool) {
	switch {
	case granted:
		c.s.flags &^= noRolling
	case c.s.is(authorised) && !c.s.is(noRolling):
		c.s.flags |= noRolling
		c.g.Log.noRolling(c)
	default:
		c.s.flags |= noRolling
	}
}

// takeExtranonce notes that the miner understands mining.set_extranonce, where it may
// get one.
func (c client) takeExtranonce() {
	if c.b.Sources != nil {
		c.s.flags |= takesExtranonce
	}
}

// grantMask intersects the miner's mask with ours. Nothing in common is a
// refusal.
func (q request) grantMask(asked uint32) bool {
	mask := q.poolMask() & asked
	if mask == 0 || q.b.Sources != nil && q.s.source == 0 { // it has waited for too long
		return false
	}
	old := q.s.mask
	if !q.s.is(configured) {
		old = q.poolMask()
	}
	q.keepOldMask(old, mask)
	q.s.mask = mask
	q.s.flags |= configured
	return true
}

// keepOldMask keeps bits the miner may have used before accepted for a while.
func (c client) keepOldMask(old, mask uint32) {
	if old&^mask != 0 {
		c.s.oldMask, c.s.maskUntil = old, moment(c.seconds()+maskGrace)
	}
}

func (c client) poolMask() uint32 {
	if w := c.work(); w != nil {
		return w.Job.Mask
	}
	return c.b.Settings().VersionMask
}

// jobMask is what the session may roll in the present job.
func (c client) jobMask(jobs uint32) uint32 {
	if c.s.is(configured) {
		return c.s.mask & jobs
	}
	return jobs
}

// sendMask tells a miner that configured version rolling its mask: once, after
// authorize (earlier makes some firmware drop the connection), and again only
// if a job leaves it fewer bits.
func (c client) sendMask() {
	if !c.s.is(configured | authorised) {
		return
	}
	mask := c.jobMask(c.poolMask())
	if c.s.is(maskSent) && mask == c.s.sentMask {
		return
	}
	if c.s.is(maskSent) {
		c.keepOldMask(c.s.sentMask, mask)
	}
	c.s.sentMask = mask
	c.s.flags |= maskSent
	c.write(stratum.AppendSetVersionMask(c.out[:0], mask))
}
