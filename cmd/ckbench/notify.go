package main

import (
	"context"
	"io"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
)

func notify(ctx context.Context, args []string, out io.Writer) (bool, error) {
	var c bench.NotifyConfig
	var blocks blockFlags
	f := newFlags("notify", 1000).engine()
	f.IntVar(&c.Rounds, "rounds", 5, "blocks to make")
	f.DurationVar(&c.Interval, "interval", time.Second, "time before each")
	blocks.add(f)
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	c.Options = f.options
	var err error
	if c.Block, err = blocks.trigger(f); err != nil {
		return false, err
	}
	r, err := bench.Notify(ctx, c)
	if err != nil {
		return false, err
	}
	return f.print(out, r)
}
