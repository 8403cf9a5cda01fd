//go:build linux

package netserver

// SetLimits changes MaxClients, Descriptors and the limits per address while the server
// runs; the rest of c is not looked at. Nobody is dropped for a lower limit.
// Any goroutine may call.
func (s *Server) SetLimits(c Config) error {
	c.Events = s.config.Events
	if err := c.complete(); err != nil {
		return err
	}
	most, err := c.boundMaxClients()
	if err != nil {
		return err
	}
	s.limits.set(&c)
	s.maxClients.Store(most)
	s.recheckGates()
	return nil
}
