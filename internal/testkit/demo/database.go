package demo

import (
	"context"
	"errors"
)

const (
	databaseSockets = "ckdb-sockets" // directory of ckdb's
	database        = "ckdb"         // its directory
)

// startDatabase starts ckdb on SQLite, which follows the pool's journal.
func (d *demo) startDatabase(ctx context.Context, s *settings) (*program, error) {
	args := []string{"-s", databaseSockets, "-r", "logs", "-j", s.journal, "--db", database}
	if s.nodeWallet != "" {
		args = append(args, "--node", s.nodeWallet)
	}
	if d.config.Money {
		var err error
		if s.accounts, err = d.freePage(accountPage); err != nil {
			return nil, err
		}
		args = append(args, "--http", s.accounts)
	}
	p, err := d.start("ckdb", args...)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, d.dial(databaseSockets, "listener")); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}
