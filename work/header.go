package work

import (
	"encoding/binary"

	"github.com/ckpool/ckpool/difficulty"
)

// HeaderParts are what a block's header consists of. Hashes are in internal order.
type HeaderParts struct {
	Version  uint32   // the template's, with the bits that the miner has rolled
	PrevHash [32]byte // of the block before
	Root     [32]byte // merkle root
	Time     uint32   // unix seconds
	Bits     uint32   // compact target
	Nonce    uint32   // what is tried
}

// Header is the header as it is hashed and as it goes into a block.
func Header(p *HeaderParts) (h [80]byte) {
	binary.LittleEndian.PutUint32(h[0:], p.Version)
	copy(h[4:], p.PrevHash[:])
	copy(h[36:], p.Root[:])
	binary.LittleEndian.PutUint32(h[68:], p.Time)
	binary.LittleEndian.PutUint32(h[72:], p.Bits)
	binary.LittleEndian.PutUint32(h[76:], p.Nonce)
	return h
}

// SolvedHeader tells whether a hash, in internal order, is that of a header and meets the
// target that the header names.
func SolvedHeader(header *[80]byte, hash [32]byte) bool {
	target, err := difficulty.TargetFromBits(binary.LittleEndian.Uint32(header[72:]))
	return err == nil && doubleHash(header[:]) == hash && target.MetBy(&hash)
}
