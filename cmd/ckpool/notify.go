package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/notify"
)

// notifyCommand is the word that stands for options of its own.
const notifyCommand = "notify-test"

// notifyOptions is the command line of notify-test.
type notifyOptions struct {
	config, name, target string
	help                 bool
}

func (o *notifyOptions) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("ckpool "+notifyCommand, pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SortFlags = false
	fs.StringVarP(&o.config, "config", "c", "", "configuration `FILE`; without it NAME.conf in the current directory")
	fs.StringVarP(&o.name, "name", "n", "ckpool", "`NAME` of the instance")
	fs.BoolVarP(&o.help, "help", "h", false, "print this")
	getopt.Group(fs, "")
	return fs
}

func (o *notifyOptions) parse(args []string) error {
	fs := o.set()
	args, err := getopt.Expand(fs, args)
	if err == nil {
		err = getopt.Explain(fs.Parse(args))
	}
	if err == nil && fs.NArg() > 1 {
		err = fmt.Errorf("%q is one target too many", fs.Arg(1))
	}
	if err != nil {
		return getopt.Refuse(fs.Name(), err)
	}
	if o.target = fs.Arg(0); o.config == "" {
		o.config = o.name + ".conf"
	}
	return nil
}

// errNotSent is that some message has not got to its target, which was told.
var errNotSent = loggedError{errors.New("not all were sent")}

// notifyTest sends a test message to each target of a configuration, or to one, and says
// on a line what came of it.
func notifyTest(args []string, stdout, stderr io.Writer) error {
	var o notifyOptions
	if err := o.parse(args); err != nil {
		return err
	}
	if o.help {
		fmt.Fprint(stdout, getopt.Usage(new(notifyOptions).set(), []string{"[-c FILE] [TARGET]"},
			`Sends a test message to each target of "notify" in the configuration, or to the one called TARGET, and says whether it got there. See docs/notifications.md.`, getopt.Width(stdout)))
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	c, errs := notify.Load(o.config)
	failed := false
	for _, e := range errs {
		fmt.Fprintln(stderr, e)
		failed = true
	}
	if c.File == "" {
		return errNotSent
	}
	targets := c.Notify
	if o.target != "" {
		targets = slices.DeleteFunc(targets, func(t config.Target) bool { return t.Name != o.target })
	}
	switch {
	case len(targets) > 0:
	case o.target != "":
		return fmt.Errorf("%s: \"notify\" has no target called %q", o.config, o.target)
	case !failed:
		return fmt.Errorf("%s: \"notify\" has no target", o.config)
	}
	width := 0
	for _, t := range targets {
		width = max(width, len(t.Name))
	}
	for _, t := range targets {
		result := "sent"
		if err := notify.Test(ctx, t, c.PoolTag, time.Now()); err != nil {
			result, failed = "not sent: "+err.Error(), true
		}
		fmt.Fprintf(stdout, "%-*s  %-8s  %s\n", width, t.Name, t.Service, result)
	}
	if failed {
		return errNotSent
	}
	return nil
}

// targets are who hears of what, without their secrets.
func (k *check) targets() {
	for _, t := range k.config.Notify {
		of := ""
		if t.User != "" {
			of = " of " + t.User
		}
		k.say("notify", t.Name, fmt.Sprintf("%s: %s%s", t.Service, counted(len(t.Events), "event"), of))
		if t.Service != config.ServiceCommand {
			continue
		}
		if info, err := os.Stat(t.Command[0]); err != nil {
			k.fail(t.Key+".command", "%v", err)
		} else if info.IsDir() || unix.Access(t.Command[0], unix.X_OK) != nil {
			k.fail(t.Key+".command", "%s is no program that this user may run", t.Command[0])
		}
	}
}
