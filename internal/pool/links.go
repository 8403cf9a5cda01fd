package pool

import (
	"crypto/subtle"
	"net/netip"
	"slices"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/poolproto"
)

// Miners is how many are connected, here and behind links.
func (p *Pool) Miners() int { return p.server.Clients() + p.links.Channels() }

// linkGate says why another pool may not link, "" if it may.
func (p *Pool) linkGate(hello *poolproto.Hello, remote netip.AddrPort, listener int) (refusal string) {
	c := p.config.Load()
	var l config.Listener
	if listener < len(c.Servers) {
		l = c.Servers[listener]
	}
	switch near := trusts(c, &l, remote.Addr()); {
	case p.upstreams != nil:
		return "this is a proxy, which has no links"
	case c.LinkSecret != "" && subtle.ConstantTimeCompare([]byte(c.LinkSecret), []byte(hello.Secret)) != 1:
		return "the secret is not that of \"link_secret\" here"
	case hello.Role == poolproto.Remote && l.Links != poolproto.Remote:
		return "trusted remotes link to the addresses of \"trusted\""
	case hello.Role == poolproto.Remote && p.collector == nil:
		return "this pool takes no trusted remotes: it is solo, or a trusted remote itself"
	case hello.Role == poolproto.Node && l.Links != poolproto.Node:
		return "nodes link to the addresses of \"nodeserver\""
	case l.Links == 0 && !near && c.LinkSecret == "":
		return "the address is neither private nor in \"trusted_networks\", and this is no listener for links"
	}
	return ""
}

// trusts tells whether an address is one whose links are taken on any listener.
func trusts(c *config.Config, l *config.Listener, addr netip.Addr) bool {
	addr = addr.Unmap()
	networks := slices.Concat(l.TrustedNetworks, c.TrustedNetworks)
	return addr.IsLoopback() || addr.IsPrivate() || slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// tellNodes has a block that a share has found submitted by all nodes but the one whose
// miner it is of.
func (p *Pool) tellNodes(s *session.Share) {
	if p.feed != nil {
		p.links.Solved(p.feed.Solved(s), s.Loop, s.Client)
	}
}
