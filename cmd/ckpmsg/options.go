package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"ckpool/control"
	"ckpool/internal/getopt"
	"ckpool/internal/sockdir"
)

type options struct {
	client  *control.Client
	level   int
	counter bool
	json    bool     // print replies as they are
	command []string // words of a command on the command line
	usage   string
}

// parseOptions returns pflag.ErrHelp for --help; usage is set in any case.
func parseOptions(args []string) (options, error) {
	var o options
	fs := pflag.NewFlagSet("ckpmsg", pflag.ContinueOnError)
	fs.Usage = func() {}
	counter := fs.BoolP("counter", "c", false, "print a running count after every 100 replies")
	help := fs.BoolP("help", "h", false, "print this list")
	fs.BoolVar(&o.json, "json", false, "print the reply to a command as it is")
	level := fs.IntP("loglevel", "l", 7, "print messages up to this level, 0 to 7")
	name := fs.StringP("name", "n", "", "name of the instance (default ckpool, or ckproxy with -p)")
	socket := fs.StringP("sockname", "N", "listener", "which of its sockets: listener, generator, stratifier, connector")
	proxy := fs.BoolP("proxy", "p", false, "the instance is a proxy")
	parent := fs.StringP("sockdir", "s", "", "parent of the instance's socket directory (default /run/ckpool, then /tmp)")
	reply := fs.IntP("timeout1", "t", 30, "seconds to wait for a reply")
	body := fs.IntP("timeout2", "T", 5, "seconds to wait for the rest of a reply")
	o.usage = "Usage: ckpmsg [options] [command]\n\n" +
		"Sends the command to a running ckpool and prints its reply; without a command,\n" +
		"sends each line of the input. \"ckpmsg help\" lists the commands.\n\n" + fs.FlagUsages()

	args, err := getopt.Expand(fs, args)
	if err != nil {
		return o, err
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case *help:
		return o, pflag.ErrHelp
	case *level < 0 || *level > 7:
		return o, fmt.Errorf("Invalid loglevel: %d (range 0 - 7)", *level) //nolint:staticcheck // the text scripts know
	case *reply < 1 || *body < 1:
		return o, fmt.Errorf("timeouts are 1 second or more: -t %d -T %d", *reply, *body)
	}
	if *name == "" {
		*name = "ckpool"
		if *proxy {
			*name = "ckproxy"
		}
	}
	o.client = &control.Client{
		Path:         sockdir.Find(*parent, *name, *socket),
		ReplyTimeout: time.Duration(*reply) * time.Second,
		BodyTimeout:  time.Duration(*body) * time.Second,
	}
	o.level, o.counter, o.command = *level, *counter, fs.Args()
	return o, nil
}
