// Ckpmsg sends commands to a running ckpool over its control sockets: the one
// on its command line, or one for each line of input.
package main

import (
	"context"
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
	if len(o.command) > 0 {
		if err := sendOne(o.client, strings.Join(o.command, " "), stdout); err != nil {
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

// sendOne prints the reply as it is. A reply that says the command failed is
// an error too.
func sendOne(c *control.Client, cmd string, stdout io.Writer) error {
	reply, err := c.Do(context.Background(), cmd)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, strings.TrimSuffix(reply, "\n")+"\n"); err != nil {
		return err
	}
	if control.Failed(reply) {
		return fmt.Errorf("%q failed", cmd)
	}
	return nil
}
