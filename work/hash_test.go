package work

import (
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"pgregory.net/rapid"
)

func TestHashText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		text := FormatHash(h)
		if want := chainhash.Hash(h).String(); text != want {
			t.Fatalf("%x is %s, want %s", h, text, want)
		}
		for _, text := range []string{text, strings.ToUpper(text)} {
			if got, err := ParseHash(text); err != nil || got != h {
				t.Fatalf("%s is %x, %v", text, got, err)
			}
		}
	})
	for text, want := range map[string]string{
		"":                            "a hash of 0 digits, want 64",
		strings.Repeat("a", 63):       "a hash of 63 digits, want 64",
		strings.Repeat("a", 63) + "g": "a hash that is not hex",
	} {
		_, err := ParseHash(text)
		checkError(t, text, err, want)
	}
}
