package work

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

func decodeTx(t fataler, raw []byte) *wire.MsgTx {
	t.Helper()
	tx := wire.NewMsgTx(0)
	r := bytes.NewReader(raw)
	// DeserializeNoWitness takes the marker of a witness for a count.
	if err := tx.DeserializeNoWitness(r); err != nil || r.Len() > 0 {
		t.Fatalf("coinbase %x: %v, %d bytes left", raw, err, r.Len())
	}
	return tx
}

// fataler is what testing.TB and rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// clock is a time source that stands still.
type clock struct{ time.Time }

func (c clock) AdjustedTime() time.Time       { return c.Time }
func (clock) AddTimeSample(string, time.Time) {}
func (clock) Offset() time.Duration           { return 0 }

// solve finds a share that is a block of an easy chain.
func solve(t fataler, j *Job, m *Miner, s *Solution) *Share {
	t.Helper()
	var sh Share
	for s.Nonce = 0; s.Nonce < 1000; s.Nonce++ {
		if j.Hash(&sh, m, s); sh.Block {
			return &sh
		}
	}
	t.Fatalf("no block in 1000 hashes at bits %08x", j.Template.Bits)
	return nil
}

// checkBlock asks btcd's consensus code.
func checkBlock(t fataler, j *Job, sh *Share, raw []byte, now time.Time) *wire.MsgBlock {
	t.Helper()
	block, err := btcutil.NewBlockFromBytes(raw)
	if err != nil {
		t.Fatalf("block: %v", err)
	}
	if n := block.MsgBlock().SerializeSize(); n != len(raw) {
		t.Fatalf("block has %d bytes, %d of them belong to it", len(raw), n)
	}
	if *block.Hash() != sh.Hash {
		t.Fatalf("block %s, share %x", block.Hash(), sh.Hash)
	}
	// Target, merkle root, scriptSig, sizes, time.
	if err := blockchain.CheckBlockSanity(block, chaincfg.RegressionNetParams.PowLimit, clock{now}); err != nil {
		t.Fatalf("sanity: %v", err)
	}
	if err := blockchain.ValidateWitnessCommitment(block); err != nil {
		t.Fatalf("witness: %v", err)
	}
	if err := blockchain.CheckSerializedHeight(block.Transactions()[0], int32(j.Template.Height)); err != nil {
		t.Fatalf("height: %v", err)
	}
	hash := blockchain.HashToBig(block.Hash())
	if (hash.Cmp(new(big.Int).SetBytes(j.Target[:])) <= 0) != sh.Block {
		t.Fatalf("hash %x and target %x: block %v", hash, j.Target, sh.Block)
	}
	return block.MsgBlock()
}

// A block of the transactions a node mined itself.
func TestBlockOf400(t *testing.T) {
	text, err := os.ReadFile("testdata/regtest-block-400tx.hex")
	if err != nil {
		t.Fatal(err)
	}
	var theirs wire.MsgBlock
	if err := theirs.Deserialize(bytes.NewReader(unhex(t, string(text)))); err != nil {
		t.Fatal(err)
	}
	tmpl := recorded(t, "regtest-getblocktemplate-400tx")

	// Their coinbase and our branch give their merkle root.
	var txids [][32]byte
	for i := range tmpl.TxCount() {
		txids = append(txids, tmpl.TxID(i))
	}
	if root := MerkleRoot(theirs.Transactions[0].TxHash(), MerkleBranch(txids)); root != theirs.Header.MerkleRoot {
		t.Errorf("merkle root %x, want %x", root, theirs.Header.MerkleRoot)
	}
	if err := tmpl.CheckWitness(); err != nil {
		t.Error(err)
	}

	for _, shared := range []bool{false, true} {
		if shared {
			tmpl.ShareTransactions(nil)
		}
		j := newBuilder(t).mustJob(t, tmpl)
		m := &Miner{Limit: limitS21, Extranonce1: []byte{9, 8, 7, 6}}
		s := &Solution{Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Time: tmpl.CurTime + 1, Version: j.Version | 0x2000}
		sh := solve(t, j, m, s)
		raw := j.Block(sh, m, s)
		ours := checkBlock(t, j, sh, raw, time.Unix(int64(tmpl.CurTime), 0))

		if ours.Header.Version != 0x20002000 || ours.Header.Timestamp.Unix() != int64(tmpl.CurTime)+1 ||
			ours.Header.PrevBlock != theirs.Header.PrevBlock || ours.Header.Bits != theirs.Header.Bits {
			t.Errorf("header %+v", ours.Header)
		}
		if len(ours.Transactions) != 401 {
			t.Fatalf("%d transactions", len(ours.Transactions))
		}
		for i := 1; i <= 400; i++ {
			if ours.Transactions[i].WitnessHash() != theirs.Transactions[i].WitnessHash() {
				t.Fatalf("transaction %d differs", i)
			}
		}
		coinbase := ours.Transactions[0]
		if len(coinbase.TxIn[0].Witness) != 1 || !bytes.Equal(coinbase.TxIn[0].Witness[0], make([]byte, 32)) {
			t.Errorf("coinbase witness %x", coinbase.TxIn[0].Witness)
		}
		if !bytes.Equal(coinbase.TxOut[0].PkScript, unhex(t, vectorPayout)) || !bytes.Equal(coinbase.TxOut[1].PkScript, unhex(t, vectorDonation)) ||
			coinbase.TxOut[0].Value != 622710000 || coinbase.TxOut[1].Value != 6290000 {
			t.Errorf("outputs %v %v", coinbase.TxOut[0], coinbase.TxOut[1])
		}
	}
}

