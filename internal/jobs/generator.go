package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// easyBlockAge is when test networks allow a block of minimum difficulty: the
// template's bits change although neither tip nor transactions do.
const easyBlockAge = 1200 * time.Second

// NewTip is an event: there is work on a new block.
type NewTip struct {
	Height int64         // of the new block, 0 unknown; the work is for the one after it
	Hash   [32]byte      // of the new block, in internal byte order
	From   string        // host:port of the place whose template came first
	Took   time.Duration // from its answer until the work was published
}

// Options are what a Generator needs of the pool around it.
type Options struct {
	Config func() *config.Config // the present one
	Payout Payout
	Place  string // what work comes from, for messages; "" is node
	Events event.Func
	Notice func(kind, text string) // one text of a kind goes to the log each minute
	// OnChain is called when the chain is known, as Bitcoin Core names it, before
	// the first work, which does not come after an error.
	OnChain func(chain string, network address.Network) error
	// Before is told each new work before any miner can have it; nil: nobody is.
	Before func(*session.Work)
	// Wake is called with each new work, before anything else is done, to wake
	// those who wait for it.
	Wake func(*session.Work)
	// Quiet is called when miners have the newest work and nobody waits for
	// anything.
	Quiet func()
}

// Generator turns templates of a source into jobs.
type Generator struct {
	// immutable
	options   Options
	source    Source
	jobs      *Jobs
	published chan struct{} // capacity 1; there is a job that Tidy has not looked at

	// owned by Run, before it by AwaitTemplate and inherit
	builder   *work.Builder // nil until the chain is known
	outputs   []work.Output // of each job
	network   address.Network
	tipSeen   time.Time      // when the present tip was first seen
	told      [32]byte       // the block that NewTip was told of last
	diff      float64        // network difficulty that was told last
	known     bool           // OnChain was called
	first     *source.Update // AwaitTemplate has had, to be published by Run
	shown     bool           // whom a block would pay
	inherited time.Time      // when jobs of another process were

	tidied *work.Job // owned by Tidy, before it by inherit; the last one it saw
}

// NewGenerator makes a generator that publishes in jobs.
func NewGenerator(from Source, jobs *Jobs, o Options) *Generator {
	return &Generator{options: o, source: from, jobs: jobs, published: make(chan struct{}, 1)}
}

// outdatedTime is how long a template that is older than the inherited work is
// held back: the nodes of this process may hear of a block a moment later than
// those of the process before did.
const outdatedTime = 10 * time.Second

// inherit makes the jobs of another process those to go on from, with the sources of
// them that have ended.
func (g *Generator) inherit(jobs []*session.Work, ended map[uint32]time.Time) {
	g.jobs.restore(jobs, ended)
	last := jobs[len(jobs)-1]
	g.told, g.diff = last.Job.Template.PrevHash, last.Job.NetworkDifficulty
	g.inherited, g.tidied = time.Now(), last.Job
	for _, f := range jobs {
		if f.Tip == last.Tip {
			g.tipSeen = f.Job.Created
			return
		}
	}
}

// outdated tells that a template is older than the inherited work.
func (g *Generator) outdated(t *source.Update) bool {
	w := g.jobs.Work(sourceOf(t.Upstream))
	return w != nil && t.Template.Height < w.Job.Template.Height && !g.inherited.IsZero() && time.Since(g.inherited) < outdatedTime
}

// templateTime is how long a node has for its first template before the other
// process is left to go on. It is shorter than what that one waits for, so that it
// hears the reason.
const templateTime = 12 * time.Second

// AwaitTemplate waits for a template that work can be made of, for Run. The error is
// that of ctx, or says why there is no work.
func (g *Generator) AwaitTemplate(ctx context.Context) error {
	deadline := time.NewTimer(templateTime)
	defer deadline.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %s has given a template: %w", g.place(), context.Cause(ctx))
		case <-deadline.C:
			return fmt.Errorf("no %s has given a template within %v: %s", g.place(), templateTime, g.trouble())
		case t := <-g.source.Templates():
			if t.Ended {
				continue
			}
			if t.Template == nil {
				return g.noTemplate()
			}
			b, outputs, err := g.buildFor(&t)
			if err != nil {
				return err
			}
			if _, err := b.Job(t.Template, 1, time.Now(), outputs); err != nil {
				return fmt.Errorf("template of %s gives no work: %w", t.From, err)
			}
			g.first = &t
			return nil
		}
	}
}

func (g *Generator) place() string { return cmp.Or(g.options.Place, "node") }

func (g *Generator) noTemplate() error {
	return errors.New("the " + g.place() + " gave an update without a template")
}

