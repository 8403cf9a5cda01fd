package config

import (
	"fmt"
	"strconv"

	"ckpool/address"
)

// Validate reports what a single value cannot show: keys the mode requires and
// values that contradict each other. Errors are of type *Error, without a line.
func (c *Config) Validate(m Mode) error {
	if err := c.validateDifficulty(); err != nil {
		return err
	}
	if m.upstreams() {
		return c.validateUpstreams(m)
	}
	return c.validatePayout(m)
}

func (c *Config) validateDifficulty() error {
	if c.MaxDiff != 0 && c.MaxDiff < c.MinDiff {
		return below("maxdiff", c.MaxDiff, c.MinDiff)
	}
	for i, l := range c.Servers {
		if l.MaxDiff != 0 && l.MaxDiff < l.MinDiff {
			return below(fmt.Sprintf("serverurl[%d].maxdiff", i), l.MaxDiff, l.MinDiff)
		}
	}
	return nil
}

func below(key string, maxDiff, minDiff float64) error {
	return &Error{
		Key:  key,
		Want: fmt.Sprintf("at least mindiff, which is %v, or 0 for none", minDiff),
		Got:  strconv.FormatFloat(maxDiff, 'g', -1, 64),
	}
}

func (c *Config) validateUpstreams(m Mode) error {
	if len(c.Proxies) == 0 {
		return &Error{File: c.File, Text: "No proxy entries found in config file " + c.File}
	}
	if m == Redirector && len(c.RedirectURLs) == 0 {
		return &Error{File: c.File, Text: "No redirect entries found in config file " + c.File}
	}
	return nil
}

func (c *Config) validatePayout(m Mode) error {
	if m != Solo && c.BTCAddress == "" {
		return &Error{File: c.File, Text: "Non-solo mining must have a btcaddress in config, aborting!"}
	}
	if m == Remote && c.Upstream == "" {
		return &Error{File: c.File, Text: "No upstream server set in remote trusted server mode"}
	}
	var paid []address.Address
	if m != Solo {
		a, err := payable("btcaddress", c.BTCAddress)
		if err != nil {
			return err
		}
		paid = append(paid, a)
	}
	if c.Donation > 0 {
		if c.DonAddress == "" {
			return &Error{Key: "donation", Want: `a "donaddress" beside it (none is built in)`, Got: "none"}
		}
		a, err := payable("donaddress", c.DonAddress)
		if err != nil {
			return err
		}
		paid = append(paid, a)
	}
	if !oneNetwork(paid) {
		return &Error{Key: "donaddress", Want: "an address of the same network as btcaddress", Got: strconv.Quote(c.DonAddress)}
	}
	return nil
}

func payable(key, s string) (address.Address, error) {
	a, err := address.Parse(s)
	if err == nil {
		err = a.Payable()
	}
	if err != nil {
		return a, &Error{Key: key, Want: "a bitcoin address", Got: strconv.Quote(cut(s, 100)) + ": " + err.Error()}
	}
	return a, nil
}

func oneNetwork(list []address.Address) bool {
networks:
	for _, n := range []address.Network{address.Main, address.Test, address.Regtest} {
		for _, a := range list {
			if !a.On(n) {
				continue networks
			}
		}
		return true
	}
	return false
}
