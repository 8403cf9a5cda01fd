package config

import (
	"math"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// setter reads one value into where it belongs.
type setter func(value) error

func text(to *string) setter {
	return func(v value) (err error) {
		*to, err = v.text()
		return err
	}
}

// path takes a file's name, in which ~ is the home directory.
func path(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		if err != nil {
			return err
		}
		if s == "" || strings.ContainsRune(s, 0) {
			return v.wants("a path")
		}
		*to, err = expandHome(s)
		if err != nil {
			return v.wants("a path whose ~ is known (" + err.Error() + ")")
		}
		return nil
	}
}

// expandHome turns ~ and ~user at the beginning of a path into a home directory,
// as shells do.
func expandHome(s string) (string, error) {
	if s[0] != '~' {
		return s, nil
	}
	name, rest, _ := strings.Cut(s[1:], "/")
	home, err := os.UserHomeDir()
	if name != "" {
		var u *user.User
		if u, err = user.Lookup(name); err == nil {
			home = u.HomeDir
		}
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(home, rest), nil
}

// texts takes an array of strings, or one string.
func texts(to *[]string) setter {
	return func(v value) error {
		list := []string{}
		for _, e := range v.oneOrMore() {
			if e.kind() != '"' {
				return e.wants("a string or an array of strings")
			}
			list = append(list, e.literal().String())
		}
		*to = list
		return nil
	}
}

// secret keeps the value out of errors.
func secret(set setter) setter {
	return func(v value) error {
		v.secret = true
		return set(v)
	}
}

// given notes that the key is in the file.
func given(noted *bool, set setter) setter {
	return func(v value) error {
		*noted = true
		return set(v)
	}
}

func boolean(to *bool) setter {
	return func(v value) (err error) {
		*to, err = v.boolean()
		return err
	}
}

// count takes a whole number; zero says what 0 stands for.
func count(to *int, zero string) setter {
	return func(v value) (err error) {
		*to, err = v.integer("a whole number, "+zero, 0, math.MaxInt32)
		return err
	}
}

// optional takes an empty text as none.
func optional(set setter, to *string) setter {
	return func(v value) error {
		if s, err := v.text(); err == nil && s == "" {
			*to = ""
			return nil
		}
		return set(v)
	}
}

// interval takes a number of units; 0 leaves the default.
func interval(to *time.Duration, unit time.Duration) setter {
	return func(v value) error {
		name := map[time.Duration]string{time.Second: "seconds", time.Millisecond: "milliseconds"}[unit]
		n, err := v.integer("a whole number of "+name+", 0 for the default", 0, math.MaxInt32)
		if err == nil && n != 0 {
			*to = time.Duration(n) * unit
		}
		return err
	}
}

// limit takes seconds; 0 is kept, and zero says what it stands for.
func limit(to *time.Duration, zero string) setter {
	return func(v value) error {
		n, err := v.integer("a whole number of seconds, "+zero, 0, math.MaxInt32)
		*to = time.Duration(n) * time.Second
		return err
	}
}

func nonceLength(to *int) setter {
	return func(v value) error {
		want := "a whole number from 2 to 8 (bytes), 0 for the default"
		n, err := v.integer(want, 0, 8)
		switch {
		case err != nil:
			return err
		case n == 1:
			return v.wants(want)
		case n != 0:
			*to = n
		}
		return nil
	}
}

// aboveZero takes a number; 0 leaves the default.
func aboveZero(to *float64) setter {
	return func(v value) error {
		f, err := v.number("a number above 0", func(f float64) bool { return f >= 0 })
		if err == nil && f != 0 {
			*to = f
		}
		return err
	}
}

func zeroOrAbove(to *float64) setter {
	return func(v value) (err error) {
		*to, err = v.number("a number above 0, or 0 for none", func(f float64) bool { return f >= 0 })
		return err
	}
}

// networks takes an array of networks or addresses, or one.
func networks(to *[]netip.Prefix) setter {
	return func(v value) error {
		list := []netip.Prefix{}
		for _, e := range v.oneOrMore() {
			s, err := e.text()
			p, networkErr := parseNetwork(s)
			if err != nil || networkErr != nil {
				return e.wants(`an address or a network like "10.0.0.0/8" or "2001:db8::/32"`)
			}
			list = append(list, p)
		}
		*to = list
		return nil
	}
}

func parseNetwork(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// hostPort takes an address to connect to.
func hostPort(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		host, _, urlErr := splitURL(s)
		if err != nil || urlErr != nil || host == "" {
			return v.wants("host:port")
		}
		*to = s
		return nil
	}
}

// ownPort takes an address to listen on that has a port.
func ownPort(to *string) setter {
	return func(v value) error {
		s, err := v.listenAddress()
		if err != nil {
			return err
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			return v.wants("host:port, ip:port or [v6]:port")
		}
		*to = s
		return nil
	}
}

func (v value) listenAddress() (string, error) {
	s, err := v.text()
	_, _, urlErr := splitURL(s)
	if err != nil || urlErr != nil || s == "" {
		return "", v.wants("host:port, ip:port or [v6]:port")
	}
	return s, nil
}
