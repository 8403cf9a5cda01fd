package users

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
)

// Config is what Users need of the configuration.
type Config struct {
	Settings

	// fixed for their life
	LogDir    string
	Solo      bool // user names must be payable addresses
	Proxy     bool // blocks are another pool's: no round ends, and none has an effort
	LogShares bool
	Loops     int
	Accounts  Accounts   // who is asked whether users may mine; nil: all may
	Events    event.Func // also told by loops
}

// Settings are the part that may change while the pool runs.
type Settings struct {
	Name          string         // of the pool, as miners are greeted
	Password      string         // what miners must give; empty: nothing
	MaxUserAgents int            // entries of the list in pool.status, 0: no list
	NameExempt    []netip.Prefix // networks without a limit on new names per hour
	ListenerURLs  []string       // by listener index, for share logs
}

// Users are the users and the workers of one pool, and what is counted of them.
// Their methods may be called from any goroutine.
type Users struct {
	// immutable
	cfg Config
	clock
	directory directory
	shareLog  *shareLog // nil without share logs

	// synchronised in themselves
	settings  atomic.Pointer[Settings]
	totals    totals
	agents    agents
	remotes   remotes
	elsewhere elsewhere
	refusals  window[refusal]
	newNames  window[netip.Prefix]
	round     atomic.Uint32 // counts rounds; best shares of another one are void
	network   atomic.Int32  // an address.Network, -1 while unknown
	netDiff   atomic.Uint64 // bits of a float64
	active    atomic.Int64  // users with a miner connected
	workers   atomic.Int64  // connected miners
	copies    atomic.Uint32 // number of the latest copy for another process

	written time.Time // when the statistics of an earlier run were; zero: there were none; immutable after Load

	files chan struct{} // capacity 1; full while files are written, see HoldFiles

	// owned by who has filled files
	sums  map[string]agentSum // of the users written since pool.status was, by user agent
	moved bool                // another process has taken over: the files are its own
}

// New starts empty; [Users.Load] fills it from the files of an earlier run.
func New(cfg Config, now time.Time) *Users {
	cfg.Loops = max(cfg.Loops, 1)
	s := &Users{
		cfg:      cfg,
		clock:    clock{now},
		refusals: newRefusals(),
		newNames: newNameLimit(),
		files:    make(chan struct{}, 1),
	}
	s.Set(cfg.Settings)
	s.directory.init()
	s.remotes.init()
	s.elsewhere.pools = map[string]map[string]int{}
	s.totals.init(cfg.Loops)
	s.agents.devices = make(map[string]int64)
	s.round.Store(1)
	s.network.Store(-1)
	if cfg.LogShares {
		s.shareLog = newShareLog(s)
	}
	return s
}

// Set changes the settings.
func (s *Users) Set(settings Settings) { s.settings.Store(&settings) }

// SetNetwork tells the chain's network once it is known. Until then addresses
// of every network may log in.
func (s *Users) SetNetwork(n address.Network) { s.network.Store(int32(n)) }

// SetNetworkDifficulty tells the difficulty of the present work.
func (s *Users) SetNetworkDifficulty(d float64) { s.netDiff.Store(math.Float64bits(d)) }

func (s *Users) networkDifficulty() float64 { return math.Float64frombits(s.netDiff.Load()) }

// ResetRound begins a new round: after an own block, and for resetshares. Best
// shares of the round and the pool's counts begin at zero; totals of users and
// their best shares ever stay.
func (s *Users) ResetRound() {
	s.round.Add(1)
	s.totals.resetRound()
}
