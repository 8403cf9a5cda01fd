package pool

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"ckpool/address"
	"ckpool/bitcoind"
	"ckpool/internal/config"
	"ckpool/internal/logfile"
	"ckpool/internal/session"
	"ckpool/sharelog"
	"ckpool/work"
)

// easyBlockAge is when test networks allow a block of minimum difficulty: the
// template's bits change although neither tip nor transactions do.
const easyBlockAge = 1200 * time.Second

// updater turns templates into work. It belongs to the goroutine of run.
type updater struct {
	*Pool
	builder *work.Builder // nil until the chain is known
	network address.Network
	tipSeen time.Time        // when the present tip was first seen
	first   *bitcoind.Update // Prepare has seen, to be published by run
	shown   bool             // whom a block would pay
	took    time.Time        // when jobs were inherited
}

// patience is how long a template that is older than the inherited work is
// held back: the nodes of this process may hear of a block a moment later than
// those of the process before did.
const patience = 10 * time.Second

// inherit makes the jobs of another process those to go on from.
func (u *updater) inherit(jobs []session.Found) {
	u.took = time.Now()
	for _, f := range jobs {
		if f.Tip == jobs[len(jobs)-1].Tip {
			u.tipSeen = f.Job.Created
			return
		}
	}
}

// outdated tells that a template is older than the inherited work.
func (u *updater) outdated(t *bitcoind.Update) bool {
	w := u.jobs.Work()
	return w != nil && t.Template.Height < w.Job.Template.Height && !u.took.IsZero() && time.Since(u.took) < patience
}

// run turns templates into work until ctx ends. Publishing comes before
// everything else; what only people or files need is done after it.
func (u *updater) run(ctx context.Context) error {
	timer := time.NewTimer(u.interval())
	defer timer.Stop()
	for {
		t, ok := u.await(ctx, timer)
		if !ok {
			return nil
		}
		if u.outdated(&t) {
			timer.Reset(time.Second)
			continue
		}
		if u.builder == nil {
			if err := u.learnChain(); err != nil {
				return err
			}
		}
		if err := u.publish(&t); err != nil {
			u.logAt(logfile.LevelError, "Template of "+t.Node+" gives no work: "+err.Error())
			continue
		}
		timer.Reset(u.nextUpdate(&t))
	}
}

// await is the next template to make work of; false when ctx has ended. Each
// time the timer runs down it asks for one, and makes do with the last if no node
// has answered for long.
func (u *updater) await(ctx context.Context, timer *time.Timer) (t bitcoind.Update, ok bool) {
	prepared := make(chan bitcoind.Update, 1)
	if u.first != nil && len(u.nodes.Templates()) == 0 { // or it is older than that
		prepared <- *u.first
	}
	u.first = nil
	for {
		select {
		case <-ctx.Done():
			return t, false
		case <-timer.C:
			u.nodes.Refresh("update interval")
			timer.Reset(u.interval())
			if t, ok = u.renewed(time.Now()); !ok {
				continue
			}
		case t = <-prepared:
		case t = <-u.nodes.Templates():
		}
		return t, true
	}
}

// interval is how often nodes are asked.
func (u *updater) interval() time.Duration {
	return min(u.config.Load().UpdateInterval, session.RenewAfter)
}

// renewed is the present work's template once more, when it was announced for so
// long that miners would not hear of it again. Its time has gone on, where the
// difficulty does not depend on that.
func (u *updater) renewed(now time.Time) (t bitcoind.Update, ok bool) {
	w := u.jobs.Work()
	if w == nil || now.Sub(w.Job.Created) < session.RenewAfter {
		return t, false
	}
	passed := now.Sub(w.Job.Created)
	switch u.nodes.Chain() {
	case "test", "testnet4":
		passed = 0
	}
	return bitcoind.Update{Template: w.Job.Template.Later(uint32(passed / time.Second)), Node: "none", Answered: now}, true
}

// nextUpdate is when work is refreshed without a new block: after the interval,
// after half of it when the tip is new, and on test networks when an easy block
// becomes possible.
func (u *updater) nextUpdate(t *bitcoind.Update) time.Duration {
	wait := u.interval()
	if t.NewTip {
		wait /= 2
	}
	switch u.nodes.Chain() {
	case "test", "testnet4":
		// mintime is past the median of eleven blocks; the tip's own time is not
		// in the template, so its arrival stands for it.
		easy := easyBlockAge - time.Since(u.tipSeen)
		if easy > 0 && easy < wait {
			wait = easy
		}
	}
	return wait
}

