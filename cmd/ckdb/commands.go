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
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/nearest"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/sockdir"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/store/sqlite"
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
		{"user hold", "NAME REASON", "do not pay it, until there is \"user unhold\"; it earns on", 2, many, (*call).hold},
		{"user unhold", "NAME", "pay it again", 1, 1, (*call).unhold},
		{"user private", "NAME on|off", "name it to nobody on the pages, in the answers and notifications of pools that ask this database, or end that", 2, 2, (*call).setPrivate},
		{"user address", "NAME [ADDRESS[=PERCENT]...]", "show where a user is paid, or say it; a change waits some days", 1, many, (*call).addresses},
		{"user prove", "NAME CHANGE...", "print the text that the owner of an address signs for a change: addresses as for \"user address\", or minimum SATOSHIS; or make the change, by that text and --signature", 2, many, (*call).prove},
		{"user fee", "NAME [FEE]", "show what the pool keeps of a user's rewards, or set it, such as 0.9% or 9000ppm, millionths, from now on or --from", 1, 2, (*call).fee},
		{"user role", "NAME ROLE", "make a user admin, accountant, support, reader, or member again, who sees its own account alone", 2, 2, (*call).setRole},
		{"user totp", "NAME offer|confirm CODE|off|codes", "one-time codes beside a password: make a secret for an app, try a code of it, which puts it in force and prints recovery codes; end them; print new recovery codes", 2, many, (*call).oneTimeCodes},
		{"user token", "NAME add SCOPES DAYS TEXT|list|revoke NUMBER", "tokens of programs: make one for some of what its user may do, with commas between, and say what it is for; list them; end one", 2, many, (*call).tokens},
		{"user message", "NAME TEXT", "show a text to the miners of an account", 2, many, (*call).message},
		{"workers", "[NAME]", "all workers, or those of an account", 0, 1, (*call).workers},
		{"shifts", "", "the shifts of each pool, with their shares", 0, 0, (*call).shifts},
		{"blocks", "", "blocks found and what became of them", 0, 0, (*call).blocks},
		{"luck", "", "how lucky the pools were with their blocks", 0, 0, (*call).luck},
		{"rewards", "[BLOCK|USER]", "what each block was worth and what it waits for; who got how much of one, by height or hash; or what an account got", 0, 1, (*call).rewards},
		{"explain block", "HEIGHT", "how a block, by height or hash, is divided, so that it can be followed by hand", 1, 1, (*call).explainBlock},
		{"explain user", "NAME", "how an account came to its newest rewards, and all that was posted to it", 1, 1, (*call).explainUser},
		{"export block", "HEIGHT", "all that a reward is computed from, and the result, a JSON object in a line each", 1, 1, (*call).export},
		{"verify", "FILE", "compute the reward in a file of \"export block\" anew, without a database; - is standard input", 1, 1, (*call).verify},
		{"balances", "", "what each account is owed, mature and not, and with --json the pool's own books", 0, 0, (*call).balances},
		{"correct", "NUMBER FROM TO SATOSHIS REASON", "correct a transaction of the ledger, once: what one account has too much is the other's, - is the pool; the numbers are those of \"explain\"", 5, many, (*call).correct},
		{"payout plan", "", "who would be paid what, and who not, and why; changes nothing", 0, 0, (*call).payoutPlan},
		{"payout send", "[ID]", "plan, sign with the node's wallet and send; or send on what is under way", 0, 1, (*call).payoutSend},
		{"payout export", "FILE [ID]", "plan, and write the unsigned PSBT for a signer elsewhere; further ones to FILE.2 and so on", 1, 2, (*call).payoutExport},
		{"payout import", "FILE", "check and send what the signer made of it", 1, 1, (*call).payoutImport},
		{"payout show", "[ID]", "the newest payments and their states, or all of one", 0, 1, (*call).payoutShow},
		{"payout bump", "ID", "replace a payment's transaction by one with a higher fee, --fee-rate", 1, 1, (*call).payoutBump},
		{"payout replace", "ID", "send another transaction for a payment that its signer does not send", 1, 1, (*call).payoutReplace},
		{"payout cancel", "ID", "end a payment that was not sent and cannot be any more", 1, 1, (*call).payoutCancel},
		{"payout book", "TXID", "book a spend of the wallet that is no payment, so that sending goes on", 1, 1, (*call).payoutBook},
		{"set", "[NAME [VALUE]]", "show the settings of rewards and payouts, or one with its history; or set it, from now on or --from, of all or of one --user", 0, 2, (*call).set},
		{"audit", "", "what people changed, with before and after", 0, 0, (*call).auditLog},
		{"block book", "HASH miners|pool", "book the money of a coinbase that no pool told of, to the miners as of any block or to the pool", 2, 2, (*call).bookBlock},
		{"block pass", "HASH", "let higher blocks be rewarded before one that has no reward", 1, 1, (*call).passBlock},
		{"alarm book", "SUBJECT REASON", "end an alarm of work that cannot have been done, so that payouts go on", 2, many, (*call).bookAlarm},
		{"retire", "INSTANCE", "say that a pool, by name or id, never comes back: rewards do not wait for its journal", 1, 1, (*call).retire},
		{"check", "", "compute all sums, shifts, rewards and balances anew and compare, with --node also the chain and the wallet", 0, 0, (*call).check},
		{"import", "[DIR]", "store the reference's request logs in DIR, or with --pg its database", 0, 1, (*call).importPool},
		{"journal ls", "[DIR]", "the segments of a journal", 0, 1, (*call).journalList},
		{"journal cat", "[DIR]", "its records, a JSON object in a line each", 0, 1, (*call).journalPrint},
		{"journal check", "[DIR]", "compute each of its shares anew", 0, 1, (*call).journalCheck},
	}
}

