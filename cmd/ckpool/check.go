package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/hostport"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/keypair"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/notify"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/sockdir"
)

// checkTLS reads what a listener is to show its clients.
func checkTLS(l *config.Listener) (warning string, err error) {
	if l.TLSCert == "" || l.TLSKey == "" {
		return "", nil
	}
	p, err := keypair.Open(l.TLSCert, l.TLSKey, nil)
	if err != nil {
		return "", err
	}
	if end := p.Expires(); time.Now().After(end) {
		warning = fmt.Sprintf("TLS certificate %s has expired on %s, miners may refuse it", l.TLSCert, end.Format(time.DateOnly))
	}
	return warning, nil
}

// loadConfig reads the configuration, and what it names that a start depends on.
// The error is of type config.Errors: all that is wrong. The rest of the
// configuration is of use then, too, if its File is set.
func loadConfig(o Options) (config.Config, []config.Warning, error) {
	c, warnings, err := config.Load(o.Config, o.Mode)
	var errs config.Errors
	_ = errors.As(err, &errs)
	locate := func(key, text string) *config.Error { return config.Locate(o.Config, o.Mode, key, text) }
	warn := func(key, text string) {
		e := locate(key, text)
		warnings = append(warnings, config.Warning{File: e.File, Line: e.Line, Text: e.Text})
	}
	if o.IgnoreUnknown {
		errs = slices.DeleteFunc(errs, func(e *config.Error) bool {
			if e.Unknown {
				warnings = append(warnings, config.Warning{File: e.File, Line: e.Line, Text: "ignored: " + e.Text})
			}
			return e.Unknown
		})
	}
	errs = append(errs, notify.TemplateErrors(&c, locate)...)
	relays := o.Mode == config.Passthrough || o.Mode == config.Redirector || o.Mode == config.Node
	if len(c.Notify) > 0 && relays {
		warn("notify", "\"notify\" has no effect in this mode: the pool that serves the miners notifies")
	}
	if c.Journal != "" && o.Standalone && !relays {
		warn("journal", "\"journal\" has no effect: -A says that no database is meant, so that shares are counted and not kept for payment")
	}
	for _, l := range c.Servers {
		key := l.Key + ".tls"
		warning, err := checkTLS(&l)
		if err != nil {
			errs = append(errs, locate(key, err.Error()))
		}
		if warning != "" {
			warn(key, warning)
		}
	}
	page := config.Listener{TLSCert: c.HTTP.TLSCert, TLSKey: c.HTTP.TLSKey}
	warning, err := checkTLS(&page)
	if err != nil {
		errs = append(errs, locate("http.tls", err.Error()))
	}
	if warning != "" {
		warn("http.tls", strings.Replace(warning, "miners", "browsers", 1))
	}
	if len(errs) > 0 {
		return c, warnings, errs.Causes()
	}
	return c, warnings, nil
}

// oneLine is an error for where there is room for one line alone: of a log, or of a
// reply.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// texts are the warnings as they are logged.
func texts(warnings []config.Warning) []string {
	lines := make([]string, len(warnings))
	for i, w := range warnings {
		lines[i] = w.String()
	}
	return lines
}

// check is --check: all that can be known of a configuration before miners depend
// on it.
type check struct {
	options  Options
	config   config.Config
	errors   config.Errors
	warnings []config.Warning
	report   [][3]string // what is looked at, its name, how it is

	unchecked []string // what may be wrong all the same
}

// errNotUsable is a configuration of which check has said what is wrong.
var errNotUsable = loggedError{errors.New("the configuration cannot be used")}

// checkConfig prints what is wrong with the configuration on stderr, and on stdout
// what was looked at. It leaves nothing behind.
func checkConfig(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	k := &check{options: o}
	var err error
	k.config, k.warnings, err = loadConfig(o)
	_ = errors.As(err, &k.errors)
	if k.config.File != "" { // else there is no telling what it says
		switch o.Mode {
		case config.Proxy:
			k.say("mode", "proxy", "shares are found for other pools, which pay their accounts")
			k.pools(ctx)
		case config.UserProxy:
			k.say("mode", "user proxy", fmt.Sprintf("shares are found for other pools, up to %s with accounts of their own there", counted(k.config.MaxUserProxies, "user")))
			k.pools(ctx)
		case config.Passthrough, config.Redirector:
			k.links(ctx)
		case config.Node:
			k.links(ctx)
			k.nodes(ctx)
		default:
			k.payout()
			k.nodes(ctx)
			k.mainPool(ctx)
		}
		k.listeners(ctx)
		k.directories()
		k.targets()
	}
	k.print(stdout, stderr)
	if len(k.errors) > 0 {
		return errNotUsable
	}
	return nil
}

func (k *check) locate(key, format string, args ...any) *config.Error {
	return config.Locate(k.options.Config, k.options.Mode, key, fmt.Sprintf(format, args...))
}

func (k *check) fail(key, format string, args ...any) {
	k.errors = append(k.errors, k.locate(key, format, args...))
}

