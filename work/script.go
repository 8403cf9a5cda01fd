package work

// heightPush is the script that begins a coinbase at the given height exactly
// as consensus compares it (BIP34, CScript << height): a one-byte opcode for 0
// to 16, else a push of the minimal signed little-endian number.
func heightPush(height int64) []byte {
	switch {
	case height <= 0:
		return []byte{0x00} // OP_0
	case height <= 16:
		return []byte{0x50 + byte(height)} // OP_1 to OP_16
	}
	return pushNumber(height, true)
}

// dataPush is a push of n, little-endian: a length byte and the shortest form
// that a script would read as positive, except that four bytes are used as
// unsigned so that times beyond 2038 keep their length. Negative is 0; 0 is
// one byte 00.
func dataPush(n int64) []byte {
	return pushNumber(max(n, 0), n < 1<<31 || n >= 1<<32)
}

// pushNumber pushes n with the fewest bytes; signed keeps the top bit free.
func pushNumber(n int64, signed bool) []byte {
	b := make([]byte, 1, 9)
	for {
		b = append(b, byte(n))
		n >>= 8
		if n == 0 && (!signed || b[len(b)-1] < 0x80) {
			break
		}
	}
	b[0] = byte(len(b) - 1)
	return b
}

// maxPush is how many bytes are pushed by an opcode that is their number.
const maxPush = 75

// appendPush appends a push of at most 255 bytes of data. Nothing to push is
// OP_0.
func appendPush(b, data []byte) []byte {
	if len(data) > maxPush {
		b = append(b, 0x4c) // OP_PUSHDATA1
	}
	return append(append(b, byte(len(data))), data...)
}

// countSigops counts the signature checks in a script as consensus counts those
// of a coinbase: without looking at how many keys CHECKMULTISIG has, which counts
// 20, and up to the first push that is longer than the script.
func countSigops(script []byte) (n int) {
	for i := 0; i < len(script); {
		op := script[i]
		i++
		var size int // of the number that tells a push's length
		switch {
		case op <= maxPush:
			i += int(op)
		case op == 0x4c, op == 0x4d, op == 0x4e: // OP_PUSHDATA1, 2, 4
			size = 1 << (op - 0x4c)
		case op == 0xac, op == 0xad: // OP_CHECKSIG, OP_CHECKSIGVERIFY
			n++
		case op == 0xae, op == 0xaf: // OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY
			n += 20
		}
		if size > 0 {
			var length uint64
			for k := range size {
				if i+k >= len(script) {
					return n
				}
				length |= uint64(script[i+k]) << (8 * k)
			}
			i += size
			if length > uint64(len(script)-i) {
				return n
			}
			i += int(length)
		}
	}
	return n
}

// appendCompactSize appends n as transactions and blocks count things.
func appendCompactSize(b []byte, n int) []byte {
	switch {
	case n < 0xfd:
		return append(b, byte(n))
	case n <= 0xffff:
		return append(b, 0xfd, byte(n), byte(n>>8))
	}
	return append(b, 0xfe, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

func compactSizeLen(n int) int {
	switch {
	case n < 0xfd:
		return 1
	case n <= 0xffff:
		return 3
	}
	return 5
}
