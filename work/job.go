package work

import (
	"sync/atomic"
	"time"

	"ckpool/difficulty"
)

// Job is the work made of one template. Its content never changes; what it
// sends to the miners of a profile is rendered on first use. Safe for
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

	layouts    [Profiles]layout
	slots      [Profiles]Profile // the first profile with the same layout
	renderings [Profiles]atomic.Pointer[rendering]
}

// rendering is what the miners of a profile get. Profiles with the same layout
// share it.
func (j *Job) rendering(p Profile) *rendering {
	slot := &j.renderings[j.slots[min(p, Profiles-1)]]
	if r := slot.Load(); r != nil {
		return r
	}
	r := j.render(j.coinbase(j.layouts[min(p, Profiles-1)]))
	if slot.CompareAndSwap(nil, r) {
		return r
	}
	return slot.Load()
}
