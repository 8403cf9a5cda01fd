package work

import (
	"encoding/binary"
	"math"
	"slices"
)

// Coinbase is one rendering of a job's coinbase without witness, cut where
// other bytes go:
//
//	Head ‖ extranonce1 ‖ extranonce2 ‖ Mid ‖ payee ‖ Tail
//
// Head is that of variant 0, [Job.AppendHead] gives those of others.
// [Job.AppendPayee] gives the payee, which is empty but in solo. Where another pool has
// made the coinbase Head ends with the Pad bytes, and Mid is the rest. A Coinbase is
// shared: do not change it.
type Coinbase struct {
	Head, Mid, Tail []byte // as above
}

// layout is what of a job is in a coinbase.
type layout struct {
	sig     bool
	outputs int // how many of the job's, from the first
}

// less is the layout that has the next part less: btcsig, then an output. ok is
// false where nothing can be left out: the rest stays whatever its size.
func (j *Job) less(l layout) (less layout, ok bool) {
	switch {
	case l.sig:
		return layout{false, l.outputs}, true
	case l.outputs > j.required:
		return layout{false, l.outputs - 1}, true
	}
	return l, false
}

// fit is the layout with the most in it that has at most limit bytes. It is for
// all limits from one up to, but not including, another.
func (j *Job) fit(limit int) (l layout, from, to int) {
	l, to = layout{j.Sig != "", len(j.outputs)}, math.MaxInt
	size := j.size(l)
	if size > j.most { // without btcsig it is not
		l, _ = j.less(l)
		size = j.size(l)
	}
	for size > limit {
		less, ok := j.less(l)
		if !ok {
			return l, math.MinInt, to
		}
		l, to = less, size
		size = j.size(l)
	}
	if _, ok := j.less(l); !ok {
		size = math.MinInt
	}
	return l, size, to
}

// size is that of a whole coinbase. In solo the payout script is counted with
// its greatest length.
func (j *Job) size(l layout) int {
	return j.base + j.sigSize(l) + compactSizeLen(j.count(l)) + j.sizes[l.outputs]
}

// sigSize is that of the push of btcsig.
func (j *Job) sigSize(l layout) int {
	if !l.sig {
		return 0
	}
	return len(appendPush(nil, []byte(j.Sig)))
}

// count is the number of all outputs.
func (j *Job) count(l layout) int {
	n := 1 + l.outputs
	if j.Template.commitment() != nil {
		n++
	}
	return n
}

// measure prepares size.
func (j *Job) measure() {
	j.sizes = make([]int, 1+len(j.outputs))
	for i, o := range j.outputs {
		j.sizes[i+1] = j.sizes[i] + 8 + compactSizeLen(len(o.Script)) + len(o.Script)
	}
	none := layout{}
	c := j.coinbase(none)
	j.base = len(c.Head) + j.builder.Extranonce1Len + j.builder.Extranonce2Len + len(c.Mid) + len(c.Tail) - compactSizeLen(j.count(none))
	if j.Solo {
		j.base += 1 + witnessScriptLen
	}
}

func (j *Job) coinbase(l layout) *Coinbase {
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

	mid := append(scriptTail, 0xff, 0xff, 0xff, 0xff) // sequence
	mid = appendCompactSize(mid, j.count(l))
	mid = binary.LittleEndian.AppendUint64(mid, uint64(j.payout(l)))
	if !j.Solo {
		mid = appendScript(mid, b.PayoutScript)
	}

	var tail []byte
	outputs := j.outputs[:l.outputs:l.outputs]
	if script := j.Template.commitment(); script != nil {
		outputs = append(outputs, Output{Script: script})
	}
	for _, o := range outputs {
		tail = binary.LittleEndian.AppendUint64(tail, uint64(o.Value))
		tail = appendScript(tail, o.Script)
	}
	tail = append(tail, 0, 0, 0, 0) // lock time
	return &Coinbase{head, mid, tail}
}

func appendScript(b, script []byte) []byte {
	return append(appendCompactSize(b, len(script)), script...)
}

// payout is what is left of the reward in satoshis: also what outputs that are
// left out would have had, and what is less than a satoshi of each part.
func (j *Job) payout(l layout) int64 {
	left := j.Template.CoinbaseValue
	for _, o := range j.outputs[:l.outputs] {
		left -= o.Value
	}
	return left
}

// AppendHead appends what stands before the extranonces in a miner's coinbase of
// a variant.
func (j *Job) AppendHead(b []byte, m *Miner, variant uint8) []byte {
	return j.appendHead(b, j.Coinbase(m.Limit), m, variant)
}

func (j *Job) appendHead(b []byte, c *Coinbase, m *Miner, variant uint8) []byte {
	b = append(b, c.Head...)
	if variant != 0 {
		j.mark(b[len(b)-len(c.Head):], m.Extranonce1, variant)
	}
	return b
}

// AppendHeadEnd appends the end of what AppendHead does: all that differs between
// variants is in it.
func (j *Job) AppendHeadEnd(b []byte, m *Miner, variant uint8) []byte {
	head := j.Coinbase(m.Limit).Head
	n := j.markedLen()
	b = append(b, head[len(head)-n:]...)
	if variant != 0 {
		j.mark(b[len(b)-n:], m.Extranonce1, variant)
	}
	return b
}

// AppendPayee appends what stands between Mid and Tail in a miner's coinbase: in
// solo its payout script with the length before it, else nothing.
func (j *Job) AppendPayee(b []byte, m *Miner) []byte {
	if !j.Solo {
		return b
	}
	return appendScript(b, m.Payout)
}

// CoinbaseTx is the coinbase without witness of a solution, whose hash is its
// txid.
func (j *Job) CoinbaseTx(m *Miner, s *Solution) []byte {
	c := j.Coinbase(m.Limit)
	return j.appendTx(make([]byte, 0, txSize(c, m, s)), c, m, s)
}

// txSize is at most a few bytes more than appendTx appends.
func txSize(c *Coinbase, m *Miner, s *Solution) int {
	return len(c.Head) + len(m.Extranonce1) + len(s.Extranonce2) + len(c.Mid) + compactSizeLen(len(m.Payout)) + len(m.Payout) + len(c.Tail)
}

func (j *Job) appendTx(b []byte, c *Coinbase, m *Miner, s *Solution) []byte {
	b = j.appendHead(b, c, m, s.Variant)
	b = append(b, m.Extranonce1...)
	b = append(b, s.Extranonce2...)
	b = append(b, c.Mid...)
	b = j.AppendPayee(b, m)
	return append(b, c.Tail...)
}

// witness of a coinbase: one item, the witness reserved value (BIP141).
var witness = slices.Concat([]byte{1, 32}, make([]byte, 32))

// appendWitnessTx appends what appendTx does, in the form with witness
// (BIP144).
func (j *Job) appendWitnessTx(b []byte, c *Coinbase, m *Miner, s *Solution) []byte {
	return appendWithWitness(b, j.appendTx(make([]byte, 0, txSize(c, m, s)), c, m, s))
}

// appendWithWitness appends a coinbase in that form, given without witness.
func appendWithWitness(b, tx []byte) []byte {
	lock := len(tx) - 4
	b = append(b, tx[:4]...)
	b = append(b, 0, 1) // marker and flag
	b = append(b, tx[4:lock]...)
	b = append(b, witness...)
	return append(b, tx[lock:]...)
}
