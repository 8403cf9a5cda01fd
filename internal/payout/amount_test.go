package payout

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// Case 31: amounts of nodes are text, and come out to the satoshi.
func TestCase31Amounts(t *testing.T) {
	for text, want := range map[string]int64{
		"0.00000001": 1, "20999999.9769": 2_099_999_997_690_000, "50.00000000": 5_000_000_000, "0": 0, "-0.00003144": -3144,
		"1e-08": 1, "1E-8": 1, "2.1e7": maxMoney, "0.10000000": 10_000_000, "21000000": maxMoney, "1.500000000000": 150_000_000,
	} {
		var got Bitcoins
		if err := json.Unmarshal([]byte(text), &got); err != nil || int64(got) != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0.000000001", "1e-9", "21000000.00000001", `"1"`, "null", "true", "1e400", "[]", "1e99999999999"} {
		var got Bitcoins
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is read as %d satoshis", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(-maxMoney, maxMoney).Draw(t, "satoshis")
		if got, err := ParseBitcoins(FormatBitcoins(n)); err != nil || got != n {
			t.Fatalf("%s: %d, %v", FormatBitcoins(n), got, err)
		}
	})
}

func FuzzParseBitcoins(f *testing.F) {
	for _, s := range []string{"1", "-0.5", "1e-08", "9e9", ".", "1.", "e5", "00.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseBitcoins(s)
		if err == nil && (n > maxMoney || n < -maxMoney) {
			t.Fatalf("%q: %d", s, n)
		}
	})
}
