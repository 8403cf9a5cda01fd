package stratum

import (
	"github.com/ckpool/ckpool/internal/hexdigit"
)

// Submit is a parsed mining.submit.
type Submit struct {
	Worker         []byte  // unescaped; a part of the line, or of scratch
	JobID          uint64  // the first 16 digits
	Suffix         uint8   // the two further digits, 0 when absent
	JobIDBad       bool    // not hexadecimal or too long: no job has this id
	Extranonce2    [8]byte // the first Extranonce2Len bytes
	Extranonce2Len int     // in bytes, as announced
	NTime, Nonce   uint32  // of the header
	VersionBits    uint32  // that the miner rolled; 0 unless HasVersionBits
	HasVersionBits bool    // there was a sixth parameter that is hexadecimal
}

// The refusals of a malformed submit. The texts are those miners' logs and
// dashboards know from ckpool.
var (
	paramsNotArray   = &Reject{Other, "Params not array"}
	invalidArraySize = &Reject{Other, "Invalid array size"}
	noUsername       = &Reject{Other, "No username"}
	noJobID          = &Reject{Other, "No job_id"}
	noNonce2         = &Reject{Other, "No nonce2"}
	noNTime          = &Reject{Other, "No ntime"}
	noNonce          = &Reject{Other, "No nonce"}
	invalidNonce2Len = &Reject{Other, "Invalid nonce2 length"}

	invalidVersionMask = &Reject{Other, "Invalid version mask"}
)

// InvalidVersionMask is the refusal of version bits with too many digits, and of
// bits outside the miner's mask, which a pool refuses itself.
func InvalidVersionMask() Reject { return *invalidVersionMask }

// Parse reads the params of a mining.submit: worker, job id, extranonce2,
// ntime, nonce and, optionally, version bits. extranonce2Len is the announced
// length in bytes, at most 8.
//
// ntime, nonce and version bits have 1 to 8 digits, since some miners leave out
// leading zeros. Version bits that are not hexadecimal at all count as absent.
// A job id that cannot be one is no fault of the format: JobIDBad is set.
// scratch is used for a worker name with escapes.
func (s *Submit) Parse(params []byte, extranonce2Len int, scratch []byte) *Reject {
	*s = Submit{Extranonce2Len: extranonce2Len}
	p, ok := ParseParams(params)
	if !ok {
		return paramsNotArray
	}
	var raw [6]field
	n := 0
	for ; n < len(raw); n++ {
		if raw[n], ok = p.nextField(); !ok {
			break
		}
	}
	if n < 5 {
		return invalidArraySize
	}

	if s.Worker = raw[0].unescape(scratch); len(s.Worker) == 0 {
		return noUsername
	}
	var unescaped [32]byte // reused: each field is read before the next
	text := raw[1].unescape(unescaped[:0])
	if len(text) == 0 {
		return noJobID
	}
	s.JobID, s.Suffix, ok = JobID(text)
	s.JobIDBad = !ok

	text = raw[2].unescape(unescaped[:0])
	if reject := s.setExtranonce2(text); reject != nil {
		return reject
	}
	text = raw[3].unescape(unescaped[:0])
	if s.NTime, ok = Hex32(text); !ok {
		return noNTime
	}
	text = raw[4].unescape(unescaped[:0])
	if s.Nonce, ok = Hex32(text); !ok {
		return noNonce
	}
	if n == 6 {
		text = raw[5].unescape(unescaped[:0])
		s.VersionBits, s.HasVersionBits = Hex32(text)
		if !s.HasVersionBits && isHex(trim0x(text)) {
			return invalidVersionMask // too long
		}
	}
	return nil
}

func (s *Submit) setExtranonce2(text []byte) *Reject {
	if s.Extranonce2Len >= 0 && s.Extranonce2Len <= len(s.Extranonce2) &&
		hexBytes(s.Extranonce2[:s.Extranonce2Len], text) && len(text) > 0 {
		return nil
	}
	s.Extranonce2 = [8]byte{}
	if len(text)%2 != 0 || !isHex(text) {
		return noNonce2
	}
	return invalidNonce2Len
}

// isHex reports one or more hexadecimal digits.
func isHex(s []byte) bool {
	var bad byte
	for _, c := range s {
		bad |= hexdigit.Value(c)
	}
	return bad <= 15 && len(s) > 0
}