func (k *check) warn(key, format string, args ...any) {
	e := k.locate(key, format, args...)
	k.warnings = append(k.warnings, config.Warning{File: e.File, Line: e.Line, Text: e.Text})
}

func (k *check) say(what, name, state string) {
	k.report = append(k.report, [3]string{what, name, state})
}

func (k *check) payout() {
	switch {
	case k.config.Solo:
		k.say("mode", "solo", "a block pays the miner who finds it")
	case k.paysSomebody():
		k.say("mode", "pool", "a block pays "+k.config.BTCAddress)
	default:
		k.say("mode", "pool", "nobody to pay")
	}
	if k.config.Donation > 0 && k.paysSomebody() {
		k.say("", "", fmt.Sprintf("%v %% of it go to %s", k.config.Donation, k.config.DonAddress))
	}
}

// probeTime is how long a node may take for what probe asks, 0: as usual; tests change it.
var probeTime time.Duration

// probe asks all nodes at the same time.
func probe(ctx context.Context, nodes []bitcoind.Config) []bitcoind.Probe {
	probes := make([]bitcoind.Probe, len(nodes))
	var asking sync.WaitGroup
	for i, n := range nodes {
		asking.Go(func() {
			c := bitcoind.NewClient(n, bitcoind.Options{ProbeTimeout: probeTime})
			defer c.Close()
			probes[i] = c.Probe(ctx)
		})
	}
	asking.Wait()
	return probes
}

// nodes judges all of them.
func (k *check) nodes(ctx context.Context) {
	chain := ""
	for i, p := range probe(ctx, k.config.Nodes) {
		chain = cmp.Or(chain, p.Chain)
		k.node(i, p, chain)
	}
}

// node judges what a node says: what its next start or its network mends is a
// warning, what only the configuration can mend is an error.
func (k *check) node(i int, p bitcoind.Probe, chain string) {
	key := fmt.Sprintf("btcd[%d]", i)
	k.say("node", p.URL, nodeState(p))
	misfit := error(nil)
	if p.Chain != "" {
		payout := jobs.PayoutOf(&k.config, k.config.Solo)
		misfit = payout.Fits(p.Chain)
	}
	switch p.State {
	case "ok":
	case "not asked":
		key += ".cookie"
		k.fail(key, "node %s: %s", p.URL, p.Reason)
	case "refused", "failing":
		k.fail(key, "node %s: %s", p.URL, p.Reason)
	case "unreachable":
		hint := config.PeerPort(k.config.Nodes[i].URL)
		if hint == "" {
			k.open(key, p)
			break
		}
		key += ".url"
		told := fmt.Sprintf("%q: %s", key, hint)
		k.warnings = slices.DeleteFunc(k.warnings, func(w config.Warning) bool { return w.Text == told })
		k.fail(key, "node %s: %s (%s)", p.URL, hint, p.Reason)
	default:
		k.open(key, p)
	}
	switch {
	case misfit != nil && k.paysSomebody():
		k.fail(key, "node %s: %v", p.URL, misfit)
	case p.Chain != "" && p.Chain != chain:
		k.fail(key, "node %s: is on the chain %s, the first node on %s", p.URL, p.Chain, chain)
	}
}

// open warns of a node that may be usable another time.
func (k *check) open(key string, p bitcoind.Probe) {
	k.warn(key, "node %s: %s", p.URL, p.Reason)
	k.unchecked = append(k.unchecked, "node "+p.URL)
}

// paysSomebody: the addresses are there and are ones, and not complained of
// already.
func (k *check) paysSomebody() bool {
	c := &k.config
	return k.options.Mode != config.Node && (c.Solo || c.BTCAddress != "") && (c.Donation == 0 || c.DonAddress != "") && !slices.ContainsFunc(k.errors, func(e *config.Error) bool { return e.Key == "btcaddress" || e.Key == "donaddress" })
}

// nodeState is "main, height 900,007, in sync".
func nodeState(p bitcoind.Probe) string {
	var parts []string
	if p.Chain != "" {
		parts = append(parts, p.Chain)
	}
	if p.Height >= 0 {
		parts = append(parts, "height "+thousands(p.Height))
	}
	if p.State == "ok" {
		parts = append(parts, "in sync")
	} else {
		parts = append(parts, p.State)
	}
	return strings.Join(parts, ", ")
}

// thousands groups the digits of n.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// listeners binds all addresses and lets go of them.
func (k *check) listeners(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // for names to be resolved
	defer cancel()
	var urls, keys []string
	for _, l := range k.config.Servers {
		if l.URL != "" {
			urls, keys = append(urls, l.URL), append(keys, l.Key)
		}
		if l.Links != 0 && k.config.LinkSecret == "" && public(l.URL) {
			k.warn(l.Key, `%s gives a link to whoever reaches it: set "link_secret", or listen at a private address`, l.URL)
		}
	}
	if h := k.config.HTTP.Listen; h != "" {
		urls, keys = append(urls, h), append(keys, "http")
	}
	if m := k.config.Metrics; m != "" {
		urls, keys = append(urls, m), append(keys, "metrics")
	}
	running := k.running()
	for i, err := range netserver.Try(ctx, urls) {
		key := keys[i]
		switch {
		case err == nil:
			k.say("listen", urls[i], "free")
		case errors.Is(err, syscall.EADDRINUSE) && running != 0:
			k.say("listen", urls[i], fmt.Sprintf("in use; the instance %s runs, as process %d", k.options.Name, running))
		default:
			k.say("listen", urls[i], "cannot be opened")
			if key == "metrics" { // the pool serves miners without
				k.warn(key, "metrics are not served: %v", err)
			} else if !k.told(key) {
				k.fail(key, "%v", err)
			}
		}
	}
}

