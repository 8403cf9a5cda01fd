package main

import (
	"context"
	"io"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
)

func links(ctx context.Context, args []string, out io.Writer) (bool, error) {
	var c bench.LinksConfig
	var blocks blockFlags
	f := newFlags("links", 10_000)
	f.IntVar(&c.Links, "links", 10, "links that the miners come over, as behind a passthrough each")
	f.Float64Var(&c.Rate, "rate", 2000, "shares a second, of miners by chance")
	f.DurationVar(&c.Duration, "duration", 10*time.Second, "time of the shares")
	f.IntVar(&c.Rounds, "rounds", 0, "blocks to make, with --rpc")
	f.DurationVar(&f.options.Ready, "ready", 0, "time for all miners to log in and get work (default 1m)")
	blocks.add(f)
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	c.Options = f.options
	if c.Rounds > 0 {
		var err error
		if c.Block, err = blocks.trigger(f); err != nil {
			return false, err
		}
	}
	r, err := bench.Links(ctx, c)
	if err != nil {
		return false, err
	}
	return f.print(out, r)
}
