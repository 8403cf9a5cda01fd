// Package edge is an instance whose miners are served by pools elsewhere: a passthrough,
// which brings them there over links, a redirector, which besides sends on those who have
// shown that they mine, or a node, which submits blocks to bitcoin nodes of its own. It puts
// links, server and ports together and gives them a life: start, reload, end, and the way to
// another process.
package edge

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/hostport"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/logfile"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/ports"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/stratum/client"
)

// Options are what the command line and the process decide.
type Options struct {
	Redirector bool
	Node       bool
	Version    string
	Events     event.Func
	// Descriptors tells how many there may be; nil: the soft limit of the process.
	Descriptors func() int
	TakeOver    bool // the table of redirects comes from another process, not from its file
}

// Edge is a whole passthrough or redirector. Make it with New, open its ports with Listen,
// run it with Run.
type Edge struct {
	// immutable
	options   Options
	events    event.Func
	began     time.Time
	relay     *relay.Edge
	server    *netserver.Server
	ports     *ports.Ports
	admission operator.Admission
	moved     chan struct{} // closed when another process has taken over
	node      *node         // nil: it is none

	config  atomic.Pointer[config.Config] // what may not change while running is as at the start
	notices *logfile.Limiter
	moving  []string // URLs of the pools whose links come from another process; owned by who takes over
}

// New prepares an instance.
func New(c config.Config, o Options) (*Edge, error) {
	if err := os.MkdirAll(c.LogDir, 0o750); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	e := &Edge{options: o, events: o.Events, began: time.Now(), moved: make(chan struct{}), notices: logfile.NewLimiter(time.Minute)}
	e.config.Store(&c)
	set := relay.EdgeOptions{
		Uplinks: Uplinks(&c, func() string { return e.config.Load().LinkSecret }), Program: "ckpool/" + o.Version, Hold: c.ProxyHold, MovesPerSecond: c.ReconnectsPerSecond,
		Workless: func(workless bool) { e.admission.WithoutWork(workless) }, Events: o.Events,
	}
	if o.Redirector {
		set.Redirect = redirects(&c)
	}
	limits := e.limits(&c)
	limits.Loops = runtime.GOMAXPROCS(0)
	var err error
	if o.Node {
		if e.node, err = newNode(&c, limits.Loops, o.Events, e.noteTrouble); err != nil {
			return nil, err
		}
		set.Node = e.node.work
	}
	e.relay = relay.NewEdge(set)
	limits.MaxLine, limits.Events = c.MaxLine, o.Events
	if e.server, err = netserver.New(limits, e.relay.Handler); err != nil {
		return nil, err
	}
	e.admission.Server, e.admission.Events = e.server, o.Events
	e.ports = ports.New(e.server, e.config.Load, o.Events)
	if !o.TakeOver {
		if err := e.Load(e.began); err != nil {
			e.server.Close()
			return nil, err
		}
	}
	return e, nil
}

// Uplinks are the pools of a configuration, as links to them need them. secret is what they
// are given for a link at present.
func Uplinks(c *config.Config, secret func() string) []relay.Uplink {
	list := make([]relay.Uplink, len(c.Proxies))
	for i, u := range c.Proxies {
		list[i] = relay.Uplink{
			Endpoint: client.Endpoint{URL: u.URL},
			Options:  client.Options{SOCKS5: u.SOCKS5, Pin: u.Pin},
			Secret:   secret, Dialect: poolproto.Dialect,
		}
	}
	return list
}

// redirects are the pools that miners are sent to, each with a port.
func redirects(c *config.Config) (list []string) {
	for _, url := range c.RedirectURLs {
		if host, port, _, err := hostport.Split(url); err == nil {
			list = append(list, net.JoinHostPort(host, cmp.Or(port, "3333")))
		}
	}
	return list
}

// Descriptors that miners must leave to links, files and control sockets.
const (
	ownDescriptors    = 48
	uplinkDescriptors = 4
	nodeDescriptors   = 12
)

func (e *Edge) limits(c *config.Config) netserver.Config {
	own := ownDescriptors + uplinkDescriptors*len(c.Proxies)
	if e.options.Node {
		own += nodeDescriptors * len(c.Nodes)
	}
	set := ports.Limits(c, own)
	if e.options.Descriptors != nil {
		set.Descriptors = e.options.Descriptors()
	}
	return set
}

