package fakenode

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// result decodes the result of a template.
type templateResult struct {
	Version      uint32
	Rules        []string
	Previous     string `json:"previousblockhash"`
	Transactions []struct {
		Data, TxID, Hash string
		Fee              int64
		Weight           int
	}
	Value      int64 `json:"coinbasevalue"`
	LongPollID string
	Target     string
	CurTime    int64
	Bits       string
	Height     int64
	Commitment string `json:"default_witness_commitment"`
}

func (n *Node) getTemplate(t *testing.T, extra ...string) templateResult {
	t.Helper()
	p := map[string]any{"rules": []string{"segwit", "signet"}}
	if len(extra) > 0 {
		p["longpollid"] = extra[0]
	}
	a := n.rpc(t, "getblocktemplate", p)
	var r templateResult
	if err := json.Unmarshal(a.result, &r); err != nil {
		t.Fatalf("%v: %.300s", err, a.body)
	}
	return r
}

// mine builds the block of a template the way a pool has to, with btcd's types.
func mine(t *testing.T, r templateResult, change func(*wire.MsgBlock)) *wire.MsgBlock {
	t.Helper()
	sig, err := txscript.NewScriptBuilder().AddInt64(r.Height).AddInt64(time.Now().UnixNano()).Script()
	if err != nil {
		t.Fatal(err)
	}
	commitment, err := hex.DecodeString(r.Commitment)
	if err != nil {
		t.Fatal(err)
	}
	coinbase := wire.NewMsgTx(1)
	coinbase.AddTxIn(&wire.TxIn{PreviousOutPoint: wire.OutPoint{Index: 1<<32 - 1}, SignatureScript: sig,
		Witness: wire.TxWitness{make([]byte, 32)}, Sequence: wire.MaxTxInSequenceNum})
	coinbase.AddTxOut(wire.NewTxOut(r.Value, []byte{0x51}))
	coinbase.AddTxOut(wire.NewTxOut(0, commitment))
	prev, err := chainhash.NewHashFromStr(r.Previous)
	if err != nil {
		t.Fatal(err)
	}
	b := &wire.MsgBlock{
		Header: wire.BlockHeader{
			Version: int32(r.Version), PrevBlock: *prev, Timestamp: time.Unix(r.CurTime, 0), Bits: 0x207fffff,
		},
		Transactions: []*wire.MsgTx{coinbase},
	}
	for _, tx := range r.Transactions {
		raw, err := hex.DecodeString(tx.Data)
		if err != nil {
			t.Fatal(err)
		}
		m := new(wire.MsgTx)
		if err := m.Deserialize(bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		if m.TxHash().String() != tx.TxID || m.WitnessHash().String() != tx.Hash {
			t.Errorf("txid or hash of %s wrong", tx.TxID)
		}
		if w := blockchain.GetTransactionWeight(btcutil.NewTx(m)); w != int64(tx.Weight) {
			t.Errorf("weight %d, want %d", tx.Weight, w)
		}
		b.Transactions = append(b.Transactions, m)
	}
	fixRoot(b)
	if change != nil {
		change(b)
	}
	solve(b, true)
	return b
}

func fixRoot(b *wire.MsgBlock) {
	b.Header.MerkleRoot = blockchain.CalcMerkleRoot(btcutil.NewBlock(b).Transactions(), false)
}

// solve searches a nonce that meets the target, or one that does not.
func solve(b *wire.MsgBlock, good bool) {
	for target := blockchain.CompactToBig(b.Header.Bits); ; b.Header.Nonce++ {
		hash := b.BlockHash()
		if (blockchain.HashToBig(&hash).Cmp(target) <= 0) == good {
			return
		}
	}
}

func (n *Node) submitMsg(t *testing.T, b *wire.MsgBlock) string {
	t.Helper()
	var raw bytes.Buffer
	if err := b.Serialize(&raw); err != nil {
		t.Fatal(err)
	}
	a := n.rpc(t, "submitblock", hex.EncodeToString(raw.Bytes()))
	if a.code != 0 {
		return fmt.Sprint(a.code)
	}
	return strings.Trim(string(a.result), `"`)
}

func TestSubmittedBlockBecomesTip(t *testing.T) {
	n := start(t, Config{Transactions: 300})
	first := n.getTemplate(t)
	b := mine(t, first, nil)
	if got := n.submitMsg(t, b); got != "null" {
		t.Fatalf("verdict %s", got)
	}
	if got := n.submitMsg(t, b); got != "duplicate" {
		t.Errorf("second time: %s", got)
	}
	height, hash := n.Tip()
	if height != first.Height || hash != b.BlockHash().String() {
		t.Errorf("tip %d %s", height, hash)
	}
	if got := n.rpc(t, "getblockhash", height); string(got.result) != `"`+hash+`"` {
		t.Errorf("getblockhash: %s", got.body)
	}
	next := n.getTemplate(t)
	if next.Previous != hash || next.Height != height+1 || next.Commitment == first.Commitment {
		t.Errorf("next template is on %s at %d with commitment %s", next.Previous, next.Height, next.Commitment)
	}
	if got := n.submitMsg(t, mine(t, first, nil)); got != "inconclusive" {
		t.Errorf("block on the old tip: %s", got)
	}
	subs := n.Submissions()
	if len(subs) != 3 || subs[0].Verdict != "" || subs[0].Block.BlockHash() != b.BlockHash() {
		t.Errorf("submissions: %v", subs)
	}
}

func TestSubmitVerdicts(t *testing.T) {
	n := start(t, Config{Transactions: 20})
	other := newMempoolTxs(5)
	for _, c := range []struct {
		want   string
		change func(*wire.MsgBlock)
	}{
		{"high-hash", func(b *wire.MsgBlock) { b.Header.Bits = 0x1d00ffff }},
		{"bad-txnmrklroot", func(b *wire.MsgBlock) { b.Header.MerkleRoot[0] ^= 1 }},
		{"bad-txns-duplicate", func(b *wire.MsgBlock) {
			// Repeating the last transaction of an odd level leaves the root alone.
			b.Transactions = b.Transactions[:3]
			fixRoot(b)
			b.Transactions = append(b.Transactions, b.Transactions[2])
		}},
		{"bad-cb-missing", func(b *wire.MsgBlock) { b.Transactions = b.Transactions[1:]; fixRoot(b) }},
		{"bad-cb-length", func(b *wire.MsgBlock) {
			in := b.Transactions[0].TxIn[0]
			in.SignatureScript = append(in.SignatureScript, make([]byte, 100)...)
			fixRoot(b)
		}},
		{"bad-cb-height", func(b *wire.MsgBlock) { b.Transactions[0].TxIn[0].SignatureScript[1] ^= 1; fixRoot(b) }},
		{"prev-blk-not-found", func(b *wire.MsgBlock) { b.Header.PrevBlock[0] ^= 1 }},
		{"bad-diffbits", func(b *wire.MsgBlock) { b.Header.Bits = 0x207ffffe }},
		{"time-too-old", func(b *wire.MsgBlock) { b.Header.Timestamp = time.Unix(1e9, 0) }},
		{"time-too-new", func(b *wire.MsgBlock) { b.Header.Timestamp = time.Now().Add(3 * time.Hour) }},
		{"bad-version", func(b *wire.MsgBlock) { b.Header.Version = 3 }},
		{"bad-witness-merkle-match", func(b *wire.MsgBlock) { b.Transactions[0].TxOut[1].PkScript[10] ^= 1; fixRoot(b) }},
		{"bad-witness-nonce-size", func(b *wire.MsgBlock) {
			b.Transactions[0].TxIn[0].Witness = wire.TxWitness{make([]byte, 31)}
		}},
		{"unexpected-witness", func(b *wire.MsgBlock) {
			b.Transactions[0].TxOut = b.Transactions[0].TxOut[:1]
			b.Transactions[0].TxIn[0].Witness = nil
			fixRoot(b)
		}},
		{"bad-txns-inputs-missingorspent", func(b *wire.MsgBlock) {
			b.Transactions = append(b.Transactions[:1], other...)
			root := blockchain.CalcMerkleRoot(btcutil.NewBlock(b).Transactions(), true)
			commitment := chainhash.DoubleHashH(append(root[:], make([]byte, 32)...))
			copy(b.Transactions[0].TxOut[1].PkScript[6:], commitment[:])
			fixRoot(b)
		}},
		{"bad-cb-amount", func(b *wire.MsgBlock) { b.Transactions[0].TxOut[0].Value++; fixRoot(b) }},
		{"null", func(b *wire.MsgBlock) { b.Transactions[0].TxIn[0].Witness = nil }}, // Core adds it
	} {
		b := mine(t, n.getTemplate(t), func(b *wire.MsgBlock) {
			if c.want != "high-hash" {
				c.change(b)
			}
		})
		if c.want == "high-hash" {
			solve(b, false)
		}
		if got := n.submitMsg(t, b); got != c.want {
			t.Errorf("%s: %s", c.want, got)
		}
	}
	if got := n.rpc(t, "submitblock", "zz"); got.code != -22 {
		t.Errorf("no hex: %s", got.body)
	}
	n.SetFault(Fault{Kind: Verdict, Text: "rejected: nonsense"})
	if got := n.submitMsg(t, mine(t, n.getTemplate(t), nil)); got != "rejected: nonsense" {
		t.Errorf("forced verdict: %s", got)
	}
}

func newMempoolTxs(n int) []*wire.MsgTx {
	txs := make([]*wire.MsgTx, n)
	for i := range txs {
		txs[i] = wire.NewMsgTx(2)
		txs[i].AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: uint32(i)}, []byte{0x51}, nil))
		txs[i].AddTxOut(wire.NewTxOut(1, []byte{0x51}))
	}
	return txs
}

