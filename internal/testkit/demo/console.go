package demo

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/term"
)

// console prints lines above a status line that is rewritten in place.
type console struct {
	out      io.Writer
	terminal bool

	// guarded by mu
	mu      sync.Mutex
	pending bool // the status line stands without its line feed
}

func (c *console) print(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending {
		fmt.Fprint(c.out, "\r\x1b[K")
		c.pending = false
	}
	fmt.Fprintf(c.out, format+"\n", args...)
}

func (c *console) status(text string) {
	if !c.terminal {
		c.print("%s", text)
		return
	}
	if f, ok := c.out.(*os.File); ok {
		width, _, err := term.GetSize(int(f.Fd()))
		if r := []rune(text); err == nil && width > 0 && len(r) >= width { // the last column would wrap
			text = string(r[:width-1])
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = true
	fmt.Fprintf(c.out, "\r\x1b[K%s", text)
}

// end leaves the last status line standing.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending {
		fmt.Fprintln(c.out)
		c.pending = false
	}
}

// describe says what runs and where to point a miner.
func (d *demo) describe(s *settings, n *node, m *money, f *farm) {
	say := d.console.print
	kind := "the node"
	if !n.foreign() {
		kind = "btcd"
	}
	say("%s: %s, RPC on %s", kind, n.chain, n.config.URL)
	if f != nil {
		f.describe(s)
		return
	}
	if s.links != nil {
		s.links.describe(s)
		return
	}
	if d.config.Solo {
		say("ckpool: solo mode, blocks pay the user name that found them")
	} else {
		say("ckpool: pool mode, blocks pay %s", s.payout)
	}
	say("configuration %s", d.shown(configFile))
	say("log %s", d.shown("logs", poolName+".log"))
	user := "any name"
	if d.config.Solo || m != nil {
		user = "your address on " + n.chain
	}
	d.pointMiner(s.listen, user)
	if (d.config.Solo || m != nil) && n.regtest() {
		say("  for instance %s", s.wallet("yours").Address())
	}
	d.pointFromElsewhere(s.listen)
	if m != nil {
		m.describe(s)
		return
	}
	if n.regtest() {
		say("two simulated miners find a block about every %s", d.config.pace.pool)
	}
	if s.page != "" {
		say("see it in a browser")
		say("  http://%s/", s.page)
	}
	say("ask it how it does, from another terminal")
	say("  %s -s %s status", typed(d.beside("ckpmsg")), typed(d.path(sockets)))
	if s.journal != "" {
		say("what ckdb has stored, each share once")
		say("  %s -s %s status", typed(d.beside("ckdb")), typed(d.path(databaseSockets)))
	}
	say("Ctrl-C ends all of it")
}

// pointMiner says where to point a miner, as whom.
func (d *demo) pointMiner(listen, user string) {
	d.console.print("point a miner at")
	for _, addr := range reachable(listen) {
		d.console.print("  stratum+tcp://%s", addr)
	}
	d.console.print("  user: %s, password: x", user)
}

// pointFromElsewhere says how to have miners on other machines.
func (d *demo) pointFromElsewhere(listen string) {
	if host, port, err := net.SplitHostPort(listen); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() || host == "localhost" {
			d.console.print("for a miner on another machine: %s LISTEN=0.0.0.0:%s", d.config.target(), port)
		}
	}
}

// typed is a path in the shorter form.
func typed(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(here, path); err == nil && len(relative) < len(path) {
		return relative
	}
	return path
}

// reachable lists the addresses under which something that listens there can be
// reached: for an unspecified host those of the machine's interfaces.
func reachable(listen string) []string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return []string{listen}
	}
	ip, err := netip.ParseAddr(host)
	if host != "" && (err != nil || !ip.IsUnspecified()) {
		return []string{listen}
	}
	only4 := err == nil && ip.Is4()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{net.JoinHostPort("127.0.0.1", port)}
	}
	var found, loopback []string
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || prefix.Addr().IsLinkLocalUnicast() || only4 && !prefix.Addr().Is4() {
			continue
		}
		text := net.JoinHostPort(prefix.Addr().String(), port)
		if prefix.Addr().IsLoopback() {
			loopback = append(loopback, text)
		} else {
			found = append(found, text)
		}
	}
	return append(found, loopback...)
}
