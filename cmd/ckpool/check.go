package main

import (
	"fmt"
	"strings"

	"ckpool/internal/config"
)

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
	for _, l := range c.Servers {
		if l.TLSCert != "" {
			return c, lines, fmt.Errorf("%s: not built yet: \"tls\" of listener %s", o.Config, l.URL)
		}
		if l.ProxyProtocol {
			return c, lines, fmt.Errorf("%s: not built yet: \"proxy_protocol\" of listener %s", o.Config, l.URL)
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
