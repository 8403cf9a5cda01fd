package work

import (
	"encoding/binary"
	"encoding/hex"
)

// rendering is what miners of one limit get. Immutable.
type rendering struct {
	coinbase Coinbase
	lines    [2][]byte // mining.notify without and with clean
	payoutAt int       // where in both the hex of a solo miner's payout goes
	timeAt   int       // where in both the time is
	headAt   int       // where in both the hex of the coinbase begins
}

const (
	notifyStart = `{"params":["`
	notifyEnd   = `],"id":null,"method":"mining.notify"}` + "\n"
	idEnd       = len(notifyStart) + 16
)

func (j *Job) render(coinbase Coinbase) *rendering {
	r := &rendering{coinbase: coinbase}
	c := &r.coinbase
	b := make([]byte, 0, 300+2*(len(c.Head)+len(c.Mid)+len(c.Tail))+67*len(j.Branch))
	b = append(b, notifyStart...)
	b = appendHex64(b, j.ID)
	b = append(b, `","`...)
	b = appendNotifyHash(b, &j.Template.PrevHash)
	b = append(b, `","`...)
	r.headAt = len(b)
	b = hex.AppendEncode(b, c.Head)
	b = append(b, `","`...)
	b = hex.AppendEncode(b, c.Mid)
	r.payoutAt = len(b)
	b = hex.AppendEncode(b, c.Tail)
	b = append(b, `",[`...)
	for i := range j.Branch {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = hex.AppendEncode(b, j.Branch[i][:])
		b = append(b, '"')
	}
	b = append(b, `],"`...)
	b = appendHex32(b, j.Version)
	b = append(b, `","`...)
	b = appendHex32(b, j.Template.Bits)
	b = append(b, `","`...)
	r.timeAt = len(b)
	b = appendHex32(b, j.Template.CurTime)
	b = append(b, `",`...)
	n := len(b)
	for i, clean := range []string{"false", "true"} {
		r.lines[i] = append(append(b[:n:n], clean...), notifyEnd...)
	}
	return r
}

func (r *rendering) line(clean bool) []byte {
	if clean {
		return r.lines[1]
	}
	return r.lines[0]
}

// Notify is the whole mining.notify line, ready to be sent to every miner with
// the limit in pool mode; it is shared, do not change it. In solo there is no
// such line, it is nil.
func (j *Job) Notify(limit int, clean bool) []byte {
	if j.solo {
		return nil
	}
	return j.rendering(limit).line(clean)
}

// Announcement is how a job is sent to one miner.
type Announcement struct {
	// Suffix is put behind the job id in two more hex digits, unless it is 0: a
	// job sent again needs another id, some miners ignore one they know. It has
	// another coinbase then, which nobody can know before; what a miner finds
	// tells which announcement it worked on.
	Suffix uint8
	// Extranonce1 is all of the miner's; without a suffix it is not needed.
	Extranonce1 []byte
	// Later is added to the job's time, in seconds. A job sent again needs
	// another time as well: miners that begin anew with every job would find the
	// same shares again.
	Later uint32
	Clean bool // give up older jobs
}

// AppendNotify appends the whole mining.notify line and allocates nothing but
// room in b. The job id on it is the job's in 16 hex digits, with the suffix
// behind. payout is nil in pool mode, the miner's output script in solo; in solo
// nothing is appended without, since the reward would be anybody's.
func (j *Job) AppendNotify(b []byte, limit int, payout []byte, a Announcement) []byte {
	if j.solo && len(payout) == 0 {
		return b
	}
	r := j.rendering(limit)
	line := r.line(a.Clean)
	start := len(b)
	b = append(b, line[:idEnd]...)
	if a.Suffix > 0 {
		b = appendHex8(b, a.Suffix)
	}
	if j.solo {
		b = append(b, line[idEnd:r.payoutAt]...)
		var length [5]byte
		b = hex.AppendEncode(b, appendCompactSize(length[:0], len(payout)))
		b = hex.AppendEncode(b, payout)
		b = append(b, line[r.payoutAt:]...)
	} else {
		b = append(b, line[idEnd:]...)
	}
	if a.Suffix > 0 {
		var head [maxHead]byte
		marked := head[:copy(head[:], r.coinbase.Head)]
		j.mark(marked, a.Extranonce1, a.Suffix)
		hex.Encode(b[start+2+r.headAt:], marked)
	}
	if a.Later > 0 {
		end := len(b) - len(line) + r.timeAt
		appendHex32(b[:end], j.Template.CurTime+a.Later)
	}
	return b
}

// appendNotifyHash appends a previous hash in mining.notify's form: the bytes
// of each four byte word of the internal order reversed.
func appendNotifyHash(b []byte, h *[32]byte) []byte {
	for i := 0; i < len(h); i += 4 {
		b = appendHex32(b, binary.LittleEndian.Uint32(h[i:]))
	}
	return b
}

func appendHex64(b []byte, v uint64) []byte {
	return appendHex32(appendHex32(b, uint32(v>>32)), uint32(v))
}

func appendHex32(b []byte, v uint32) []byte {
	for shift := 24; shift >= 0; shift -= 8 {
		b = appendHex8(b, byte(v>>shift))
	}
	return b
}

func appendHex8(b []byte, v byte) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[v>>4], digits[v&15])
}
