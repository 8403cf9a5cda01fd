package work

import "crypto/sha256"

// A job announced again to a miner is other work than before: its coinbase has
// a mark. Without it a miner could tell us after it has seen a hash which of its
// announcements, and so which difficulty, the hash was found under. For the same
// reason nobody can know the mark of an announcement before it is made.

// markLen is the length in bytes of the last push before the extranonces', which
// a mark changes: the nanoseconds of the job.
const markLen = 4

// maxHead is the most that a coinbase has up to the extranonces: 42 bytes, and a
// scriptSig less the extranonces of a byte each.
const maxHead = 42 + maxScriptSig - 2

// mark changes head, a coinbase up to the extranonces, to that of the
// announcement with the given suffix; 0 is the first, which has none.
func (j *Job) mark(head, extranonce1 []byte, suffix uint8) {
	if suffix == 0 {
		return
	}
	mark := j.markOf(extranonce1, suffix)
	at := len(head) - 1 - markLen // behind it is the push of the extranonces
	for i := range markLen {
		head[at+i] ^= mark[i]
	}
}

func (j *Job) markOf(extranonce1 []byte, suffix uint8) [32]byte {
	var b [64]byte
	n := copy(b[:], j.key[:])
	b[n] = suffix
	n++
	n += copy(b[n:], extranonce1)
	return sha256.Sum256(b[:n])
}