// The recorded block of 400 transactions meets our own merkle code.
func TestMerkleRootAgainstRecordedBlock(t *testing.T) {
	text, err := os.ReadFile("testdata/core/regtest-block-400tx.hex")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	var b wire.MsgBlock
	if err := b.Deserialize(bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	if reason := contextFree(&b, b.BlockHash()); reason != "" {
		t.Error(reason)
	}
	if reason := witness(&b); reason != "" {
		t.Error(reason)
	}
}

func TestReorgAndPreciousBlock(t *testing.T) {
	n := start(t, Config{})
	n.NewBlock()
	old := mine(t, n.getTemplate(t), nil)
	if got := n.submitMsg(t, old); got != "null" {
		t.Fatal(got)
	}
	height, _ := n.Tip()
	tip, err := n.Reorg(1)
	if err != nil {
		t.Fatal(err)
	}
	if h, hash := n.Tip(); h != height+1 || hash != tip {
		t.Errorf("tip %d %s", h, hash)
	}
	var header struct{ Confirmations int }
	a := n.rpc(t, "getblockheader", old.BlockHash().String())
	if err := json.Unmarshal(a.result, &header); err != nil || header.Confirmations != -1 {
		t.Errorf("orphan: %s", a.body)
	}
	if _, err := n.Reorg(100); err == nil {
		t.Error("reorg beyond the first block must fail")
	}

	// Two blocks on one tip: the second is inconclusive until it is precious.
	tmpl := n.getTemplate(t)
	one, two := mine(t, tmpl, nil), mine(t, tmpl, nil)
	if got := n.submitMsg(t, one); got != "null" {
		t.Fatal(got)
	}
	if got := n.submitMsg(t, two); got != "inconclusive" {
		t.Fatal(got)
	}
	n.rpc(t, "preciousblock", two.BlockHash().String())
	if _, hash := n.Tip(); hash != two.BlockHash().String() {
		t.Error("precious block is not the tip")
	}
}
