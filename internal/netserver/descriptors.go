//go:build linux

package netserver

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
)

// boundMaxClients is MaxClients, bounded by 90 % of the descriptors there
// are and by what Reserve leaves; both numbers are told.
func (c *Config) boundMaxClients() (clients int64, err error) {
	limit := c.Descriptors
	if limit == 0 {
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return 0, fmt.Errorf("netserver: reading the open file limit: %w", err)
		}
		limit = int(min(lim.Cur, math.MaxInt32))
	}
	most := limit - max((limit+9)/10, c.Reserve)
	if most < 1 {
		return 0, fmt.Errorf("the open file limit of %d is too low, %d are needed beside those of miners: raise it (ulimit -n, LimitNOFILE=)", limit, c.Reserve)
	}
	n := c.MaxClients
	switch {
	case n == 0:
		n = most
		c.Events.Say(event.Notice, fmt.Sprintf("Setting maxclients to %d due to max open file limit of %d", most, limit))
	case n > most:
		c.Events.Say(event.Warning, fmt.Sprintf("Cannot set maxclients to %d due to max open file limit of %d, reducing to %d", n, limit, most))
		n = most
	default:
		c.Events.Say(event.Notice, fmt.Sprintf("Maxclients is %d, max open file limit is %d", n, limit))
	}
	return int64(n), nil
}
