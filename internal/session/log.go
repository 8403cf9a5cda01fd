package session

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// Log has the lines about single miners. Whether one is wanted is asked before
// anything is formatted, and each kind of line is limited: what comes beyond is
// counted, for Sum. Safe for all loops at once.
type Log struct {
	// immutable
	wants  func(event.Level) bool
	events event.Func

	kinds [lineKinds]limit
}

// NewLog tells lines to events. wants tells whether those of a level are written at
// present.
func NewLog(wants func(event.Level) bool, events event.Func) *Log {
	return &Log{wants: wants, events: events}
}

// Left is an event: a miner's connection has ended. It is told as often as its line
// may be, so that not all are.
type Left struct {
	Client             uint64
	Addr               netip.Addr
	User, Worker       string // of the first login; "" that there was none
	Why                netserver.Reason
	After              time.Duration // since it came
	Accepted, Rejected uint32        // shares
}

// lineKind is what a line is about.
type lineKind uint8

const (
	lineAuthorised lineKind = iota
	lineRefused
	lineDropped
	lineLink
	lineNobody
	lineDifficulty
	lineRejected
	lineAccepted
	lineNoRolling
	lineKinds
)

// lineWindow is the time in which so many lines of a kind are written.
const lineWindow = time.Minute

var lineTable = [lineKinds]struct {
	level event.Level
	most  int
	name  string // of several of them
}{
	lineAuthorised: {event.Notice, 50, "Authorised clients"},
	lineRefused:    {event.Notice, 50, "Clients that failed to authorise"},
	lineDropped:    {event.Notice, 50, "Dropped clients"},
	lineLink:       {event.Notice, 10, "Refused links"},
	lineNobody:     {event.Info, 50, "Dropped workerless clients"},
	lineDifficulty: {event.Info, 50, "Changes of difficulty"},
	lineRejected:   {event.Info, 50, "Rejected shares"},
	lineAccepted:   {event.Debug, 6000, "Accepted shares"},
	lineNoRolling:  {event.Notice, 50, "Clients that may not roll versions"},
}

// limit counts the lines of one kind.
type limit struct {
	mu sync.Mutex
	// guarded by mu
	begun    time.Time // of the window
	written  int       // in it
	withheld int
	since    time.Time // of the first that was withheld
}

// pass reports whether a line of the kind is to be written now; nothing is on a
// Log that is nil.
func (l *Log) pass(kind lineKind, now time.Time) bool {
	line := &lineTable[kind]
	if l == nil || !l.wants(line.level) {
		return false
	}
	k := &l.kinds[kind]
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.begun) >= lineWindow {
		k.begun, k.written = now, 0
	}
	if k.written < line.most {
		k.written++
		return true
	}
	if k.withheld == 0 {
		k.since = now
	}
	k.withheld++
	return false
}

// Sum tells how many lines were withheld, of each kind once in a while; at the
// end of all it is for what is left. Call it every few seconds.
func (l *Log) Sum(now time.Time, end bool) {
	for kind := range l.kinds {
		k, line := &l.kinds[kind], &lineTable[kind]
		k.mu.Lock()
		n := k.withheld
		if !end && now.Sub(k.since) < lineWindow {
			n = 0
		}
		if n > 0 {
			k.withheld = 0
		}
		k.mu.Unlock()
		if n > 0 && l.wants(line.level) {
			l.events.Say(line.level, line.name+": "+thousands(n)+" more")
		}
	}
}

func (l *Log) printf(kind lineKind, format string, args ...any) {
	l.events.Say(lineTable[kind].level, fmt.Sprintf(format, args...))
}

// thousands prints 9950 as 9,950.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

const (
	maxWord = 100 // bytes of a name in a line
	maxText = 200 // of anything else a stranger has sent
)

