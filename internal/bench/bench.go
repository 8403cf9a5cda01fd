// Package bench is a load engine for stratum pools: thousands of simulated
// miners on a few event loops that connect, submit real shares as fast as a
// window or a rate allows, wait for new work, and measure what the pool does.
//
// It knows the stratum messages and how to hash, and nothing of the pool but
// its address and, for CPU and memory, its process id.
package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/address"
)

// The bounds of a run.
const (
	MaxMiners   = 200_000
	MaxWindow   = 4096
	MaxDuration = time.Hour
)

// Options are common to all modes.
type Options struct {
	Address     string // host:port
	AllowRemote bool   // targets other than loopback
	Miners      int
	User        string // worker names are User.0, User.1, …
	Workers     int    // how many different names; 0: one for each miner
	Addresses   string // chain (main, test, regtest) whose addresses are the names instead
	Password    string
	Loops       int           // event loops of the client; 0: 1
	Ready       time.Duration // limit for all miners to have work; 0: 60 s
	Pid         int           // of the pool, 0: CPU and memory are not measured

	TLS           bool // with any certificate
	ProxyProtocol bool // each miner comes from an address of its own in 127.0.0.0/8
}

// resolve checks the options and returns the address to connect to.
func (o *Options) resolve(ctx context.Context, connections int) (netip.AddrPort, error) {
	if connections < 1 || connections > MaxMiners {
		return netip.AddrPort{}, fmt.Errorf("%d miners: must be 1 to %d", connections, MaxMiners)
	}
	if o.Loops == 0 {
		o.Loops = 1
	}
	if o.Ready == 0 {
		o.Ready = time.Minute
	}
	if o.Workers == 0 {
		o.Workers = connections
	}
	if o.Loops < 1 || o.Loops > 64 || o.Workers < 1 || o.Ready < 0 || o.Ready > MaxDuration {
		return netip.AddrPort{}, errors.New("loops must be 1 to 64, workers at least 1, the time to get ready at most an hour")
	}
	pool := o.Address
	if _, rest, ok := strings.Cut(pool, "://"); ok {
		pool = rest
	}
	a, err := net.DefaultResolver.LookupNetIP(ctx, "ip", hostOf(pool))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("pool %s: %w", o.Address, err)
	}
	_, port, err := net.SplitHostPort(pool)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("pool %q: not host:port", o.Address)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("pool %s: %w", o.Address, err)
	}
	if _, known := address.NetworkForChain(o.Addresses); o.Addresses != "" && !known {
		return netip.AddrPort{}, fmt.Errorf("addresses of the chain %q: it is not known", o.Addresses)
	}
	target := netip.AddrPortFrom(a[0].Unmap(), uint16(n))
	if !target.Addr().IsLoopback() && !o.AllowRemote {
		return netip.AddrPort{}, fmt.Errorf("pool %s is not on this machine: load goes to others only with --allow-remote", target)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && uint64(connections)+64 > limit.Cur {
		return netip.AddrPort{}, fmt.Errorf("%d miners need more file descriptors than the limit of %d: raise it with ulimit -n", connections, limit.Cur)
	}
	return target, nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// worker is the name of miner number n.
func (o *Options) worker(n int) string {
	n %= o.Workers
	if o.Addresses == "" {
		return o.User + "." + strconv.Itoa(n)
	}
	network, _ := address.NetworkForChain(o.Addresses)
	script := make([]byte, 22) // pays to a public key whose hash is n
	script[1] = 20
	binary.BigEndian.PutUint64(script[14:], uint64(n)+1)
	a, _ := address.FromScript(script, network) // such a script has one
	return a.String()
}

func checkDuration(name string, d time.Duration) error {
	if d <= 0 || d > MaxDuration {
		return fmt.Errorf("%s %v: must be above 0 and at most %v", name, d, MaxDuration)
	}
	return nil
}
