package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/hostport"
	"github.com/ckpool/ckpool/internal/jobs"
	replies "github.com/ckpool/ckpool/internal/page" // page is another thing here
	"github.com/ckpool/ckpool/internal/terminal"
)

// initCommand is the word that stands before options of its own.
const initCommand = "init"

// initOptions is the command line behind it.
type initOptions struct {
	output, node, address, listen, http string
	solo, yes, help                     bool
	httpGiven                           bool
}

// set declares the options.
func (o *initOptions) set() *pflag.FlagSet {
	f := pflag.NewFlagSet("ckpool "+initCommand, pflag.ContinueOnError)
	f.Usage = func() {}
	f.SortFlags = false
	f.StringVarP(&o.output, "output", "o", "ckpool.conf", "the `FILE` to write, which must not be there yet; ckpool.conf without it")
	f.StringVar(&o.node, "node", "", "the `NODE`: its cookie file, behind which @host:port may stand, or http://user:password@host:port; without it one is looked for on this machine")
	f.StringVar(&o.address, "address", "", "the `ADDRESS` that blocks pay")
	f.BoolVar(&o.solo, "solo", false, "a block pays the miner who finds it")
	f.StringVar(&o.listen, "listen", "[::]:3333", "`HOST:PORT` where miners connect; [::]:3333 without it")
	f.StringVar(&o.http, "http", "", "`HOST:PORT` of a page for browsers; empty: none")
	f.BoolVarP(&o.yes, "yes", "y", false, "ask nothing: what is missing and cannot be found is an error, there is no page without --http. So it is where the input is no terminal")
	f.BoolVarP(&o.help, "help", "h", false, "print this")
	getopt.Group(f, "Options")
	return f
}

func initUsage(width int) string {
	return getopt.Usage(new(initOptions).set(), []string{"[options]"},
		"Writes a first configuration: finds the bitcoin node of this machine, asks what it has to know, checks what it has written and says how to start.", width)
}

// setup makes a configuration. It is used by one goroutine.
type setup struct {
	initOptions
	program string        // as it was called
	tty     *os.File      // that answers come from; nil: nobody is asked
	in      *bufio.Reader // of it
	out     io.Writer
	home    string
	places  []bitcoind.Place

	config bitcoind.Config // of the node
	probe  bitcoind.Probe  // what the node has said
}

// systemPlaces are those outside of the home directory; tests have none.
var systemPlaces = true

// initialize writes a configuration. Until all is known nothing is.
func initialize(argv []string, stdin *os.File, stdout, stderr io.Writer) error {
	s := &setup{program: argv[0], out: stdout}
	f := s.set()
	err := getopt.Parse(f, argv[2:])
	switch {
	case s.help:
		fmt.Fprint(stdout, initUsage(getopt.Width(stdout)))
		return nil
	case err != nil:
		return err
	}
	s.httpGiven = f.Changed("http")
	if term.IsTerminal(int(stdin.Fd())) && !s.yes {
		s.tty, s.in = stdin, bufio.NewReader(stdin)
	}
	s.home, _ = os.UserHomeDir() // without one nothing is found there
	s.places = bitcoind.Places(s.home)
	if !systemPlaces {
		s.places = s.places[:1]
	}
	if err := s.run(context.Background(), stderr); err != nil {
		if errors.Is(err, errLogged) {
			return err
		}
		return fmt.Errorf("ckpool init: %w", err)
	}
	return nil
}

func (s *setup) run(ctx context.Context, stderr io.Writer) error {
	if s.solo && s.address != "" {
		return errors.New("--solo pays the miner who finds a block, --address an address: leave one of them out")
	}
	if _, err := os.Lstat(s.output); err == nil {
		return existsError(s.output)
	}
	dir := filepath.Dir(s.output)
	if missing, err := writable(dir); err != nil || missing {
		return fmt.Errorf("%s cannot be made: %w", s.output, cmp.Or(err, fmt.Errorf("%s: %w", dir, unix.ENOENT)))
	}
	if s.address != "" { // before the node, which may take a while
		if err := payee(s.address, ""); err != nil {
			return fmt.Errorf("--address: %w", err)
		}
	} else if !s.solo && s.tty == nil {
		return errors.New("whom blocks pay is missing: --address ADDRESS, or --solo for the miner who finds one")
	}
	for _, o := range []struct{ option, key string }{{"--listen", "serverurl"}, {"--http", "http"}} {
		if err := s.wrong(o.key); err != nil {
			return fmt.Errorf("%s: %w", o.option, err)
		}
	}
	for _, step := range []func(context.Context) error{s.chooseNode, s.choosePayee, s.choosePage} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := s.write(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\n%s is written, and looked at as by --check:\n", s.output)
	o, err := parseOptions([]string{"ckpool", "-c", s.output})
	if err != nil {
		return err
	}
	if err := checkConfig(ctx, o, s.out, stderr); err != nil {
		return err
	}
	s.sayHow()
	return nil
}

func existsError(file string) error {
	return fmt.Errorf("%s is there already and stays as it is; --output FILE names another", file)
}

// ask returns a line of the terminal, fallback for an empty one. The end of the input is
// the end of all.
func (s *setup) ask(text, fallback string) (string, error) {
	if fallback != "" {
		text += " [" + fallback + "]"
	}
	fmt.Fprintf(s.out, "%s: ", text)
	line, err := s.in.ReadString('\n')
	if err != nil {
		fmt.Fprintln(s.out)
		return "", ended(err)
	}
	if line = strings.TrimSpace(line); line == "" {
		line = fallback
	}
	return line, nil
}

// askPassword does so without showing what is typed.
func (s *setup) askPassword(text string) (string, error) {
	restore, err := terminal.Keep(s.tty, nil)
	if err != nil {
		return "", err
	}
	defer restore()
	fd := int(s.tty.Fd())
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	settings.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, settings); err != nil {
		return "", err
	}
	fmt.Fprintf(s.out, "%s: ", text)
	line, err := s.in.ReadString('\n')
	fmt.Fprintln(s.out)
	return strings.TrimSuffix(line, "\n"), ended(err)
}

