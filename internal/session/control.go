package session

import (
	"encoding/hex"
	"unsafe"

	"ckpool/internal/netserver"
	"ckpool/stratum"
)

// The methods here serve operators; they run on the loop's goroutine.

// Sessions appends what is known of every connected miner.
func (h *Handler) Sessions(to []Info) []Info {
	now := h.seconds()
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		if s := h.session(slot); s.client != 0 {
			to = append(to, h.info(slot, s, now))
		}
	}
	return to
}

func (h *Handler) info(slot netserver.Slot, s *session, now float64) Info {
	l := h.logins.get(s.login)
	r := s.rates
	r.decay(now)
	return Info{
		ID: s.client, Extranonce1: hex.EncodeToString(s.extranonce1Bytes()),
		Difficulty: s.want, Best: s.best,
		DSPS1: float64(r.average[0]), DSPS5: float64(r.average[1]), DSPS60: float64(r.average[2]),
		DSPS1440: float64(r.average[3]), DSPS10080: float64(r.average[4]),
		LastShare: h.at(s.lastShare), Start: h.at(s.start),
		Address:    h.t.Remote(slot).Addr().String(),
		Subscribed: s.is(subscribed), Authorised: s.is(authorised),
		Idle:      now-max(s.lastShare, s.start) > idleTime,
		UserAgent: h.agents.get(s.agent), WorkerName: l.name, Worker: l.worker,
		Listener: int(s.listener),
	}
}

// each calls fn for one client, or for all that subscribed when client is 0,
// and returns how many there were.
func (h *Handler) each(client uint64, fn func(netserver.Slot, *session)) int {
	if client != 0 {
		slot, ok := h.byID[client]
		if !ok {
			return 0
		}
		fn(slot, h.session(slot))
		return 1
	}
	n := 0
	for slot := netserver.Slot(0); slot < h.top; slot++ {
		if s := h.session(slot); s.client != 0 && s.is(subscribed) {
			fn(slot, s)
			n++
		}
	}
	return n
}

// Message shows a text on one client, or on all when client is 0.
func (h *Handler) Message(client uint64, text string) int {
	return h.each(client, func(slot netserver.Slot, _ *session) { h.showMessage(slot, text) })
}

// Reconnect sends client.reconnect to one client, or to all when client is 0.
// An empty host means the address the miner already uses.
func (h *Handler) Reconnect(client uint64, host, port string) int {
	return h.each(client, func(slot netserver.Slot, _ *session) {
		h.write(slot, stratum.AppendReconnect(h.out[:0], host, port))
	})
}

// Drop closes one client, or all when client is 0.
func (h *Handler) Drop(client uint64, why netserver.Reason) int {
	if client != 0 {
		return h.each(client, func(slot netserver.Slot, _ *session) { h.t.Close(slot, why) })
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
		if s.client != 0 && s.is(authorised) && now-max(s.lastShare, s.start) > idleTime {
			n++
		}
	}
	return n
}

// Size is the memory of one session, in bytes.
const Size = int64(unsafe.Sizeof(session{}))

// Remembered counts the shares kept to find duplicates.
func (h *Handler) Remembered() int {
	h.seen.mu.Lock()
	defer h.seen.mu.Unlock()
	return h.seen.young.len() + h.seen.old.len()
}