// mode is what this is, in a word.
func (e *Edge) mode() string {
	switch {
	case e.options.Redirector:
		return "redirector"
	case e.options.Node:
		return "node"
	}
	return "passthrough"
}

// Load reads which addresses are redirected where, as an earlier run has left it. For an
// instance made without TakeOver, New does it.
func (e *Edge) Load(now time.Time) error {
	if e.node != nil {
		if err := e.node.users.Load(now); err != nil {
			return err
		}
	}
	path := e.redirectsPath()
	if err := e.relay.LoadRedirects(path); err != nil {
		e.events.Say(event.Warning, "Redirects left out: "+sharelog.PutAside(path, err))
	}
	return nil
}

func (e *Edge) redirectsPath() string {
	return filepath.Join(e.config.Load().LogDir, "redirects.json")
}

// Inherit gives it listening sockets for Listen.
func (e *Edge) Inherit(files []*os.File) error { return e.ports.Inherit(files) }

// Listen opens the ports. The error says which and why.
func (e *Edge) Listen(ctx context.Context) error { return e.ports.Listen(ctx) }

// ListenBeside is Listen beside the process whose place is to be taken, see package ports.
func (e *Edge) ListenBeside(ctx context.Context, pid int) (bool, error) {
	return e.ports.ListenBeside(ctx, pid)
}

// DropInherited closes the sockets that no listen address wants.
func (e *Edge) DropInherited() { e.ports.DropInherited() }

// Prepare sees that files can be written and makes the links, before Run. The error is that
// no pool gives one.
func (e *Edge) Prepare(ctx context.Context) error {
	dir := e.config.Load().LogDir
	if err := instance.Usable(dir); err != nil {
		return err
	}
	if e.node != nil {
		if err := e.node.usable(dir, instance.Usable); err != nil {
			return err
		}
	}
	return e.relay.Prepare(ctx, func(url string) bool { return slices.Contains(e.moving, url) })
}

// Run serves until ctx ends, a part of it fails, or another process has taken over.
func (e *Edge) Run(until context.Context) error {
	ctx, cancel := context.WithCancelCause(until)
	defer cancel(nil)
	// Links outlive the miners, to say that these have left.
	later, stopLater := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLater()
	var serving, linking sync.WaitGroup
	linking.Go(func() { e.relay.Run(later) })
	serving.Go(func() {
		if err := e.server.Run(ctx); err != nil {
			cancel(fmt.Errorf("connections: %w", err))
		}
	})
	serving.Go(func() { e.keepStatistics(ctx) })
	last, stopLast := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLast()
	var submitting sync.WaitGroup
	if e.node != nil {
		submitting.Go(func() {
			if err := e.node.run(last); err != nil {
				cancel(fmt.Errorf("nodes: %w", err))
			}
		})
	}
	select {
	case <-ctx.Done():
	case <-e.moved:
		cancel(nil)
	}
	serving.Wait()
	stopLater()
	linking.Wait()
	stopLast()
	submitting.Wait()
	if !e.hasMoved() {
		e.save()
		if e.node != nil {
			if err := e.node.users.Save(time.Now(), users.Sessions{}); err != nil {
				e.noteTrouble(fmt.Errorf("cannot write statistics: %w", err))
			}
		}
	}
	if until.Err() != nil || e.hasMoved() {
		return nil
	}
	return context.Cause(ctx)
}

// Close gives back what New, Listen and Prepare opened when Run is not called.
func (e *Edge) Close() {
	if e.node != nil {
		e.node.work.Close()
	}
	e.relay.Close()
	e.server.Close()
}

// hasMoved tells that another process has taken over.
func (e *Edge) hasMoved() bool {
	select {
	case <-e.moved:
		return true
	default:
		return false
	}
}

// keepStatistics does what is due each second, and each minute.
func (e *Edge) keepStatistics(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if e.admission.EndTakeover(now) {
				e.events.Say(event.Warning, operator.TakeoverEnded)
			}
			if now.Sub(last) < time.Minute {
				continue
			}
			last = now
			e.minute(now)
		}
	}
}

