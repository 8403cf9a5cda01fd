package work

import "crypto/sha256"

// The coinbase of a variant has a mark. Without it a miner that was sent a job
// more than once could tell us after it has seen a hash which time, and so which
// difficulty, the hash was found under. For the same reason nobody can know the
// mark of a variant before it is sent.

// markLen is the length in bytes of the last push before the extranonces', which
// a mark changes: the nanoseconds of the job.
const markLen = 4

// markedLen is how many bytes at the end of a head have all that a mark changes. In a
// coinbase of our own a push of the extranonces is behind the mark.
func (j *Job) markedLen() int {
	if g := j.Template.given; g != nil {
		return g.Pad
	}
	return markLen + 1
}

// maxHead is the most that a coinbase has up to the extranonces: 42 bytes, and a
// scriptSig less the extranonces of a byte each.
const maxHead = 42 + maxScriptSig - 2

// mark changes the end of a head, a coinbase up to the extranonces, to that of another
// variant than 0, which has no mark.
func (j *Job) mark(head, extranonce1 []byte, variant uint8) {
	if j.Given() {
		j.markGiven(head[len(head)-j.markedLen():], extranonce1, variant)
		return
	}
	mark := j.markOf(extranonce1, variant)
	at := len(head) - 1 - markLen // behind it is the push of the extranonces
	for i := range markLen {
		head[at+i] ^= mark[i]
	}
}

func (j *Job) markOf(extranonce1 []byte, variant uint8) [32]byte {
	var b [64]byte
	n := copy(b[:], j.key[:])
	b[n] = variant
	n++
	n += copy(b[n:], extranonce1)
	return sha256.Sum256(b[:n])
}
