// Package stratum: v1 messages, line scanner, writers and error codes. It
// parses and prints; it knows no connection, work or share. Nothing here
// allocates on submit and notify.
package stratum

// Code is a stratum error code.
type Code int

const (
	Other         Code = 20
	JobNotFound   Code = 21 // also stale
	Duplicate     Code = 22
	LowDifficulty Code = 23
	Unauthorized  Code = 24
	NotSubscribed Code = 25
)

// Reject is a verdict on a message: a value, not a Go error that is logged.
type Reject struct {
	Code Code
	Text string
}

// Message is one line, scanned in place: all slices alias the line. ID, Params,
// Result are raw JSON values; nil when the key is absent. Duplicate keys: last
// wins.
type Message struct {
	ID, Params, Result []byte
	// Method is the unescaped method name. MethodPresent with Method nil means
	// it was not a string.
	Method        []byte
	MethodPresent bool
}

// Kind classifies what a line is.
type Kind uint8

const (
	Object  Kind = iota
	Array        // top level array: answered with 20, kept
	Scalar       // top level scalar: answered with 20, kept
	Empty        // blank line: ignored
	Invalid      // not JSON, invalid UTF-8, NUL: answered, flushed, closed
)

// Scan reads one line (without LF) into m. Text after the first JSON value is
// ignored, except NUL.
func Scan(line []byte, m *Message) Kind { panic("skeleton") }

// Method cuts a trailing "(…)" off a method name (decisions.md 10) and returns
// the name and the content, nil when there is none.
func SplitMethod(method []byte) (name, arg []byte) { panic("skeleton") }

// Params iterates over the elements of a raw JSON array without allocating.
// String elements are also available unescaped.
type Params struct { /* unexported */
}

func ParseParams(raw []byte) (Params, bool)     { panic("skeleton") } // false: not an array
func (p *Params) Next() (value []byte, ok bool) { panic("skeleton") } // raw JSON value

// String returns the unescaped content of a raw JSON string value; scratch is
// used only when the value has escapes.
func String(raw []byte, scratch []byte) (s []byte, ok bool) { panic("skeleton") }

// Submit is a parsed mining.submit. Worker aliases the line (or scratch).
type Submit struct {
	Worker         []byte
	JobID          uint64 // first 16 digits
	Suffix         uint8  // the two further digits, 0 when absent
	JobIDBad       bool   // not hex or too long: 21 "Invalid JobID"
	Extranonce2    [8]byte
	Extranonce2Len int // as announced
	NTime, Nonce   uint32
	VersionBits    uint32
	HasVersionBits bool
}

// ParseSubmit applies decisions.md 11 and stratum.md 2.8/3.2 (texts kept).
// extranonce2Len is the announced length in bytes.
func (s *Submit) Parse(params []byte, extranonce2Len int, scratch []byte) *Reject { panic("skeleton") }

// The Append functions write one whole line including LF (key order of
// stratum.md 2). id is raw JSON; nil prints null.
func AppendResult(b, id []byte, result string) []byte    { panic("skeleton") } // {"result":…,"error":null,"id":…}
func AppendTrue(b, id []byte) []byte                     { panic("skeleton") }
func AppendReject(b, id []byte, r *Reject) []byte        { panic("skeleton") } // {"reject-reason":"…","result":false,"error":[20,"…",null],"id":…}
func AppendSetDifficulty(b []byte, d float64) []byte     { panic("skeleton") }
func AppendSetVersionMask(b []byte, mask uint32) []byte  { panic("skeleton") }
func AppendShowMessage(b []byte, text string) []byte     { panic("skeleton") }
func AppendReconnect(b []byte, host, port string) []byte { panic("skeleton") } // empty host: params []
func AppendSubscribeResult(b, id []byte, sessionID, extranonce1 string, n2 int) []byte {
	panic("skeleton")
}
