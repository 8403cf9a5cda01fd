// Notifier tells a running ckpool that there is a new block. It is meant for
// the node's option -blocknotify; other arguments, such as the block's hash,
// are ignored.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"ckpool/control"
	"ckpool/internal/sockdir"
)

const usage = `Usage: notifier [-n NAME] [-p] [-s DIR]

Tells a running ckpool that there is a new block.

  -n NAME  name of the instance (default ckpool, or ckproxy with -p)
  -p       the instance is a proxy
  -s DIR   parent of the instance's socket directory (default /run/ckpool, then /tmp)
`

// replyTime is short since some pools do not reply at all to an update.
const replyTime = time.Second

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	path, err := socketPath(args, stderr)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	c := &control.Client{Path: path, ReplyTimeout: replyTime, BodyTimeout: replyTime}
	reply, err := c.Do(context.Background(), "update")
	switch {
	case errors.Is(err, control.ErrConnect):
		fmt.Fprintln(stderr, "Failed to open socket: "+path)
		return 1
	case err != nil && !errors.Is(err, control.ErrNoReply):
		fmt.Fprintln(stderr, "Failed to send stratifier update msg")
		return 1
	case err == nil && control.Failed(reply):
		fmt.Fprintln(stderr, "Stratifier refused the update: "+reply)
		return 1
	}
	fmt.Fprintln(stdout, "Notified stratifier of block update")
	return 0
}

// socketPath complains about unknown options but goes on: a pool without news
// of blocks is worse.
func socketPath(args []string, stderr io.Writer) (string, error) {
	fs := pflag.NewFlagSet("notifier", pflag.ContinueOnError)
	fs.Usage = func() {}
	name := fs.StringP("name", "n", "", "")
	parent := fs.StringP("sockdir", "s", "", "")
	proxy := fs.BoolP("proxy", "p", false, "")
	err := fs.Parse(args)
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		fmt.Fprintf(stderr, "notifier: %v (ignored)\n", err)
		fs.ParseErrorsAllowlist.UnknownFlags = true
		err = fs.Parse(args)
	}
	if err != nil {
		return "", err
	}
	if *name == "" {
		*name = "ckpool"
		if *proxy {
			*name = "ckproxy"
		}
	}
	return sockdir.Find(*parent, *name, "stratifier"), nil
}
