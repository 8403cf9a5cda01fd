package getopt

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func flags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.BoolP("log-shares", "L", false, "")
	fs.IntP("loglevel", "l", 5, "")
	fs.StringP("name", "n", "", "")
	fs.StringP("config", "c", "", "")
	fs.BoolP("killold", "k", false, "")
	fs.Bool("handover", false, "")
	fs.Bool("help", false, "")
	fs.Bool("helpful", false, "")
	return fs
}

func TestExpand(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"full", "--loglevel 7", "--loglevel 7"},
		{"prefix", "--logl 7 --conf x --k", "--loglevel 7 --config x --killold"},
		{"prefix with value", "--logl=7 --na=a=b", "--loglevel=7 --name=a=b"},
		{"exact name wins", "--help", "--help"},
		{"value that looks like an option", "--name --conf --conf x", "--name --conf --config x"},
		{"value of a short option", "-n --conf --conf x", "-n --conf --config x"},
		{"value of a group", "-Lkn --conf --conf x", "-Lkn --conf --config x"},
		{"value inside a group", "-Lnkconf --conf x", "-Lnkconf --config x"},
		{"no value for a flag", "-L --conf x", "-L --config x"},
		{"after operands", "ping --conf x", "ping --config x"},
		{"after --", "--k -- --conf", "--killold -- --conf"},
		{"unknown stays", "--nothing -x --", "--nothing -x --"},
		{"lone dash", "- --conf x", "- --config x"},
		{"value missing", "--conf", "--config"},
		{"not ASCII", "-é --conf x", "-é --config x"},
		{"empty name", "--=x", "--=x"},
	}
	for _, tt := range tests {
		got, err := Expand(flags(), strings.Fields(tt.in))
		if err != nil || !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: %q gives %q, %v; want %q", tt.name, tt.in, got, err, tt.want)
		}
	}
}

func TestExpandAmbiguous(t *testing.T) {
	_, err := Expand(flags(), []string{"--log=3"})
	if err == nil || err.Error() != "option --log is ambiguous: --log-shares, --loglevel" {
		t.Errorf("error %v", err)
	}
	if _, err := Expand(flags(), []string{"--hel"}); err == nil {
		t.Error("--hel accepted")
	}
}

func TestExpandedArgumentsParse(t *testing.T) {
	fs := flags()
	args, err := Expand(fs, []string{"--logl", "7", "-Ln", "--k", "--ki", "operand"})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	level, _ := fs.GetInt("loglevel")
	name, _ := fs.GetString("name")
	kill, _ := fs.GetBool("killold")
	if level != 7 || name != "--k" || !kill || fs.Arg(0) != "operand" {
		t.Errorf("level %d, name %q, kill %v, operands %q", level, name, kill, fs.Args())
	}
}