// trouble is why the source cannot be used.
func (g *Generator) trouble() string {
	var texts []string
	for _, n := range g.source.Status() {
		texts = append(texts, fmt.Sprintf("%s %s %s", g.place(), n.URL, cmp.Or(n.Reason, "is "+n.State)))
	}
	return strings.Join(texts, "; ")
}

// Run turns templates into work until ctx ends. Publishing comes before
// everything else; what only people or files need is done after it.
func (g *Generator) Run(ctx context.Context) error {
	timer := time.NewTimer(g.interval())
	defer timer.Stop()
	for {
		t, ok := g.await(ctx, timer)
		if !ok {
			return nil
		}
		if t.Ended {
			g.jobs.end(sourceOf(t.Upstream), time.Now())
			continue
		}
		if t.Template == nil { // as every update of a closed channel
			return g.noTemplate()
		}
		if g.outdated(&t) {
			timer.Reset(time.Second)
			continue
		}
		b, outputs, err := g.buildFor(&t)
		if err != nil {
			return err
		}
		if err := g.publish(b, outputs, &t); err != nil {
			g.options.Events.Say(event.Error, "Template of "+t.From+" gives no work: "+err.Error())
			continue
		}
		timer.Reset(g.nextUpdate(&t))
	}
}

// await is the next template to make work of; false when ctx has ended. Each
// time the timer runs down it asks for one, and makes do with the last if no node
// has answered for long.
func (g *Generator) await(ctx context.Context, timer *time.Timer) (t source.Update, ok bool) {
	if first := g.first; first != nil {
		g.first = nil
		// Of nodes one that waits is newer; of several sources it may be another's.
		if first.Upstream != nil || len(g.source.Templates()) == 0 {
			return *first, true
		}
	}
	asked := false // in vain, for a job that is to be renewed
	for {
		select {
		case <-ctx.Done():
			return t, false
		case <-timer.C:
			g.source.Refresh("update interval")
			timer.Reset(g.interval())
			if t, ok = g.renewed(time.Now()); !ok {
				continue
			}
			if !asked { // an answer is better
				asked = true
				timer.Reset(renewTime)
				continue
			}
		case t = <-g.source.Templates():
		case <-g.jobs.renewals:
			if t, ok = g.jobs.renewal(time.Now()); !ok {
				continue
			}
		}
		return t, true
	}
}

// renewTime is what nodes have to answer before the last template is used again.
const renewTime = 2 * time.Second

// interval is how often nodes are asked.
func (g *Generator) interval() time.Duration {
	return min(g.options.Config().UpdateInterval, session.RenewAfter)
}

// renewed is the present work's template once more, when it was announced for so
// long that miners would not hear of it again. Its time has gone on, where the
// difficulty does not depend on that.
func (g *Generator) renewed(now time.Time) (t source.Update, ok bool) {
	w := g.jobs.Work(0)
	if w == nil || now.Sub(w.Job.Created) < session.RenewAfter {
		return t, false
	}
	passed := now.Sub(w.Job.Created)
	switch g.source.Chain() {
	case "test", "testnet4":
		passed = 0
	}
	return source.Update{Template: w.Job.Template.Later(uint32(passed / time.Second)), From: "none", Received: now}, true
}

// nextUpdate is when work is refreshed without a new block: after the interval,
// after half of it when the tip is new, and on test networks when an easy block
// becomes possible.
func (g *Generator) nextUpdate(t *source.Update) time.Duration {
	wait := g.interval()
	if t.NewTip {
		wait /= 2
	}
	switch g.source.Chain() {
	case "test", "testnet4":
		// mintime is past the median of eleven blocks; the tip's own time is not
		// in the template, so its arrival stands for it.
		easy := easyBlockAge - time.Since(g.tipSeen)
		if easy > 0 && easy < wait {
			wait = easy
		}
	}
	return wait
}

// buildFor is what the job of an update is built with. An error ends the program.
func (g *Generator) buildFor(t *source.Update) (*work.Builder, []work.Output, error) {
	u := t.Upstream
	if u == nil {
		if g.builder == nil {
			if err := g.learnChain(); err != nil {
				return nil, nil, err
			}
		}
		return g.builder, g.outputs, nil
	}
	if err := g.learnNetwork(); err != nil {
		return nil, nil, err
	}
	c := g.options.Config()
	return &work.Builder{Extranonce1Len: u.Shape.Own, Extranonce2Len: u.Shape.Extranonce2, VersionMask: c.VersionMask & u.VersionMask}, nil, nil
}

