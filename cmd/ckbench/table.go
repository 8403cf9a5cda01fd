package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ckpool/ckpool/internal/bench/compare"
)

func table(ctx context.Context, args []string, out io.Writer) (bool, error) {
	ckpool, ckbench, err := programs()
	if err != nil {
		return false, err
	}
	f := newFlagSet("table")
	c := compare.Config{Ckbench: ckbench, Size: compare.FullSize, Progress: progress(out)}
	f.IntVar(&c.Rounds, "rounds", 5, "times to measure everything")
	f.StringVar(&c.Only, "only", "", "measure one part only: "+strings.Join(compare.Parts(), ", "))
	f.StringVar(&c.Ckpool, "ckpool", ckpool, "program to measure")
	into := f.String("into", "", "file to put the table into, between its marks")
	var o compare.Other
	f.StringVar(&o.Address, "against", "", "another server to measure, host:port; every hash should be a share there")
	f.IntVar(&o.Pid, "pid", 0, "its process id")
	f.StringVar(&o.User, "user", "bench", "its user name")
	f.StringVar(&o.Password, "password", "x", "its password")
	f.StringVar(&o.RPC, "rpc", "", "its node, http://user:password@host:port, which makes blocks")
	f.StringVar(&o.PayTo, "pay-to", "", "address for generatetoaddress (Bitcoin Core)")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	if o.Address != "" {
		if o.Pid == 0 {
			return false, errors.New("--against needs --pid, to measure CPU and memory")
		}
		c.Other = &o
	}
	r, err := compare.Run(ctx, c)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(out, "\n%s\n", r.Markdown())
	for _, text := range r.Faults {
		fmt.Fprintf(out, "FAULT of %s\n", text)
	}
	if over := r.Over(); len(over) > 0 {
		fmt.Fprintf(out, "beyond the budget: %s\n", strings.Join(over, "; "))
	}
	if *into != "" {
		err = r.Insert(*into)
	}
	return len(r.Faults) == 0, err
}
