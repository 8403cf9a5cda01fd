package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"ckpool/control"
	"ckpool/internal/getopt"
	"ckpool/internal/sockdir"
)

type options struct {
	client  *control.Client
	name    string // of the instance
	dir     string // that was named for sockets; empty: none
	level   int
	counter bool
	json    bool     // print replies as they are
	wide    bool     // print all of every table
	screen  *os.File // that replies may have to fit; nil: any width will do
	command []string // words of a command on the command line
	usage   string
	manual  string // format of the manual to print; empty: none
}

// values are options as they are read.
type values struct {
	counter, help, json, proxy   bool
	wide                         bool
	level, reply, body           int
	name, socket, parent, manual string
}

// set declares the options.
func (v *values) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("ckpmsg", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.BoolVarP(&v.counter, "counter", "c", false, "print a running count after every 100 replies")
	fs.BoolVarP(&v.help, "help", "h", false, "print this list")
	fs.BoolVar(&v.json, "json", false, "print the reply to a command as it is")
	fs.IntVarP(&v.level, "loglevel", "l", 7, "print messages up to this `LEVEL`, 0 to 7")
	fs.StringVarP(&v.name, "name", "n", "", "`NAME` of the instance (default ckpool, or ckproxy with -p)")
	fs.StringVarP(&v.socket, "sockname", "N", "listener", "which `SOCKET` of it: listener, generator, stratifier, connector")
	fs.BoolVarP(&v.proxy, "proxy", "p", false, "the instance is a proxy")
	fs.StringVarP(&v.parent, "sockdir", "s", "", "`DIR` given to ckpool as -s, or the one above it (default /run/ckpool, then /tmp)")
	fs.IntVarP(&v.reply, "timeout1", "t", 30, "`SECONDS` to wait for a reply")
	fs.IntVarP(&v.body, "timeout2", "T", 5, "`SECONDS` to wait for the rest of a reply")
	fs.BoolVar(&v.wide, "wide", false, "print all of a table, however wide the terminal is")
	fs.StringVar(&v.manual, "manual", "", "print the manual: man, bash or zsh")
	_ = fs.MarkHidden("manual") // it exists
	return fs
}

// parseOptions returns pflag.ErrHelp for --help; usage is set in any case.
func parseOptions(args []string) (options, error) {
	var o options
	var v values
	fs := v.set()
	o.usage = "Usage: ckpmsg [options] [command]\n\n" +
		"Sends the command to a running ckpool and prints its reply; without a command,\n" +
		"reads commands from the terminal, or sends each line of its input as it is.\n" +
		"\"ckpmsg help\" lists the commands.\n\n" + fs.FlagUsages()

	args, err := getopt.Expand(fs, args)
	if err != nil {
		return o, fmt.Errorf("ckpmsg: %w", err)
	}
	if err := fs.Parse(args); err != nil {
		return o, fmt.Errorf("ckpmsg: %w", getopt.Explain(err))
	}
	switch {
	case v.help:
		return o, pflag.ErrHelp
	case v.level < 0 || v.level > 7:
		return o, fmt.Errorf("Invalid loglevel: %d (range 0 - 7)", v.level) //nolint:staticcheck // the text scripts know
	case v.reply < 1 || v.body < 1:
		return o, fmt.Errorf("timeouts are 1 second or more: -t %d -T %d", v.reply, v.body)
	}
	if v.name == "" {
		v.name = "ckpool"
		if v.proxy {
			v.name = "ckproxy"
		}
	}
	o.client = &control.Client{
		Path:         sockdir.Find(v.parent, v.name, v.socket),
		ReplyTimeout: time.Duration(v.reply) * time.Second,
		BodyTimeout:  time.Duration(v.body) * time.Second,
	}
	o.name, o.level, o.counter, o.json, o.manual, o.command = v.name, v.level, v.counter, v.json, v.manual, fs.Args()
	o.wide, o.dir = v.wide, v.parent
	return o, nil
}

// columns are those of the screen, 0 where replies need not fit one.
func (o *options) columns() int {
	if o.screen == nil {
		return 0
	}
	width, _, err := term.GetSize(int(o.screen.Fd()))
	if err != nil {
		return 0
	}
	return width
}
