package nodework

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
)

const (
	// retarget is how much easier blocks become at most from one to the next.
	retarget = 4
	// mostUnknown is how many blocks are submitted before the own nodes have told how difficult
	// blocks are.
	mostUnknown = 64
)

var (
	errEasy    = errors.New("block that is far easier than those of the network are")
	errUnknown = errors.New("block while it is not known how difficult those of the network are, and there were many")
)

// TooEasy tells that a header names a target that no block of a network has, whose difficulty is
// given, 0 where that is not known or blocks may be of any: anybody could solve any number of such.
func TooEasy(header *[80]byte, network float64) bool {
	return difficulty.FromBits(binary.LittleEndian.Uint32(header[72:])) < network/(retarget+1)
}

// AnyDifficulty tells that a block of a chain, as Bitcoin Core names it, may be of any difficulty:
// on test networks one that comes long after the last.
func AnyDifficulty(chain string) bool { return strings.HasPrefix(chain, "test") }

// ofNetwork is why a solved header is none of the own nodes' network, as far as their template
// tells: blocks are kept on the disk until these have decided.
func (n *Node) ofNetwork(header *[80]byte) error {
	switch {
	case n.options.Chain == nil || AnyDifficulty(n.options.Chain()):
	case n.template == nil && n.unknown >= mostUnknown:
		return errUnknown
	case n.template == nil:
		n.unknown++
	case TooEasy(header, difficulty.FromBits(n.template.Bits)):
		return errEasy
	}
	return nil
}
