package work

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// Job is the work made of one template. Its content never changes; the coinbase
// for miners that take so many bytes is rendered on first use. Safe for
// concurrent use. A Job must not be copied.
//
// A job has 256 variants, which differ in the coinbase: one that is sent to a
// miner again, as another, is other work than before. One without room for that has a
// single variant, see [Job.Variants].
type Job struct {
	ID                 uint64            // as given to Builder.Job
	Template           *Template         // that it is made of
	Branch             [][32]byte        // merkle branch: what a coinbase hash is combined with, lowest level first
	Version            uint32            // template's with the mask's bits cleared
	Mask               uint32            // bits miners may roll: builder's minus vbrequired
	Target             difficulty.Target // of the block
	NetworkDifficulty  float64           // that of Target; for reporting
	NTimeMin, NTimeMax uint32            // what a miner may set as time, both ends included
	Created            time.Time         // as given to Builder.Job
	Sig                string            // the builder's as far as there is room for it
	Solo               bool              // each miner's own script is paid

	// LeftOut are the outputs that no miner's coinbase has, since the block has no
	// room for them; their value stays with the payout.
	LeftOut []Output

	builder    *Builder // nil for one read from a record: it is rendered already
	scriptHead []byte   // scriptSig before the push of the extranonces
	key        [16]byte // secret, for marks

	outputs  []Output // beside payout and commitment, with their values
	required int      // of the outputs, the first
	base     int      // bytes of a coinbase beside its parts that may be left out
	sizes    []int    // bytes of the first outputs, by their number
	most     int      // bytes of the largest coinbase that the block has room for

	coinbases atomic.Pointer[[]limited] // immutable lists
}

// limited is a coinbase and whom it is for: miners with a limit from one up to,
// but not including, another.
type limited struct {
	from, to int
	*Coinbase
}

// Miner is what of a miner is in its coinbase.
type Miner struct {
	Limit       int    // most bytes of a coinbase without witness that it takes
	Payout      []byte // in solo its output script; else nil
	Extranonce1 []byte // all of it
}

// Solution is what a miner found for a job.
type Solution struct {
	Variant              uint8  // of the job, that the miner worked on
	Extranonce2          []byte // as long as the builder has it
	Time, Nonce, Version uint32 // of the header, whole
}

// Coinbase is the coinbase for miners that take at most limit bytes of one
// without witness.
func (j *Job) Coinbase(limit int) *Coinbase {
	limit = min(limit, math.MaxInt-1) // no range has its end in it
	for {
		list := j.coinbases.Load()
		if list != nil {
			for i := range *list {
				if l := &(*list)[i]; l.from <= limit && limit < l.to {
					return l.Coinbase
				}
			}
		}
		j.addCoinbase(list, limit)
	}
}

// addCoinbase makes the coinbase for a limit, unless the list has changed.
func (j *Job) addCoinbase(list *[]limited, limit int) {
	var more []limited
	if list != nil {
		more = append(more, *list...)
	}
	l, from, to := j.fit(limit)
	more = append(more, limited{from, to, j.coinbase(l)})
	j.coinbases.CompareAndSwap(list, &more)
}

// seal ends the rendering: a limit that none was made for is served with the
// largest coinbase it takes, or else with the smallest. It returns all there are,
// the smallest first.
func (j *Job) seal() []limited {
	for {
		list := j.coinbases.Load()
		sealed := sealed(*list)
		if j.coinbases.CompareAndSwap(list, &sealed) {
			return sealed
		}
	}
}

// sealed is a list that has an entry for every limit.
func sealed(list []limited) []limited {
	list = slices.SortedFunc(slices.Values(list), func(a, b limited) int { return cmp.Compare(a.from, b.from) })
	list[0].from = math.MinInt
	for i := range list[1:] {
		list[i].to = list[i+1].from
	}
	list[len(list)-1].to = math.MaxInt
	return list
}
