package bitcoind

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// endpoint is where a node's RPC server listens.
type endpoint struct {
	url        string // as net/http wants it
	host       string // host:port, as operators know the node
	user, pass string // from the URL itself
}

// parseEndpoint reads a node's address as operators write it: see Config.URL.
func parseEndpoint(raw string) (endpoint, error) {
	rest := strings.TrimSpace(raw)
	scheme, port := "http", "8332"
	if before, after, found := strings.Cut(rest, "//"); found && !strings.Contains(before, "/") {
		rest = after
		switch strings.ToLower(strings.TrimSuffix(before, ":")) {
		case "https":
			scheme, port = "https", "443"
		case "http":
			port = "80"
		}
	}
	var e endpoint
	authority, path := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
		if path[0] != '/' {
			path = "/" + path
		}
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		userinfo, err := url.Parse("http://" + authority[:i] + "@x")
		if err != nil {
			return e, fmt.Errorf("node url %q: user and password must be percent-encoded", redact(raw))
		}
		e.user = userinfo.User.Username()
		e.pass, _ = userinfo.User.Password()
		authority = authority[i+1:]
	}
	host, alone := authority, authority
	if inner, ok := strings.CutPrefix(authority, "["); ok {
		alone, _ = strings.CutSuffix(inner, "]")
	}
	if ip, err := netip.ParseAddr(alone); err == nil && ip.Is6() && !strings.Contains(alone, "]") {
		host = ip.String()
	} else if i := strings.LastIndexByte(authority, ':'); i >= 0 {
		h, p, err := net.SplitHostPort(authority)
		if err != nil {
			return e, fmt.Errorf("node url %q: want host:port", redact(raw))
		}
		host = h
		if p != "" {
			port = p
		}
	}
	if host == "" {
		return e, fmt.Errorf("node url %q: no host, want host:port", redact(raw))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return e, fmt.Errorf("node url %q: port %q is not a number from 1 to 65535", redact(raw), port)
	}
	e.host = net.JoinHostPort(host, port)
	e.url = scheme + "://" + strings.ReplaceAll(e.host, "%", "%25") + path // a zone of IPv6
	if u, err := url.Parse(e.url); err != nil || u.Host != e.host || strings.ContainsAny(host, "[] ") {
		return e, fmt.Errorf("node url %q: not a usable address", redact(raw))
	}
	return e, nil
}

// redact keeps a password in a URL out of messages.
func redact(raw string) string {
	i := strings.LastIndexByte(raw, '@')
	if i < 0 {
		return raw
	}
	return "…" + raw[i:]
}
