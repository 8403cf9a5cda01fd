package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// shares: as fast as eight outstanding replies allow, then at a steady rate.
func (r *run) shares(ctx context.Context, s *server) error {
	prefix := ""
	if s.kind == journaled {
		prefix = journalPrefix
	}
	p, err := r.pipelined(ctx, s)
	if err != nil {
		return err
	}
	r.report.add(prefix+"pipelined CPU", s.kind, p.CPUPerShare)
	r.report.add(prefix+"pipelined rate", s.kind, p.PerSecond/1e3)
	r.report.add(prefix+"memory after shares", s.kind, float64(p.Server.RSSAfter-p.Server.RSSBefore)/1e6)
	steady, err := r.steady(ctx, s, 0)
	if err != nil {
		return err
	}
	r.report.add(prefix+"steady CPU", s.kind, steady.CPUPerShare)
	r.report.add(prefix+"steady p50", s.kind, steady.Latency.P50/1e3)
	r.report.add(prefix+"steady p99", s.kind, steady.Latency.P99/1e3)
	r.report.add(prefix+"steady max", s.kind, steady.Latency.Max/1e3)
	return nil
}

func (r *run) pipelined(ctx context.Context, s *server) (*bench.SharesReport, error) {
	runtime.GC()
	p, err := bench.Shares(ctx, bench.SharesConfig{Options: s.options(r.Size.Pipelining), Window: 8, Count: r.Size.Shares, Duration: 3 * time.Minute})
	if err != nil {
		return nil, err
	}
	r.report.fault(s.kind, p.Failed(), "pipelined shares", p)
	return p, nil
}

// steady is shares at the rate, while others get a block every second.
func (r *run) steady(ctx context.Context, s *server, others int) (*bench.SharesReport, error) {
	runtime.GC()
	c := bench.SharesConfig{Options: s.options(r.Size.Steady), Window: 1, Rate: r.Size.Rate, Duration: r.Size.Period, Idle: others}
	if others > 0 {
		c.Block, c.Every = s.block, time.Second
	}
	p, err := bench.Shares(ctx, c)
	if err != nil {
		return nil, err
	}
	r.report.fault(s.kind, p.Failed(), "shares at a steady rate", p)
	return p, nil
}

// memory: of a process that has just started and only has idle miners.
func (r *run) memory(ctx context.Context, s *server) error {
	each, all, err := r.idle(ctx, s, r.Size.Miners)
	if err != nil {
		return err
	}
	r.report.add("memory per miner", s.kind, each)
	r.report.add("memory in all", s.kind, all)
	return nil
}

// most: memory again, with as many miners as can be.
func (r *run) most(ctx context.Context, s *server) error {
	each, _, err := r.idle(ctx, s, r.Size.Most)
	r.report.add("most memory", s.kind, each)
	return err
}

// idle is KB per miner and MB in all.
func (r *run) idle(ctx context.Context, s *server, miners int) (each, all float64, err error) {
	runtime.GC()
	p, err := bench.Idle(ctx, bench.IdleConfig{Options: s.options(miners), Duration: r.Size.Settle})
	if err != nil {
		return 0, 0, err
	}
	r.report.fault(s.kind, p.Failed(), "idle miners", p)
	return p.RSSPerMiner / 1e3, float64(p.Server.RSSAfter) / 1e6, nil
}

// blocks: all connect at once, then new blocks, then new blocks while shares
// come.
func (r *run) blocks(ctx context.Context, s *server) error {
	runtime.GC()
	storm, err := bench.Storm(ctx, bench.StormConfig{Options: s.options(r.Size.Miners)})
	if err != nil {
		return err
	}
	r.report.fault(s.kind, storm.Failed(), "connecting", storm)
	r.report.add("storm last", s.kind, storm.Last/1e3)
	r.report.add("storm CPU", s.kind, storm.Server.CPU)
	if s.block == nil {
		return nil
	}
	few, err := r.notify(ctx, s, r.Size.Few)
	if err != nil {
		return err
	}
	r.report.spread("few", s.kind, few)
	many, err := r.notify(ctx, s, r.Size.Miners)
	if err != nil {
		return err
	}
	r.report.spread("many", s.kind, many)
	r.report.add("notify CPU", s.kind, many.Server.CPU/float64(r.Size.Miners*r.Size.Blocks)*1e6)
	under, err := r.steady(ctx, s, r.Size.Miners*9/10)
	if err != nil {
		return err
	}
	r.report.add("blocks p50", s.kind, under.Latency.P50/1e3)
	r.report.add("blocks p99", s.kind, under.Latency.P99/1e3)
	r.report.add("blocks max", s.kind, under.Latency.Max/1e3)
	return r.published(s)
}

func (r *run) notify(ctx context.Context, s *server, miners int) (*bench.NotifyReport, error) {
	runtime.GC()
	p, err := bench.Notify(ctx, bench.NotifyConfig{Options: s.options(miners), Block: s.block, Rounds: r.Size.Blocks, Interval: r.Size.Settle / 4})
	if err != nil {
		return nil, err
	}
	r.report.fault(s.kind, p.Failed(), "new blocks", p)
	return p, nil
}

