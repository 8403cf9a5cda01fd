package notify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
)

// Accounts is how accounts are kept. Amounts are satoshis.
type Accounts struct {
	Away     string // why the database does not answer; "": it does
	Journals []Journal
	Chain    string // what is wrong with the node whose chain is followed; "": nothing, or there is none
	Compared bool   // the wallet was, with the ledger
	Missing  int64  // that it lacks by that
	Alarms   []string
	// Payments are the newest, and all that may still change; Rewards those of the newest
	// blocks. Where Away is not "" they are not known.
	Payments []Payment
	Rewards  []Reward
}

// Journal is how far that of a pool is stored.
type Journal struct {
	Pool    string
	Lag     time.Duration
	Trouble string // why it is not stored; "": it is
	Gaps    int    // ranges of records that it does not have
}

// Payment is a transaction of a payout.
type Payment struct {
	Payment     int64  `json:"payment"`
	Amount      int64  `json:"amount"` // satoshis that balances were debited
	Outputs     int    `json:"outputs"`
	Transaction string `json:"transaction"` // "": none was signed
	Height      int64  `json:"height,omitempty"`
	State       string `json:"-"`
	Reason      string `json:"-"`
	First       string `json:"-"` // transaction that was signed first, which no other payment has
}

// Reward is what a block was worth.
type Reward struct {
	Height        int64
	Block         string // hash
	Value         int64
	Confirmations int64
	Mature        bool
}

// paymentEvents are the events of states of payments. What has another state is no news.
var paymentEvents = map[string]string{
	"broadcast": config.EventPayoutSent, "confirmed": config.EventPayoutConfirmed, "cancelled": config.EventPayoutCancelled,
}

// lookAtAccounts finds what became of payments and rewards since it was told last.
func (n *Notifier) lookAtAccounts(now time.Time) {
	if n.view.Accounts == nil {
		return
	}
	v := n.view.Accounts()
	if v.Away != "" {
		return
	}
	told, first := n.state.Payments, n.state.Payments == nil // what was before anybody was to be told is no news
	n.state.Payments = map[string]string{}
	slices.SortStableFunc(v.Payments, func(a, b Payment) int { return cmp.Compare(a.Payment, b.Payment) })
	for i := range v.Payments {
		p := &v.Payments[i]
		name := paymentEvents[p.State]
		if p.First == "" { // nothing was signed, and nothing left
			continue
		}
		if name == "" || name == config.EventPayoutSent && told[p.First] == config.EventPayoutConfirmed { // its block was orphaned
			name = told[p.First]
		}
		n.state.Payments[p.First] = name
		if name == told[p.First] || first {
			continue
		}
		notice := Notice{ID: fmt.Sprintf("%s-%s-%s", name, p.First, p.Transaction), Event: name, Time: now, Severity: info, Payment: p, Reason: p.Reason}
		if name == config.EventPayoutCancelled {
			notice.Severity = warning
		}
		n.tell(notice)
	}
	n.state.dirty = n.state.dirty || first || !maps.Equal(told, n.state.Payments)
	n.lookAtRewards(now, v.Rewards)
}

func (n *Notifier) lookAtRewards(now time.Time, list []Reward) {
	told, first := n.state.Rewards, n.state.Rewards == nil
	n.state.Rewards = map[string]string{}
	slices.SortStableFunc(list, func(a, b Reward) int { return cmp.Compare(a.Height, b.Height) })
	for _, r := range list {
		was := told[r.Block]
		state := was
		switch {
		case r.Mature:
			state = toldMatured
		case was == toldMatured:
			state = toldOrphaned
		}
		if state != "" {
			n.state.Rewards[r.Block] = state
		}
		if state == was || first {
			continue
		}
		notice := Notice{
			ID: fmt.Sprintf("%s-%s-%s-%d", config.EventRewardMatured, r.Block, state, now.Unix()), Event: config.EventRewardMatured, Time: now, Severity: info,
			Block: &Block{Height: r.Height, Hash: r.Block, Reward: r.Value, State: state, Confirmations: r.Confirmations},
		}
		if state == toldOrphaned {
			notice.Severity = critical
		}
		n.tell(notice)
	}
	n.state.dirty = n.state.dirty || first || !maps.Equal(told, n.state.Rewards)
}

// Times of what is wrong with accounts.
const (
	lagMost   = 5 * time.Minute
	awayHold  = time.Minute
	chainHold = 10 * time.Minute
)

// lookAtBooks finds what is wrong with how accounts are kept.
func (n *Notifier) lookAtBooks(list []condition) []condition {
	if n.view.Accounts == nil {
		return list
	}
	v := n.view.Accounts()
	behind := func(subject, reason string, hold time.Duration) {
		c := condition{event: config.EventBehind, subject: subject, severity: warning, hold: hold, reason: reason}
		if reason != "" {
			c.level = 1
		}
		list = append(list, c)
	}
	behind("the database", v.Away, awayHold)
	behind("the chain", v.Chain, chainHold)
	for _, j := range v.Journals {
		reason := j.Trouble
		if reason == "" && j.Lag > lagMost {
			reason = "shares of " + figures.Duration(j.Lag) + " are not stored"
		}
		if reason != "" || v.Away == "" {
			behind("the journal of "+j.Pool, reason, awayHold)
		}
		if v.Away == "" {
			c := condition{event: config.EventGap, subject: j.Pool, severity: critical, level: j.Gaps}
			c.reason = "its journal has " + figures.Things(int64(j.Gaps), "gap") + ": shares are missing that no database has"
			list = append(list, c)
		}
	}
	if v.Away != "" { // what is not known is as it was told
		for _, c := range n.lasting(config.EventBehind, config.EventBooksDiffer, config.EventGap) {
			if !slices.ContainsFunc(list, func(o condition) bool { return o.key() == c.key() }) {
				list = append(list, c)
			}
		}
		return list
	}
	wallet := condition{event: config.EventBooksDiffer, subject: "the wallet", severity: critical, reason: "it lacks " + figures.Bitcoins(v.Missing) + " of what it must have by the ledger"}
	switch {
	case !v.Compared: // it is as it was told
		wallet.level = n.state.Conditions[wallet.key()]
	case v.Missing > 0:
		wallet.level = 1
	}
	alarms := condition{event: config.EventBooksDiffer, subject: "alarms", severity: critical, level: len(v.Alarms)}
	if len(v.Alarms) > 0 {
		alarms.reason = v.Alarms[0]
	}
	return append(list, wallet, alarms)
}
