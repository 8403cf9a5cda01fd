package address

import (
	"errors"
	"fmt"
	"math/big"
)

const (
	opDup         = 0x76
	opEqual       = 0x87
	opEqualVerify = 0x88
	opHash160     = 0xa9
	opCheckSig    = 0xac
	op1           = 0x51
	op16          = 0x60
)

// Script returns the output script in a fresh slice: 22 to 34 bytes for the
// payable types, 4 to 42 for the others, nil for the zero value.
func (a Address) Script() []byte {
	switch {
	case a.length == 0:
		return nil
	case a.kind == P2PKH:
		s := append([]byte{opDup, opHash160, 20}, a.program()...)
		return append(s, opEqualVerify, opCheckSig)
	case a.kind == P2SH:
		s := append([]byte{opHash160, 20}, a.program()...)
		return append(s, opEqual)
	}
	version := a.version
	if version > 0 {
		version += op1 - 1
	}
	return append([]byte{version, a.length}, a.program()...)
}

// FromScript is the inverse of Script for the given network. Scripts that no
// address stands for (bare keys, multisig, data) are errors.
func FromScript(script []byte, n Network) (Address, error) {
	if int(n) >= len(bech32Prefix) {
		return Address{}, fmt.Errorf("no such network: %d", n)
	}
	var a Address
	switch {
	case len(script) == 25 && script[0] == opDup && script[1] == opHash160 && script[2] == 20 &&
		script[23] == opEqualVerify && script[24] == opCheckSig:
		a.kind, a.network = P2PKH, base58Network(n)
		a.length = uint8(copy(a.payload[:], script[3:23]))
	case len(script) == 23 && script[0] == opHash160 && script[1] == 20 && script[22] == opEqual:
		a.kind, a.network = P2SH, base58Network(n)
		a.length = uint8(copy(a.payload[:], script[2:22]))
	case isWitness(script):
		program := script[2:]
		if script[0] != 0 {
			a.version = script[0] - op1 + 1
		}
		a.kind, a.network = witnessType(a.version, program), n
		a.length = uint8(copy(a.payload[:], program))
	default:
		return Address{}, errors.New("no address stands for this output script")
	}
	return a, nil
}

// isWitness is the pattern of BIP141 less version 0 of other lengths than 20
// and 32, which can never be spent.
func isWitness(s []byte) bool {
	if len(s) < 4 || len(s) > 2+maxProgram || int(s[1]) != len(s)-2 {
		return false
	}
	if s[0] == 0 {
		return s[1] == 20 || s[1] == 32
	}
	return s[0] >= op1 && s[0] <= op16
}

func base58Network(n Network) Network {
	if n == Main {
		return Main
	}
	return Test
}

// onCurve reports whether x is the coordinate of a secp256k1 point: x < p, and
// x³+7 is a square modulo p = 2²⁵⁶ − 2³² − 977 (BIP340, lift_x).
func onCurve(x []byte) bool {
	p := new(big.Int).Lsh(big.NewInt(1), 256)
	p.Sub(p, big.NewInt(1<<32+977))
	v := new(big.Int).SetBytes(x)
	if v.Cmp(p) >= 0 {
		return false
	}
	y2 := new(big.Int).Exp(v, big.NewInt(3), p)
	y2.Add(y2, big.NewInt(7))
	return big.Jacobi(y2.Mod(y2, p), p) >= 0
}
