package pool

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/work"
)

// Config is how a pool is to be. A field that is zero has its default; only Dir, and but
// with [Upstreams] also Payees, must be set.
type Config struct {
	// Dir is the directory of the pool's files, which [New] makes: statistics of pool and
	// users (pool/pool.status, users/NAME), which package sharelog reads, blocks
	// (pool/blocks.json, and in pool/blocks those that no node has confirmed yet), figures
	// over time (history), and sessions that miners may resume. A pool goes on counting
	// from what an earlier one has left there.
	// Each pool has a directory of its own: New fails where another one of this package runs
	// in it. A daemon (ckpool) whose logdir it is is not noticed.
	Dir string

	// Payees are whom a block pays: each has Share of the sum of all shares, so that two
	// payees with a Share of 1 have half of the reward each, and shares of 99 and 1 are a
	// fee of one percent. All but one are paid their part rounded down to a satoshi, and
	// that one, the first or the [Finder], what is left of the reward. Who would have less
	// than a satoshi has no output in that block.
	//
	// At most [MaxPayees], all of them of the network that the nodes are on: that is
	// checked when the nodes are asked, and [Pool.Run] ends with an error where it is not so.
	// None with Upstreams: there the other pools pay.
	Payees []Payee

	// Tag is the name of the pool, 1 to 64 bytes: it is in each coinbase, and miners are
	// greeted with it. Default "ckpool".
	Tag string

	// Listen are where miners connect to. Default: port 3333 of all addresses, with
	// Upstreams port 3334.
	Listen []Listener

	// MinDifficulty, StartDifficulty and MaxDifficulty are of shares: the least and the
	// most that a miner is given, and what it begins with. A difficulty of 1 is about 2^32
	// hashes. Defaults 0.0001, 42, and no most.
	MinDifficulty, StartDifficulty, MaxDifficulty float64

	// MaxClients is how many miners may be connected. Default: nine tenths of the
	// descriptors that the process may have open, less what the pool itself needs. The
	// limit of the process is not changed. A program that has other files and connections
	// open than those of one pool sets MaxClients.
	MaxClients int
	// MaxClientsPerAddress is how many of them may come from one address that is neither
	// loopback nor private. Default: no limit.
	MaxClientsPerAddress int

	// Events is told what an operator wants to know, in texts with a level; nil: nobody
	// is. It is called from any goroutine, those that serve miners among them, and must
	// not block. Event.What is for this module's own use, but for values of types that
	// public packages have for it, such as bitcoind.NodeChange. Levels are Info and more
	// severe, and for some things Debug.
	Events event.Func
}

// Listener is an address that miners connect to.
type Listener struct {
	// Address is host:port, [v6]:port, or :port for all addresses. Port 0 is any free
	// one, see [Pool.Addrs].
	Address string
	// Difficulties of who connects here, where they are not those of the pool.
	MinDifficulty, StartDifficulty, MaxDifficulty float64
	// CertFile and KeyFile, both or none, make it TLS (stratum+ssl): a certificate with
	// its chain and its key in PEM. They are read again within seconds when they change.
	CertFile, KeyFile string
}

// Payee is who has a part of each block.
type Payee struct {
	Address string // or [Finder]
	Share   uint64 // 1 or more
}

// Finder stands for an address in a [Payee]: the miner who finds the block. Each miner's
// user name must be an address then, which may have .name behind it.
const Finder = "finder"

// MaxPayees is how many payees there may be. With them a coinbase has less than 750 bytes,
// which all miners take but those of microcontrollers: these take 255, which leaves room
// for two or three.
const MaxPayees = 10

// errorList are errors of a Config.
type errorList []error

// add says what is wrong with a field.
func (e *errorList) add(field, format string, args ...any) {
	*e = append(*e, fmt.Errorf("pool: Config.%s: "+format, append([]any{field}, args...)...))
}

// fill makes the configuration of the core, with its defaults and its checks, and whom
// blocks pay. The error has all that is wrong, by fields.
func (c *Config) fill(s *Source) (filled config.Config, payout jobs.Payout, err error) {
	var errs errorList
	mode := config.Pool
	switch {
	case s.upstreams != nil:
		mode = config.Proxy
	case c.solo():
		mode = config.Solo
	}
	filled = config.Default(mode)
	filled.LogDir = c.Dir
	if c.Dir == "" {
		errs.add("Dir", "it must be set")
	}
	filled.PoolTag = cmp.Or(c.Tag, filled.PoolTag)
	if len(c.Tag) > maxTag {
		errs.add("Tag", "%d bytes, at most %d have room", len(c.Tag), maxTag)
	}
	limit := func(field string, value int, to *int) {
		if *to = value; value < 0 || value > math.MaxInt32 {
			errs.add(field, "%d", value)
		}
	}
	limit("MaxClients", c.MaxClients, &filled.MaxClients)
	limit("MaxClientsPerAddress", c.MaxClientsPerAddress, &filled.MaxConnectionsPerAddress)
	errs.difficulties("", c.MinDifficulty, c.StartDifficulty, c.MaxDifficulty, &filled.MinDiff, &filled.StartDiff, &filled.MaxDiff)
	c.fillListeners(&filled, &errs)
	if mode == config.Proxy {
		if len(c.Payees) > 0 {
			errs.add("Payees", "there are none with upstreams, which pay")
		}
	} else {
		payout = c.payout(&errs)
		filled.BTCAddress = payout.Rest.Address
	}
	s.fill(&filled, &errs)
	if len(errs) == 0 { // what follows takes for granted that each is right
		words := strings.NewReplacer("mindiff", "MinDifficulty", "maxdiff", "MaxDifficulty", "btcaddress", payout.Rest.Name)
		for _, e := range filled.Validate(mode) {
			errs = append(errs, fmt.Errorf("pool: Config: %s", words.Replace(e.Error())))
		}
	}
	return filled, payout, errors.Join(errs...)
}

