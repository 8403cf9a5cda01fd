package firmware

import "time"

// traits is what tells one firmware from another.
type traits struct {
	login []step

	// How it writes.
	form        form
	firstID     int
	configureID int    // 0: the next one
	stringIDs   bool   // ids are strings
	extensions  string // parameters of configure, with a verb for the suggested difficulty if any
	subscribe   []any  // further parameters of subscribe, after the user agent
	loginMethod string // method of authorize
	logins      int    // workers authorised on the connection; 0: 1
	suggest     float64
	keepAlive   time.Duration // suggests again when it has sent nothing for so long

	// What it can hold.
	lineLimit     int  // bytes of a line with its LF
	jsonDocument  int  // bytes of an ArduinoJson document, into which each line must fit
	coinbaseLimit int  // bytes
	coinb1Limit   int  // hex digits
	coinb2Limit   int  // hex digits
	branchLimit   int  // merkle branches
	jobIDLimit    int  // characters
	workerLimit   int  // bytes of the worker name
	passwordLimit int  // bytes
	knownIDs      int  // job ids it remembers: a notify with one of them is ignored
	integers      bool // reads whole difficulties only, where they are 1 or more

	// How it reads.
	oneLine        bool // the first line after subscribe must be its reply
	guesses        bool // tells replies by the shape of their result
	dropsEarlyMask bool // hangs up on set_version_mask before the authorize reply
	needsMask      bool // rolls the version only after set_version_mask
	silence        time.Duration
	reconnects     reconnects

	// How it mines.
	adopts      adopts
	nextPower   bool // mines at the next power of two
	restarts    restarts
	rolls       rolls
	unasked     bool // rolls the pool's usual bits without configure
	fixedNonce2 bool // never changes extranonce2
	nonce2Size  int  // sends so many bytes whatever was announced
	startNonce  uint32
	shortNonce  bool // nonce without leading zeros
	rollsTime   bool // raises ntime second by second
}

// step is one message of the login.
type step struct {
	send message
	wait bool // for its reply before the next step
}

type message int

const (
	configure message = iota
	subscribe
	authorize
	suggest
	subscribeExtranonce
	submit
)

func (m message) String() string {
	return [...]string{"configure", "subscribe", "authorize", "suggest_difficulty", "extranonce.subscribe", "submit"}[m]
}

// form is the layout of a message.
type form int

const (
	spaced      form = iota // {"id": 1, "method": "m", "params": [...]}
	versioned               // the same with "jsonrpc": "2.0" before it
	paramsFirst             // {"params": [...], "id": 1, "method": "m"}
	compact                 // {"id":1,"method":"m","params":[...]}
)

// adopts is when a new difficulty is mined at.
type adopts int

const (
	atNextJob adopts = iota // cgminer and most
	atOnce                  // also on the job in work
)

// restarts is when the search begins anew at its first extranonce2 and nonce.
// Begun anew on a job that hashes as the one before, it finds the same shares.
type restarts int

const (
	onClean restarts = iota
	onNotify
)

// rolls is how version bits get into the header.
type rolls int

const (
	never rolls = iota
	byOr
	byXor
	byReplacing
)

// reconnects is what client.reconnect leads to.
type reconnects int

const (
	ignores      reconnects = iota
	toConfigured            // connects again to the configured host, whatever was said
	sameDomain              // obeys if all after the first dot of the host is the same
)
