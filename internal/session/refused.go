package session

import (
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// Refusal is shares of one miner that were refused for the same reason before they came
// here.
type Refusal struct {
	Reason Reason
	Job    uint64 // of shares of a known job
	Suffix uint8  // of the job
	Count  uint32 // from 1
}

// Refused counts shares of a client that were answered where it is connected: at a
// passthrough, which knows what it was sent. They are those of its first login, and each
// counts as it would have here, but for what was found, which nobody knows. number is of this
// report: one with the number of the session's last is that again, and is not counted. No
// client is closed for its number.
func (h *Handler) Refused(slot netserver.Slot, number uint64, list []Refusal) {
	q := request{h.client(slot)}
	if !q.s.is(subscribed|authorised) || !q.g.registry.reported(q.s.id, q.s.client, number) {
		return
	}
	now, w := q.seconds(), q.work()
	if w == nil {
		return // what they were for has ended
	}
	q.submit = stratum.Submit{} // for the log: nothing was read
	for _, r := range list {
		sh := &q.share
		*sh = Share{
			Time: q.t.Now(), Loop: q.loop, Client: q.s.client, Worker: q.logins.at(q.s.login).value.worker,
			Remote: q.t.Remote(q.slot), Listener: int(q.s.listener), UserAgent: q.agents.get(q.s.agent),
			Limit: int(q.s.limit), Payout: q.payout(), Extranonce1: MakeExtranonce(q.s.extranonce1Bytes()),
			Current: w.Job, Variant: r.Suffix, Reason: r.Reason, Also: r.Count - 1,
		}
		switch r.Reason {
		case Malformed:
			sh.Format = &reasons[Malformed].reject
		case UnknownJob:
			sh.Difficulty = q.s.sent()
		default:
			_, sh.Difficulty = q.difficultyOfJob(r.Job, r.Suffix, now)
			if found := q.b.Jobs.Find(r.Job); found != nil {
				sh.Job = found.Job
			}
		}
		q.account(sh, now)
	}
	if len(list) > 0 {
		q.ladder(true)
	}
}
