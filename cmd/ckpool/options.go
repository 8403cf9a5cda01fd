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

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/getopt"
)

// Options is the command line.
type Options struct {
	Mode      config.Mode
	Name      string // of the instance
	Config    string // path of the configuration file
	SockDir   string // holds this instance's sockets
	Group     int    // owner of the sockets; -1: the process's group
	LogLevel  int    // 0 to 7; -1: not given
	Daemonise bool
	Handover  bool // implies KillOld
	KillOld   bool
	LogShares bool
	Quiet     bool // no status line
	// Of ckdb, which says who may mine.
	CkdbName   string
	CkdbDir    string // of its socket; empty: where instances usually are
	WithCkdb   bool   // there is one: its name or directory was given
	Standalone bool   // there is none, and it is not looked for
	Check      bool   // check the configuration and exit
	Help       bool   // print usage and exit
	Version    bool   // print the version and exit
	Manual     string // format of the manual to print; empty: none

	IgnoreUnknown bool // keys of other pools are no errors
}

// flags are the options as they are read.
type flags struct {
	Options
	group, logLevel string
	logLevelGiven   bool
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

// set declares the options, the common ones first.
func (f *flags) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("ckpool", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SortFlags = false
	fs.StringVarP(&f.Config, "config", "c", "", "configuration `FILE`; without it NAME.conf in the current directory")
	fs.BoolP("btcsolo", "B", false, "solo mode: the user name is an address, and who finds a block is paid by it; \"solo\" in the configuration does the same")
	fs.BoolP("proxy", "p", false, "proxy mode: work comes from the pools in \"proxy\", which see all miners as one account of theirs")
	fs.BoolP("userproxy", "u", false, "proxy mode in which users who have accounts at these pools mine there under their own: with the name and the password that their miners give")
	fs.BoolP("passthrough", "P", false, "passthrough mode: miners here are served by the first pool of \"proxy\" that gives a link, where they have accounts of their own")
	fs.BoolP("node", "N", false, "node mode: a passthrough that submits blocks, found here or anywhere, to bitcoin nodes of its own")
	fs.BoolP("redirector", "R", false, "redirector mode: a passthrough that sends miners who have shown that they mine on to the pools of \"redirecturl\"")
	fs.BoolP("trusted", "t", false, "trusted remote: a whole pool, whose users and shares are those of the main pool, \"upstream\" of the configuration")
	fs.BoolVar(&f.Check, "check", false, "say all that is wrong with the configuration, ask its nodes, or with -p, -u, -P, -N or -R its pools, with -t its main pool too, try its ports, and exit")
	fs.BoolVarP(&f.Daemonise, "daemonise", "D", false, "detach from the terminal; the exit status tells whether the instance came up")
	fs.StringVarP(&f.Name, "name", "n", "", "`NAME` of the instance, ckpool without it: of its configuration, log and socket directory")
	fs.BoolVar(&f.IgnoreUnknown, "ignore-unknown", false, "start although the configuration has keys of other pools that money or difficulty depends on")
	getopt.Group(fs, "Starting")
	fs.BoolVarP(&f.Handover, "handover", "H", false, "take over from the running instance of the same name, then it ends; implies -k")
	fs.BoolVarP(&f.KillOld, "killold", "k", false, "end the running instance of the same name first")
	fs.StringVarP(&f.SockDir, "sockdir", "s", "", "`DIR` of this instance's control sockets and pid file; without it /tmp/NAME")
	fs.StringVarP(&f.group, "group", "g", "", "`GROUP` that owns the control sockets and their directory")
	getopt.Group(fs, "The running instance")
	fs.StringVarP(&f.CkdbName, "ckdb-name", "d", "ckdb", "ask the ckdb of this `NAME` who may mine; without -d and -S the one called ckdb, if it answers at the start")
	fs.StringVarP(&f.CkdbDir, "ckdb-sockdir", "S", "", "`DIR` of ckdb's socket; without it /run/ckpool/NAME or /tmp/NAME")
	fs.BoolVarP(&f.Standalone, "standalone", "A", false, "no database is meant: shares are only counted, ckdb is not looked for, -d, -S and \"journal\" have no effect")
	getopt.Group(fs, "The database")
	fs.StringVarP(&f.logLevel, "loglevel", "l", "", "log up to this `LEVEL`: 0 emergencies, 3 errors, 4 warnings, 5 notices, 6 information, 7 all; without it \"loglevel\" of the configuration, or 5")
	fs.BoolVarP(&f.LogShares, "log-shares", "L", false, "log every share")
	fs.BoolVarP(&f.Quiet, "quiet", "q", false, "no status line on the terminal")
	getopt.Group(fs, "What it tells")
	fs.BoolVarP(&f.Help, "help", "h", false, "print this")
	fs.BoolVar(&f.Version, "version", false, "print what this program was built from")
	fs.StringVar(&f.Manual, "manual", "", "print the manual: man, bash, zsh, man5 or sample")
	getopt.Group(fs, "Help")
	_ = fs.MarkHidden("manual")
	return fs
}

// synopsis are the ways to call the program.
var synopsis = []string{"[options]", "--check [-B | -p | -u | -P | -N | -R | -t] [-c FILE]", initCommand + " [options]", notifyCommand + " [-c FILE] [TARGET]"}

func usage(width int) string {
	return getopt.Usage(new(flags).set(), synopsis,
		"Bitcoin mining pool: hands out work of bitcoin nodes, or with -p or -u of other pools, to miners, or with -P brings them to another pool. \"ckpool init\" writes a first configuration. See ckpool(1) and ckpool.conf(5), or docs/operations.md.", width)
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
		return Options{}, err
	}
	if program == "ckproxy" {
		f.modes = slices.Insert(f.modes, 0, "p")
	}
	if err := f.resolve(); err != nil {
		return Options{}, err
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
	if err := getopt.Parse(fs, args); err != nil {
		return nil, err
	}
	f.logLevelGiven = fs.Changed("loglevel")
	f.WithCkdb = !f.Standalone && (fs.Changed("ckdb-name") || fs.Changed("ckdb-sockdir"))
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
	switch {
	case f.Mode != config.Remote:
	case f.Standalone:
		return errors.New("-A keeps no journal, and a trusted remote (-t) reports what is in it: leave -A out")
	case f.WithCkdb:
		return errors.New("-d and -S name a ckdb, and a trusted remote (-t) asks the one of its main pool: leave them out")
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
	f.LogLevel = -1
	if !f.logLevelGiven {
		return nil
	}
	n, err := strconv.Atoi(f.logLevel)
	if err != nil || n < 0 || n > 7 {
		return fmt.Errorf("Invalid loglevel (range 0 - 7): %s", f.logLevel)
	}
	f.LogLevel = n
	return nil
}

// logLevel is what the log begins with: the option's level, the configuration's,
// which is negative without one, or the default.
func (o Options) logLevel(configured int) event.Level {
	switch {
	case o.LogLevel >= 0:
		return event.Level(o.LogLevel)
	case configured >= 0:
		return event.Level(configured)
	}
	return event.Notice
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
	if strings.ContainsAny(f.CkdbName, "/\x00") || f.CkdbName == "" || f.CkdbName == "." || f.CkdbName == ".." {
		return fmt.Errorf("Invalid name %q of ckdb: it is that of a directory; its place is -S", f.CkdbName)
	}
	if f.Config == "" {
		f.Config = defaultConfig(f.Name, f.Mode)
	}
	if f.SockDir == "" {
		f.SockDir = defaultSockDir(f.Name)
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

// defaultSockDir is that of an instance for which no other is named.
func defaultSockDir(name string) string { return filepath.Join("/tmp", name) }
