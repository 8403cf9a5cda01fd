package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

const (
	farmPlace    = "regtest-proxy" // directory
	proxyName    = "ckproxy"
	proxyConfig  = "ckproxy.conf"
	proxySockets = "proxy-sockets" // directory
	// everyHash is a difficulty so low that every hash is a share.
	everyHash = 2e-10
	// halfOfHashes is one that every second of those meets that the simulated miners do not
	// keep to themselves, which solve no block.
	halfOfHashes = 3.1e-10
)

// farm is what make run-proxy has beyond make run: miners are at a proxy, which has one
// account of the pool.
type farm struct {
	d       *demo
	proxy   *pool
	edited  bool   // its configuration is the user's
	listen  string // of the proxy, for miners
	miners  string // likewise, for the simulated ones
	account string // of the pool

	// owned by watch
	here, sent, refused, unanswered int64 // shares
	connected                       int64 // miners
}

// openFarm chooses what the proxy does, from the options and the file of earlier runs.
func (d *demo) openFarm(listen string) (*farm, error) {
	f := &farm{d: d, listen: listen}
	b, err := os.ReadFile(d.path(proxyConfig))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && !written(b) {
		c, _, err := config.Load(d.path(proxyConfig), config.Proxy)
		if err != nil {
			return nil, err
		}
		if at := c.Servers[0].URL; listen != "" && listen != at {
			return nil, fmt.Errorf("%s was changed by hand and has %s, so LISTEN= has no effect: set it there, or remove the file",
				d.shown(proxyConfig), at)
		}
		f.edited, f.listen, f.miners = true, c.Servers[0].URL, c.Servers[len(c.Servers)-1].URL
		return f, nil
	}
	if f.listen == "" {
		f.listen = defaultListen
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return nil, fmt.Errorf("LISTEN=%s: want host:port", f.listen)
	}
	f.miners, err = freePort()
	return f, err
}

// written tells that a configuration is as this program wrote it.
func written(b []byte) bool {
	end := bytes.LastIndex(b, []byte("\nWritten by make run"))
	return end >= 0 && bytes.Equal(b, signed(b[:end]))
}

// startProxy starts the proxy before the pool of these settings, whose miners are to
// connect there from then on.
func (f *farm) startProxy(ctx context.Context, s *settings) error {
	f.account = s.payout + ".farm"
	if !f.edited {
		b, err := json.MarshalIndent(struct {
			Proxy   []map[string]string `json:"proxy"`
			Servers []any               `json:"serverurl"`
			High    int                 `json:"highdiff"` // nobody expects more of a port above 4000
			LogDir  string              `json:"logdir"`
		}{
			Proxy:   []map[string]string{{"url": s.listen, "auth": f.account, "pass": "x"}},
			Servers: []any{f.listen, server{f.miners, everyHash, everyHash, everyHash}},
			LogDir:  "proxy-logs",
		}, "", "\t")
		if err == nil {
			err = os.WriteFile(f.d.path(proxyConfig), signed(b), 0o640)
		}
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	var err error
	f.proxy, err = f.d.startInstance(ctx, proxyName, proxySockets, "-p", "-c", proxyConfig, "-A")
	s.miners = f.miners
	return err
}

// describe says what runs, and how to see it from both sides.
func (f *farm) describe(s *settings) {
	d, say := f.d, f.d.console.print
	say("ckpool: a pool on %s, blocks pay", s.listen)
	say("  %s", s.payout)
	say("ckproxy: before it, with one account there for all of its miners,")
	say("  %s", f.account)
	say("configurations %s", d.shown(configFile))
	say("  and %s", d.shown(proxyConfig))
	say("logs %s", d.shown("logs", poolName+".log"))
	say("  and %s", d.shown("proxy-logs", proxyName+".log"))
	d.pointMiner(f.listen, "any name")
	d.pointFromElsewhere(f.listen)
	say("three simulated miners at the proxy find a block about every %s; every second", d.config.pace.pool)
	say("of their other shares is good enough for the pool and sent on")
	d.step("three miners and what the pool says of their shares: ask the proxy", proxySockets, "status", "workers", "proxystats")
	d.step("one miner with one account: ask the pool", sockets, "status", "workers")
	d.step("end the pool's connections: the proxy is back in seconds, its miners stay", sockets, "dropall")
	say("Ctrl-C ends all of it")
}

// step shows commands to an instance.
func (d *demo) step(about, sockets string, commands ...string) {
	d.console.print("%s", about)
	for _, c := range commands {
		d.console.print("  %s -s %s %s", quoted(typed(d.beside("ckpmsg"))), quoted(typed(d.path(sockets))), c)
	}
}

// look asks the proxy how it does.
func (f *farm) look(ctx context.Context) error {
	c := f.proxy.ask["stratifier"]
	st, err := c.PoolStats(ctx)
	if err != nil {
		return err
	}
	list, err := c.ProxyStats(ctx)
	if err != nil {
		return err
	}
	f.here, f.connected = st.AcceptedCount, st.Workers
	f.sent, f.refused, f.unanswered = 0, 0, 0
	for _, p := range list {
		f.sent += p.AcceptedCount
		f.refused += p.RejectedCount
		f.unanswered += p.UnansweredCount
	}
	return nil
}

func (f *farm) line(s *status) string {
	if s.gone {
		return s.line()
	}
	return fmt.Sprintf("%s, %s; pool: %s accepted, %s refused; height %d  blocks %s",
		figures.Things(f.connected, "miner"), figures.Things(f.here, "share"), figures.Count(f.sent), figures.Count(f.refused), s.height, figures.Count(int64(s.found)))
}

// freePort is an address on this machine that nobody listens on or connects from.
func freePort() (string, error) {
	p, err := port.Free()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", p), nil
}
