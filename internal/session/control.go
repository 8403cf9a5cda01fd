package session

import (
	"encoding/hex"
	"unsafe"

	"ckpool/internal/netserver"
	"ckpool/stratum"
)

// The methods here serve operators; they run on the loop's goroutine.

// sessionsPart is how many places one call of Sessions looks at: about a tenth
// of a millisecond, in which nobody is served.
const sessionsPart = 256

// Sessions appends what is known of the miners, by their first worker, whom
// match chooses, in a part of the places from next on. It returns where the next
// part begins; ok is false after the last.
func (h *Handler) Sessions(to []Info, next netserver.Slot, match func(WorkerID) bool) (list []Info, then netserver.Slot, ok bool) {
	now := h.seconds()
	end := min(next+sessionsPart, h.top)
	for ; next < end; next++ {
		s := h.session(next)
		if s.client != 0 && match(h.logins.get(s.login).worker) {
			to = append(to, h.client(next).info(now))
		}
	}
	return to, next, next < h.top
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
		Difficulty: c.s.want, Best: c.s.best,
		DSPS1: float64(r.average[0]), DSPS5: float64(r.average[1]), DSPS60: float64(r.average[2]),
		DSPS1440: float64(r.average[3]), DSPS10080: float64(r.average[4]),
		LastShare: c.at(float64(c.s.lastShare)), Start: c.at(float64(c.s.start)),
		Address:    c.t.Remote(c.slot).Addr().String(),
		Subscribed: c.s.is(subscribed), Authorised: c.s.is(authorised),
		Idle:      max(c.s.lastShare, c.s.start).since(now) > idleTime,
		UserAgent: c.agents.get(c.s.agent), WorkerName: l.name, Worker: l.worker,
		Listener: int(c.s.listener),
	}
}

// each calls fn for one client, or for all that subscribed when id is 0,
// and returns how many there were.
func (h *Handler) each(id uint64, fn func(client)) int {
	if id != 0 {
		slot, ok := h.byID[id]
		if !ok {
			return 0
		}
		fn(h.client(slot))
		return 1
	}
	n := 0
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		if s := h.session(slot); s.client != 0 && s.is(subscribed) {
			fn(h.client(slot))
			n++
		}
	}
	return n
}

// Message shows a text on one client, or on all when id is 0.
func (h *Handler) Message(id uint64, text string) int {
	return h.each(id, func(c client) { c.showMessage(text) })
}

// MessageUser shows a text on the miners of a user.
func (h *Handler) MessageUser(user, text string) (n int) {
	h.each(0, func(c client) {
		if c.s.login != 0 && c.logins.get(c.s.login).user == user {
			c.showMessage(text)
			n++
		}
	})
	return n
}

// Send writes a line, its LF included, to one client.
func (h *Handler) Send(id uint64, line []byte) int {
	return h.each(id, func(c client) { c.write(append(h.out[:0], line...)) })
}

// Reconnect sends client.reconnect to one client, or to all when id is 0.
// An empty host means the address the miner already uses. Who is still there
// after a minute is closed: not every miner knows the message.
func (h *Handler) Reconnect(id uint64, host, port string) int {
	t := told{at: h.seconds()}
	n := h.each(id, func(c client) {
		c.write(stratum.AppendReconnect(h.out[:0], host, port))
		t.clients = append(t.clients, c.s.client)
	})
	if n > 0 {
		h.told = append(h.told, t)
	}
	return n
}

// told are clients that were told to reconnect.
type told struct {
	at      float64 // seconds, as Handler.seconds
	clients []uint64
}

const reconnectTime = 60 // seconds to follow the message

// closeTold closes the clients that did not reconnect in time.
func (h *Handler) closeTold(now float64) {
	for len(h.told) > 0 && now-h.told[0].at > reconnectTime {
		for _, id := range h.told[0].clients {
			h.Drop(id, netserver.Dropped)
		}
		h.told = h.told[1:]
	}
}

// Drop closes one client, or all when id is 0.
func (h *Handler) Drop(id uint64, why netserver.Reason) int {
	if id != 0 {
		n := h.each(id, func(c client) { c.t.Close(c.slot, why) })
		h.seen.closed(id)
		return n
	}
	n := 0
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		if s := h.session(slot); s.client != 0 {
			h.t.Close(slot, why)
			n++
		}
	}
	return n
}

// Idle counts the authorised miners without a share for a minute.
func (h *Handler) Idle() (n int) {
	now := h.seconds()
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		s := h.session(slot)
		if s.client != 0 && s.is(authorised) && max(s.lastShare, s.start).since(now) > idleTime {
			n++
		}
	}
	return n
}

// Size is the memory of one session, in bytes.
const Size = int64(unsafe.Sizeof(session{}))

// Remembered counts the shares kept to find duplicates.
func (h *Handler) Remembered() int {
	return h.seen.len()
}