// running is the process of the instance of that name, which may be that of a unit if no
// directory was given; 0: there is none.
func (k *check) running() int {
	dir := k.options.SockDir
	if dir == defaultSockDir(k.options.Name) {
		dir = filepath.Dir(sockdir.Find("", k.options.Name, operator.Sockets[0]))
	}
	pid, _ := instance.Running(dir) // directories tells what is wrong with it
	return pid
}

// public tells that strangers may reach an address that is listened on.
func public(url string) bool {
	host, _, _, _ := hostport.Split(url)
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && !addr.IsLoopback() && !addr.IsPrivate() && !addr.IsLinkLocalUnicast()
}

// told tells that a listener is wrong already, such as one that overlaps another.
func (k *check) told(key string) bool {
	return slices.ContainsFunc(k.errors, func(e *config.Error) bool { return e.Key == key })
}

func (k *check) directories() {
	type directory struct{ what, path, key, how string }
	list := []directory{{"logs", k.config.LogDir, "logdir", `"logdir" names another directory`}}
	if k.keepsShares() {
		list = append(list, directory{"journal", pool.JournalDir(&k.config), "journal", `"journal" names another directory`})
	}
	list = append(list, directory{"sockets", k.options.SockDir, "", "-s names another directory"})
	for _, d := range list {
		missing, err := writable(d.path)
		switch {
		case err != nil:
		case d.what == "logs" && !missing:
			err = openable(filepath.Join(d.path, k.options.Name+".log"))
		case d.what == "sockets" && missing: // it is made, and not what it is in
			parent := filepath.Dir(filepath.Clean(d.path))
			if _, parentErr := os.Stat(parent); parentErr != nil {
				err = fmt.Errorf("%s: %w", parent, errors.Unwrap(parentErr))
			}
		}
		switch {
		case err != nil:
			k.say(d.what, d.path, "cannot be written")
			k.fail(d.key, "%s cannot be written: %v; %s", d.what, err, d.how)
		case missing:
			k.say(d.what, d.path, "will be made")
		default:
			k.say(d.what, d.path, "can be written")
		}
	}
}

// keepsShares tells whether shares go to the journal, whatever ckdb is there at the start.
func (k *check) keepsShares() bool {
	switch k.options.Mode {
	case config.Remote:
		return true
	case config.Passthrough, config.Redirector, config.Node:
		return false
	}
	return k.config.Journal != "" && !k.options.Standalone
}

// writable tells whether files can be made in a directory, or the directory itself
// where it is missing.
func writable(dir string) (missing bool, err error) {
	for path := filepath.Clean(dir); ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // which a directory above it is then
			missing = true
			continue
		case err == nil && !info.IsDir():
			return missing, fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
		case err != nil:
			return missing, err
		}
		if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
			return missing, fmt.Errorf("%s: %w", path, err)
		}
		return missing, nil
	}
}

// openable tells whether a file can be written, or made.
func openable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err == nil && info.IsDir():
		return fmt.Errorf("%s: %w", path, syscall.EISDIR)
	case err == nil:
		err = unix.Access(path, unix.W_OK)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// unknowable is what no check can tell.
const unknowable = "not checked: whether miners reach these from outside (firewall, router)\n"

func (k *check) print(stdout, stderr io.Writer) {
	type finding struct {
		line int
		text string
	}
	var list []finding
	for _, e := range k.errors {
		list = append(list, finding{e.Line, e.Error()})
	}
	for _, w := range k.warnings {
		text := "warning: " + w.Text
		w.Text = text
		list = append(list, finding{w.Line, w.String()})
	}
	slices.SortStableFunc(list, func(a, b finding) int { return config.ByLine(a.line, b.line) })
	for _, f := range list {
		fmt.Fprintln(stderr, f.text)
	}
	if len(k.report) > 0 {
		table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		for _, line := range k.report {
			fmt.Fprintf(table, "%s\t%s\t%s\n", line[0], line[1], line[2])
		}
		_ = table.Flush() // stdout may be closed: the status tells
		fmt.Fprint(stdout, unknowable)
	}
	verdict := counted(len(k.errors), "error")
	if n := len(k.warnings); n > 0 {
		verdict += ", " + counted(n, "warning")
	}
	if len(k.unchecked) > 0 {
		verdict += "; not checked: " + strings.Join(k.unchecked, ", ")
	}
	fmt.Fprintf(stdout, "%s: %s\n", k.options.Config, verdict)
}

func counted(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