// parted are the first words of commands that have two.
var parted = []string{"journal", "explain", "export", "block", "payout", "alarm"}

// usageOf is how the commands are called that begin with the first word of a name.
func usageOf(name string) string {
	first, _, _ := strings.Cut(name, " ")
	if !slices.Contains(parted, first) {
		return ""
	}
	var list, words, args []string
	for _, c := range commands {
		if word, ok := strings.CutPrefix(c.name, first+" "); ok {
			list, words, args = append(list, "ckdb "+c.name+" "+c.args), append(words, word), append(args, c.args)
		}
	}
	if len(slices.Compact(args)) == 1 {
		return fmt.Sprintf("usage: ckdb %s %s %s", first, strings.Join(words, "|"), args[0])
	}
	return "usage: " + strings.Join(list, ", or ")
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
	if slices.Contains(parted, name) && len(args) > 0 || name == "user" && len(args) > 1 {
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
		return errors.New("usage: ckdb user NAME, or ckdb user add|password|lock|unlock|minimum|hold|unhold|private|address|prove|fee|role|totp|token|message NAME ...")
	}
	if usage := usageOf(name); usage != "" {
		return errors.New(usage)
	}
	if word := nearest.Word(strings.ToLower(name), names); word != "" {
		return fmt.Errorf("unknown command %q, did you mean %q? \"ckdb --help\" lists all", name, word)
	}
	return fmt.Errorf("unknown command %q, \"ckdb --help\" lists all", name)
}

// print prints an answer, as it is or as tables.
func (c *call) print(answer any) error {
	if !c.json {
		return c.printTable(answer)
	}
	text, err := json.Marshal(answer)
	if err == nil {
		_, err = fmt.Fprintf(c, "%s\n", text)
	}
	return err
}

func (c *call) printTable(answer any) error {
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return c.PrintReply(string(text))
}

// replyTime is how long the running instance may take to answer.
const replyTime = 5 * time.Second

// socket is that of the running instance.
func (c *call) socket() string { return sockdir.Find(c.sockDir, c.name, socket) }

// daemon asks the running instance; nil: there is none.
func (c *call) daemon(ctx context.Context) (*daemon, error) {
	client := control.Client{Path: c.socket(), ReplyTimeout: replyTime, BodyTimeout: replyTime}
	reply, err := client.Do(ctx, "status")
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: use sudo, or join the group of that socket (ckdb -g sets it)", client.Path)
	case errors.Is(err, control.ErrConnect):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if c.sockDir == "" {
		if err := ownSocket(client.Path); err != nil {
			return nil, err
		}
	}
	d := &daemon{}
	if err := json.Unmarshal([]byte(reply), d); err != nil {
		return nil, fmt.Errorf("%s: the answer is %q: %w", client.Path, reply, err)
	}
	return d, nil
}

// database is where it is: the one that was named, that of the running instance, or the
// usual one.
func (c *call) database(d *daemon) (where string, err error) {
	switch where = c.db; {
	case c.forward || where == "" && d != nil && d.Forward:
		return "", errors.New("the database is at another site: ask the ckdb there")
	case where != "":
		return where, nil
	case d == nil:
		return defaultDB, nil
	case !d.Whole:
		return "", fmt.Errorf("the database is %s: say it with its password, by --db or $%s", d.Database, envDB)
	}
	return d.Database, nil
}

// open opens the database.
func (c *call) open(ctx context.Context, d *daemon) (s *store.Store, where string, err error) {
	if where, err = c.database(d); err != nil {
		return nil, "", err
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

// absolute is path itself where nobody may know where it is: who is another user for one
// command, as by sudo, need not be let into the directory that it was given in.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}
