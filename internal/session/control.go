package session

import (
	"encoding/hex"
	"unsafe"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// The methods here serve operators; they run on the loop's goroutine.

// walkPart is how many places a walk over the sessions looks at before others
// have their turn: about a tenth of a millisecond, in which nobody is served.
const walkPart = 256

// Sessions appends the miners whose first worker match chooses, those of one part
// of the slots, which begins at next. It returns where the next part begins; ok is
// false after the last.
func (h *Handler) Sessions(to []Info, next netserver.Slot, match func(WorkerID) bool) (list []Info, then netserver.Slot, ok bool) {
	now := h.seconds()
	end := min(next+walkPart, h.top)
	for ; next < end; next++ {
		s := h.session(next)
		if s.client != 0 && match(h.logins.get(s.login).worker) {
			to = append(to, h.client(next).info(now))
		}
	}
	return to, next, next < h.top
}

// Slot is where a client is, ok false where there is none.
func (h *Handler) Slot(client uint64) (slot netserver.Slot, ok bool) {
	slot, ok = h.byID[client]
	return slot, ok
}

// Session is what is known of one miner, ok false where there is none.
func (h *Handler) Session(id uint64) (i Info, ok bool) {
	slot, ok := h.byID[id]
	if !ok {
		return i, false
	}
	return h.client(slot).info(h.seconds()), true
}

func (c client) info(now float64) Info {
	l := c.logins.get(c.s.login)
	r := c.s.rates
	r.decay(now)
	return Info{
		ID: c.s.client, Extranonce1: hex.EncodeToString(c.s.extranonce1Bytes()),
		Difficulty: c.wanted(c.work()), Best: c.s.best,
		DSPS1: float64(r.average[0]), DSPS5: float64(r.average[1]), DSPS60: float64(r.average[2]),
		DSPS1440: float64(r.average[3]), DSPS10080: float64(r.average[4]),
		LastShare: c.at(float64(c.s.lastShare)), Start: c.at(float64(c.s.start)),
		Address:    c.t.Remote(c.slot).Addr().String(),
		Subscribed: c.s.is(subscribed), Authorised: c.s.is(authorised),
		Idle:      max(c.s.lastShare, c.s.start).since(now) > idleTime,
		UserAgent: c.agents.get(c.s.agent), WorkerName: l.name, User: l.userName(), Worker: l.worker,
		Listener: int(c.s.listener), Job: c.s.job, Limit: int(c.s.limit),

		Source: c.s.source, Extranonce2Len: c.extranonce2Len(), TakesExtranonce: c.s.is(takesExtranonce),
		Rolls: c.s.is(configured) && c.s.mask != 0, VersionMask: c.s.mask, NoRolling: c.s.is(noRolling),
	}
}

// Done is told to how many clients something was done. It is called on the
// loop's goroutine, at once or in a later Step, and must not block.
type Done func(clients int)

// walk is something that is done to all clients that were there when it began.
type walk struct {
	next   netserver.Slot
	latest uint64 // client id
	do     func(client) bool
	n      int // clients it was done to
	done   Done
}

// all does something to all clients, a part of them in each Step; do reports
// whether it was done to the client.
func (h *Handler) all(do func(client) bool, done Done) {
	h.walks = append(h.walks, walk{latest: h.g.registry.clients.Load(), do: do, done: done})
}

// stepWalks goes on with the walk that began first.
func (h *Handler) stepWalks() {
	w := &h.walks[0]
	n := 0
	for end := min(w.next+walkPart, h.top); w.next < end && n < stepSize; w.next++ {
		c := h.client(w.next)
		if c.s.client != 0 && c.s.client <= w.latest && w.do(c) {
			n++
		}
	}
	w.n += n
	if w.next < h.top {
		return
	}
	w.done(w.n)
	if h.walks = h.walks[1:]; len(h.walks) == 0 {
		h.walks = nil
	}
}

// each calls fn for one client, or for all that subscribed when id is 0.
func (h *Handler) each(id uint64, fn func(client), done Done) {
	if id == 0 {
		h.all(func(c client) bool {
			if c.s.is(subscribed) {
				fn(c)
			}
			return c.s.is(subscribed)
		}, done)
		return
	}
	slot, ok := h.byID[id]
	if !ok {
		done(0)
		return
	}
	fn(h.client(slot))
	done(1)
}

// Message shows a text on one client, or on all when id is 0.
func (h *Handler) Message(id uint64, text string, done Done) {
	h.each(id, func(c client) { c.showMessage(text) }, done)
}

// MessageUser shows a text on the miners of a user.
func (h *Handler) MessageUser(user, text string, done Done) {
	h.all(func(c client) bool {
		if !c.s.is(subscribed) || !c.isOf(user) {
			return false
		}
		c.showMessage(text)
		return true
	}, done)
}

// Lock tells the miners of a user why they may mine no more, and closes them.
func (h *Handler) Lock(user, text string, done Done) {
	h.all(func(c client) bool {
		if !c.isOf(user) {
			return false
		}
		c.showMessage(text)
		c.t.Close(c.slot, netserver.Locked)
		return true
	}, done)
}

// isOf tells whether one of the client's workers is the user's, as accounts are compared.
func (c client) isOf(user string) bool {
	user = address.Fold(user)
	for i := range c.allLogins() {
		if address.Fold(c.logins.at(i).value.user.Name) == user {
			return true
		}
	}
	return false
}

// SetMinimum gives a worker another least difficulty, 0 for none.
func (h *Handler) SetMinimum(w WorkerID, difficulty float64, done Done) {
	h.all(func(c client) bool {
		for i := range c.allLogins() {
			if c.logins.at(i).value.worker == w {
				c.setMinimum(w, difficulty)
				return true
			}
		}
		return false
	}, done)
}

// Send writes a line, its LF included, to one client.
func (h *Handler) Send(id uint64, line []byte, done Done) {
	h.each(id, func(c client) { c.write(append(h.out[:0], line...)) }, done)
}

// Reconnect sends client.reconnect to one client, or to all when id is 0.
// An empty host means the address the miner already uses. Who is still there
// after a minute is closed: not every miner knows the message.
func (h *Handler) Reconnect(id uint64, host, port string, done Done) {
	h.each(id, func(c client) {
		c.write(stratum.AppendReconnect(h.out[:0], host, port))
		if c.s.toldToGo == 0 {
			c.s.toldToGo = moment(c.seconds())
		}
	}, done)
}

const reconnectTime = 60 // seconds to follow the message

// Drop closes one client, or all when id is 0.
func (h *Handler) Drop(id uint64, why netserver.Reason, done Done) {
	if id != 0 {
		h.each(id, func(c client) { c.t.Close(c.slot, why) }, done)
		h.seen.closed(id)
		return
	}
	h.all(func(c client) bool {
		c.t.Close(c.slot, why)
		return true
	}, done)
}

// Idle is how many of the authorised miners had no share for a minute when Tick
// last looked.
func (h *Handler) Idle() int { return h.idle }

// NoRolling is how many of the authorised miners had been told that they may not roll
// versions, which they asked for, when Tick last looked.
func (h *Handler) NoRolling() int { return h.noRolling }

// Size is the memory of one session, in bytes.
const Size = int64(unsafe.Sizeof(session{}))

// Remembered counts the shares kept to find duplicates.
func (h *Handler) Remembered() int {
	return h.seen.len()
}
