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
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"ckpool/control"
	"ckpool/internal/buildinfo"
	"ckpool/internal/getopt"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, usage(getopt.Width(stdout)))
		return 0
	}
	if err == nil && o.version {
		fmt.Fprint(stdout, buildinfo.Line("ckpmsg"))
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
	s := &session{client: o.client, out: stdout, level: o.level, counter: o.counter}
	switch {
	case len(o.command) > 0:
		err = o.runCommand(stdout, o.command)
	case term.IsTerminal(int(stdin.Fd())):
		err = interact(stdin, stdout, o.name+"> ", o.runLine)
	default:
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

// runCommand sends a command and prints its reply. A reply that says the command
// failed is an error.
func (o *options) runCommand(stdout io.Writer, words []string) error {
	if words[0] == "help" && !o.json {
		_, err := io.WriteString(stdout, help())
		return err
	}
	request, err := control.Message(words...)
	if err != nil {
		return err
	}
	reply, err := o.client.Do(context.Background(), request)
	if err != nil {
		return o.explain(err)
	}
	failed := control.Failed(reply)
	switch {
	case o.json:
		_, err = io.WriteString(stdout, strings.TrimSuffix(reply, "\n")+"\n")
	case !failed:
		err = printReply(stdout, reply)
	}
	if err == nil && failed {
		err = fmt.Errorf("%s: %s", strings.Join(words, " "), refusal(reply))
	}
	return err
}

// runLine is runCommand for a line that was typed; done says that it was the
// last one.
func (o *options) runLine(stdout io.Writer, line string) (done bool) {
	words := strings.Fields(line)
	switch {
	case len(words) == 0, words[0][0] == '#':
		return false
	case words[0] == "exit", words[0] == "quit":
		return true
	}
	if !control.IsCommand(words[0]) {
		words = []string{line} // with its spaces
	}
	if err := o.runCommand(stdout, words); err != nil {
		fmt.Fprintln(stdout, err)
	}
	return false
}

// explain says what to do about an instance that cannot be reached.
func (o *options) explain(err error) error {
	path := o.client.Path
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("ckpmsg: the instance %q ended before it answered", o.name)
	case !errors.Is(err, control.ErrConnect):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("ckpmsg: no instance %q is running: there is no socket %s (-n NAME and -s DIR name another)", o.name, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ckpmsg: %s: permission denied: use sudo, or join the group of that socket (ckpool -g sets it)", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("ckpmsg: no instance %q is running: nobody listens on the socket %s", o.name, path)
	}
	return fmt.Errorf("ckpmsg: %w", err)
}

// refusal is why a command failed.
func refusal(reply string) string {
	var r struct {
		Text string `json:"errormsg"`
	}
	switch {
	case json.Unmarshal([]byte(reply), &r) == nil:
		return r.Text
	case reply == "unknown":
		return `unknown command, "ckpmsg help" lists all`
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
