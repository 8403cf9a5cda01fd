package pool

import "ckpool/internal/config"

// Fits says why nobody can be paid on a chain, named as Bitcoin Core does, with this
// configuration.
func Fits(chain string, c *config.Config) error {
	_, err := scriptsOn(chain, c, c.Solo)
	return err
}
