package getopt

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func grouped() *pflag.FlagSet {
	fs := pflag.NewFlagSet("pool", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringP("config", "c", "", "configuration `FILE`, of which there is one for each instance")
	fs.Bool("check", false, "say what is wrong")
	Group(fs, "Starting")
	fs.String("a-very-long-option", "", "`VALUE` that has no room beside")
	fs.Bool("secret", false, "hidden")
	_ = fs.MarkHidden("secret")
	Group(fs, "Other")
	return fs
}

func TestUsage(t *testing.T) {
	const want = `Usage: pool [options]
       pool --check

It mines blocks, one after the other, on and
on and on and on, for ever and a day.

Starting
  -c, --config FILE
        configuration FILE, of which there
        is one for each instance
      --check
        say what is wrong

Other
      --a-very-long-option VALUE
        VALUE that has no room beside
`
	about := "It mines blocks, one after the other, on and on and on and on, for ever and a day."
	if got := Usage(grouped(), []string{"[options]", "--check"}, about, 44); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const wide = `Usage: pool

Starting
  -c, --config FILE        configuration FILE, of which there is one for each
                           instance
      --check              say what is wrong

Other
      --a-very-long-option VALUE
                           VALUE that has no room beside
`
	if got := Usage(grouped(), []string{""}, "", 80); got != wide {
		t.Errorf("got\n%s\nwant\n%s", got, wide)
	}
	for width := 54; width <= maxWidth; width++ {
		for line := range strings.Lines(Usage(grouped(), []string{""}, about, width)) {
			if len(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("width %d: %s", width, line)
			}
		}
	}
	if got := Width(new(bytes.Buffer)); got != 80 {
		t.Errorf("what is no terminal has %d columns", got)
	}
}

func TestRefuse(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--nothing"}, "pool: unrecognized option '--nothing'; see pool -h"},
		{[]string{"-x"}, "pool: invalid option -- 'x'; see pool -h"},
		{[]string{"--check", "pool.conf"}, `pool: "pool.conf" is no option; see pool -h`},
		{[]string{"--check"}, ""},
	} {
		got := ""
		if err := Parse(grouped(), tt.args); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}
