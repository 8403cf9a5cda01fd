package operation

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// refused FILE: each pair of lines is a command line and the one line on stderr
// with which the program ends, status 1.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "refused FILE")
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		refuse(ts, lines[i], lines[i+1])
	}
}

// misconfigured FILE: each pair of lines is a configuration and the line about it.
// One without an address is read as that of a solo pool, which needs none.
func misconfigured(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "misconfigured FILE")
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		ts.Check(os.WriteFile(ts.MkAbs("bad.conf"), []byte(lines[i]), 0o600))
		command := "ckpool -c bad.conf"
		if lines[i] != "{}" && !strings.Contains(lines[i], `"btcaddress"`) {
			command += " -B"
		}
		refuse(ts, command, lines[i+1])
	}
}

func refuse(ts *testscript.TestScript, command, says string) {
	words := strings.Fields(command)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(programs, words[0]), append(words[1:], "-s", filepath.Join(ts.Getenv("S"), "refused"))...)
	c.Args[0] = words[0]
	c.Dir = ts.Getenv("WORK")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	stdout, err := c.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || len(stdout) > 0 || stderr.String() != says+"\n" {
		ts.Fatalf("%s: %v\ngot  %s%s\nwant %s", command, err, stdout, stderr.String(), says)
	}
}
