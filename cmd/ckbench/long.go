package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/internal/bench/compare"
)

// programs are the one to measure, which stands beside this one, and this one.
func programs() (ckpool, ckbench string, err error) {
	ckbench, err = os.Executable()
	return filepath.Join(filepath.Dir(ckbench), "ckpool"), ckbench, err
}

func progress(out io.Writer) func(string) {
	return func(line string) { fmt.Fprintln(out, line) }
}

func hostile(ctx context.Context, args []string, out io.Writer) (bool, error) {
	ckpool, ckbench, err := programs()
	if err != nil {
		return false, err
	}
	c := compare.HostileConfig{Ckbench: ckbench, Size: compare.FullSize, Mob: compare.FullMob, Progress: progress(out)}
	f := newFlagSet("hostile")
	f.StringVar(&c.Ckpool, "ckpool", ckpool, "program to measure")
	f.IntVar(&c.Rounds, "rounds", 5, "times to measure everything")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	r, err := compare.Hostile(ctx, c)
	if err != nil {
		return false, err
	}
	return !r.Failed(), r.Print(out)
}

func soak(ctx context.Context, args []string, out io.Writer) (bool, error) {
	c := compare.LongConfig{Size: compare.FullSize, Mob: compare.SoakMob}
	return long(ctx, "soak", args, out, c, compare.Soak)
}

func jobs(ctx context.Context, args []string, out io.Writer) (bool, error) {
	c := compare.LongConfig{Size: compare.JobsSize}
	return long(ctx, "jobs", args, out, c, compare.Jobs)
}

func long(ctx context.Context, mode string, args []string, out io.Writer, c compare.LongConfig,
	run func(context.Context, compare.LongConfig) (*compare.LongReport, error),
) (bool, error) {
	ckpool, ckbench, err := programs()
	if err != nil {
		return false, err
	}
	f := newFlagSet(mode)
	f.StringVar(&c.Ckpool, "ckpool", ckpool, "program to measure")
	f.DurationVar(&c.Duration, "duration", 10*time.Minute, "how long")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	c.Ckbench, c.Progress = ckbench, progress(out)
	r, err := run(ctx, c)
	if err != nil {
		return false, err
	}
	return !r.Failed(), r.Print(out)
}
