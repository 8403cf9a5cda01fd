package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Most connections to one entry of "proxy" that the configuration takes: each is one
// more miner for the pool there, which has limits of its own.
const mostConnectionsPerProxy = 1000

func (r *reader) readProxies(v value) error {
	list, err := v.elements(`an array of pools [{"url", "auth", "pass"}]`)
	if err != nil {
		return err
	}
	for _, e := range list {
		u, err := e.upstream()
		if err != nil {
			v.file.note(err)
			continue
		}
		r.Proxies = append(r.Proxies, u)
	}
	return nil
}

// ParseUpstream reads one entry of "proxy" as it stands in the file, a JSON object,
// where it comes from elsewhere. The error is a line about the first thing that is wrong
// with it and names no file.
func ParseUpstream(object []byte) (Upstream, error) {
	f := &file{data: object, offsets: make(map[string]int)}
	root, err := f.root()
	if err != nil {
		return Upstream{}, err
	}
	root.path = "proxy"
	u, err := root.upstream()
	f.note(err)
	if len(f.errors) > 0 {
		return Upstream{}, f.errors[0]
	}
	return u, nil
}

// upstream reads one entry of "proxy".
func (v value) upstream() (u Upstream, err error) {
	var pin value
	err = v.members(map[string]setter{
		"url":    upstreamURL(&u.URL),
		"auth":   text(&u.User),
		"pass":   secret(text(&u.Pass)),
		"weight": weight(&u.Weight),
		"socks5": optional(socks5(&u.SOCKS5), &u.SOCKS5),
		"pin":    noted(publicKeyHash(&u.Pin), &pin),
		"agent":  agent(&u.Agent),
	})
	if err != nil {
		return u, err
	}
	if v.require("url"); !v.file.mode.relays() {
		v.require("auth")
	}
	return u, v.pinned(&u, pin)
}

// mainPool takes the main pool of a trusted remote: its address, or an object.
func mainPool(to *Upstream) setter {
	return func(v value) error {
		if v.kind() != '{' {
			return optional(upstreamURL(&to.URL), &to.URL)(v)
		}
		var pin value
		err := v.members(map[string]setter{
			"url":    upstreamURL(&to.URL),
			"socks5": optional(socks5(&to.SOCKS5), &to.SOCKS5),
			"pin":    noted(publicKeyHash(&to.Pin), &pin),
		})
		if err != nil {
			return err
		}
		v.require("url")
		return v.pinned(to, pin)
	}
}

// noted is a setter that keeps the value too, for its place.
func noted(set setter, to *value) setter {
	return func(v value) error {
		*to = v
		return set(v)
	}
}

// pinned refuses a pin, whose value is given, where there is no certificate.
func (v value) pinned(u *Upstream, pin value) (err error) {
	if u.Pin != nil && u.URL != "" && !u.TLS() {
		err = v.file.at(pin.StartOffset, &Error{
			Key: pin.path, Want: "a url of TLS beside it, like stratum+ssl://host:port", Got: fmt.Sprintf("%q", cut(u.URL, 60)),
		})
	}
	return err
}

// upstreamSchemes are how the address of another pool may begin, and whether that is
// TLS.
var upstreamSchemes = map[string]bool{"stratum+tcp": false, "stratum+ssl": true, "stratum+tls": true}

// TLS tells that the connection is encrypted, as the scheme of the URL says.
func (u *Upstream) TLS() bool {
	scheme, _, _ := strings.Cut(u.URL, "://")
	return upstreamSchemes[strings.ToLower(scheme)]
}

// upstreamURL takes the address of another pool.
func upstreamURL(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		host, _, urlErr := splitURL(s)
		scheme, _, hasScheme := strings.Cut(s, "://")
		_, known := upstreamSchemes[strings.ToLower(scheme)]
		if err != nil || urlErr != nil || host == "" || hasScheme && !known {
			return v.wants("host:port, or stratum+tcp://host:port, or for TLS stratum+ssl://host:port")
		}
		*to = s
		return nil
	}
}

// weight takes a number above 0; none is said by leaving the key out.
func weight(to *float64) setter {
	return func(v value) (err error) {
		*to, err = v.number("a number above 0, its part of the hash rate beside the weights of other entries", func(f float64) bool { return f > 0 })
		return err
	}
}

// socks5 takes the address of a SOCKS5 proxy, or that behind a user and a password.
func socks5(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		at := strings.LastIndexByte(s, '@')
		v.secret = at >= 0
		address := s[at+1:]
		host, port, urlErr := splitURL(address)
		if err != nil || urlErr != nil || host == "" || port == 0 || strings.Contains(address, "/") || at >= 0 && !strings.Contains(s[:at], ":") {
			return v.wants("host:port of a SOCKS5 proxy, or USER:PASSWORD@host:port")
		}
		*to = s
		return nil
	}
}

// publicKeyHash takes a SHA-256 in hex. Where a certificate is refused, it is shown with
// sha256: before it, which may stay.
func publicKeyHash(to *[]byte) setter {
	return func(v value) error {
		s, err := v.text()
		hash, hexErr := hex.DecodeString(strings.TrimPrefix(s, "sha256:"))
		if err != nil || hexErr != nil || len(hash) != sha256.Size {
			return v.wants("the SHA-256 of the public key of the pool's certificate in 64 hex digits")
		}
		*to = hash
		return nil
	}
}

// maxAgent is how many bytes of a name pools take without trouble.
const maxAgent = 100

// agent takes the name that a program gives itself.
func agent(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		control := strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
		if err != nil || s == "" || len(s) > maxAgent || control {
			return v.wants(fmt.Sprintf("a name of 1 to %d bytes", maxAgent))
		}
		*to = s
		return nil
	}
}
