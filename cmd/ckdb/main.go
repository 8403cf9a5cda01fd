// Command ckdb stores what pools tell in their journals in a database, and shows it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/getopt"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	switch {
	case err != nil:
	case o.help:
		fmt.Fprint(stdout, usage(getopt.Width(stdout)))
	case o.version:
		fmt.Fprint(stdout, buildinfo.Line("ckdb"))
	case o.manual != "":
		var text string
		text, err = manualPage().Print(o.manual)
		fmt.Fprint(stdout, text)
	default:
		// Until the process is gone: a second signal must not cut off the ending.
		ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		if len(o.command) > 0 {
			err = o.runCommand(ctx, stdout)
		} else {
			err = serve(ctx, o, stderr)
		}
	}
	if err == nil {
		return 0
	}
	if !errors.Is(err, errLogged) {
		fmt.Fprintln(stderr, "ckdb:", oneLine(err))
	}
	return 1
}

// oneLine is an error without the line feeds that drivers of databases put into it.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
