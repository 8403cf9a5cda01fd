package rewards

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// Products of works have all their digits: with several instances the order of shares
// hangs on them.
func TestProduct(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 1000 {
		x, y := maxWork, maxWork
		if n > 0 {
			x, y = exact(draw(r)), exact(draw(r))
		}
		var got big.Int
		for _, word := range product(x, y) {
			got.Lsh(&got, 64).Or(&got, new(big.Int).SetUint64(word))
		}
		if want := new(big.Int).Mul(units(x), units(y)); got.Cmp(want) != 0 {
			t.Fatalf("%s × %s is %x, want %x", x, y, &got, want)
		}
	}
}

func draw(r *rand.Rand) *big.Int {
	n := new(big.Int).SetUint64(r.Uint64() & (1<<50 - 1) << r.IntN(14))
	if r.IntN(4) == 0 {
		n.SetUint64(0)
	}
	return n.Lsh(n, 60).Or(n, new(big.Int).SetUint64(-r.Uint64N(1<<r.IntN(63))))
}
