// Command ckbench measures a stratum pool with simulated miners that do real
// hashing: how many shares it checks, how fast it answers, what a miner costs
// it, how soon miners have work on a new block. It also brings what a pool needs to
// be tried: a fake bitcoin node.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ckpool/ckpool/internal/buildinfo"
)

// modes are the subcommands that measure, in the order of the usage text. The run
// of each returns false when the pool did what it should not.
var modes = []struct {
	name, about string
	run         func(ctx context.Context, args []string, out io.Writer) (ok bool, err error)
}{
	{"shares", "valid shares as fast as a window of replies allows, or at a rate", shares},
	{"mine", "steady mining at the pool's difficulty, with a cap on the hash rate", mine},
	{"idle", "authorized miners that submit nothing: what they cost the pool", idle},
	{"notify", "how soon miners have clean work after a new block", notify},
	{"links", "miners behind links, by the thousand: cost, and when they have work", links},
	{"storm", "all miners connect at once: how soon they have work", storm},
	{"table", "all of it, ckpool and the bare loop in turn, as one table", table},
	{"hostile", "latency of well-behaved miners among hostile clients", hostile},
	{"soak", "ten minutes of well-behaved and hostile clients and blocks", soak},
	{"jobs", "ten minutes of large templates, a new one every second", jobs},
	{"upgrade", "the program is replaced several times under load: no miner notices", upgrade},
	{"mob", "hostile clients alone", runMob},
	{"bare", "serve the floor to compare with: fixed answers, no pool behind them", runBare},
}

// tools are the subcommands that do not measure.
var tools = []struct{ name, about string }{
	{"run", "a complete pool to try, with its own node and miners"},
	{"run-pool", "one whose blocks are divided among miners and paid, with a wallet"},
	{"run-proxy", "one with a proxy before it, which the miners are at"},
	{"run-links", "one behind two passthroughs and a node, which the miners are at"},
	{"orphan", "have the newest block of run-pool orphaned"},
	{"fakenode", "a bitcoin node that is none, for templates of any size"},
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; its result is the exit status: 0, or 1 when something could
// not be measured or the pool lost shares or connections.
func run(args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		usage(errs)
		return 1
	}
	name, args := args[0], args[1:]
	switch name {
	case "run":
		return runDemo(args)
	case "run-pool":
		return runMoney(args)
	case "run-proxy":
		return runProxy(args)
	case "run-links":
		return runLinks(args)
	case "orphan":
		return runOrphan(args)
	case "fakenode":
		return runFakeNode(args)
	case "-h", "-help", "--help", "help":
		usage(out)
		return 0
	case "--version":
		fmt.Fprint(out, buildinfo.Line("ckbench"))
		return 0
	case "--manual":
		return printManual(args, out, errs)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, m := range modes {
		if m.name != name {
			continue
		}
		ok, err := m.run(ctx, args, out)
		if err != nil {
			fmt.Fprintf(errs, "ckbench %s: %v\n", name, err)
			return 1
		}
		if !ok {
			return 1
		}
		return 0
	}
	fmt.Fprintf(errs, "ckbench: unknown mode %q, \"ckbench help\" lists them\n", name)
	return 1
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage: ckbench MODE [options]\n       ckbench MODE --help\n       ckbench --version\n\nMeasures a stratum pool with simulated miners. Modes:\n\n")
	for _, m := range modes {
		fmt.Fprintf(w, "  %-10s%s\n", m.name, m.about)
	}
	for _, m := range tools {
		fmt.Fprintf(w, "  %-10s%s\n", m.name, m.about)
	}
}