// minute tells what connections do, and saves what is to outlive the instance.
func (e *Edge) minute(now time.Time) {
	e.events.Say(event.Notice, "Passthrough:"+control.Encode(control.Connector{
		Runtime: int64(now.Sub(e.began).Seconds()), ConnectorStats: operator.Connector(e.server),
	}))
	e.save()
}

// save keeps which addresses are redirected where.
func (e *Edge) save() {
	if err := e.relay.SaveRedirects(e.redirectsPath()); err != nil {
		if line, ok := e.notices.Pass("Cannot write redirects"); ok {
			e.events.Say(event.Error, line+": "+err.Error())
		}
	}
}

// noteTrouble logs what cannot be written or read, each once a minute.
func (e *Edge) noteTrouble(err error) {
	if line, ok := e.notices.Pass(err.Error()); ok {
		e.events.Say(event.Error, line)
	}
}

// connector is what connections do, with the seconds since the start.
func (e *Edge) connector(now time.Time) control.Connector {
	return control.Connector{Runtime: int64(now.Sub(e.began).Seconds()), ConnectorStats: operator.Connector(e.server)}
}

// Apply puts in force what of next may change while the instance runs: limits, further
// listen addresses, certificates. After an error nothing has changed. One Apply at a time.
func (e *Edge) Apply(ctx context.Context, next config.Config) (config.Merged, error) {
	old := e.config.Load()
	m := old.Merge(&next)
	if err := m.Room(); err != nil {
		return m, err
	}
	replace := func() {}
	if e.node != nil {
		var err error
		if replace, err = e.node.group.PlanNodes(m.Nodes); err != nil {
			return m, err
		}
	}
	if added := m.Servers[len(old.Servers):]; len(added) > 0 {
		if err := e.ports.ListenOn(ctx, added); err != nil {
			return m, err
		}
	}
	if err := e.server.SetLimits(e.limits(&m.Config)); err != nil {
		return m, err
	}
	e.config.Store(&m.Config)
	e.ports.Apply(&m.Config)
	if e.node != nil {
		e.node.users.Set(usersSettings(&m.Config))
	}
	replace()
	return m, nil
}

// ReopenLogs is for logs of its own, which it has none of.
func (e *Edge) ReopenLogs() {}

// Unsaved names the blocks of a node that no bitcoin node and no file has yet; "" none.
func (e *Edge) Unsaved() string {
	if e.node == nil {
		return ""
	}
	return e.node.unsaved()
}

// MaxClients is how many connections there may be at present.
func (e *Edge) MaxClients() int { return e.server.MaxClients() }

// Alive returns nil when every loop gets to its work before ctx ends.
func (e *Edge) Alive(ctx context.Context) error {
	_, err := onLoops(ctx, e, func(*relay.EdgeHandler) int { return 0 })
	return err
}

// active is the pool that serves new miners.
func (e *Edge) active() (u relay.Upstream, ok bool) {
	for _, u := range e.relay.Upstreams() {
		if u.Active {
			return u, true
		}
	}
	return u, false
}

// Miners is how many are connected.
func (e *Edge) Miners() int { return e.server.Clients() }

// miners is how many there are, in words.
func (e *Edge) miners() string {
	if n := e.server.Clients(); n > 0 {
		return figures.Things(int64(n), "miner")
	}
	return "no miners"
}

// Summary is what the instance does, in a line.
func (e *Edge) Summary(time.Time) string {
	text := e.miners()
	if e.admission.Rejecting() {
		text += ", new connections wait"
	}
	if u, ok := e.active(); ok {
		return text + ", served by " + u.URL
	}
	for _, u := range e.relay.Upstreams() {
		if u.Err != nil {
			return fmt.Sprintf("No pool upstream: %s %v; %s", u.URL, u.Err, text)
		}
	}
	return "No pool upstream yet; " + text
}

// StatusLine is what the instance does, in a line of at most width columns that replaces the
// one before. Cycle counts the lines.
func (e *Edge) StatusLine(_ time.Time, cycle, width int) string {
	parts := []string{"no pool upstream", e.miners(), ""}
	if u, ok := e.active(); ok {
		parts[0], parts[2] = "", "served by "+u.URL
	}
	if e.admission.Rejecting() {
		parts = append(parts, "new ones rejected")
	}
	return operator.StatusLine(parts, cycle, width)
}