// learnChain fixes what depends on the network: address encodings.
func (u *updater) learnChain() error {
	chain := u.nodes.Chain()
	to, err := scriptsOn(chain, u.config.Load(), u.options.Solo)
	if err != nil {
		return err
	}
	if _, known := address.NetworkForChain(chain); !known {
		what := fmt.Sprintf("The node calls its chain %q, which is unknown", chain)
		if chain == "" {
			what = "The node does not tell its chain"
		}
		u.logAt(logfile.LevelWarning, fmt.Sprintf("%s; addresses are taken for those of the %s network", what, to.network))
	}
	for other, n := range u.blocks.Abroad(chain) {
		u.logAt(logfile.LevelWarning, fmt.Sprintf("%d found blocks are of chain %s, the node is on %s: they stay as they are", n, other, chain))
	}
	c := u.config.Load()
	b := &work.Builder{
		Tag: c.PoolTag, Sig: c.BTCSig,
		PayoutScript: to.payout, Donation: c.Donation, DonationScript: to.donation,
		Extranonce1Len: c.Nonce1Length, Extranonce2Len: c.Nonce2Length,
		VersionMask: c.VersionMask,
	}
	if err := b.Validate(); err != nil {
		return err
	}
	u.SetNetwork(to.network)
	u.network, u.builder = to.network, b
	if u.options.Solo {
		u.logAt(logfile.LevelWarning, "Mining solo to any incoming valid BTC address username")
	} else {
		u.logAt(logfile.LevelNotice, "Mining from any incoming username to address "+c.BTCAddress)
	}
	if c.Donation > 0 {
		u.logAt(logfile.LevelNotice, fmt.Sprintf("%g percent donation to %s", c.Donation, c.DonAddress))
	}
	return nil
}

// scripts are the configured addresses on one network.
type scripts struct {
	network          address.Network
	payout, donation []byte // nil: none
}

// scriptsOn translates the configured addresses for a chain. That none of the
// nodes' chains knows them is the one thing of their words that ends the
// program.
func scriptsOn(chain string, c *config.Config, solo bool) (s scripts, err error) {
	network, known := address.NetworkForChain(chain)
	if !known {
		network = address.Main
		if a, err := address.Parse(c.BTCAddress); err == nil {
			network = a.Network() // a node that does not tell its chain
		}
	}
	s.network = network
	if !solo {
		if s.payout, err = payable("btcaddress", c.BTCAddress, network, chain); err != nil {
			return s, err
		}
	}
	if c.Donation > 0 {
		s.donation, err = payable("donaddress", c.DonAddress, network, chain)
	}
	return s, err
}

// payable is the output script of a configured address on the node's network.
func payable(key, text string, network address.Network, chain string) ([]byte, error) {
	a, err := address.Parse(text)
	if err == nil && !a.On(network) {
		err = fmt.Errorf("it is not an address of the node's chain %q", chain)
	}
	if err == nil {
		err = a.Payable()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q invalid: %w", key, text, err)
	}
	return a.Script(), nil
}

// yieldTime is for the loops: they begin with the new work when one of the
// processors looks at the network, which the one that is telling people does not.
const yieldTime = 2 * time.Millisecond

// publish makes the template the current work and wakes the loops.
func (u *updater) publish(t *bitcoind.Update) error {
	old := u.jobs.Work()
	w, err := u.jobs.publish(u.builder, t.Template, time.Now())
	if err != nil {
		return err
	}
	for _, l := range u.server.Loops() {
		l.Wake()
	}
	took := time.Since(t.Answered)
	time.Sleep(yieldTime)

	job := w.Job
	if old == nil || w.Tip != old.Tip {
		u.tipSeen = time.Now()
		u.logAt(logfile.LevelNotice, fmt.Sprintf("New block: height %d, work for %d sent %s after %s answered",
			job.Template.Height-1, job.Template.Height, took.Round(10*time.Microsecond), t.Node))
	}
	if !u.shown {
		u.shown = true
		u.logCoinbase(job)
	}
	if old == nil || old.Job.NetworkDifficulty != job.NetworkDifficulty {
		u.logAt(logfile.LevelWarning, "Network diff set to "+networkText(job.NetworkDifficulty))
	}
	u.SetNetworkDifficulty(job.NetworkDifficulty)
	select {
	case u.published <- struct{}{}:
	default: // there is a job to look at anyway
	}
	return nil
}

// networkText is a network difficulty with the digits people want: one decimal,
// on private chains three digits.
func networkText(d float64) string {
	if d < 1 {
		return strconv.FormatFloat(d, 'g', 3, 64)
	}
	return strconv.FormatFloat(d, 'f', 1, 64)
}

// tidyJobs does what must not delay work: transactions known from the job
// before are shared with it, the witness commitment of the newest is checked,
// and the list of its transactions is written.
func (p *Pool) tidyJobs() {
	var newest *work.Job
	for _, f := range *p.recent.Load() {
		if p.tidied != nil && f.Job.ID <= p.tidied.ID {
			continue
		}
		var before *work.Template
		if p.tidied != nil {
			before = p.tidied.Template
		}
		f.Job.Template.Share(before)
		p.tidied, newest = f.Job, f.Job
	}
	if newest == nil {
		return
	}
	if err := newest.Template.CheckWitness(); err != nil {
		p.logAt(logfile.LevelError, fmt.Sprintf("Template for height %d: %v", newest.Template.Height, err))
	}
	if err := writeTransactions(p.config.Load().LogDir, newest.Template); err != nil {
		p.Notice("pool.txns", "Cannot write pool.txns: "+err.Error())
	}
	collect()
}

// writeTransactions writes the transaction ids of the present work, one a line.
func writeTransactions(logDir string, t *work.Template) error {
	b := make([]byte, 0, 65*t.TxCount())
	for i := range t.TxCount() {
		b = append(appendDisplay(b, t.TxID(i)), '\n')
	}
	path := filepath.Join(logDir, "pool", "pool.txns")
	return sharelog.ReplaceFile(path, b, false)
}
