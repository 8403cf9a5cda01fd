package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/sent"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// refusals are the reasons of a pool for which an edge refuses shares itself.
var refusals = map[poolproto.Refusal]session.Reason{
	poolproto.RefusedFormat: session.Malformed, poolproto.RefusedJob: session.UnknownJob, poolproto.RefusedStale: session.Stale,
	poolproto.RefusedDuplicate: session.Duplicate, poolproto.RefusedTarget: session.AboveTarget,
}

// Sums has those who link told that they may refuse shares themselves, and say how many. It
// is for before serving.
func (l *Links) Sums() { l.sums = true }

// refused handles what became of shares of a miner that were not passed on.
func (l *link) refused(slot netserver.Slot, f *poolproto.Frame) {
	h := l.handler
	sums, err := poolproto.ParseSums(h.sums[:0], f.Text)
	if h.sums = sums; err != nil {
		l.complain(err.Error())
		return
	}
	if !h.loop.Channel(slot) {
		return // it is being closed
	}
	h.refused = h.refused[:0]
	for _, s := range sums {
		h.refused = append(h.refused, session.Refusal{Reason: refusals[s.Refusal], Job: s.Job, Suffix: s.Suffix, Count: s.Count})
	}
	h.Handler.Refused(slot, f.Number, h.refused)
	if h.loop.Channel(slot) {
		l.frame(&poolproto.Frame{Kind: poolproto.Sums, Channel: f.Channel, Number: f.Number})
	}
}

const (
	// checkedJobs is how many jobs of a miner an edge keeps to check shares.
	checkedJobs = 8
	// printsMost is how many shares that pools have accepted a loop remembers.
	printsMost = 1 << 17
	// timeSlack is how many seconds after that of its job the time of a share is surely one
	// that a pool takes, and staleTime how many after a new tip it still knows the jobs of the
	// one before.
	timeSlack = 600
	staleTime = 100
	// countTime is how many seconds a pool may take to count a report: one that does not, such
	// as an older version that has taken over, gets all shares.
	countTime = 60
)

// checks are what an edge knows of a miner to refuse its shares as the pool would. Owned by
// the miner's loop.
type checks struct {
	sent   sent.Miner
	worker string // the only one of the connection, that the pool has let mine; "" nothing is refused
	tipAt  int64  // when the tip last changed, unix seconds

	print, accepted uint64 // of the share under way, and of the one that a pool has just accepted; 0 none

	sums   []poolproto.Sum // not yet reported
	report []byte          // that waits for the pool's word
	number uint64          // of the report; 0: there is none
	said   int64           // when that was last said, unix seconds
	listed bool            // in EdgeHandler.summing
}

// add counts a share, and tells whether there was room for that.
func (c *checks) add(s poolproto.Sum) bool {
	for i := range c.sums {
		if k := &c.sums[i]; k.Refusal == s.Refusal && k.Job == s.Job && k.Suffix == s.Suffix && k.Count < poolproto.MaxSum {
			k.Count++
			return true
		}
	}
	if len(c.sums) >= poolproto.MaxSums {
		return false
	}
	s.Count = 1
	c.sums = append(c.sums, s)
	return true
}

// next makes a report of what is not yet in one.
func (c *checks) next() {
	c.report = poolproto.AppendSums(c.report[:0], c.sums)
	c.sums = c.sums[:0]
	c.number = max(rand.Uint64(), 1)
}

// check begins to follow a miner whose shares may be refused here: it is behind a pool that
// takes sums, and has just subscribed.
func (h *EdgeHandler) check(m *edgeMiner) {
	if m.wire == nil || !m.wire.sums || h.edge.options.Node != nil || len(m.extranonce.Extranonce1) == 0 {
		return
	}
	c := &checks{}
	if was := m.checks; was != nil {
		if bytes.Equal(was.sent.Extranonce.Extranonce1, m.extranonce.Extranonce1) && was.sent.Extranonce.Extranonce2Len == m.extranonce.Extranonce2Len {
			return // it has asked again
		}
		c.sums, c.report, c.number, c.listed = was.sums, was.report, was.number, was.listed
	}
	c.sent.Extranonce = m.extranonce
	c.configured(m.past)
	if m.authorised {
		c.worker = m.onlyWorker()
	}
	m.checks = c
}

// configured takes the mask of version bits.
func (c *checks) configured(p *past) {
	if mask, err := stratum.ParseConfigureResult(p.configured); err == nil {
		c.sent.Mask = mask
	}
}

// followed notes what the pool has said to a miner, an answer of a kind or no answer.
func (h *EdgeHandler) followed(m *edgeMiner, kind requestKind, accepted bool) {
	if kind == subscribing {
		h.check(m)
		return
	}
	c := m.checks
	switch {
	case c == nil:
	case kind == configuring:
		c.configured(m.past)
	case kind == authorising && accepted:
		c.worker = m.onlyWorker()
	case kind == submitting && c.accepted != 0:
		h.prints.Put(c.accepted, struct{}{})
		c.accepted = 0
	case string(h.msg.Method) == "mining.set_extranonce":
		m.checks = nil // of a pool that has its work from others
	case h.msg.Method != nil:
		h.sent(c, &h.msg, false)
	}
}

// sent notes a line of the pool for a miner.
func (h *EdgeHandler) sent(c *checks, msg *stratum.Message, shared bool) {
	tip := c.sent.Tip
	if c.sent.Heard(msg, shared, &h.jobs); c.sent.Tip != tip {
		c.tipAt = h.loop.Now().Unix()
	}
}

