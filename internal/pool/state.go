package pool

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ckpool/address"
	"ckpool/difficulty"
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
	LogDir       string
	Solo         bool // user names must be payable addresses
	LogShares    bool
	Loops        int
	ListenerURLs []string // by listener index, for share logs
	Event        func(level int, text string)
}

// Settings are the part that may change while the pool runs.
type Settings struct {
	Name          string         // of the pool, as miners are greeted
	Password      string         // what miners must give; empty: nothing
	MaxUserAgents int            // entries of the list in pool.status, 0: no list
	NameExempt    []netip.Prefix // networks without a limit on new names per hour
}

// State is the users, the workers and the counts of one pool. Its methods may
// be called from any goroutine.
type State struct {
	// immutable
	cfg   Config
	start time.Time
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

	saving sync.Mutex          // one Tick or Save at a time
	sums   map[string]agentSum // guarded by saving; of the users saved since the pool was
}

// NewState starts empty; [State.Load] fills it from the files of an earlier run.
func NewState(cfg Config, now time.Time) *State {
	if cfg.Event == nil {
		cfg.Event = func(int, string) {}
	}
	cfg.Loops = max(cfg.Loops, 1)
	s := &State{
		cfg:      cfg,
		start:    now,
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
		s.log = newShareLog(cfg)
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

// stamp is a time in nanoseconds since the pool's start, by the monotonic
// clock: eight bytes that survive steps of the wall clock.
type stamp int64

const never stamp = math.MinInt64

func (s *State) stamp(t time.Time) stamp { return stamp(t.Sub(s.start)) }

// wall is the wall clock time of a stamp, seen from now; zero for never.
func (s *State) wall(t stamp, now time.Time) time.Time {
	if t == never {
		return time.Time{}
	}
	return now.Add(time.Duration(t - s.stamp(now))).Round(0)
}

// loaded is the stamp of a time read from a file; now where that is later.
func (s *State) loaded(t, now time.Time) stamp {
	if t.IsZero() {
		return never
	}
	return s.stamp(now) - stamp(max(now.Round(0).Sub(t), 0))
}

// seconds from earlier to t.
func (t stamp) seconds(earlier stamp) float64 {
	return time.Duration(t - earlier).Seconds()
}

// tally is what is counted for a worker and for a user alike.
type tally struct {
	rates     [len(windows)]difficulty.Average
	pending   float64 // credit not yet in the averages
	decayed   stamp   // when the averages were true
	lastShare stamp
	shares    float64 // credit in all
	best      float64 // of the round numbered round
	bestEver  float64
	round     uint32
}

// windows of the averages of users and workers, in seconds: 1, 5 minutes, 1
// hour, 1, 7 days.
var windows = [...]float64{60, 300, 3600, 86400, 604800}

func newTally(now stamp) tally {
	// An average that begins now loses nothing of the first share; one that
	// begins at the epoch would lose all of it.
	return tally{decayed: now, lastShare: never}
}

// credit counts an accepted share whose hash reached the difficulty achieved
// and reports whether it is the best of the round and the best ever.
func (t *tally) credit(now stamp, credit, achieved float64, round uint32) (best, ever bool) {
	t.shares += credit
	t.pending += credit
	t.lastShare = now
	t.decay(now)
	t.settle(round)
	if best = achieved > t.best; best {
		t.best = achieved
	}
	if ever = achieved > t.bestEver; ever {
		t.bestEver = achieved
	}
	return best, ever
}

// decay brings the averages up to now. Below 50 ms they wait for more.
func (t *tally) decay(now stamp) {
	seconds := now.seconds(t.decayed)
	if seconds < 0.05 {
		return
	}
	for i := range t.rates {
		t.rates[i].Decay(t.pending, seconds, windows[i])
	}
	t.pending = 0
	t.decayed = now
}

// settle forgets the best share of an earlier round and reports whether there
// was one.
func (t *tally) settle(round uint32) bool {
	if t.round == round {
		return false
	}
	had := t.best != 0
	t.best, t.round = 0, round
	return had
}

// idleAfter is how long a worker counts as busy after a share.
const idleAfter = stamp(time.Minute)

func (t *tally) idle(now stamp) bool {
	return t.lastShare == never || now-t.lastShare > idleAfter
}

// decayIdle lets the averages fall where no share does it.
func (t *tally) decayIdle(now stamp) {
	if t.idle(now) {
		t.decay(now)
	}
}
