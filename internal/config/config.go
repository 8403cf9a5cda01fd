// Package config reads ckpool's configuration file: positions in errors,
// defaults, unknown keys. It knows what the keys mean and which values they
// take; it opens no other file, resolves no name and asks no node, so what only
// those can tell (a chain's address prefix, a port in use) is for the caller.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/poolproto"
)

// Mode is what the instance does. It decides which keys are required and the
// default listen port.
type Mode uint8

const (
	Pool Mode = iota
	Solo
	Proxy
	UserProxy
	Passthrough
	Redirector
	Node
	Remote // trusted remote
)

// relays reports whether the mode only brings miners to another pool, where they have
// accounts of their own.
func (m Mode) relays() bool { return m >= Passthrough && m <= Node }

// upstreams reports whether the mode takes work from other pools.
func (m Mode) upstreams() bool { return m >= Proxy && m <= Node }

// Config is the content of a configuration file, defaults filled in. Keys of
// all modes are read in every mode.
type Config struct {
	File string // as it was named

	// Nodes is "btcd", in order of preference. "zmqblock" stands in ZMQ of the
	// first node that has no "zmq" of its own; the default endpoint does so only
	// for a node on this machine.
	Nodes          []bitcoind.Config
	BlockPoll      time.Duration
	UpdateInterval time.Duration

	Solo         bool // blocks pay the miners who find them
	BTCAddress   string
	BTCSig       string // at most 38 bytes
	PoolTag      string
	DonAddress   string
	Donation     float64 // percent: 0, or 0.1 to 99.9
	VersionMask  uint32
	Nonce1Length int // bytes, 2 to 8
	Nonce2Length int // bytes, 2 to 8; 0 in the proxy modes: automatic

	Servers            []Listener // "serverurl", "nodeserver", "trusted" and "passthroughserver", in this order
	LinkSecret         string     // that other pools must give for a link, and are given; "" none
	MinDiff, StartDiff float64
	MaxDiff            float64 // 0: none
	HighDiff           float64 // 0: no port is for high difficulty

	Proxies                []Upstream    // "proxy", in order of preference
	ProxyHold              time.Duration // that a better upstream must have had work before miners go back to it; 0: none
	MaxConnectionsPerProxy int           // to one upstream, 1 or more
	MaxUserProxies         int           // upstreams of single users; 0: none
	Upstream               Upstream      // main pool of a trusted remote
	RedirectURLs           []string
	ReconnectsPerSecond    int // miners asked to connect again in a second when their pool changes, 1 or more

	LogDir            string
	LogLevel          int           // 0 to 7; -1: not given
	Journal           string        // directory, in LogDir unless absolute; "" is not in the file
	JournalSync       time.Duration // what a power cut may cost
	JournalSize       int64         // bytes
	Metrics           string        // host:port that Prometheus asks; "": none
	UserAgents        []string      // prefixes that may connect; empty: all
	MaxPoolUserAgents int
	Password          string        // what miners must give; empty: anything
	DropIdle          time.Duration // 0: never
	DropWithoutWork   time.Duration // 0: never
	AllowLowDiff      bool          // accepted, has no effect

	HTTP                HTTP           // where pages are served
	HTTPBase            string         // path that all of them are below, such as "/pool"; "" none
	HTTPTrustedNetworks []netip.Prefix // of reverse proxies, whose word on clients' addresses is taken
	HTTPOrigins         []string       // of other sites whose scripts may read what is public; "*" all
	PrivateUsers        []string       // who are shown to nobody; "*" all

	Notify []Target // who hears of what happens

	MaxClients                int // 0: 90 % of the descriptor limit
	MaxLine                   int // bytes
	MaxConnectionsPerAddress  int // 0: no limit, as for the three below
	NewConnectionsPerSecond   int // per address
	NewConnectionsBurst       int
	MaxUnauthorisedPerAddress int
	LimitExempt               []netip.Prefix // no limits per address here
	TrustedNetworks           []netip.Prefix // may speak the PROXY protocol where a listener has none of its own; empty: loopback and private
}

// Listener is an address to listen on, its difficulties resolved against the
// global ones.
type Listener struct {
	Key                         string         // where it stands in the file, such as "serverurl[0]"
	Links                       poolproto.Role // links that it is for, beside miners; 0 none
	URL                         string
	MinDiff, StartDiff, MaxDiff float64 // MaxDiff 0: none
	HighDiff                    float64 // above 0 on a high difficulty listener
	PublicURL                   string  // that miners find it at; "": not told
	TLSCert, TLSKey             string  // both or none
	ProxyProtocol               bool
	TrustedNetworks             []netip.Prefix // may speak the PROXY protocol here; empty: the global ones
}

// Upstream is one entry of "proxy": another pool, and an account there.
type Upstream struct {
	URL        string // host:port, or host for port 3333, perhaps behind a scheme
	User, Pass string
	Weight     float64 // its part of the hash rate beside the weights of others; 0: none, it gets what those before it do not take
	SOCKS5     string  // host:port of the SOCKS5 proxy to go through, or USER:PASSWORD@ before that; empty: none
	Pin        []byte  // SHA-256 of the public key (SubjectPublicKeyInfo in DER) that a certificate must have, whoever signed it; nil: one that the system trusts
	Agent      string  // name to give; empty: ckpool's own
}

// Warning is something odd in a file that is used all the same.
type Warning struct {
	File string
	Line int // from 1; 0: the file as a whole
	Text string
}

