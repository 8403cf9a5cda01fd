package config

import (
	"net/url"
	"slices"
	"strings"
)

// HTTP is where pages are served.
type HTTP struct {
	Listen          string // host:port; "": nowhere
	TLSCert, TLSKey string // both or none
}

func (r *reader) readHTTP(v value) error {
	p := &r.HTTP
	switch v.kind() {
	case '"':
		return httpAddress(&p.Listen)(v)
	case '{':
		err := v.members(map[string]setter{"url": httpAddress(&p.Listen), "tls": certificate(&p.TLSCert, &p.TLSKey)})
		v.require("url")
		return err
	}
	return v.wants(`host:port or an object {"url", "tls"}`)
}

// httpAddress takes an address to listen on, which must name a port.
func httpAddress(to *string) setter {
	return func(v value) error {
		s, err := v.listenAddress()
		if _, port, _ := splitURL(s); err != nil || port == 0 || strings.Contains(s, "://") {
			return v.wants(`host:port, such as "127.0.0.1:8080"`)
		}
		*to = s
		return nil
	}
}

// base takes the beginning of a path.
func base(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		path := strings.TrimSuffix(s, "/")
		u, parseErr := url.Parse(path)
		if err != nil || parseErr != nil || path != "" && path[0] != '/' || strings.Contains(path, "//") || u.EscapedPath() != path ||
			slices.Contains(strings.Split(path, "/"), "..") || slices.Contains(strings.Split(path, "/"), ".") {
			return v.wants(`the beginning of a path, such as "/pool"`)
		}
		*to = path
		return nil
	}
}

// certificate takes the files of a TLS certificate and its key.
func certificate(cert, key *string) setter {
	return func(v value) error {
		err := v.members(map[string]setter{"cert": path(cert), "key": path(key)})
		if err != nil {
			return err
		}
		v.require("cert", "key")
		return nil
	}
}

// origins takes what browsers call the origin of a page.
func origins(to *[]string) setter {
	return func(v value) error {
		list := []string{}
		for _, e := range v.oneOrMore() {
			s, err := e.text()
			u, parseErr := url.Parse(s)
			if err != nil || s != "*" && (parseErr != nil || u.Host == "" || s != u.Scheme+"://"+u.Host) {
				return e.wants(`"*", or an origin such as "https://stats.example"`)
			}
			list = append(list, s)
		}
		*to = list
		return nil
	}
}

// publicURL takes what miners are told to connect to.
func publicURL(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		host, port, urlErr := splitURL(s)
		if err != nil || urlErr != nil || host == "" || port == 0 || host == "0.0.0.0" || host == "::" {
			return v.wants(`what miners connect to, such as "stratum+tcp://pool.example:3333"`)
		}
		*to = s
		return nil
	}
}
