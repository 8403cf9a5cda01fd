// Command ckpool is a bitcoin mining pool.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run is main with its surroundings; it returns the exit status.
func run(argv []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(argv)
	if err == nil && o.Help {
		fmt.Fprint(stdout, usage())
		return 0
	}
	if err == nil {
		err = serve(o, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func serve(o Options, stdout, stderr io.Writer) error {
	_, warnings, err := loadConfig(o)
	for _, line := range warnings {
		fmt.Fprintln(stderr, line)
	}
	switch {
	case err != nil:
		return err
	case o.Check:
		fmt.Fprintf(stdout, "%s: no errors\n", o.Config)
		return nil
	}
	return errors.New("not built yet: mining")
}
