package ownership

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	btcaddress "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
)

// vector is one that BIP322 gives (basic-test-vectors.json, generated-test-vectors.json),
// or a published signature of a wallet.
type vector struct {
	Type, Message, Address, Signature string
	Locked                            bool
}

func vectors(t testing.TB) (v struct {
	Hashes []struct {
		Message, Address string
		MessageHash      string `json:"message_hash"`
		ToSpend          string `json:"to_spend"`
		ToSign           string `json:"to_sign"`
	}
	Valid, Invalid []vector
}) {
	t.Helper()
	b, err := os.ReadFile("testdata/bip322.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parse(t testing.TB, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return a
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	for _, v := range all.Hashes {
		spend := toSpend(parse(t, v.Address).Script(), v.Message)
		if got := messageHash(v.Message).CloneBytes(); !bytes.Equal(got, unhex(t, v.MessageHash)) {
			t.Errorf("%q: hash %x", v.Message, got)
		}
		if got := spend.TxHash().String(); got != v.ToSpend {
			t.Errorf("%q: to_spend %s, want %s", v.Message, got, v.ToSpend)
		}
		if got := toSign(spend).TxHash().String(); got != v.ToSign {
			t.Errorf("%q: to_sign %s, want %s", v.Message, got, v.ToSign)
		}
	}
	for i, v := range all.Valid {
		a := parse(t, v.Address)
		if locked, err := verify(a, v.Message, v.Signature); err != nil || locked != v.Locked {
			t.Errorf("%s: locked %v, %v", v.Type, locked, err)
		}
		if err := Verify(a, v.Message, v.Signature); (err == nil) == v.Locked {
			t.Errorf("%s: a proof of what is locked is %v", v.Type, err)
		}
		if _, err := verify(a, v.Message+" ", v.Signature); err == nil {
			t.Errorf("%s: another message is signed", v.Type)
		}
		for k, w := range all.Valid {
			if v.Address == w.Address {
				continue
			}
			if _, err := verify(parse(t, w.Address), v.Message, v.Signature); err == nil {
				t.Errorf("%d %s: the address of %d is proved", i, v.Type, k)
			}
		}
		// Each byte counts.
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(v.Signature, "smp"))
		if err != nil {
			t.Fatal(err)
		}
		for k := range raw {
			bad := bytes.Clone(raw)
			bad[k] ^= 1
			if err := Verify(a, v.Message, base64.StdEncoding.EncodeToString(bad)); err == nil && !v.Locked {
				t.Errorf("%s: with byte %d changed it is a proof", v.Type, k)
			}
		}
	}
	for _, v := range all.Invalid {
		if err := Verify(parse(t, v.Address), v.Message, v.Signature); err == nil {
			t.Errorf("%s is a proof", v.Type)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	h, err := chainhash.NewHashFromStr(s) // reversed
	if err != nil {
		t.Fatal(err)
	}
	for i, k := 0, len(h)-1; i < k; i, k = i+1, k-1 {
		h[i], h[k] = h[k], h[i]
	}
	return h[:]
}

// Recorded of a node: signmessage with the address, and verifymessage that it is right.
func TestCoreLegacy(t *testing.T) {
	const signature = "H0vho/RtaMSlwq4+mEUj5uILwXYWH/EIJMLUIEqdpMLARb9i3H0oTvhtHTfc1+mJIGX2MdFreZRrDcvLltodFj0="
	a := parse(t, "moZGzkhP4BRTf2cUcXgaYbcTBk4FMtdSTN")
	if err := Verify(a, "ckpool owns this", signature); err != nil {
		t.Error(err)
	}
	if err := Verify(a, "ckpool owns that", signature); err == nil {
		t.Error("another message")
	}
	if err := Verify(parse(t, "mjSSLdHFzft9NC5NNMik7WrMQ9rRhMhNpT"), "ckpool owns this", signature); err == nil {
		t.Error("another address")
	}
}

func key(n byte) *btcec.PrivateKey {
	k, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{n}, 32))
	return k
}

