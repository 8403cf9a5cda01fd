package work

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

// A percentage is the decimal number that stands in the configuration, exactly:
// checked with rational numbers.
func TestPercent(t *testing.T) {
	for _, text := range []string{"0.1", "0.3", "1", "1.5", "2.5", "33.3", "99.9", "100", "0.1234567890123456", "50.00000000000001"} {
		var percent float64
		if _, err := fmt.Sscan(text, &percent); err != nil {
			t.Fatal(err)
		}
		want, _ := new(big.Rat).SetString(text)
		want.Quo(want, big.NewRat(100, 1))
		f := Percent(percent)
		got := new(big.Rat).SetFrac(new(big.Int).SetUint64(f.Num), new(big.Int).SetUint64(f.Den))
		if got.Cmp(want) != 0 {
			t.Errorf("%s percent is %v, want %v", text, got, want)
		}
	}
	for _, percent := range []float64{0, -1, math.NaN(), math.Inf(-1)} {
		if f := Percent(percent); f != (Fraction{0, 100}) {
			t.Errorf("%v percent is %v", percent, f)
		}
	}
	for _, percent := range []float64{math.SmallestNonzeroFloat64, 1e-30} {
		if f := Percent(percent); f.Num != 0 || f.Den == 0 {
			t.Errorf("%v percent is %v", percent, f)
		}
	}
	for _, percent := range []float64{100.1, 1e300, math.Inf(1)} {
		if f := Percent(percent); f.Num <= f.Den {
			t.Errorf("%v percent is %v: no job should be made with it", percent, f)
		}
	}
}

// Whatever is given away: each output has what integers of any size say, the
// payout has the rest, and all of them have exactly the reward.
func TestOutputsAreTheReward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reward := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, maxMoney)).Draw(t, "reward")
		var outputs []Output
		var want []int64
		left := reward
		for range rapid.IntRange(0, 8).Draw(t, "outputs") {
			o := Output{Script: []byte{0x51}}
			if rapid.Bool().Draw(t, "part") {
				den := rapid.OneOf(rapid.Uint64Range(1, 1000), rapid.Uint64Range(1, math.MaxUint64)).Draw(t, "den")
				o.Part = Fraction{rapid.Uint64Range(0, den).Draw(t, "num"), den}
				if rapid.Bool().Draw(t, "percent") {
					o.Part = Percent(rapid.Float64Range(0, 100).Draw(t, "percentage"))
				}
				n := new(big.Int).Mul(big.NewInt(reward), new(big.Int).SetUint64(o.Part.Num))
				n.Quo(n, new(big.Int).SetUint64(o.Part.Den))
				if n.Sign() > 0 {
					want = append(want, n.Int64())
				}
				left -= n.Int64()
			} else {
				o.Value = rapid.Int64Range(0, max(reward/4, 1)).Draw(t, "value")
				want = append(want, o.Value)
				left -= o.Value
			}
			outputs = append(outputs, o)
		}
		body, err := json.Marshal(newGBT().with("coinbasevalue", reward))
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := ParseTemplate(body)
		if err != nil {
			t.Fatal(err)
		}
		b := &Builder{PayoutScript: []byte{0x52}, Extranonce1Len: 4, Extranonce2Len: 8}
		j, err := b.Job(tmpl, 1, vectorTime, outputs)
		if (err != nil) != (left < 0) {
			t.Fatalf("%d are left: %v", left, err)
		}
		if err != nil {
			return
		}
		tx := decodeTx(t, j.CoinbaseTx(&Miner{limitHuge, nil, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
		if len(tx.TxOut) != 1+len(want) {
			t.Fatalf("%d outputs, want %d", len(tx.TxOut), 1+len(want))
		}
		sum := tx.TxOut[0].Value
		for i, v := range want {
			sum += tx.TxOut[1+i].Value
			if tx.TxOut[1+i].Value != v {
				t.Fatalf("output %d has %d, want %d", i, tx.TxOut[1+i].Value, v)
			}
		}
		if sum != reward || tx.TxOut[0].Value != left {
			t.Fatalf("%d of %d are paid, %d of them are left for the payout, want %d", sum, reward, tx.TxOut[0].Value, left)
		}
	})
}

func TestOutputErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outputs []Output
		err     string
	}{
		{"negative", []Output{{Value: -1}}, "coinbase output of -1 satoshis"},
		{"more than there is", []Output{{Value: maxMoney + 1}}, "coinbase output of 2100000000000001 satoshis"},
		{"more than all", []Output{{Part: Fraction{3, 2}}}, "coinbase output of 3/2 of the reward"},
		{"a part of nothing", []Output{{Part: Fraction{Num: 3}}}, "coinbase output of 3/0 of the reward"},
		{"both", []Output{{Value: 1, Part: Fraction{1, 2}}}, "coinbase output of 1 satoshis and a part of the reward"},
		{"long script", []Output{{Script: make([]byte, 10_001)}}, "coinbase output with a script of 10001 bytes"},
		{"required behind others", []Output{{Value: 1}, {Value: 1, Required: true}}, "coinbase output 1 is required and stands behind one that is not"},
		{"more than the reward", []Output{{Part: Percent(1)}, {Value: 312500000}}, "the coinbase outputs are worth more than the reward"},
	} {
		_, err := newBuilder(t).Job(newGBT().parse(t), 1, vectorTime, tt.outputs)
		checkError(t, tt.name, err, tt.err)
		if err != nil && !strings.HasPrefix(err.Error(), "block template at height 850000: ") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A miner cannot make a required output go away by what it calls itself.
func TestRequiredOutputStays(t *testing.T) {
	b := newBuilder(t)
	b.Tag = strings.Repeat("t", 60) // the coinbase has more than 255 bytes
	b.Sig = ""
	j := b.mustJob(t, vectorTemplate(t), extras(5)...)
	tx := decodeTx(t, j.CoinbaseTx(&Miner{limitESP32, nil, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
	if len(tx.TxOut) != 3 || !bytes.Equal(tx.TxOut[1].PkScript, unhex(t, vectorDonation)) || tx.TxOut[1].Value != 3125000 {
		t.Errorf("outputs %v", tx.TxOut)
	}
}

// legacyTx is a transaction without witness of about so many bytes, and with
// so many signature checks in its outputs.
func legacyTx(n, size, sigops int) *wire.MsgTx {
	tx := wire.NewMsgTx(2)
	in := &wire.TxIn{Sequence: 0xffffffff}
	in.PreviousOutPoint.Hash = [32]byte{1, byte(n), byte(n >> 8)}
	tx.AddTxIn(in)
	tx.AddTxOut(wire.NewTxOut(1, bytes.Repeat([]byte{txscript.OP_CHECKSIG}, sigops)))
	for tx.SerializeSize() < size {
		left := min(size-tx.SerializeSize(), 9000)
		tx.AddTxOut(wire.NewTxOut(0, append([]byte{txscript.OP_RETURN}, make([]byte, left)...)))
	}
	return tx
}

// witnessTx has about so many bytes, most of them witness.
func witnessTx(n, size int) *wire.MsgTx {
	tx := legacyTx(n, 0, 0)
	tx.TxIn[0].PreviousOutPoint.Hash[31] = 1
	tx.TxIn[0].Witness = wire.TxWitness{make([]byte, size)}
	return tx
}

func sigopCost(tx *wire.MsgTx) int {
	return blockchain.CountSigOps(btcutil.NewTx(tx)) * blockchain.WitnessScaleFactor
}

// fullTemplate is a template with the transactions, as a node gives it.
func fullTemplate(txs []*wire.MsgTx, telling bool) gbt {
	var list []any
	ids := make([][32]byte, 1)
	for _, tx := range txs {
		m := gbtTx(tx)
		m["weight"], m["sigops"] = blockchain.GetTransactionWeight(btcutil.NewTx(tx)), sigopCost(tx)
		if !telling {
			delete(m, "weight")
			delete(m, "sigops")
		}
		list = append(list, m)
		ids = append(ids, tx.WitnessHash())
	}
	g := newGBT().with("bits", "207fffff", "weightlimit", 4000000, "sigoplimit", 80000,
		"default_witness_commitment", hex.EncodeToString(commitmentScript(witnessCommitment(ids))))
	if list != nil {
		g["transactions"] = list
	}
	return g
}

// measured is what btcd says a block has.
func measured(block *wire.MsgBlock) (weight int64, sigops int) {
	for _, tx := range block.Transactions {
		sigops += sigopCost(tx)
	}
	return blockchain.GetBlockWeight(btcutil.NewBlock(block)), sigops
}

// However full the template is and however many outputs there are, the block is
// one that btcd takes, and no output is left out that there is room for.
func TestFullBlock(t *testing.T) {
	p2pkh := append(append([]byte{txscript.OP_DUP, txscript.OP_HASH160, 20}, make([]byte, 20)...), txscript.OP_EQUALVERIFY, txscript.OP_CHECKSIG)
	checks := func(n int) []byte { return bytes.Repeat([]byte{txscript.OP_CHECKMULTISIG}, n) }
	outputs := func(n int, script []byte) []Output {
		list := make([]Output, n)
		for i := range list {
			list[i] = Output{Script: script, Value: 1000}
		}
		return list
	}
	legacy := func(total, sigops int) (txs []*wire.MsgTx) {
		const each = 99_000
		for ; total > each+1000; total, sigops = total-each, max(sigops-2000, 0) {
			txs = append(txs, legacyTx(len(txs), each, min(sigops, 2000)))
		}
		return append(txs, legacyTx(len(txs), total, min(sigops, 2000)))
	}
	for _, tt := range []struct {
		name    string
		txs     []*wire.MsgTx
		outputs []Output
		all     bool // have room
		change  gbt
	}{
		{"empty", nil, outputs(450, p2pkh), true, nil},
		{"Core's reserve", legacy(998_000, 0), outputs(450, p2pkh), false, nil},
		{"few outputs in Core's reserve", legacy(997_900, 0), outputs(40, p2pkh), true, nil},
		{"witnesses", []*wire.MsgTx{witnessTx(1, 3_990_000)}, outputs(450, p2pkh), false, nil},
		{"sigops", legacy(900_000, 19_990), outputs(450, p2pkh), false, nil},
		{"Core's reserve of sigops", legacy(900_000, 19_900), outputs(90, p2pkh), true, nil},
		{"multisig", legacy(900_000, 0), outputs(20, checks(100)), false, nil},
		{"a lower limit", legacy(500_000, 0), outputs(450, p2pkh), false, gbt{"weightlimit": 2010000}},
		{"no limits told", legacy(998_000, 0), outputs(450, p2pkh), false, gbt{"weightlimit": nil, "sigoplimit": nil}},
	} {
		for _, solo := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, solo %v", tt.name, solo), func(t *testing.T) {
				g := fullTemplate(tt.txs, true)
				for k, v := range tt.change {
					g = g.with(k, v)
				}
				b := newBuilder(t)
				m := &Miner{Limit: 1 << 20, Extranonce1: make([]byte, 4)}
				if solo {
					b.PayoutScript, m.Payout = nil, p2pkh
				}
				j, err := b.Job(g.parse(t), 1, vectorTime, tt.outputs)
				if err != nil {
					t.Fatal(err)
				}
				s := &Solution{Extranonce2: make([]byte, 8), Time: j.NTimeMax, Version: j.Version}
				sh := solve(t, j, m, s)
				block := checkBlock(t, j, sh, j.Block(sh, m, s), vectorTime)
				weight, sigops := measured(block)
				limit := int64(blockchain.MaxBlockWeight)
				if l, ok := tt.change["weightlimit"].(int); ok {
					limit = int64(l)
				}
				if weight > limit || sigops > blockchain.MaxBlockSigOpsCost {
					t.Fatalf("weight %d, sigops %d", weight, sigops)
				}
				in := len(block.Transactions[0].TxOut) - 2
				if in+len(j.LeftOut) != len(tt.outputs) || tt.all != (len(j.LeftOut) == 0) {
					t.Fatalf("%d of %d outputs are in, %d said to be left out", in, len(tt.outputs), len(j.LeftOut))
				}
				if tt.all {
					return
				}
				// With one more it would be too much; in solo there is to be room for
				// the longest script of an address.
				next := j.LeftOut[0]
				block.Transactions[0].AddTxOut(wire.NewTxOut(next.Value, next.Script))
				weight, sigops = measured(block)
				spare := int64(4*2 + 4*len(j.Sig) + 4) // for the count of outputs, and btcsig goes first
				if solo {
					spare += 4 * (witnessScriptLen - 25)
				}
				if weight+spare <= limit && sigops <= blockchain.MaxBlockSigOpsCost {
					t.Errorf("an output is left out, with it the weight would be %d, sigops %d", weight, sigops)
				}
			})
		}
	}
}

// A node that does not tell what transactions need is taken to have left as much
// as Core leaves by default, or what is left whatever they need.
func TestUnknownWeights(t *testing.T) {
	many := make([]Output, 300)
	for i := range many {
		many[i] = Output{Script: append([]byte{0x00, 0x14}, make([]byte, 20)...), Value: 1000}
	}
	for _, tt := range []struct {
		name string
		txs  []*wire.MsgTx
		in   int
	}{
		{"full", []*wire.MsgTx{witnessTx(1, 3_990_000)}, 56}, // (8000 - 332 - 36)/4 bytes, less 156 for all else, by 31
		{"not full whatever they are", []*wire.MsgTx{witnessTx(1, 900_000)}, 300},
	} {
		j, err := newBuilder(t).Job(fullTemplate(tt.txs, false).parse(t), 1, vectorTime, many)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(many) - len(j.LeftOut); got != tt.in {
			t.Errorf("%s: %d outputs are in, want %d", tt.name, got, tt.in)
		}
	}
}

// No work is better than blocks that nobody takes.
func TestNoRoomForTheCoinbase(t *testing.T) {
	_, err := newBuilder(t).Job(fullTemplate([]*wire.MsgTx{legacyTx(1, 999_800, 0)}, true).parse(t), 1, vectorTime, nil)
	checkError(t, "weight", err, "weight units and 80000 sigops for the coinbase, which needs")
}

func TestCountSigops(t *testing.T) {
	check := func(t fataler, script []byte) {
		tx := wire.NewMsgTx(1)
		tx.AddTxOut(wire.NewTxOut(0, script))
		if got, want := countSigops(script), blockchain.CountSigOps(btcutil.NewTx(tx)); got != want {
			t.Fatalf("%x has %d sigops, want %d", script, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom([]byte{0x00, 0x01, 0x02, 0x14, 0x4b, 0x4c, 0x4d, 0x4e, 0x51, 0xac, 0xad, 0xae, 0xaf, 0xff})
		check(t, rapid.SliceOfN(rapid.OneOf(op, rapid.Byte()), 0, 80).Draw(t, "script"))
	})
}
