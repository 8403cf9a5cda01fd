package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"ckpool/internal/config"
	"ckpool/internal/getopt"
)

// Options is the command line.
type Options struct {
	Mode      config.Mode
	Name      string // of the instance
	Config    string // path of the configuration file
	SockDir   string // holds this instance's sockets
	Group     int    // owner of the sockets; -1: the process's group
	LogLevel  int    // 0 to 7
	Daemonise bool
	Handover  bool // implies KillOld
	KillOld   bool
	LogShares bool
	Quiet     bool // no status line
	Check     bool // check the configuration and exit
	Help      bool // print usage and exit
}

// flags are the options as they are read.
type flags struct {
	Options
	group, logLevel string
	modes           []string // options that choose a mode, as given
}

// modeOptions by short name.
var modeOptions = map[string]config.Mode{
	"B": config.Solo, "N": config.Node, "P": config.Passthrough, "p": config.Proxy,
	"R": config.Redirector, "t": config.Remote, "u": config.UserProxy,
}

// names are the default instance names of the modes that have their own.
var names = map[config.Mode]string{
	config.Node: "cknode", config.Redirector: "ckredirector", config.Passthrough: "ckpassthrough",
	config.Proxy: "ckproxy", config.UserProxy: "ckproxy",
}

// set declares the options, in the order of the usage text.
func (f *flags) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("ckpool", pflag.ContinueOnError)
	fs.SortFlags = false
	// Of ckdb's time: taken and without effect.
	fs.BoolP("standalone", "A", false, "")
	fs.BoolP("btcsolo", "B", false, "")
	fs.StringVarP(&f.Config, "config", "c", "", "")
	fs.BoolVarP(&f.Daemonise, "daemonise", "D", false, "")
	fs.StringP("ckdb-name", "d", "", "")
	fs.StringVarP(&f.group, "group", "g", "", "")
	fs.BoolVarP(&f.Handover, "handover", "H", false, "")
	fs.BoolVarP(&f.Help, "help", "h", false, "")
	fs.BoolVarP(&f.KillOld, "killold", "k", false, "")
	fs.BoolVarP(&f.LogShares, "log-shares", "L", false, "")
	fs.StringVarP(&f.logLevel, "loglevel", "l", "5", "")
	fs.BoolP("node", "N", false, "")
	fs.StringVarP(&f.Name, "name", "n", "", "")
	fs.BoolP("passthrough", "P", false, "")
	fs.BoolP("proxy", "p", false, "")
	fs.BoolVarP(&f.Quiet, "quiet", "q", false, "")
	fs.BoolP("redirector", "R", false, "")
	fs.StringP("ckdb-sockdir", "S", "", "")
	fs.StringVarP(&f.SockDir, "sockdir", "s", "", "")
	fs.BoolP("trusted", "t", false, "")
	fs.BoolP("userproxy", "u", false, "")
	fs.BoolVar(&f.Check, "check", false, "")
	return fs
}

// usage lists the options.
func usage() string {
	var b strings.Builder
	new(flags).set().VisitAll(func(f *pflag.Flag) {
		argument := ""
		if f.NoOptDefVal == "" {
			argument = " " + strings.ToUpper(f.Name)
		}
		if f.Shorthand != "" {
			fmt.Fprintf(&b, "-%s%s | ", f.Shorthand, argument)
		}
		fmt.Fprintf(&b, "--%s%s\n", f.Name, argument)
	})
	return b.String()
}

// parseOptions reads the command line, the program's name included. The error
// is what the user is to read.
func parseOptions(argv []string) (Options, error) {
	program := filepath.Base(argv[0])
	if wantsHelp(argv[1:]) {
		return Options{Help: true}, nil
	}
	f, err := readFlags(argv[1:])
	if err != nil {
		return Options{}, fmt.Errorf("%s: %w", program, err)
	}
	if program == "ckproxy" {
		f.modes = slices.Insert(f.modes, 0, "p")
	}
	if err := f.resolve(); err != nil {
		return Options{}, err
	}
	if len(f.modes) > 0 && f.Mode != config.Solo {
		return Options{}, errors.New("not built yet: -" + f.modes[0])
	}
	return f.Options, nil
}

