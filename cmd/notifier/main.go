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
	"ckpool/internal/getopt"
	"ckpool/internal/sockdir"
)

const usage = `Usage: notifier [-n NAME] [-p] [-s DIR]

Tells a running ckpool that there is a new block.

`

// replyTime is short since some pools do not reply at all to an update.
const replyTime = time.Second

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	v, err := parse(args, stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprint(stdout, usage+new(values).set().FlagUsages())
		return 0
	case err == nil && v.manual != "":
		var text string
		text, err = manualPage(new(values).set()).Print(v.manual)
		fmt.Fprint(stdout, text)
		if err == nil {
			return 0
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	path := sockdir.Find(v.parent, v.name, "stratifier")
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

// values are the options.
type values struct {
	name, parent, manual string
	proxy                bool
}

func (v *values) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("notifier", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.StringVarP(&v.name, "name", "n", "", "`NAME` of the instance (default ckpool, or ckproxy with -p)")
	fs.BoolVarP(&v.proxy, "proxy", "p", false, "the instance is a proxy")
	fs.StringVarP(&v.parent, "sockdir", "s", "", "`DIR` given to ckpool as -s, or the one above it (default /run/ckpool, then /tmp)")
	fs.StringVar(&v.manual, "manual", "", "print the manual: man, bash or zsh")
	_ = fs.MarkHidden("manual") // it exists
	return fs
}

// parse complains about unknown options but goes on: a pool without news of
// blocks is worse.
func parse(args []string, stderr io.Writer) (*values, error) {
	v := new(values)
	fs := v.set()
	err := fs.Parse(args)
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		fmt.Fprintf(stderr, "notifier: %v (ignored)\n", getopt.Explain(err))
		fs.ParseErrorsAllowlist.UnknownFlags = true
		err = fs.Parse(args)
	}
	if v.name == "" {
		v.name = "ckpool"
		if v.proxy {
			v.name = "ckproxy"
		}
	}
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		err = fmt.Errorf("notifier: %w", getopt.Explain(err))
	}
	return v, err
}
