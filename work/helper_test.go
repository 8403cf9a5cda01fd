package work

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

// unhex decodes hex; white space in it is only for the eye.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// displayHash reads a hash as block explorers print it.
func displayHash(t testing.TB, s string) [32]byte {
	t.Helper()
	h, err := chainhash.NewHashFromStr(s)
	if err != nil || len(s) != 64 {
		t.Fatalf("%q is not a hash: %v", s, err)
	}
	return *h
}

// replyBody is the body of a recorded answer.
func replyBody(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("%s has no body", name)
	}
	return body
}

func recorded(t testing.TB, name string) *Template {
	t.Helper()
	r, err := ParseReply(replyBody(t, name))
	if err != nil || r.Template == nil {
		t.Fatalf("%s: %v, %+v", name, err, r)
	}
	return r.Template
}

// gbt is a getblocktemplate result. What is nil is left out.
type gbt map[string]any

func newGBT() gbt {
	return gbt{
		"version":           0x20000000,
		"previousblockhash": "0000000000000000000e1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f",
		"curtime":           1795327613,
		"mintime":           1795327000,
		"bits":              "1d00ffff",
		"height":            850000,
		"coinbasevalue":     312500000,
		"rules":             []string{"csv", "!segwit", "taproot"},
		"coinbaseaux":       map[string]string{},
		"transactions":      []any{},
	}
}

// with returns g with some members changed: name, value, name, value.
func (g gbt) with(pairs ...any) gbt {
	c := gbt{}
	for k, v := range g {
		c[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if c[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(c, pairs[i].(string))
		}
	}
	return c
}

func (g gbt) json(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (g gbt) parse(t testing.TB) *Template {
	t.Helper()
	tmpl, err := ParseTemplate(g.json(t))
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// gbtTx describes a transaction as getblocktemplate does.
func gbtTx(tx *wire.MsgTx) map[string]any {
	var b bytes.Buffer
	if err := tx.Serialize(&b); err != nil {
		panic(err) // a buffer does not fail
	}
	return map[string]any{
		"data":    hex.EncodeToString(b.Bytes()),
		"txid":    tx.TxHash().String(),
		"hash":    tx.WitnessHash().String(),
		"depends": []int{}, "fee": 1000, "sigops": 1, "weight": 561,
	}
}

// drawTx is a random transaction that is sane on its own.
func drawTx(t *rapid.T, witness bool) *wire.MsgTx {
	tx := wire.NewMsgTx(2)
	for range rapid.IntRange(1, 3).Draw(t, "inputs") {
		in := &wire.TxIn{Sequence: 0xfffffffd}
		copy(in.PreviousOutPoint.Hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "outpoint"))
		in.PreviousOutPoint.Hash[0] |= 1 // not null
		in.PreviousOutPoint.Index = uint32(len(tx.TxIn))
		if witness {
			in.Witness = wire.TxWitness{rapid.SliceOfN(rapid.Byte(), 1, 72).Draw(t, "witness")}
		}
		tx.AddTxIn(in)
	}
	for range rapid.IntRange(1, 3).Draw(t, "outputs") {
		script := append([]byte{0x00, 0x14}, rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "program")...)
		tx.AddTxOut(wire.NewTxOut(int64(rapid.IntRange(0, 1e8).Draw(t, "value")), script))
	}
	return tx
}

// The settings of the complete share vectors.
const (
	vectorPayout   = "76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac" // 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2
	vectorDonation = "0014382d983a96207ecf5da624320fc29bf1dd4581a9"       // bc1q8qkesw5kyplv7hdxyseqls5m78w5tqdfd40lf5
)

var vectorTime = time.Unix(1795327613, 576097250)

func newBuilder(t testing.TB) *Builder {
	return &Builder{
		Tag: "ckpool-lhr", Sig: "/specpool/",
		PayoutScript:   unhex(t, vectorPayout),
		Extranonce1Len: 4, Extranonce2Len: 8,
		VersionMask: 0x1fffe000,
	}
}

// donation is the output for the donation of the vectors.
func donation(t testing.TB) Output {
	return Output{Script: unhex(t, vectorDonation), Part: Percent(1), Required: true}
}

// mustJob makes a job with the donation and more outputs.
func (b *Builder) mustJob(t testing.TB, tmpl *Template, more ...Output) *Job {
	t.Helper()
	j, err := b.Job(tmpl, 0x6b02867d00000001, vectorTime, append([]Output{donation(t)}, more...))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// roomyTemplate is vectorTemplate with room for every coinbase.
func roomyTemplate(t testing.TB) *Template {
	tmpl := vectorTemplate(t)
	tmpl.CoinbaseWeight, tmpl.CoinbaseSigops = maxWeight, maxSigops
	return tmpl
}
