package difficulty

import (
	"encoding/binary"
	"errors"
	"math"
)

// Target is a 256-bit number, big-endian.
type Target [32]byte

var maxTarget = Target{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

// TargetFromBits expands compact bits (nBits of a block header) exactly as
// consensus does; negative, zero or overflowing mantissas are errors.
func TargetFromBits(bits uint32) (Target, error) {
	size, mantissa := int(bits>>24), bits&0x7fffff
	if size < 3 {
		mantissa >>= 8 * (3 - size)
		size = 3
	}
	if mantissa == 0 {
		return Target{}, errors.New("compact bits of a zero target")
	}
	if bits&0x800000 != 0 {
		return Target{}, errors.New("compact bits of a negative target")
	}
	var t Target
	for i := 32 - size; mantissa != 0; i++ {
		b := byte(mantissa >> 16)
		mantissa = mantissa << 8 & 0xffffff
		if b == 0 {
			continue
		}
		if i < 0 {
			return Target{}, errors.New("compact bits of a target over 256 bits")
		}
		t[i] = b
	}
	return t, nil
}

// TargetFromDifficulty is the integer part of the float64 quotient T1/d, with
// T1 = 0xFFFF·2²⁰⁸: 53 significant bits. Difficulty 0, and any below
// 2.3283e-10, gives the largest target, which every hash meets; negative
// difficulties and NaN give target 0.
func TargetFromDifficulty(d float64) Target {
	q := one / d
	if q >= 1<<256 {
		return maxTarget
	}
	if !(q >= 1) {
		return Target{}
	}
	frac, exp := math.Frexp(q)
	mantissa, shift := uint64(frac*(1<<53)), exp-53
	if shift < 0 {
		mantissa, shift = mantissa>>-shift, 0
	}
	var limbs [5]uint64 // the fifth takes the empty upper half of the last
	limb, bit := shift/64, shift%64
	limbs[limb] = mantissa << bit
	limbs[limb+1] = mantissa >> (64 - bit)
	var t Target
	for i := range 4 {
		binary.BigEndian.PutUint64(t[24-8*i:], limbs[i])
	}
	return t
}

// Difficulty is T1/t in doubles, T1 = 0xFFFF·2²⁰⁸. A target of zero counts
// as 1.
func (t Target) Difficulty() float64 {
	return one / max(1, limbsFloat(
		binary.BigEndian.Uint64(t[0:]),
		binary.BigEndian.Uint64(t[8:]),
		binary.BigEndian.Uint64(t[16:]),
		binary.BigEndian.Uint64(t[24:])))
}

// MetBy reports hash <= t; hash is in internal byte order (as sha256d gives it).
func (t *Target) MetBy(hash *[32]byte) bool {
	for i := 0; i < 32; i += 8 {
		limit := binary.BigEndian.Uint64(t[i:])
		h := binary.LittleEndian.Uint64(hash[24-i:])
		if h != limit {
			return h < limit
		}
	}
	return true
}

// FromBits is the network difficulty of compact bits, not raised to 1. It
// answers for bits that consensus refuses too: the exponent is brought into 3
// to 32, the sign bit belongs to the mantissa, a zero mantissa counts as 1.
func FromBits(bits uint32) float64 {
	exp := min(max(int(bits>>24), 3), 32)
	return one / max(1, math.Ldexp(float64(bits&0xffffff), 8*(exp-3)))
}
