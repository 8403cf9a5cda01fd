package main

import (
	"context"

	"ckpool/internal/authority"
)

// ckdb is where the database is that belongs to the pool, nil if there is none: it
// was named, or one of the default name answers now.
func (s *service) ckdb() *authority.Place {
	p := &authority.Place{Dir: s.options.CkdbDir, Name: s.options.CkdbName}
	switch {
	case s.options.Standalone:
		return nil
	case s.options.WithCkdb, p.Answers(context.Background()):
		return p
	}
	return nil
}
