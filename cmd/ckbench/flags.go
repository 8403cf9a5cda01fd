package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/getopt"
)

// flags are the options of a mode, with those that all modes which measure have.
type flags struct {
	*pflag.FlagSet
	options bench.Options
	json    bool
}

func newFlagSet(mode string) *flags {
	f := &flags{FlagSet: pflag.NewFlagSet("ckbench "+mode, pflag.ContinueOnError)}
	f.SortFlags = false
	f.SetOutput(io.Discard) // errors are printed once, by main
	return f
}

func newFlags(mode string, miners int) *flags {
	f := newFlagSet(mode)
	f.StringVar(&f.options.Address, "pool", "127.0.0.1:3333", "address of the pool")
	f.IntVar(&f.options.Miners, "miners", miners, "simulated miners")
	f.StringVar(&f.options.User, "user", "bench", "user name; workers are called name.0, name.1, ...")
	f.IntVar(&f.options.Workers, "workers", 0, "different workers (default one for each miner)")
	f.StringVar(&f.options.Addresses, "addresses", "", "worker names are addresses of this chain: main, test or regtest (solo)")
	f.StringVar(&f.options.Password, "password", "x", "password, for instance d=1")
	f.IntVar(&f.options.Pid, "pid", 0, "process id of the pool, to measure its CPU and memory")
	f.BoolVar(&f.options.TLS, "tls", false, "connect with TLS and accept any certificate")
	f.BoolVar(&f.options.ProxyProtocol, "proxy-protocol", false, "send a PROXY header with an address of its own, of 127.0.0.0/8, for each miner")
	f.BoolVar(&f.options.AllowRemote, "allow-remote", false, "allow a target that is not on this machine")
	f.BoolVar(&f.json, "json", false, "print one JSON object instead of a table")
	return f
}

// engine adds the options of the modes that use event loops.
func (f *flags) engine() *flags {
	f.IntVar(&f.options.Loops, "loops", 1, "event loops of this program")
	f.DurationVar(&f.options.Ready, "ready", 0, "time for all miners to connect and get work (default 1m)")
	return f
}

// errHelp carries the text that --help asks for.
type errHelp string

func (e errHelp) Error() string { return string(e) }

// parse reads the arguments. Long options may have a single dash.
func (f *flags) parse(args []string) error {
	long := make([]string, len(args))
	for i, a := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && len(name) > 1 && f.Lookup(name) != nil {
			a = "-" + a
		}
		long[i] = a
	}
	if err := f.Parse(long); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return errHelp(fmt.Sprintf("Usage: %s [options]\n\n%s", f.Name(), f.FlagUsagesWrapped(getopt.Width(os.Stdout))))
		}
		return fmt.Errorf("%w; see %s --help", getopt.Explain(err), f.Name())
	}
	if f.NArg() > 0 {
		if _, _, err := net.SplitHostPort(f.Arg(0)); err == nil && f.Lookup("pool") != nil {
			return fmt.Errorf("%q is no option: --pool %s names the pool; see %s --help", f.Arg(0), f.Arg(0), f.Name())
		}
		return fmt.Errorf("%q is no option; see %s --help", f.Arg(0), f.Name())
	}
	return nil
}

// report is what every mode measures.
type report interface {
	Print(io.Writer) error
	Failed() bool
}

// print writes a report as the options ask.
func (f *flags) print(out io.Writer, r report) (ok bool, err error) {
	if f.json {
		err = json.NewEncoder(out).Encode(r)
	} else {
		err = r.Print(out)
	}
	return !r.Failed(), err
}

// blockFlags are the options of the modes that make blocks.
type blockFlags struct{ rpc, payTo string }

func (b *blockFlags) add(f *flags) {
	f.StringVar(&b.rpc, "rpc", "", "regtest node that makes blocks, http://user:password@host:port")
	f.StringVar(&b.payTo, "pay-to", "", "address for generatetoaddress (Bitcoin Core); without it generate is called (btcd)")
}

func (b *blockFlags) trigger(f *flags) (bench.Trigger, error) {
	return bench.Generate(b.rpc, b.payTo, f.options.AllowRemote)
}
