package metrics

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/operator"
)

// metric is one metric, made of what a scrape has: S.
type metric[S any] struct {
	name   string // without its prefix
	help   string
	kind   prometheus.ValueType // of a histogram: untyped
	labels []string
	// values gives what there is of it, one for each combination of labels. Histograms
	// give counts instead.
	values func(s *S, give func(v float64, labels ...string))
	counts func(s *S) latency.Counts

	desc *prometheus.Desc
}

// scrape is what all metrics of a pool are made of.
type scrape struct {
	operator.Figures
	now time.Time
}

const (
	counter   = prometheus.CounterValue
	gauge     = prometheus.GaugeValue
	histogram = prometheus.UntypedValue
)

// one is the value of a metric without labels.
func one[S any](of func(s *S) float64) func(*S, func(float64, ...string)) {
	return func(s *S, give func(float64, ...string)) { give(of(s)) }
}

// each is the values of a metric by name.
func each[S any](of func(s *S) control.Counts) func(*S, func(float64, ...string)) {
	return func(s *S, give func(float64, ...string)) {
		seen := map[string]bool{}
		for _, c := range of(s) {
			if !seen[c.Name] { // an address that is listed twice
				seen[c.Name] = true
				give(float64(c.Count), c.Name)
			}
		}
	}
}

