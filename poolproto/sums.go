package poolproto

import (
	"bytes"
	"fmt"
	"strconv"
)

// Refusal is why a share was refused at the miners' end of a link.
type Refusal byte

const (
	RefusedFormat    Refusal = 'm' // malformed
	RefusedJob       Refusal = 'u' // no job has its id
	RefusedStale     Refusal = 's' // of a tip before the present one
	RefusedDuplicate Refusal = 'd' // submitted before
	RefusedTarget    Refusal = 't' // above target
)

const (
	MaxSums = 32      // how many sums one line has at most
	MaxSum  = 1 << 16 // how many shares each of them may stand for
)

// Sum is shares of one channel that were refused at the miners' end for the same reason.
type Sum struct {
	Refusal Refusal // why they were refused
	Job     uint64  // of RefusedStale, RefusedDuplicate and RefusedTarget, and its suffix; else 0
	Suffix  uint8   // behind the job's id, as stratum.JobID reads it
	Count   uint32  // from 1
}

// AppendSums writes sums as the text of a line of Sums: reason, job and suffix in hex, and
// count in decimal, apart by colons; each sum is apart from the next by a comma.
func AppendSums(b []byte, sums []Sum) []byte {
	for i := range sums {
		if i > 0 {
			b = append(b, ',')
		}
		s := &sums[i]
		b = strconv.AppendUint(append(b, byte(s.Refusal), ':'), s.Job, 16)
		b = strconv.AppendUint(append(b, ':'), uint64(s.Suffix), 16)
		b = strconv.AppendUint(append(b, ':'), uint64(s.Count), 10)
	}
	return b
}

// ParseSums reads the text of a line of Sums, and appends what it says to sums.
func ParseSums(sums []Sum, text []byte) ([]Sum, error) {
	n := 0
	for word := range bytes.SplitSeq(text, []byte(",")) {
		var s Sum
		var fields [4][]byte
		for i := range fields {
			fields[i], word, _ = bytes.Cut(word, []byte(":"))
		}
		job, err1 := strconv.ParseUint(string(fields[1]), 16, 64)
		suffix, err2 := strconv.ParseUint(string(fields[2]), 16, 8)
		count, err3 := strconv.ParseUint(string(fields[3]), 10, 32)
		if n++; n > MaxSums || err1 != nil || err2 != nil || err3 != nil || len(word) > 0 || len(fields[0]) != 1 || count < 1 || count > MaxSum {
			return sums, fmt.Errorf("%w: sums", ErrFrame)
		}
		s = Sum{Refusal(fields[0][0]), job, uint8(suffix), uint32(count)}
		switch s.Refusal {
		case RefusedFormat, RefusedJob, RefusedStale, RefusedDuplicate, RefusedTarget:
		default:
			return sums, fmt.Errorf("%w: sums of the reason %q", ErrFrame, fields[0][0])
		}
		sums = append(sums, s)
	}
	return sums, nil
}