// errEnded: there will be no other answer.
var errEnded = errors.New("the input has ended, nothing is written")

func ended(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return errEnded
	}
	return fmt.Errorf("%w: %w", errEnded, err)
}

// retry asks until an answer is accepted, and says why one is not.
func (s *setup) retry(text, fallback string, accept func(answer string) error) error {
	for {
		answer, err := s.ask(text, fallback)
		if err != nil {
			return err
		}
		if err = accept(answer); err == nil {
			return nil
		}
		if errors.Is(err, errEnded) {
			return err
		}
		width, _, sizeErr := term.GetSize(int(s.tty.Fd()))
		if sizeErr != nil {
			width = 0 // any
		}
		fmt.Fprintln(s.out, replies.Wrap(replies.OneLine(err.Error()), width, ""))
	}
}

// chooseNode takes the node of the option, or one that is found, or asks.
func (s *setup) chooseNode(ctx context.Context) error {
	if s.node != "" {
		return s.takeNode(ctx, s.node)
	}
	found := bitcoind.Find(s.places)
	probes := probe(ctx, found)
	if s.tty == nil {
		return s.onlyNode(found, probes)
	}
	fallback := ""
	for i, p := range probes {
		if i == 0 {
			fmt.Fprintln(s.out, "On this machine there is:")
		}
		if fallback == "" && usable(p) == nil {
			fallback = strconv.Itoa(i + 1)
		}
		fmt.Fprintf(s.out, "  %d  %s  %s, %s\n", i+1, p.URL, replies.OneLine(nodeState(p)), access(found[i]))
		if p.Reason != "" {
			fmt.Fprintf(s.out, "     %s\n", replies.OneLine(p.Reason))
		}
	}
	if len(found) == 0 {
		fmt.Fprintf(s.out, "No node is found in %s.\n", s.looked())
	}
	text := "Bitcoin node: its cookie file, or host:port"
	if len(found) > 0 {
		text = "Bitcoin node: a number, or its cookie file, or host:port"
	}
	return s.retry(text, fallback, func(answer string) error {
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(found) {
			s.config, s.probe = found[n-1], probes[n-1]
			return usable(s.probe)
		}
		return s.takeNode(ctx, answer)
	})
}

// takeNode asks a node that somebody has named.
func (s *setup) takeNode(ctx context.Context, text string) error {
	if _, err := strconv.Atoi(text); s.tty != nil && err != nil && text != "" && !strings.ContainsAny(text, "/@ ") { // host:port alone
		if _, err := bitcoind.ParseConfig("http://user@"+text, s.home); err != nil {
			return fmt.Errorf("node %s: %w", text, err)
		}
		user, err := s.ask("User of its RPC, rpcuser in bitcoin.conf", "")
		if err != nil {
			return err
		}
		text = "http://" + url.PathEscape(user) + "@" + text
	}
	c, err := bitcoind.ParseConfig(text, s.home)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if c.Cookie == "" && c.Pass == "" {
		if s.tty == nil {
			return fmt.Errorf("node %s: the password is missing: http://user:password@host:port", c.URL)
		}
		if c.Pass, err = s.askPassword("Password of " + replies.OneLine(c.User)); err != nil {
			return err
		}
	}
	s.config, s.probe = c, probe(ctx, []bitcoind.Config{c})[0]
	if err := usable(s.probe); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Node %s: %s\n", s.probe.URL, replies.OneLine(nodeState(s.probe)))
	return nil
}

