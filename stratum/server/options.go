//go:build linux

package server

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
)

// Options of a server. Zero values mean the defaults in brackets.
type Options struct {
	MaxLine          int           // bytes of a line that a client sends, with its LF; a longer one ends it [8192]
	Backlog          int           // bytes that a client has not read; more end it [1 MiB]
	WriteTimeout     time.Duration // how long a client may read nothing of those [60 s]
	AuthorizeTimeout time.Duration // until a client must have authorized a worker; negative: for ever [60 s]

	MaxClients int // connections [90 % of the open files that the process may have, which is also the most]
	Loops      int // goroutines that serve them [GOMAXPROCS]

	// Limits for each address, an IPv6 address counting as its /64; negative means none. A
	// connection over one is closed at once.
	ConnectRate     int // new connections in a second [1000]
	ConnectBurst    int // of them at once [10 times ConnectRate]
	MaxUnauthorized int // connections without an authorized worker [2000]
	MaxPerAddress   int // connections [none]

	// LimitExempt are the addresses without these limits; an empty slice means that there are
	// none [loopback, private and link-local ones].
	LimitExempt []netip.Prefix

	// Events is told what an operator wants to know, such as why clients were dropped, once a
	// minute for each reason. It is called by loops too, and must not block [nobody is told].
	Events event.Func
}

// Endpoint is where a server listens.
type Endpoint struct {
	// Address is host:port or [v6]:port. Without a host it is all addresses, IPv6 and IPv4;
	// without a port it is 3333, and port 0 is any that is free. A scheme before it, such as
	// stratum+tcp://, is left out.
	Address string

	// Certificate is what clients are shown that speak TLS, as in [tls.Config]; nil means that
	// they speak plain text. It is called in the goroutine of each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Proxies are the peers that put a PROXY protocol header, version 1 or 2, before all else;
	// all others are refused. nil means that there is no such header.
	Proxies []netip.Prefix
}

// authorizeTimeout is the default of Options.AuthorizeTimeout.
const authorizeTimeout = time.Minute

func (o *Options) config() netserver.Config {
	return netserver.Config{
		MaxLine: o.MaxLine, Backlog: o.Backlog, WriteTimeout: o.WriteTimeout, MaxClients: o.MaxClients, Loops: o.Loops,
		ConnectRate: o.ConnectRate, ConnectBurst: o.ConnectBurst, MaxUnauthorized: o.MaxUnauthorized, MaxPerAddress: o.MaxPerAddress,
		LimitExempt: o.LimitExempt, Events: o.Events,
	}
}
