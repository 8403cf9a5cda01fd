package pool

import (
	"fmt"

	"github.com/ckpool/ckpool/internal/config"
)

// webPage is what a browser is shown on a stratum port.
func webPage(c *config.Config, solo, secure bool) string {
	scheme, user := "stratum+tcp", "any name"
	if secure {
		scheme = "stratum+ssl"
	}
	if solo {
		user = "your Bitcoin address, with .name behind it to tell miners apart"
	}
	return fmt.Sprintf(`This is a port for Bitcoin miners (Stratum version 1) of the pool %s, not for web browsers.

Point a miner at it:

  URL       %s:// and then the host and port that you have just used
  user      %s
  password  x
`, c.PoolTag, scheme, user)
}