// wantsHelp finds -h among options that may be wrong.
func wantsHelp(args []string) bool {
	f := flags{}
	fs := f.set()
	fs.ParseErrorsAllowlist.UnknownFlags = true
	if expanded, err := getopt.Expand(fs, args); err == nil {
		args = expanded
	}
	_ = fs.Parse(args) // whatever was read before an error counts
	return f.Help
}

func readFlags(args []string) (*flags, error) {
	f := &flags{}
	fs := f.set()
	args, err := getopt.Expand(fs, args)
	if err != nil {
		return nil, err
	}
	if err := fs.Parse(args); err != nil {
		return nil, getopt.Explain(err)
	}
	fs.Visit(func(o *pflag.Flag) {
		if _, ok := modeOptions[o.Shorthand]; ok && o.Value.String() == "true" {
			f.modes = append(f.modes, o.Shorthand)
		}
	})
	return f, nil
}

// resolve checks the options against each other and fills in what depends on
// them.
func (f *flags) resolve() error {
	f.modes = slices.Compact(f.modes)
	if err := conflict(f.modes); err != nil {
		return err
	}
	if len(f.modes) > 0 {
		f.Mode = modeOptions[f.modes[0]]
	}
	if err := f.resolveLogLevel(); err != nil {
		return err
	}
	if err := f.resolveGroup(); err != nil {
		return err
	}
	f.KillOld = f.KillOld || f.Handover
	return f.resolveName()
}

func (f *flags) resolveLogLevel() error {
	n, err := strconv.Atoi(f.logLevel)
	if err != nil || n < 0 || n > 7 {
		return fmt.Errorf("Invalid loglevel (range 0 - 7): %s", f.logLevel)
	}
	f.LogLevel = n
	return nil
}

func (f *flags) resolveGroup() error {
	f.Group = -1
	if f.group == "" {
		return nil
	}
	g, err := user.LookupGroup(f.group)
	if err != nil {
		return fmt.Errorf("Failed to find group %s", f.group)
	}
	f.Group, err = strconv.Atoi(g.Gid)
	return err
}

func (f *flags) resolveName() error {
	if f.Name == "" {
		f.Name = "ckpool"
		if name, ok := names[f.Mode]; ok {
			f.Name = name
		}
	}
	if strings.ContainsAny(f.Name, "/\x00") || f.Name == "." || f.Name == ".." {
		return fmt.Errorf("Invalid name %q: it becomes a file name", f.Name)
	}
	if f.Config == "" {
		f.Config = defaultConfig(f.Name, f.Mode)
	}
	if f.SockDir == "" {
		f.SockDir = filepath.Join("/tmp", f.Name)
	}
	return nil
}

// defaultConfig is <name>.conf; where the modes that once shared ckproxy.conf
// have no file of their own, it is that.
func defaultConfig(name string, m config.Mode) string {
	file := name + ".conf"
	if m != config.Passthrough && m != config.Redirector && m != config.Node {
		return file
	}
	if _, err := os.Stat(file); err != nil {
		if _, err := os.Stat("ckproxy.conf"); err == nil {
			return "ckproxy.conf"
		}
	}
	return file
}

// conflict judges the options that choose a mode, in the order given and each
// once.
func conflict(modes []string) error {
	has := func(mode string) bool { return slices.Contains(modes, mode) }
	switch {
	case len(modes) < 2:
		return nil
	case has("B") && has("t"):
		return errors.New("Cannot set both trusted remote and btcsolo mode")
	case has("B"):
		return errors.New("Cannot set both proxy and btcsolo mode")
	case has("t"):
		return errors.New("Cannot set a proxy type and trusted remote mode")
	}
	switch modes[len(modes)-1] {
	case "N":
		return errors.New("Cannot set another proxy type or redirector and node mode")
	case "P":
		return errors.New("Cannot set another proxy type or redirector and passthrough mode")
	case "p":
		return errors.New("Cannot set another proxy type or redirector and proxy mode")
	case "R":
		return errors.New("Cannot set a proxy type or passthrough and redirector modes")
	}
	return errors.New("Cannot set both userproxy and another proxy type or redirector")
}
