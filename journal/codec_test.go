package journal

import (
	"bytes"
	"encoding"
	"testing"
)

// Whatever stands in a record's body, it is read or refused, and what is read is written
// as it was.
func FuzzBody(f *testing.F) {
	share := &Share{
		Extranonce1: []byte{1, 2, 3, 4}, Extranonce2: make([]byte, 8), NTime: 1_795_327_613, Nonce: 5, Version: 0x20000000,
		Hash: [32]byte{7}, Difficulty: 1024, Credit: 512, Scheme: 1,
	}
	above := &Share{Extranonce1: []byte{1}, Reason: 3, Above: RefusedAbove, AboveDifficulty: 0.5, Here: 2, AboveText: []byte("Job not found")}
	for kind, body := range map[Kind]encoding.BinaryAppender{
		KindShare: share, KindWorker: &Worker{Client: 5}, KindConnect: &Connect{Client: 6}, KindLeave: &Leave{Client: 2, Why: "x"},
		KindDifficulty: &Difficulty{Client: 3, Difficulty: 2048.5}, KindBlock: &Block{Height: 850_000, State: "orphaned"},
		KindStatistics: &Statistics{}, KindLost: &Lost{Ring: 1, Records: 2}, 0: &Miner{User: "user", Worker: "user.rig", Limit: 750, Payout: []byte{1}},
	} {
		b, err := body.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(kind), b)
	}
	b, _ := above.AppendBinary(nil)
	f.Add(byte(KindShare), b)
	f.Add(byte(KindJob), make([]byte, 8))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		r := Record{Kind: Kind(kind)}
		if err := r.ReadBody(b, 1); err == nil && r.Kind == KindShare {
			again := Record{Kind: KindShare}
			body, _ := r.Share.AppendBinary(nil)
			if err := again.ReadBody(body, 1); err != nil {
				t.Fatal(err)
			}
			if twice, _ := again.Share.AppendBinary(nil); !bytes.Equal(twice, body) || again.Share.Hash != r.Share.Hash {
				t.Fatalf("%+v, was %+v", again.Share, r.Share)
			}
		}
		if m, err := readMiner(b); err == nil {
			body, _ := m.AppendBinary(nil)
			if n, err := readMiner(body); err != nil || n.Worker != m.Worker || n.Limit != m.Limit || !bytes.Equal(n.Payout, m.Payout) {
				t.Fatalf("%v: %+v, was %+v", err, n, m)
			}
		}
	})
}

// A share is the same bytes for ever: those of the first release.
func TestShareBytes(t *testing.T) {
	s := &Share{
		Reason: 2, Scheme: 1, Variant: 3, Extranonce1: []byte{0xe1}, Extranonce2: []byte{0xe2, 0xe3}, NTime: 1, Nonce: 2, Version: 0x20000000,
		Hash: [32]byte{0xaa}, Difficulty: 1, Credit: 2, Above: RefusedAbove, Here: 5, AboveDifficulty: 0.5, AboveText: []byte("no"),
	}
	want := "\x02\x01\x03\x02\x01\x02\x01" + // reason, scheme, variant, credit of its own, lengths
		"\x3f\xf0\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x00\x02" + "\x20\x00\x00\x00" + // IEEE 754: 1
		"\xe1" + "\xe2\xe3" + "\xaa" + "\x40\x00\x00\x00\x00\x00\x00\x00" + // 2
		"\x02\x05" + "\x3f\xe0\x00\x00\x00\x00\x00\x00" + "\x02no" // 0.5
	if got, _ := s.AppendBinary(nil); string(got) != want {
		t.Errorf("%x, want %x", got, want)
	}
}
