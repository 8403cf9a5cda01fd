// Package hostport takes addresses apart as operators write them.
package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Split takes apart "host:port", "[v6]:port", either without port, an IPv6
// address alone, ":port" or nothing; a scheme before it and a path after it are
// dropped. hasPort tells "host:" from "host". The host is an IP address where it
// is in brackets or has colons; else it is as it was written, and so is the port.
func Split(s string) (host, port string, hasPort bool, err error) {
	if before, after, ok := strings.Cut(s, "//"); ok && !strings.Contains(before, "/") {
		s = after
	}
	s, _, _ = strings.Cut(s, "/")
	if inside, ok := strings.CutPrefix(s, "["); ok {
		host, rest, closed := strings.Cut(inside, "]")
		port, hasPort = strings.CutPrefix(rest, ":")
		if !closed || rest != "" && !hasPort {
			return "", "", false, errors.New("want [address]:port")
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return "", "", false, fmt.Errorf("%q is not an IPv6 address", host)
		}
		return host, port, hasPort, nil
	}
	if strings.Count(s, ":") > 1 {
		if _, err := netip.ParseAddr(s); err != nil {
			return "", "", false, errors.New("want host:port, or [address]:port for IPv6")
		}
		return s, "", false, nil
	}
	host, port, hasPort = strings.Cut(s, ":")
	return host, port, hasPort, nil
}

// local is the own end of a connection in the text of a network error.
var local = regexp.MustCompile(`[^ ]+->`)

// Reason is the text of a network error without the own end of the connection, whose port is
// another one each time: what fails again in the same way says the same.
func Reason(err error) string { return local.ReplaceAllString(err.Error(), "") }
