// Package ports is the listening sockets of an instance: opened by its configuration, taken
// over from a service manager or another process, with their certificates. It does not know
// who comes through them.
package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/keypair"
	"github.com/ckpool/ckpool/internal/netserver"
)

// Ports are those of one server. Listen, ListenOn and Apply are never called at the same
// time.
type Ports struct {
	// immutable
	server *netserver.Server
	config func() *config.Config // in force
	events event.Func

	mu           sync.Mutex
	certificates []*keypair.Pair // guarded by mu
}

// New prepares the ports of a server, by the configuration that is in force.
func New(s *netserver.Server, c func() *config.Config, events event.Func) *Ports {
	return &Ports{server: s, config: c, events: events}
}

// Listen opens the ports. The error says which and why.
func (p *Ports) Listen(ctx context.Context) error { return p.ListenOn(ctx, p.config().Servers) }

// ListenOn opens further ports, which the configuration has from now on.
func (p *Ports) ListenOn(ctx context.Context, list []config.Listener) error {
	c := p.config()
	endpoints := make([]netserver.Endpoint, len(list))
	var pairs []*keypair.Pair
	for i, l := range list {
		endpoints[i] = netserver.Endpoint{URL: l.URL, Proxies: c.ProxyNetworks(&l)}
		if l.TLSCert == "" {
			continue
		}
		pair, err := keypair.Open(l.TLSCert, l.TLSKey, p.events)
		if err != nil {
			return fmt.Errorf("listen address %q: %w", l.URL, err)
		}
		pairs = append(pairs, pair)
		endpoints[i].Certificate = pair.Certificate
	}
	first, err := p.server.ListenAll(ctx, endpoints)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.certificates = append(p.certificates, pairs...)
	p.mu.Unlock()
	for i, l := range p.server.Listeners()[first:] {
		secured := ""
		if endpoints[i].Certificate != nil {
			secured = " (TLS)"
		}
		for _, addr := range l.Addrs {
			p.events.Say(event.Warning, "Listening on "+addr.String()+secured)
		}
	}
	return nil
}

// Inherit takes listening sockets for Listen, of a service manager or of
// the process whose place it takes; the files are closed.
func (p *Ports) Inherit(files []*os.File) error {
	var sockets []netserver.Inherited
	for n, f := range files {
		if l, err := net.FileListener(f); err == nil {
			p.events.Say(event.Notice, fmt.Sprintf("Inherited server socket %d url %v", n, l.Addr()))
			l.Close()
		}
		sockets = append(sockets, netserver.Inherited{File: f})
	}
	return p.server.Inherit(sockets)
}

// ErrHidden is what Listen wraps where the system does not show whose an address
// is.
var ErrHidden = errors.New("it cannot be seen whether")

// ListenBeside is Listen, as far as it can be done while process pid, whose place
// is to be taken, still runs: false means that it has other addresses in
// use that are wanted. An address that stays in use when it has ended, or may,
// is an error. A pid of 0 is a process that is not known.
func (p *Ports) ListenBeside(ctx context.Context, pid int) (bool, error) {
	for until := time.Now().Add(freedTime); ; {
		last := time.Now().After(until) // before it: looking whose an address is may take long
		opened, err := p.listenBeside(ctx, pid)
		if !errors.Is(err, instance.ErrNobody) || last {
			return opened, err
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freedTime is how long an address may be in use without anybody who listens on
// it: who had it may have ended between the two looks, the one to be taken over from
// too.
const freedTime = time.Second

func (p *Ports) listenBeside(ctx context.Context, pid int) (bool, error) {
	err := p.Listen(ctx)
	if err == nil {
		return true, nil
	}
	inUse := netserver.InUse(err)
	for _, b := range inUse {
		if pid == 0 {
			return false, fmt.Errorf("listen address %q: %v is in use, and which process is to be taken over from is not known: end it first", b.URL, b.Addr)
		}
		theirs, hidden := instance.Listens(b.Addr, pid, os.Getpid()) // this one has the sockets it was given
		switch {
		case errors.Is(hidden, instance.ErrNobody):
			return false, fmt.Errorf("%w (%w)", b.ByOther(), hidden)
		case hidden != nil && !instance.Alive(pid): // it has ended now, and lets go of what it had
		case hidden != nil:
			return false, fmt.Errorf("listen address %q: %v is in use, and %w process %d, whose place is to be taken, has it: %w; start ckpool as that one's user, or end it first", b.URL, b.Addr, ErrHidden, pid, hidden)
		case !theirs:
			return false, b.ByOther()
		}
	}
	if inUse != nil {
		err = nil
	}
	return false, err
}

// DropInherited closes the sockets that no listen address wants.
func (p *Ports) DropInherited() {
	for _, addr := range p.server.DropInherited() {
		p.events.Say(event.Warning, fmt.Sprintf("Handed over socket url %s does not match config, not listening there", addr))
	}
}

// Apply puts in force what of a configuration may change of open ports. Certificates are
// read again.
func (p *Ports) Apply(c *config.Config) {
	for i, l := range p.server.Listeners() {
		if networks := c.ProxyNetworks(&c.Servers[i]); networks != nil {
			l.SetProxies(networks)
		}
	}
	for _, pair := range p.pairs() {
		if err := pair.Reload(); err != nil {
			p.events.Say(event.Warning, "Keeping the TLS certificate in use: "+err.Error())
		}
	}
}

// pairs are the certificates there are now.
func (p *Ports) pairs() []*keypair.Pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.certificates)
}

// Expires is when the first of the certificates does; zero where there is none. Any
// goroutine may call.
func (p *Ports) Expires() (first time.Time) {
	for _, pair := range p.pairs() {
		if at := pair.Expires(); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
