package bitcoind

import (
	"context"
	"time"
)

// checkLoop asks the node for its chain: every 5 s, and after each new tip for
// the work behind it.
func (g *Group) checkLoop(ctx context.Context, n *node) {
	for ctx.Err() == nil {
		sleep(ctx, checkEvery, n.checkNow)
		if ctx.Err() == nil && g.worthChecking(n) {
			g.check(ctx, n)
		}
	}
}

// worthChecking: while a node cannot be reached, the fetcher tries.
func (g *Group) worthChecking(n *node) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n.answers && time.Since(n.received) >= fetchEvery {
		n.want()
	}
	return n.asked && n.reachable()
}

func (g *Group) check(ctx context.Context, n *node) {
	before, _ := g.tips(n)
	asked := time.Now()
	info, err := n.client.ChainInfo(ctx)
	latency := time.Since(asked)
	if ctx.Err() != nil {
		return
	}
	silent := err != nil && unsupported(err)
	if err != nil && !silent {
		g.lost(n, err, asked)
		return
	}
	g.mu.Lock()
	verified := n.verified
	g.mu.Unlock()
	if info.Chain == "" && !verified {
		if genesis, err := n.client.BlockHash(ctx, 0); err == nil {
			info.Chain = chainOf(genesis)
		}
	}
	g.update(func(now time.Time) {
		if info.Chain != "" || !n.verified {
			g.learnChain(n, info.Chain)
		}
		n.info, n.latency = info, latency
		n.answered = now
		n.noWork = info.ChainWork == nil
		n.verified = true
		if !silent {
			g.inform(n, info, before)
		}
		n.steady = g.usable(n) && n.tip.hash == g.published.hash
	})
	if !verified {
		version := n.client.version(ctx)
		g.mu.Lock()
		n.version = version
		g.mu.Unlock()
	}
}

// inform takes in what the node says of its chain; before is its count of tips
// when it was asked.
func (g *Group) inform(n *node, info ChainInfo, before uint64) {
	if info.BestBlockHash == [32]byte{} {
		return
	}
	if n.tip.hash != info.BestBlockHash && n.tips == before {
		g.hear(n, info.BestBlockHash)
	}
	if n.tip.hash == info.BestBlockHash && info.Blocks >= 0 {
		g.learn(tip{info.BestBlockHash, info.Blocks, info.ChainWork})
	}
}

// version is how the node calls itself, "" if it does not say.
func (c *Client) version(ctx context.Context) string {
	var network struct {
		Subversion string `json:"subversion"`
	}
	if c.Call(ctx, &network, "getnetworkinfo") == nil {
		return network.Subversion
	}
	var btcd map[string]struct {
		Version string `json:"versionstring"`
	}
	if c.Call(ctx, &btcd, "version") == nil {
		if v, ok := btcd["btcdjsonrpcapi"]; ok {
			return "btcd, RPC " + v.Version
		}
	}
	return ""
}
