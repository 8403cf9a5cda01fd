package difficulty

import (
	"encoding/hex"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"pgregory.net/rapid"
)

// display turns the order explorers print into internal byte order.
func display(t testing.TB, s string) *[32]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		t.Fatalf("bad hash %q", s)
	}
	slices.Reverse(b)
	return (*[32]byte)(b)
}

func near(got, want float64) bool {
	return got == want || math.Abs(got-want) <= 1e-12*math.Abs(want)
}

func TestOfHash(t *testing.T) {
	tests := []struct {
		hash string
		want float64
	}{
		{"00000000ffff0000000000000000000000000000000000000000000000000000", 1},
		{"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", 2536.4262984453103},
		{"00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d", 35987218905.50873},
		{"00000214a9e3bdbaf5c29b704bc4e39bc22dd3d466ff97eb2e609f7c948f4ef4", 0.0018773287351401137},
		{"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", 2.3282709094019083e-10},
		{"0000000000000000000000000000000000000000000000000000000000000001", 2.695953529101131e+67},
		{"0000000000000000000000000000000000000000000000000000000000000000", 2.695953529101131e+67},
	}
	for _, tt := range tests {
		hash := display(t, tt.hash)
		if got := OfHash(hash); got != tt.want {
			t.Errorf("%s: difficulty %v, want %v", tt.hash, got, tt.want)
		}
		if got := Target(mustTarget(t, tt.hash)).Difficulty(); got != tt.want {
			t.Errorf("target %s: difficulty %v, want %v", tt.hash, got, tt.want)
		}
	}
}

func mustTarget(t testing.TB, s string) (target Target) {
	t.Helper()
	if _, err := hex.Decode(target[:], []byte(s)); err != nil {
		t.Fatal(err)
	}
	return target
}

func TestFromBits(t *testing.T) {
	tests := []struct {
		bits uint32
		want float64
	}{
		{0x1d00ffff, 1},
		{0x1b0404cb, 16307.420938523983},
		{0x1a44b9f2, 244112.48777433642},
		{0x17034219, 86388558925171.02},
		{0x1702905c, 109782075598905.19},
		{0x17034e50, 85141711278399.125},
		{0x1e0377ae, 0.001126515290698186},
		{0x207fffff, 4.6565423739069247e-10},
		{0x1d000000, 2.695953529101131e+67}, // no target
		{0x00000001, 2.695953529101131e+67},
		{0xff00ffff, math.Ldexp(0xffff, 208) / math.Ldexp(0xffff, 8*29)},
	}
	for _, tt := range tests {
		if got := FromBits(tt.bits); got != tt.want {
			t.Errorf("%08x: difficulty %v, want %v", tt.bits, got, tt.want)
		}
	}
}

func TestTargetFromBits(t *testing.T) {
	valid := []struct {
		bits uint32
		want string
	}{
		{0x1d00ffff, "00000000ffff0000000000000000000000000000000000000000000000000000"},
		{0x207fffff, "7fffff0000000000000000000000000000000000000000000000000000000000"},
		{0x1702905c, "00000000000000000002905c0000000000000000000000000000000000000000"},
		{0x03123456, "0000000000000000000000000000000000000000000000000000000000123456"},
		{0x02123456, "0000000000000000000000000000000000000000000000000000000000001234"},
		{0x01123456, "0000000000000000000000000000000000000000000000000000000000000012"},
		{0x21000012, "0012000000000000000000000000000000000000000000000000000000000000"},
		{0x2100ffff, "ffff000000000000000000000000000000000000000000000000000000000000"},
		{0x220000ff, "ff00000000000000000000000000000000000000000000000000000000000000"},
	}
	for _, tt := range valid {
		got, err := TargetFromBits(tt.bits)
		if err != nil || got != mustTarget(t, tt.want) {
			t.Errorf("%08x: target %x, %v; want %s", tt.bits, got, err, tt.want)
		}
	}
	for _, bits := range []uint32{
		0, 0x1d000000, 0x00123456, 0x01003456, 0x02000056, // zero
		0x01800000, 0x1d800000, // zero with a sign is zero
		0x1d80ffff, 0x04923456, 0x01fedcba, // negative
		0x21010000, 0x22000100, 0x23000001, 0xff123456, // overflow
	} {
		if got, err := TargetFromBits(bits); err == nil {
			t.Errorf("%08x accepted as %x", bits, got)
		}
	}
}

func TestTargetFromBitsAgainstBtcd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.Uint32().Draw(t, "bits")
		if rapid.Bool().Draw(t, "sensible") {
			bits = bits&0xffffff | uint32(rapid.IntRange(0, 35).Draw(t, "size"))<<24
		}
		theirs := blockchain.CompactToBig(bits)
		ours, err := TargetFromBits(bits)
		want := theirs.Sign() > 0 && theirs.BitLen() <= 256
		if (err == nil) != want {
			t.Fatalf("%08x: error %v, btcd's number %x", bits, err, theirs)
		}
		if err == nil && new(big.Int).SetBytes(ours[:]).Cmp(theirs) != 0 {
			t.Fatalf("%08x: %x, btcd %x", bits, ours, theirs)
		}
	})
}

