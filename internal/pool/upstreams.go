package pool

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/upstream"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// makeUpstreams makes the source of work of a proxy.
func (p *Pool) makeUpstreams(c *config.Config) (*upstream.Group, error) {
	pools := make([]upstream.Config, len(c.Proxies))
	for i := range c.Proxies {
		pools[i] = UpstreamConfig(c, &c.Proxies[i])
	}
	return upstream.NewGroup(pools, upstream.GroupOptions{
		Events: p.events, Dial: p.dialUpstream, Finder: p.group,
		FailBack: cmp.Or(c.ProxyHold, time.Nanosecond), // 0 would be the usual one
		// No process before this one has opened a connection each second of its life.
		After: uint32(time.Now().Unix()),
	})
}

// dialUpstream connects to another pool, which is not to be this one by another name.
func (p *Pool) dialUpstream(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if upstream.OwnConn(conn, p.Addrs()) {
		conn.Close()
		return nil, upstream.ErrItself
	}
	return conn, nil
}

// UpstreamConfig is an entry of "proxy" as the connections to that pool need it.
func UpstreamConfig(c *config.Config, u *config.Upstream) upstream.Config {
	return upstream.Config{
		URL: u.URL, User: u.User, Password: u.Pass, Weight: u.Weight,
		Agent: cmp.Or(u.Agent, "ckpool"), Pin: u.Pin, SOCKS5: u.SOCKS5, MaxLines: c.MaxConnectionsPerProxy,
		VersionMask: c.VersionMask, LeastDifficulty: least(c),
	}
}

// proxies are the other pools as an operator sees and changes them.
func (p *Pool) proxies() *upstream.Entries {
	return &upstream.Entries{
		Group: p.upstreams, Accounts: p.logins, Space: p.registry.Space,
		Config: func(u *config.Upstream) upstream.Config { return UpstreamConfig(p.config.Load(), u) },
		UserID: func(name string) int64 {
			u, _ := p.users.User(name, time.Now())
			return u.ID
		},
	}
}

// least is the least difficulty that some miner here can have.
func least(c *config.Config) float64 {
	d := c.MinDiff
	for _, l := range c.Servers {
		d = min(d, l.MinDiff)
	}
	return d
}

// solvedAbove tells of a share that solves a block whose work is another pool's: that
// pool has it, as a share, and makes the block.
func (p *Pool) solvedAbove(s *session.Share) {
	p.notice("block", fmt.Sprintf("Possible block solve diff %s ! Hash %s, by %s: it goes to the pool above as a share, which makes the block",
		difficulty.FormatAchieved(s.Computed.Difficulty), work.FormatHash(s.Computed.Hash), users.LogName(p.users.WorkerName(s.Worker))))
}

// noNodes is the network of a pool without nodes, which finds no blocks of its own.
type noNodes struct{}

func (noNodes) Chain() string  { return "" }
func (noNodes) Refresh(string) {}
func (noNodes) Submit(_ int64, _ [32]byte, _ []byte, changed func(source.BlockState)) {
	changed(source.BlockState{State: source.BlockRejected, Text: "there is no node to submit it to"})
}
func (noNodes) Follow(int64, [32]byte, string, source.BlockState, func(source.BlockState)) {}
func (noNodes) Resume(func([32]byte) (source.BlockState, string), func(int64, [32]byte, source.BlockState)) error {
	return nil
}
func (noNodes) Unsaved() []source.SolvedBlock { return nil }
func (noNodes) Leave()                        {}
