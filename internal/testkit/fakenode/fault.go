package fakenode

import (
	"context"
	"net/http"
	"slices"
	"sync"
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

// faults is the fault that is set.
type faults struct {
	mu     sync.Mutex
	now    Fault
	left   int           // calls until it clears itself
	change chan struct{} // closed when another one is set
}

// SetFault makes the node fail from the next call on.
func (s *faults) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(f)
}

// ClearFault ends a fault and lets hanging calls go on.
func (s *faults) ClearFault() { s.SetFault(Fault{}) }

func (s *faults) set(f Fault) {
	s.now, s.left = f, f.Times
	close(s.change)
	s.change = make(chan struct{})
}

// failing takes the fault that hits a call of method. One that only tries whether
// it may call is hit by lasting faults alone.
func (s *faults) failing(method string, tries bool) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.now
	hit := f.Kind != NoFault && (len(f.Methods) == 0 || slices.Contains(f.Methods, method))
	switch f.Kind {
	case NotConnected, Downloading:
		hit = hit && method == "getblocktemplate"
	case Verdict:
		hit = hit && method == "submitblock"
	}
	if !hit || tries && (f.Times > 0 || f.Kind == Verdict) {
		return Fault{}
	}
	if f.Times > 0 {
		if s.left--; s.left == 0 {
			s.set(Fault{})
		}
	}
	return f
}

// hang waits until the fault is another one or the caller gives up.
func (s *faults) hang(ctx context.Context) {
	s.mu.Lock()
	change := s.change
	s.mu.Unlock()
	select {
	case <-change:
	case <-ctx.Done():
	}
}

// present reports whether a fault of this kind is set, for the calls that
// describe the node.
func (s *faults) present(k FaultKind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Kind == k
}

// cut closes the connection without an answer.
func cut() { panic(http.ErrAbortHandler) }