// Whatever the template, the settings and the miner: consensus takes the block.
func TestBlockProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var txs []any
		var ids [][32]byte
		witness := false
		seen := map[[32]byte]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "transactions") {
			tx := drawTx(t, rapid.Bool().Draw(t, "with witness"))
			if seen[tx.TxHash()] {
				continue
			}
			seen[tx.TxHash()] = true
			witness = witness || tx.HasWitness()
			txs = append(txs, gbtTx(tx))
			ids = append(ids, tx.WitnessHash())
		}
		height := rapid.OneOf(rapid.Int64Range(0, 300), rapid.Int64Range(0, 1<<31-1)).Draw(t, "height")
		reward := rapid.Int64Range(0, 50e8).Draw(t, "reward")
		g := newGBT().with("bits", "207fffff", "height", height, "coinbasevalue", reward)
		if txs != nil {
			g["transactions"] = txs
		}
		commitment := commitmentScript(witnessCommitment(append([][32]byte{{}}, ids...)))
		given := rapid.SampledFrom([]string{"script", "hash", "none"}).Draw(t, "commitment")
		switch given {
		case "script":
			g["default_witness_commitment"] = hex.EncodeToString(commitment)
		case "hash":
			g["default_witness_commitment"] = hex.EncodeToString(commitment[6:])
		}
		if rapid.Bool().Draw(t, "flags") {
			g["coinbaseaux"] = gbt{"flags": "062f503253482f"}
		}
		body, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := ParseTemplate(body)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "shared") {
			tmpl.ShareTransactions(nil)
		}

		payout := append([]byte{0x51, 0x20}, rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "payout")...)
		b := &Builder{
			Tag:            rapid.StringN(-1, -1, 20).Draw(t, "tag"),
			Sig:            rapid.StringN(-1, -1, 38).Draw(t, "sig"),
			Extranonce1Len: rapid.IntRange(1, 8).Draw(t, "n1"),
			Extranonce2Len: rapid.IntRange(1, 8).Draw(t, "n2"),
			VersionMask:    0x1fffe000,
		}
		solo := rapid.Bool().Draw(t, "solo")
		if !solo {
			b.PayoutScript = payout
		}
		share := Output{Script: []byte{0x51}, Part: Percent(rapid.Float64Range(0, 100).Draw(t, "donation")), Required: true}
		outputs := append([]Output{share}, extras(rapid.IntRange(0, 40).Draw(t, "extra"))...)
		j, err := b.Job(tmpl, 1, vectorTime, outputs)
		if err != nil {
			if reward-share.Part.Of(reward) < int64(len(outputs)-1)*1000 {
				return // outputs above the reward
			}
			t.Fatal(err)
		}
		limit := rapid.OneOf(rapid.SampledFrom(limits), rapid.IntRange(0, 3000)).Draw(t, "limit")
		m := &Miner{Limit: limit, Extranonce1: rapid.SliceOfN(rapid.Byte(), b.Extranonce1Len, b.Extranonce1Len).Draw(t, "extranonce1")}
		s := &Solution{Variant: rapid.Byte().Draw(t, "variant"), Extranonce2: make([]byte, b.Extranonce2Len), Time: j.NTimeMax,
			Version: j.Version | rapid.Uint32().Draw(t, "version bits")&j.Mask}
		if solo {
			m.Payout = payout
		}
		sh := solve(t, j, m, s)
		block := checkBlock(t, j, sh, j.Block(sh, m, s), time.Unix(1795327613, 0))

		coinbase := block.Transactions[0]
		if !bytes.Equal(coinbase.TxOut[0].PkScript, payout) {
			t.Fatalf("pays to %x", coinbase.TxOut[0].PkScript)
		}
		var sum int64
		for _, o := range coinbase.TxOut {
			sum += o.Value
		}
		if sum != reward {
			t.Fatalf("pays %d of %d", sum, reward)
		}
		wantCommitment := given != "none" || witness
		found, has := blockchain.ExtractWitnessCommitment(btcutil.NewTx(coinbase))
		if has != wantCommitment || has && !bytes.Equal(found, commitment[6:]) || coinbase.HasWitness() != wantCommitment {
			t.Fatalf("commitment %x, coinbase witness %v, wanted %v", found, coinbase.HasWitness(), wantCommitment)
		}
		stripped := decodeTx(t, j.CoinbaseTx(m, s))
		if stripped.TxHash() != coinbase.TxHash() {
			t.Fatalf("CoinbaseTx is another transaction")
		}
	})
}

// The block test is exact at its edge.
func TestBlockEdge(t *testing.T) {
	j := newBuilder(t).mustJob(t, newGBT().with("bits", "207fffff").parse(t))
	m, s := &Miner{Limit: limitUnknown, Extranonce1: make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}
	var sh Share
	j.Hash(&sh, m, s)
	for i := range j.Target { // the target is the hash itself
		j.Target[i] = sh.Hash[31-i]
	}
	if j.Hash(&sh, m, s); !sh.Block {
		t.Error("a hash equal to the target is no block")
	}
	for i := 31; ; i-- { // one less
		j.Target[i]--
		if j.Target[i] != 0xff {
			break
		}
	}
	if j.Hash(&sh, m, s); sh.Block {
		t.Error("a hash above the target is a block")
	}
}