var publishedAfter = regexp.MustCompile(`work for \d+ sent (\S+) after \S+ answered`)

// published reads from the log how long after the node's answer work was out.
func (r *run) published(s *server) error {
	if s.log == "" {
		return nil
	}
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	var all []float64
	for _, m := range publishedAfter.FindAllSubmatch(text, -1) {
		if d, err := time.ParseDuration(string(m[1])); err == nil {
			all = append(all, float64(d)/float64(time.Millisecond))
		}
	}
	if len(all) > 0 {
		slices.Sort(all)
		r.report.add("published", s.kind, median(all))
	}
	return nil
}

// farm: miners at a pool, and as many at a proxy before one, to which they are one miner.
func (r *run) farm(ctx context.Context, s *server) error {
	_, all, err := r.idle(ctx, s, r.Size.Miners)
	if err != nil {
		return err
	}
	r.report.add("farm memory", s.kind, all)
	runtime.GC()
	c := bench.SharesConfig{Options: s.options(r.Size.Farm), Window: 1, Rate: r.Size.FarmRate, Duration: r.Size.Period}
	p, err := bench.Shares(ctx, c)
	if err != nil {
		return err
	}
	r.report.fault(s.kind, p.Failed() || p.Rejected > 0, "shares of a farm", p)
	r.report.add("farm CPU", s.kind, p.CPUPerShare)
	r.report.add("farm p99", s.kind, p.Latency.P99/1e3)
	if s.above == nil {
		return nil
	}
	steady, err := r.sameBook(ctx, s)
	if err != nil {
		return err
	}
	if steady.Refused > 0 {
		r.report.Faults = append(r.report.Faults, fmt.Sprintf("%s, shares of a farm: %d refused above without a new block", kindNames[s.kind], steady.Refused))
	}
	// Blocks come every ten minutes; two of them are here.
	c.Block, c.Every = s.above.block, r.Size.Period/3
	if p, err = bench.Shares(ctx, c); err != nil {
		return err
	}
	r.report.fault(s.kind, p.Failed(), "shares of a farm over a new block", p)
	over, err := r.sameBook(ctx, s)
	if err != nil {
		return err
	}
	perSecond := float64(over.Accepted+over.Refused-steady.Accepted) / p.Seconds
	r.report.add("farm refused", s.kind, 100*float64(over.Refused)/float64(max(p.Blocks, 1))/(perSecond*600))
	return nil
}

// sent is what became of the shares of a proxy that went up.
type sent struct {
	Accepted   int64   `json:"accepted_count"`
	Refused    int64   `json:"rejected_count"`
	Unanswered int64   `json:"unanswered_count"`
	Waiting    int64   `json:"waiting"`
	Total      float64 `json:"total_accepted"`
}

// sameBook compares what a proxy has of its shares with the book of the pool above, once
// that has judged all.
func (r *run) sameBook(ctx context.Context, s *server) (k sent, err error) {
	end := time.Now().Add(startTime)
	for {
		var reply struct{ Proxy []sent }
		if err := ask(ctx, s, "proxystats", &reply); err != nil || len(reply.Proxy) != 1 {
			return k, fmt.Errorf("proxystats: %d pools: %w", len(reply.Proxy), err)
		}
		if k = reply.Proxy[0]; k.Waiting == 0 || time.Now().After(end) {
			break
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return k, err
		}
	}
	var book struct {
		Accepted      int64   `json:"accepted_count"`
		AcceptedExact float64 `json:"accepted"`
		Refused       int64   `json:"rejected_count"`
		Workers       int64   `json:"workers"`
	}
	if err := ask(ctx, s.above, "poolstats", &book); err != nil {
		return k, err
	}
	if book.Workers != 1 || book.Accepted != k.Accepted || book.AcceptedExact != float64(k.Accepted)*aboveDifficulty || book.Refused != k.Refused || k.Waiting+k.Unanswered > 0 {
		r.report.Faults = append(r.report.Faults, fmt.Sprintf("%s: it has %+v of what went up, the book of the pool above %+v", kindNames[s.kind], k, book))
	}
	return k, nil
}

// ask asks a pool something.
func ask(ctx context.Context, s *server, command string, reply any) error {
	text, err := wait.Reply(ctx, control.Dial(s.sockets, "", "stratifier"), command)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), reply)
}

// solo: each miner has an address and with it a coinbase of its own.
func (r *run) solo(ctx context.Context, s *server) error {
	each, _, err := r.idle(ctx, s, r.Size.Miners)
	if err != nil {
		return err
	}
	r.report.add("solo memory", s.kind, each)
	many, err := r.notify(ctx, s, r.Size.Miners)
	if err != nil {
		return err
	}
	r.report.add("solo last", s.kind, many.Median.Last)
	p, err := r.pipelined(ctx, s)
	if err != nil {
		return err
	}
	r.report.add("solo CPU", s.kind, p.CPUPerShare)
	return nil
}
