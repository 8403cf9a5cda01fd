package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/ckpool/ckpool/stratum"
)

const (
	defaultPort      = "3333"
	writeTimeout     = 10 * time.Second
	maxBadLines      = 10
	maxEvents        = 1024
	defaultUserAgent = "ckpool"
)

// Endpoint is a pool and an account there.
type Endpoint struct {
	// URL is host:port, host, or either behind a scheme: stratum+tcp://, or
	// stratum+ssl://, stratum+tls://, ssl:// and tls:// for TLS. An IPv6 address
	// stands in brackets. The port is 3333 unless given.
	URL            string
	User, Password string
}

// Options are how to talk to a pool. The zero value is usable.
type Options struct {
	UserAgent string // "ckpool" if empty
	SessionID string // session to resume, as an Extranonce event gave it
	// VersionMask is which version bits to ask for (BIP310). 0 does without
	// version rolling and sends no mining.configure.
	VersionMask uint32
	MinBitCount int // diagnostic part of that request
	// SuggestDifficulty is sent after authorization unless 0.
	SuggestDifficulty float64
	// ExtranonceSubscribe tells the pool that mining.set_extranonce is understood.
	ExtranonceSubscribe bool
	// IgnoreRedirects makes a Group answer client.reconnect by connecting to the
	// configured address again, never to another one.
	IgnoreRedirects bool
	// FailBack is how long a better endpoint of a Group must have had work
	// before the Group returns to it: 1 minute if 0, at once if negative.
	FailBack time.Duration

	HandshakeTimeout time.Duration // 30 s if 0
	// SilenceTimeout is after what time without a line a pool counts as dead;
	// 10 minutes if 0. It is sent a mining.ping at half that time.
	SilenceTimeout time.Duration
	// AnswerTimeout is how long a share may be without an answer until it is given up,
	// as ErrUnanswered, and the pool counts as dead if it has answered no other share
	// for as long; 0: for ever.
	AnswerTimeout time.Duration
	MaxLine       int     // longest line taken, in bytes; 1 MiB if 0
	Quirks        *Quirks // of the pool, from one connection to the next; nil: forgotten

	// TLS is used for TLS endpoints; nil verifies the host's certificate
	// against the system's roots.
	TLS *tls.Config
	// Pin is the SHA-256 of the public key that a TLS endpoint's certificate must
	// have (its SubjectPublicKeyInfo in DER). The certificate is then not verified
	// otherwise. Empty: any verified one.
	Pin []byte
	// SOCKS5 is a proxy that connections go through: host:port, or user:password@ before
	// that. It resolves the names of pools, so that Tor can. Empty: none.
	SOCKS5 string
	// Dial replaces the plain TCP connect, also that to the SOCKS5 proxy.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o Options) withDefaults() Options {
	if o.UserAgent == "" {
		o.UserAgent = defaultUserAgent
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = 30 * time.Second
	}
	if o.SilenceTimeout <= 0 {
		o.SilenceTimeout = 10 * time.Minute
	}
	if o.FailBack == 0 {
		o.FailBack = time.Minute
	}
	if o.MaxLine <= 0 {
		o.MaxLine = 1 << 20
	}
	if o.Dial == nil {
		d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 45 * time.Second, Interval: 30 * time.Second, Count: 3}}
		o.Dial = d.DialContext
	}
	return o
}

// target splits the URL.
func (e Endpoint) target() (host, port string, secure bool, err error) {
	rest := e.URL
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		rest = after
		switch strings.ToLower(scheme) {
		case "stratum+ssl", "stratum+tls", "stratums", "ssl", "tls":
			secure = true
		case "stratum+tcp", "stratum", "tcp", "http":
		default:
			return "", "", false, fmt.Errorf("pool url %q: unknown scheme %q, use stratum+tcp or stratum+ssl", e.URL, scheme)
		}
	}
	rest, _, _ = strings.Cut(rest, "/")
	host, port, err = net.SplitHostPort(rest)
	if err != nil {
		host, port = rest, defaultPort
		if strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]") {
			host = rest[1 : len(rest)-1]
		}
		if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":[]") {
			return "", "", false, fmt.Errorf("pool url %q: not host:port", e.URL)
		}
	}
	if host == "" {
		return "", "", false, fmt.Errorf("pool url %q: no host", e.URL)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", false, fmt.Errorf("pool url %q: port %q is not a number from 1 to 65535", e.URL, port)
	}
	return host, port, secure, nil
}

// Redirect is the endpoint a client.reconnect leads to. A host is only
// followed within its domain: to itself, below itself, or to one that differs
// in the first label alone, unless anybody may have a name behind that (as in
// co.uk, see publicsuffix.org); anything else could be somebody stealing hash
// rate.
func (e Endpoint) Redirect(r stratum.Reconnect) (Endpoint, error) {
	host, port, secure, err := e.target()
	if err != nil {
		return e, err
	}
	if r.Host != "" {
		if !sameDomain(strings.ToLower(host), strings.ToLower(r.Host)) {
			return e, fmt.Errorf("reconnect from %s to %s refused: another domain", host, r.Host)
		}
		host = r.Host
	}
	if r.Port != 0 {
		port = strconv.Itoa(int(r.Port))
	}
	to := e
	to.URL = "stratum+tcp://" + net.JoinHostPort(host, port)
	if secure {
		to.URL = "stratum+ssl://" + net.JoinHostPort(host, port)
	}
	// What was looked at is what is connected to: a host may not hide another before a slash.
	if h, p, _, err := to.target(); err != nil || h != host || p != port {
		return e, fmt.Errorf("reconnect to %.100q refused: not the name of a host", r.Host)
	}
	return to, nil
}

func sameDomain(from, to string) bool {
	if from == to || strings.HasSuffix(to, "."+from) {
		return true
	}
	if _, err := netip.ParseAddr(from); err == nil {
		return false
	}
	_, domain, _ := strings.Cut(from, ".")
	_, other, _ := strings.Cut(to, ".")
	if domain != other {
		return false
	}
	suffix, _ := publicsuffix.PublicSuffix(domain) // what anybody may have a name below
	return domain != suffix
}

// Address is the host:port of the endpoint, or an error that says what is wrong with its
// URL.
func (e Endpoint) Address() (string, error) {
	host, port, _, err := e.target()
	return net.JoinHostPort(host, port), err
}
