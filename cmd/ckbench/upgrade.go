package main

import (
	"context"
	"io"
	"time"

	"github.com/ckpool/ckpool/internal/bench/compare"
)

func upgrade(ctx context.Context, args []string, out io.Writer) (bool, error) {
	ckpool, ckbench, err := programs()
	if err != nil {
		return false, err
	}
	c := compare.UpgradeConfig{Ckbench: ckbench, Transactions: compare.FullSize.Transactions, Progress: progress(out)}
	f := newFlagSet("upgrade")
	f.StringVar(&c.Ckpool, "ckpool", ckpool, "program to measure")
	f.IntVar(&c.Upgrades, "upgrades", 10, "times to replace the process")
	f.DurationVar(&c.Every, "every", 2*time.Second, "time between them")
	f.IntVar(&c.Miners, "miners", 5_000, "miners that submit")
	f.Float64Var(&c.Rate, "rate", 5_000, "shares per second of all miners together")
	f.IntVar(&c.Idle, "idle", 0, "further miners that submit nothing")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	r, err := compare.Upgrade(ctx, c)
	if err != nil {
		return false, err
	}
	return !r.Failed(), r.Print(out)
}
