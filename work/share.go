package work

import (
	"encoding/binary"

	"ckpool/difficulty"
	"ckpool/stratum"
)

// Share is a computed share.
type Share struct {
	Header     [80]byte
	Hash       [32]byte // of Header
	Difficulty float64  // achieved; for reporting, not for judging
	Block      bool     // Hash meets the target of the job, compared exactly
}

// Hash computes the share of a submit into out. It allocates nothing for
// coinbases of up to 16,000 bytes. payout is nil in pool mode, the miner's
// output script in solo; extranonce1 is all of it. The submit's version bits,
// if it has any, replace those of the job under versionMask (BIP310).
func (j *Job) Hash(out *Share, limit int, payout, extranonce1 []byte, s *stratum.Submit, versionMask uint32) {
	c := j.Coinbase(limit)
	extranonce2 := s.Extranonce2[:s.Extranonce2Len]
	root := MerkleRoot(j.coinbaseHash(c, s.Suffix, payout, extranonce1, extranonce2), j.Branch)

	version := j.Version
	if s.HasVersionBits {
		version = version&^versionMask | s.VersionBits&versionMask
	}
	h := &out.Header
	binary.LittleEndian.PutUint32(h[0:], version)
	copy(h[4:], j.Template.PrevHash[:])
	copy(h[36:], root[:])
	binary.LittleEndian.PutUint32(h[68:], s.NTime)
	binary.LittleEndian.PutUint32(h[72:], j.Template.Bits)
	binary.LittleEndian.PutUint32(h[76:], s.Nonce)

	out.Hash = doubleHash(h[:])
	out.Difficulty = difficulty.OfHash(&out.Hash)
	out.Block = j.Target.MetBy(&out.Hash)
}

func (j *Job) coinbaseHash(c *Coinbase, suffix uint8, payout, extranonce1, extranonce2 []byte) [32]byte {
	var b [512]byte
	if j.txSize(c, payout, len(extranonce1)+len(extranonce2)) > len(b) {
		return j.largeCoinbaseHash(c, suffix, payout, extranonce1, extranonce2)
	}
	return doubleHash(j.appendTx(b[:0], c, suffix, payout, extranonce1, extranonce2))
}

// largeCoinbaseHash has the stack for the largest limit, which would cost
// small coinbases more to clear than to hash.
//
//go:noinline
func (j *Job) largeCoinbaseHash(c *Coinbase, suffix uint8, payout, extranonce1, extranonce2 []byte) [32]byte {
	var b [16 << 10]byte
	return doubleHash(j.appendTx(b[:0], c, suffix, payout, extranonce1, extranonce2))
}

// Block is the serialised block of a share, with the coinbase's witness if and
// only if the coinbase has a commitment output. The arguments are those of the
// [Job.Hash] that computed sh.
func (j *Job) Block(sh *Share, limit int, payout, extranonce1 []byte, s *stratum.Submit) []byte {
	c := j.Coinbase(limit)
	extranonce2 := s.Extranonce2[:s.Extranonce2Len]
	txs := j.Template.txs.Load()
	size := len(sh.Header) + 9 + j.txSize(c, payout, len(extranonce1)+len(extranonce2)) + 2 + len(witness)
	for i := range txs.count() {
		size += txs.size(i)
	}
	b := make([]byte, 0, size)
	b = append(b, sh.Header[:]...)
	b = appendCompactSize(b, 1+txs.count())
	if j.Template.commitment() != nil {
		b = j.appendWitnessTx(b, c, s.Suffix, payout, extranonce1, extranonce2)
	} else {
		b = j.appendTx(b, c, s.Suffix, payout, extranonce1, extranonce2)
	}
	for i := range txs.count() {
		b = txs.appendRaw(b, i)
	}
	return b
}
