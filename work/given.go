package work

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// MaxPad is how many bytes of an extranonce2 may be left to the variants of a job.
const MaxPad = 16

const (
	// maxGiven is the most that a coinbase may have that another pool has made: no miner
	// takes a larger one.
	maxGiven = limitHuge
	// maxGivenBranch is for a block of four billion transactions.
	maxGivenBranch = 32
)

// GivenCoinbase is a coinbase that another pool has made:
//
//	Head ‖ Pad bytes ‖ extranonce1 ‖ extranonce2 ‖ Tail
//
// Head is that pool's coinb1 and the whole extranonce1 that it gave, Tail its coinb2.
// What is between is the extranonce2 that it is to get, see
// [Job.AppendGivenExtranonce]. Without Pad a job has one variant.
type GivenCoinbase struct {
	Head, Tail []byte // as above
	Pad        int    // at most MaxPad
}

// check reports what no template can be made with.
func (g *GivenCoinbase) check() error {
	switch n := len(g.Head) + len(g.Tail); {
	case len(g.Head) == 0 || len(g.Tail) == 0:
		return fmt.Errorf("a coinbase of %d bytes before the extranonces and %d behind them", len(g.Head), len(g.Tail))
	case n > maxGiven:
		return fmt.Errorf("a coinbase of %d bytes: at most %d", n, maxGiven)
	case g.Pad < 0 || g.Pad > MaxPad:
		return fmt.Errorf("%d bytes for variants: at most %d", g.Pad, MaxPad)
	}
	return nil
}

// height is that of the block, which stands at the beginning of the scriptSig (BIP34),
// 0 where it does not.
func (g *GivenCoinbase) height() int64 {
	const script = 4 + 1 + 32 + 4 + 1 // version, inputs, previous output, length
	if len(g.Head) <= script {
		return 0
	}
	op, data := g.Head[script], g.Head[script+1:]
	var number [8]byte
	var h int64
	switch {
	case op > 0x50 && op <= 0x60: // OP_1 to OP_16
		h = int64(op - 0x50)
	case op >= 1 && int(op) <= 5 && int(op) <= len(data):
		copy(number[:], data[:op])
		h = int64(binary.LittleEndian.Uint64(number[:]))
	}
	if h > math.MaxInt32 || !bytes.HasPrefix(g.Head[script:], heightPush(h)) {
		return 0
	}
	return h
}

// checkGiven is [Builder.Validate] for a coinbase that is given.
func (b *Builder) checkGiven(outputs []Output) error {
	switch {
	case b.Extranonce1Len < 0 || b.Extranonce1Len > 8 || b.Extranonce2Len < 1 || b.Extranonce2Len > 8:
		return fmt.Errorf("extranonces of %d and %d bytes in a given coinbase: at most 8 each, and at least 1 for extranonce2",
			b.Extranonce1Len, b.Extranonce2Len)
	case len(outputs) > 0:
		return errors.New("outputs for a coinbase that is given")
	}
	return nil
}

// setGiven makes the job's only coinbase. Its Pad bytes are nobody's to choose: two
// jobs of the same template are other work.
func (j *Job) setGiven() {
	g := j.Template.given
	pad := make([]byte, g.Pad)
	rand.Read(j.key[:]) // never fails
	rand.Read(pad)
	j.coinbases.Store(&[]limited{{math.MinInt, math.MaxInt, &Coinbase{Head: slices.Concat(g.Head, pad), Mid: g.Tail}}})
}

// Given tells that another pool has made the coinbase: it is the same for every limit,
// and only that pool can make a block of it.
func (j *Job) Given() bool { return j.Template.given != nil }

// Variants is how many variants the job has: 256, or 1.
func (j *Job) Variants() int {
	if g := j.Template.given; g != nil && g.Pad == 0 {
		return 1
	}
	return 256
}

// AppendGivenExtranonce appends the extranonce2 that a solution is told with to the pool
// that has given the coinbase.
func (j *Job) AppendGivenExtranonce(b []byte, m *Miner, s *Solution) []byte {
	b = j.AppendHeadEnd(b, m, s.Variant)
	b = append(b, m.Extranonce1...)
	return append(b, s.Extranonce2...)
}

// SameWork tells that miners look for the same hashes with both templates, which other
// pools have given, apart from time and variants.
func (t *Template) SameWork(other *Template) bool {
	return t.given != nil && other.given != nil &&
		t.PrevHash == other.PrevHash && t.Version == other.Version && t.Bits == other.Bits &&
		bytes.Equal(t.given.Head, other.given.Head) && bytes.Equal(t.given.Tail, other.given.Tail) &&
		slices.Equal(t.branch, other.branch)
}

// markGiven changes the Pad bytes at the end of a head. The marks of all variants of a
// miner differ in the first byte, and none is 0.
func (j *Job) markGiven(pad, extranonce1 []byte, variant uint8) {
	if len(pad) == 0 {
		return
	}
	table := j.markOf(extranonce1, 0)
	pad[0] ^= permuted(&table, variant)
	if len(pad) > 1 {
		mark := j.markOf(extranonce1, variant)
		for i := range pad[1:] {
			pad[1+i] ^= mark[i]
		}
	}
}

// permuted is a permutation of 1 to 255 that the table chooses: a Feistel network of
// four rounds, each with 16 of the table's half bytes, gone through again from 0.
func permuted(table *[32]byte, v uint8) uint8 {
	for {
		left, right := v>>4, v&15
		for round := range uint8(4) {
			half := table[8*round+right/2] >> (4 * (right & 1)) & 15
			left, right = right, left^half
		}
		if v = left<<4 | right; v != 0 {
			return v
		}
	}
}

// CoinbaseHeight is the height of the block that a coinbase is for, which is serialised
// without witness; 0 where it does not tell it (BIP34).
func CoinbaseHeight(coinbase []byte) int64 { return (&GivenCoinbase{Head: coinbase}).height() }
