package work

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// Builder holds what all jobs of a pool have in common. It must not change
// once it has made a job.
type Builder struct {
	// Tag and Sig are pushed behind the extranonces. Sig has at most 38 bytes;
	// it is shortened, or left out, where there is no room for it.
	Tag, Sig string

	// PayoutScript is paid what is left of the reward. It is nil in solo: every
	// miner's own script is given with each call then.
	PayoutScript []byte

	Extranonce1Len int    // all of it
	Extranonce2Len int    // at most 8
	VersionMask    uint32 // bits miners may roll; those outside RollableBits are not
}

// RollableBits are the version bits a miner may ever change (BIP310). The three
// above tell that the others are version bits (BIP9): they are the template's,
// without them a block is invalid.
const RollableBits = 0x1fffffff

const (
	// maxScriptSig is consensus' limit for a coinbase.
	maxScriptSig = 100
	maxSig       = 38
	maxScript    = 10_000
	// witnessScriptLen is the longest script of an address: a witness program
	// of 40 bytes. A solo miner's script is taken to be that long.
	witnessScriptLen = 42
)

// Validate reports settings no job can be made with. It allows for the longest
// height and times, and for a node without coinbase flags.
func (b *Builder) Validate() error {
	switch {
	case b.Extranonce1Len < 1 || b.Extranonce2Len < 1 || b.Extranonce2Len > 8:
		return fmt.Errorf("extranonces of %d and %d bytes: at least 1 each, and at most 8 for extranonce2",
			b.Extranonce1Len, b.Extranonce2Len)
	case b.Extranonce1Len+b.Extranonce2Len > maxPush:
		// The byte before them would be another opcode, and what miners choose opcodes too.
		return fmt.Errorf("extranonces of %d and %d bytes: at most %d together",
			b.Extranonce1Len, b.Extranonce2Len, maxPush)
	case len(b.Sig) > maxSig:
		return fmt.Errorf("btcsig has %d bytes: at most %d", len(b.Sig), maxSig)
	}
	if len(b.PayoutScript) > maxScript {
		return fmt.Errorf("coinbase output with a script of %d bytes", len(b.PayoutScript))
	}
	const longest = 5 + 1 + 6 + 5 // height, no flags, time, nanoseconds
	return b.checkScriptSig(longest)
}

// room is what a scriptSig has left for btcsig, with n bytes before the push of
// the extranonces; negative if it is too long without.
func (b *Builder) room(n int) int {
	return maxScriptSig - n - 1 - b.Extranonce1Len - b.Extranonce2Len - len(b.tagPush())
}

func (b *Builder) checkScriptSig(n int) error {
	if room := b.room(n); room < 0 {
		return fmt.Errorf("the coinbase's scriptSig would have %d bytes, at most %d are allowed: shorten the pool tag, the extranonces or the node's coinbase flags",
			maxScriptSig-room, maxScriptSig)
	}
	return nil
}

func (b *Builder) tagPush() []byte {
	if b.Tag == "" {
		return nil
	}
	return appendPush(nil, []byte(b.Tag))
}

// Job makes the job with the given id of a template. now gives the coinbase its
// time, which makes it unique, and stands for the node's clock where the
// template does not tell it.
//
// The outputs are paid beside the payout, which has what is left of the reward.
// They are left out from the last: of the coinbase of a miner whose limit is too
// small for all of them, and of all where the block has no room for them, which
// [Job.LeftOut] tells. Their scripts are kept, and must not be changed.
//
// Where the template's coinbase is given there are no outputs, and of the builder only
// the lengths of the extranonces and the mask count.
//
// The error is one of [Builder.Validate], or says that an output cannot be, or
// that the template leaves no room for the coinbase or pays less than is given
// away.
func (b *Builder) Job(t *Template, id uint64, now time.Time, outputs []Output) (*Job, error) {
	check := b.Validate
	if t.given != nil {
		check = func() error { return b.checkGiven(outputs) }
	}
	if err := check(); err != nil {
		return nil, err
	}
	target, err := difficulty.TargetFromBits(t.Bits)
	if err != nil {
		return nil, fmt.Errorf("block template at height %d: bits %08x: %w", t.Height, t.Bits, err)
	}
	mask := b.VersionMask & RollableBits &^ t.VBRequired
	j := &Job{
		ID:                id,
		Template:          t,
		Branch:            t.merkleBranch(),
		Version:           t.Version &^ mask,
		Mask:              mask,
		Target:            target,
		NetworkDifficulty: difficulty.FromBits(t.Bits),
		NTimeMin:          t.MinTime,
		NTimeMax:          lastTime(t, now),
		Created:           now,
		builder:           b,
		Solo:              len(b.PayoutScript) == 0 && t.given == nil,
	}
	if t.given != nil {
		j.setGiven()
		return j, nil
	}
	if err := j.setCoinbase(now, outputs); err != nil {
		return nil, fmt.Errorf("block template at height %d: %w", t.Height, err)
	}
	return j, nil
}

// lastTime is the latest ntime: 7,000 s after the template's, and no more than
// 6,600 s after the node's clock. Nodes refuse a block two hours ahead of
// theirs; what is between allows for clocks that are behind. A template's time
// is the node's clock, except where the chain's past has pushed it ahead to
// mintime.
func lastTime(t *Template, now time.Time) uint32 {
	clock := now.Unix()
	if t.CurTime > t.MinTime {
		clock = max(clock, int64(t.CurTime))
	}
	last := min(int64(t.CurTime)+7000, clock+6600)
	return uint32(min(max(last, int64(t.CurTime)), 1<<32-1))
}

// setCoinbase prepares what all renderings share.
func (j *Job) setCoinbase(now time.Time, outputs []Output) error {
	b, t := j.builder, j.Template
	var unique [markLen]byte
	binary.LittleEndian.PutUint32(unique[:], uint32(now.Nanosecond()))
	j.scriptHead = slices.Concat(heightPush(t.Height), appendPush(nil, t.Flags),
		dataPush(now.Unix()), appendPush(nil, unique[:]))
	rand.Read(j.key[:]) // never fails
	if err := b.checkScriptSig(len(j.scriptHead)); err != nil {
		return err
	}
	j.Sig = b.Sig[:min(len(b.Sig), max(b.room(len(j.scriptHead))-1, 0))]

	if err := j.setOutputs(outputs); err != nil {
		return err
	}
	j.measure()
	return j.leaveOut()
}