// onlyNode takes the one that can be used, and on whose chain the address is one.
func (s *setup) onlyNode(found []bitcoind.Config, probes []bitcoind.Probe) error {
	var fit, not []string
	for i, p := range probes {
		err := usable(p)
		if err == nil && s.address != "" {
			err = payee(s.address, p.Chain)
		}
		if err != nil {
			not = append(not, replies.OneLine(err.Error()))
			continue
		}
		s.config, s.probe = found[i], p
		fit = append(fit, p.URL+" ("+p.Chain+")")
	}
	switch {
	case len(fit) > 1:
		return fmt.Errorf("several nodes can be used: %s; --node names one", strings.Join(fit, ", "))
	case len(fit) == 1:
		fmt.Fprintf(s.out, "Node %s: %s, %s\n", s.probe.URL, replies.OneLine(nodeState(s.probe)), access(s.config))
		return nil
	case len(not) > 0:
		return fmt.Errorf("%s; --node names another node", strings.Join(not, "; "))
	}
	return fmt.Errorf("no node is found in %s; --node names one", s.looked())
}

func (s *setup) looked() string {
	var dirs []string
	for _, p := range s.places {
		dirs = append(dirs, p.Data)
	}
	return strings.Join(dirs, " and ")
}

// access is how a node that was found lets the pool in.
func access(c bitcoind.Config) string {
	if c.Cookie != "" {
		return "cookie " + c.Cookie
	}
	return "user and password of bitcoin.conf"
}

// usable is why a pool could not be started on a node: what time alone mends is no
// reason.
func usable(p bitcoind.Probe) error {
	reason := p.Reason
	switch p.State {
	case "not asked", "refused", "failing":
	case "unreachable":
		if hint := config.PeerPort(p.URL); hint != "" {
			reason = hint
		}
	default:
		return nil
	}
	return fmt.Errorf("node %s: %s", p.URL, reason)
}

// payee is why blocks cannot pay an address; chain "" is not known.
func payee(text, chain string) error {
	c := config.Default(config.Pool)
	c.BTCAddress = text
	if errs := c.Validate(config.Pool); len(errs) > 0 {
		return wanted(errs[0])
	}
	if chain == "" {
		return nil
	}
	payout := jobs.PayoutOf(&c, false)
	return payout.Fits(chain)
}

// choosePayee takes the answer of the options, or asks.
func (s *setup) choosePayee(context.Context) error {
	switch {
	case s.solo:
		return nil
	case s.address != "":
		return payee(s.address, s.probe.Chain)
	}
	return s.retry("Address that blocks pay, or solo for the miner who finds one", "", func(answer string) error {
		switch {
		case answer == "":
			return errors.New("There is no default: whoever has the key of this address has the money.") //nolint:staticcheck // a sentence for people
		case strings.EqualFold(answer, "solo"):
			s.solo = true
			return nil
		}
		s.address = answer
		return payee(answer, s.probe.Chain)
	})
}

// choosePage takes the answer of the option, or asks.
func (s *setup) choosePage(context.Context) error {
	if s.httpGiven || s.tty == nil {
		return nil
	}
	return s.retry("Page for browsers, host:port or none", "127.0.0.1:8080", func(answer string) error {
		if s.http = answer; strings.EqualFold(answer, "none") {
			s.http = ""
		}
		return s.wrong("http")
	})
}

// wrong is what is wrong with a key in the file as it would be.
func (s *setup) wrong(key string) error {
	_, _, err := config.Parse("", []byte(s.file()), config.Pool)
	var errs config.Errors
	_ = errors.As(err, &errs)
	for _, e := range errs {
		if strings.HasPrefix(e.Key, key) {
			return wanted(e)
		}
	}
	return nil
}

// wanted is an error of a file that is not there.
func wanted(e *config.Error) error { return fmt.Errorf("want %s, got %s", e.Want, e.Got) }

// write makes the file, which nobody else has made meanwhile: all of it or none.
func (s *setup) write() error {
	mode := fs.FileMode(0o644)
	if s.config.Cookie == "" { // there is a password in it
		mode = 0o600
	}
	f, err := os.OpenFile(s.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return existsError(s.output)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.file())
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(s.output)
	}
	return err
}

// sayHow tells how to start the pool, and where it is then.
func (s *setup) sayHow() {
	file := ""
	if filepath.Clean(s.output) != "ckpool.conf" {
		file = " -c " + s.output
	}
	user := "any name as user"
	if s.solo {
		user = "its bitcoin address as user"
	}
	ckpmsg := s.program[:strings.LastIndexByte(s.program, '/')+1] + "ckpmsg" // is beside it
	fmt.Fprintf(s.out, "\nTo start the pool:\n    %s%s\nor in the background, and to see how it does:\n    %[1]s -D%[2]s\n    %[3]s status\n    %[3]s top\nPoint a miner at stratum+tcp://%[4]s\nwith %[5]s and x as password.\n",
		s.program, file, ckpmsg, reached(s.listen, "3333"), user)
	if s.http != "" {
		fmt.Fprintf(s.out, "The page is at http://%s/ then.\n", reached(s.http, ""))
	}
}

// reached is where an address is found that is listened on, as host:port; port is the one without
// any.
func reached(address, port string) string {
	host, own, _, _ := hostport.Split(address) // which was looked at
	if slices.Contains([]string{"", "*", "0.0.0.0", "::"}, host) {
		host = "<this machine>"
	}
	return net.JoinHostPort(host, cmp.Or(own, port))
}
