package web

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/luck"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
)

// What the API answers. Within a version of the API a member may be added; none is ever
// dropped or changes its type. Times are UTC, null is unknown or never.

// poolAnswer is /api/v1/pool.
type poolAnswer struct {
	Time          time.Time `json:"time"`
	Name          string    `json:"name"`
	Mode          string    `json:"mode"`  // pool, solo or proxy
	Chain         string    `json:"chain"` // main, test, testnet4, signet, regtest; "" unknown
	Started       time.Time `json:"started"`
	Hashrate      rates     `json:"hashrate"`
	SharesPerSec  float64   `json:"shares_per_second"` // accepted, over the last minute
	Miners        int64     `json:"miners"`            // connected
	Users         int64     `json:"users"`             // with a miner connected
	MayComeBack   int64     `json:"disconnected"`      // miners whose session may be resumed
	Accepted      tally     `json:"accepted"`          // this and the next of the round
	Rejected      tally     `json:"rejected"`
	Rejects       []reject  `json:"rejects"`           // since the start
	Ended         []ended   `json:"ended_connections"` // since the start
	BestShare     float64   `json:"best_share"`        // of the round
	BestStart     float64   `json:"best_since_start"`  // of the pool's process and those that it took over from
	BestEver      float64   `json:"best_ever"`
	Network       network   `json:"network"`
	Work          *workMade `json:"work"`
	Latency       latencies `json:"latency"`
	ExpectedBlock *float64  `json:"expected_seconds_per_block"` // at the rate of an hour
	Effort        *float64  `json:"effort"`                     // difficulty of the round to the network's
	Luck          *luckOver `json:"luck"`                       // null: of no block is the work known
}

// luckOver is how lucky the pool was with its newest blocks.
type luckOver struct {
	Blocks int     `json:"blocks"`
	Luck   float64 `json:"luck"` // what is expected for the work to what was done, in the mean: 1 is as expected
}

// rates are hashes per second: averages over a minute, five, fifteen, an hour and so on.
type rates struct {
	M1  float64  `json:"1m"`
	M5  float64  `json:"5m"`
	M15 *float64 `json:"15m,omitempty"`
	H1  float64  `json:"1h"`
	H6  *float64 `json:"6h,omitempty"`
	D1  float64  `json:"1d"`
	D7  *float64 `json:"7d,omitempty"`
}

type tally struct {
	Shares     int64   `json:"shares"`
	Difficulty float64 `json:"difficulty"`
}

type reject struct {
	Reason string `json:"reason"` // as miners are told
	Shares int64  `json:"shares"`
}

type ended struct {
	Reason      string `json:"reason"`
	Connections int64  `json:"connections"`
}

type network struct {
	Difficulty float64 `json:"difficulty"`
	Height     *int64  `json:"height"` // of the block that is mined
}

// workMade is the work that miners have.
type workMade struct {
	Made         time.Time `json:"made"`
	Age          float64   `json:"age_seconds"`
	Transactions *int64    `json:"transactions"` // without the coinbase
	Fees         *int64    `json:"fees"`         // satoshis
	Reward       *int64    `json:"reward"`       // satoshis, with the fees
	Node         *int      `json:"node"`         // that it comes from, by its place in /nodes
}

// latencies are how long things take: of the last ten minutes, and of the newest tip.
type latencies struct {
	ShareP50   *float64 `json:"share_p50_seconds"`   // from a share to its answer, half of them at most
	ShareP99   *float64 `json:"share_p99_seconds"`   // 99 of 100
	LastNotify *float64 `json:"last_notify_seconds"` // from work on the newest tip to the last miner that was told
}

// latencyTime is what latencies are of.
const latencyTime = 10 * time.Minute

func (s *Server) latencies() latencies {
	l := s.options.Curves.Latencies(latencyTime)
	p50, p99, last := l.Answers.Quantile(0.5), l.Answers.Quantile(0.99), l.LastNotified.Seconds()
	return latencies{known(p50, !math.IsNaN(p50)), known(p99, !math.IsNaN(p99)), known(last, last > 0)}
}

// userAnswer is /api/v1/users/USER.
type userAnswer struct {
	Time      time.Time  `json:"time"`
	User      string     `json:"user"`
	Hashrate  rates      `json:"hashrate"`
	Miners    int64      `json:"miners"` // connected
	LastShare *time.Time `json:"last_share"`
	BestShare float64    `json:"best_share"` // of the round
	BestEver  float64    `json:"best_ever"`
	Workers   int        `json:"workers"` // known
}

