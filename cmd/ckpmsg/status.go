package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
)

// statusCommand is not the pool's: it asks several of its commands.
var statusCommand = control.Command{Name: "status", Text: "the pool on one screen"}

// commands are all that may be given.
func commands() []control.Command { return append(poolCommands(), control.ProxyCommands()...) }

// poolCommands are those of every instance.
func poolCommands() []control.Command {
	return append([]control.Command{statusCommand, topCommand}, control.PoolCommands()...)
}

// status is what is asked for the one screen.
type status struct {
	version string
	stats   control.PoolStats
	rejects control.Counts
	blocks  []control.Block
	nodes   []control.Node
	journal control.Journal
	// upstreams are the pools that are mined for; nil where work comes from nodes.
	upstreams []upstream
}

func askStatus(ctx context.Context, c *control.Client) (s status, err error) {
	if s.version, err = c.Version(ctx); err != nil {
		return s, err
	}
	if s.stats, err = c.PoolStats(ctx); err != nil {
		return s, err
	}
	if s.rejects, err = c.Rejects(ctx); err != nil {
		return s, err
	}
	if s.blocks, err = c.Blocks(ctx); err != nil {
		return s, err
	}
	if s.journal, err = c.Journal(ctx); err != nil {
		return s, err
	}
	if s.upstreams, err = askUpstreams(ctx, c); err == nil && s.upstreams == nil {
		s.nodes, err = c.Nodes(ctx)
	}
	return s, err
}

// writeStatusJSON writes the replies status is made of as members of an object.
func writeStatusJSON(ctx context.Context, out io.Writer, c *control.Client) error {
	replies := map[string]json.RawMessage{}
	upstreams, err := askUpstreams(ctx, c)
	if err != nil {
		return err
	}
	commands := []string{"poolstats", "rejects", "blocks", "journal"}
	if upstreams == nil {
		commands = append(commands, "nodes")
	}
	for _, command := range commands {
		reply, err := c.Run(ctx, command)
		if err != nil {
			return err
		}
		replies[command] = json.RawMessage(reply)
	}
	if upstreams != nil {
		replies["list"], replies["proxystats"] = withoutPasswords(upstreams)
	}
	b, err := json.Marshal(replies)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\n", b)
	}
	return err
}

// printStatus prints the pool on one screen.
func printStatus(p page.Page, s *status) error {
	l := p.Lines()
	st := &s.stats
	l.Print("pool", s.version+", up "+figures.Duration(st.Update.Sub(st.Start.Time)))
	l.Print("hash rate", rates(&control.Rates{DSPS1: st.DSPS1, DSPS5: st.DSPS5, DSPS60: st.DSPS60, DSPS1440: st.DSPS1440}))
	l.Print("miners", s.miners())
	l.Print("shares", s.shares())
	if text := s.rejected(); text != "" {
		l.Print("rejects", text)
	}
	l.Print("best share", s.best())
	if s.upstreams == nil { // else blocks are another's
		if text := s.odds(); text != "" {
			l.Print("odds", text)
		}
		l.Print("last block", s.lastBlock())
	}
	l.Print("work", s.work())
	if s.journal.Kept {
		l.Print("journal", journalText(&s.journal))
	}
	printUpstreams(l, s.upstreams)
	for i := range s.nodes {
		l.Print("node", nodeText(&s.nodes[i]))
	}
	return l.Flush()
}

// journalText says first what is wrong.
func journalText(j *control.Journal) string {
	var parts []string
	if j.LostShares > 0 {
		parts = append(parts, figures.Things(int64(j.LostShares), "share")+" LOST while the disk took no more")
	}
	if j.Error != "" {
		parts = append(parts, "cannot be written: "+page.OneLine(j.Error))
	}
	if j.UnsafeShares > 0 {
		parts = append(parts, figures.Things(int64(j.UnsafeShares), "share")+" not yet safe against a power cut")
	} else {
		parts = append(parts, "all shares are safe")
	}
	for _, r := range j.Readers {
		parts = append(parts, fmt.Sprintf("%s is %s behind", page.OneLine(r.Name), figures.Things(int64(r.Behind), "record")))
	}
	if len(j.Readers) == 0 {
		parts = append(parts, "nobody reads it")
	}
	return strings.Join(parts, ", ")
}

func (s *status) miners() string {
	st := &s.stats
	if st.Workers == 0 {
		return "none"
	}
	text := fmt.Sprintf("%s of %s", figures.Things(st.Workers, "miner"), figures.Things(st.Users, "user"))
	if st.NoRolling > 0 {
		text += fmt.Sprintf(", %s of them may not roll versions as asked for", figures.Count(st.NoRolling))
	}
	return text
}

func rates(r *control.Rates) string {
	var parts []string
	for _, r := range []struct {
		window string
		dsps   float64
	}{{"1m", r.DSPS1}, {"5m", r.DSPS5}, {"1h", r.DSPS60}, {"1d", r.DSPS1440}} {
		parts = append(parts, fmt.Sprintf("%s (%s)", figures.Rate(r.dsps*difficulty.HashesPerDifficulty), r.window))
	}
	return strings.Join(parts, ", ")
}

