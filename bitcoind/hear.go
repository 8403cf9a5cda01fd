package bitcoind

import "time"

// receive takes in a template of the node.
func (tr *tracker) receive(n *node, t *template, now time.Time) {
	n.asked, n.answers, n.problem = true, true, problem{}
	n.received, n.answered = now, now
	if !n.verified {
		signal(n.checkNow)
	}
	if n.tip.hash != t.built.hash && n.tipIsNews(t) {
		tr.hear(n, t.built.hash)
	}
	if n.tip.hash == t.built.hash {
		t.tips = n.tips
	}
	n.template = t
	n.deduceHeight()
	signal(n.longPollNow)
}

// tipIsNews reports whether a template on another block than the node's tip is
// the first to tell of it. Else it is an answer that crossed with news, or that
// of a node at odds with itself.
func (n *node) tipIsNews(t *template) bool {
	if t.tips == n.tips {
		return t.built.height >= n.tip.height
	}
	return n.tip.height >= 0 && t.built.height > n.tip.height && t.built.hash != t.had
}

// hear takes in that hash is the node's newest block.
func (tr *tracker) hear(n *node, hash [32]byte) {
	if hash == n.tip.hash {
		return
	}
	n.tip = tip{hash: hash, height: -1}
	n.tips++
	for _, other := range tr.nodes {
		if other.tip.hash == hash && other.tip.height >= 0 {
			n.tip = other.tip
		}
	}
	signal(n.checkNow)
	if !n.answers {
		n.want()
	}
	tr.wakeFollowers()
}

// wakeFollowers makes blocks that are followed look at the nodes again.
func (tr *tracker) wakeFollowers() {
	close(tr.changed)
	tr.changed = make(chan struct{})
}

// learn spreads what is known of a block to all who have it.
func (tr *tracker) learn(known tip) {
	for _, n := range tr.nodes {
		if n.tip.hash == known.hash {
			n.tip = known
		}
	}
	if tr.published.hash == known.hash {
		tr.published = known
	}
}

// inform takes in what the node says of its chain; before is its count of tips
// when it was asked.
func (tr *tracker) inform(n *node, info ChainInfo, before uint64) {
	if info.BestBlockHash == [32]byte{} {
		return
	}
	if n.tip.hash != info.BestBlockHash && n.tips == before {
		tr.hear(n, info.BestBlockHash)
	}
	if n.tip.hash == info.BestBlockHash && info.Blocks >= 0 {
		tr.learn(tip{info.BestBlockHash, info.Blocks, info.ChainWork})
	}
}
