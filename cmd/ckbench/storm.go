package main

import (
	"context"
	"io"

	"github.com/ckpool/ckpool/internal/bench"
)

func storm(ctx context.Context, args []string, out io.Writer) (bool, error) {
	f := newFlags("storm", 1000).engine()
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	r, err := bench.Storm(ctx, bench.StormConfig{Options: f.options})
	if err != nil {
		return false, err
	}
	return f.print(out, r)
}
