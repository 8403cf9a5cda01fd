package work

import (
	"encoding/hex"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vectorTemplate is the template of the complete share. Its transactions have
// no data, only ids.
func vectorTemplate(t testing.TB) *Template {
	b, err := os.ReadFile("testdata/vector-template.json")
	if err != nil {
		t.Fatal(err)
	}
	return parseBytes(t, b)
}

const (
	vectorHead = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff320350f80c00047d86026b04e28b56220c"
	vectorMid  = "0a636b706f6f6c2d6c68720a2f73706563706f6f6c2fffffffff0318b07012000000001976a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac"
	vectorTail = "08af2f0000000000160014382d983a96207ecf5da624320fc29bf1dd4581a90000000000000000266a24aa21a9ed0a5a456451f1ebbe847433fe8adfdf1f862232544c13d7524fb18f84bf0dfec400000000"
)

func TestCompleteShare(t *testing.T) {
	tmpl := vectorTemplate(t)
	if err := tmpl.CheckWitness(); err != nil {
		t.Error(err)
	}
	j := newBuilder(t).mustJob(t, tmpl)

	c := j.Coinbase(limitLarge)
	if d := cmp.Diff([]string{vectorHead, vectorMid, vectorTail},
		[]string{hex.EncodeToString(c.Head), hex.EncodeToString(c.Mid), hex.EncodeToString(c.Tail)}); d != "" {
		t.Error(d)
	}
	var branch []string
	for _, h := range j.Branch {
		branch = append(branch, hex.EncodeToString(h[:]))
	}
	if d := cmp.Diff([]string{
		"56a9907f2f8a5e37991bb11f3c3c5a4cb8e0e479d9b4400f7d83b0a47ba75ec8",
		"b488f40d597d9b8553663d52b5830f846f39a83db802dcfbf984b9ac867d9f37",
		"7a5180d150568ebc32a38f00643a42b8fcb3eef894a44ce7af3a9a2e6b344ccd",
	}, branch); d != "" {
		t.Error(d)
	}

	m := &Miner{Limit: limitLarge, Extranonce1: unhex(t, "7e86026b")}
	tx := j.CoinbaseTx(m, &Solution{Extranonce2: []byte{0, 0, 0, 0, 0, 0, 0, 1}})
	id := doubleHash(tx)
	if got := hex.EncodeToString(id[:]); len(tx) != 213 || got != "43b19fc0548616910cea6e15b8cb45fbe35a2ecbcfc88b162e4fb8b91651cffe" {
		t.Errorf("coinbase of %d bytes has the id %s", len(tx), got)
	}

	for _, tt := range []struct {
		name, header, hash string
		nonce, versionBits uint32
		difficulty         float64
	}{
		{"A", "000000206f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0e00000000000000000011ee0549144fd7e1863b84407628c7d6a41d56b5c91c5c680829e5560b100fa37d86026bffff001d79bf0900",
			"00000214a9e3bdbaf5c29b704bc4e39bc22dd3d466ff97eb2e609f7c948f4ef4", 0x0009bf79, 0, 0.0018773287351401137},
		{"B", "00a0c0206f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0e00000000000000000011ee0549144fd7e1863b84407628c7d6a41d56b5c91c5c680829e5560b100fa37d86026bffff001db4688a00",
			"0000000236b7a60ab7d8eed2914d22da61b3c5bbe395cf6a16f4d446398243ee", 0x008a68b4, 0x00c0a000, 0.4517173885650526},
	} {
		s := &Solution{Extranonce2: []byte{0, 0, 0, 0, 0, 0, 0, 1}, Time: 0x6b02867d, Nonce: tt.nonce, Version: j.Version | tt.versionBits}
		var sh Share
		j.Hash(&sh, m, s)
		if d := cmp.Diff(tt.header, hex.EncodeToString(sh.Header[:])); d != "" {
			t.Errorf("share %s: %s", tt.name, d)
		}
		if sh.Hash != displayHash(t, tt.hash) || sh.Difficulty != tt.difficulty || sh.Block {
			t.Errorf("share %s: hash %x, difficulty %v, block %v", tt.name, sh.Hash, sh.Difficulty, sh.Block)
		}
	}
}

// The same coinbase of a solo miner, whose script is given with each call.
func TestCompleteShareSolo(t *testing.T) {
	b := newBuilder(t)
	payout := b.PayoutScript
	b.PayoutScript = nil
	j := b.mustJob(t, vectorTemplate(t))

	m := &Miner{limitLarge, payout, unhex(t, "7e86026b")}
	tx := j.CoinbaseTx(m, &Solution{Extranonce2: []byte{0, 0, 0, 0, 0, 0, 0, 1}})
	id := doubleHash(tx)
	if got := hex.EncodeToString(id[:]); got != "43b19fc0548616910cea6e15b8cb45fbe35a2ecbcfc88b162e4fb8b91651cffe" {
		t.Errorf("coinbase has the id %s", got)
	}
}

func TestDonationSplit(t *testing.T) {
	for _, tt := range []struct {
		reward         int64
		percent        float64
		donation, rest int64
	}{
		{312500000, 1.0, 3125000, 309375000},
		{312512345, 0.5, 1562561, 310949784},
		{5000000000, 2.5, 125000000, 4875000000},
		{312512345, 33.3, 104066610, 208445735},
		{312500000, 0, 0, 312500000},
		{312500000, -5, 0, 312500000},
		{1000, 99.9, 999, 1},
		{0, 50, 0, 0},
	} {
		tmpl := newGBT().with("coinbasevalue", tt.reward).parse(t)
		j, err := newBuilder(t).Job(tmpl, 1, vectorTime, []Output{{Script: []byte{0x51}, Part: Percent(tt.percent)}})
		if err != nil {
			t.Fatal(err)
		}
		tx := decodeTx(t, j.CoinbaseTx(&Miner{Limit: limitUnknown, Extranonce1: make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
		var donation int64
		if len(tx.TxOut) > 1 {
			donation = tx.TxOut[1].Value
		}
		if donation != tt.donation || tx.TxOut[0].Value != tt.rest || len(tx.TxOut) > 1 != (donation > 0) {
			t.Errorf("%v %% of %d: %v", tt.percent, tt.reward, tx.TxOut)
		}
	}
}
