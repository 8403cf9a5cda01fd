package jobs

import (
	"fmt"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/config"
)

// Fits says why nobody can be paid on a chain, named as Bitcoin Core does, with
// this configuration.
func Fits(chain string, c *config.Config, solo bool) error {
	_, err := scriptsOn(chain, c, solo)
	return err
}

// scripts are the configured addresses on one network.
type scripts struct {
	network          address.Network
	payout, donation []byte // nil: none
}

// scriptsOn are the output scripts of the configured addresses on a chain. The
// error, an address of another network, ends the program: nothing else that a
// node answers does.
func scriptsOn(chain string, c *config.Config, solo bool) (s scripts, err error) {
	network, known := address.NetworkForChain(chain)
	if !known {
		network = address.Main
		if a, err := address.Parse(c.BTCAddress); err == nil {
			network = a.Network() // a node that does not tell its chain
		}
	}
	s.network = network
	if !solo {
		if s.payout, err = payable("btcaddress", c.BTCAddress, network, chain); err != nil {
			return s, err
		}
	}
	if c.Donation > 0 {
		s.donation, err = payable("donaddress", c.DonAddress, network, chain)
	}
	return s, err
}

// payable is the output script of a configured address on the node's network.
func payable(key, text string, network address.Network, chain string) ([]byte, error) {
	a, err := address.Parse(text)
	if err == nil && !a.On(network) {
		err = fmt.Errorf("it is not an address of the node's chain %q", chain)
	}
	if err == nil {
		err = a.Payable()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q invalid: %w", key, text, err)
	}
	return a.Script(), nil
}
