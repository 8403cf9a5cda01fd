package fakenode

import (
	"bytes"
	"errors"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// Submission is one call of submitblock.
type Submission struct {
	Time    time.Time
	Block   *wire.MsgBlock // nil: not decodable
	Raw     []byte
	Verdict string // "" is accepted as the new tip, "-22" not decodable
}

// keptSubmissions bounds the memory of big blocks.
const keptSubmissions = 64

// Submissions are the last blocks submitted, oldest first.
func (n *Node) Submissions() []Submission {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Submission(nil), n.submissions...)
}

// submit decodes and checks a block as submitblock does; forced replaces the
// verdict when not empty.
func (n *Node) submit(raw []byte, forced string) (verdict string, err error) {
	b := new(wire.MsgBlock)
	r := bytes.NewReader(raw)
	if err := b.Deserialize(r); err != nil || r.Len() > 0 {
		if len(raw) >= 80 { // else it was a try
			n.record(Submission{Time: time.Now(), Raw: raw, Verdict: "-22"})
		}
		return "", errDecode
	}
	if forced == "" {
		forced = n.chain.judge(b)
	}
	n.record(Submission{Time: time.Now(), Block: b, Raw: raw, Verdict: forced})
	return forced, nil
}

var errDecode = errors.New("Block decode failed")

func (n *Node) record(s Submission) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.submissions) == keptSubmissions {
		n.submissions = append(n.submissions[:0], n.submissions[1:]...)
	}
	n.submissions = append(n.submissions, s)
}

// judge checks in the order of Core, so that the first thing wrong is the one
// it names, and takes a good block into the chain.
func (n *chain) judge(b *wire.MsgBlock) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	hash := b.BlockHash()
	if n.blocks[hash] != nil {
		return "duplicate"
	}
	if reason := contextFree(b, hash); reason != "" {
		return reason
	}
	parent := n.blocks[b.Header.PrevBlock]
	if parent == nil {
		return "prev-blk-not-found"
	}
	if b.Header.Bits != n.bits {
		return "bad-diffbits"
	}
	if !b.Header.Timestamp.After(parent.medianTime()) {
		return "time-too-old"
	}
	if b.Header.Timestamp.After(time.Now().Add(2 * time.Hour)) {
		return "time-too-new"
	}
	if b.Header.Version < 4 {
		return "bad-version"
	}
	if reason := n.contextual(b, parent.height+1); reason != "" {
		return reason
	}
	n.sequence++
	child := n.child(parent, b.Header, hash)
	n.blocks[hash] = child
	if child.work.Cmp(n.tip().work) <= 0 {
		return "inconclusive"
	}
	n.connect(child)
	return ""
}

// contextFree checks what needs no chain.
func contextFree(b *wire.MsgBlock, hash chainhash.Hash) string {
	target := blockchain.CompactToBig(b.Header.Bits)
	if target.Sign() <= 0 || blockchain.HashToBig(&hash).Cmp(target) > 0 {
		return "high-hash"
	}
	if len(b.Transactions) == 0 {
		return "bad-blk-length"
	}
	txids := make([]chainhash.Hash, len(b.Transactions))
	seen := map[chainhash.Hash]bool{}
	repeated := false
	for i, tx := range b.Transactions {
		txids[i] = tx.TxHash()
		repeated = repeated || seen[txids[i]]
		seen[txids[i]] = true
	}
	if merkleRoot(txids) != b.Header.MerkleRoot {
		return "bad-txnmrklroot"
	}
	if repeated {
		return "bad-txns-duplicate"
	}
	if b.SerializeSizeStripped() > 1_000_000 {
		return "bad-blk-length"
	}
	if !blockchain.IsCoinBaseTx(b.Transactions[0]) {
		return "bad-cb-missing"
	}
	for _, tx := range b.Transactions[1:] {
		if blockchain.IsCoinBaseTx(tx) {
			return "bad-cb-multiple"
		}
	}
	if l := len(b.Transactions[0].TxIn[0].SignatureScript); l < 2 || l > 100 {
		return "bad-cb-length"
	}
	return ""
}

// contextual checks what depends on the height and the mempool. A coinbase
// without witness is taken if it commits: the real node adds the witness before
// it looks.
func (n *chain) contextual(b *wire.MsgBlock, height int64) string {
	coinbase := b.Transactions[0]
	prefix, err := txscript.NewScriptBuilder().AddInt64(height).Script()
	if err != nil || !bytes.HasPrefix(coinbase.TxIn[0].SignatureScript, prefix) {
		return "bad-cb-height"
	}
	if reason := witness(b); reason != "" {
		return reason
	}
	limit := n.subsidy(height)
	for _, tx := range b.Transactions[1:] {
		known := n.pool.byHash[tx.WitnessHash()]
		if known == nil {
			return "bad-txns-inputs-missingorspent"
		}
		limit += known.fee
	}
	var paid int64
	for _, out := range coinbase.TxOut {
		if out.Value < 0 {
			return "bad-txns-vout-negative"
		}
		paid += out.Value
	}
	if paid > limit {
		return "bad-cb-amount"
	}
	return ""
}

func witness(b *wire.MsgBlock) string {
	coinbase := b.Transactions[0]
	if _, commits := blockchain.ExtractWitnessCommitment(btcutil.NewTx(coinbase)); !commits {
		for _, tx := range b.Transactions {
			if tx.HasWitness() {
				return "unexpected-witness"
			}
		}
		return ""
	}
	if len(coinbase.TxIn[0].Witness) == 0 {
		// Core fills it in before it looks; here in a copy, for the record
		// shows the block as it came.
		filled := *b
		filled.Transactions = append([]*wire.MsgTx{coinbase.Copy()}, b.Transactions[1:]...)
		filled.Transactions[0].TxIn[0].Witness = wire.TxWitness{make([]byte, 32)}
		b = &filled
	}
	err := blockchain.ValidateWitnessCommitment(btcutil.NewBlock(b))
	var rule blockchain.RuleError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &rule) && rule.ErrorCode == blockchain.ErrInvalidWitnessCommitment:
		return "bad-witness-nonce-size"
	default:
		return "bad-witness-merkle-match"
	}
}

// precious makes a block of the same work as the tip the tip.
func (n *chain) precious(hash chainhash.Hash) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.blocks[hash]
	if b != nil && b != n.tip() && b.work.Cmp(n.tip().work) == 0 {
		n.connect(b)
	}
	return b != nil
}
