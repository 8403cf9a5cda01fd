package session

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/ckpool/ckpool/internal/netserver"
)

// Ticket is where the Verdict on a login goes that is undecided.
type Ticket struct {
	handler *Handler
	number  uint64
}

// Give gives the verdict, once. Any goroutine may call; the miner may be gone.
func (t Ticket) Give(v Verdict) {
	t.handler.t.Post(func() { t.handler.undecided.give(t.number, v) })
}

// undecidedLogins are the logins of a loop that wait for a verdict. All else that a
// connection sends goes on meanwhile, but not what names the same worker: those
// lines wait behind. Nothing of it is remembered but lines, so that another process
// may handle them instead.
type undecidedLogins struct {
	byTicket map[uint64]*undecidedLogin
	bySlot   map[netserver.Slot]*waitingLines
	last     uint64 // ticket
	size     int    // bytes of all lines
	decided  []*undecidedLogin
}

// waitingLines are those of one connection.
type waitingLines struct {
	byName map[string]*undecidedLogin
	size   int
}

type undecidedLogin struct {
	ticket  uint64
	slot    netserver.Slot
	client  uint64
	name    string
	lines   [][]byte // the login's own is the first
	verdict Verdict
}

// Bytes of lines that wait: beyond, a login is decided at once, without asking.
const (
	maxWaitingOfLoop   = 32 << 20
	maxWaitingOfClient = 1 << 20
)

func newUndecidedLogins() undecidedLogins {
	return undecidedLogins{byTicket: map[uint64]*undecidedLogin{}, bySlot: map[netserver.Slot]*waitingLines{}}
}

// ticket is that of the login that add comes for next.
func (h *Handler) ticket() Ticket { return Ticket{h, h.undecided.last + 1} }

func (u *undecidedLogins) hasRoom(slot netserver.Slot, line []byte) bool {
	w := u.bySlot[slot]
	return u.size+len(line) <= maxWaitingOfLoop &&
		(w == nil || w.size+len(line) <= maxWaitingOfClient && len(w.byName) < maxWorkers)
}

func (u *undecidedLogins) add(slot netserver.Slot, client uint64, name string, line []byte) {
	u.last++
	k := &undecidedLogin{ticket: u.last, slot: slot, client: client, name: name}
	u.byTicket[k.ticket] = k
	w := u.bySlot[slot]
	if w == nil {
		w = &waitingLines{byName: map[string]*undecidedLogin{}}
		u.bySlot[slot] = w
	}
	w.byName[name] = k
	u.keep(k, line)
}

func (u *undecidedLogins) keep(k *undecidedLogin, line []byte) {
	k.lines = append(k.lines, bytes.Clone(line))
	u.bySlot[k.slot].size += len(line)
	u.size += len(line)
}

// find is the login of that name that waits, nil if there is none.
func (u *undecidedLogins) find(slot netserver.Slot, name []byte) *undecidedLogin {
	if len(u.bySlot) == 0 {
		return nil
	}
	if w := u.bySlot[slot]; w != nil {
		return w.byName[string(name)]
	}
	return nil
}

// hold keeps a line that names the worker of the login; false if there is no room.
func (u *undecidedLogins) hold(k *undecidedLogin, line []byte) bool {
	if !u.hasRoom(k.slot, line) {
		return false
	}
	u.keep(k, line)
	return true
}

// give leaves a login that has its verdict to Step.
func (u *undecidedLogins) give(ticket uint64, v Verdict) {
	if k := u.byTicket[ticket]; k != nil {
		delete(u.byTicket, ticket)
		k.verdict = v
		u.decided = append(u.decided, k)
	}
}

// take removes a login; false if its connection has ended meanwhile.
func (u *undecidedLogins) take(k *undecidedLogin) bool {
	w := u.bySlot[k.slot]
	if w == nil || w.byName[k.name] != k {
		return false
	}
	for _, line := range k.lines {
		w.size -= len(line)
		u.size -= len(line)
	}
	if delete(w.byName, k.name); len(w.byName) == 0 {
		delete(u.bySlot, k.slot)
	}
	return true
}

// forget is for a connection that has ended.
func (u *undecidedLogins) forget(slot netserver.Slot) {
	w := u.bySlot[slot]
	if w == nil {
		return
	}
	for _, k := range w.byName {
		delete(u.byTicket, k.ticket)
	}
	u.size -= w.size
	delete(u.bySlot, slot)
}

// waiting are the lines of a connection that wait, in the order of the logins.
func (u *undecidedLogins) waiting(slot netserver.Slot) (lines []byte) {
	w := u.bySlot[slot]
	if w == nil {
		return nil
	}
	for _, k := range slices.SortedFunc(maps.Values(w.byName), func(a, b *undecidedLogin) int { return cmp.Compare(a.ticket, b.ticket) }) {
		for _, line := range k.lines {
			lines = append(append(lines, line...), '\n')
		}
	}
	return lines
}

// stepDecided handles the lines of logins that have their verdicts.
func (h *Handler) stepDecided() {
	u := &h.undecided
	n := min(len(u.decided), stepSize)
	for _, k := range u.decided[:n] {
		if !u.take(k) {
			continue
		}
		q := h.request(k.slot)
		h.verdict = &k.verdict
		q.dispatch(k.lines[0])
		h.verdict = nil
		for _, line := range k.lines[1:] {
			if q.s.client != k.client {
				break
			}
			q.dispatch(line)
		}
	}
	if u.decided = u.decided[n:]; len(u.decided) == 0 {
		u.decided = nil
	}
}
