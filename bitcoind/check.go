package bitcoind

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// checkLoop asks the node for its chain: every 5 s, and after each new tip for
// the work behind it.
func (w watcher) checkLoop(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, w.untilCheck(), w.n.checkNow)
		if ctx.Err() == nil && w.worthChecking() {
			w.check(ctx)
		}
	}
}

// untilCheck is shorter while a node that gives templates cannot be compared
// with others.
func (w watcher) untilCheck() time.Duration {
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	if w.n.answers && (!w.n.verified || !w.n.informed()) {
		return time.Second
	}
	return checkEvery
}

// worthChecking: while a node cannot be reached, the fetcher tries.
func (w watcher) worthChecking() bool {
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	if w.n.answers && time.Since(w.n.received) >= fetchEvery {
		w.n.want()
	}
	return w.n.asked && w.n.reachable()
}

// check asks the node for its chain and takes in the answer.
func (w watcher) check(ctx context.Context) {
	w.tr.mu.Lock()
	before, losses := w.n.tips, w.n.losses
	w.tr.mu.Unlock()
	asked := time.Now()
	info, err := w.n.client.ChainInfo(ctx)
	latency := time.Since(asked)
	if ctx.Err() != nil {
		return
	}
	w.tr.mu.Lock()
	verified := w.n.verified
	w.tr.mu.Unlock()
	trouble := w.n.client.explain(err)
	if err != nil && (verified && !unsupported(err) || !trouble.refusal() || trouble.kind == kindBusy) {
		w.lost(err, asked)
		return
	}
	if info.Chain == "" && !verified {
		genesis, err := w.n.client.BlockHash(ctx, 0)
		if err != nil && !unsupported(err) {
			w.unnamed(err)
			return
		}
		info.Chain = ChainOf(genesis)
	}
	w.tr.update(func(now time.Time) {
		if w.n.losses != losses { // it is the answer of who was there before
			signal(w.n.checkNow)
			return
		}
		if info.Chain != "" || !w.n.verified {
			w.tr.learnChain(w.n, info.Chain)
		}
		w.n.info, w.n.latency = info, latency
		w.n.answered = now
		w.n.noWork = info.ChainWork == nil
		w.n.verified, w.n.nameless = true, problem{}
		if err == nil {
			w.tr.inform(w.n, info, before)
		}
		w.n.deduceHeight()
		crossed := info.BestBlockHash != w.n.tip.hash && (info.BestBlockHash != [32]byte{} || w.n.tips != before) // with news
		w.n.steady = w.tr.usable(w.n) && w.n.tip.hash == w.tr.published.hash && !crossed
	})
	if !verified {
		signal(w.n.callsNow)
		version := w.n.client.version(ctx)
		w.tr.mu.Lock()
		w.n.version = version
		w.tr.mu.Unlock()
	}
}

// callsLoop finds out what the node does not let the pool do: when it was reached
// anew, and while there is something. A call that hangs holds up nothing else.
func (w watcher) callsLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.n.callsNow:
		}
		for ctx.Err() == nil && w.checkCalls(ctx) {
			sleep(ctx, checkEvery, w.n.callsNow)
		}
	}
}

// checkCalls reports whether it is to be repeated. A node that cannot be reached
// is one to be reached anew.
func (w watcher) checkCalls(ctx context.Context) (again bool) {
	forbidden, ok := w.n.client.forbidden(ctx)
	if ok {
		w.tr.update(func(time.Time) { w.n.forbidden = forbidden })
		return forbidden != ""
	}
	w.tr.mu.Lock()
	defer w.tr.mu.Unlock()
	return w.n.reachable()
}

// forbidden are the calls the node refuses to this user, of those that are
// needed beside templates. Else a missing word in its rpcwhitelist would show
// when the first block is found. It is false if the node does not answer.
func (c *Client) forbidden(ctx context.Context) (methods string, ok bool) {
	ctx, cancel := withTimeout(ctx, c.options.Timeout)
	defer cancel()
	var list []string
	for _, call := range []struct {
		method string
		params []any
	}{
		{"submitblock", []any{noBlock}},
		{"preciousblock", []any{displayHash{}.String()}},
		{"getblockhash", []any{0}},
		{"getblockcount", nil},
		{"getbestblockhash", nil},
		{"getblockchaininfo", nil},
	} {
		err := c.call(ctx, c.submissions, c.options.Timeout, nil, call.method, call.params...)
		e, answered := asRPCError(err)
		switch {
		case err != nil && !answered:
			return "", false
		case answered && (e.Status == http.StatusForbidden || e.Code == codeMethodNotFound && call.method == "submitblock"):
			list = append(list, call.method)
		}
	}
	return strings.Join(list, ", "), true
}

// noBlock is hex that no node can take for a block.
const noBlock = "00"

// unnamed notes that the node's chain is not known, now. One that never tells
// is used: its templates count.
func (w watcher) unnamed(err error) {
	p := w.n.client.explain(err)
	w.tr.update(func(time.Time) {
		w.n.nameless = problem{state: stateFailing, kind: "nameless", reason: "does not tell its chain: " + p.reason}
	})
}

// version is how the node calls itself, "" if it does not say.
func (c *Client) version(ctx context.Context) string {
	var network struct {
		Subversion string `json:"subversion"`
	}
	if c.Call(ctx, &network, "getnetworkinfo") == nil {
		return brief(network.Subversion)
	}
	var btcd map[string]struct {
		Version string `json:"versionstring"`
	}
	if c.Call(ctx, &btcd, "version") == nil {
		if v, ok := btcd["btcdjsonrpcapi"]; ok {
			return "btcd, RPC " + brief(v.Version)
		}
	}
	return ""
}
