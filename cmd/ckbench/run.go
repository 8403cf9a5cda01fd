package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/term"

	"ckpool/internal/testkit/demo"
)

// runDemo is make run: node, pool and miners until Ctrl-C. It returns the exit
// status.
func runDemo(args []string) int {
	flags := newFlagSet("run")
	c := demo.Config{Out: os.Stdout, Terminal: term.IsTerminal(int(os.Stdout.Fd()))}
	flags.StringVar(&c.Dir, "dir", "run", "`directory` that keeps, for each chain and mode, configuration, logs and chain")
	flags.StringVar(&c.Listen, "listen", os.Getenv("LISTEN"), "`host:port` for miners (default 127.0.0.1:3333)")
	flags.StringVar(&c.Node, "node", os.Getenv("NODE"), "a node to use instead of btcd: its `COOKIEFILE`, or http[s]://user:pass@host:port")
	flags.StringVar(&c.Address, "address", os.Getenv("ADDRESS"), "`address` that blocks pay (default, on regtest, one of its own)")
	solo, err := soloMode(os.Getenv("MODE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "ckbench run:", err)
		return 1
	}
	flags.BoolVar(&c.Solo, "solo", solo, "blocks pay whoever finds them")
	if err := flags.parse(args); err != nil {
		if _, err := help(os.Stdout, err); err == nil {
			return 0
		}
		fmt.Fprintln(os.Stderr, "ckbench run:", err)
		return 1
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ckbench run:", err)
		return 1
	}
	c.Ckpool = filepath.Join(filepath.Dir(exe), "ckpool")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := demo.Run(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "ckbench run:", err)
		return 1
	}
	return 0
}
