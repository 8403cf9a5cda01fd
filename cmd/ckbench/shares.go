package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
)

func shares(ctx context.Context, args []string, out io.Writer) (bool, error) {
	var c bench.SharesConfig
	var blocks blockFlags
	f := newFlags("shares", 50).engine()
	f.IntVar(&c.Window, "window", 8, "shares of a miner without a reply")
	f.Float64Var(&c.Rate, "rate", 0, "shares per second of all miners together, instead of a window")
	f.Int64Var(&c.Count, "count", 0, "shares to submit in all, 0 for as many as there is time for")
	f.DurationVar(&c.Duration, "duration", 10*time.Second, "how long to submit")
	f.IntVar(&c.Idle, "idle", 0, "further connections that submit nothing")
	f.DurationVar(&c.Every, "block-interval", 0, "make a block this often meanwhile, needs --rpc")
	blocks.add(f)
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	c.Options = f.options
	if c.Every > 0 {
		var err error
		if c.Block, err = blocks.trigger(f); err != nil {
			return false, err
		}
	} else if blocks.rpc != "" {
		return false, errors.New("--rpc is of use only with --block-interval")
	}
	r, err := bench.Shares(ctx, c)
	if err != nil {
		return false, err
	}
	return f.print(out, r)
}

// help prints the usage that --help asked for; other errors stay errors.
func help(out io.Writer, err error) (bool, error) {
	var text errHelp
	if errors.As(err, &text) {
		_, err = io.WriteString(out, string(text))
		return true, err
	}
	return false, err
}