// workerAnswer is one of /api/v1/users/USER/workers.
type workerAnswer struct {
	Worker      string     `json:"worker"` // the user's name included
	Connected   bool       `json:"connected"`
	Hashrate    rates      `json:"hashrate"`
	Difficulty  *float64   `json:"difficulty"` // of its miners, the highest; null: none is connected
	UserAgent   *string    `json:"user_agent"` // of one of them
	Since       *time.Time `json:"connected_since"`
	LastShare   *time.Time `json:"last_share"`
	Expected    *float64   `json:"expected_seconds_per_share"` // at its rate and difficulty
	BestShare   float64    `json:"best_share"`                 // of the round
	BestEver    float64    `json:"best_ever"`
	Accepted    int64      `json:"accepted_shares"`
	Rejects     []reject   `json:"rejects"`
	LastReject  *string    `json:"last_reject"`
	LastRefused *time.Time `json:"last_rejected"`
}

// blockAnswer is one of /api/v1/blocks.
type blockAnswer struct {
	Height        int64     `json:"height"`
	Hash          string    `json:"hash"`
	Time          time.Time `json:"time"`
	State         string    `json:"state"` // pending, confirmed, orphaned or rejected
	Confirmations int64     `json:"confirmations"`
	Finder        *string   `json:"finder"` // worker; null: it is private
	Difficulty    float64   `json:"difficulty"`
	Reward        int64     `json:"reward"` // satoshis
	Work          *float64  `json:"work"`   // of the pool for it
	Luck          *float64  `json:"luck"`   // 1 is what is expected
}

// nodeAnswer is one of /api/v1/nodes. Where it is stays the operator's.
type nodeAnswer struct {
	Number  int      `json:"number"` // in order of preference, 1 the first
	State   string   `json:"state"`
	Usable  bool     `json:"usable"`
	Current bool     `json:"current"` // work comes from it
	Height  *int64   `json:"height"`
	Latency *float64 `json:"latency_seconds"` // of its answers
}

func perSecond(dsps float64) float64 { return finite(dsps * difficulty.HashesPerDifficulty) }

// finite is a number that JSON has a form for.
func finite(v float64) float64 {
	if v != v {
		return 0
	}
	return max(-math.MaxFloat64, min(v, math.MaxFloat64))
}

func known[T any](v T, is bool) *T {
	if !is {
		return nil
	}
	return &v
}

func at(t control.Time) *time.Time { return known(t.UTC(), !t.IsZero()) }

func (s *Server) poolAnswer(p *control.PoolStats, bests []control.BestShares, rejects control.Counts, w *control.MinersWork, nodes []control.Node, now time.Time) poolAnswer {
	src := s.options.Source
	a := poolAnswer{
		Time: now.UTC(), Name: s.options.Config().PoolTag, Mode: "pool", Chain: src.Chain(), Started: src.Started().UTC(),
		Hashrate: rates{
			M1: perSecond(p.DSPS1), M5: perSecond(p.DSPS5), M15: known(perSecond(p.DSPS15), true), H1: perSecond(p.DSPS60),
			H6: known(perSecond(p.DSPS360), true), D1: perSecond(p.DSPS1440), D7: known(perSecond(p.DSPS10080), true),
		},
		SharesPerSec: p.SPS1, Miners: p.Workers, Users: p.Users, MayComeBack: p.Disconnected,
		Accepted: tally{p.AcceptedCount, p.Accepted}, Rejected: tally{p.RejectedCount, p.Rejected}, Rejects: rejected(rejects), Ended: endings(src.Drops()),
		Latency: s.latencies(), BestShare: p.BestShare, BestStart: src.BestSinceStart(), Network: network{p.NetworkDifficulty, known(p.Height, p.Height > 0)},
	}
	if _, l := s.blocks(); l.Blocks > 0 {
		a.Luck = &luckOver{l.Blocks, finite(l.Luck)}
	}
	switch {
	case src.Solo():
		a.Mode = "solo"
	case src.Proxies() != nil:
		a.Mode = "proxy"
	}
	if len(bests) > 0 {
		a.BestEver = bests[0].BestEver
	}
	if p.NetworkDifficulty > 0 {
		a.Effort = known(finite(p.Accepted/p.NetworkDifficulty), true)
		if rate := p.DSPS60; rate > 0 {
			a.ExpectedBlock = known(finite(p.NetworkDifficulty/rate), true)
		}
	}
	if w != nil {
		a.Work = &workMade{
			Made: w.Made.UTC(), Age: math.Max(0, now.Sub(w.Made.Time).Seconds()), Transactions: known(w.Transactions, w.Transactions >= 0),
			Fees: known(w.Fees, w.Fees >= 0), Reward: known(w.Reward, w.Reward > 0),
		}
		for i := range nodes {
			if nodes[i].Current {
				a.Work.Node = known(i+1, true)
			}
		}
	}
	return a
}

