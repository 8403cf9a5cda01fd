package pool

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/upstream"
	"github.com/ckpool/ckpool/internal/wire"
)

// Sections of a handover. The numbers are part of the format; whether one that is
// new may be left out by an older version its number says, see handover.Kind.
const (
	sectionListeners handover.Kind = handover.FirstSection + iota
	sectionUsers
	sectionJob
	sectionSeen
	sectionStandstill
	sectionJobs
	sectionCounts
	sectionRegistry
	sectionLimits
	sectionCandidates
	sectionSessions
	sectionBlocks
)

const (
	// An older version makes connections of its own, and the shares on these are unanswered.
	sectionUpstreams    = handover.LeftOut + iota // what is known of other pools
	sectionUpstreamLine                           // a connection to one, with its socket
	sectionLeft                                   // shares that wait for one, of miners that do not move

	// An older version ends links, and the miners behind them are served again over new ones.
	sectionLink     // one, with its socket
	sectionChannels // miners behind one

	// sectionLogins is of users that have accounts of their own at other pools.
	sectionLogins = handover.LeftOut | 32

	// What is left of an account that an older version makes anew.
	sectionLoginLine   = handover.LeftOut | 34 // a connection of a user's own, with its socket
	sectionLoginsAhead = handover.LeftOut | 35 // users whose connections cannot move

	// sectionRemotes is up to where shares of trusted remotes are counted.
	sectionRemotes = handover.LeftOut | 33
)

// Versions of the records written here; older ones are read.
const (
	standstillVersion = 1
	sessionsVersion   = 1
	linksVersion      = 1
)

// Instance is what a process that takes over must agree with.
type Instance struct {
	Mode         string `json:"mode,omitempty"` // of what is no pool
	Solo         bool   `json:"solo"`
	Proxy        bool   `json:"proxy,omitempty"`
	UserProxy    bool   `json:"userproxy,omitempty"`
	Nonce1Length int    `json:"nonce1length"`
	Nonce2Length int    `json:"nonce2length"`
	Loops        int    `json:"loops"`
	Miners       int    `json:"miners"`           // about how many are to come
	Ckdb         bool   `json:"ckdb,omitempty"`   // is asked who may mine
	Remote       bool   `json:"remote,omitempty"` // reports to a main pool
	// Upstreams are the other pools that there is work of.
	Upstreams  []upstream.Standing `json:"upstreams,omitempty"`
	LastSource uint32              `json:"lastsource,omitempty"` // number
}

// WithCkdb tells whether the pool that describes itself like this asks ckdb. So does
// the one that takes over from it, even if ckdb is away at this moment.
func WithCkdb(instance json.RawMessage) bool {
	var i Instance
	return json.Unmarshal(instance, &i) == nil && i.Ckdb
}

func instanceOf(p *Pool) Instance {
	c := p.config.Load()
	i := Instance{
		Solo: p.options.Solo, Proxy: p.options.Proxy, UserProxy: p.options.UserProxy, Nonce1Length: c.Nonce1Length, Nonce2Length: c.Nonce2Length,
		Loops: len(p.miners.Handlers), Miners: p.Miners(), Ckdb: p.accounts != nil, Remote: p.reporter != nil,
	}
	if p.upstreams != nil {
		i.Upstreams, i.LastSource = p.upstreams.Standing()
	}
	return i
}

// agrees says why connected miners could not go on in another pool.
func (i Instance) agrees(with Instance) error {
	mode := func(i Instance) string {
		switch {
		case i.Mode != "":
			return i.Mode
		case i.UserProxy:
			return "user proxy"
		case i.Proxy:
			return "proxy"
		case i.Solo:
			return "solo"
		case i.Remote:
			return "trusted remote"
		}
		return "pool"
	}
	const restart = ": this cannot change while miners are connected, stop the running instance first"
	switch {
	case mode(i) != mode(with):
		return fmt.Errorf("this is a %s, the running instance a %s%s", mode(i), mode(with), restart)
	case i.Nonce1Length != with.Nonce1Length:
		return fmt.Errorf("nonce1length is %d, in the running instance %d%s", i.Nonce1Length, with.Nonce1Length, restart)
	case i.Nonce2Length != with.Nonce2Length:
		return fmt.Errorf("nonce2length is %d, in the running instance %d%s", i.Nonce2Length, with.Nonce2Length, restart)
	}
	return nil
}

// standstill is when and how a pool stood still.
type standstill struct {
	at        time.Time          // wall clock
	sessions  float64            // clock of the sessions, seconds
	rejecting bool               // an operator has stopped accepting
	changes   authority.Position // up to where those of accounts are known
}

func (m *standstill) fields(c *wire.Codec) {
	at := m.at.UnixNano()
	wire.Int(c, &at)
	wire.Float(c, &m.sessions)
	if c.Bool(&m.rejecting); c.Reading() {
		m.at = time.Unix(0, at)
	}
	c.Text(&m.changes.Store)
	wire.Word(c, &m.changes.Number)
}

func (m *standstill) append(b []byte) []byte {
	c := wire.Append(b)
	c.Versioned(standstillVersion, m.fields)
	return c.Written()
}

// maxPause bounds how far a standstill is taken to be in the past: the wall clock
// may have been set meanwhile.
const maxPause = time.Minute

func readStandstill(record []byte, now time.Time) (m standstill, err error) {
	c := wire.Read(record)
	c.Versioned(standstillVersion, m.fields)
	// By the monotonic clock, as every other time of the pool.
	m.at = now.Add(-min(max(now.Round(0).Sub(m.at), 0), maxPause))
	if err := c.Done(); err != nil {
		return m, fmt.Errorf("standstill: %w", err)
	}
	return m, nil
}

// batchRecord is at the head of connections with their sessions.
type batchRecord struct {
	loop uint16 // that they were on
}

func (k *batchRecord) fields(c *wire.Codec) { wire.Uint(c, &k.loop) }
