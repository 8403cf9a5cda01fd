// Command ckpool is a bitcoin mining pool.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run is main with its surroundings; it returns the exit status.
func run(argv []string, stdout, stderr io.Writer) int {
	upgrader := takeUpgrader()
	o, err := parseOptions(argv)
	if err == nil && o.Help {
		fmt.Fprint(stdout, usage())
		return 0
	}
	if err == nil && o.Manual != "" {
		text, err := manualPage().Print(o.Manual)
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
	c, warnings, err := loadConfig(o)
	if o.Ignored != "" {
		warnings = append(warnings, fmt.Sprintf("Ignoring what is no option: %q", o.Ignored))
	}
	if err == nil && !o.Check {
		return runPool(ctx, o, c, warnings, argv, parent)
	}
	for _, line := range warnings {
		fmt.Fprintln(stderr, line)
	}
	if err == nil {
		fmt.Fprintf(stdout, "%s: no errors\n", o.Config)
	}
	return err
}

// version is the module's, or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v = s.Value[:12]
		}
	}
	return v
}
