package work

import (
	"encoding/binary"
	"fmt"
)

// DecodeCoinbase takes a serialised coinbase without witness apart: the script of
// its input, and its outputs with their values. The slices are parts of tx.
func DecodeCoinbase(tx []byte) (scriptSig []byte, outputs []Output, err error) {
	r := txReader{b: tx}
	r.take(4) // version
	inputs := r.count()
	r.take(32 + 4) // previous output
	scriptSig = r.take(r.count())
	r.take(4) // sequence
	for n := r.count(); n > 0 && !r.short; n-- {
		value := r.take(8)
		o := Output{Script: r.take(r.count())}
		if !r.short {
			o.Value = int64(binary.LittleEndian.Uint64(value))
			outputs = append(outputs, o)
		}
	}
	r.take(4) // lock time
	if r.short || len(r.b) != 0 || inputs != 1 {
		return nil, nil, fmt.Errorf("%d bytes are not a coinbase without witness", len(tx))
	}
	return scriptSig, outputs, nil
}

// txReader takes pieces off a serialised transaction.
type txReader struct {
	b     []byte
	short bool
}

func (r *txReader) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// count reads how many bytes or parts follow. More than there are bytes left cannot be.
func (r *txReader) count() int {
	first := r.take(1)
	switch {
	case r.short:
		return 0
	case first[0] < 0xfd:
		return int(first[0])
	case first[0] == 0xfd:
		if next := r.take(2); next != nil {
			return int(binary.LittleEndian.Uint16(next))
		}
	case first[0] == 0xfe: // no block has room for what takes eight bytes
		if next := r.take(4); next != nil {
			if n := binary.LittleEndian.Uint32(next); uint64(n) <= uint64(len(r.b)) {
				return int(n)
			}
		}
	}
	r.short, r.b = true, nil
	return 0
}
