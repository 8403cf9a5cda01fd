package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Command is a control command as an operator gives it.
type Command struct {
	Name string // one word, in small letters
	Args string // what follows the name, as help shows it: "USER", "[HOST PORT]"
	Text string // what it does, in a line

	build builder
}

// builder makes the request of a command's arguments.
type builder func(name string, args []string) (string, error)

// PoolCommands are those of every instance, in the order of a list of help.
func PoolCommands() []Command {
	return []Command{
		{"ping", "", "answer pong", plain},
		{"version", "", "version of the program", plain},
		{"uptime", "", "seconds since the start", plain},
		{"help", "", "list the commands", plain},
		{"loglevel", "LEVEL", "log up to this level: 0 emergencies, 3 errors, 4 warnings, 5 notices, 7 all", level},
		{"reload", "", "read the configuration again", plain},
		{"shutdown", "", "end the program", plain},
		{"restart", "", "start the program again; miners stay connected", plain},
		{"upgrade", "[PATH]", "the same with the program at PATH, or the new one at its own", path},

		{"poolstats", "", "statistics of the pool", plain},
		{"users", "", "all users", plain},
		{"workers", "", "all workers", plain},
		{"clients", "", "all connections", plain},
		{"getuser", "USER", "one user", object("user")},
		{"getworker", "WORKER", "one worker", object("worker")},
		{"getclient", "ID", "one connection", object("#id")},
		{"userclients", "USER", "ids of a user's connections", object("user")},
		{"workerclients", "WORKER", "ids of a worker's connections", object("worker")},
		{"ucinfo", "USER", "a user's connections", object("user")},
		{"wcinfo", "WORKER", "a worker's connections", object("worker")},
		{"bestshares", "", "the best shares of the round and ever, by user", plain},
		{"rejects", "", "rejected shares by reason", plain},
		{"drops", "", "closed connections by reason", plain},
		{"resetshares", "", "begin a new round: best shares and the pool's counts are zero", plain},
		{"stratifierstats", "", "objects in memory: work, users, shares", plain},
		{"connectorstats", "", "connections and their unsent output", plain},
		{"stats", "", "of the socket connector that is connectorstats, else stratifierstats", plain},

		{"accept", "", "accept new connections again", plain},
		{"reject", "", "close new connections; miners that are connected go on", plain},
		{"reconnect", "[HOST PORT]", "tell all miners to reconnect, to another pool if named", optional("%s:%s,%s")},
		{"reconnclient", "ID", "tell one miner to reconnect", value},
		{"dropall", "", "close all miners; links with other pools stay", plain},
		{"dropclient", "ID", "close one connection", value},
		{"message", "TEXT", "show a text on all miners", value},
		{"messageclient", "ID TEXT", "show a text on one miner", object("#id", "text")},
		{"messageuser", "USER TEXT", "show a text on a user's miners", object("user", "text")},

		{"blocks", "", "blocks found and what became of them", plain},
		{"journal", "", "the journal of shares: how much is not safe yet, and who reads it", plain},
		{"nodes", "", "the bitcoin nodes", plain},
		{"links", "", "other pools whose miners are served over one connection each", plain},
		{"droplink", "ID", "close one of them; the other pool links again, and its miners go on", value},
		{"update", "", "make new work now", plain},
		{"getbase", "", "a block template of the node", plain},
		{"getbest", "", "hash of the block work is built on", plain},
		{"getlast", "", "the same", plain},
		{"checkaddr", "ADDRESS", "whether blocks can be paid to the address, and why not", object("address")},
		{"submitblock", "HASH BLOCK", "submit a block in hex to the node", submission},
	}
}

// ProxyCommands are those that an instance has besides when it mines for other pools.
func ProxyCommands() []Command {
	return []Command{
		{"list", "", "the pools that are mined for, in order of preference", plain},
		{"sublist", "ID", "the connections to one of them", object("#id")},
		{"addproxy", "URL USER [PASSWORD]", "mine for another pool too, the last in the order", object("url", "auth", "pass?")},
		{"delproxy", "ID", "mine for that pool no longer", object("#id")},
		{"setproxy", "ID PRIORITY", "its place in the order, 0 the first", object("#id", "#priority")},
		{"enableproxy", "ID", "mine for that pool again", object("#id")},
		{"disableproxy", "ID", "do not mine for that pool until it is enabled", object("#id")},
		{"proxystats", "[ID [SUBID]]", "what became of shares, by pool, of one pool, or of one connection", numbers("id", "subid?")},
		{"subproxystats", "", "what became of shares, by connection", plain},
		{"proxyusers", "", "users with accounts of their own there, and what became of their shares", plain},
		{"proxyinfo", "[USERID]", "the connections to pools and their room for miners, all or those of one user", numbers("userid")},
		{"getproxy", "ID [SUBID]", "one of them", object("#id", "#subid?")},
		{"recruit", "ID COUNT", "open so many more connections to a pool", pair},
		{"dropproxy", "ID SUBID", "close one connection to a pool", pair},
	}
}

