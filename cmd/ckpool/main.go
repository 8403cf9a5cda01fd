// Command ckpool is a bitcoin mining pool.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/getopt"
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run is main with its surroundings; it returns the exit status.
func run(argv []string, stdout, stderr io.Writer) int {
	if len(argv) > 1 && argv[1] == initCommand {
		return exitStatus(initialize(argv, os.Stdin, stdout, stderr), stderr)
	}
	if len(argv) > 1 && argv[1] == notifyCommand {
		return exitStatus(notifyTest(argv[2:], stdout, stderr), stderr)
	}
	upgrader := takeUpgrader()
	o, err := parseOptions(argv)
	if err == nil && o.Help {
		fmt.Fprint(stdout, usage(getopt.Width(stdout)))
		return 0
	}
	if err == nil && o.Version {
		fmt.Fprint(stdout, buildinfo.Line("ckpool"))
		return 0
	}
	if err == nil && o.Manual != "" {
		text, err := printManual(o.Manual)
		fmt.Fprint(stdout, text)
		return exitStatus(err, stderr)
	}
	if err == nil {
		err = serve(o, argv, upgrader, stdout, stderr)
	}
	upgrader.tell(err)
	return exitStatus(err, stderr)
}

func exitStatus(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if !errors.Is(err, errLogged) {
		fmt.Fprintln(stderr, err)
	}
	return 1
}

func serve(o Options, argv []string, upgrader upgrader, stdout, stderr io.Writer) error {
	tuneMemory()
	// Until the process is gone: a second signal must not cut off the ending.
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	parent := takeDetached()
	if o.Daemonise && !o.Check && parent == nil && !upgrader.is() { // whose session goes on
		return detach(ctx, argv)
	}
	if o.Check {
		return checkConfig(ctx, o, stdout, stderr)
	}
	c, warnings, err := loadConfig(o)
	if err != nil {
		for _, line := range texts(warnings) {
			fmt.Fprintln(stderr, line)
		}
		return err
	}
	return runPool(ctx, o, c, texts(warnings), argv, parent)
}
