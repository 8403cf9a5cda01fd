package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/stratum"
)

func mine(ctx context.Context, args []string, out io.Writer) (bool, error) {
	var c bench.MineConfig
	f := newFlags("mine", 2)
	f.Float64Var(&c.HashRate, "hashrate", 100_000, "most hashes per second of each miner, 0 for what the CPU gives")
	mask := f.String("version-mask", "ffffffff", "version bits to ask for, 0 to do without")
	f.Float64Var(&c.Suggest, "suggest", 0, "difficulty to suggest")
	f.DurationVar(&c.Duration, "duration", time.Minute, "how long to mine, Ctrl-C ends it sooner")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	c.Options = f.options
	var ok bool
	if c.VersionMask, ok = stratum.Hex32([]byte(*mask)); !ok {
		return false, fmt.Errorf("version mask %q: must be up to 8 hex digits", *mask)
	}
	if !f.json {
		fmt.Fprintf(os.Stderr, "mining for %s, Ctrl-C ends it sooner\n", figures.Duration(c.Duration))
	}
	r, err := bench.Mine(ctx, c)
	if err != nil {
		return false, err
	}
	return f.print(out, r)
}
