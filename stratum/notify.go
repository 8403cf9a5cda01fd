package stratum

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/internal/jsontext"
)

// Notify is a mining.notify as a miner receives it.
type Notify struct {
	JobID string // as the pool wrote it; any text
	// PrevHash is in internal order, as it stands in the header. On the wire
	// the bytes of each of its eight 4-byte words are reversed.
	PrevHash [32]byte
	// The coinbase is Coinb1, extranonce1, extranonce2, Coinb2.
	Coinb1, Coinb2 []byte
	// Branch is what the coinbase hash is combined with to get the merkle
	// root, lowest level first, in internal order.
	Branch               [][32]byte
	Version, Bits, NTime uint32
	Clean                bool // give up older jobs
}

// Parse reads the params of a mining.notify. It uses n's slices again, so a
// notify parsed repeatedly into one n allocates only its job id. Clean is the last
// parameter, whatever stands before it.
func (n *Notify) Parse(params []byte) error {
	p, ok := ParseParams(params)
	if !ok {
		return errors.New("notify: params is not an array")
	}
	var raw [8][]byte
	for i := range raw {
		if raw[i], ok = p.Next(); !ok {
			return fmt.Errorf("notify: %d of 9 params", i)
		}
	}
	last, ok := p.Next()
	for more := ok; more; {
		var v []byte
		if v, more = p.Next(); more {
			last = v
		}
	}
	n.Clean = string(last) == "true"

	id, ok := String(raw[0], nil)
	if !ok {
		if id = raw[0]; len(id) == 0 || !jsontext.IsDigit(id[0]) {
			return errors.New("notify: job id is not a string")
		}
	}
	if n.JobID != string(id) {
		n.JobID = string(id)
	}
	var words [64]byte
	prev, _ := String(raw[1], words[:0])
	if !hexBytes(n.PrevHash[:], prev) {
		return errors.New("notify: previous hash is not 64 hex digits")
	}
	swapWords(&n.PrevHash)
	if n.Coinb1, ok = hexValue(n.Coinb1[:0], raw[2]); !ok {
		return errors.New("notify: coinb1 is not hex")
	}
	if n.Coinb2, ok = hexValue(n.Coinb2[:0], raw[3]); !ok {
		return errors.New("notify: coinb2 is not hex")
	}
	if err := n.parseBranch(raw[4]); err != nil {
		return err
	}
	for i, field := range []*uint32{&n.Version, &n.Bits, &n.NTime} {
		text, _ := String(raw[5+i], words[:0])
		if *field, ok = Hex32(text); !ok {
			return fmt.Errorf("notify: %s is not a hex number of up to 8 digits",
				[]string{"version", "bits", "ntime"}[i])
		}
	}
	return nil
}

func (n *Notify) parseBranch(raw []byte) error {
	n.Branch = n.Branch[:0]
	p, ok := ParseParams(raw)
	if !ok {
		return errors.New("notify: merkle branch is not an array")
	}
	for {
		v, ok := p.Next()
		if !ok {
			return nil
		}
		var scratch, hash [32]byte
		text, _ := String(v, scratch[:0])
		if !hexBytes(hash[:], text) {
			return fmt.Errorf("notify: merkle branch %d is not 64 hex digits", len(n.Branch))
		}
		n.Branch = append(n.Branch, hash)
	}
}

// Append writes the whole line, including its LF.
func (n *Notify) Append(b []byte) []byte {
	b, _ = n.append(b)
	return b
}

// places are where in a line, from its beginning, the digits of fields begin.
type places struct{ coinb2, ntime int }

