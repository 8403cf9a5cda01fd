package bitcoind

import (
	"context"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/source"
)

// Probe is what a node says when it is asked once, for somebody who sets a pool
// up.
type Probe struct {
	source.Status        // without Current
	Chain         string // as Bitcoin Core names it, "" unknown
}

// Probe asks the node for its chain and for a template, within Options.ProbeTimeout.
func (c *Client) Probe(ctx context.Context) Probe {
	ctx, cancel := withTimeout(ctx, c.options.ProbeTimeout)
	defer cancel()
	p := Probe{Status: source.Status{URL: c.name, Height: -1}}
	asked := time.Now()
	info, err := c.ChainInfo(ctx)
	p.Latency = time.Since(asked)
	p.Chain, p.Height = info.Chain, info.Blocks
	if err == nil || unsupported(err) {
		if p.Chain == "" {
			if genesis, genesisErr := c.BlockHash(ctx, 0); genesisErr == nil {
				p.Chain = ChainOf(genesis)
			}
		}
		template, templateErr := c.Template(ctx, "")
		if err = templateErr; err == nil {
			p.Height = template.Height - 1
			p.Version = c.version(ctx)
		}
	}
	trouble := c.explain(err)
	p.State, p.Reason = trouble.state, trouble.reason
	downloading := info.InitialBlockDownload != nil && *info.InitialBlockDownload
	switch {
	case p.State == stateSyncing && info.Headers > 0:
		p.Reason = fmt.Sprintf("is syncing: it has %d of %d blocks", info.Blocks, info.Headers)
	case err != nil:
	case downloading && p.Chain == "main":
		p.State, p.Reason = stateSyncing, "is syncing: it is in initial block download"
	default:
		p.State = stateOK
	}
	return p
}
