package work

import (
	"bytes"
	"slices"
	"testing"

	"ckpool/stratum"
)

// What a miner finds belongs to one announcement of a job and to no other:
// else it could choose the difficulty after the hash.
func TestAnnouncementsAreDifferentWork(t *testing.T) {
	j := newBuilder(t).mustJob(t, vectorTemplate(t))
	again := newBuilder(t).mustJob(t, vectorTemplate(t))
	extranonce1, other := unhex(t, "7e86026b"), unhex(t, "7e86026c")

	announced := func(j *Job, extranonce1 []byte, suffix uint8) []byte {
		var m stratum.Message
		line := j.AppendNotify(nil, limitUnknown, nil, Announcement{Suffix: suffix, Extranonce1: extranonce1})
		stratum.Scan(bytes.TrimSuffix(line, []byte("\n")), &m)
		var n stratum.Notify
		if err := n.Parse(m.Params); err != nil {
			t.Fatal(err)
		}
		return slices.Concat(n.Coinb1, extranonce1, make([]byte, 8), n.Coinb2)
	}
	seen := map[string]bool{}
	for suffix := range 256 {
		tx := announced(j, extranonce1, uint8(suffix))
		if seen[string(tx)] {
			t.Fatalf("suffix %d is announced with the coinbase of another", suffix)
		}
		seen[string(tx)] = true
		if suffix > 0 && bytes.Equal(tx, announced(again, extranonce1, uint8(suffix))) {
			t.Errorf("suffix %d can be foreseen", suffix)
		}
		before := bytes.Index(tx, slices.Concat(extranonce1, make([]byte, 8)))
		if suffix > 0 && bytes.Equal(announced(j, other, uint8(suffix))[:before], tx[:before]) {
			t.Errorf("suffix %d is the same to another miner", suffix)
		}

		// The share and the block have the coinbase that was announced.
		s := &stratum.Submit{Suffix: uint8(suffix), Extranonce2Len: 8, NTime: j.Template.CurTime}
		var sh Share
		j.Hash(&sh, limitUnknown, nil, extranonce1, s, 0)
		root := MerkleRoot(doubleHash(tx), j.Branch)
		if !bytes.Equal(sh.Header[36:68], root[:]) {
			t.Fatalf("suffix %d: the share is not of the announced coinbase", suffix)
		}
		block := j.Block(&sh, limitUnknown, nil, extranonce1, s)
		if !bytes.Contains(block, tx[4:len(tx)-4]) {
			t.Fatalf("suffix %d: the block has another coinbase", suffix)
		}
	}
}
