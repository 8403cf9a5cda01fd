package work

import (
	"github.com/ckpool/ckpool/difficulty"
)

// Share is a computed share.
type Share struct {
	Header     [80]byte // as it stands in a block
	Hash       [32]byte // of Header
	Difficulty float64  // achieved; for reporting, not for judging
	Block      bool     // Hash meets the target of the job, compared exactly
}

// Hash computes the share of a solution into out. It allocates nothing for
// coinbases of up to 16,000 bytes.
func (j *Job) Hash(out *Share, m *Miner, s *Solution) {
	out.Header = Header(&HeaderParts{
		Version: s.Version, PrevHash: j.Template.PrevHash, Root: MerkleRoot(j.coinbaseHash(j.Coinbase(m.Limit), m, s), j.Branch),
		Time: s.Time, Bits: j.Template.Bits, Nonce: s.Nonce,
	})
	out.Hash = doubleHash(out.Header[:])
	out.Difficulty = difficulty.OfHash(&out.Hash)
	out.Block = j.Target.MetBy(&out.Hash)
}

func (j *Job) coinbaseHash(c *Coinbase, m *Miner, s *Solution) [32]byte {
	var b [512]byte
	if txSize(c, m, s) > len(b) {
		return j.largeCoinbaseHash(c, m, s)
	}
	return doubleHash(j.appendTx(b[:0], c, m, s))
}

// largeCoinbaseHash has the stack for the largest limit, which would cost small
// coinbases more to clear than to hash.
//
//go:noinline
func (j *Job) largeCoinbaseHash(c *Coinbase, m *Miner, s *Solution) [32]byte {
	var b [16 << 10]byte
	return doubleHash(j.appendTx(b[:0], c, m, s))
}

// Block is the serialised block of a share, with the coinbase's witness if and
// only if the coinbase has a commitment output. The arguments are those of the
// [Job.Hash] that computed sh. It is nil where the template's transactions are not
// known: only the source of the template can make the block.
func (j *Job) Block(sh *Share, m *Miner, s *Solution) []byte {
	if !j.Template.HasTransactions() {
		return nil
	}
	c := j.Coinbase(m.Limit)
	txs := j.Template.txs.Load()
	size := len(sh.Header) + 9 + txSize(c, m, s) + 2 + len(witness)
	for i := range txs.count() {
		size += txs.size(i)
	}
	b := make([]byte, 0, size)
	b = append(b, sh.Header[:]...)
	b = appendCompactSize(b, 1+txs.count())
	if j.Template.commitment() != nil {
		b = j.appendWitnessTx(b, c, m, s)
	} else {
		b = j.appendTx(b, c, m, s)
	}
	for i := range txs.count() {
		b = txs.appendRaw(b, i)
	}
	return b
}
