//go:build linux

package netserver

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"ckpool/event"
)

// settleMaxClients raises the soft descriptor limit to the hard one and returns
// MaxClients, bounded by 90 % of it and by what Reserve leaves; both numbers are
// reported.
func (c *Config) settleMaxClients() (clients int64, err error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("netserver: reading the open file limit: %w", err)
	}
	if lim.Cur < lim.Max {
		raised := unix.Rlimit{Cur: lim.Max, Max: lim.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil { // else the soft limit holds
			lim = raised
		}
	}
	limit := int(min(lim.Cur, math.MaxInt32))
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
	growDescriptorTable(min(n+n/8+64, limit))
	return int64(n), nil
}

// growDescriptorTable makes room for n descriptors at once. The kernel's table
// grows by doubling, and each growth under several threads stalls all of them
// for up to 85 ms.
func growDescriptorTable(n int) {
	const most = 1 << 20 // 8 MiB of kernel memory; larger pools bear a stall
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return // whoever needs a descriptor next will say so
	}
	defer unix.Close(fd)
	if high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, min(n, most)-1); err == nil {
		unix.Close(high)
	}
}
