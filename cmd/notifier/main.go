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

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/sockdir"
)

func usage(width int) string {
	return getopt.Usage(new(values).set(), synopsis, "Tells a running ckpool that there is a new block.", width)
}

// synopsis is how to call the program.
var synopsis = []string{"[-n NAME] [-s DIR]"}

// replyTime is short since some pools do not reply at all to an update.
const replyTime = time.Second

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	v, err := parse(args, stderr)
	switch {
	case err == nil && v.help:
		fmt.Fprint(stdout, usage(getopt.Width(stdout)))
		return 0
	case err == nil && v.version:
		fmt.Fprint(stdout, buildinfo.Line("notifier"))
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
	proxy, help, version bool
}

func (v *values) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("notifier", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SortFlags = false
	fs.StringVarP(&v.name, "name", "n", "", "`NAME` of the instance; ckpool without it")
	fs.BoolVarP(&v.proxy, "proxy", "p", false, "the instance is a proxy")
	fs.StringVarP(&v.parent, "sockdir", "s", "", "`DIR` given to ckpool as -s, or the one above it; without it /run/ckpool, then /tmp")
	fs.BoolVarP(&v.help, "help", "h", false, "print this")
	fs.BoolVar(&v.version, "version", false, "print what this program was built from")
	fs.StringVar(&v.manual, "manual", "", "print the manual: man, bash or zsh")
	_ = fs.MarkHidden("manual") // it exists
	_ = fs.MarkHidden("proxy")  // likewise; -n ckproxy says it as well
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
	if err != nil {
		err = getopt.Refuse("notifier", getopt.Explain(err))
	}
	return v, err
}
