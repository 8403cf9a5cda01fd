// Package difficulty: targets, compact bits, share difficulty, decaying
// averages, vardiff and number formats. Pure arithmetic: no I/O, no clock.
//
// Difficulty is relative to difficulty 1, the target 0xFFFF·2²⁰⁸ (pool
// operators' "bdiff"). Hashes are in internal byte order, as double SHA-256
// gives them: little-endian numbers.
//
// Shares are judged by 256-bit integers ([Meets], [Target.MetBy]); everything
// that returns a float64 is for reporting.
package difficulty

import (
	"encoding/binary"
	"math"
)

// one is the target of difficulty 1, 0xFFFF·2²⁰⁸, exact as a float64.
const one = 0xFFFF << 208

// HashesPerDifficulty is 2^32: hashrate = difficulty per second times this.
const HashesPerDifficulty = 1 << 32

// Chance is the probability that work, a sum of difficulty, finds at least one
// block of the network's difficulty. Without a network difficulty it is 0.
func Chance(work, network float64) float64 {
	if !(work > 0 && network > 0) {
		return 0
	}
	return -math.Expm1(-work / network)
}

// OfHash is the difficulty a hash (internal byte order) achieves, in doubles:
// for reporting, never for judging. A hash of zero counts as 1.
func OfHash(hash *[32]byte) float64 {
	return one / max(hashFloat(hash), 1)
}

// Meets reports exactly (256 bits) whether hash (internal byte order) meets
// share difficulty d: hash <= TargetFromDifficulty(d). It allocates nothing.
func Meets(hash *[32]byte, d float64) bool {
	// hashFloat is off by at most four roundings of 2⁻⁵³.
	const margin = 1e-14
	if t := one / d; t > 0 {
		h := hashFloat(hash)
		if h < t*(1-margin) {
			return true
		}
		if h > t*(1+margin) {
			return false
		}
	}
	t := TargetFromDifficulty(d)
	return t.MetBy(hash)
}

func hashFloat(hash *[32]byte) float64 {
	return limbsFloat(
		binary.LittleEndian.Uint64(hash[24:]),
		binary.LittleEndian.Uint64(hash[16:]),
		binary.LittleEndian.Uint64(hash[8:]),
		binary.LittleEndian.Uint64(hash[0:]))
}

// limbsFloat adds from high to low with one rounding per addition, so that
// results agree to the last digit between implementations.
func limbsFloat(l3, l2, l1, l0 uint64) float64 {
	f := float64(l3) * (1 << 192)
	f += float64(l2) * (1 << 128)
	f += float64(l1) * (1 << 64)
	return f + float64(l0)
}

// Round makes a computed difficulty presentable: to the nearest whole number
// (half away from zero) from 1 on, to one significant digit below. The result
// is the float64 nearest to that decimal, so it parses back from what is
// printed. Zero, negative and NaN are returned unchanged.
func Round(x float64) float64 {
	if x >= 1 {
		return math.Round(x)
	}
	if !(x > 0) {
		return x
	}
	return roundDigit(x)
}
