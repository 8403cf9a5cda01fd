package main

import (
	"fmt"
	"strings"
	"time"

	"ckpool/internal/config"
	"ckpool/internal/keypair"
)

// checkTLS reads what a listener is to show its clients.
func checkTLS(l *config.Listener) (warning string, err error) {
	if l.TLSCert == "" {
		return "", nil
	}
	p, err := keypair.Open(l.TLSCert, l.TLSKey, nil)
	if err != nil {
		return "", err
	}
	if end := p.Expires(); time.Now().After(end) {
		warning = fmt.Sprintf("TLS certificate %s has expired on %s, miners may refuse it", l.TLSCert, end.Format(time.DateOnly))
	}
	return warning, nil
}

// loadConfig reads the configuration, refuses what this build would silently
// not do, and returns what the operator should read.
func loadConfig(o Options) (config.Config, []string, error) {
	c, warnings, err := config.Load(o.Config, o.Mode)
	var lines []string
	for _, w := range warnings {
		lines = append(lines, w.String())
	}
	if err != nil {
		return c, lines, err
	}
	for i, l := range c.Servers {
		warning, err := checkTLS(&l)
		at := func(text string) *config.Error {
			return config.Locate(o.Config, o.Mode, fmt.Sprintf("serverurl[%d].tls", i), text)
		}
		if err != nil {
			return c, lines, at(err.Error())
		}
		if warning != "" {
			lines = append(lines, at(warning).Error())
		}
	}
	links := []struct {
		key    string
		listen []string
	}{
		{"nodeserver", c.NodeServers}, {"trusted", c.TrustedServers}, {"passthroughserver", c.PassthroughServers},
	}
	for _, l := range links {
		if len(l.listen) > 0 {
			lines = append(lines, fmt.Sprintf("%s: not built yet: %q, not listening on %s", o.Config, l.key, strings.Join(l.listen, ", ")))
		}
	}
	return c, lines, nil
}