func of(t testing.TB, script []byte) address.Address {
	t.Helper()
	a, err := address.FromScript(script, address.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func script(t testing.TB, build func(b *txscript.ScriptBuilder)) []byte {
	t.Helper()
	b := txscript.NewScriptBuilder()
	build(b)
	s, err := b.Script()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wallet signs a message with btcd as a wallet would: the witness and script of the
// input, of which either form of signature is made.
type wallet struct {
	address address.Address
	sign    func(tx *wire.MsgTx, kind txscript.SigHashType)
	simple  bool // can be said by the witness alone
}

func wallets(t testing.TB) map[string]wallet {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	pubkey := key(1).PubKey().SerializeCompressed()
	hash := btcaddress.Hash160(pubkey)
	p2pkh := script(t, func(b *txscript.ScriptBuilder) {
		b.AddOp(txscript.OP_DUP).AddOp(txscript.OP_HASH160).AddData(hash).AddOp(txscript.OP_EQUALVERIFY).AddOp(txscript.OP_CHECKSIG)
	})
	p2wpkh := script(t, func(b *txscript.ScriptBuilder) { b.AddOp(txscript.OP_0).AddData(hash) })
	p2sh := func(inner []byte) []byte {
		return script(t, func(b *txscript.ScriptBuilder) {
			b.AddOp(txscript.OP_HASH160).AddData(btcaddress.Hash160(inner)).AddOp(txscript.OP_EQUAL)
		})
	}
	multi := script(t, func(b *txscript.ScriptBuilder) {
		b.AddOp(txscript.OP_2)
		for n := range byte(3) {
			b.AddData(key(n + 1).PubKey().SerializeCompressed())
		}
		b.AddOp(txscript.OP_3).AddOp(txscript.OP_CHECKMULTISIG)
	})
	p2wsh := script(t, func(b *txscript.ScriptBuilder) { b.AddOp(txscript.OP_0).AddData(chainhash.HashB(multi)) })
	taproot, err := txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(key(1).PubKey()))
	must(err)
	sums := func(tx *wire.MsgTx, prev []byte) *txscript.TxSigHashes {
		return txscript.NewTxSigHashes(tx, txscript.NewCannedPrevOutputFetcher(prev, 0))
	}
	multiWitness := func(tx *wire.MsgTx, kind txscript.SigHashType) {
		tx.TxIn[0].Witness = wire.TxWitness{nil}
		for _, n := range []byte{1, 3} {
			s, err := txscript.RawTxInWitnessSignature(tx, sums(tx, p2wsh), 0, 0, multi, kind, key(n))
			must(err)
			tx.TxIn[0].Witness = append(tx.TxIn[0].Witness, s)
		}
		tx.TxIn[0].Witness = append(tx.TxIn[0].Witness, multi)
	}
	keyWitness := func(tx *wire.MsgTx, kind txscript.SigHashType) {
		w, err := txscript.WitnessSignature(tx, sums(tx, p2wpkh), 0, 0, p2wpkh, kind, key(1), true)
		must(err)
		tx.TxIn[0].Witness = w
	}
	wrapped := func(inner []byte, sign func(*wire.MsgTx, txscript.SigHashType)) func(*wire.MsgTx, txscript.SigHashType) {
		return func(tx *wire.MsgTx, kind txscript.SigHashType) {
			sign(tx, kind)
			tx.TxIn[0].SignatureScript = script(t, func(b *txscript.ScriptBuilder) { b.AddData(inner) })
		}
	}
	return map[string]wallet{
		"p2pkh": {of(t, p2pkh), func(tx *wire.MsgTx, kind txscript.SigHashType) {
			s, err := txscript.SignatureScript(tx, 0, p2pkh, kind, key(1), true)
			must(err)
			tx.TxIn[0].SignatureScript = s
		}, false},
		"p2wpkh":      {of(t, p2wpkh), keyWitness, true},
		"p2sh-p2wpkh": {of(t, p2sh(p2wpkh)), wrapped(p2wpkh, keyWitness), true},
		"p2wsh":       {of(t, p2wsh), multiWitness, true},
		"p2sh-p2wsh":  {of(t, p2sh(p2wsh)), wrapped(p2wsh, multiWitness), true},
		"p2sh": {of(t, p2sh(multi)), func(tx *wire.MsgTx, kind txscript.SigHashType) {
			tx.TxIn[0].SignatureScript = script(t, func(b *txscript.ScriptBuilder) {
				b.AddOp(txscript.OP_0)
				for _, n := range []byte{1, 2} {
					s, err := txscript.RawTxInSignature(tx, 0, multi, kind, key(n))
					must(err)
					b.AddData(s)
				}
				b.AddData(multi)
			})
		}, false},
		"p2tr": {of(t, taproot), func(tx *wire.MsgTx, kind txscript.SigHashType) {
			if kind == txscript.SigHashAll {
				kind = txscript.SigHashDefault
			}
			w, err := txscript.TaprootWitnessSignature(tx, sums(tx, taproot), 0, 0, taproot, kind, key(1))
			must(err)
			tx.TxIn[0].Witness = w
		}, true},
	}
}

// unsigned are the transactions of BIP322, built from its text with btcd alone.
func unsigned(a address.Address, message string) *wire.MsgTx {
	tag := chainhash.HashB([]byte("BIP0322-signed-message"))
	hash := chainhash.HashB(append(append(bytes.Clone(tag), tag...), message...))
	spend := &wire.MsgTx{TxIn: []*wire.TxIn{{PreviousOutPoint: wire.OutPoint{Index: wire.MaxPrevOutIndex}, SignatureScript: append([]byte{0, 32}, hash...)}},
		TxOut: []*wire.TxOut{{PkScript: a.Script()}}}
	return &wire.MsgTx{TxIn: []*wire.TxIn{{PreviousOutPoint: wire.OutPoint{Hash: spend.TxHash()}}}, TxOut: []*wire.TxOut{{PkScript: []byte{txscript.OP_RETURN}}}}
}

func full(t testing.TB, tx *wire.MsgTx) string {
	t.Helper()
	var b bytes.Buffer
	if err := tx.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func simple(t testing.TB, tx *wire.MsgTx) string {
	t.Helper()
	var b bytes.Buffer
	if err := wire.WriteVarInt(&b, 0, uint64(len(tx.TxIn[0].Witness))); err != nil {
		t.Fatal(err)
	}
	for _, item := range tx.TxIn[0].Witness {
		if err := wire.WriteVarBytes(&b, 0, item); err != nil {
			t.Fatal(err)
		}
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// What btcd signs is a proof, of each type of address in each form; and is none once
// anything is different from what BIP322 wants.
func TestSigned(t *testing.T) {
	const message = "Pool: x | Account: y"
	for name, w := range wallets(t) {
		sign := func(kind txscript.SigHashType, change func(tx *wire.MsgTx)) *wire.MsgTx {
			tx := unsigned(w.address, message)
			change(tx)
			w.sign(tx, kind)
			return tx
		}
		same := func(*wire.MsgTx) {}
		if err := Verify(w.address, message, full(t, sign(txscript.SigHashAll, same))); err != nil {
			t.Errorf("%s, full: %v", name, err)
		}
		if err := Verify(w.address, message, "ful"+full(t, sign(txscript.SigHashAll, func(tx *wire.MsgTx) { tx.Version = 2; tx.TxIn[0].Sequence = 0xfffffffd }))); err != nil {
			t.Errorf("%s, full of version 2: %v", name, err)
		}
		err := Verify(w.address, message, simple(t, sign(txscript.SigHashAll, same)))
		if w.simple && err != nil || !w.simple && err == nil {
			t.Errorf("%s, simple: %v", name, err)
		}
		for change, f := range map[string]func(*wire.MsgTx){
			"version":   func(tx *wire.MsgTx) { tx.Version = 1 },
			"lock time": func(tx *wire.MsgTx) { tx.LockTime = 1 },
			"sequence":  func(tx *wire.MsgTx) { tx.TxIn[0].Sequence = 144 },
			"value":     func(tx *wire.MsgTx) { tx.TxOut[0].Value = 1 },
			"output":    func(tx *wire.MsgTx) { tx.TxOut[0].PkScript = w.address.Script() },
			"outputs":   func(tx *wire.MsgTx) { tx.AddTxOut(tx.TxOut[0]) },
			"input":     func(tx *wire.MsgTx) { tx.TxIn[0].PreviousOutPoint.Hash[0] ^= 1 },
			"index":     func(tx *wire.MsgTx) { tx.TxIn[0].PreviousOutPoint.Index = 1 },
			"inputs":    func(tx *wire.MsgTx) { tx.AddTxIn(&wire.TxIn{}) },
		} {
			if err := Verify(w.address, message, full(t, sign(txscript.SigHashAll, f))); err == nil {
				t.Errorf("%s: with another %s it is a proof", name, change)
			}
		}
		for _, kind := range []txscript.SigHashType{txscript.SigHashNone, txscript.SigHashSingle, txscript.SigHashAll | txscript.SigHashAnyOneCanPay} {
			if err := Verify(w.address, message, full(t, sign(kind, same))); err == nil || !strings.Contains(err.Error(), "SIGHASH_ALL") {
				t.Errorf("%s: hash type %x: %v", name, kind, err)
			}
		}
		if err := Verify(w.address, message, full(t, unsigned(w.address, message))); err == nil {
			t.Errorf("%s: unsigned, it is a proof", name)
		}
		if err := Verify(w.address, message, full(t, sign(txscript.SigHashAll, same))[:40]); err == nil {
			t.Errorf("%s: cut off, it is a proof", name)
		}
	}
}

// A script may say that a key is good only later, and a taproot one may be spent by a
// leaf: the first is no proof, the second is.
func TestScripts(t *testing.T) {
	const message = "m"
	pubkey := key(1).PubKey()
	for name, want := range map[string]string{"": "", "separator": "OP_CODESEPARATOR"} {
		leafScript := script(t, func(b *txscript.ScriptBuilder) {
			if name == "separator" {
				b.AddOp(txscript.OP_CODESEPARATOR)
			}
			b.AddData(schnorr.SerializePubKey(pubkey)).AddOp(txscript.OP_CHECKSIG)
		})
		leaf := txscript.NewBaseTapLeaf(leafScript)
		tree := txscript.AssembleTaprootScriptTree(leaf)
		root := tree.RootNode.TapHash()
		out, err := txscript.PayToTaprootScript(txscript.ComputeTaprootOutputKey(pubkey, root[:]))
		if err != nil {
			t.Fatal(err)
		}
		block := tree.LeafMerkleProofs[0].ToControlBlock(pubkey)
		control, err := block.ToBytes()
		if err != nil {
			t.Fatal(err)
		}
		a := of(t, out)
		tx := unsigned(a, message)
		sums := txscript.NewTxSigHashes(tx, txscript.NewCannedPrevOutputFetcher(out, 0))
		s, err := txscript.RawTxInTapscriptSignature(tx, sums, 0, 0, out, leaf, txscript.SigHashDefault, key(1))
		if err != nil {
			t.Fatal(err)
		}
		tx.TxIn[0].Witness = wire.TxWitness{s, leafScript, control}
		if err := Verify(a, message, simple(t, tx)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("leaf %s: %v", name, err)
		}
	}
	heir := script(t, func(b *txscript.ScriptBuilder) {
		b.AddOp(txscript.OP_IF).AddData(key(1).PubKey().SerializeCompressed()).AddOp(txscript.OP_ELSE).AddInt64(144).AddOp(txscript.OP_CHECKSEQUENCEVERIFY).AddOp(txscript.OP_DROP).
			AddData(key(2).PubKey().SerializeCompressed()).AddOp(txscript.OP_ENDIF).AddOp(txscript.OP_CHECKSIG)
	})
	out := script(t, func(b *txscript.ScriptBuilder) { b.AddOp(txscript.OP_0).AddData(chainhash.HashB(heir)) })
	a := of(t, out)
	sign := func(n byte, branch []byte, sequence uint32) string {
		tx := unsigned(a, message)
		tx.Version, tx.TxIn[0].Sequence = 2, sequence
		s, err := txscript.RawTxInWitnessSignature(tx, txscript.NewTxSigHashes(tx, txscript.NewCannedPrevOutputFetcher(out, 0)), 0, 0, heir, txscript.SigHashAll, key(n))
		if err != nil {
			t.Fatal(err)
		}
		tx.TxIn[0].Witness = wire.TxWitness{s, branch, heir}
		return full(t, tx)
	}
	if err := Verify(a, message, sign(1, []byte{1}, 0)); err != nil {
		t.Error("the owner:", err)
	}
	if err := Verify(a, message, sign(2, nil, 144)); err == nil || !strings.Contains(err.Error(), "lock time") {
		t.Error("the heir:", err)
	}
	if err := Verify(a, message, sign(2, nil, 0)); err == nil {
		t.Error("the heir at once")
	}
}

// recovered is a signature of 65 bytes.
func recovered(k *btcec.PrivateKey, message string, compressed bool, header byte) string {
	var b bytes.Buffer
	_ = wire.WriteVarString(&b, 0, "Bitcoin Signed Message:\n")
	_ = wire.WriteVarString(&b, 0, message)
	s := ecdsa.SignCompact(k, chainhash.DoubleHashB(b.Bytes()), compressed)
	s[0] += header
	return base64.StdEncoding.EncodeToString(s)
}

// Signatures of 65 bytes prove the addresses that BIP137 has headers for.
func TestRecovered(t *testing.T) {
	long := script(t, func(b *txscript.ScriptBuilder) {
		b.AddOp(txscript.OP_DUP).AddOp(txscript.OP_HASH160).AddData(btcaddress.Hash160(key(1).PubKey().SerializeUncompressed())).AddOp(txscript.OP_EQUALVERIFY).AddOp(txscript.OP_CHECKSIG)
	})
	list := wallets(t)
	list["long"] = wallet{address: of(t, long)}
	for _, tt := range []struct {
		wallet     string
		compressed bool
		header     byte // on top of P2PKH's
		right      bool
	}{
		{"long", false, 0, true}, {"long", true, 0, false}, {"p2pkh", true, 0, true}, {"p2pkh", false, 0, false}, {"p2pkh", true, 4, false}, {"p2pkh", true, 8, false},
		{"p2sh-p2wpkh", true, 4, true}, {"p2sh-p2wpkh", true, 0, true}, {"p2sh-p2wpkh", true, 8, false}, {"p2sh-p2wpkh", false, 0, false},
		{"p2wpkh", true, 8, true}, {"p2wpkh", true, 0, true}, {"p2wpkh", true, 4, false}, {"p2wpkh", false, 0, false},
		{"p2tr", true, 0, false}, {"p2wsh", true, 0, false}, {"p2sh", true, 0, false},
	} {
		a := list[tt.wallet].address
		if err := Verify(a, "hello", recovered(key(1), "hello", tt.compressed, tt.header)); (err == nil) != tt.right {
			t.Errorf("%+v: %v", tt, err)
		}
		if err := Verify(a, "hello", recovered(key(2), "hello", tt.compressed, tt.header)); err == nil {
			t.Errorf("%+v: with another key it is a proof", tt)
		}
	}
}

func TestLimits(t *testing.T) {
	a := wallets(t)["p2wpkh"].address
	big := strings.Repeat("x", MaxMessage+1)
	if err := Verify(a, big, recovered(key(1), big, true, 0)); err == nil || !strings.Contains(err.Error(), "at most 2000") {
		t.Error(err)
	}
	if err := Verify(a, "", strings.Repeat("A", MaxSignature+1)); err == nil || !strings.Contains(err.Error(), "at most 16000") {
		t.Error(err)
	}
	for _, nobody := range []string{"bc1pfeessrawgf", "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs"} {
		if err := Verify(parse(t, nobody), "", "AQEB"); err == nil || !strings.Contains(err.Error(), "anyone") {
			t.Errorf("%s: %v", nobody, err)
		}
	}
}

func TestClaim(t *testing.T) {
	now := time.Date(2026, 7, 14, 12, 0, 0, 500, time.UTC)
	w := wallets(t)["p2wpkh"]
	c, err := NewClaim("Our pool", w.address.String(), "minimum 50000", now)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := NewClaim("Our pool", w.address.String(), "minimum 50000", now)
	if c.Once == d.Once {
		t.Error("two claims are one")
	}
	text := c.Text()
	if want := "Pool: Our pool | Account: " + w.address.String() + " | Change: minimum 50000 | Time: 2026-07-14T12:00:00Z | Once: "; !strings.HasPrefix(text, want) || strings.Contains(text, "\n") {
		t.Errorf("the text is %q", text)
	}
	signature := recovered(key(1), text, true, 8)
	p, err := Prove(w.address, "Our pool", text, signature, now.Add(MaxAge/2))
	if err != nil || p.Address() != w.address || p.Claim() != c {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, f := range map[string]func() (*Proof, error){
		"later": func() (*Proof, error) {
			return Prove(w.address, "Our pool", text, signature, now.Add(MaxAge+time.Second))
		},
		"earlier": func() (*Proof, error) {
			return Prove(w.address, "Our pool", text, signature, now.Add(-MaxAhead-time.Second))
		},
		"another pool": func() (*Proof, error) { return Prove(w.address, "Other pool", text, signature, now) },
		"another change": func() (*Proof, error) {
			return Prove(w.address, "Our pool", strings.Replace(text, "50000", "5000", 1), signature, now)
		},
		"another address":  func() (*Proof, error) { return Prove(wallets(t)["p2tr"].address, "Our pool", text, signature, now) },
		"another spelling": func() (*Proof, error) { return Prove(w.address, "Our pool", text+" ", signature, now) },
	} {
		if p, err := f(); err == nil || p != nil {
			t.Errorf("%s it is a proof", name)
		}
	}
	for _, bad := range [][3]string{{"", "a", "b"}, {"p", "a | Change: c", "b"}, {"p", "a\n", "b"}, {"p", "a", strings.Repeat("x", MaxMessage)}, {"p", "a", "b|c"}} {
		if c, err := NewClaim(bad[0], bad[1], bad[2], now); err == nil {
			t.Errorf("%q is claimed as %q", bad, c.Text())
		}
	}
}

// Whatever comes is a proof or an error, and no more than its size is spent on it; a
// claim that is read is written the same.
func FuzzVerify(f *testing.F) {
	all := vectors(f)
	for _, v := range append(all.Valid, all.Invalid...) {
		f.Add(v.Address, v.Message, v.Signature)
	}
	f.Add("moZGzkhP4BRTf2cUcXgaYbcTBk4FMtdSTN", "ckpool owns this", "H0vho/RtaMSlwq4+mEUj5uILwXYWH/EIJMLUIEqdpMLARb9i3H0oTvhtHTfc1+mJIGX2MdFreZRrDcvLltodFj0=")
	f.Add("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "Pool: p | Account: a | Change: c | Time: 2026-07-14T12:00:00Z | Once: 000102030405060708090a0b0c0d0e0f", "AAAAAAD/////////")
	f.Fuzz(func(t *testing.T, where, message, signature string) {
		if c, err := ParseClaim(message); err == nil && c.Text() != message {
			t.Fatalf("%q is read as %q", message, c.Text())
		}
		a, err := address.Parse(where)
		if err != nil {
			return
		}
		if err := Verify(a, message, signature); err == nil && Verify(a, message+"x", signature) == nil && len(message) < MaxMessage {
			// Only a script that wants no signature takes any message.
			if raw, _ := base64.StdEncoding.DecodeString(signature); len(raw) == 65 || a.Type() == address.P2WPKH || a.Type() == address.P2PKH {
				t.Fatalf("%s: %q is a signature of several messages", a, signature)
			}
		}
	})
}
