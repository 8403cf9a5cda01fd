//go:build linux

package netserver

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/event"
)

// Drop is an event: a connection that was refused, or that was closed for what it
// did. One of each reason is told a minute.
type Drop struct {
	Addr  netip.Addr // of the peer
	Why   Reason
	Count uint64 // of connections with that reason since it was last told, this one included
}

// eventKind is something that Config.Events is told of once a minute: a Reason,
// or one of these.
type eventKind int

const (
	eventNoResources eventKind = eventKind(Reasons) + iota
	eventKinds
)

const eventEvery = time.Minute

// reported is when an event was, and how many drops there were until then.
type reported struct {
	at    time.Time
	drops uint64
}

// report passes a warning on, one of a kind each minute.
func (s *Server) report(kind eventKind, text string) {
	if _, due := s.due(kind, 0); due {
		s.config.Events.Say(event.Warning, text)
	}
}

// reportDrop says whom a reason drops, one of each a minute with the number of
// all since the last. It is counted already.
func (s *Server) reportDrop(why Reason, addr netip.Addr, detail string) {
	if why.logged() {
		s.reportEnd("Dropped", why, addr, detail)
	}
}

// reportEnd is reportDrop, in other words and whatever the reason.
func (s *Server) reportEnd(what string, why Reason, addr netip.Addr, detail string) {
	var drops uint64
	for _, l := range s.loops {
		drops += l.counters.drops[why].Load()
	}
	since, due := s.due(eventKind(why), drops)
	if !due {
		return
	}
	text := fmt.Sprintf("%s %s: %s", what, addr, why)
	if detail != "" {
		text += ": " + detail
	}
	if since > 1 {
		text += fmt.Sprintf(" (%d since the last such line)", since)
	}
	s.config.Events.Tell(event.Event{Level: event.Notice, Text: text, What: Drop{Addr: addr, Why: why, Count: since}})
}

// due tells whether an event may be told again, and how many drops there were
// since it was.
func (s *Server) due(kind eventKind, drops uint64) (since uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, now := &s.reported[kind], time.Now()
	if !r.at.IsZero() && now.Sub(r.at) < eventEvery {
		return 0, false
	}
	since = drops - r.drops
	*r = reported{now, drops}
	return since, true
}
