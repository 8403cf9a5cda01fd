package pool

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"ckpool/address"
	"ckpool/internal/logfile"
	"ckpool/work"
)

// appendDisplay appends a hash as people see it: most significant byte first.
func appendDisplay(b []byte, hash [32]byte) []byte {
	slices.Reverse(hash[:])
	return hex.AppendEncode(b, hash[:])
}

func display(hash [32]byte) string { return string(appendDisplay(nil, hash)) }

// parseDisplay is the inverse of display.
func parseDisplay(text string) (hash [32]byte, err error) {
	if len(text) != 2*len(hash) {
		return hash, fmt.Errorf("hash of %d digits", len(text))
	}
	_, err = hex.Decode(hash[:], []byte(text))
	slices.Reverse(hash[:])
	return hash, err
}

// logCoinbase shows whom a block would pay, so that an operator sees it before
// the first share: a wrong address here is money for a stranger.
func (u *updater) logCoinbase(job *work.Job) {
	var payout []byte
	if u.options.Solo {
		payout = []byte{0x6a} // a stand-in: the finder's own script goes here
	}
	extranonce1 := make([]byte, u.config.Load().Nonce1Length)
	extranonce2 := make([]byte, u.config.Load().Nonce2Length)
	tx := job.CoinbaseTx(work.ProfileFor(""), payout, extranonce1, extranonce2)
	lines, err := u.describeCoinbase(tx)
	if err != nil {
		u.logAt(logfile.LevelError, "Coinbase cannot be decoded: "+err.Error())
		return
	}
	for _, l := range lines {
		u.logAt(logfile.LevelNotice, "Coinbase: "+l)
	}
}

// describeCoinbase says what a coinbase without witness pays, an output a line.
func (u *updater) describeCoinbase(tx []byte) (lines []string, err error) {
	const head = 4 + 1 + 32 + 4 // version, one input, previous output
	r := reader{b: tx}
	r.take(head)
	script := r.take(r.varint())
	r.take(4)
	lines = append(lines, fmt.Sprintf("scriptSig %x %q", script, printable(script)))
	outputs := r.varint()
	for i := 0; i < outputs && !r.short; i++ {
		value := r.take(8)
		script := r.take(r.varint())
		if r.short {
			break
		}
		lines = append(lines, fmt.Sprintf("output %d pays %s to %s", i,
			bitcoins(int64(binary.LittleEndian.Uint64(value))), u.describeScript(script)))
	}
	r.take(4)
	if r.short || len(r.b) != 0 {
		return nil, fmt.Errorf("%d bytes do not make a transaction", len(tx))
	}
	return lines, nil
}

func (u *updater) describeScript(script []byte) string {
	switch a, err := address.FromScript(script, u.network); {
	case err == nil:
		return a.String()
	case len(script) == 1 && u.options.Solo:
		return "the miner that finds it"
	case len(script) > 0 && script[0] == 0x6a:
		return fmt.Sprintf("nobody (data %x)", script[1:])
	default:
		return fmt.Sprintf("script %x", script)
	}
}

// bitcoins prints satoshis as bitcoins.
func bitcoins(satoshis int64) string {
	return fmt.Sprintf("%d.%08d BTC", satoshis/1e8, satoshis%1e8)
}

func printable(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		out[i] = '.'
		if c >= ' ' && c < 0x7f {
			out[i] = c
		}
	}
	return string(out)
}

// reader takes pieces off a serialised transaction.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

// varint reads a count below 65,536, which is all a coinbase has.
func (r *reader) varint() int {
	first := r.take(1)
	if first == nil {
		return -1
	}
	if first[0] < 0xfd {
		return int(first[0])
	}
	if first[0] != 0xfd {
		return -1
	}
	next := r.take(2)
	if next == nil {
		return -1
	}
	return int(binary.LittleEndian.Uint16(next))
}
