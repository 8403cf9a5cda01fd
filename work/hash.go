package work

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/ckpool/ckpool/internal/hexdigit"
)

// FormatHash is a hash as people, nodes and explorers have it: 64 hex digits, the
// most significant first, which is the reverse of the internal order.
func FormatHash(hash [32]byte) string { return string(AppendHash(nil, hash)) }

// AppendHash appends what FormatHash gives.
func AppendHash(b []byte, hash [32]byte) []byte {
	slices.Reverse(hash[:])
	return hex.AppendEncode(b, hash[:])
}

// ParseHash is the inverse of FormatHash. The case of the digits is the same to
// it.
func ParseHash(text string) (hash [32]byte, err error) {
	if len(text) != 64 {
		return hash, fmt.Errorf("a hash of %d digits, want 64", len(text))
	}
	if !decodeHash(&hash, []byte(text)) {
		return [32]byte{}, errors.New("a hash that is not hex")
	}
	return hash, nil
}

// decodeHash is ParseHash for the many of a template: with a table it takes half
// the time of encoding/hex. It is false where the text is no hash.
func decodeHash(h *[32]byte, text []byte) bool {
	if len(text) != 64 {
		return false
	}
	var bad byte
	for i := range h {
		hi, lo := hexdigit.Value(text[62-2*i]), hexdigit.Value(text[63-2*i])
		bad |= hi | lo
		h[i] = hi<<4 | lo
	}
	return bad < 16
}
