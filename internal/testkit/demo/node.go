package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// node is the node the pool works for.
type node struct {
	config bitcoind.Config // empty before one's own is started
	client *bitcoind.Client
	chain  string
	own    *btcd.Node // nil: somebody else's, or not started
}

func (n *node) regtest() bool { return n.chain == "regtest" }

// foreign tells that it is not one's own.
func (n *node) foreign() bool { return n.client != nil && n.own == nil }

// place names the chain for a directory. There are many regtests, so that the
// node belongs to the name of one.
func (n *node) place() string {
	if !n.regtest() || !n.foreign() {
		return n.chain
	}
	return n.chain + "-" + strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, n.config.URL)
}

// findNode asks a given node for its chain, as long as it takes.
func (d *demo) findNode(ctx context.Context) (*node, error) {
	if d.config.Node == "" {
		return &node{chain: "regtest"}, nil
	}
	config, err := parseNode(d.config.Node)
	if err != nil {
		return nil, err
	}
	n := &node{config: config, client: bitcoind.NewClient(config, bitcoind.Options{})}
	return n, d.identify(ctx, n)
}

func (n *node) height(ctx context.Context) (int64, error) {
	var height int64
	err := n.client.Call(ctx, &height, "getblockcount")
	return height, err
}

// upkeep does what btcd cannot: its chain survives a kill, and it serves work
// however long the machine slept.
func (n *node) upkeep(ctx context.Context) error {
	if n.own == nil {
		return nil
	}
	return errors.Join(n.own.EnsureCurrent(ctx), n.own.Save(ctx))
}

func (n *node) stop() error {
	if n.own == nil {
		return nil
	}
	select {
	case <-n.own.Exited():
		return nil
	default:
		return n.own.Stop()
	}
}

// buildTime covers the first build of btcd on a slow machine.
const buildTime = 10 * time.Minute

// startNode starts a node of one's own, unless there is another, and fills in
// what depends on it.
func (d *demo) startNode(ctx context.Context, n *node, s *settings) error {
	if !n.foreign() {
		building := ""
		if !btcd.Built() {
			building = " (it is built first, which takes a minute)"
		}
		d.console.print("starting btcd on regtest%s", building)
		ctx, cancel := context.WithTimeout(ctx, buildTime)
		defer cancel()
		var err error
		wallet := s.wallet("")
		if d.config.Money { // what the node mines is not the pool's
			wallet = s.wallet(others)
		}
		n.own, err = btcd.Start(ctx, d.path("btcd"), btcd.Options{
			RPC: s.node.URL, User: s.node.User, Password: s.node.Pass, Wallet: wallet})
		if err != nil {
			return err
		}
		n.config = bitcoind.Config{URL: n.own.RPC, User: n.own.User, Pass: n.own.Pass}
		if err := n.own.EnsureCurrent(ctx); err != nil {
			return errors.Join(err, n.own.Stop())
		}
		n.client = bitcoind.NewClient(n.config, bitcoind.Options{})
		if err := d.identify(ctx, n); err != nil {
			return errors.Join(err, n.stop())
		}
	}
	if err := s.complete(n, d.config.Solo); err != nil {
		return errors.Join(err, n.stop())
	}
	return nil
}

// identify asks for the chain, as long as it takes, unless the node refuses to
// tell.
func (d *demo) identify(ctx context.Context, n *node) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := ""
	for {
		probe := n.client.Probe(ctx)
		switch {
		case probe.Chain != "":
			n.chain = probe.Chain
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case probe.State == "refused", probe.State == "not asked": // waiting changes nothing
			return fmt.Errorf("NODE: node %s: %s", n.config.URL, probe.Reason)
		}
		if probe.Reason != said {
			said = probe.Reason
			d.console.print("waiting for the node at %s: %s", n.config.URL, said)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// complete chooses what was left open once the chain is known.
func (s *settings) complete(n *node, solo bool) error {
	if s.payout == "" && !solo {
		if !n.regtest() {
			return fmt.Errorf("ADDRESS=… is missing: whom shall blocks on %s pay?", n.chain)
		}
		s.payout = s.wallet("").Address()
	}
	if s.payout != "" {
		a, err := address.Parse(s.payout)
		if err != nil {
			return fmt.Errorf("address %s: %w", s.payout, err)
		}
		if network, known := address.NetworkForChain(n.chain); known && !a.On(network) {
			return fmt.Errorf("address %s is not one of %s, the chain of the node", s.payout, n.chain)
		}
	}
	if solo && !s.edited { // it is the first miner alone who has the address
		s.payout = ""
	}
	if s.miners == "" {
		var err error
		s.miners, err = freePort()
		return err
	}
	return nil
}
