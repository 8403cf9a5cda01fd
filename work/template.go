package work

import (
	"bytes"
	"math"
	"sync/atomic"

	"github.com/ckpool/ckpool/difficulty"
)

// Template is a block template, of a node's answer ([ParseTemplate]) or made by
// hand ([NewTemplate]). Its content never changes; [Template.ShareTransactions]
// changes only how the transactions are kept. A Template must not be copied.
type Template struct {
	Height           int64             // 0 where a given coinbase does not tell it
	Version          uint32            // of the header
	PrevHash         [32]byte          // of the block before, internal order
	Bits             uint32            // compact target, as in the header
	CurTime, MinTime uint32            // unix seconds; MinTime = CurTime where the node gives none, CurTime is never before it
	CoinbaseValue    int64             // satoshis
	Flags            []byte            // coinbaseaux.flags
	Target           difficulty.Target // of Bits

	// HasCommitment tells that the node gave a default_witness_commitment.
	// DefaultCommitment is it as the 38 bytes of an output script, nil without.
	HasCommitment     bool
	DefaultCommitment []byte

	// What the coinbase with its witness may have in weight units, and in sigops
	// as they are counted since BIP141; 0 is as much as Bitcoin Core leaves by
	// default.
	CoinbaseWeight, CoinbaseSigops int

	VBRequired uint32   // version bits that must stay as they are
	LongPollID string   // for the next request, "" none
	Rules      []string // nil where the node names none

	// computed is the commitment script where the node gave none although
	// there are transactions with witness.
	computed []byte
	txs      atomic.Pointer[transactions]
	branch   [][32]byte // where there are transactions that are not known
	given    *GivenCoinbase
}

// Of a block, in weight units and sigops; both count bytes and checks without
// witness witnessScale times (BIP141).
const (
	maxWeight    = 4_000_000
	maxSigops    = 80_000
	witnessScale = 4
	// headerWeight is that of the header and the largest usual count of
	// transactions.
	headerWeight = witnessScale * (80 + 3)
	// What Bitcoin Core leaves for header and coinbase, unless it is told
	// otherwise.
	reservedWeight = 8_000
	reservedSigops = 400
)

// coinbaseRoom is CoinbaseWeight and CoinbaseSigops with their defaults.
func (t *Template) coinbaseRoom() (weight, sigops int) {
	weight, sigops = t.CoinbaseWeight, t.CoinbaseSigops
	if weight == 0 {
		weight = reservedWeight - headerWeight
	}
	if sigops == 0 {
		sigops = reservedSigops
	}
	return weight, sigops
}

// HasTransactions tells whether the transactions are known. Without them shares of
// a job can be computed, and no block can be made.
func (t *Template) HasTransactions() bool { return len(t.branch) == 0 && t.given == nil }

// merkleBranch is what a coinbase hash is combined with.
func (t *Template) merkleBranch() [][32]byte {
	if len(t.branch) > 0 {
		return t.branch
	}
	return MerkleBranch(t.txs.Load().ids())
}

// Later is the template as it would be so many seconds later, with the same
// transactions.
func (t *Template) Later(seconds uint32) *Template {
	later := &Template{
		Height: t.Height, Version: t.Version, PrevHash: t.PrevHash, Bits: t.Bits,
		CurTime: t.CurTime + min(seconds, math.MaxUint32-t.CurTime), MinTime: t.MinTime,
		CoinbaseValue: t.CoinbaseValue, Flags: t.Flags, Target: t.Target,
		HasCommitment: t.HasCommitment, DefaultCommitment: t.DefaultCommitment,
		CoinbaseWeight: t.CoinbaseWeight, CoinbaseSigops: t.CoinbaseSigops,
		VBRequired: t.VBRequired, LongPollID: t.LongPollID, Rules: t.Rules, computed: t.computed, branch: t.branch, given: t.given,
	}
	later.txs.Store(t.txs.Load())
	return later
}

// commitment is the script of the coinbase's commitment output, nil for none.
func (t *Template) commitment() []byte {
	if t.DefaultCommitment != nil {
		return t.DefaultCommitment
	}
	return t.computed
}

// isCommitment reports whether a script is one that commitmentScript gives.
func isCommitment(script []byte) bool {
	return len(script) == commitmentLen && bytes.HasPrefix(script, commitmentScript([32]byte{})[:6])
}

// commitmentScript is an output script that carries a witness commitment:
// OP_RETURN, a push of 36 bytes, the magic aa21a9ed and the hash (BIP141).
func commitmentScript(hash [32]byte) []byte {
	return append([]byte{0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}, hash[:]...)
}

// CommitmentScript is the script of the commitment output of a coinbase whose block has
// transactions with these ids, in internal order, for a witness reserved value of 32 zero
// bytes (BIP141): 38 bytes. The first stands for the coinbase and is zero.
func CommitmentScript(wtxids [][32]byte) []byte { return commitmentScript(witnessCommitment(wtxids)) }

// FindCommitment is the script of the commitment output in the end of a coinbase, as
// mining.notify has it, nil if there is none.
func FindCommitment(coinb2 []byte) []byte {
	head := append([]byte{commitmentLen}, commitmentScript([32]byte{})[:6]...)
	i := bytes.LastIndex(coinb2, head) + 1
	if i == 0 || len(coinb2) < i+commitmentLen {
		return nil
	}
	return coinb2[i : i+commitmentLen]
}

// commitmentLen is the length of a commitment output's script, in bytes.
const commitmentLen = 38
