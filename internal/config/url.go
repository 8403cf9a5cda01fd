package config

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/internal/hostport"
)

// splitURL is [hostport.Split] of what the configuration takes: a usable name and a
// port from 1 to 65535. port is 0 when there is none; the host may be empty.
func splitURL(s string) (host string, port uint16, err error) {
	host, digits, hasPort, err := hostport.Split(s)
	if err != nil {
		return "", 0, err
	}
	if strings.ContainsFunc(host, notInHost) {
		return "", 0, errors.New("not a host name")
	}
	if !hasPort {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", 0, errors.New("not a port")
	}
	return host, uint16(n), nil
}

func notInHost(c rune) bool {
	return c <= ' ' || c == 0x7f || strings.ContainsRune(`@?#\"<>[]`, c)
}

func onThisMachine(url string) bool {
	host, _, _ := splitURL(url)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// overlap tells whether two listeners' hosts, as of listenHost, cannot be open on
// the same port, in this order. Names are compared as they are. All of IPv6 is all of
// IPv4 too, unless that was opened before it.
func overlap(first, second string) bool {
	const all4, all = "0.0.0.0", "::"
	switch {
	case first == second:
		return true
	case first == all4 && second == all:
		return false
	case first == all || second == all:
		return true
	}
	return first == all4 && isIPv4(second) || second == all4 && isIPv4(first)
}

func isIPv4(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Is4()
}

// listenHost is what a listen address means: without a host all addresses, without
// a port 3333.
func listenHost(url string) (host string, port uint16) {
	host, port, _ = splitURL(url)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	if host == "" || host == "*" {
		host = "::"
	}
	if port == 0 {
		port = 3333
	}
	return strings.ToLower(host), port
}