// eachNode is the values of a metric by node.
func eachNode(of func(n *control.Node) float64) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, give func(float64, ...string)) {
		seen := map[string]bool{}
		for i := range s.Nodes {
			if n := &s.Nodes[i]; !seen[n.URL] { // one that is listed twice
				seen[n.URL] = true
				give(of(n), n.URL)
			}
		}
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// age is the seconds since a time, NaN since never, none of a time to come.
func (s *scrape) age(t control.Time) float64 {
	if t.IsZero() {
		return math.NaN()
	}
	return max(s.now.Sub(t.Time).Seconds(), 0)
}

// table is every metric of a pool. docs/metrics.md has each.
func table() []metric[scrape] {
	return []metric[scrape]{
		{name: "build_info", help: "1, labelled by the version of the program.", kind: gauge, labels: []string{"version"},
			values: func(s *scrape, give func(float64, ...string)) { give(1, s.Version) }},
		{name: "start_time_seconds", help: "When counting began, unix time: with the first of the processes that handed on to each other.", kind: gauge,
			values: one(func(s *scrape) float64 { return float64(s.Started.UnixMilli()) / 1000 })},

		{name: "shares_total", help: "Submits by what the miner was told: accepted, or rejected for a reason.", kind: counter, labels: []string{"verdict", "reason"},
			values: func(s *scrape, give func(float64, ...string)) {
				give(float64(s.Pool.TotalAcceptedCount), "accepted", "")
				for _, c := range s.Rejects {
					give(float64(c.Count), "rejected", c.Name)
				}
			}},
		{name: "shares_difficulty_total", help: "Difficulty of shares: what was credited, and what was rejected.", kind: counter, labels: []string{"verdict"},
			values: func(s *scrape, give func(float64, ...string)) {
				give(s.Pool.TotalAccepted, "accepted")
				give(s.Pool.TotalRejected, "rejected")
			}},
		{name: "hashes_per_second", help: "Hash rate by accepted shares, an average over a window.", kind: gauge, labels: []string{"window"},
			values: func(s *scrape, give func(float64, ...string)) {
				p := &s.Pool
				for _, w := range []struct {
					name string
					dsps float64
				}{{"1m", p.DSPS1}, {"5m", p.DSPS5}, {"15m", p.DSPS15}, {"1h", p.DSPS60}, {"6h", p.DSPS360}, {"1d", p.DSPS1440}, {"7d", p.DSPS10080}} {
					give(w.dsps*difficulty.HashesPerDifficulty, w.name)
				}
			}},
		{name: "miners", help: "Miners that are connected and logged in.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Pool.Workers) })},
		{name: "users", help: "Users with a miner connected.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Pool.Users) })},
		{name: "resumable_sessions", help: "Sessions of miners that have left and may come back to.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Pool.Disconnected) })},
		{name: "round_difficulty", help: "Difficulty of accepted shares since the pool's last block.", kind: gauge, values: one(func(s *scrape) float64 { return s.Pool.Accepted })},
		{name: "round_best_share_difficulty", help: "The best share since the pool's last block.", kind: gauge, values: one(func(s *scrape) float64 { return s.Pool.BestShare })},

		{name: "connections", help: "Connections, logged in or not.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Connector.Clients.Count) })},
		{name: "connections_entering", help: "Connections that have not come through PROXY header and TLS handshake.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Connector.Entering.Count) })},
		{name: "connections_accepted_total", help: "Connections that were accepted.", kind: counter, values: one(func(s *scrape) float64 { return float64(s.Connector.Clients.Generated) })},
		{name: "connections_closed_total", help: "Connections that ended, by reason.", kind: counter, labels: []string{"reason"}, values: each(func(s *scrape) control.Counts { return s.Connector.Drops })},
		{name: "slow_connections", help: "Connections that do not take what they are sent.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Connector.Sends.Count) })},
		{name: "unsent_bytes", help: "Output that waits for slow connections.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Connector.Sends.Memory) })},
		{name: "replaced_notifies_total", help: "Work that a slow connection was never sent, since newer work took its place.", kind: counter, values: one(func(s *scrape) float64 { return float64(s.Connector.Delays.Generated) })},
		{name: "listener_miners", help: "Miners by the address that they came by, logged in or not; those behind links by that of the link.", kind: gauge, labels: []string{"listener"}, values: each(func(s *scrape) control.Counts { return s.Listeners })},
		{name: "certificate_expiry_timestamp_seconds", help: "When the first of the TLS certificates expires, unix time, NaN without certificates.", kind: gauge, values: one(func(s *scrape) float64 {
			if s.Expires.IsZero() {
				return math.NaN()
			}
			return float64(s.Expires.Unix())
		})},
		{name: "links", help: "Links that other pools' miners come over, by role.", kind: gauge, labels: []string{"role"}, values: each(func(s *scrape) control.Counts { return s.Links })},

		{name: "share_latency_seconds", help: "From the arrival of a share to its answer. Shares that another pool judges are left out.", kind: histogram, counts: func(s *scrape) latency.Counts { return s.Answers }},
		{name: "notify_latency_seconds", help: "From work on a new tip to each miner that was told of it.", kind: histogram, counts: func(s *scrape) latency.Counts { return s.Notifies }},
		{name: "last_notify_seconds", help: "From work on the newest tip to the last miner that was told of it.", kind: gauge, values: one(func(s *scrape) float64 { return s.LastNotified.Seconds() })},

		{name: "work_usable", help: "1 if a node or another pool gives work.", kind: gauge, values: one(func(s *scrape) float64 { return truth(s.Usable) })},
		{name: "work_height", help: "Height of the block that is mined, 0 without work.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Pool.Height) })},
		{name: "work_age_seconds", help: "How old the newest work is, NaN without work.", kind: gauge, values: one(func(s *scrape) float64 { return s.age(s.Pool.Work) })},
		{name: "network_difficulty", help: "Difficulty of the network, 0 without work.", kind: gauge, values: one(func(s *scrape) float64 { return s.Pool.NetworkDifficulty })},
		{name: "blocks", help: "Blocks that the pool has found and still lists, by what became of them.", kind: gauge, labels: []string{"state"}, values: each(func(s *scrape) control.Counts { return s.Blocks })},
		{name: "node_up", help: "1 if the node can be worked with.", kind: gauge, labels: []string{"node"}, values: eachNode(func(n *control.Node) float64 { return truth(n.State == "ok") })},
		{name: "node_current", help: "1 if work comes from the node.", kind: gauge, labels: []string{"node"}, values: eachNode(func(n *control.Node) float64 { return truth(n.Current) })},
		{name: "node_height", help: "Height of the node's chain, NaN if it is not known.", kind: gauge, labels: []string{"node"},
			values: eachNode(func(n *control.Node) float64 {
				if n.Height < 0 {
					return math.NaN()
				}
				return float64(n.Height)
			})},
		{name: "node_latency_seconds", help: "How long the node took for its last answer.", kind: gauge, labels: []string{"node"}, values: eachNode(func(n *control.Node) float64 { return n.LatencyMS / 1000 })},

		{name: "journal_kept", help: "1 if shares are kept in a journal.", kind: gauge, values: one(func(s *scrape) float64 { return truth(s.Journal.Kept) })},
		{name: "journal_failing", help: "1 if nothing can be written to the journal at present.", kind: gauge, values: one(func(s *scrape) float64 { return truth(s.Journal.Error != "") })},
		{name: "journal_unsafe_shares", help: "Shares that are not yet safe against a power cut.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Journal.UnsafeShares) })},
		{name: "journal_unsafe_bytes", help: "Records that are not yet safe against a power cut.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Journal.UnsafeBytes) })},
		{name: "journal_unsafe_age_seconds", help: "How old the oldest of them is at most.", kind: gauge, values: one(func(s *scrape) float64 { return s.Journal.UnsafeAgeMS / 1000 })},
		{name: "journal_lost_shares_total", help: "Shares that there was no room for while the disk did not take more.", kind: counter, values: one(func(s *scrape) float64 { return float64(s.Journal.LostShares) })},
		{name: "journal_bytes", help: "The journal on disk.", kind: gauge, values: one(func(s *scrape) float64 { return float64(s.Journal.Size) })},
		{name: "journal_readers", help: "Who reads the journal, such as ckdb.", kind: gauge, values: one(func(s *scrape) float64 { return float64(len(s.Journal.Readers)) })},
		{name: "journal_behind_records", help: "Records that the slowest reader of the journal has not stored.", kind: gauge, values: one(func(s *scrape) float64 {
			behind := uint64(0)
			for _, r := range s.Journal.Readers {
				behind = max(behind, r.Behind)
			}
			return float64(behind)
		})},
	}
}
