package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/journalwriter"
)

// options is the command line.
type options struct {
	name     string // of the instance
	sockDir  string // that was named; empty: none
	group    int    // owner of the socket; -1: the process's group
	level    event.Level
	killOld  bool
	logDir   string   // the pool's
	ownLog   string   // directory of the log
	journals []string // directories
	remotes  string   // directory of copies of others, which come while it runs; "" journals are named
	named    bool     // the journals are
	db       string   // of the database; empty: none was named
	keep     int      // days that shares are kept; 0: for ever
	sites
	nodeOptions
	webOptions
	metrics string // host:port; empty: there are none
	notify  string // file with the key "notify"; empty: nobody is told
	json    bool
	when    string   // a setting begins to hold; empty: now
	signed  []string // signatures of owners of addresses, each [ADDRESS=]SIGNATURE
	of      string   // whom alone a setting is of; empty: of all
	yes     bool     // money may move without a question
	feeRate string   // satoshis per virtual byte; empty: the node's estimate
	from    origin   // of an import
	wide    bool
	command []string
	help    bool
	version bool
	manual  string // format of the manual to print; empty: none
}

// sites is how other sites are reached.
type sites struct {
	forward     bool   // the journals go to another site
	nats        string // servers; empty: there are no other sites
	credentials string // file; empty: none
	replicas    int
}

// flags are the options as they are read.
type flags struct {
	options
	groupName, levelText   string
	dbName, dbUser, dbPass string
}

// Defaults.
const (
	defaultDB   = "ckdb" // directory
	defaultKeep = 30
	envDB       = "CKDB_DB"
	envNATS     = "CKDB_NATS"
	// mostReplicas is what JetStream takes.
	mostReplicas = 5
)

