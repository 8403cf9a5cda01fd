package blocks

import (
	"encoding/binary"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/work"
)

// jobOn is a job whose network difficulty is that of bits.
func jobOn(parent byte, id uint64, bits uint32) *work.Job {
	return &work.Job{ID: id, NetworkDifficulty: difficulty.FromBits(bits), Template: &work.Template{PrevHash: [32]byte{parent}}}
}

// candidateMaker adds candidates with a new hash each.
type candidateMaker struct {
	candidates
	hash uint64
}

// add is how many of n candidates are submitted.
func (c *candidateMaker) add(n int, job *work.Job, refused bool) (submitted int) {
	for range n {
		c.hash++
		var hash [32]byte
		binary.LittleEndian.PutUint64(hash[:], c.hash)
		if submit, _ := c.candidates.add(hash, job, refused); submit {
			submitted++
		}
	}
	return submitted
}

// Where blocks are easy, only a few of a parent are submitted: on regtest, and
// at the least difficulty of test networks, which is 1.
func TestFewCandidatesOfAParent(t *testing.T) {
	for _, bits := range []uint32{0x207fffff, 0x1d00ffff} {
		var c candidateMaker
		job := jobOn(1, 7, bits)
		// What the pool itself refuses, and nodes perhaps too, does not use up
		// the good ones' number.
		if n := c.add(10, job, true); n != trivialCandidates {
			t.Errorf("%08x: %d of 10 refused ones are submitted", bits, n)
		}
		if n := c.add(10, job, false); n != trivialCandidates {
			t.Errorf("%08x: %d of 10 are submitted", bits, n)
		}
		if submit, _ := c.candidates.add([32]byte{1}, job, false); submit {
			t.Errorf("%08x: a candidate is submitted again", bits)
		}
		// The nodes may have refused them all: each new work is tried.
		for id := uint64(8); id < 12; id++ {
			if n := c.add(10, jobOn(1, id, bits), false); n != 1 {
				t.Errorf("%08x: %d of 10 of new work are submitted", bits, n)
			}
		}
		// Nor does going back and forth between jobs give more.
		for range 10 {
			if n := c.add(1, job, false) + c.add(1, jobOn(1, 11, bits), false); n != 0 {
				t.Errorf("%08x: %d of older jobs are submitted", bits, n)
			}
		}
		if n := c.add(10, jobOn(2, 12, bits), false); n != trivialCandidates {
			t.Errorf("%08x: %d of 10 are submitted on the next parent", bits, n)
		}
		if n := c.add(1, job, false); n != 0 {
			t.Errorf("%08x: the old parent has %d more", bits, n)
		}
	}
	var c candidateMaker
	if n := c.add(10, jobOn(1, 7, 0x1c7fffff), false); n != 10 {
		t.Errorf("above the least difficulty %d of 10 are submitted", n)
	}
}

// What is remembered of candidates is bounded, and survives a handover.
func TestCandidatesAreBounded(t *testing.T) {
	var c candidateMaker
	job := jobOn(1, 7, 0x1c7fffff)
	c.add(3*maxCandidates+1, job, false)
	if n := len(c.hashes) + len(c.old); n > 2*maxCandidates {
		t.Errorf("%d are remembered", n)
	}
	var after candidateMaker
	if err := after.read(c.append(nil)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*candidateMaker{&c, &after} {
		c.hash = 2*maxCandidates + 1
		if n := c.add(maxCandidates, job, false); n != 0 {
			t.Errorf("%d of the newest are submitted again", n)
		}
	}
}
