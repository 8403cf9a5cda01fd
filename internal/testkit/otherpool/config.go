package otherpool

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// Config is what the pool gives and how it is odd or misbehaves. The zero value is a
// well-behaved pool at difficulty 1e-10.
type Config struct {
	Difficulty   float64
	Branches     int
	VersionMask  uint32
	Version      uint32 // of blocks, 0x20000000 if 0
	Policy       Policy
	JobPerClient bool // each connection gets work of its own

	Extranonce1    func(n int) string // hexadecimal, of the n-th connection from 0 on; nil: 4 bytes of n
	Extranonce2Len int                // 8 if 0, none if negative

	// What goes wrong.
	RejectEvery  int                              // every n-th share of a connection is refused as "Made up"
	RepeatEvery  int                              // every n-th reply is sent twice
	DropAfter    int                              // shares of a connection until it is closed
	SilentAfter  int                              // shares of a connection until no more are answered
	SilentEvery  int                              // every n-th share of a connection is not answered
	NoAuthorize  bool                             // authorize is refused
	Knows        func(user, password string) bool // who is authorized; nil: everybody
	Stuck        bool                             // connections are taken, nothing is answered
	Full         bool                             // subscribe is answered with the text "server is full"
	NoParams     bool                             // subscribe is refused unless its params are empty
	ClosedAt     Step                             // connections are closed there
	Refuse       func(worker string, share int) (reason string)
	RefuseNonce  func(extranonce2 string) (reason string) // in hex, as submitted
	Configure    Configure
	AuthorizeOne bool // the second authorize of a name on a connection is refused

	// How it speaks.
	Answer           Form          // of answers to shares; nil: Arrays
	WorkFirst        bool          // difficulty and work come before the reply to subscribe
	NoDifficulty     bool          // difficulty is not told until SetDifficulty
	NoWork           bool          // authorized clients get no job
	Suggested        bool          // a difficulty that a client suggests is that of all
	StringDifficulty bool          // it is told as a string
	Pieces           bool          // every byte is written alone
	Reverse          int           // answers to shares are held until there are so many, and sent in reverse order
	Delay            time.Duration // until shares are answered

	// Wrap is what a connection is spoken over, such as TLS; it is first used by
	// the goroutine of the connection.
	Wrap func(net.Conn) net.Conn
}

// Policy is by which difficulty a pool judges shares after it has changed.
type Policy int

const (
	NextJob Policy = iota // by that which their job was sent with
	AtOnce                // by that which is in force
	Lenient               // by the lower of both
)

// Step is one on the way of a connection.
type Step int

const (
	Nowhere Step = iota
	AtConnect
	AtSubscribe
	AtConfigure
	AtAuthorize
	AtFirstJob
	AtSubmit
)

// Configure is what the pool makes of mining.configure.
type Configure int

const (
	Configures      Configure = iota // answers what VersionMask says
	ConfigureError                   // does not know the method
	ConfigureSilent                  // says nothing
	ConfigureCloses                  // closes the connection
)

// Form writes the answer to a share, which is accepted if reason is empty.
type Form func(id, reason string) string

// Arrays writes a reason as ckpool does.
func Arrays(id, reason string) string {
	if reason == "" {
		return accepted(id)
	}
	return fmt.Sprintf(`{"reject-reason":%q,"result":false,"error":[%d,%q,null],"id":%s}`, reason, code(reason), reason, id)
}

// Forms are the forms of answers that pools have, by name.
var Forms = map[string]Form{
	"array": Arrays,
	"null and array": func(id, reason string) string {
		if reason == "" {
			return accepted(id)
		}
		return fmt.Sprintf(`{"id":%s,"result":null,"error":[%d,%q,null]}`, id, code(reason), reason)
	},
	"string": func(id, reason string) string {
		if reason == "" {
			return fmt.Sprintf(`{"id":%s,"result":true}`, id)
		}
		return fmt.Sprintf(`{"id":%s,"result":false,"error":%q}`, id, reason)
	},
	"object": func(id, reason string) string {
		if reason == "" {
			return fmt.Sprintf(`{"error":null,"id":%s,"result":true}`, id)
		}
		return fmt.Sprintf(`{"error":{"code":%d,"message":%q},"id":%s,"result":null}`, code(reason), reason, id)
	},
	"reject-reason alone": func(id, reason string) string {
		if reason == "" {
			return accepted(id)
		}
		return fmt.Sprintf(`{"id":%s,"result":false,"error":null,"reject-reason":%q}`, id, reason)
	},
	"id as a string": func(id, reason string) string { return Arrays(strconv.Quote(id), reason) },
}

func accepted(id string) string { return fmt.Sprintf(`{"result":true,"error":null,"id":%s}`, id) }

// Reasons that the pool itself refuses shares for.
const (
	LowDifficulty = "Low difficulty share"
	UnknownJob    = "Job not found"
	Duplicate     = "Duplicate share"
	Unauthorized  = "Unauthorized worker"
)

func code(reason string) int {
	switch reason {
	case LowDifficulty, "Made up":
		return 23
	case UnknownJob:
		return 21
	case Duplicate:
		return 22
	case Unauthorized:
		return 24
	}
	return 20
}
