package session

import "github.com/ckpool/ckpool/difficulty"

// session is one miner's state. No pointers: slabs of it cost the collector
// nothing. Owned by the loop. Times are seconds of the loop's clock.
type session struct {
	client uint64 // 0: the slot is free
	id     uint64 // session id, 0 before subscribe
	loops  uint64 // loops (modulo 64) whose seen sets may hold shares of it

	vardiff difficulty.Vardiff
	present change  // difficulty last sent, zero before the first
	want    float64 // difficulty it shall have
	floor   float64 // lowest difficulty asked for by the miner, 0 none

	start, lastShare, lastSent moment
	firstInvalid, lastChange   moment
	maskUntil, lastList        moment
	toldToGo                   moment // to reconnect, 0 not

	best  float64
	rates rates

	job uint64 // id of the job last sent, 0 none
	tip uint64 // its tip

	source                  uint32 // that it gets work from
	mask, sentMask, oldMask uint32
	accepted, rejected      uint32 // shares
	login, agent            uint32 // indexes of the handler's tables, 0 none
	limit                   uint16 // of a coinbase without witness, in bytes
	later                   uint16 // seconds added to the job's time when last sent
	newNames                uint16
	refusals                uint16 // logins refused since one was accepted, or a share
	badLines                uint8
	extranonce1             [8]byte
	extranonce1Len          uint8
	extranonce2Len          uint8 // where there are several sources
	listener                uint8
	invalid                 uint8 // steps of the invalid share ladder taken
	flags                   flags
}

// moment is seconds of the loop's clock where a second more or less is the same.
type moment float32

// since is how many seconds before now it was.
func (m moment) since(now float64) float64 { return now - float64(m) }

// flags are moved as they are: later ones go to the end.
type flags uint16

const (
	subscribed flags = 1 << iota
	authorised
	configured // asked for version rolling
	fixed      // password set the difficulty: suggestions are ignored
	deferred   // the wanted difficulty goes out when the last change is old enough
	flooded    // more shares than wanted by far: the difficulty goes up at once
	resumed    // has its extranonce1 from an earlier connection, and no work yet
	maskSent
	holding         // has lines held until there is work
	hasEarlier      // difficulties, in the handler
	due             // Step is to send the job again
	hasMinimum      // difficulty, in the handler
	hasFormer       // extranonce1 values, in the handler
	takesExtranonce // asked for mining.set_extranonce, which only other sources need
	noRolling       // asked for version rolling and was told false

	notMoved = hasEarlier | due | hasMinimum | hasFormer
)

func (s *session) is(f flags) bool { return s.flags&f == f }

// extranonce1Bytes aliases the session.
func (s *session) extranonce1Bytes() []byte { return s.extranonce1[:s.extranonce1Len] }

// sent is the difficulty last sent to the miner, 0 before the first.
func (s *session) sent() float64 { return s.present.difficulty }

// rates are a session's decaying averages of credited difficulty per second,
// shown to operators.
type rates struct {
	average [5]float32
	amount  float32
	last    float64
}

// rateWindows are 1 and 5 minutes, 1 hour, 1 and 7 days, in seconds.
var rateWindows = [5]float64{60, 300, 3600, 86400, 604800}

// rateStep spares the exponentials: averages are brought up to date at most
// this often, in seconds.
const rateStep = 1

func (r *rates) add(amount, now float64) {
	r.amount += float32(amount)
	if now-r.last >= rateStep {
		r.decay(now)
	}
}

func (r *rates) decay(now float64) {
	for i, window := range rateWindows {
		a := difficulty.Average(r.average[i])
		a.Decay(float64(r.amount), now-r.last, window)
		r.average[i] = float32(a)
	}
	r.amount = 0
	r.last = now
}
