package jobs

import (
	"fmt"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/work"
)

// Payout is whom blocks pay.
type Payout struct {
	// Rest has what the parts leave, their fractions of a satoshi among it. Without an
	// address it is the miner who finds the block.
	Rest Payee
	// Parts stand behind it in the coinbase, of every miner.
	Parts []Payee
}

// Payee is an address, and what it has of each block.
type Payee struct {
	Name    string // of the setting that it comes from, such as "btcaddress", for errors
	Address string
	Part    work.Fraction // of the reward; nothing is said of the rest
}

// PayoutOf is that of a configuration.
func PayoutOf(c *config.Config, solo bool) (p Payout) {
	if !solo {
		p.Rest = Payee{Name: "btcaddress", Address: c.BTCAddress}
	}
	if c.Donation > 0 {
		p.Parts = []Payee{{Name: "donaddress", Address: c.DonAddress, Part: work.Percent(c.Donation)}}
	}
	return p
}

// Solo tells that who finds a block is paid.
func (p *Payout) Solo() bool { return p.Rest == Payee{} }

// Fits says why somebody cannot be paid on a chain, named as Bitcoin Core does.
func (p *Payout) Fits(chain string) error {
	_, err := p.on(chain)
	return err
}

// scripts are those of a Payout on one network.
type scripts struct {
	network address.Network
	rest    []byte // nil: who finds the block
	parts   []work.Output
}

// on are the output scripts on a chain. The error, an address of another network, ends the
// program: nothing else that a node answers does.
func (p *Payout) on(chain string) (s scripts, err error) {
	network, known := address.NetworkForChain(chain)
	if !known {
		network = p.network() // a node that does not tell its chain
	}
	s.network = network
	if !p.Solo() {
		if s.rest, err = p.Rest.script(network, chain); err != nil {
			return s, err
		}
	}
	for i := range p.Parts {
		script, err := p.Parts[i].script(network, chain)
		if err != nil {
			return s, err
		}
		s.parts = append(s.parts, work.Output{Script: script, Part: p.Parts[i].Part, Required: true})
	}
	return s, nil
}

// network is that of the first address, which all are of, or Regtest where one is of that:
// its addresses in base58 are written as those of Test.
func (p *Payout) network() address.Network {
	network, known := address.Main, false
	for _, payee := range append([]Payee{p.Rest}, p.Parts...) {
		a, err := address.Parse(payee.Address)
		if err == nil && (!known || network == address.Test && a.Network() == address.Regtest) {
			network, known = a.Network(), true
		}
	}
	return network
}

// script is the output script of the payee on the node's network.
func (p *Payee) script(network address.Network, chain string) ([]byte, error) {
	a, err := address.Parse(p.Address)
	if err == nil && !a.On(network) {
		err = fmt.Errorf("it is not an address of the node's chain %q", chain)
	}
	if err == nil {
		err = a.Payable()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q invalid: %w", p.Name, p.Address, err)
	}
	return a.Script(), nil
}
