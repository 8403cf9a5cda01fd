package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/poolproto"
)

// maxServers is how many listeners there may be: each miner remembers in a byte
// which one it came through.
const maxServers = 256

// readServers reads "serverurl" and the listeners for links, and gives each the global
// difficulties where it has none of its own.
func (r *reader) readServers() {
	url := r.Servers[0].URL
	r.Servers = nil
	if r.servers != nil {
		if r.readListeners(r.servers, 0); r.Servers == nil {
			r.servers.warnf("\"serverurl\" is an empty array, listening on %s", url)
		}
	}
	if r.Servers == nil {
		r.Servers = []Listener{r.listener(url)}
	}
	for _, role := range []poolproto.Role{poolproto.Node, poolproto.Remote, poolproto.Passthrough} {
		if v := r.linkServers[role]; v != nil {
			r.readListeners(v, role)
		}
	}
}

// readListeners reads a list of listeners, which are for a kind of link.
func (r *reader) readListeners(v *value, role poolproto.Role) {
	for i, e := range v.oneOrMore() {
		l, err := r.readListener(e)
		v.file.note(err)
		if len(r.Servers) == maxServers {
			v.file.note(e.wants(fmt.Sprintf("at most %d listeners in all", maxServers)))
			return
		}
		l.Key, l.Links = fmt.Sprintf("%s[%d]", v.path, i), role
		r.Servers = append(r.Servers, l)
	}
}

func (r *reader) readListener(v value) (Listener, error) {
	switch v.kind() {
	case '"':
		return r.plainListener(v)
	case '{':
		return r.listenerObject(v)
	}
	return Listener{}, v.wants(`host:port or an object {"url", …}`)
}

// highPort: the ports above it were for high difficulty before listeners had
// settings of their own.
const highPort = 4000

func (r *reader) plainListener(v value) (Listener, error) {
	url, err := v.listenAddress()
	if err == nil && wantsTLS(url) {
		err = v.wants(secureListener)
	}
	if err != nil {
		return Listener{}, err
	}
	l := r.listener(url)
	if _, port, _ := splitURL(url); port > highPort && !v.file.mode.relays() { // where difficulty is the pool's
		if r.highDiffGiven {
			l.HighDiff = r.HighDiff
		} else {
			v.warnf("%q has a port above %d, which other ckpools start at high difficulty; here it starts like any other. Set \"highdiff\" to a difficulty for that, or to 0 to silence this", url, highPort)
		}
	}
	return l, nil
}

func (r *reader) listenerObject(v value) (Listener, error) {
	var url value
	l := r.listener("")
	err := v.members(map[string]setter{
		"url": func(v value) (err error) {
			url = v
			l.URL, err = v.listenAddress()
			return err
		},
		"mindiff":          aboveZero(&l.MinDiff),
		"startdiff":        aboveZero(&l.StartDiff),
		"maxdiff":          zeroOrAbove(&l.MaxDiff),
		"public_url":       publicURL(&l.PublicURL),
		"tls":              certificate(&l.TLSCert, &l.TLSKey),
		"proxy_protocol":   boolean(&l.ProxyProtocol),
		"trusted_networks": networks(&l.TrustedNetworks),
	})
	v.require("url")
	if err == nil && wantsTLS(l.URL) && !v.has("tls") {
		err = url.wants(secureListener)
	}
	return l, err
}

const secureListener = `an object {"url", "tls": {"cert", "key"}} for TLS`

// wantsTLS tells that a listen address has a scheme of TLS: without certificate
// it would listen in plain text.
func wantsTLS(url string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(url), "://")
	return slices.Contains([]string{"stratum+ssl", "stratum+tls", "stratums", "ssl", "tls"}, scheme)
}
