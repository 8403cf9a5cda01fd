package work

import (
	"bytes"
	"math"
	"strings"
	"sync"
	"testing"
)

// limits are all that CoinbaseLimit gives.
var limits = []int{limitESP32, limitNiceHash, limitUnknown, limitS21, limitLarge, limitHuge}

func TestCoinbaseLimit(t *testing.T) {
	for userAgent, want := range map[string]int{
		"": limitUnknown, "cgminer/4.11.1": limitUnknown, "bmminer/2.0.0": limitUnknown, "Antminer S19j Pro/x": limitUnknown,
		"Antminer S2": limitUnknown, "stratum-proxy/NerdMiner": limitUnknown, "NerdQAxe+/BM1368/v1.0": limitUnknown,
		"NerdMinerV2/1.7.0": limitESP32, "nerdminer": limitESP32, "SparkMiner/2.1": limitESP32, "ESP32-CYD/1": limitESP32,
		"HAN_SOLOminer/1": limitESP32, "NMMiner/v0.3": limitESP32,
		"NiceHash/1.0.0": limitNiceHash, "nicehash/2": limitNiceHash,
		"Antminer S21/Mon Jan 1": limitS21, "Antminer S21 XP/x": limitS21, "bosminer-plus-tuner 0.2.0": limitS21,
		"whatsminer/v1.1": limitLarge, "bitaxe/BM1370/v2.9.0": limitLarge, "xminer-1.2.6": limitHuge, "PowerPlay-BM/1.0": limitHuge,
	} {
		if got := CoinbaseLimit(userAgent); got != want {
			t.Errorf("CoinbaseLimit(%q) = %d, want %d", userAgent, got, want)
		}
	}
}

// extras are n outputs of 34 bytes.
func extras(n int) (out []Output) {
	for i := range n {
		out = append(out, Output{Script: append([]byte{0x00, 0x14}, bytes.Repeat([]byte{byte(i)}, 20)...)[:22], Value: 1000})
	}
	return out
}