func (s *status) shares() string {
	st := &s.stats
	all := st.AcceptedCount + st.RejectedCount
	if all == 0 {
		return "none yet this round"
	}
	return fmt.Sprintf("%s accepted, %s rejected (%s) this round, %s a second", figures.Count(st.AcceptedCount), figures.Count(st.RejectedCount),
		figures.Percent(float64(st.RejectedCount)/float64(all)), figures.Number(st.SPS1))
}

// rejected is why shares were rejected.
func (s *status) rejected() string {
	text := countReasons(s.rejects)
	if text != "" {
		text += " since the start"
	}
	return text
}

// countReasons names the reasons there were, the most frequent first.
func countReasons(counts control.Counts) string {
	counts = slices.SortedFunc(slices.Values(counts), func(a, b control.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	var reasons []string
	for _, c := range counts {
		if c.Count > 0 {
			reasons = append(reasons, figures.Count(c.Count)+" "+page.OneLine(c.Name))
		}
	}
	return strings.Join(reasons, ", ")
}

func (s *status) best() string {
	st := &s.stats
	switch {
	case st.BestShare == 0:
		return "none yet this round"
	case st.NetworkDifficulty == 0:
		return figures.Number(st.BestShare)
	}
	text := fmt.Sprintf("%s, a block takes %s", figures.Number(st.BestShare), figures.Number(st.NetworkDifficulty))
	if s.upstreams == nil { // else blocks are another's, and no round ends
		text += "; effort of the round " + figures.Percent(st.Accepted/st.NetworkDifficulty)
	}
	return text
}

// odds are those of a block within a day at the present hash rate, the average
// over an hour once there is one.
func (s *status) odds() string {
	st := &s.stats
	rate, window := st.DSPS1, "1m"
	switch up := st.Update.Sub(st.Start.Time); {
	case up >= time.Hour:
		rate, window = st.DSPS60, "1h"
	case up >= 5*time.Minute:
		rate, window = st.DSPS5, "5m"
	}
	const day = 24 * 60 * 60
	if rate == 0 || st.NetworkDifficulty == 0 {
		return ""
	}
	const year = 365.25 * day
	seconds := st.NetworkDifficulty / rate
	every := figures.Duration(time.Duration(min(seconds, year) * float64(time.Second)))
	switch {
	case seconds < 1:
		return fmt.Sprintf("blocks every second (%s)", window)
	case seconds > 1e6*year:
		every = "million years or more"
	case seconds > 1000*year:
		every = figures.Count(int64(seconds/year)) + " years"
	case seconds > year:
		every = fmt.Sprintf("%.1f years", seconds/year)
	}
	text := fmt.Sprintf("a block every %s on average (%s)", every, window)
	if seconds > day {
		text = figures.Odds(difficulty.Chance(rate*day, st.NetworkDifficulty)) + " a day, " + text
	}
	return text
}

func (s *status) lastBlock() string {
	if len(s.blocks) == 0 {
		return "none yet"
	}
	b := &s.blocks[len(s.blocks)-1]
	text := fmt.Sprintf("%s, %s ago", figures.Count(b.Height), figures.Duration(s.stats.Update.Sub(b.Time.Time)))
	if b.Reward > 0 {
		text += ", " + figures.Bitcoins(b.Reward)
	}
	text += ", " + page.OneLine(b.State)
	if b.Worker != "" {
		text += ", by " + figures.Worker(page.OneLine(b.Worker))
	}
	if len(s.blocks) == 1 {
		return text
	}
	kept := int64(0)
	for _, b := range s.blocks {
		if strings.HasPrefix(b.State, "confirmed") {
			kept++
		}
	}
	return text + fmt.Sprintf("; %s of %s confirmed", figures.Count(kept), figures.Count(int64(len(s.blocks))))
}

func (s *status) work() string {
	switch {
	case s.stats.Height > 0:
	case s.upstreams == nil:
		return "none: no node has been usable yet"
	case s.stats.Work.IsZero():
		return "none: no upstream has given any yet"
	default: // which not every pool tells the height of
		return fmt.Sprintf("made %s ago", figures.Duration(s.stats.Update.Sub(s.stats.Work.Time)))
	}
	return fmt.Sprintf("block %s, made %s ago", figures.Count(s.stats.Height), figures.Duration(s.stats.Update.Sub(s.stats.Work.Time)))
}

func nodeText(n *control.Node) string {
	text := page.OneLine(n.URL) + " " + page.OneLine(n.State)
	if n.Current {
		text += ", in use"
	}
	if n.Version != "" {
		text += ", " + strings.Trim(page.OneLine(n.Version), "/")
	}
	if n.Reason != "" {
		text += ": " + page.OneLine(n.Reason)
	}
	return text
}
