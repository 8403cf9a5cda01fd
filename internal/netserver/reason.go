package netserver

import "fmt"

// Reason says why a connection ended. Counted, shown in stats.
type Reason uint8

const (
	PeerClosed Reason = iota
	PeerReset
	WriteStalled // no progress of unsent output for Config.WriteTimeout
	BacklogFull
	LineTooLong
	BadInput // not JSON and the like
	UnauthorizedTimeout
	Idle    // dropidle
	Dropped // operator
	Shutdown
	NoWork      // drop_without_work
	Replaced    // a session resumed elsewhere
	Invalid     // continuous invalid shares
	RateLimited // per-address limits (closed at accept)
	TimedOut    // the peer vanished: keepalive or unacknowledged data
	TLSFailed
	TLSTimeout
	ProxyMissing   // no PROXY protocol header where one must be
	ProxyMalformed // not one, or not a whole one in time
	ProxyUntrusted // from a peer that may not send one
	LoginsRefused  // nothing but refused logins
	Full           // Config.MaxClients (closed at accept, like the next two)
	NoDescriptor   // no file descriptor is left
	Rejecting      // by the operator's word
	UnexpectedTLS  // a TLS handshake on a port without
	HTTPRequest    // answered with a page
	StratumV2      // its handshake, which is not spoken here
	Locked         // the account
	LinkLost       // that the miner was behind
	ByUpstream     // the pool that serves the miner over a link
	Moved          // to another pool upstream, for which it has to connect again
	Flooding       // says more than the link to the pool takes
	Reasons        // number of reasons
)

var reasonText = [Reasons]string{
	PeerClosed:          "closed by peer",
	PeerReset:           "reset by peer",
	WriteStalled:        "write stalled",
	BacklogFull:         "backlog full",
	LineTooLong:         "line too long",
	BadInput:            "bad input",
	UnauthorizedTimeout: "not authorised in time",
	Idle:                "idle",
	Dropped:             "dropped by operator",
	Shutdown:            "shutdown",
	NoWork:              "no work",
	Replaced:            "session resumed elsewhere",
	Invalid:             "continuous invalid shares",
	RateLimited:         "rate limited",
	TimedOut:            "peer timed out",
	TLSFailed:           "TLS failed",
	TLSTimeout:          "TLS handshake timed out",
	ProxyMissing:        "no PROXY header",
	ProxyMalformed:      "malformed PROXY header",
	ProxyUntrusted:      "untrusted proxy",
	LoginsRefused:       "logins refused",
	Full:                "server full",
	NoDescriptor:        "no descriptor left",
	Rejecting:           "rejected by operator",
	UnexpectedTLS:       "TLS on a plain port",
	HTTPRequest:         "HTTP request",
	StratumV2:           "Stratum V2 handshake",
	Locked:              "account locked",
	LinkLost:            "link lost",
	ByUpstream:          "closed by the pool upstream",
	Moved:               "moved to another pool",
	Flooding:            "flooding",
}

// String is the reason in words, as stats and log show it.
func (r Reason) String() string {
	if r < Reasons {
		return reasonText[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// polite tells that the peer is there and should read to the end what was
// written to it before the close.
func (r Reason) polite() bool {
	switch r {
	case PeerClosed, PeerReset, TimedOut, WriteStalled, BacklogFull, Shutdown, RateLimited,
		TLSTimeout, ProxyMissing, ProxyMalformed, ProxyUntrusted:
		return false
	}
	return true
}

// abortive tells that unsent output is to be thrown away at once, also in the
// kernel, rather than kept for a peer that does not read.
func (r Reason) abortive() bool {
	switch r {
	case PeerReset, TimedOut, WriteStalled, BacklogFull, RateLimited,
		TLSTimeout, ProxyMissing, ProxyMalformed, ProxyUntrusted:
		return true
	}
	return false
}

// logged tells that an operator wants to know: not of what peers do all the
// time, nor of what operators did themselves.
func (r Reason) logged() bool {
	switch r {
	case PeerClosed, PeerReset, TimedOut, Idle, Dropped, Shutdown, NoWork, Replaced, Locked, LinkLost, Moved:
		return false
	}
	return true
}
