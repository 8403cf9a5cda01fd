package stratum

import (
	"encoding/hex"
	"errors"
	"fmt"
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
		if id = raw[0]; len(id) == 0 || !isDigit(id[0]) {
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
	b = append(b, `{"params":[`...)
	b = AppendString(b, n.JobID)
	b = append(b, ',')
	prev := n.PrevHash
	swapWords(&prev)
	b = appendHexString(b, prev[:])
	b = append(b, ',')
	b = appendHexString(b, n.Coinb1)
	b = append(b, ',')
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
		b = appendHex32(b, v)
		b = append(b, '"')
	}
	if n.Clean {
		b = append(b, ",true"...)
	} else {
		b = append(b, ",false"...)
	}
	return append(b, `],"id":null,"method":"mining.notify"}`+"\n"...)
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
