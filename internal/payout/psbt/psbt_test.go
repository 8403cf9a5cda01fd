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

// version0 is the packet of BIP174's test vectors with one P2PKH input and two outputs.
const version0 = "cHNidP8BAHUCAAAAASaBcTce3/KF6Tet7qSze3gADAVmy7OtZGQXE8pCFxv2AAAAAAD+////AtPf9QUAAAAAGXapFNDFmQPFusKGh2DpD9UhpGZap2UgiKwA4fUFAAAAABepFDVF5uM7gyxHBQ8k0+65PJwDlIvHh7MuEwAAAQD9pQEBAAAAAAECiaPHHqtNIOA3G7ukzGmPopXJRjr6Ljl/hTPMti+VZ+UBAAAAFxYAFL4Y0VKpsBIDna89p95PUzSe7LmF/////4b4qkOnHf8USIk6UwpyN+9rRgi7st0tAXHmOuxqSJC0AQAAABcWABT+Pp7xp0XpdNkCxDVZQ6vLNL1TU/////8CAMLrCwAAAAAZdqkUhc/xCX/Z4Ai7NK9wnGIZeziXikiIrHL++E4sAAAAF6kUM5cluiHv1irHU6m80GfWx6ajnQWHAkcwRAIgJxK+IuAnDzlPVoMR3HyppolwuAJf3TskAinwf4pfOiQCIAGLONfc0xTnNMkna9b7QPZzMlvEuqFEyADS8vAtsnZcASED0uFWdJQbrUqZY3LLh+GFbTZSYG2YVi/jnF6efkE/IQUCSDBFAiEA0SuFLYXc2WHS9fSrZgZU327tzHlMDDPOXMMJ/7X85Y0CIGczio4OFyXBl/saiK9Z9R5E5CVbIBZ8hoQDHAXR8lkqASECI7cr7vCWXRC+B3jv7NYfysb3mk6haTkzgHNEZPhPKrMAAAAAAAAA"

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

func TestVersion0(t *testing.T) {
	p, err := Decode([]byte(version0 + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Version != 0 || len(p.Tx.TxOut) != 2 || p.Tx.LockTime != 1257139 || p.Inputs[0].Output.Value != 200_000_000 {
		t.Errorf("%+v", p)
	}
}

func TestDamage(t *testing.T) {
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
	f.Add([]byte(version0))
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
