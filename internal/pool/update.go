package pool

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"ckpool/address"
	"ckpool/bitcoind"
	"ckpool/internal/logfile"
	"ckpool/sharelog"
	"ckpool/work"
)

// easyBlockAge is when test networks allow a block of minimum difficulty: the
// template's bits change although neither tip nor transactions do.
const easyBlockAge = 1200 * time.Second

// updateWork turns templates into work until ctx ends. Publishing comes before
// everything else; what only people or files need is done after it.
func (p *Pool) updateWork(ctx context.Context) error {
	timer := time.NewTimer(p.config.UpdateInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			p.nodes.Refresh("update interval")
			timer.Reset(p.config.UpdateInterval)
		case u := <-p.nodes.Templates():
			if p.builder == nil {
				if err := p.learnChain(); err != nil {
					return err
				}
			}
			if err := p.publish(&u); err != nil {
				p.logAt(logfile.LevelError, "Template of "+u.Node+" gives no work: "+err.Error())
				break
			}
			timer.Reset(p.nextUpdate(&u))
		}
	}
}

// nextUpdate is when work is refreshed without a new block: after the interval,
// after half of it when the tip is new, and on test networks when an easy block
// becomes possible.
func (p *Pool) nextUpdate(u *bitcoind.Update) time.Duration {
	wait := p.config.UpdateInterval
	if u.NewTip {
		wait /= 2
	}
	switch p.nodes.Chain() {
	case "test", "testnet4":
		// mintime is past the median of eleven blocks; the tip's own time is not
		// in the template, so its arrival stands for it.
		easy := easyBlockAge - time.Since(p.tipSeen)
		if easy > 0 && easy < wait {
			wait = easy
		}
	}
	return wait
}

// learnChain fixes what depends on the network: address encodings.
func (p *Pool) learnChain() error {
	chain := p.nodes.Chain()
	to, err := p.scripts(chain)
	if err != nil {
		return err
	}
	if _, known := address.NetworkForChain(chain); !known {
		p.logAt(logfile.LevelWarning, fmt.Sprintf("The node calls its chain %q, which is unknown; addresses are taken for mainnet's", chain))
	}
	b := &work.Builder{
		Tag: p.config.PoolTag, Sig: p.config.BTCSig,
		PayoutScript: to.payout, Donation: p.config.Donation, DonationScript: to.donation,
		Extranonce1Len: p.config.Nonce1Length, Extranonce2Len: p.config.Nonce2Length,
		VersionMask: p.config.VersionMask,
	}
	if err := b.Validate(); err != nil {
		return err
	}
	p.SetNetwork(to.network)
	p.network, p.builder = to.network, b
	if p.options.Solo {
		p.logAt(logfile.LevelWarning, "Mining solo to any incoming valid BTC address username")
	} else {
		p.logAt(logfile.LevelWarning, "Mining from any incoming username to address "+p.config.BTCAddress)
	}
	if p.config.Donation > 0 {
		p.logAt(logfile.LevelWarning, fmt.Sprintf("%g percent donation to %s", p.config.Donation, p.config.DonAddress))
	}
	return nil
}

// scripts are the configured addresses on one network.
type scripts struct {
	network          address.Network
	payout, donation []byte // nil: none
}

// scripts translates the configured addresses for a chain. That none of the
// nodes' chains knows them is the one thing of their words that ends the
// program.
func (p *Pool) scripts(chain string) (s scripts, err error) {
	network, known := address.NetworkForChain(chain)
	if !known {
		network = address.Main
	}
	s.network = network
	if !p.options.Solo {
		if s.payout, err = payable("btcaddress", p.config.BTCAddress, network, chain); err != nil {
			return s, err
		}
	}
	if p.config.Donation > 0 {
		s.donation, err = payable("donaddress", p.config.DonAddress, network, chain)
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
		return nil, fmt.Errorf("Fatal: %s %q invalid: %w", key, text, err)
	}
	return a.Script(), nil
}

// publish makes the template the current work and wakes the loops.
func (p *Pool) publish(u *bitcoind.Update) error {
	old := p.jobs.Work()
	w, err := p.jobs.publish(p.builder, u.Template, time.Now())
	if err != nil {
		return err
	}
	for _, l := range p.server.Loops() {
		l.Wake()
	}
	took := time.Since(u.Answered)

	job := w.Job
	if old == nil || w.Tip != old.Tip {
		p.tipSeen = time.Now()
		p.logAt(logfile.LevelNotice, fmt.Sprintf("New block: height %d, work for %d sent %s after %s answered",
			job.Template.Height-1, job.Template.Height, took.Round(10*time.Microsecond), u.Node))
	}
	if old == nil {
		p.logCoinbase(job)
	}
	if old == nil || old.Job.NetworkDifficulty != job.NetworkDifficulty {
		p.logAt(logfile.LevelWarning, fmt.Sprintf("Network diff set to %g", job.NetworkDifficulty))
	}
	p.SetNetworkDifficulty(job.NetworkDifficulty)
	select { // only the newest job is worth looking at
	case <-p.published:
	default:
	}
	p.published <- job
	return nil
}

// afterPublish does what must not delay work: the witness commitment is
// checked, transactions known from the job before are shared with it, and the
// list of them is written.
func (p *Pool) afterPublish(job *work.Job) {
	if err := job.Template.CheckWitness(); err != nil {
		p.logAt(logfile.LevelError, fmt.Sprintf("Template for height %d: %v", job.Template.Height, err))
	}
	if p.tidied != nil {
		job.Template.Share(p.tidied)
	}
	p.tidied = job.Template
	if err := p.writeTransactions(job.Template); err != nil {
		p.logAt(logfile.LevelWarning, "Cannot write pool.txns: "+err.Error())
	}
}

// writeTransactions writes the transaction ids of the present work, one a line.
func (p *Pool) writeTransactions(t *work.Template) error {
	b := make([]byte, 0, 65*t.TxCount())
	for i := range t.TxCount() {
		b = append(appendDisplay(b, t.TxID(i)), '\n')
	}
	path := filepath.Join(p.config.LogDir, "pool", "pool.txns")
	return sharelog.ReplaceFile(path, b, false)
}
