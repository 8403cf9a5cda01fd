package work

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"ckpool/difficulty"
)

// Job is the work made of one template. Its content never changes; what it
// sends to miners that take so many bytes is rendered on first use. Safe for
// concurrent use. A Job must not be copied.
type Job struct {
	ID                 uint64
	Template           *Template
	Branch             [][32]byte
	Version            uint32 // template's with the mask's bits cleared
	Mask               uint32 // bits miners may roll: builder's minus vbrequired
	Target             difficulty.Target
	NetworkDifficulty  float64
	NTimeMin, NTimeMax uint32 // what a miner may set as time, both ends included
	Created            time.Time
	Sig                string // the builder's as far as there is room for it

	builder    *Builder // nil for one read from a record: it is rendered already
	solo       bool     // miners' own scripts are paid
	scriptHead []byte   // scriptSig before the push of the extranonces
	key        [16]byte // secret, for marks
	donation   int64

	base  int   // bytes of a coinbase beside its parts that may be left out
	sizes []int // bytes of the first extra outputs, by their number

	renderings atomic.Pointer[[]limited] // immutable lists
}

// limited is a rendering and whom it is for: miners with a limit from one up to,
// but not including, another.
type limited struct {
	from, to int
	*rendering
}

// rendering is what miners with a limit get.
func (j *Job) rendering(limit int) *rendering {
	for {
		list := j.renderings.Load()
		if list != nil {
			for i := range *list {
				if r := &(*list)[i]; r.from <= limit && limit < r.to {
					return r.rendering
				}
			}
		}
		j.addRendering(list, limit)
	}
}

// addRendering makes the rendering for a limit, unless the list has changed.
func (j *Job) addRendering(list *[]limited, limit int) {
	var more []limited
	if list != nil {
		more = append(more, *list...)
	}
	l, from, to := j.fit(limit)
	more = append(more, limited{from, to, j.render(j.coinbase(l))})
	j.renderings.CompareAndSwap(list, &more)
}

// seal ends the rendering: a limit that none was made for is served with the
// largest coinbase it takes, or else with the smallest. It returns all there are,
// the smallest first.
func (j *Job) seal() []limited {
	for {
		list := j.renderings.Load()
		sealed := sealed(*list)
		if j.renderings.CompareAndSwap(list, &sealed) {
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
