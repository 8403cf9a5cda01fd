package jobs

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"ckpool/address"
	"ckpool/event"
	"ckpool/internal/figures"
	"ckpool/work"
)

// appendDisplay appends a hash as people see it: most significant byte first.
func appendDisplay(b []byte, hash [32]byte) []byte {
	slices.Reverse(hash[:])
	return hex.AppendEncode(b, hash[:])
}

// Display is a hash as people see it: hex, most significant byte first.
func Display(hash [32]byte) string { return string(appendDisplay(nil, hash)) }

// ParseDisplay is the inverse of Display.
func ParseDisplay(text string) (hash [32]byte, err error) {
	if len(text) != 2*len(hash) {
		return hash, fmt.Errorf("hash of %d digits", len(text))
	}
	_, err = hex.Decode(hash[:], []byte(text))
	slices.Reverse(hash[:])
	return hash, err
}

// logCoinbase shows whom a block would pay, so that an operator sees it before
// the first share: a wrong address here is money for a stranger.
func (g *Generator) logCoinbase(job *work.Job) {
	var payout []byte
	if g.Solo {
		payout = []byte{0x6a} // a stand-in: the finder's own script goes here
	}
	extranonce1 := make([]byte, g.Config().Nonce1Length)
	extranonce2 := make([]byte, g.Config().Nonce2Length)
	tx := job.CoinbaseTx(work.ProfileFor(""), payout, extranonce1, extranonce2)
	script, pays, err := g.describeCoinbase(tx)
	if err != nil {
		g.Events.Say(event.Error, "Coinbase cannot be decoded: "+err.Error())
		return
	}
	line := "Coinbase: " + strings.Join(pays, ", ") + ", tag " + g.builder.Tag
	if g.builder.Sig != "" {
		line += ", signature " + g.builder.Sig
	}
	g.Events.Say(event.Warning, line)
	g.Events.Say(event.Info, fmt.Sprintf("Coinbase script: %x", script))
}

// describeCoinbase takes a coinbase without witness apart: its script, and what
// each output that is money pays to whom.
func (g *Generator) describeCoinbase(tx []byte) (script []byte, pays []string, err error) {
	const head = 4 + 1 + 32 + 4 // version, one input, previous output
	r := reader{b: tx}
	r.take(head)
	script = r.take(r.varint())
	r.take(4)
	outputs := r.varint()
	for i := 0; i < outputs && !r.short; i++ {
		value := r.take(8)
		to := r.take(r.varint())
		if r.short {
			break
		}
		if satoshis := int64(binary.LittleEndian.Uint64(value)); satoshis > 0 {
			pays = append(pays, figures.Bitcoins(satoshis)+" to "+g.describeScript(to))
		}
	}
	r.take(4)
	if r.short || len(r.b) != 0 {
		return nil, nil, fmt.Errorf("%d bytes do not make a transaction", len(tx))
	}
	return script, pays, nil
}

func (g *Generator) describeScript(script []byte) string {
	switch a, err := address.FromScript(script, g.network); {
	case err == nil:
		return a.String()
	case len(script) == 1 && g.Solo:
		return "the miner that finds the block"
	default:
		return fmt.Sprintf("script %x", script)
	}
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
