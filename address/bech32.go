package address

import (
	"errors"
	"fmt"
	"strings"
)

const (
	bech32Alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	bech32Max      = 90 // characters, BIP173
	checksumLen    = 6

	bech32Const  = 1          // BIP173, witness version 0
	bech32mConst = 0x2bc830a3 // BIP350, witness versions 1 to 16
)

// bech32Prefix is indexed by Network.
var bech32Prefix = [...]string{Main: "bc", Test: "tb", Regtest: "bcrt"}

func parseWitness(s string, n Network) (Address, error) {
	_, data, constant, err := decodeBech32(s)
	if err != nil {
		return Address{}, err
	}
	if len(data) == 0 {
		return Address{}, errors.New("address has no witness version")
	}
	a := Address{version: data[0], network: n}
	if a.version > 16 {
		return Address{}, fmt.Errorf("address has the invalid witness version %d", a.version)
	}
	if want := checksumConst(a.version); constant != want {
		return Address{}, errors.New("address checksum is of the wrong kind (witness version 0 needs bech32, others bech32m)")
	}
	program, err := joinBits(data[1:])
	if err != nil {
		return Address{}, err
	}
	if len(program) < 2 || len(program) > maxProgram {
		return Address{}, fmt.Errorf("address has a witness program of %d bytes instead of 2 to 40", len(program))
	}
	if a.version == 0 && len(program) != 20 && len(program) != 32 {
		return Address{}, fmt.Errorf("address has a version 0 witness program of %d bytes instead of 20 or 32", len(program))
	}
	a.length = uint8(copy(a.payload[:], program))
	a.kind = witnessType(a.version, program)
	return a, nil
}

func witnessType(version uint8, program []byte) Type {
	switch {
	case version == 0 && len(program) == 20:
		return P2WPKH
	case version == 0:
		return P2WSH
	case version == 1 && len(program) == 32:
		return P2TR
	case version == 1 && string(program) == "\x4e\x73":
		return PayToAnchor
	}
	return WitnessUnknown
}

func encodeWitness(hrp string, version uint8, program []byte) string {
	data := splitBits([]byte{version}, program)
	return encodeBech32(hrp, data, checksumConst(version))
}

func checksumConst(version uint8) uint32 {
	if version == 0 {
		return bech32Const
	}
	return bech32mConst
}

// isBech32 tells a well-formed address of something else from a mistyped
// base58 one.
func isBech32(s string) bool {
	_, _, _, err := decodeBech32(s)
	return err == nil
}

// decodeBech32 returns prefix, 5-bit data without the checksum, and the
// constant the checksum was made with, which is one of the two.
func decodeBech32(s string) (hrp string, data []byte, constant uint32, err error) {
	if len(s) > bech32Max {
		return "", nil, 0, fmt.Errorf("address of %d characters is too long", len(s))
	}
	for i := range len(s) {
		if s[i] < 33 || s[i] > 126 {
			return "", nil, 0, fmt.Errorf("address has the invalid character %q at position %d", s[i:i+1], i+1)
		}
	}
	lower := strings.ToLower(s)
	if s != lower && s != strings.ToUpper(s) {
		return "", nil, 0, errors.New("address mixes upper and lower case: write it in lower case")
	}
	i := strings.LastIndexByte(lower, '1')
	if i < 1 {
		return "", nil, 0, errors.New("address has no prefix")
	}
	hrp = lower[:i]
	data = make([]byte, 0, len(lower)-i-1)
	for j := i + 1; j < len(lower); j++ {
		v := strings.IndexByte(bech32Alphabet, lower[j])
		if v < 0 {
			return "", nil, 0, fmt.Errorf("address has the invalid character %q at position %d", s[j:j+1], j+1)
		}
		data = append(data, byte(v))
	}
	if len(data) < checksumLen {
		return "", nil, 0, errors.New("address is cut off: its checksum is incomplete")
	}
	constant = polymod(hrp, data)
	if constant != bech32Const && constant != bech32mConst {
		return "", nil, 0, errors.New("address checksum is wrong, perhaps it is mistyped")
	}
	return hrp, data[:len(data)-checksumLen], constant, nil
}

func encodeBech32(hrp string, data []byte, constant uint32) string {
	sum := polymod(hrp, append(data, make([]byte, checksumLen)...)) ^ constant
	for i := range checksumLen {
		data = append(data, byte(sum>>(5*(checksumLen-1-i))&31))
	}
	out := make([]byte, 0, bech32Max)
	out = append(append(out, hrp...), '1')
	for _, v := range data {
		out = append(out, bech32Alphabet[v])
	}
	return string(out)
}

// polymod is the BCH code of BIP173 over the expanded prefix and data.
func polymod(hrp string, data []byte) uint32 {
	chk := uint32(1)
	step := func(v byte) {
		top := chk >> 25
		chk = chk&0x1ffffff<<5 ^ uint32(v)
		for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 != 0 {
				chk ^= g
			}
		}
	}
	for i := range len(hrp) {
		step(hrp[i] >> 5)
	}
	step(0)
	for i := range len(hrp) {
		step(hrp[i] & 31)
	}
	for _, v := range data {
		step(v)
	}
	return chk
}

// joinBits regroups 5-bit values into bytes; at most 4 zero bits of padding
// may be left.
func joinBits(data []byte) ([]byte, error) {
	out := make([]byte, 0, len(data)*5/8)
	var acc, bits uint
	for _, v := range data {
		acc = acc<<5 | uint(v)
		bits += 5
		if bits >= 8 {
			bits -= 8
			out = append(out, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	if bits > 4 || acc != 0 {
		return nil, errors.New("address has invalid padding")
	}
	return out, nil
}

// splitBits appends b as 5-bit values, padded with zero bits.
func splitBits(dst, b []byte) []byte {
	var acc, bits uint
	for _, v := range b {
		acc = acc<<8 | uint(v)
		bits += 8
		for bits >= 5 {
			bits -= 5
			dst = append(dst, byte(acc>>bits&31))
		}
		acc &= 1<<bits - 1
	}
	if bits > 0 {
		dst = append(dst, byte(acc<<(5-bits)&31))
	}
	return dst
}
