// Ckpmsg sends commands to a running ckpool over its control sockets: the one
// on its command line, whose reply it prints for people, or one for each line
// of input.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/nearest"
	"github.com/ckpool/ckpool/internal/page"
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
	if f, ok := stdout.(*os.File); ok && !o.wide {
		o.screen = f
	}
	s := &session{client: o.client, out: stdout, level: o.level, counter: o.counter}
	switch {
	case len(o.command) == 1 && strings.EqualFold(o.command[0], topCommand.Name):
		err = o.top(stdin, stdout)
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
	ctx := context.Background()
	words[0] = strings.ToLower(words[0])
	switch p := (page.Page{Writer: stdout, Columns: o.columns()}); {
	case words[0] == "help" && !o.json:
		_, err := io.WriteString(stdout, help(p.Columns))
		return err
	case words[0] == "getworker" && len(words) > 1 && !o.json:
		return o.printOneWorker(ctx, p, words)
	case words[0] == topCommand.Name && len(words) > 1:
		return errors.New("usage: top: it has no arguments")
	case words[0] == topCommand.Name: // typed to interact, which has the terminal
		return o.plainTop(stdout)
	case words[0] != statusCommand.Name:
	case len(words) > 1:
		return errors.New("usage: status: it has no arguments")
	case o.json:
		return o.explain(writeStatusJSON(ctx, stdout, o.client))
	default:
		s, err := askStatus(ctx, o.client)
		if err != nil {
			return o.explain(err)
		}
		return printStatus(p, &s)
	}
	request, err := control.Message(words...)
	if err != nil {
		return err
	}
	reply, err := o.client.Do(ctx, request)
	if err != nil {
		return o.explain(err)
	}
	failed := control.Failed(reply)
	switch {
	case o.json:
		_, err = io.WriteString(stdout, strings.TrimSuffix(reply, "\n")+"\n")
	case !failed:
		err = page.Page{Writer: stdout, Columns: o.columns()}.PrintReply(reply)
	}
	if err == nil && failed {
		err = o.refused(ctx, words, refusal(words[0], reply))
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
	if name := strings.ToLower(words[0]); name != statusCommand.Name && name != topCommand.Name && !control.IsCommand(name) {
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
	case err == nil:
		return nil
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("ckpmsg: the instance %q ended before it answered", o.name)
	case !errors.Is(err, control.ErrConnect):
		return err
	case errors.Is(err, fs.ErrNotExist):
		if o.dir != "" {
			path += ", nor one in " + o.dir
		}
		return fmt.Errorf("ckpmsg: no instance %q is running: there is no socket %s (-n NAME or -s DIR, as given to ckpool, name another)", o.name, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ckpmsg: %s: permission denied: use sudo, or join the group of that socket (ckpool -g sets it)", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("ckpmsg: no instance %q is running: nobody listens on the socket %s", o.name, path)
	}
	return fmt.Errorf("ckpmsg: %w", err)
}

// refusal is why a command failed.
func refusal(command, reply string) string {
	if reply != "unknown" {
		return control.Refusal(reply)
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.Name)
	}
	if word := nearest.Word(command, names); word != "" {
		return fmt.Sprintf(`unknown command, did you mean %q? "ckpmsg help" lists all`, word)
	}
	return `unknown command, "ckpmsg help" lists all`
}

// help lists the commands.
func help(columns int) string {
	const names = 29
	var b strings.Builder
	list := func(commands []control.Command) {
		for _, c := range commands {
			line := fmt.Sprintf("%-*s%s", names, strings.TrimSpace(c.Name+" "+c.Args), c.Text)
			b.WriteString(page.WrapBehind(line, columns, names) + "\n")
		}
	}
	list(poolCommands())
	b.WriteString("\nOf a proxy:\n")
	list(control.ProxyCommands())
	return b.String()
}
