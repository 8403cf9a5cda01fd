package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The verifier agrees with ckdb about each kind of reward, and with nobody who has changed
// a number, or left a line out.
func TestVerify(t *testing.T) {
	verify := func(path string) (string, error) {
		out, err := exec.Command(filepath.Join(built, "verify"), path).CombinedOutput()
		return string(out), err
	}
	const proofs = "../internal/rewards/testdata/"
	for _, scheme := range []string{"pplns", "proportional", "solo"} {
		if out, err := verify(proofs + scheme + ".jsonl"); err != nil || !strings.HasSuffix(out, "The reward is right.\n") {
			t.Errorf("%s: %v: %s", scheme, err, out)
		}
	}
	refused := func(t *testing.T, proof string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "proof")
		if err := os.WriteFile(path, []byte(proof), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := verify(path); err == nil {
			t.Errorf("it is right, says the verifier: %s", out)
		}
	}
	solo, err := os.ReadFile(proofs + "solo.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	header, rest, _ := strings.Cut(string(solo), "\n")
	t.Run("not the finder", func(t *testing.T) {
		refused(t, header+"\n"+strings.ReplaceAll(rest, `"name":"alice"`, `"name":"mallory"`))
	})
	t.Run("nobody", func(t *testing.T) { refused(t, header+"\n"+`{"division":{"fee":0}}`+"\n"+`{"end":{"lines":2}}`+"\n") })
	proof, err := os.ReadFile(proofs + "pplns.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ name, from, to string }{
		{"credit", `"amount":240594460`, `"amount":240594461`},
		{"fee kept", `"fee":10723638,"divided"`, `"fee":10723639,"divided"`},
		{"work", `[2,"110"]`, `[2,"111"]`},
		{"fee of an account", `"name":"bob","fee":0}}`, `"name":"bob","fee":9000}}`},
		{"order of shares", `[1,1,"2900"],[2,4,"55"]`, `[2,4,"55"],[1,1,"2900"]`},
		{"share", `[1,1,"2900"],[2,4,"55"]`, `[1,1,"2901"],[2,4,"55"]`},
		{"credit for nothing", `"credit":{"kind":"user","name":"dave"`, `"credit":{"kind":"user","name":"mallory"`},
		{"window", `"times":"5"`, `"times":"4"`},
		{"line left out", `{"sums":{"height":1205,"instance":1,"work":[[2,"110"]]}}` + "\n", ""},
		{"account that is none", `[2,"110"]`, `[9,"110"]`},
		{"another file", `"format":"ckpool reward"`, `"format":"other"`},
		{"cut off", `{"end":{"lines":20}}` + "\n", ""},
	} {
		t.Run(change.name, func(t *testing.T) {
			text := strings.Replace(string(proof), change.from, change.to, 1)
			if text == string(proof) {
				t.Fatal("the proof has no such part")
			}
			refused(t, text)
		})
	}
}