func (n *Notify) append(b []byte) ([]byte, places) {
	var at places
	start := len(b)
	b = append(b, notifyStart...)
	b = AppendString(b, n.JobID)
	b = append(b, ',')
	prev := n.PrevHash
	swapWords(&prev)
	b = appendHexString(b, prev[:])
	b = append(b, ',')
	b = appendHexString(b, n.Coinb1)
	b = append(b, ',')
	at.coinb2 = len(b) + 1 - start
	b = appendHexString(b, n.Coinb2)
	b = append(b, ",["...)
	for i := range n.Branch {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendHexString(b, n.Branch[i][:])
	}
	b = append(b, ']')
	for _, v := range [3]uint32{n.Version, n.Bits, n.NTime} {
		b = append(b, `,"`...)
		at.ntime = len(b) - start
		b = appendHex32(b, v)
		b = append(b, '"')
	}
	if n.Clean {
		b = append(b, ",true"...)
	} else {
		b = append(b, ",false"...)
	}
	return append(b, `],"id":null,"method":"mining.notify"}`+"\n"...), at
}

const notifyStart = `{"params":[`

// NotifyLine is a mining.notify that was written once for many miners. Immutable.
type NotifyLine struct {
	lines   [2][]byte // without and with clean
	idEnd   int       // where in both the job id ends
	places            // in both
	payeeAt int       // where in both the hex of a payee goes
}

// NewNotifyLine writes a notify for the job with an id; JobID and Clean are not
// looked at. The Payee of a [Recipient] goes behind the first payee bytes of Coinb2.
func NewNotifyLine(id uint64, n *Notify, payee int) *NotifyLine {
	l := &NotifyLine{}
	m := *n
	m.JobID = string(appendHex32(appendHex32(nil, uint32(id>>32)), uint32(id)))
	for i, clean := range []bool{false, true} {
		m.Clean = clean
		l.lines[i], l.places = m.append(nil)
	}
	l.idEnd = len(notifyStart) + 1 + len(m.JobID)
	l.payeeAt = l.coinb2 + 2*payee
	return l
}

// Line is the line as it was written, with its LF. It is shared: do not change
// it.
func (l *NotifyLine) Line(clean bool) []byte {
	if clean {
		return l.lines[1]
	}
	return l.lines[0]
}

// Recipient is what a line has for one miner.
type Recipient struct {
	// Suffix is put behind the job id in two more hex digits, unless it is 0: a
	// job sent again needs another id, some miners ignore one they know.
	Suffix uint8
	Coinb1 []byte // in place of as many bytes at the end of the one written
	Payee  []byte // put into Coinb2
	NTime  uint32 // in place of the one written; 0: that one
	Clean  bool   // give up older jobs
}

// Append appends the line for one miner, with its LF, and allocates nothing but
// room in b.
func (l *NotifyLine) Append(b []byte, r *Recipient) []byte {
	line := l.Line(r.Clean)
	start := len(b)
	b = append(b, line[:l.idEnd]...)
	if r.Suffix > 0 {
		b = appendHex8(b, r.Suffix)
	}
	b = append(b, line[l.idEnd:l.payeeAt]...)
	b = hex.AppendEncode(b, r.Payee)
	b = append(b, line[l.payeeAt:]...)
	if len(r.Coinb1) > 0 {
		at := l.coinb2 - len(`","`) - hex.EncodedLen(len(r.Coinb1))
		if r.Suffix > 0 {
			at += 2
		}
		hex.Encode(b[start+at:], r.Coinb1)
	}
	if r.NTime > 0 {
		end := len(b) - len(line) + l.ntime
		appendHex32(b[:end], r.NTime)
	}
	return b
}

// swapWords reverses the bytes of each 4-byte word.
func swapWords(h *[32]byte) {
	for i := 0; i < len(h); i += 4 {
		h[i], h[i+1], h[i+2], h[i+3] = h[i+3], h[i+2], h[i+1], h[i]
	}
}

// hexValue appends the bytes of a raw JSON string of hex digits.
func hexValue(dst, raw []byte) ([]byte, bool) {
	text, ok := String(raw, nil)
	if !ok {
		return dst, false
	}
	dst, err := hex.AppendDecode(dst, text)
	return dst, err == nil
}

func appendHexString(b, v []byte) []byte {
	b = append(b, '"')
	b = hex.AppendEncode(b, v)
	return append(b, '"')
}
