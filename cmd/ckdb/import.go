package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/accounting/reference"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/store"
)

// origin is what is imported.
type origin struct{ url, prefix, as, network string }

// importPool stores what a pool of the reference has. The error says also what could
// not be imported.
func (c *call) importPool(ctx context.Context) error {
	if (c.from.url == "") == (len(c.args) == 0) {
		return errors.New("usage: ckdb import DIR, or ckdb import --pg URL")
	}
	if c.from.url != "" && !isPostgres(c.from.url) { // whose password would be shown
		return errors.New("--pg: want postgres://USER:PASSWORD@HOST/NAME")
	}
	if _, ok := address.NetworkForChain(c.from.network); !ok {
		return fmt.Errorf("--network %s: want main, test, signet or regtest", c.from.network)
	}
	var d *daemon
	if c.db == "" {
		var err error
		if d, err = c.daemon(ctx); err != nil {
			return err
		}
	}
	where, err := c.database(d) // which need not be there yet
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, where)
	if err != nil {
		return err
	}
	defer s.Close()
	if c.from.url != "" {
		return c.importDatabase(ctx, s)
	}
	return c.importLogs(ctx, s)
}

func (c *call) importLogs(ctx context.Context, s *store.Store) error {
	bar := newBar()
	i := &reference.Import{
		Dir: c.args[0], Prefix: c.from.prefix, Name: c.from.as, Network: c.from.network, Store: s,
		Damaged: func(d reference.Damage) {
			bar.clear()
			fmt.Fprintf(os.Stderr, "%s\n", d)
		},
		Progress: func(s reference.Summary) {
			bar.show(uint64(s.Read), uint64(s.Bytes), figures.Count(s.Lines)+" lines, "+figures.Count(s.Shares)+" shares")
		},
	}
	sum, err := i.Run(ctx)
	bar.clear()
	if err != nil {
		return err
	}
	if err := c.print(sum); err != nil {
		return err
	}
	if n := sum.Damaged + sum.Expired; n > 0 {
		return fmt.Errorf("not imported: %s that cannot be understood, %s of days that the database has dropped", figures.Things(sum.Damaged, "line"), figures.Things(sum.Expired, "share"))
	}
	return nil
}

func (c *call) importDatabase(ctx context.Context, s *store.Store) error {
	name := c.from.as
	if name == "" {
		if u, err := url.Parse(c.from.url); err == nil {
			name = strings.TrimPrefix(u.Path, "/")
		}
	}
	i := &reference.DatabaseImport{
		URL: c.from.url, Name: cmp.Or(name, "ckdb"), Network: c.from.network, Store: s, By: person(),
		Damaged: func(err error) { fmt.Fprintf(os.Stderr, "%v\n", err) },
	}
	sum, err := i.Run(ctx)
	if err != nil {
		return err
	}
	if err := c.print(sum); err != nil {
		return err
	}
	if sum.Damaged > 0 {
		return fmt.Errorf("not imported: %s that cannot be understood", figures.Things(int64(sum.Damaged), "row"))
	}
	return nil
}