func (w Warning) String() string { return position(w.File, w.Line) + w.Text }

// Error is a value the configuration cannot have.
type Error struct {
	File         string
	Line, Column int // from 1, in bytes; 0: the file as a whole
	Key          string
	Want, Got    string
	Text         string // instead of Key, Want and Got
	Unknown      bool   // a key that is not ours and may be ignored

	meant   string   // the key that an unknown one stands for
	missing []string // keys of which one would have been enough
}

func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = fmt.Sprintf("%q: want %s, got %s", e.Key, e.Want, e.Got)
	}
	return position(e.File, e.Line) + text
}

// Errors are all that is wrong with a file, in its order. There is at least one.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Causes leaves out what is missing only because it has the name it has in other
// software, which is told.
func (e Errors) Causes() Errors {
	return slices.DeleteFunc(slices.Clone(e), func(lack *Error) bool {
		return slices.ContainsFunc(e, func(k *Error) bool { return k.meant != "" && slices.Contains(lack.missing, k.meant) })
	})
}

func position(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

// Default is the configuration of an empty file.
func Default(m Mode) Config {
	c := Config{
		Solo:                    m == Solo,
		BlockPoll:               100 * time.Millisecond,
		UpdateInterval:          30 * time.Second,
		PoolTag:                 "ckpool",
		VersionMask:             0x1fffe000,
		Nonce1Length:            4,
		Nonce2Length:            8,
		MinDiff:                 0.0001,
		StartDiff:               42,
		HighDiff:                1000000,
		LogDir:                  "logs",
		LogLevel:                -1,
		JournalSync:             50 * time.Millisecond,
		JournalSize:             10 << 30,
		MaxPoolUserAgents:       100,
		DropWithoutWork:         300 * time.Second,
		MaxLine:                 8192,
		NewConnectionsPerSecond: 1000,
		NewConnectionsBurst:     10000,

		ProxyHold:              time.Minute,
		MaxConnectionsPerProxy: 32,
		MaxUserProxies:         1000,
		ReconnectsPerSecond:    2000,

		HTTPTrustedNetworks: localNetworks(),

		MaxUnauthorisedPerAddress: 2000,
		LimitExempt:               localNetworks(),
	}
	c.Nodes = []bitcoind.Config{{
		URL: "localhost:8332", User: "user", Pass: "pass", ZMQ: []string{defaultZMQ},
	}}
	listen := "[::]:3333"
	if m.upstreams() {
		c.Nonce2Length = 0
		listen = "[::]:3334"
	}
	c.Servers = []Listener{c.listener(listen)}
	return c
}

// listener has the global difficulties.
func (c *Config) listener(url string) Listener {
	return Listener{Key: "serverurl[0]", URL: url, MinDiff: c.MinDiff, StartDiff: c.StartDiff, MaxDiff: c.MaxDiff}
}

// ProxyNetworks are the peers that may speak the PROXY protocol to a listener:
// its own trusted networks, else the global ones, else loopback and private
// addresses. nil where it is not spoken.
func (c *Config) ProxyNetworks(l *Listener) []netip.Prefix {
	switch {
	case !l.ProxyProtocol:
		return nil
	case len(l.TrustedNetworks) > 0:
		return l.TrustedNetworks
	case len(c.TrustedNetworks) > 0:
		return c.TrustedNetworks
	}
	return localNetworks()
}

// localNetworks are loopback and the private ranges of RFC 1918 and RFC 4193.
func localNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	}
}

// maxFile is far above any real file and keeps a wrong path (a log, a device)
// from filling memory.
const maxFile = 1 << 20

// Load reads the file at path, as Parse does.
func Load(path string, m Mode) (Config, []Warning, error) {
	data, err := read(path)
	if err != nil {
		return Config{}, nil, Errors{err}
	}
	return Parse(path, data, m)
}

// Locate makes an error of what is wrong with the value of a key, such as
// "btcaddress", in the file at path, which was loaded before. Of a listener in
// Config.Servers the key is like "serverurl[0].tls".
func Locate(path string, m Mode, key, text string) *Error {
	e := &Error{File: path, Text: text}
	if data, err := read(path); err == nil {
		f := &file{name: path, data: data, offsets: make(map[string]int)}
		_ = f.parse(m)
		offset, ok := f.offsets[key]
		if !ok { // a value that stands for an array of one
			offset, ok = f.offsets[strings.Replace(key, "[0]", "", 1)]
		}
		if dot := strings.LastIndexByte(key, '.'); !ok && dot > 0 { // a value that stands for an object of one
			offset, ok = f.offsets[key[:dot]]
		}
		if ok {
			e.Line, e.Column = f.lineColumn(offset)
		}
	}
	return e
}

func read(path string) ([]byte, *Error) {
	f, err := os.Open(path)
	if err != nil {
		text := "cannot read the configuration: " + errors.Unwrap(err).Error()
		if errors.Is(err, fs.ErrNotExist) {
			text += "; name another file with -c FILE"
			if filepath.Base(path) == "ckpool.conf" {
				text += `, or let "ckpool init" write a first one`
			}
		}
		return nil, &Error{File: path, Text: text}
	}
	defer f.Close()
	data, err := readLimited(f)
	if err != nil {
		return nil, &Error{File: path, Text: "cannot read the configuration: " + err.Error()}
	}
	return data, nil
}
