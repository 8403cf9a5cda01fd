// Package stratum reads and writes the messages of the stratum v1 mining
// protocol: a line scanner, the parameters of each method, replies and error
// codes, for the pool's side and the miner's side alike. It parses and prints;
// it knows no connection, no work and no share.
//
// A message is one JSON value on one line that ends in LF. Reading is
// tolerant, because miners are odd; writing is strict, because miners are
// strict. Scanning a line, parsing a mining.submit and writing its reply
// allocate nothing.
//
// Hexadecimal fields are big-endian numbers on the wire and plain integers
// here. Hashes are [32]byte in internal order, as double SHA-256 yields them.
package stratum

// Code is a stratum error code, the first element of an error array.
type Code int

// The codes pools and miners agree on.
const (
	Other         Code = 20 // anything that has no code of its own
	JobNotFound   Code = 21 // also stale
	Duplicate     Code = 22 // submitted before
	LowDifficulty Code = 23 // the hash is above the share's target
	Unauthorized  Code = 24 // the worker has not logged in
	NotSubscribed Code = 25 // submitted before mining.subscribe
)

// Reject is a refusal as the other side is told it. It is a verdict on a
// message and not a failure of the program, so it is no error.
type Reject struct {
	Code Code   // one of the codes above, or a pool's own
	Text string // for people
}

// String is the text with its code: "Above target (23)".
func (r *Reject) String() string {
	if r == nil {
		return "accepted"
	}
	return string(appendInt(append([]byte(r.Text), " ("...), int64(r.Code))) + ")"
}

// Message is one line, scanned in place. All slices are parts of the line and
// live as long as it does, only a Method that was written with escapes is a
// copy. Params, Result, Error, RejectReason and ID are raw JSON values, nil when the
// key is absent. Of keys that occur twice the last one counts.
type Message struct {
	ID, Params, Result, Error, RejectReason []byte // raw JSON values
	// Method is the unescaped method name. MethodPresent with a nil Method
	// means that it was not a string.
	Method        []byte
	MethodPresent bool
}

// Kind is what a line holds.
type Kind uint8

// The kinds of line.
const (
	Object  Kind = iota // a message
	Array               // a top level array
	Scalar              // a top level string, number or literal
	Empty               // white space or nothing
	Invalid             // not JSON, invalid UTF-8, or NUL (also as \u0000)
)