// word is a stranger's name as one word of a line: what is no printable letter,
// digit or sign is percent-encoded, and the rest of a long one left out.
func word(name string) string {
	if name == "" {
		return "-"
	}
	var b strings.Builder
	for i, r := range name {
		if b.Len() > maxWord {
			b.WriteString("…")
			break
		}
		_, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 || r == ' ' || r == '%' || !unicode.IsPrint(r) {
			for _, c := range []byte(name[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
			continue
		}
		b.WriteString(name[i : i+size])
	}
	return b.String()
}

// quoted is a stranger's text in quotes, with escapes and bounded.
func quoted(text string) string { return strconv.Quote(text[:min(len(text), maxText)]) }

// from is a miner's address.
func from(c client) netip.Addr { return c.t.Remote(c.slot).Addr().Unmap() }

func (l *Log) authorised(c client, worker string) {
	if l.pass(lineAuthorised, c.t.Now()) {
		l.printf(lineAuthorised, "Authorised client %d %v worker %s as user %s, difficulty %g, %s",
			c.s.client, from(c), word(worker), word(c.logins.get(c.findLogin([]byte(worker))).user.Name), c.s.want, quoted(c.agents.get(c.s.agent)))
	}
}

func (l *Log) refused(c client, worker string, r *stratum.Reject) {
	if l.pass(lineRefused, c.t.Now()) {
		l.printf(lineRefused, "Client %d %v worker %s failed to authorise as user %s: %.*s",
			c.s.client, from(c), word(worker), word(userOf(worker)), maxText, r.Text)
	}
}

func (l *Log) noRolling(c client) {
	if l.pass(lineNoRolling, c.t.Now()) {
		l.printf(lineNoRolling, "Client %d %v worker %s asked for version rolling and was told that it may not, %s",
			c.s.client, from(c), word(c.logins.get(c.s.login).name), quoted(c.agents.get(c.s.agent)))
	}
}

func (l *Log) notSubscribed(c client, agent string, r *stratum.Reject) {
	if l.pass(lineRefused, c.t.Now()) {
		l.printf(lineRefused, "Client %d %v failed to subscribe: %s, %s", c.s.client, from(c), r.Text, quoted(agent))
	}
}

func (l *Log) dropped(c client, why netserver.Reason) {
	kind := lineDropped
	if c.s.login == 0 {
		kind = lineNobody
	}
	if !l.pass(kind, c.t.Now()) {
		return
	}
	left := Left{
		Client: c.s.client, Addr: from(c), Why: why, After: time.Duration(c.s.start.since(c.seconds())) * time.Second,
		Accepted: c.s.accepted, Rejected: c.s.rejected,
	}
	text := fmt.Sprintf("Dropped workerless client %d %v: %v after %v", left.Client, left.Addr, why, left.After)
	if c.s.login != 0 {
		login := c.logins.get(c.s.login)
		left.User, left.Worker = login.user.Name, login.name
		text = fmt.Sprintf("Dropped client %d %v user %s worker %s: %v after %v, %d shares, %d rejected",
			left.Client, left.Addr, word(left.User), word(left.Worker), why, left.After, left.Accepted, left.Rejected)
	}
	l.events.Tell(event.Event{Level: lineTable[kind].level, Text: text, What: left})
}

func (l *Log) link(c client, method []byte, refusal string) {
	if l.pass(lineLink, c.t.Now()) {
		l.printf(lineLink, "Client %d %v refused as %s: %s", c.s.client, from(c), method, refusal)
	}
}

// difficulty is for before another difficulty replaces the present one.
func (l *Log) difficulty(c client, to float64) {
	if l.pass(lineDifficulty, c.t.Now()) {
		l.printf(lineDifficulty, "Client %d %v worker %s difficulty changed from %g to %g",
			c.s.client, from(c), word(c.logins.get(c.s.login).name), c.s.sent(), to)
	}
}

// share tells of a share, accepted or not.
func (l *Log) share(c client, sh *Share) {
	kind := lineAccepted
	if sh.Reason != Accepted {
		kind = lineRejected
	}
	if !l.pass(kind, sh.Time) {
		return
	}
	reached := sh.Computed.Difficulty
	worker := word(string(c.submit.Worker))
	if len(c.submit.Worker) == 0 { // the submit could not be read
		worker = word(c.logins.get(c.s.login).name)
	}
	if kind == lineAccepted {
		l.printf(kind, "Accepted client %d %v worker %s share diff %.6g/%g credited %g",
			c.s.client, from(c), worker, reached, sh.Difficulty, sh.Credit)
		return
	}
	l.printf(kind, "Rejected client %d %v worker %s share diff %.6g/%g: %v",
		c.s.client, from(c), worker, reached, sh.Difficulty, sh.Reject())
}
