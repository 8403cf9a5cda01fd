package miner

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
)

// Hasher hashes headers. It belongs to one goroutine and serves any number of
// searches.
type Hasher struct {
	digest  hash.Hash
	restore encoding.BinaryUnmarshaler // of digest
	save    encoding.BinaryAppender    // of digest
	sum     [32]byte
	pair    [64]byte
}

// NewHasher makes a Hasher.
func NewHasher() *Hasher {
	d := sha256.New()
	return &Hasher{digest: d, restore: d.(encoding.BinaryUnmarshaler), save: d.(encoding.BinaryAppender)}
}

// Search walks over the nonces of one header.
type Search struct {
	Nonce uint32   // of the hash found last
	Hash  [32]byte // found last, internal order

	header   [80]byte
	midstate []byte // SHA-256 of the first 64 bytes of the header
	next     uint64 // nonce to try, 1<<32 when all are spent
}

// Start begins a search in s for a job with the given extranonces and version.
func (h *Hasher) Start(s *Search, n *stratum.Notify, extranonce1, extranonce2 []byte, version uint32) {
	h.digest.Reset()
	h.digest.Write(n.Coinb1)
	h.digest.Write(extranonce1)
	h.digest.Write(extranonce2)
	h.digest.Write(n.Coinb2)
	root := sha256.Sum256(h.digest.Sum(h.sum[:0]))
	for i := range n.Branch {
		copy(h.pair[:], root[:])
		copy(h.pair[32:], n.Branch[i][:])
		root = sha256.Sum256(h.pair[:])
		root = sha256.Sum256(root[:])
	}
	binary.LittleEndian.PutUint32(s.header[0:], version)
	copy(s.header[4:], n.PrevHash[:])
	copy(s.header[36:], root[:])
	binary.LittleEndian.PutUint32(s.header[68:], n.NTime)
	binary.LittleEndian.PutUint32(s.header[72:], n.Bits)
	s.next = 0

	h.digest.Reset()
	h.digest.Write(s.header[:64])
	s.midstate, _ = h.save.AppendBinary(s.midstate[:0]) // cannot fail
}

// Find tries up to limit nonces until a hash meets the target. When all nonces are
// spent it tries none.
func (h *Hasher) Find(s *Search, target *difficulty.Target, limit int) (tried int, found bool) {
	for tried < limit && s.next < 1<<32 {
		s.Nonce = uint32(s.next)
		s.next++
		tried++
		binary.LittleEndian.PutUint32(s.header[76:], s.Nonce)
		_ = h.restore.UnmarshalBinary(s.midstate) // it is what save wrote
		h.digest.Write(s.header[64:])
		s.Hash = sha256.Sum256(h.digest.Sum(h.sum[:0]))
		if target.MetBy(&s.Hash) {
			return tried, true
		}
	}
	return tried, false
}

// Count takes the next nonce without hashing, for a target that every hash
// meets.
func (s *Search) Count() (found bool) {
	if s.next >= 1<<32 {
		return false
	}
	s.Nonce = uint32(s.next)
	s.next++
	return true
}