// EdgeCommands are those of a passthrough or a redirector.
func EdgeCommands() []Command {
	has := []string{
		"ping", "version", "uptime", "help", "loglevel", "reload", "shutdown", "restart", "upgrade", "clients", "drops", "connectorstats", "stats",
		"accept", "reject", "reconnect", "reconnclient", "dropall", "dropclient",
	}
	list := slices.DeleteFunc(PoolCommands(), func(c Command) bool { return !slices.Contains(has, c.Name) })
	return append(list, Command{"list", "", "the pools that serve the miners, in order of preference", plain})
}

// NodeCommands are those of a node.
func NodeCommands() []Command {
	has := []string{"users", "workers", "getuser", "getworker", "bestshares", "rejects", "nodes"}
	list := slices.DeleteFunc(PoolCommands(), func(c Command) bool { return !slices.Contains(has, c.Name) })
	return append(EdgeCommands(), list...)
}

// Commands are all of them, whatever an instance mines for.
func Commands() []Command { return append(PoolCommands(), ProxyCommands()...) }

// IsCommand reports whether name is that of one of [Commands].
func IsCommand(name string) bool {
	return slices.ContainsFunc(Commands(), func(c Command) bool { return c.Name == strings.ToLower(name) })
}

// Message builds the request of a command line: a name of [Commands] and its
// arguments. What already has the form of a request, as "loglevel=5", and
// unknown names without arguments stay as they are.
func Message(args ...string) (string, error) {
	if len(args) == 0 || args[0] == "" {
		return "", errors.New("no command")
	}
	name := strings.ToLower(args[0])
	for _, c := range Commands() {
		if c.Name != name {
			continue
		}
		request, err := c.build(name, args[1:])
		if err != nil {
			return "", fmt.Errorf("usage: %s: %w", strings.TrimSpace(c.Name+" "+c.Args), err)
		}
		return request, nil
	}
	return strings.Join(args, " "), nil
}

func plain(name string, args []string) (string, error) {
	if len(args) > 0 {
		return "", errors.New("it has no arguments")
	}
	return name, nil
}

// value is name=ARGUMENT, all words being one.
func value(name string, args []string) (string, error) {
	if len(args) == 0 {
		return "", errors.New("argument is missing")
	}
	return name + "=" + strings.Join(args, " "), nil
}

func level(name string, args []string) (string, error) {
	if len(args) != 1 || len(args[0]) != 1 || args[0] < "0" || args[0] > "7" {
		return "", errors.New("want a number from 0 to 7")
	}
	return value(name, args)
}

// path is the name of a file, made absolute: the pool has a directory of its
// own. Without arguments it is none.
func path(name string, args []string) (string, error) {
	if len(args) == 0 {
		return name, nil
	}
	file, err := filepath.Abs(strings.Join(args, " "))
	return name + "=" + file, err
}

func submission(name string, args []string) (string, error) {
	if len(args) != 2 {
		return "", errors.New("want a hash and a block")
	}
	return name + ":" + args[0] + "," + args[1], nil
}

// optional has all its arguments or none.
func optional(format string) builder {
	return func(name string, args []string) (string, error) {
		switch len(args) {
		case 0:
			return name, nil
		case strings.Count(format, "%s") - 1:
			all := []any{name}
			for _, a := range args {
				all = append(all, a)
			}
			return fmt.Sprintf(format, all...), nil
		}
		return "", errors.New("want all arguments or none")
	}
}

// object is name={"key": argument, …}. A key with '#' before it is a number,
// one with '?' behind it may be missing; the last string takes all words left. An
// argument that is such an object already stays as it is.
func object(keys ...string) builder {
	return func(name string, args []string) (string, error) {
		if all := strings.Join(args, " "); strings.HasPrefix(all, "{") && json.Valid([]byte(all)) {
			return name + "=" + all, nil
		}
		var b strings.Builder
		b.WriteString(name + "={")
		for i, key := range keys {
			key, isOptional := strings.CutSuffix(key, "?")
			key, isNumber := strings.CutPrefix(key, "#")
			if len(args) == 0 {
				if isOptional {
					break
				}
				return "", errors.New("argument is missing")
			}
			arg := args[0]
			args = args[1:]
			if i == len(keys)-1 && !isNumber {
				arg, args = strings.Join(append([]string{arg}, args...), " "), nil
			}
			v, err := member(arg, isNumber)
			if err != nil {
				return "", err
			}
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%q: %s", key, v)
		}
		if len(args) > 0 {
			return "", fmt.Errorf("%q is too much", strings.Join(args, " "))
		}
		return b.String() + "}", nil
	}
}

// numbers is an [object] of numbers, or the name alone without any.
func numbers(keys ...string) builder {
	for i := range keys {
		keys[i] = "#" + keys[i]
	}
	all := object(keys...)
	return func(name string, args []string) (string, error) {
		if len(args) == 0 {
			return name, nil
		}
		return all(name, args)
	}
}

// pair is name=NUMBER:NUMBER.
func pair(name string, args []string) (string, error) {
	if len(args) != 2 {
		return "", errors.New("want two numbers")
	}
	for _, arg := range args {
		if _, err := member(arg, true); err != nil {
			return "", err
		}
	}
	return name + "=" + args[0] + ":" + args[1], nil
}

func member(arg string, isNumber bool) ([]byte, error) {
	if !isNumber {
		return json.Marshal(arg)
	}
	if _, err := strconv.ParseInt(arg, 10, 64); err != nil {
		return nil, fmt.Errorf("%q is not a number", arg)
	}
	return []byte(arg), nil
}
