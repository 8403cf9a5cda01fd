package work

import (
	"bytes"
	"slices"
	"testing"
)

// What a miner finds belongs to one variant of a job and to no other: else it
// could choose the difficulty after the hash.
func TestVariantsAreDifferentWork(t *testing.T) {
	j := newBuilder(t).mustJob(t, vectorTemplate(t))
	again := newBuilder(t).mustJob(t, vectorTemplate(t))
	extranonce1, other := unhex(t, "7e86026b"), unhex(t, "7e86026c")

	sent := func(j *Job, extranonce1 []byte, variant uint8) []byte {
		m := &Miner{Limit: limitUnknown, Extranonce1: extranonce1}
		c := j.Coinbase(m.Limit)
		return slices.Concat(j.AppendHead(nil, m, variant), extranonce1, make([]byte, 8), c.Mid, j.AppendPayee(nil, m), c.Tail)
	}
	seen := map[string]bool{}
	for variant := range 256 {
		tx := sent(j, extranonce1, uint8(variant))
		if seen[string(tx)] {
			t.Fatalf("variant %d has the coinbase of another", variant)
		}
		seen[string(tx)] = true
		if variant > 0 && bytes.Equal(tx, sent(again, extranonce1, uint8(variant))) {
			t.Errorf("variant %d can be foreseen", variant)
		}
		before := bytes.Index(tx, slices.Concat(extranonce1, make([]byte, 8)))
		if variant > 0 && bytes.Equal(sent(j, other, uint8(variant))[:before], tx[:before]) {
			t.Errorf("variant %d is the same to another miner", variant)
		}

		// The share and the block have the coinbase that was sent.
		m := &Miner{Limit: limitUnknown, Extranonce1: extranonce1}
		s := &Solution{Variant: uint8(variant), Extranonce2: make([]byte, 8), Time: j.Template.CurTime, Version: j.Version}
		var sh Share
		j.Hash(&sh, m, s)
		root := MerkleRoot(doubleHash(tx), j.Branch)
		if !bytes.Equal(sh.Header[36:68], root[:]) {
			t.Fatalf("variant %d: the share is not of the coinbase that was sent", variant)
		}
		block := j.Block(&sh, m, s)
		if !bytes.Contains(block, tx[4:len(tx)-4]) {
			t.Fatalf("variant %d: the block has another coinbase", variant)
		}
	}
}