// rejected are the reasons that there were, the most frequent ones not before others.
func rejected(counts control.Counts) []reject {
	list := []reject{}
	for _, c := range counts {
		if c.Count > 0 {
			list = append(list, reject{c.Name, c.Count})
		}
	}
	return list
}

// endings are why connections have ended.
func endings(counts control.Counts) []ended {
	list := []ended{}
	for _, r := range rejected(counts) {
		list = append(list, ended{r.Reason, r.Shares})
	}
	return list
}

func ofRates(r *control.Rates) rates {
	return rates{M1: perSecond(r.DSPS1), M5: perSecond(r.DSPS5), H1: perSecond(r.DSPS60), D1: perSecond(r.DSPS1440)}
}

func showUser(u *control.User, workers int, now time.Time) userAnswer {
	a := userAnswer{
		Time: now.UTC(), User: u.User, Hashrate: ofRates(&u.Rates), Miners: u.Workers, LastShare: at(u.LastShare),
		BestShare: u.BestDifficulty, BestEver: u.BestEver, Workers: workers,
	}
	a.Hashrate.D7 = known(perSecond(u.DSPS10080), true)
	return a
}

// showWorker shows a worker with what its connections tell.
func showWorker(w *control.Worker, connections []control.Connection) workerAnswer {
	a := workerAnswer{
		Worker: w.Worker, Connected: !w.Started.IsZero(), Hashrate: ofRates(&w.Rates), Since: at(w.Started), LastShare: at(w.LastShare),
		BestShare: w.BestDifficulty, BestEver: w.BestEver, Accepted: w.AcceptedShares, Rejects: rejected(w.Rejects),
		LastReject: known(w.LastReject, w.LastReject != ""), LastRefused: at(w.LastRejected),
	}
	for i := range connections {
		c := &connections[i]
		if a.Difficulty == nil || c.Difficulty > *a.Difficulty {
			a.Difficulty, a.UserAgent = &c.Difficulty, &c.UserAgent
		}
	}
	if rate := w.DSPS5; a.Difficulty != nil && rate > 0 {
		a.Expected = known(finite(*a.Difficulty/rate), true)
	}
	return a
}

func (s *Server) showBlock(b *control.Block) blockAnswer {
	a := blockAnswer{
		Height: b.Height, Hash: b.Hash, Time: b.Time.UTC(), Difficulty: b.Difficulty, Reward: b.Reward,
		Finder: known(b.Worker, !s.hidden(users.UserOf(b.Worker))), Work: known(b.Work, b.Work > 0),
	}
	a.State, _, _ = strings.Cut(b.State, ":")
	if word, number, ok := strings.Cut(a.State, " "); ok {
		a.State = word
		a.Confirmations, _ = strconv.ParseInt(number, 10, 64)
	}
	return a
}

// setLuck tells of blocks, the newest first, how lucky the pool was with each whose work is
// known, and of the last of them together; the work of a lost one is that of the next.
func setLuck(list []blockAnswer) (together luck.Range) {
	var blocks []luck.Block
	var of []*blockAnswer
	for i := range slices.Backward(list) {
		if b := &list[i]; b.Work != nil && b.Difficulty > 0 && b.State != source.BlockOrphaned && b.State != source.BlockRejected {
			blocks = append(blocks, luck.Block{Height: b.Height, Difficulty: b.Difficulty, Work: *b.Work})
			of = append(of, b)
		}
	}
	for i, f := range luck.Of(blocks) {
		of[i].Luck = known(finite(f.Luck), true)
	}
	return luck.Last(blocks, luckOf)
}

// luckOf is how many blocks a pool's luck is of.
const luckOf = 100

func showNode(number int, n *control.Node) nodeAnswer {
	return nodeAnswer{
		Number: number, State: n.State, Usable: n.State == "ok", Current: n.Current, Height: known(n.Height, n.Height >= 0),
		Latency: known(n.LatencyMS/1000, n.LatencyMS > 0),
	}
}

// listenerAnswer is one of /api/v1/connect: what a miner is pointed at.
type listenerAnswer struct {
	URL             string  `json:"url"` // stratum+tcp:// or stratum+ssl://, host and port
	Host            string  `json:"host"`
	Port            string  `json:"port"`
	TLS             bool    `json:"tls"`
	MinDifficulty   float64 `json:"min_difficulty"`
	StartDifficulty float64 `json:"start_difficulty"`
	Miners          int64   `json:"miners"` // that came by it
}
