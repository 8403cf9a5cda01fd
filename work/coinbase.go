package work

import (
	"encoding/binary"
	"slices"
)

// Coinbase is one rendering of a job's coinbase without witness, cut where
// other bytes go:
//
//	Head ‖ extranonce1 ‖ extranonce2 ‖ Mid ‖ [solo: length and payout script] ‖ Tail
//
// It is shared: do not change it.
type Coinbase struct {
	Head, Mid, Tail []byte
}

// layout is what of a job is in a coinbase.
type layout struct {
	sig   bool
	extra int // how many of the builder's outputs, from the first
}

// fit is the layout for coinbases of at most limit bytes: without btcsig if
// need be, then with fewer extra outputs. The rest stays whatever its size.
func (j *Job) fit(limit int) layout {
	l := layout{sig: j.Sig != "", extra: len(j.builder.Extra)}
	if j.size(l) > limit {
		l.sig = false
	}
	for over := j.size(l) - limit; l.extra > 0 && over > 0; {
		l.extra--
		script := len(j.builder.Extra[l.extra].Script)
		over -= 8 + compactSizeLen(script) + script
	}
	return l
}

// size is that of a whole coinbase. In solo the payout script is counted with
// its greatest length.
func (j *Job) size(l layout) int {
	c := j.coinbase(l)
	n := len(c.Head) + j.builder.Extranonce1Len + j.builder.Extranonce2Len + len(c.Mid) + len(c.Tail)
	if j.solo {
		n += 1 + witnessScriptLen
	}
	return n
}

func (j *Job) coinbase(l layout) Coinbase {
	b := j.builder
	nonces := b.Extranonce1Len + b.Extranonce2Len
	scriptTail := b.tagPush()
	if l.sig {
		scriptTail = appendPush(scriptTail, []byte(j.Sig))
	}

	head := make([]byte, 0, 64)
	head = append(head, 1, 0, 0, 0)             // version
	head = append(head, 1)                      // inputs
	head = append(head, make([]byte, 32)...)    // no transaction
	head = append(head, 0xff, 0xff, 0xff, 0xff) // no output of it
	head = append(head, byte(len(j.scriptHead)+1+nonces+len(scriptTail)))
	head = append(head, j.scriptHead...)
	head = append(head, byte(nonces))

	outputs, payout := j.outputs(l)
	mid := append(scriptTail, 0xff, 0xff, 0xff, 0xff) // sequence
	mid = appendCompactSize(mid, 1+len(outputs))
	mid = binary.LittleEndian.AppendUint64(mid, uint64(payout))
	if !j.solo {
		mid = appendScript(mid, b.PayoutScript)
	}

	var tail []byte
	for _, o := range outputs {
		tail = binary.LittleEndian.AppendUint64(tail, uint64(o.Value))
		tail = appendScript(tail, o.Script)
	}
	tail = append(tail, 0, 0, 0, 0) // lock time
	return Coinbase{head, mid, tail}
}

func appendScript(b, script []byte) []byte {
	return append(appendCompactSize(b, len(script)), script...)
}

// outputs are those behind the payout, in order, and the payout's value.
func (j *Job) outputs(l layout) (outputs []Output, payout int64) {
	b := j.builder
	payout = j.Template.CoinbaseValue
	if j.donation > 0 {
		outputs = append(outputs, Output{b.DonationScript, j.donation})
	}
	outputs = append(outputs, b.Extra[:l.extra]...)
	for _, o := range outputs {
		payout -= o.Value
	}
	if script := j.Template.commitment(); script != nil {
		outputs = append(outputs, Output{Script: script})
	}
	return outputs, payout
}

// Coinbase is the coinbase for a profile.
func (j *Job) Coinbase(p Profile) *Coinbase { return &j.rendering(p).coinbase }

// CoinbaseTx is the coinbase without witness for the given extranonces, whose
// hash is its txid, as first announced. payout is nil in pool mode, the miner's output script in
// solo.
func (j *Job) CoinbaseTx(p Profile, payout, extranonce1, extranonce2 []byte) []byte {
	c := j.Coinbase(p)
	size := j.txSize(c, payout, len(extranonce1)+len(extranonce2))
	return j.appendTx(make([]byte, 0, size), c, 0, payout, extranonce1, extranonce2)
}

// txSize is at most a few bytes more than appendTx appends.
func (j *Job) txSize(c *Coinbase, payout []byte, nonces int) int {
	return len(c.Head) + nonces + len(c.Mid) + compactSizeLen(len(payout)) + len(payout) + len(c.Tail)
}

func (j *Job) appendTx(b []byte, c *Coinbase, suffix uint8, payout, extranonce1, extranonce2 []byte) []byte {
	b = append(b, c.Head...)
	j.mark(b[len(b)-len(c.Head):], extranonce1, suffix)
	b = append(b, extranonce1...)
	b = append(b, extranonce2...)
	b = append(b, c.Mid...)
	if j.solo {
		b = appendScript(b, payout)
	}
	return append(b, c.Tail...)
}

// witness of a coinbase: one item, the witness reserved value (BIP141).
var witness = slices.Concat([]byte{1, 32}, make([]byte, 32))

// appendWitnessTx appends what appendTx does, in the form with witness
// (BIP144).
func (j *Job) appendWitnessTx(b []byte, c *Coinbase, suffix uint8, payout, extranonce1, extranonce2 []byte) []byte {
	tx := j.appendTx(nil, c, suffix, payout, extranonce1, extranonce2)
	lock := len(tx) - 4
	b = append(b, tx[:4]...)
	b = append(b, 0, 1) // marker and flag
	b = append(b, tx[4:lock]...)
	b = append(b, witness...)
	return append(b, tx[lock:]...)
}