// maxTag is what the coinbase has room for, in bytes.
const maxTag = 64

// difficulties replaces defaults by what is set. of is before the names of the fields.
func (e *errorList) difficulties(of string, least, start, most float64, to ...*float64) {
	for i, name := range []string{"MinDifficulty", "StartDifficulty", "MaxDifficulty"} {
		switch d := []float64{least, start, most}[i]; {
		case d == 0:
		case !(d > 0) || math.IsInf(d, 1): // also NaN
			e.add(of+name, "%v", d)
		default:
			*to[i] = d
		}
	}
}

func (c *Config) fillListeners(filled *config.Config, errs *errorList) {
	list := c.Listen
	if len(list) == 0 {
		list = []Listener{{Address: filled.Servers[0].URL}}
	}
	filled.Servers = nil
	for i, l := range list {
		field := fmt.Sprintf("Listen[%d]", i)
		s := config.Listener{
			Key: field, URL: l.Address, TLSCert: l.CertFile, TLSKey: l.KeyFile,
			MinDiff: filled.MinDiff, StartDiff: filled.StartDiff, MaxDiff: filled.MaxDiff,
		}
		errs.difficulties(field+".", l.MinDifficulty, l.StartDifficulty, l.MaxDifficulty, &s.MinDiff, &s.StartDiff, &s.MaxDiff)
		if l.Address == "" {
			errs.add(field+".Address", "it must be set")
		}
		if (l.CertFile == "") != (l.KeyFile == "") {
			errs.add(field, "CertFile and KeyFile are for both to be set, or none")
		}
		filled.Servers = append(filled.Servers, s)
	}
	if len(list) > maxListeners {
		errs.add("Listen", "%d, at most %d", len(list), maxListeners)
	}
}

// maxListeners: each miner remembers in a byte which one it came by.
const maxListeners = 256

// solo tells that the finder of a block is paid.
func (c *Config) solo() bool {
	for _, p := range c.Payees {
		if p.Address == Finder {
			return true
		}
	}
	return false
}

// payout is whom blocks pay.
func (c *Config) payout(errs *errorList) (p jobs.Payout) {
	if len(c.Payees) == 0 || len(c.Payees) > MaxPayees {
		errs.add("Payees", "%d, want 1 to %d", len(c.Payees), MaxPayees)
		return p
	}
	rest, sum := -1, uint64(0)
	networks := []address.Network{address.Main, address.Test, address.Regtest} // that all until here are on
	for i, payee := range c.Payees {
		field := fmt.Sprintf("Payees[%d].", i)
		if payee.Share == 0 || payee.Share > math.MaxUint64-sum {
			errs.add(field+"Share", "%d: want 1 or more, and a sum of all in 64 bits", payee.Share)
			return p
		}
		sum += payee.Share
		if payee.Address == Finder {
			if rest >= 0 {
				errs.add(field+"Address", "there is one finder, which is Payees[%d] already", rest)
			}
			rest = i
			continue
		}
		a, err := address.Parse(payee.Address)
		if err == nil {
			err = a.Payable()
		}
		if err != nil {
			errs.add(field+"Address", "%q: %w", payee.Address, err)
			continue
		}
		on := slices.DeleteFunc(slices.Clone(networks), func(n address.Network) bool { return !a.On(n) })
		if len(on) == 0 {
			errs.add(field+"Address", "%q is for %v, an address before it for %v", payee.Address, a.Network(), networks[0])
			continue
		}
		networks = on
	}
	rest = max(rest, 0)
	for i, payee := range c.Payees {
		one := jobs.Payee{Name: fmt.Sprintf("Config.Payees[%d].Address", i), Address: payee.Address, Part: work.Fraction{Num: payee.Share, Den: sum}}
		switch {
		case i != rest:
			p.Parts = append(p.Parts, one)
		case payee.Address != Finder:
			p.Rest = jobs.Payee{Name: one.Name, Address: one.Address}
		}
	}
	return p
}
