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

	"github.com/ckpool/ckpool/internal/testkit/demo"
)

// runDemo is make run: node, pool and miners until Ctrl-C. It returns the exit
// status.
func runDemo(args []string) int {
	flags := newFlagSet("run")
	c := demo.Config{Out: os.Stdout, Terminal: term.IsTerminal(int(os.Stdout.Fd()))}
	flags.StringVar(&c.Dir, "dir", demo.DefaultDir, "`directory` that keeps, for each chain and mode, configuration, logs and chain")
	flags.StringVar(&c.Listen, "listen", os.Getenv("LISTEN"), "`host:port` for miners (default 127.0.0.1:3333)")
	flags.StringVar(&c.Node, "node", os.Getenv("NODE"), "a node to use instead of btcd: its `COOKIEFILE`, or http[s]://user:pass@host:port")
	flags.StringVar(&c.Address, "address", os.Getenv("ADDRESS"), "`address` that blocks pay (default, on regtest, one of its own)")
	solo, err := soloMode(os.Getenv("MODE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "ckbench run:", err)
		return 1
	}
	flags.BoolVar(&c.Solo, "solo", solo, "blocks pay whoever finds them")
	return start("run", flags, args, &c)
}

// runMoney is make run-pool: a pool whose blocks are divided and paid out. It returns the
// exit status.
func runMoney(args []string) int {
	flags := newFlagSet("run-pool")
	c := demo.Config{Money: true, Out: os.Stdout, Terminal: term.IsTerminal(int(os.Stdout.Fd()))}
	flags.StringVar(&c.Dir, "dir", demo.DefaultDir, "`directory` that keeps configuration, logs, chain and database, in one of its own")
	flags.StringVar(&c.Listen, "listen", os.Getenv("LISTEN"), "`host:port` for miners (default 127.0.0.1:3333)")
	if !aloneIn("run-pool", "this one has a chain and a wallet of its own") {
		return 1
	}
	return start("run-pool", flags, args, &c)
}

// runProxy is make run-proxy: miners at a proxy before a pool. It returns the exit status.
func runProxy(args []string) int {
	flags := newFlagSet("run-proxy")
	c := demo.Config{Farm: true, Out: os.Stdout, Terminal: term.IsTerminal(int(os.Stdout.Fd()))}
	flags.StringVar(&c.Dir, "dir", demo.DefaultDir, "`directory` that keeps configurations, logs and chain, in one of its own")
	flags.StringVar(&c.Listen, "listen", os.Getenv("LISTEN"), "`host:port` of the proxy for miners (default 127.0.0.1:3333)")
	if !aloneIn("run-proxy", "this one has a chain and a pool of its own") {
		return 1
	}
	return start("run-proxy", flags, args, &c)
}

// runLinks is make run-links: miners at two passthroughs and a node. It returns the exit
// status.
func runLinks(args []string) int {
	flags := newFlagSet("run-links")
	c := demo.Config{Links: true, Out: os.Stdout, Terminal: term.IsTerminal(int(os.Stdout.Fd()))}
	flags.StringVar(&c.Dir, "dir", demo.DefaultDir, "`directory` that keeps configurations, logs and chain, in one of its own")
	flags.StringVar(&c.Listen, "listen", os.Getenv("LISTEN"), "`host:port` of a passthrough for miners (default 127.0.0.1:3333)")
	if !aloneIn("run-links", "this one has a chain and a pool of its own") {
		return 1
	}
	return start("run-links", flags, args, &c)
}

// aloneIn tells that nothing is set that is for make run alone, and else says so.
func aloneIn(mode, why string) bool {
	for _, name := range []string{"NODE", "ADDRESS", "MODE"} {
		if os.Getenv(name) != "" {
			fmt.Fprintf(os.Stderr, "ckbench %s: %s= is for make run: %s\n", mode, name, why)
			return false
		}
	}
	return true
}

// start reads the arguments and runs until there is a signal.
func start(name string, flags *flags, args []string, c *demo.Config) int {
	if err := flags.parse(args); err != nil {
		if _, err := help(os.Stdout, err); err == nil {
			return 0
		}
		fmt.Fprintf(os.Stderr, "ckbench %s: %v\n", name, err)
		return 1
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintf(os.Stderr, "ckbench %s: %v\n", name, err)
		return 1
	}
	c.Ckpool = filepath.Join(filepath.Dir(exe), "ckpool")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := demo.Run(ctx, *c); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "ckbench %s: %v\n", name, err)
		return 1
	}
	return 0
}

// runOrphan has a block of make run-pool orphaned. It returns the exit status.
func runOrphan(args []string) int {
	flags := newFlagSet("orphan")
	dir := flags.String("dir", demo.DefaultDir, "`directory` that run-pool was given")
	if err := flags.parse(args); err != nil {
		if _, err := help(os.Stdout, err); err == nil {
			return 0
		}
		fmt.Fprintln(os.Stderr, "ckbench orphan:", err)
		return 1
	}
	text, err := demo.Orphan(context.Background(), *dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ckbench orphan:", err)
		return 1
	}
	fmt.Println(text)
	return 0
}
