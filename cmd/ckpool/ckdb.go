package main

import (
	"context"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/pool"
)

// ckdb is where the database is that belongs to the pool, nil if there is none: it
// was named, or one of the default name answers now.
func (s *service) ckdb() *authority.Place {
	p := &authority.Place{Dir: s.options.CkdbDir, Name: s.options.CkdbName}
	switch {
	case s.options.Standalone, s.options.Mode == config.Remote: // the main pool has it
		return nil
	case s.options.WithCkdb, p.Answers(context.Background()):
		return p
	}
	return nil
}

// keepsShares tells whether shares go to the journal, for a ckdb that is there or is
// to come, and whether nobody has asked for that.
func (s *service) keepsShares(c *config.Config, ckdb *authority.Place) (keeps, unasked bool) {
	switch {
	case s.options.Mode == config.Remote: // it is what is reported
		return true, false
	case s.options.Standalone:
		return false, false
	case c.Journal != "" || ckdb != nil:
		return true, false
	case pool.KeptShares(c, s.options.Name): // ckdb may only be later than the pool, as after a start of the machine
		s.events.Say(event.Warning, "No ckdb answers: shares are kept for it all the same, in the journal that is there (-d names it, -A: there is none any more)")
		return true, true
	}
	s.events.Say(event.Notice, `Shares are counted and not kept for payment: no ckdb answers, and there is no "journal" in the configuration (-A: that is meant)`)
	return false, false
}
