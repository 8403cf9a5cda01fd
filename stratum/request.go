package stratum

import "strconv"

// AppendSubscribe writes a mining.subscribe line. An empty userAgent sends no params,
// which some pools insist on; sessionID asks to resume a session and may be
// empty.
func AppendSubscribe(b, id []byte, userAgent, sessionID string) []byte {
	b = appendMethod(b, id, "mining.subscribe")
	if userAgent != "" {
		b = AppendString(b, userAgent)
		if sessionID != "" {
			b = append(b, ',')
			b = AppendString(b, sessionID)
		}
	}
	return append(b, "]}\n"...)
}

// AppendAuthorize writes a mining.authorize line.
func AppendAuthorize(b, id []byte, user, password string) []byte {
	b = appendMethod(b, id, "mining.authorize")
	b = AppendString(b, user)
	b = append(b, ',')
	b = AppendString(b, password)
	return append(b, "]}\n"...)
}

// AppendConfigure writes a mining.configure line that asks for version rolling
// under mask (BIP310).
func AppendConfigure(b, id []byte, mask uint32, minBitCount int) []byte {
	b = appendMethod(b, id, "mining.configure")
	b = append(b, `["version-rolling"],{"version-rolling.mask":"`...)
	b = appendHex32(b, mask)
	b = append(b, `","version-rolling.min-bit-count":`...)
	b = appendInt(b, int64(minBitCount))
	return append(b, "}]}\n"...)
}

// AppendSuggestDifficulty writes a mining.suggest_difficulty line; d must be
// positive and finite.
func AppendSuggestDifficulty(b, id []byte, d float64) []byte {
	b = appendMethod(b, id, "mining.suggest_difficulty")
	b = strconv.AppendFloat(b, d, 'f', -1, 64)
	return append(b, "]}\n"...)
}

// AppendExtranonceSubscribe writes a mining.extranonce.subscribe line.
func AppendExtranonceSubscribe(b, id []byte) []byte {
	return append(appendMethod(b, id, "mining.extranonce.subscribe"), "]}\n"...)
}

// AppendPing writes a mining.ping line.
func AppendPing(b, id []byte) []byte {
	return append(appendMethod(b, id, "mining.ping"), "]}\n"...)
}

// AppendSubmit writes a mining.submit line. The version bits are sent as a
// sixth parameter if hasVersionBits.
func AppendSubmit(b, id []byte, worker, jobID string, extranonce2 []byte, ntime, nonce, versionBits uint32, hasVersionBits bool) []byte {
	b = appendMethod(b, id, "mining.submit")
	b = AppendString(b, worker)
	b = append(b, ',')
	b = AppendString(b, jobID)
	b = append(b, ',')
	b = appendHexString(b, extranonce2)
	b = append(b, `,"`...)
	b = appendHex32(b, ntime)
	b = append(b, `","`...)
	b = appendHex32(b, nonce)
	if hasVersionBits {
		b = append(b, `","`...)
		b = appendHex32(b, versionBits)
	}
	return append(b, "\"]}\n"...)
}

// appendMethod begins a request up to the opening bracket of its params.
func appendMethod(b, id []byte, method string) []byte {
	b = append(b, `{"id":`...)
	if id == nil {
		b = append(b, "null"...)
	}
	b = append(b, id...)
	b = append(b, `,"method":"`...)
	b = append(b, method...)
	return append(b, `","params":[`...)
}
