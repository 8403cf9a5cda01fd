package demo

import (
	"context"
	"errors"
)

// databaseSockets is the directory of ckdb's.
const databaseSockets = "ckdb-sockets"

// startDatabase starts ckdb on SQLite, which follows the pool's journal.
func (d *demo) startDatabase(ctx context.Context, s *settings) (*program, error) {
	p, err := d.start("ckdb", "-s", databaseSockets, "-r", "logs", "-j", s.journal, "--db", "ckdb")
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, d.dial(databaseSockets, "listener")); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}
