package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/sockdir"
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
	version bool
	manual  string // format of the manual to print; empty: none
}

// values are options as they are read.
type values struct {
	counter, help, json, proxy, version bool
	wide                                bool
	level, reply, body                  int
	name, socket, parent, manual        string
}

// set declares the options.
func (v *values) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("ckpmsg", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SortFlags = false
	fs.StringVarP(&v.name, "name", "n", "", "`NAME` of the instance; ckpool without it")
	fs.StringVarP(&v.parent, "sockdir", "s", "", "`DIR` given to ckpool as -s, or the one above it; without it /run/ckpool, then /tmp")
	fs.StringVarP(&v.socket, "sockname", "N", "listener", "which `SOCKET` of it: listener, generator, stratifier or connector; listener without it")
	fs.BoolVarP(&v.proxy, "proxy", "p", false, "the instance is a proxy")
	getopt.Group(fs, "Which instance")
	fs.BoolVar(&v.json, "json", false, "print the reply to a command as it is")
	fs.IntVarP(&v.reply, "timeout1", "t", 30, "`SECONDS` to wait for a reply, 30 without it")
	fs.IntVarP(&v.body, "timeout2", "T", 5, "`SECONDS` to wait for the rest of a reply, 5 without it")
	fs.BoolVar(&v.wide, "wide", false, "print all of a table, however wide the terminal is")
	getopt.Group(fs, "Replies")
	fs.BoolVarP(&v.counter, "counter", "c", false, "print a running count after every 100 replies")
	fs.IntVarP(&v.level, "loglevel", "l", 7, "print messages up to this `LEVEL`, 0 to 7; 7 without it")
	getopt.Group(fs, "Commands from the input")
	fs.BoolVarP(&v.help, "help", "h", false, "print this")
	fs.BoolVar(&v.version, "version", false, "print what this program was built from")
	fs.StringVar(&v.manual, "manual", "", "print the manual: man, bash or zsh")
	getopt.Group(fs, "Help")
	_ = fs.MarkHidden("manual") // it exists
	_ = fs.MarkHidden("proxy")  // likewise; -n ckproxy says it as well
	return fs
}

// synopsis are the ways to call the program.
var synopsis = []string{"[options] COMMAND [ARGUMENT...]", "[options]", "[options] < COMMANDS"}

func usage(width int) string {
	return getopt.Usage(new(values).set(), synopsis, "Sends the command to a running ckpool and prints its reply; without a command, "+
		"reads commands from the terminal, or sends each line of its input as it is. \"ckpmsg help\" lists the commands.", width)
}

// parseOptions returns pflag.ErrHelp for --help.
func parseOptions(args []string) (options, error) {
	var o options
	var v values
	fs := v.set()
	args, err := getopt.Expand(fs, args)
	if err != nil {
		return o, getopt.Refuse("ckpmsg", err)
	}
	if err := fs.Parse(args); err != nil {
		return o, getopt.Refuse("ckpmsg", getopt.Explain(err))
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
	o.name, o.level, o.counter, o.json, o.version, o.manual, o.command = v.name, v.level, v.counter, v.json, v.version, v.manual, fs.Args()
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
