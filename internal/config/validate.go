package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/hostport"
)

// Validate reports what a single value cannot show: keys the mode requires and
// values that contradict each other. The errors have no line.
func (c *Config) Validate(m Mode) Errors {
	errs := c.validateDifficulty()
	errs = append(errs, c.validateListeners()...)
	if m.upstreams() {
		return append(errs, c.validateUpstreams(m)...)
	}
	return append(errs, c.validatePayout(m)...)
}

func (c *Config) validateDifficulty() (errs Errors) {
	global := c.MaxDiff != 0 && c.MaxDiff < c.MinDiff
	if global {
		errs = append(errs, below("maxdiff", c.MaxDiff, c.MinDiff))
	}
	for _, l := range c.Servers {
		inherited := l.MaxDiff == c.MaxDiff && l.MinDiff == c.MinDiff
		if l.MaxDiff != 0 && l.MaxDiff < l.MinDiff && !(global && inherited) {
			errs = append(errs, below(l.Key+".maxdiff", l.MaxDiff, l.MinDiff))
		}
	}
	return errs
}

func below(key string, maxDiff, minDiff float64) *Error {
	return &Error{
		Key:  key,
		Want: fmt.Sprintf("at least mindiff, which is %v, or 0 for none", minDiff),
		Got:  strconv.FormatFloat(maxDiff, 'g', -1, 64),
	}
}

// validateListeners finds addresses that exclude each other.
func (c *Config) validateListeners() (errs Errors) {
	hosts, ports := make([]string, len(c.Servers)), make([]uint16, len(c.Servers))
	for i, l := range c.Servers {
		if _, port, _, _ := hostport.Split(l.URL); l.URL == "" || port == "0" || len(errs) == maxFindings {
			continue // any free port is for a program that has a pool in it
		}
		hosts[i], ports[i] = listenHost(l.URL)
		for j := range i {
			if ports[i] == ports[j] && overlap(hosts[j], hosts[i]) {
				errs = append(errs, &Error{
					Key:  l.Key,
					Want: "an address that no other entry listens on",
					Got:  fmt.Sprintf("%q beside %q", c.Servers[i].URL, c.Servers[j].URL),
				})
				break
			}
		}
	}
	return errs
}

func (c *Config) validateUpstreams(m Mode) (errs Errors) {
	if len(c.Proxies) == 0 {
		errs = append(errs, &Error{Key: "proxy", Text: "No proxy entries found in config file " + c.File})
	}
	if (m == Proxy || m == UserProxy) && c.Solo {
		errs = append(errs, &Error{
			Key:  "solo",
			Text: `"solo": true is for a pool on nodes, whose blocks pay the miner who finds them; in proxy mode the pools in "proxy" pay: remove it, or start without -p and -u`,
		})
	}
	if m == Redirector && len(c.RedirectURLs) == 0 {
		errs = append(errs, &Error{Key: "redirecturl", Text: "No redirect entries found in config file " + c.File})
	}
	return errs
}

func (c *Config) validatePayout(m Mode) (errs Errors) {
	if m == Remote && c.Upstream.URL == "" {
		errs = append(errs, &Error{Key: "upstream", Text: "No upstream server set in remote trusted server mode"})
	}
	if m == Remote && c.Solo {
		errs = append(errs, &Error{
			Key:  "solo",
			Text: `"solo": true is for a pool whose blocks pay the miner who finds them; those of a trusted remote (-t) pay all who mine for its main pool: remove it, or start without -t`,
		})
	}
	var paid []address.Address
	pays := func(key, s string) {
		a, err := payable(key, s)
		if err != nil {
			errs = append(errs, err)
			return
		}
		paid = append(paid, a)
	}
	switch {
	case m == Solo:
	case c.BTCAddress == "":
		errs = append(errs, &Error{
			Key:     "btcaddress",
			Text:    `"btcaddress" is missing: set it to the address that blocks are to pay, or "solo": true to pay the miners who find them`,
			missing: []string{"btcaddress"},
		})
	default:
		pays("btcaddress", c.BTCAddress)
	}
	switch {
	case c.Donation == 0:
	case c.DonAddress == "":
		errs = append(errs, &Error{Key: "donation", Want: `a "donaddress" beside it (none is built in)`, Got: "none", missing: []string{"donaddress"}})
	default:
		pays("donaddress", c.DonAddress)
	}
	if !oneNetwork(paid) {
		errs = append(errs, &Error{Key: "donaddress", Want: "an address of the same network as btcaddress", Got: strconv.Quote(c.DonAddress)})
	}
	return errs
}

// samplePayee stands for the address in the sample configuration.
const samplePayee = "YOUR-BITCOIN-ADDRESS"

// strangers are addresses in sample configurations of ckpool in C and its forks,
// which have paid for copying them.
var strangers = map[string]bool{
	"14BMjogz69qe8hk9thyzbmR5pg34mVKB1e": true,
	"1PKN98VN2z5gwSGZvGKS2bj8aADZBkyhkZ": true,
}

func payable(key, s string) (address.Address, *Error) {
	switch {
	case s == samplePayee, strings.Contains(s, "…"): // as in the documentation
		return address.Address{}, &Error{Key: key, Want: "your own bitcoin address, to which blocks are to pay", Got: "the words of the sample configuration"}
	case strangers[s]:
		return address.Address{}, &Error{
			Key: key, Want: "your own bitcoin address",
			Got: strconv.Quote(s) + ", which is that of a stranger in the sample configuration of ckpool in C",
		}
	}
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
