package address

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// A base58 address is version byte, hash160 and 4 bytes of checksum: at most
// 35 characters.
const (
	base58Bytes = 25
	base58Max   = 35
)

var errUnknownBase58 = errors.New("address is neither P2PKH nor P2SH of a bitcoin network")

func parseBase58(s string) (Address, error) {
	if s == "" {
		return Address{}, errors.New("address is empty")
	}
	if len(s) > base58Max {
		return Address{}, fmt.Errorf("address of %d characters is too long", len(s))
	}
	var b [base58Bytes]byte
	for i := range len(s) {
		carry := strings.IndexByte(base58Alphabet, s[i])
		if carry < 0 {
			return Address{}, fmt.Errorf("address has the invalid character %q at position %d", s[i:i+1], i+1)
		}
		for j := len(b) - 1; j >= 0; j-- {
			carry += 58 * int(b[j])
			b[j] = byte(carry)
			carry >>= 8
		}
		if carry != 0 {
			return Address{}, errors.New("address is too long")
		}
	}
	// Each leading 1 stands for one zero byte: this fixes the length.
	if len(s)-len(strings.TrimLeft(s, "1")) != len(b)-len(bytes.TrimLeft(b[:], "\x00")) {
		return Address{}, errors.New("address has the wrong length, perhaps it is cut off")
	}
	sum := base58Checksum(b[:base58Bytes-4])
	if !bytes.Equal(sum[:], b[base58Bytes-4:]) {
		return Address{}, errors.New("address checksum is wrong, perhaps it is mistyped")
	}
	var a Address
	switch b[0] {
	case 0x00:
		a.kind, a.network = P2PKH, Main
	case 0x05:
		a.kind, a.network = P2SH, Main
	case 0x6f:
		a.kind, a.network = P2PKH, Test
	case 0xc4:
		a.kind, a.network = P2SH, Test
	default:
		return Address{}, errUnknownBase58
	}
	a.length = uint8(copy(a.payload[:], b[1:21]))
	return a, nil
}

func (a Address) encodeBase58() string {
	var b [base58Bytes]byte
	switch {
	case a.kind == P2PKH && a.network == Main:
		b[0] = 0x00
	case a.kind == P2SH && a.network == Main:
		b[0] = 0x05
	case a.kind == P2PKH:
		b[0] = 0x6f
	default:
		b[0] = 0xc4
	}
	copy(b[1:], a.program())
	sum := base58Checksum(b[:base58Bytes-4])
	copy(b[base58Bytes-4:], sum[:])

	zeros := len(b) - len(bytes.TrimLeft(b[:], "\x00"))
	var out [base58Max]byte
	at := len(out)
	for n := zeros; n < len(b); {
		rem := 0
		for j := n; j < len(b); j++ {
			rem = rem<<8 | int(b[j])
			b[j] = byte(rem / 58)
			rem %= 58
		}
		at--
		out[at] = base58Alphabet[rem]
		for n < len(b) && b[n] == 0 {
			n++
		}
	}
	return strings.Repeat("1", zeros) + string(out[at:])
}

func base58Checksum(b []byte) [4]byte {
	first := sha256.Sum256(b)
	second := sha256.Sum256(first[:])
	return [4]byte(second[:4])
}
