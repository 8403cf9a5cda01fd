package pool

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/address"
)

// Levels of Config.Event, those of syslog.
const (
	levelError   = 3
	levelWarning = 4
	levelNotice  = 5
)

// Config is what a State needs of the configuration.
type Config struct {
	Settings

	// fixed for the life of the State
	LogDir    string
	Solo      bool // user names must be payable addresses
	LogShares bool
	Loops     int
	Event     func(level int, text string)
}

// Settings are the part that may change while the pool runs.
type Settings struct {
	Name          string         // of the pool, as miners are greeted
	Password      string         // what miners must give; empty: nothing
	MaxUserAgents int            // entries of the list in pool.status, 0: no list
	NameExempt    []netip.Prefix // networks without a limit on new names per hour
	ListenerURLs  []string       // by listener index, for share logs
}

// State is the users, the workers and the counts of one pool. Its methods may
// be called from any goroutine.
type State struct {
	// immutable
	cfg Config
	clock
	names registry
	log   *shareLog // nil without share logs

	// synchronised in themselves
	settings atomic.Pointer[Settings]
	totals   totals
	agents   agents
	refusals window[refusal]
	newNames window[netip.Prefix]
	round    atomic.Uint32 // counts rounds; best shares of another one are void
	network  atomic.Int32  // an address.Network, -1 while unknown
	netDiff  atomic.Uint64 // bits of a float64
	users    atomic.Int64  // with a miner connected
	workers  atomic.Int64  // connected miners
	copies   atomic.Uint32 // made of users and workers for another process

	saving sync.Mutex          // one Tick or Save at a time
	sums   map[string]agentSum // guarded by saving; of the users saved since the pool was
	left   bool                // guarded by saving; another process has taken over
}

// NewState starts empty; [State.Load] fills it from the files of an earlier run.
func NewState(cfg Config, now time.Time) *State {
	if cfg.Event == nil {
		cfg.Event = func(int, string) {}
	}
	cfg.Loops = max(cfg.Loops, 1)
	s := &State{
		cfg:      cfg,
		clock:    clock{now},
		refusals: newRefusals(),
		newNames: newNameLimit(),
	}
	s.Reload(cfg.Settings)
	s.names.init()
	s.totals.init(cfg.Loops)
	s.agents.devices = make(map[string]int64)
	s.round.Store(1)
	s.network.Store(-1)
	if cfg.LogShares {
		s.log = newShareLog(cfg, &s.settings)
	}
	return s
}

// Reload changes the settings.
func (s *State) Reload(settings Settings) { s.settings.Store(&settings) }

// SetNetwork tells the chain's network once it is known. Until then addresses
// of every network may log in.
func (s *State) SetNetwork(n address.Network) { s.network.Store(int32(n)) }

// SetNetworkDifficulty tells the difficulty of the present work.
func (s *State) SetNetworkDifficulty(d float64) { s.netDiff.Store(math.Float64bits(d)) }

func (s *State) networkDifficulty() float64 { return math.Float64frombits(s.netDiff.Load()) }

// ResetRound begins a new round: after an own block, and for resetshares. Best
// shares of the round and the pool's counts begin at zero; totals of users and
// their best shares ever stay.
func (s *State) ResetRound() {
	s.round.Add(1)
	s.totals.resetRound()
}