// What does not fit is left out, btcsig first, then extra outputs from the last;
// every satoshi stays in the coinbase.
func TestLimits(t *testing.T) {
	for _, solo := range []bool{false, true} {
		for _, n := range []int{0, 1, 5, 9, 60, 200, 300, 1000} {
			b := newBuilder(t)
			payout := b.PayoutScript
			if solo {
				b.PayoutScript, payout = nil, append([]byte{0x60, 40}, make([]byte, 40)...) // the longest there is
			}
			tmpl := roomyTemplate(t)
			j := b.mustJob(t, tmpl, extras(n)...)
			for _, limit := range limits {
				paid := payout
				if !solo {
					paid = nil
				}
				tx := decodeTx(t, j.CoinbaseTx(&Miner{limit, paid, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
				size := tx.SerializeSizeStripped()
				l, _, _ := j.fit(limit)
				if size > limit {
					t.Errorf("solo %v, %d extra: coinbase for %d has %d bytes", solo, n, limit, size)
				}
				if hasSig := bytes.Contains(tx.TxIn[0].SignatureScript, []byte("/specpool/")); hasSig != l.sig {
					t.Errorf("btcsig: %v, want %v", hasSig, l.sig)
				}
				if got := len(tx.TxOut); got != 2+l.outputs { // payout and commitment
					t.Errorf("%d outputs, want %d", got, 2+l.outputs)
				}
				if l.outputs <= n && (size+31 <= limit-3 || l.sig) {
					t.Errorf("solo %v: %d of %d outputs are in though %d of %d bytes are used, sig %v", solo, l.outputs, n+1, size, limit, l.sig)
				}
				if !l.sig && size+11 <= limit && l.outputs == n+1 {
					t.Errorf("btcsig is left out at %d of %d bytes", size, limit)
				}
				var sum int64
				for _, o := range tx.TxOut {
					sum += o.Value
				}
				if sum != tmpl.CoinbaseValue {
					t.Errorf("coinbase pays %d of %d", sum, tmpl.CoinbaseValue)
				}
				last := tx.TxOut[len(tx.TxOut)-1]
				if last.Value != 0 || !bytes.Equal(last.PkScript, tmpl.DefaultCommitment) {
					t.Errorf("the last output is %d to %x", last.Value, last.PkScript)
				}
			}
		}
	}
}

func TestLimitsShareCoinbases(t *testing.T) {
	j := newBuilder(t).mustJob(t, vectorTemplate(t))
	for _, limit := range limits {
		if j.Coinbase(limit) != j.Coinbase(limitUnknown) {
			t.Errorf("limit %d has a coinbase of its own", limit)
		}
	}
	j = newBuilder(t).mustJob(t, vectorTemplate(t), extras(30)...)
	if j.Coinbase(limitNiceHash) == j.Coinbase(limitHuge) {
		t.Error("limits that differ share a coinbase")
	}
	if j.Coinbase(limitS21) != j.Coinbase(limitHuge) {
		t.Error("limits with room for all have two coinbases")
	}
}

// Whoever comes first, everybody gets the same bytes.
func TestConcurrentCoinbases(t *testing.T) {
	j := newBuilder(t).mustJob(t, vectorTemplate(t))
	var coinbases [8]*Coinbase
	var wg sync.WaitGroup
	for i := range coinbases {
		wg.Go(func() { coinbases[i] = j.Coinbase(limits[i%len(limits)]) })
	}
	wg.Wait()
	for _, c := range coinbases {
		if c != coinbases[0] {
			t.Error("two coinbases of one layout")
		}
	}
}

// A miner without any limit has what one of the largest has.
func TestNoLimit(t *testing.T) {
	j := newBuilder(t).mustJob(t, vectorTemplate(t), extras(30)...)
	want := j.Coinbase(1 << 30)
	if got := j.Coinbase(math.MaxInt); got != want {
		t.Errorf("it has\n%x\nwant\n%x", got, want)
	}
	record, err := new(JobWriter).Append(nil, j)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := new(JobReader).Read(record)
	if err != nil {
		t.Fatal(err)
	}
	if got := moved.Coinbase(math.MaxInt); !bytes.Equal(got.Tail, want.Tail) {
		t.Errorf("in another process it has\n%x\nwant\n%x", got, want)
	}
}

func TestScriptSigLimit(t *testing.T) {
	sig := strings.Repeat("s", maxSig)
	for _, tt := range []struct {
		name        string
		flags       int
		tag         string
		n1          int
		wantSig     int // bytes of sig that are left
		validateErr string
		jobErr      string
	}{
		{"all fits", 0, "ckpool", 4, 38, "", ""},
		{"exactly", 0, strings.Repeat("t", 32), 4, 38, "", ""},
		{"one too many", 0, strings.Repeat("t", 33), 4, 37, "", ""},
		{"flags take room", 30, "ckpool", 4, 34, "", ""},
		{"one byte of it", 63, "ckpool", 4, 1, "", ""},
		{"none left", 64, "ckpool", 4, 0, "", ""},
		{"not even a push", 65, "ckpool", 4, 0, "", ""},
		{"too long without", 66, "ckpool", 4, 0, "", "block template at height 850000: the coinbase's scriptSig would have 101 bytes, at most 100 are allowed"},
		{"absurd flags", 300, "ckpool", 4, 0, "", "at most 100"},
		{"tag too long", 0, strings.Repeat("t", 80), 4, 0, "the coinbase's scriptSig would have 1", "scriptSig"},
		{"extranonce too long", 0, "ckpool", 68, 0, "extranonces of 68 and 8 bytes: at most 75 together", "at most 75"},
		{"longest extranonce", 0, "", 67, 8, "", ""},
	} {
		b := newBuilder(t)
		b.Sig, b.Tag, b.Extranonce1Len = sig, tt.tag, tt.n1
		checkError(t, tt.name, b.Validate(), tt.validateErr)
		j, err := b.Job(newGBT().with("coinbaseaux", gbt{"flags": strings.Repeat("ff", tt.flags)}).parse(t), 1, vectorTime, nil)
		checkError(t, tt.name, err, tt.jobErr)
		if err != nil {
			continue
		}
		if len(j.Sig) != tt.wantSig {
			t.Errorf("%s: btcsig has %d bytes left, want %d", tt.name, len(j.Sig), tt.wantSig)
		}
		tx := decodeTx(t, j.CoinbaseTx(&Miner{limitHuge, nil, make([]byte, tt.n1)}, &Solution{Extranonce2: make([]byte, 8)}))
		script := tx.TxIn[0].SignatureScript
		if len(script) > 100 || tt.wantSig > 0 && !bytes.HasSuffix(script, []byte(j.Sig)) {
			t.Errorf("%s: scriptSig %x", tt.name, script)
		}
	}
}

func TestBuilderErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Builder)
		err    string
	}{
		{"long btcsig", func(b *Builder) { b.Sig = strings.Repeat("s", 39) }, "btcsig has 39 bytes: at most 38"},
		{"no extranonce1", func(b *Builder) { b.Extranonce1Len = 0 }, "extranonces of 0 and 8 bytes"},
		{"no extranonce2", func(b *Builder) { b.Extranonce2Len = 0 }, "extranonces of 4 and 0 bytes"},
		{"long extranonce2", func(b *Builder) { b.Extranonce2Len = 9 }, "extranonces of 4 and 9 bytes"},
		{"script too long", func(b *Builder) { b.PayoutScript = make([]byte, 10001) }, "script of 10001 bytes"},
	} {
		b := newBuilder(t)
		tt.change(b)
		checkError(t, tt.name, b.Validate(), tt.err)
		_, err := b.Job(newGBT().parse(t), 1, vectorTime, nil)
		checkError(t, tt.name, err, tt.err)
	}
}

// A coinbase whose fixed parts alone are too long, as with a very long payout
// script, is still made: a miner gets work, without what may be left out.
func TestFixedPartsStayWhateverTheLimit(t *testing.T) {
	if l, _, _ := newBuilder(t).mustJob(t, vectorTemplate(t), extras(3)...).fit(1); l != (layout{outputs: 1}) {
		t.Errorf("%+v is left in", l)
	}
}