// learnNetwork is learnChain for the work of other pools, where nobody is paid here: the
// network is for names.
func (g *Generator) learnNetwork() error {
	if g.known {
		return nil
	}
	network := g.options.Payout.network()
	if err := g.options.OnChain(g.source.Chain(), network); err != nil {
		return err
	}
	g.network, g.known = network, true
	return nil
}

// learnChain fixes what depends on the network: address encodings.
func (g *Generator) learnChain() error {
	chain := g.source.Chain()
	payout := &g.options.Payout
	to, err := payout.on(chain)
	if err != nil {
		return err
	}
	if _, known := address.NetworkForChain(chain); !known {
		what := fmt.Sprintf("The %s calls its chain %q, which is unknown", g.place(), chain)
		if chain == "" {
			what = "The " + g.place() + " does not tell its chain"
		}
		g.options.Events.Say(event.Warning, fmt.Sprintf("%s; addresses are taken for those of the %s network", what, to.network))
	}
	c := g.options.Config()
	b := &work.Builder{
		Tag: c.PoolTag, Sig: c.BTCSig,
		PayoutScript: to.rest, Extranonce1Len: c.Nonce1Length, Extranonce2Len: c.Nonce2Length,
		VersionMask: c.VersionMask,
	}
	if err := b.Validate(); err != nil {
		return err
	}
	if err := g.options.OnChain(chain, to.network); err != nil {
		return err
	}
	g.network, g.builder, g.outputs = to.network, b, to.parts
	if payout.Solo() {
		g.options.Events.Say(event.Warning, "Mining solo to any incoming valid BTC address username")
	} else {
		g.options.Events.Say(event.Notice, "Mining from any incoming username to address "+payout.Rest.Address)
	}
	for i := range payout.Parts {
		part := &payout.Parts[i]
		g.options.Events.Say(event.Notice, fmt.Sprintf("%.6g percent of each block to %s (%s)", 100*float64(part.Part.Num)/float64(part.Part.Den), part.Address, part.Name))
	}
	return nil
}

// yieldTime is for the loops: they begin with the new work when one of the
// processors looks at the network, which the one that is telling people does not.
const yieldTime = 2 * time.Millisecond

// publish makes the template the current work and wakes the loops.
func (g *Generator) publish(b *work.Builder, outputs []work.Output, t *source.Update) error {
	old := g.jobs.Work(sourceOf(t.Upstream))
	w, err := g.jobs.publish(b, outputs, t, time.Now(), g.options.Before)
	if err != nil {
		return err
	}
	g.options.Wake(w)
	took := time.Since(t.Received)
	job := w.Job
	newTip := old == nil || w.Tip != old.Tip
	if t.Upstream != nil { // another one may have told of that block already
		newTip = g.told != job.Template.PrevHash
	}
	if newTip || t.Upstream == nil {
		time.Sleep(yieldTime)
	}
	if newTip {
		g.tipSeen, g.told = time.Now(), job.Template.PrevHash
		g.options.Events.Tell(event.Event{
			Level: event.Notice, Text: newBlockText(job.Template, took, t.From),
			What: NewTip{Height: max(job.Template.Height-1, 0), Hash: job.Template.PrevHash, From: t.From, Took: took},
		})
	}
	if !g.shown && t.Upstream == nil {
		g.shown = true
		g.logCoinbase(job)
	}
	if n := len(job.LeftOut); n > 0 && (old == nil || len(old.Job.LeftOut) == 0) {
		g.options.Events.Say(event.Warning, fmt.Sprintf("The block of height %d has no room for %d of %d coinbase outputs: their value goes to the payout",
			job.Template.Height, n, len(g.outputs)))
	}
	if g.diff != job.NetworkDifficulty {
		g.diff = job.NetworkDifficulty
		g.options.Events.Say(event.Warning, "Network diff set to "+networkText(job.NetworkDifficulty))
	}
	select {
	case g.published <- struct{}{}:
	default: // there is a job to look at anyway
	}
	return nil
}

// newBlockText is the line about a new block, whose height another pool may not tell.
func newBlockText(t *work.Template, took time.Duration, from string) string {
	work := fmt.Sprintf("height %d, work for %d", t.Height-1, t.Height)
	if t.Height == 0 {
		work = "height unknown, work"
	}
	return fmt.Sprintf("New block: %s sent %s after %s answered", work, took.Round(10*time.Microsecond), from)
}

// networkText is a network difficulty with the digits people want: one decimal,
// on private chains three digits.
func networkText(d float64) string {
	if d < 1 {
		return strconv.FormatFloat(d, 'g', 3, 64)
	}
	return strconv.FormatFloat(d, 'f', 1, 64)
}
