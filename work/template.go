package work

import (
	"math"
	"sync/atomic"

	"ckpool/difficulty"
)

// Template is a block template. Its content never changes; [Template.Share]
// changes only how the transactions are kept. A Template must not be copied.
type Template struct {
	Height           int64
	Version          uint32
	PrevHash         [32]byte
	Bits             uint32
	CurTime, MinTime uint32 // unix seconds; MinTime = CurTime where the node gives none, CurTime is never before it
	CoinbaseValue    int64  // satoshis
	Flags            []byte // coinbaseaux.flags
	Target           difficulty.Target

	// HasCommitment tells that the node gave a default_witness_commitment.
	// DefaultCommitment is it as the 38 bytes of an output script, nil without.
	HasCommitment     bool
	DefaultCommitment []byte

	VBRequired uint32 // version bits that must stay as they are
	LongPollID string
	Rules      []string // nil where the node names none

	// computed is the commitment script where the node gave none although
	// there are transactions with witness.
	computed []byte
	txs      atomic.Pointer[transactions]
}

// Later is the template as it would be so many seconds later, with the same
// transactions.
func (t *Template) Later(seconds uint32) *Template {
	later := &Template{
		Height: t.Height, Version: t.Version, PrevHash: t.PrevHash, Bits: t.Bits,
		CurTime: t.CurTime + min(seconds, math.MaxUint32-t.CurTime), MinTime: t.MinTime,
		CoinbaseValue: t.CoinbaseValue, Flags: t.Flags, Target: t.Target,
		HasCommitment: t.HasCommitment, DefaultCommitment: t.DefaultCommitment,
		VBRequired: t.VBRequired, LongPollID: t.LongPollID, Rules: t.Rules, computed: t.computed,
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

// commitmentScript is an output script that carries a witness commitment:
// OP_RETURN, a push of 36 bytes, the magic aa21a9ed and the hash (BIP141).
func commitmentScript(hash [32]byte) []byte {
	return append([]byte{0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}, hash[:]...)
}
