package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ckpool/control"
	"ckpool/internal/nearest"
	"ckpool/internal/page"
	"ckpool/internal/sockdir"
	"ckpool/internal/store"
	"ckpool/internal/store/sqlite"
)

// command is a command as an operator gives it.
type command struct {
	name, args, text string
	least, most      int // arguments
	run              func(c *call, ctx context.Context) error
}

// many arguments are words of one text.
const many = math.MaxInt

// commands are all, as help lists them.
var commands []command

func init() { // they list each other
	commands = []command{
		{"status", "", "how far each journal is stored, gaps, sums, the last block", 0, 0, (*call).status},
		{"users", "", "all accounts: addresses and users", 0, 0, (*call).users},
		{"user", "NAME", "an account, its workers and its last days", 1, 1, (*call).user},
		{"user add", "NAME", "register a user; from the first one on, names that are no address need it", 1, 1, (*call).addUser},
		{"user password", "NAME", "ask for its password, or read it from standard input; a user is registered", 1, 1, (*call).setPassword},
		{"user lock", "NAME [REASON]", "keep an account from mining, for a reason that its miners are shown", 1, many, (*call).lock},
		{"user unlock", "NAME", "let it mine again", 1, 1, (*call).unlock},
		{"user minimum", "WORKER DIFF", "give a worker, such as NAME.RIG, a least difficulty; 0 is none", 2, 2, (*call).setMinimum},
		{"user message", "NAME TEXT", "show a text to the miners of an account", 2, many, (*call).message},
		{"workers", "[NAME]", "all workers, or those of an account", 0, 1, (*call).workers},
		{"shifts", "", "the shifts of each pool, with their shares", 0, 0, (*call).shifts},
		{"blocks", "", "blocks found and what became of them", 0, 0, (*call).blocks},
		{"check", "", "compute all sums and shifts anew and compare", 0, 0, (*call).check},
		{"import", "[DIR]", "store the reference's request logs in DIR, or with --pg its database", 0, 1, (*call).importPool},
		{"journal ls", "[DIR]", "the segments of a journal", 0, 1, (*call).journalList},
		{"journal cat", "[DIR]", "its records, a JSON object in a line each", 0, 1, (*call).journalPrint},
		{"journal check", "[DIR]", "compute each of its shares anew", 0, 1, (*call).journalCheck},
	}
}

// call is a command that was given.
type call struct {
	*options
	page.Page
	args []string
}

// runCommand runs what was given on the command line.
func (o *options) runCommand(ctx context.Context, stdout io.Writer) error {
	name, args := o.command[0], o.command[1:]
	// A user may be called as a command is: user with nothing behind its name shows it.
	if name == "journal" && len(args) > 0 || name == "user" && len(args) > 1 {
		name, args = name+" "+args[0], args[1:]
	}
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
		if c.name != name {
			continue
		}
		if len(args) < c.least || len(args) > c.most {
			return fmt.Errorf("usage: ckdb %s", strings.TrimSpace(c.name+" "+c.args))
		}
		return c.run(&call{o, page.Page{Writer: stdout, Columns: o.columns(stdout)}, args}, ctx)
	}
	if strings.HasPrefix(name, "user ") {
		return errors.New("usage: ckdb user NAME, or ckdb user add|password|lock|unlock|minimum|message NAME ...")
	}
	if name == "journal" {
		return errors.New("usage: ckdb journal ls|cat|check [DIR]")
	}
	if word := nearest.Word(strings.ToLower(name), names); word != "" {
		return fmt.Errorf("unknown command %q, did you mean %q? \"ckdb --help\" lists all", name, word)
	}
	return fmt.Errorf("unknown command %q, \"ckdb --help\" lists all", name)
}

// print prints an answer, as it is or as tables.
func (c *call) print(answer any) error {
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if c.json {
		_, err = fmt.Fprintf(c, "%s\n", text)
		return err
	}
	return c.PrintReply(string(text))
}

// replyTime is how long the running instance may take to answer.
const replyTime = 5 * time.Second

// daemon asks the running instance; nil: there is none.
func (c *call) daemon(ctx context.Context) (*daemon, error) {
	client := control.Client{Path: sockdir.Find(c.sockDir, c.name, socket), ReplyTimeout: replyTime, BodyTimeout: replyTime}
	reply, err := client.Do(ctx, "status")
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: use sudo, or join the group of that socket (ckdb -g sets it)", client.Path)
	case errors.Is(err, control.ErrConnect):
		return nil, nil
	case err != nil:
		return nil, err
	}
	d := &daemon{}
	if err := json.Unmarshal([]byte(reply), d); err != nil {
		return nil, fmt.Errorf("%s: the answer is %q: %w", client.Path, reply, err)
	}
	return d, nil
}

// open opens the database: the one that was named, that of the running instance, or
// the usual one.
func (c *call) open(ctx context.Context, d *daemon) (s *store.Store, where string, err error) {
	where = c.db
	if c.forward || where == "" && d != nil && d.Forward {
		return nil, "", errors.New("the database is at another site: ask the ckdb there")
	}
	if where == "" && d != nil {
		if where = d.Database; !d.Whole {
			return nil, "", fmt.Errorf("the database is %s: say it with its password, by --db or $%s", where, envDB)
		}
	}
	if where == "" {
		where = defaultDB
	}
	if dir := strings.TrimPrefix(where, "sqlite:"); !strings.Contains(where, "://") {
		if _, err := os.Stat(filepath.Join(dir, sqlite.File)); errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("there is no database in %s: ckdb makes it when it runs; --db names another, or -n the instance", absolute(dir))
		}
	}
	s, err = store.Open(ctx, where)
	return s, where, err
}

// with runs f with the database.
func (c *call) with(ctx context.Context, f func(s *store.Store) error) error {
	var d *daemon
	if c.db == "" {
		var err error
		if d, err = c.daemon(ctx); err != nil {
			return err
		}
	}
	s, _, err := c.open(ctx, d)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}

func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}
