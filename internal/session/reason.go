package session

import "github.com/ckpool/ckpool/stratum"

// Reason is why a submit is refused. It is the one list of these reasons: what
// the miner is told, what the share log has, and what they are called where they
// are counted.
type Reason uint8

// The reasons, in the order they are counted and moved in.
const (
	Accepted Reason = iota
	Malformed
	UnknownJob
	Stale
	NTimeRange
	Duplicate
	AboveTarget
	VersionMask
	WorkerMismatch
	Unauthorized
	NotSubscribed
	Refused    // by the pool above
	Unanswered // by the pool above

	Reasons = iota // how many there are
)

// notLogged is the number of a reason that share logs do not have: it is not
// about a share.
const notLogged = -1

var reasons = [Reasons]struct {
	reject stratum.Reject
	errn   int    // in share logs
	name   string // in statistics
}{
	Accepted:       {errn: 0, name: "accepted"},
	Malformed:      {stratum.Reject{Code: stratum.Other, Text: "Invalid params"}, notLogged, "malformed"},
	UnknownJob:     {stratum.Reject{Code: stratum.JobNotFound, Text: "Invalid JobID"}, 1, "job not found"},
	Stale:          {stratum.Reject{Code: stratum.JobNotFound, Text: "Stale"}, 2, "stale"},
	NTimeRange:     {stratum.Reject{Code: stratum.Other, Text: "Ntime out of range"}, 3, "ntime out of range"},
	Duplicate:      {stratum.Reject{Code: stratum.Duplicate, Text: "Duplicate"}, 4, "duplicate"},
	AboveTarget:    {stratum.Reject{Code: stratum.LowDifficulty, Text: "Above target"}, 5, "above target"},
	VersionMask:    {stratum.InvalidVersionMask(), 6, "invalid version mask"},
	WorkerMismatch: {stratum.Reject{Code: stratum.Unauthorized, Text: "Worker mismatch"}, notLogged, "worker mismatch"},
	Unauthorized:   {stratum.Reject{Code: stratum.Unauthorized, Text: "Unauthorized worker"}, notLogged, "unauthorized worker"},
	NotSubscribed:  {stratum.Reject{Code: stratum.NotSubscribed, Text: "Not subscribed"}, notLogged, "not subscribed"},
	Refused:        {stratum.Reject{Code: stratum.Other, Text: "Refused upstream"}, 7, "refused upstream"},
	Unanswered:     {stratum.Reject{Code: stratum.Other, Text: "No answer from upstream"}, 8, "unanswered upstream"},
}

// String is the reason's name in statistics.
func (r Reason) String() string { return reasons[r].name }

// ReasonNamed is the reason with a name in statistics.
func ReasonNamed(name string) (r Reason, ok bool) {
	for r := range Reason(Reasons) {
		if reasons[r].name == name {
			return r, true
		}
	}
	return Accepted, false
}

// Logged is the reason's number in share logs, 0 for accepted; not ok for a
// submit that is no share: it is neither logged nor counted as one.
func (r Reason) Logged() (errn int, ok bool) { return reasons[r].errn, reasons[r].errn != notLogged }

// OfUpstream tells that only another pool gives the reason, whose work it is.
func (r Reason) OfUpstream() bool { return r == Refused || r == Unanswered }

// ReasonOf is the reason for a refusal that another pool has given, as far as its words
// or its code tell.
func ReasonOf(r *stratum.Reject) Reason {
	if r == nil {
		return Refused
	}
	for k := Malformed; k < Refused; k++ {
		if reasons[k].reject == *r {
			return k
		}
	}
	switch r.Code {
	case stratum.JobNotFound:
		return Stale
	case stratum.Duplicate:
		return Duplicate
	case stratum.LowDifficulty:
		return AboveTarget
	case stratum.Unauthorized:
		return Unauthorized
	case stratum.NotSubscribed:
		return NotSubscribed
	}
	return Refused
}

// Reject is what miners are told, nil for an accepted share. Of a malformed
// submit and of one that another pool refused they are told more: see Share.Reject.
func (r Reason) Reject() *stratum.Reject {
	if r == Accepted {
		return nil
	}
	return &reasons[r].reject
}

// Reject is what the miner is told, nil for an accepted share.
func (s *Share) Reject() *stratum.Reject {
	if s.Reason == Malformed || s.Reason.OfUpstream() && s.Format != nil {
		return s.Format
	}
	return s.Reason.Reject()
}
