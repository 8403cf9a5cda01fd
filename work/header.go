package work

import (
	"encoding/binary"

	"github.com/ckpool/ckpool/difficulty"
)

// SolvedHeader tells whether a hash, in internal order, is that of a header and meets the
// target that the header names.
func SolvedHeader(header *[80]byte, hash [32]byte) bool {
	target, err := difficulty.TargetFromBits(binary.LittleEndian.Uint32(header[72:]))
	return err == nil && doubleHash(header[:]) == hash && target.MetBy(&hash)
}
