package ports

import (
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/netserver"
)

// Limits is what a server needs of the configuration for its limits. reserve is how many
// descriptors its clients leave to the rest of the process.
func Limits(c *config.Config, reserve int) netserver.Config {
	return netserver.Config{
		MaxClients:      c.MaxClients,
		Reserve:         reserve,
		ConnectRate:     unlimited(c.NewConnectionsPerSecond),
		ConnectBurst:    unlimited(c.NewConnectionsBurst),
		MaxUnauthorized: unlimited(c.MaxUnauthorisedPerAddress),
		MaxPerAddress:   unlimited(c.MaxConnectionsPerAddress),
		LimitExempt:     c.LimitExempt,
	}
}

// unlimited turns the configuration's 0, no limit, into netserver's.
func unlimited(n int) int {
	if n == 0 {
		return -1
	}
	return n
}