// set declares the options, the common ones first.
func (f *flags) set() *pflag.FlagSet {
	fs := pflag.NewFlagSet("ckdb", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SortFlags = false
	fs.StringVar(&f.db, "db", "", "`DATABASE`: postgres://USER:PASSWORD@HOST/NAME, or a directory for one in SQLite; without it $CKDB_DB, or the directory ckdb")
	fs.StringVarP(&f.dbName, "dbname", "d", "", "`NAME` of a PostgreSQL database on this machine, ckdb without it")
	fs.StringVarP(&f.dbUser, "dbuser", "u", "", "`USER` of it, postgres without it")
	fs.StringVarP(&f.dbPass, "dbpass", "p", "", "`PASSWORD` of it, which others can see in the list of processes: better in ~/.pgpass or $PGPASSWORD")
	getopt.Group(fs, "The database")
	fs.StringVarP(&f.logDir, "logdir", "r", "logs", "`DIR` of the pool's logs, in which its journal is; logs without it")
	fs.StringArrayVarP(&f.journals, "journal", "j", nil, "`DIR` of a journal, instead; may be given for each of several pools")
	getopt.Group(fs, "What is stored")
	fs.StringVar(&f.nats, "nats", "", "`URL` of the NATS servers that other sites send by, tls://HOST, several with commas between; without it $CKDB_NATS")
	fs.StringVar(&f.credentials, "nats-creds", "", "`FILE` with the credentials for them")
	fs.BoolVar(&f.forward, "forward", false, "send the journals to the ckdb with the database, store nothing here")
	fs.IntVar(&f.replicas, "replicas", 1, "`NUMBER` of NATS servers that have what is under way, for --forward; 1 without it")
	getopt.Group(fs, "Several sites")
	f.nodeOptions.set(fs)
	getopt.Group(fs, "The node")
	f.webOptions.set(fs)
	getopt.Group(fs, "Pages")
	fs.StringVar(&f.metrics, "metrics", "", "`ADDRESS`, HOST:PORT, at which Prometheus reads /metrics, without a login; without it nowhere")
	fs.StringVar(&f.notify, "notify", "", "`FILE` whose key \"notify\" says who is told of payouts, rewards, and what is wrong; that of the pool's configuration will do")
	getopt.Group(fs, "Watching")
	fs.IntVar(&f.keep, "keep", defaultKeep, "`DAYS` that each share is kept, 30 without it, 0 for ever; sums are kept for ever")
	fs.StringVarP(&f.name, "name", "n", "ckdb", "`NAME` of the instance, ckdb without it: of its log and socket directory")
	fs.StringVarP(&f.sockDir, "sockdir", "s", "", "`DIR` of its control socket and pid file; without it /tmp/NAME")
	fs.StringVarP(&f.groupName, "group", "g", "", "`GROUP` that owns the control socket and its directory")
	fs.BoolVarP(&f.killOld, "killold", "k", false, "end the running instance of the same name first")
	fs.StringVarP(&f.levelText, "loglevel", "l", "5", "log up to this `LEVEL`: 0 emergencies, 3 errors, 4 warnings, 5 notices, 6 information, 7 all; 5 without it")
	fs.StringVarP(&f.ownLog, "ckdb-logdir", "R", "", "`DIR` of its own log; without it that of the pool's logs")
	getopt.Group(fs, "The running instance")
	fs.BoolVar(&f.json, "json", false, "print the answer to a command for programs")
	fs.BoolVar(&f.wide, "wide", false, "print all of a table, however wide the terminal is")
	fs.StringVar(&f.when, "from", "", "`WHEN` a setting begins to hold, for set and user fee: a height, or a time as 2026-01-31 or \"2026-01-31 12:00\"; without it now")
	fs.StringVar(&f.of, "user", "", "`NAME` of the account that a setting is of, for set; without it of all")
	fs.StringArrayVar(&f.signed, "signature", nil, "`SIGNATURE` over the text of \"user prove\", by BIP322 or signmessage; ADDRESS=SIGNATURE where another address than the account's signed; may be given for each")
	fs.BoolVar(&f.yes, "yes", false, "do not ask before money moves, for scripts")
	fs.StringVar(&f.feeRate, "fee-rate", "", "`RATE` in satoshis per virtual byte that payouts pay to the network; without it the node's estimate")
	getopt.Group(fs, "Commands")
	fs.StringVar(&f.from.url, "pg", "", "`URL` of a database of the reference, postgres://USER:PASSWORD@HOST/NAME, that import reads")
	fs.StringVar(&f.from.prefix, "logs", "", "`PREFIX` of the request logs that import reads, where there are several, such as ckdb")
	fs.StringVar(&f.from.as, "as", "", "`NAME` that the imported pool gets; without it what the names of the logs or the database begin with")
	fs.StringVar(&f.from.network, "network", "main", "`NETWORK` of the imported pool: main, test, signet or regtest; main without it")
	getopt.Group(fs, "Import")
	fs.BoolVarP(&f.help, "help", "h", false, "print this")
	fs.BoolVar(&f.version, "version", false, "print what this program was built from")
	fs.StringVar(&f.manual, "manual", "", "print the manual: man, bash or zsh")
	getopt.Group(fs, "Help")
	_ = fs.MarkHidden("manual") // it exists
	return fs
}

// synopsis are the ways to call the program.
var synopsis = []string{"[options]", "[options] COMMAND [ARGUMENT...]"}

func usage(width int) string {
	text := getopt.Usage(new(flags).set(), synopsis,
		"Stores what pools tell in their journals in a database, until it is ended; with a command, shows what is there. See ckdb(1), or docs/ckdb.md.", width)
	var b strings.Builder
	b.WriteString(text + "\nCommands:\n")
	for _, c := range commands {
		const indent = 28
		term := fmt.Sprintf("  %-*s", indent-2, strings.TrimSpace(c.name+" "+c.args))
		if len(term) > indent || term[indent-1] != ' ' {
			term += "\n" + strings.Repeat(" ", indent)
		}
		b.WriteString(term + getopt.Wrap(c.text, width, indent) + "\n")
	}
	return b.String()
}

// parseOptions reads the command line. The error is what the user is to read.
func parseOptions(args []string) (*options, error) {
	f := &flags{}
	fs := f.set()
	args, err := getopt.Expand(fs, args)
	if err == nil {
		err = fs.Parse(args)
	}
	switch {
	case f.help:
		return &f.options, nil
	case err != nil:
		return nil, fmt.Errorf("%w; \"ckdb --help\" lists the options", getopt.Explain(err))
	}
	f.command = fs.Args()
	return &f.options, f.resolve(fs)
}

// resolve checks the options and fills in what depends on others.
func (f *flags) resolve(fs *pflag.FlagSet) error {
	if strings.ContainsAny(f.name, "/\x00") || f.name == "." || f.name == ".." || f.name == "" {
		return fmt.Errorf("invalid name %q: it becomes a file name", f.name)
	}
	n, err := strconv.Atoi(f.levelText)
	if err != nil || n < 0 || n > 7 {
		return fmt.Errorf("-l %s: want a level from 0 to 7", f.levelText)
	}
	f.level = event.Level(n)
	if f.keep < 0 {
		return fmt.Errorf("--keep %d: want days, or 0 for ever", f.keep)
	}
	f.group = -1
	if f.groupName != "" {
		g, err := user.LookupGroup(f.groupName)
		if err != nil {
			return fmt.Errorf("there is no group %s", f.groupName)
		}
		if f.group, err = strconv.Atoi(g.Gid); err != nil {
			return err
		}
	}
	if f.named = len(f.journals) > 0 || fs.Changed("logdir"); len(f.journals) == 0 {
		f.remotes = absolute(filepath.Join(f.logDir, "remotes"))
		f.journals = append([]string{filepath.Join(f.logDir, "journal")}, journalwriter.Mirrors(f.remotes)...)
	}
	for i, dir := range f.journals {
		f.journals[i] = absolute(dir)
		if slices.Contains(f.journals[:i], f.journals[i]) {
			return fmt.Errorf("journal %s is named twice", f.journals[i])
		}
	}
	f.ownLog = cmp.Or(f.ownLog, f.logDir)
	if err := f.resolveSites(fs); err != nil {
		return err
	}
	if _, port, err := net.SplitHostPort(f.metrics); f.metrics != "" && (err != nil || port == "" || port == "0") {
		return fmt.Errorf("--metrics %s: want HOST:PORT, such as 127.0.0.1:9101", f.metrics)
	}
	if f.notify != "" && len(f.command) == 0 {
		if _, err := os.Stat(f.notify); err != nil {
			return fmt.Errorf("--notify %s: %w", f.notify, errors.Unwrap(err))
		}
	}
	if err := errors.Join(f.nodeOptions.resolve(), f.webOptions.resolve(f.forward)); err != nil {
		return err
	}
	return f.resolveDB(fs)
}

func (f *flags) resolveSites(fs *pflag.FlagSet) error {
	if f.nats == "" {
		f.nats = os.Getenv(envNATS)
	}
	switch {
	case f.replicas < 1 || f.replicas > mostReplicas:
		return fmt.Errorf("--replicas %d: want 1 to %d", f.replicas, mostReplicas)
	case !f.forward && fs.Changed("replicas"):
		return errors.New("--replicas is for --forward")
	case f.nats == "" && f.credentials != "":
		return errors.New("--nats-creds is for --nats, which names the servers")
	case f.forward && f.nats == "" && len(f.command) == 0:
		return errors.New("--forward: where to? --nats names the NATS servers")
	case f.forward && fs.Changed("keep"):
		return errors.New("--keep is for the ckdb with the database, --forward stores nothing here")
	}
	return nil
}

func (f *flags) resolveDB(fs *pflag.FlagSet) error {
	server, option := fs.Changed("dbname") || fs.Changed("dbuser") || fs.Changed("dbpass"), "--db"
	switch {
	case f.forward && (f.db != "" || server):
		return errors.New("--forward stores nothing here: no database is to be named with it")
	case f.forward: // nor is the usual one
	case f.db != "" && server:
		return errors.New("--db names the whole database: -d, -u and -p are not for it")
	case f.db == "" && server:
		u := url.URL{Scheme: "postgres", User: url.User(cmp.Or(f.dbUser, "postgres")), Host: "127.0.0.1", Path: "/" + cmp.Or(f.dbName, "ckdb")}
		if f.dbPass != "" {
			u.User = url.UserPassword(u.User.Username(), f.dbPass)
		}
		f.db = u.String()
	case f.db == "":
		f.db, option = os.Getenv(envDB), "$"+envDB
	}
	if !isPostgres(f.db) && (strings.Contains(f.db, "://") || conninfo.MatchString(f.db)) {
		return fmt.Errorf("%s: want postgres://USER@HOST/NAME, or a directory", option)
	}
	return nil
}

// conninfo is PostgreSQL's other form of what a URL says. As a directory it would be one with a
// password in its name.
var conninfo = regexp.MustCompile(`(^|\s)(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=`)

// isPostgres tells that a place is the URL of a server.
func isPostgres(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// columns are those of a terminal that tables have to fit, 0 where they need not.
func (o *options) columns(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok || o.wide {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