func TestTargetFromDifficulty(t *testing.T) {
	const ones = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	tests := []struct {
		d    float64
		want string
	}{
		{1, "00000000ffff0000000000000000000000000000000000000000000000000000"},
		{0.5, "00000001fffe0000000000000000000000000000000000000000000000000000"},
		{42, "0000000006185b6db6db6dc00000000000000000000000000000000000000000"},
		{1000000, "00000000000010c6e6d9be4cd700000000000000000000000000000000000000"},
		{0.0005, "000007cff8300000000000000000000000000000000000000000000000000000"},
		{0, ones},
		{2.3282e-10, ones},
		{5e-324, ones},
		{math.Inf(1), zeros},
		{math.MaxFloat64, zeros},
		{math.NaN(), zeros},
		{-1, zeros},
		{2.695953529101131e+67, "0000000000000000000000000000000000000000000000000000000000000001"},
	}
	for _, tt := range tests {
		if got := TargetFromDifficulty(tt.d); got != mustTarget(t, tt.want) {
			t.Errorf("%v: target %x, want %s", tt.d, got, tt.want)
		}
	}
}

// exactTarget is the oracle: the same quotient, truncated by math/big.
func exactTarget(d float64) *big.Int {
	limit := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	q := math.Ldexp(0xffff, 208) / d
	if math.IsInf(q, 1) {
		return limit
	}
	n, _ := big.NewFloat(q).Int(nil)
	if n.Cmp(limit) > 0 {
		return limit
	}
	return n
}

func drawDifficulty(t *rapid.T) float64 {
	return math.Ldexp(rapid.Float64Range(0.5, 1).Draw(t, "mantissa"), rapid.IntRange(-40, 230).Draw(t, "exponent"))
}

func TestMeetsIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDifficulty(t)
		limit := exactTarget(d)
		ours := TargetFromDifficulty(d)
		if new(big.Int).SetBytes(ours[:]).Cmp(limit) != 0 {
			t.Fatalf("difficulty %v: target %x, want %x", d, ours, limit)
		}
		h := new(big.Int)
		if rapid.Bool().Draw(t, "near") {
			h.Add(limit, big.NewInt(rapid.Int64Range(-3, 3).Draw(t, "offset")))
		} else {
			h.SetBytes(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
			h.Rsh(h, uint(rapid.IntRange(0, 255).Draw(t, "shift")))
		}
		if h.Sign() < 0 || h.BitLen() > 256 {
			t.Skip("out of range")
		}
		var hash [32]byte
		h.FillBytes(hash[:])
		slices.Reverse(hash[:])
		want := h.Cmp(limit) <= 0
		if got := Meets(&hash, d); got != want {
			t.Fatalf("Meets(%x, %v) = %v, want %v", h, d, got, want)
		}
		if got := ours.MetBy(&hash); got != want {
			t.Fatalf("MetBy(%x) = %v, want %v", h, got, want)
		}
		// Reporting agrees with judging to the precision of doubles.
		if r := OfHash(&hash) / d; r > 1+1e-12 && h.Sign() > 0 && !want && limit.BitLen() > 60 {
			t.Fatalf("hash %x refused at %v though its difficulty is %v", h, d, OfHash(&hash))
		}
	})
}

func TestMeetsOddDifficulties(t *testing.T) {
	zero, ones := new([32]byte), display(t, "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")
	tests := []struct {
		d          float64
		zero, ones bool
	}{
		{0, true, true},
		{2.3282e-10, true, true},
		{2.3284e-10, true, false},
		{1e300, true, false},
		{math.Inf(1), true, false},
		{math.NaN(), true, false},
		{-1, true, false},
	}
	for _, tt := range tests {
		if got := Meets(zero, tt.d); got != tt.zero {
			t.Errorf("zero hash at %v: %v", tt.d, got)
		}
		if got := Meets(ones, tt.d); got != tt.ones {
			t.Errorf("largest hash at %v: %v", tt.d, got)
		}
	}
}

func TestMeetsAllocatesNothing(t *testing.T) {
	hash := display(t, "0000000006185b6db6db6dc00000000000000000000000000000000000000000")
	if n := testing.AllocsPerRun(100, func() {
		Meets(hash, 42) // slow path
		Meets(hash, 1)
		OfHash(hash)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMeets(b *testing.B) {
	for _, bb := range []struct {
		name string
		d    float64
	}{{"fast", 41}, {"exact", 42}} {
		hash := display(b, "0000000006185b6db6db6dc00000000000000000000000000000000000000000")
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				Meets(hash, bb.d)
			}
		})
	}
}
