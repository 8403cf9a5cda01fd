package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/ckpool/ckpool/internal/figures"
)

const linksPlace = "regtest-links" // directory

// links is what make run-links has beyond make run: miners are at two passthroughs and a
// node, which the pool serves over one link each.
type links struct {
	d      *demo
	listen string // of the passthrough that a person's miner is pointed at
	edges  []*edge

	// owned by watch
	open   int   // links that the pool has
	behind int64 // miners behind them
}

// edge is a passthrough or a node.
type edge struct {
	name   string
	option string // that makes it one
	pool   server // address of the pool that it links to
	listen string // for miners
	run    *pool
}

// server is a listen address with its difficulties.
type server struct {
	URL       string  `json:"url"`
	MinDiff   float64 `json:"mindiff,omitempty"`
	StartDiff float64 `json:"startdiff,omitempty"`
	MaxDiff   float64 `json:"maxdiff,omitempty"`
}

// openLinks chooses addresses.
func (d *demo) openLinks(listen string) (*links, error) {
	l := &links{d: d, listen: listen}
	if l.listen == "" {
		l.listen = defaultListen
	}
	if _, _, err := net.SplitHostPort(l.listen); err != nil {
		return nil, fmt.Errorf("LISTEN=%s: want host:port", l.listen)
	}
	easy := server{MinDiff: everyHash, StartDiff: everyHash, MaxDiff: everyHash}
	l.edges = []*edge{
		{name: "east", option: "-P", listen: l.listen},
		{name: "west", option: "-P", pool: easy},
		{name: "cknode", option: "-N", pool: easy},
	}
	var err error
	for _, e := range l.edges {
		if e.pool.URL, err = freePort(); err != nil {
			return nil, err
		}
		if e.listen == "" {
			if e.listen, err = freePort(); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// servers are the addresses of the pool for links, of passthroughs and of nodes.
func (l *links) servers() (passthroughs, nodes []server) {
	for _, e := range l.edges {
		if e.option == "-N" {
			nodes = append(nodes, e.pool)
		} else {
			passthroughs = append(passthroughs, e.pool)
		}
	}
	return passthroughs, nodes
}

// start starts all edges; simulated miners are at the two that no person is pointed at.
func (l *links) start(ctx context.Context, s *settings, n *node) error {
	for _, e := range l.edges {
		c := struct {
			Proxy   []map[string]string `json:"proxy"`
			Nodes   []map[string]string `json:"btcd,omitempty"`
			Servers []string            `json:"serverurl"`
			LogDir  string              `json:"logdir"`
		}{Proxy: []map[string]string{{"url": e.pool.URL}}, Servers: []string{e.listen}, LogDir: e.name + "-logs"}
		if e.option == "-N" {
			c.Nodes = []map[string]string{n.account()}
		}
		b, err := json.MarshalIndent(c, "", "\t")
		if err == nil {
			err = os.WriteFile(l.d.path(e.config()), append(b, '\n'), 0o640)
		}
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		if e.run, err = l.d.startInstance(ctx, e.name, e.sockets(), e.option, "-c", e.config()); err != nil {
			return err
		}
	}
	west, node := l.edges[1], l.edges[2]
	s.where = []string{west.listen, node.listen, west.listen}
	return nil
}

func (e *edge) config() string  { return e.name + ".conf" }
func (e *edge) sockets() string { return e.name + "-sockets" }

// stop ends all edges that were started.
func (l *links) stop() (err error) {
	for _, e := range l.edges {
		if e.run != nil {
			err = errors.Join(err, e.run.stop())
		}
	}
	return err
}

// describe says what runs, and how to see it from all sides.
func (l *links) describe(s *settings) {
	d, say := l.d, l.d.console.print
	say("ckpool: a pool, blocks pay %s", s.payout)
	say("before it, one link each: the passthroughs east and west, and cknode, which")
	say("submits blocks to the bitcoin node by itself, those of the others too")
	say("configurations %s,", d.shown(configFile))
	say("  %s", d.shown("east.conf and so on"))
	d.pointMiner(l.listen, "any name")
	d.pointFromElsewhere(l.listen)
	say("yours is then at east; three simulated miners, at west and at cknode, find a")
	say("block about every %s", d.config.pace.pool)
	d.step("the links, and the miners behind them: ask the pool", sockets, "links", "workers")
	d.step("what one end of a link says", "west-sockets", "list", "clients")
	say("Ctrl-C ends all of it")
}

// look asks the pool for its links.
func (l *links) look(ctx context.Context, p *pool) error {
	list, err := p.ask["stratifier"].Links(ctx)
	if err != nil {
		return err
	}
	l.open, l.behind = len(list), 0
	for _, k := range list {
		l.behind += k.Miners
	}
	return nil
}

func (l *links) line(s *status) string {
	return fmt.Sprintf("%s, %s; %s", figures.Things(int64(l.open), "link"), figures.Things(l.behind, "miner"), s.line())
}
