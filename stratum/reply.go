package stratum

import "strconv"

// The Append functions write one whole line including its LF and return the
// extended buffer. An id is raw JSON as it was received; nil prints null. Key
// orders are those of ckpool, because some miners read by position.

// AppendResult writes {"result":…,"error":null,"id":…}; result is raw JSON.
func AppendResult(b, id []byte, result string) []byte {
	b = append(b, `{"result":`...)
	b = append(b, result...)
	return appendID(append(b, `,"error":null`...), id)
}

// AppendTrue is AppendResult of true.
func AppendTrue(b, id []byte) []byte {
	return appendID(append(b, `{"result":true,"error":null`...), id)
}

// AppendReject writes {"reject-reason":"…","result":false,"error":[20,"…",null],"id":…}.
func AppendReject(b, id []byte, r *Reject) []byte {
	b = append(b, `{"reject-reason":`...)
	b = AppendString(b, r.Text)
	b = append(b, `,"result":false,"error":[`...)
	b = appendInt(b, int64(r.Code))
	b = append(b, ',')
	b = AppendString(b, r.Text)
	return appendID(append(b, `,null]`...), id)
}

func appendID(b, id []byte) []byte {
	b = append(b, `,"id":`...)
	if id == nil {
		b = append(b, "null"...)
	}
	b = append(b, id...)
	return append(b, "}\n"...)
}

// AppendSubscribeResult answers a mining.subscribe. sessionID and extranonce1
// are hexadecimal, extranonce2Len is in bytes.
func AppendSubscribeResult(b, id []byte, sessionID, extranonce1 string, extranonce2Len int) []byte {
	b = append(b, `{"result":[[["mining.notify",`...)
	b = AppendString(b, sessionID)
	b = append(b, `]],`...)
	b = AppendString(b, extranonce1)
	b = append(b, ',')
	b = appendInt(b, int64(extranonce2Len))
	return appendID(append(b, `],"error":null`...), id)
}

// AppendSetDifficulty announces a difficulty, which must be positive and
// finite. A whole number is written as an integer, since older firmware reads
// nothing else, any other as a plain decimal that parses back to d.
func AppendSetDifficulty(b []byte, d float64) []byte {
	b = append(b, `{"params":[`...)
	b = strconv.AppendFloat(b, d, 'f', -1, 64)
	return append(b, `],"id":null,"method":"mining.set_difficulty"}`+"\n"...)
}

// AppendSetVersionMask announces the version bits a miner may roll (BIP310).
func AppendSetVersionMask(b []byte, mask uint32) []byte {
	b = append(b, `{"params":["`...)
	b = appendHex32(b, mask)
	return append(b, `"],"id":null,"method":"mining.set_version_mask"}`+"\n"...)
}

// AppendSetExtranonce announces a new extranonce1, hexadecimal, and the length of
// extranonce2 in bytes, to a miner that sent mining.extranonce.subscribe.
func AppendSetExtranonce(b []byte, extranonce1 string, extranonce2Len int) []byte {
	b = append(b, `{"params":[`...)
	b = AppendString(b, extranonce1)
	b = append(b, ',')
	b = appendInt(b, int64(extranonce2Len))
	return append(b, `],"id":null,"method":"mining.set_extranonce"}`+"\n"...)
}

// AppendShowMessage shows a text to the operator of the miner.
func AppendShowMessage(b []byte, text string) []byte {
	b = append(b, `{"id":null,"method":"client.show_message","params":[`...)
	b = AppendString(b, text)
	return append(b, "]}\n"...)
}

// AppendReconnect asks a miner to connect to another address at once, or to
// the one it came from when host is empty.
func AppendReconnect(b []byte, host, port string) []byte {
	b = append(b, `{"id":null,"method":"client.reconnect","params":[`...)
	if host != "" {
		b = AppendString(b, host)
		b = append(b, ',')
		b = AppendString(b, port)
		b = append(b, ",0"...)
	}
	return append(b, "]}\n"...)
}

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

// appendHex32 appends 8 lower case digits.
func appendHex32(b []byte, v uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		b = appendHex8(b, byte(v>>shift))
	}
	return b
}

// appendHex8 appends 2 lower case digits.
func appendHex8(b []byte, v byte) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[v>>4], digits[v&15])
}
