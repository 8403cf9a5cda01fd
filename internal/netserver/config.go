//go:build linux

package netserver

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

// localPrefixes are exempt from the limits per address by default: farms sit
// behind them, and whoever is there can do harm in simpler ways.
var localPrefixes = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
}

// complete checks c and fills in the defaults, MaxClients and
// Descriptors excepted: see boundMaxClients.
func (c *Config) complete() error {
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"MaxLine", int64(c.MaxLine)},
		{"Backlog", int64(c.Backlog)},
		{"LinkLine", int64(c.LinkLine)},
		{"LinkBacklog", int64(c.LinkBacklog)},
		{"WriteTimeout", int64(c.WriteTimeout)},
		{"MaxClients", int64(c.MaxClients)},
		{"Descriptors", int64(c.Descriptors)},
		{"Loops", int64(c.Loops)},
	} {
		if v.value < 0 {
			return fmt.Errorf("netserver: %s is %d, must not be negative", v.name, v.value)
		}
	}
	setDefault(&c.MaxLine, 8192)
	setDefault(&c.Backlog, 1<<20)
	setDefault(&c.LinkLine, 32<<20)
	setDefault(&c.LinkBacklog, 256<<20)
	setDefault(&c.WriteTimeout, 60*time.Second)
	setDefault(&c.Loops, runtime.GOMAXPROCS(0))
	setDefault(&c.ConnectRate, 1000)
	setDefault(&c.ConnectBurst, 10*c.ConnectRate)
	setDefault(&c.MaxUnauthorized, 2000)
	if c.LimitExempt == nil {
		c.LimitExempt = localPrefixes
	}
	return nil
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}
