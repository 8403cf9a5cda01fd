package work

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ckpool/stratum"
)

// vectorTemplate is the template of the complete share. Its transactions have
// no data, only ids.
func vectorTemplate(t testing.TB) *Template {
	var txs []any
	for _, ids := range [][2]string{
		{"c85ea77ba4b0837d0f40b4d979e4e0b84c5a3c3c1fb11b99375e8a2f7f90a956", "20548a29c146584f81f010ede689d8c9dc266f989a2c51ffd4e801c559bd2627"},
		{"7d33eca67b7c88b4ce0120a8e1cb704d2ae3ddae509a7806b1eaf57a799b784e", "2df57ce8ff4cbc672bfe07874e5188f33c8936c2a490a9f5bfe260ba2e6ffa48"},
		{"701d21be394c75cdce93356e1d745405035ecc09650be14e5413152b3a54b81b", "741957a4e43184bde16bb7e9c7dac4ba41d56eb3dc8b74c625f2c3ab5e77c7c7"},
		{"d8932fb64a059c7ebe84552043ed8c277613d6e2b96fed5280207ff3a480d47a", "5ef7f3fe1731c75e4150a5ee750217102c1b691817df6de30dc25b7297242027"},
		{"61477cffa5121a2de40e97fe9492919178700345c0235b2c1d6fbe48c5bc81a2", "bd59592e313e5bb7fb25cf6a2fa62019cb296298d78aed31ee51a1c48788f84b"},
	} {
		txs = append(txs, gbt{"data": "00", "txid": ids[0], "hash": ids[1]})
	}
	return newGBT().with("transactions", txs,
		"default_witness_commitment", "6a24aa21a9ed0a5a456451f1ebbe847433fe8adfdf1f862232544c13d7524fb18f84bf0dfec4").parse(t)
}

const (
	vectorHead = "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff320350f80c00047d86026b04e28b56220c"
	vectorMid  = "0a636b706f6f6c2d6c68720a2f73706563706f6f6c2fffffffff0318b07012000000001976a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac"
	vectorTail = "08af2f0000000000160014382d983a96207ecf5da624320fc29bf1dd4581a90000000000000000266a24aa21a9ed0a5a456451f1ebbe847433fe8adfdf1f862232544c13d7524fb18f84bf0dfec400000000"

	vectorNotify = `{"params":["6b02867d00000001","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","` +
		vectorHead + `","` + vectorMid + vectorTail + `",[` +
		`"56a9907f2f8a5e37991bb11f3c3c5a4cb8e0e479d9b4400f7d83b0a47ba75ec8",` +
		`"b488f40d597d9b8553663d52b5830f846f39a83db802dcfbf984b9ac867d9f37",` +
		`"7a5180d150568ebc32a38f00643a42b8fcb3eef894a44ce7af3a9a2e6b344ccd"],` +
		`"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}` + "\n"
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
	if d := cmp.Diff(vectorNotify, string(j.Notify(limitLarge, true))); d != "" {
		t.Error(d)
	}

	extranonce1 := unhex(t, "7e86026b")
	tx := j.CoinbaseTx(limitLarge, nil, extranonce1, []byte{0, 0, 0, 0, 0, 0, 0, 1})
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
		submit := &stratum.Submit{Extranonce2: [8]byte{7: 1}, Extranonce2Len: 8, NTime: 0x6b02867d, Nonce: tt.nonce,
			VersionBits: tt.versionBits, HasVersionBits: tt.versionBits != 0}
		var sh Share
		j.Hash(&sh, limitLarge, nil, extranonce1, submit, 0x1fffe000)
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

	if d := cmp.Diff(vectorNotify, string(j.AppendNotify(nil, limitLarge, payout, Announcement{Clean: true}))); d != "" {
		t.Error(d)
	}
	tx := j.CoinbaseTx(limitLarge, payout, unhex(t, "7e86026b"), []byte{0, 0, 0, 0, 0, 0, 0, 1})
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
		{312500000, 0.09, 0, 312500000},
		{312500000, 0, 0, 312500000},
		{312500000, -5, 0, 312500000},
		{1000, 100, 999, 1},
		{0, 50, 0, 0},
	} {
		b := newBuilder(t)
		b.Donation = tt.percent
		j := b.mustJob(t, newGBT().with("coinbasevalue", tt.reward).parse(t))
		outputs, rest := j.outputs(layout{})
		var donation int64
		for _, o := range outputs {
			donation += o.Value
		}
		if donation != tt.donation || rest != tt.rest || len(outputs) > 0 != (donation > 0) {
			t.Errorf("%v %% of %d: %d and %d", tt.percent, tt.reward, donation, rest)
		}
	}

	b := newBuilder(t)
	b.DonationScript = nil
	if _, rest := b.mustJob(t, newGBT().parse(t)).outputs(layout{}); rest != 312500000 {
		t.Errorf("without a script to donate to, %d are left", rest)
	}
}