// onlyWorker is the worker of a miner that has logged in as one, "" of any other.
func (p *past) onlyWorker() string {
	n := 0
	for i := range p.requests {
		if kindOf(p.requests[i].method) == authorising {
			n++
		}
	}
	if n != 1 || p.size >= pastMost {
		return ""
	}
	return p.user()
}

// refuses answers a line of a miner if that is a share which its pool would surely refuse, as
// the pool would, and counts it. What it does not answer goes up; that has the print of the
// share in it, if it is known.
func (h *EdgeHandler) refuses(slot netserver.Slot, m *edgeMiner) bool {
	c := m.checks
	c.print = 0
	if c.worker == "" || string(h.msg.Method) != "mining.submit" || h.msg.Params == nil || h.msg.ID == nil || string(h.msg.ID) == "null" {
		return false
	}
	sum, reject := h.judge(m)
	if reject == nil || !c.add(sum) {
		return false
	}
	if !c.listed {
		c.listed = true
		h.summing = append(h.summing, slot)
	}
	h.out = stratum.AppendReject(h.out[:0], h.msg.ID, reject)
	h.loop.Write(slot, h.out)
	return true
}

// judge is what a pool surely says to the share in h.msg, nil if that cannot be known here.
// The order is that of sessions. A block is never refused.
func (h *EdgeHandler) judge(m *edgeMiner) (sum poolproto.Sum, reject *stratum.Reject) {
	c, s := m.checks, &h.submit
	refuse := func(why poolproto.Refusal) (poolproto.Sum, *stratum.Reject) {
		sum.Refusal = why
		return sum, refusals[why].Reject()
	}
	if r := s.Parse(h.msg.Params, c.sent.Extranonce.Extranonce2Len, h.scratch[:0]); r != nil {
		return poolproto.Sum{Refusal: poolproto.RefusedFormat}, r
	}
	if string(s.Worker) != c.worker || c.sent.Difficulty == 0 {
		return sum, nil
	}
	if s.JobIDBad {
		return refuse(poolproto.RefusedJob)
	}
	job := c.sent.Job(s.JobID, s.Suffix)
	if job == nil || s.HasVersionBits && (s.VersionBits&^c.sent.Mask != 0 || job.Version&c.sent.Mask != 0) {
		return sum, nil
	}
	share, _ := c.sent.Hash(job.Job, s, &h.jobs)
	if share.Block {
		return sum, nil
	}
	sum.Job, sum.Suffix = s.JobID, s.Suffix
	if job.Tip != c.sent.Tip {
		if h.loop.Now().Unix()-c.tipAt > staleTime {
			return sum, nil
		}
		return refuse(poolproto.RefusedStale)
	}
	if s.NTime < job.Time || s.NTime > job.Time+timeSlack {
		return sum, nil
	}
	if job.Least == 0 { // it came before any difficulty
		return sum, nil
	}
	if !difficulty.Meets(&share.Hash, job.Least) {
		return refuse(poolproto.RefusedTarget)
	}
	// Shares of different channels are never the same, whatever extranonce1 they have.
	c.print = max(binary.LittleEndian.Uint64(share.Hash[:])^uint64(m.id)*0x9e3779b97f4a7c15, 1)
	if _, repeated := h.prints.Get(c.print); repeated {
		return refuse(poolproto.RefusedDuplicate)
	}
	return sum, nil
}

// passedOn notes the print of a share that went up, for when the pool has accepted it.
func (p *past) passedOn(print uint64) {
	if n := len(p.flights); n > 0 {
		p.flights[n-1].print = print
	}
}

// reports tells pools of shares that were refused here.
func (h *EdgeHandler) reports() {
	h.summing = slices.DeleteFunc(h.summing, func(slot netserver.Slot) bool {
		m := h.miner(slot)
		if m.id == 0 || m.checks == nil || !m.checks.listed {
			return true
		}
		c := m.checks
		if c.number != 0 && h.serves(m) && h.loop.Now().Unix()-c.said > countTime {
			m.checks = nil
			return true
		}
		if len(c.sums) > 0 && c.number == 0 && h.serves(m) && !m.resuming() {
			c.next()
			h.report(m)
		}
		c.listed = len(c.sums) > 0
		return !c.listed
	})
	if len(h.summing) == 0 {
		h.summing = nil
	}
}

// report says the report of a miner to the pool that serves it.
func (h *EdgeHandler) report(m *edgeMiner) {
	if c := m.checks; c != nil && c.number != 0 && h.wire.sums {
		c.said = h.loop.Now().Unix()
		h.up = poolproto.AppendFrame(h.up, &poolproto.Frame{Kind: poolproto.Sums, Channel: m.id, Number: c.number, Text: c.report})
	}
}

// reported is the pool's word that it has counted a report.
func (c *checks) reported(number uint64) {
	if c != nil && c.number == number {
		c.number = 0
	}
}

// lastReport writes what is not yet in a report of a miner that leaves its pool for good.
func (h *EdgeHandler) lastReport(b []byte, m *edgeMiner) []byte {
	c := m.checks
	if c == nil || len(c.sums) == 0 || m.resuming() {
		return b
	}
	c.next()
	return poolproto.AppendFrame(b, &poolproto.Frame{Kind: poolproto.Sums, Channel: m.id, Number: c.number, Text: c.report})
}
