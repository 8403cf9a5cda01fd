package store

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Whatever coinbases others make, the chain is followed on.
func TestLargeCoinbase(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.find("bob", 60, true, out(1000, poolScript))
		const outputs = 70_000
		large := coinbase(102)
		large = append(large[:len(large)-5:len(large)-5], 0xfe)
		large = binary.LittleEndian.AppendUint32(large, outputs)
		large = append(append(large, bytes.Repeat(out(0, nil), outputs)...), 0, 0, 0, 0)
		n.put(madeUp(102, 1), large)
		p.over()
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 1000")
	})
}
