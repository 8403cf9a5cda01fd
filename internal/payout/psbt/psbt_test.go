package psbt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// recorded is the result of a recorded answer of Bitcoin Core.
func recorded(t testing.TB, name string) (result struct{ PSBT, Hex string }) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	var reply struct{ Result any }
	reply.Result = &result
	if err := json.Unmarshal(body, &reply); err != nil {
		t.Fatal(err)
	}
	return result
}

// bip174 are the test vectors of BIP174.
func bip174(t testing.TB) (vectors struct{ Valid, Invalid []struct{ Case, PSBT string } }) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "bip174.json"))
	if err == nil {
		err = json.Unmarshal(b, &vectors)
	}
	if err != nil || len(vectors.Valid) != 7 || len(vectors.Invalid) != 18 {
		t.Fatalf("%d and %d vectors, %v", len(vectors.Valid), len(vectors.Invalid), err)
	}
	return vectors
}

// What Bitcoin Core made is read as it says itself what it is: the transaction that it
// finalised is that of its packet.
func TestRecorded(t *testing.T) {
	unsigned, err := Decode([]byte(recorded(t, "walletcreatefundedpsbt").PSBT))
	if err != nil {
		t.Fatal(err)
	}
	if unsigned.Version != 2 || len(unsigned.Inputs) != 1 || unsigned.Inputs[0].Output.Value != 5_000_000_000 {
		t.Errorf("%+v", unsigned)
	}
	if _, final := unsigned.Final(); final {
		t.Error("what nobody signed is said to be final")
	}
	if got, want := unsigned.Tx.TxHash().String(), "b9330a3bca9f15fb2ba90823ff4630938a2913e27c2cc939a8c5afc29cd4574e"; got != want {
		t.Errorf("txid %s, want %s", got, want)
	}
	processed := recorded(t, "walletprocesspsbt")
	signed, err := Decode([]byte(processed.PSBT))
	if err != nil {
		t.Fatal(err)
	}
	tx, ok := signed.Final()
	if !ok {
		t.Fatal("not final")
	}
	var b bytes.Buffer
	_ = tx.Serialize(&b)
	if want := recorded(t, "finalizepsbt").Hex; want != processed.Hex || want != hex.EncodeToString(b.Bytes()) {
		t.Errorf("final transaction %x\nwant %s", b.Bytes(), want)
	}
}

// What is valid by BIP174 is read, and what is not is refused.
func TestBIP174(t *testing.T) {
	vectors := bip174(t)
	for _, v := range vectors.Valid {
		p, err := Decode([]byte(v.PSBT + "\n"))
		if err != nil || p.Version != 0 || len(p.Inputs) != len(p.Tx.TxIn) {
			t.Errorf("%s: %+v, %v", v.Case, p, err)
		}
	}
	for _, v := range vectors.Invalid {
		if _, err := Decode([]byte(v.PSBT)); err == nil {
			t.Errorf("%s: read", v.Case)
		}
	}
	// What the first one is, as the BIP says in words and Bitcoin Core's decodepsbt in numbers.
	p, err := Decode([]byte(vectors.Valid[0].PSBT))
	if err != nil || len(p.Tx.TxOut) != 2 || p.Tx.LockTime != 1257139 || p.Inputs[0].Output.Value != 200_000_000 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestDamage(t *testing.T) {
	version0 := bip174(t).Valid[0].PSBT
	for name, text := range map[string]string{
		"empty": "", "no base64": "psbt?", "another file": "aGVsbG8=", "no global map": "cHNidP8=", "cut off": version0[:len(version0)-8],
		"more": "cHNidP8BAHUCAAAAASaBcTce3/KF6Tet7qSze3gADAVmy7OtZGQXE8pCFxv2AAAAAAD+////AtPf9QUAAAAAGXapFNDFmQPFusKGh2DpD9UhpGZap2UgiKwA4fUFAAAAABepFDVF5uM7gyxHBQ8k0+65PJwDlIvHh7MuEwAAAAAAAAA=",
	} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"walletcreatefundedpsbt", "walletprocesspsbt", "psbtbumpfee", "walletprocesspsbt-watchonly"} {
		f.Add([]byte(recorded(f, name).PSBT))
	}
	for _, v := range append(bip174(f).Valid, bip174(f).Invalid...) {
		f.Add([]byte(v.PSBT))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Decode(text)
		if err != nil {
			return
		}
		if len(p.Inputs) != len(p.Tx.TxIn) {
			t.Fatalf("%d inputs of %d", len(p.Inputs), len(p.Tx.TxIn))
		}
		p.Final()
	})
}
