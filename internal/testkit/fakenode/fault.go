package fakenode

import (
	"context"
	"net/http"
	"slices"
)

// FaultKind is a way to fail.
type FaultKind int

// The ways to fail. Where a status and code are given, the texts are Core's.
const (
	NoFault      FaultKind = iota
	WarmingUp              // 500, -28, every method
	NotConnected           // 500, -9, getblocktemplate alone; no peers
	Downloading            // 500, -10, getblocktemplate alone; initial block download
	Unauthorized           // 401 whatever the credentials
	Forbidden              // 403: the address is not allowed
	WorkQueue              // 503: work queue depth exceeded
	Hang                   // no answer until the fault is cleared
	Cut                    // connection closed instead of an answer
	Truncated              // connection closed in the middle of the answer
	Verdict                // submitblock answers Text without looking
)

// Fault is how the node fails.
type Fault struct {
	Kind    FaultKind
	Methods []string // that fail; empty: all the kind applies to
	Times   int      // how many calls fail before the fault clears itself; 0: all
	Text    string   // of Verdict
}

// SetFault makes the node fail from the next call on.
func (n *Node) SetFault(f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setFault(f)
}

// ClearFault ends a fault and lets hanging calls go on.
func (n *Node) ClearFault() { n.SetFault(Fault{}) }

func (n *Node) setFault(f Fault) {
	n.fault, n.faultTimes = f, f.Times
	close(n.faultChange)
	n.faultChange = make(chan struct{})
}

// failing takes the fault that hits a call of method.
func (n *Node) failing(method string) Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.fault
	hit := f.Kind != NoFault && (len(f.Methods) == 0 || slices.Contains(f.Methods, method))
	switch f.Kind {
	case NotConnected, Downloading:
		hit = hit && method == "getblocktemplate"
	case Verdict:
		hit = hit && method == "submitblock"
	}
	if !hit {
		return Fault{}
	}
	if f.Times > 0 {
		if n.faultTimes--; n.faultTimes == 0 {
			n.setFault(Fault{})
		}
	}
	return f
}

// hang waits until the fault is another one or the caller gives up.
func (n *Node) hang(ctx context.Context) {
	n.mu.Lock()
	change := n.faultChange
	n.mu.Unlock()
	select {
	case <-change:
	case <-ctx.Done():
	}
}

// present reports whether a fault of this kind is set, for the calls that
// describe the node.
func (n *Node) present(k FaultKind) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault.Kind == k
}

// cut closes the connection without an answer.
func cut() { panic(http.ErrAbortHandler) }
