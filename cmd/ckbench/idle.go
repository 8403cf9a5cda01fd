package main

import (
	"context"
	"io"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
)

func idle(ctx context.Context, args []string, out io.Writer) (bool, error) {
	var c bench.IdleConfig
	f := newFlags("idle", 1000).engine()
	f.DurationVar(&c.Duration, "duration", 10*time.Second, "how long to stay after all have work")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	c.Options = f.options
	r, err := bench.Idle(ctx, c)
	if err != nil {
		return false, err
	}
	return f.print(out, r)
}
