package bitcoind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// States of a node as Status tells them.
const (
	stateOK          = "ok"
	stateChecking    = "starting" // also before the first answer
	stateStarting    = "starting"
	stateSyncing     = "syncing"
	stateNoPeers     = "no peers"
	stateLagging     = "lagging"
	stateUnreachable = "unreachable"
	stateRefused     = "refused"
	stateNotAsked    = "not asked" // there is no user and password to ask with
	stateFailing     = "failing"
	stateWrongChain  = "wrong chain"
)

// Kinds of problems the group tells apart.
const (
	kindTimeout  = "timeout"
	kindPassword = "401"
	kindCookie   = "cookie"
	kindBusy     = "503"
)

// Error codes of Bitcoin Core and btcd.
const (
	codeMisc           = -1 // btcd: also "Command unimplemented"
	codeParameter      = -8
	codeNotConnected   = -9
	codeDownloading    = -10
	codeWarmup         = -28
	codeMethodNotFound = -32601
)

// problem is why a node cannot be used, in an operator's words.
type problem struct {
	state  string // for Status; "" is no problem
	kind   string // problems of one kind are told again on a schedule only
	reason string // what is wrong and what to do
	gone   bool   // the connection failed: the node may be dead
}

// refusal: the node is there, knows the caller, and did not do this call.
func (p problem) refusal() bool {
	return !p.gone && p.state != stateStarting && p.kind != kindPassword && p.kind != kindCookie
}

// barred: only an operator can mend it.
func (p problem) barred() bool { return p.state == stateRefused || p.state == stateNotAsked }

// templateError is a template that came and cannot be used.
type templateError struct{ err error }

func (e *templateError) Error() string { return e.err.Error() }
func (e *templateError) Unwrap() error { return e.err }

// explain says what an error of a call means.
func (c *Client) explain(err error) problem {
	p := c.explained(err)
	p.reason = brief(p.reason)
	return p
}

func (c *Client) explained(err error) problem {
	if err == nil {
		return problem{}
	}
	if e, ok := errors.AsType[*RPCError](err); ok {
		return c.explainAnswer(e)
	}
	if e, ok := errors.AsType[*cookieError](err); ok {
		return problem{stateNotAsked, kindCookie, e.Error() + ": is the node running, and may this user read the file?", false}
	}
	if e, ok := errors.AsType[*templateError](err); ok {
		return problem{stateFailing, "template", "gives a template that cannot be used: " + e.Error(), false}
	}
	if e, ok := errors.AsType[*replyError](err); ok {
		return problem{stateFailing, "answer", e.Error(), false}
	}
	return explainConnection(err)
}

func (c *Client) explainAnswer(e *RPCError) problem {
	switch {
	case e.Status == 401:
		how := "auth and pass must be those of its rpcauth, or rpcuser and rpcpassword"
		if c.credentials.cookie != "" {
			how = "is " + c.credentials.cookie + " the cookie file of this node?"
			if err := c.credentials.unreadable(); err != nil {
				how = "auth and pass are not its, and they are used because of this: " + err.Error()
			}
		}
		return problem{stateRefused, kindPassword, "refuses the user or password (HTTP 401): " + how, false}
	case e.Status == 403:
		return problem{stateRefused, "403", "refuses this machine or this call (HTTP 403): set rpcallowip or rpcwhitelist of the node", false}
	case e.Status == 503:
		return problem{stateFailing, kindBusy, "is overloaded (" + e.Error() + "): raise its rpcworkqueue and rpcthreads", false}
	}
	switch e.Code {
	case codeWarmup:
		return problem{stateStarting, "warmup", "is starting: " + e.Message, false}
	case codeDownloading:
		return problem{stateSyncing, "syncing", "is syncing: " + e.Message, false}
	case codeNotConnected:
		return problem{stateNoPeers, "no peers", "has no peers: " + e.Message + " Check its network, firewall and addnode", false}
	case codeParameter:
		if strings.Contains(e.Message, "rule") {
			return problem{stateFailing, "rules", "demands a rule this pool does not know: " + e.Message, false}
		}
	case codeMethodNotFound:
		return problem{stateFailing, "method", "knows no getblocktemplate (" + e.Error() + "): is this a bitcoin node?", false}
	}
	if e.Code == 0 {
		return problem{stateFailing, fmt.Sprint(e.Status), "answers " + e.Error() + ": is the url that of the node's RPC port?", false}
	}
	return problem{stateFailing, fmt.Sprint(e.Code), "answers " + e.Error(), false}
}

func explainConnection(err error) problem {
	if e, ok := errors.AsType[*timeoutError](err); ok {
		return problem{stateUnreachable, kindTimeout, e.Error() + ": it hangs or is overloaded", true}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return problem{stateUnreachable, "dns", fmt.Sprintf("the name %s cannot be resolved (%s): check the url", e.Name, e.Err), true}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return problem{stateUnreachable, "connect", "nothing listens there (connection refused): is the node running with server=1, and is this its rpcport?", true}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return problem{stateUnreachable, "closed", "closed the connection: is it stopping, or is this machine not in its rpcallowip?", true}
	case isTimeout(err):
		return problem{stateUnreachable, kindTimeout, "cannot be reached (timeout): check the url, network and firewall", true}
	}
	// The innermost text: the outer ones carry port numbers that change.
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return problem{stateUnreachable, "connect", "cannot be reached: " + err.Error(), true}
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// unsupported reports whether a node does not offer a call at all.
func unsupported(err error) bool {
	e, ok := errors.AsType[*RPCError](err)
	if !ok {
		return false
	}
	return e.Code == codeMethodNotFound || e.Status == 403 ||
		e.Code == codeMisc && strings.Contains(e.Message, "unimplemented")
}
