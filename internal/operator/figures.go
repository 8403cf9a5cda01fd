package operator

import (
	"cmp"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
)

// Figures are what a pool, or an instance without one, does, for who watches it: each had without asking the loops,
// all at about the same time.
type Figures struct {
	Version   string
	Started   time.Time // when what is counted began: with the first of the processes that handed on to each other
	Pool      control.PoolStats
	Rejects   control.Counts // since the start, every reason
	Connector control.ConnectorStats
	Usable    bool // there is a place that work comes from
	Nodes     []control.Node
	Journal   control.Journal
	Blocks    control.Counts     // by state, of those that are in the list
	Links     control.Counts     // by role
	Listeners control.Counts     // miners by the address that they came by
	Expires   time.Time          // the first of the certificates; zero: there is none
	Upstreams []control.Upstream // of an instance without a pool: those that serve its miners

	Latencies
}

// Latencies are how long things have taken since the start, an upgrade being one.
type Latencies struct {
	Answers  latency.Counts // from the arrival of shares to their answers
	Notifies latency.Counts // from work on a new tip to each client that was told of it
	// LastNotified is from work on the newest tip to the last client that was told of it,
	// 0 if none was.
	LastNotified time.Duration
}

// listeners are miners by the address that they came by, in the order of the configuration.
func (o *Operator) listeners() (counts control.Counts) {
	urls := o.Users.ListenerURLs()
	for i, n := range o.Miners.Listeners(len(urls)) {
		counts = append(counts, control.Count{Name: urls[i], Count: n})
	}
	return counts
}

// Latencies are those until now.
func (o *Operator) Latencies() Latencies {
	st := o.Server.Stats()
	return Latencies{st.Answers, st.Notifies, st.LastNotified}
}

// Figures are what the pool does at a time.
func (o *Operator) Figures(now time.Time) Figures {
	f := Figures{
		Version: o.Version, Started: o.Users.Started(), Pool: o.PoolStats(now), Connector: Connector(o.Server),
		Usable: o.Source.Usable(), Listeners: o.listeners(), Journal: o.journalReply(), Latencies: o.Latencies(), Expires: o.Expires(),
	}
	if o.Proxies == nil { // else they are as many as users have accounts
		f.Nodes = o.nodesReply().Nodes
	}
	for r, n := range o.Users.Rejects() {
		if r := session.Reason(r); r != session.Accepted {
			f.Rejects = append(f.Rejects, control.Count{Name: r.String(), Count: n})
		}
	}
	states := map[string]int64{}
	for _, b := range o.Blocks.List() {
		states[cmp.Or(b.State, source.BlockPending)]++
	}
	for _, state := range []string{source.BlockPending, source.BlockConfirmed, source.BlockOrphaned, source.BlockRejected} {
		f.Blocks = append(f.Blocks, control.Count{Name: state, Count: states[state]})
	}
	roles := map[string]int64{}
	for _, l := range o.Links.Status() {
		roles[l.Role.String()]++
	}
	for _, role := range []string{"passthrough", "node", "remote"} {
		f.Links = append(f.Links, control.Count{Name: role, Count: roles[role]})
	}
	return f
}
