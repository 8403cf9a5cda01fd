// Package firmware simulates the miners a pool meets: for each family of
// firmware the messages it sends, in its order and form, and a parser as strict
// as the real one, with its buffers, guesses, memory and omissions. A simulated
// device hashes for real. It reports as losses what would cost the real device
// shares, beside the shares the pool rejects. The package knows the wire alone,
// nothing of the pool behind it.
//
// What each family does was read from its source code where that is public, and
// from reports of pool operators where not.
package firmware

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"
)

// Family is one kind of firmware.
type Family struct {
	Name      string
	UserAgent string // what it subscribes with; empty: no parameter at all
	// Extranonce2 sizes in bytes it can mine with.
	MinExtranonce2, MaxExtranonce2 int

	traits traits
}

// Options of a device; zero values mean what is said.
type Options struct {
	Password   string        // empty: "x"
	Session    string        // id to resume, where the firmware can
	Suggest    float64       // difficulty it suggests or asks for as minimum; 0: the firmware's default, below 0: none
	HashRate   float64       // hashes per second at most; 0: as fast as it goes
	ShareRate  float64       // shares per second at most; 0: no limit
	Window     int           // submits without a reply at most; 0: 64
	BlockEvery time.Duration // withholds hashes that solve a block, but one in this time; 0: none
	Withhold   func() bool   // tells, of each hash that solves a block, that it is withheld; nil: none is
	KeepAlive  time.Duration // for firmware that speaks when idle; 0: the firmware's default
	// Dial opens the connection; nil: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Stats is what a device has seen and done. Maps and slices are the device's
// own: read them, and only until it goes on mining.
type Stats struct {
	Submitted, Accepted, Rejected int
	Rejects                       map[string]int // rejected shares by the pool's text
	Worked                        float64        // sum of the difficulties the accepted shares were mined at
	Hashes                        uint64
	Best                          float64 // highest difficulty of a submitted hash
	Blocks                        int     // accepted shares that met the target of their job's bits

	Jobs, CleanJobs int
	Difficulty      float64   // that new work is mined at
	Difficulties    []float64 // received, in order
	Reconnects      int       // client.reconnect messages
	Messages        []string  // client.show_message texts

	// Losses say where a real device of this family would lose shares.
	Losses []string
}

// Failure is the first reason why the device lost shares, "" if it lost none:
// a loss, a rejected share, or a share without a reply.
func (s Stats) Failure() string {
	if len(s.Losses) > 0 {
		return s.Losses[0]
	}
	for _, text := range slices.Sorted(maps.Keys(s.Rejects)) {
		return "share rejected: " + text
	}
	if s.Submitted != s.Accepted {
		return "share without a reply"
	}
	return ""
}

// maxLosses bounds the list; more of them say nothing new.
const maxLosses = 100

// lose notes where the real device would lose shares.
func (s *Stats) lose(format string, args ...any) {
	if len(s.Losses) < maxLosses {
		s.Losses = append(s.Losses, fmt.Sprintf(format, args...))
	}
}

// count notes the verdict on a share.
func (s *Stats) count(sh share, in *incoming) {
	if string(in.Result) != "true" || !isNull(in.Error) {
		s.Rejected++
		s.Rejects[rejection(in)]++
		return
	}
	s.Accepted++
	s.Worked += sh.difficulty
	if sh.block {
		s.Blocks++
	}
}

// Find returns the family with that name.
func Find(name string) (Family, bool) {
	for _, f := range Families() {
		if f.Name == name {
			return f, true
		}
	}
	return Family{}, false
}
