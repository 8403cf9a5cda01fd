// Ckpmsg sends commands to a running ckpool over its control sockets: the one
// on its command line, whose reply it prints for people, or one for each line
// of input.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"ckpool/control"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, o.usage)
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if o.manual != "" {
		text, err := manualPage().Print(o.manual)
		fmt.Fprint(stdout, text)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	if len(o.command) > 0 {
		if err := o.runCommand(stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	s := &session{client: o.client, out: stdout, level: o.level, counter: o.counter}
	if term.IsTerminal(int(stdin.Fd())) {
		err = interact(stdin, stdout, s)
	} else {
		err = s.run(lines(stdin))
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if s.failed {
		return 1
	}
	return 0
}

// runCommand sends the command on the command line and prints its reply. A
// reply that says the command failed is an error.
func (o *options) runCommand(stdout io.Writer) error {
	if o.command[0] == "help" && !o.json {
		_, err := io.WriteString(stdout, help())
		return err
	}
	request, err := control.Message(o.command...)
	if err != nil {
		return err
	}
	reply, err := o.client.Do(context.Background(), request)
	if err != nil {
		return err
	}
	failed := control.Failed(reply)
	switch {
	case o.json:
		_, err = io.WriteString(stdout, strings.TrimSuffix(reply, "\n")+"\n")
	case !failed:
		err = printReply(stdout, reply)
	}
	if err == nil && failed {
		err = fmt.Errorf("%s: %s", strings.Join(o.command, " "), refusal(reply))
	}
	return err
}

// refusal is why a command failed.
func refusal(reply string) string {
	var r struct {
		Text string `json:"errormsg"`
	}
	if json.Unmarshal([]byte(reply), &r) == nil {
		return r.Text
	}
	return reply
}

// help lists the commands.
func help() string {
	var b strings.Builder
	for _, c := range control.Commands() {
		fmt.Fprintf(&b, "%-28s %s\n", strings.TrimSpace(c.Name+" "+c.Args), c.Text)
	}
	return b.String()
}
