package fakenode

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// mempool holds made-up transactions of real shapes and sizes, each with its
// part of a template rendered. It is immutable; a template takes a window of
// it, another one for every tip, so that work on one tip does not fit another.
type mempool struct {
	window int
	txs    []*mempoolTx
	byHash map[chainhash.Hash]*mempoolTx // by witness hash
}

type mempoolTx struct {
	txid, hash chainhash.Hash
	fee        int64  // satoshis
	json       []byte // entry of a template's transactions
}

// windowStep is how far the window moves from tip to tip.
const windowStep = 7

func newMempool(window int) *mempool {
	m := &mempool{window: window, byHash: map[chainhash.Hash]*mempoolTx{}}
	if window == 0 {
		return m
	}
	random := rand.New(rand.NewChaCha8([32]byte{'c', 'k', 'p', 'o', 'o', 'l'}))
	// Real blocks of many transactions consist of small ones.
	small := window > 5000
	for range window + window/8 + windowStep {
		tx := newMempoolTx(random, small)
		m.txs = append(m.txs, tx)
		m.byHash[tx.hash] = tx
	}
	return m
}

// template is that of the sequence-th tip.
func (m *mempool) template(sequence int) *template {
	return newTemplate(sequence, m.transactions(sequence))
}

// transactions is the window for the sequence-th tip, in template order.
func (m *mempool) transactions(sequence int) []*mempoolTx {
	txs := make([]*mempoolTx, m.window)
	for i := range txs {
		txs[i] = m.txs[(sequence*windowStep+i)%len(m.txs)]
	}
	return txs
}

func newMempoolTx(random *rand.Rand, small bool) *mempoolTx {
	inputs, outputs := 1, 1
	if !small {
		inputs = [...]int{1, 1, 1, 2, 3}[random.IntN(5)]
		outputs = [...]int{1, 2, 2, 2, 5}[random.IntN(5)]
		if random.IntN(32) == 0 {
			outputs = 20
		}
	}
	legacy := !small && random.IntN(10) == 0
	tx := wire.NewMsgTx(2)
	for range inputs {
		in := wire.NewTxIn(wire.NewOutPoint((*chainhash.Hash)(randomBytes(random, 32)), random.Uint32N(4)), nil, nil)
		in.Sequence = wire.MaxTxInSequenceNum - 2
		signature, key := randomBytes(random, 72), randomBytes(random, 33)
		if legacy {
			in.SignatureScript = append(append([]byte{72}, signature...), append([]byte{33}, key...)...)
		} else {
			in.Witness = wire.TxWitness{signature, key}
		}
		tx.AddTxIn(in)
	}
	for range outputs {
		script := append([]byte{0x00, 0x14}, randomBytes(random, 20)...) // P2WPKH
		if small {
			script = []byte{0x51, 0x02, 0x4e, 0x73} // pay to anchor
		}
		tx.AddTxOut(wire.NewTxOut(random.Int64N(1e9), script))
	}
	var raw bytes.Buffer
	if err := tx.Serialize(&raw); err != nil {
		panic("fakenode: writing to memory cannot fail: " + err.Error())
	}
	weight := tx.SerializeSizeStripped()*3 + tx.SerializeSize()
	m := &mempoolTx{txid: tx.TxHash(), hash: tx.WitnessHash(), fee: int64(weight / 4 * (1 + random.IntN(50)))}
	sigops := inputs
	if legacy {
		sigops = 4 * inputs
	}
	m.json = fmt.Appendf(nil, `{"data":"%s","txid":"%s","hash":"%s","depends":[],"fee":%d,"sigops":%d,"weight":%d}`,
		hex.EncodeToString(raw.Bytes()), m.txid, m.hash, m.fee, sigops, weight)
	if !json.Valid(m.json) {
		panic("fakenode: template entry is not JSON")
	}
	return m
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}
