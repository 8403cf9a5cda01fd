package main

import (
	"ckpool/internal/getopt"
	"ckpool/internal/manual"
)

func manualPage() manual.Page {
	return manual.Page{
		Name:  "ckpool",
		Title: "bitcoin mining pool",
		Synopsis: []string{
			"[-B] [-c FILE] [-n NAME] [-D] [-k] [-L] [options]",
			"--check [-c FILE]",
		},
		About: `ckpool takes work from bitcoin nodes, hands it to miners over stratum, checks and
counts their shares and submits the blocks they find. In pool mode blocks pay the
address in the configuration, in solo mode (-B) the miner who finds them.

An instance is known by its name. Several of different names run side by side;
a second one of the same name is refused, or with -k replaces the first.

Long options may be abbreviated as long as they are unique.`,
		Options: getopt.List(new(flags).set()),
		Sections: []manual.Section{
			{Title: "Configuration", Text: `The file is one JSON object, with comments and trailing commas allowed; text behind it
is ignored. docs/ckpool.conf is a sample with every key and its default. The least
that is needed:

	{ "btcd": [{"url": "127.0.0.1:8332", "auth": "user", "pass": "pass"}],
	  "btcaddress": "bc1q..." }

A wrong value ends the program with status 1 and one line that says where it is;
unknown keys are warned of. SIGHUP, or "ckpmsg reload", reads the file again: what
may change while miners mine is in force at once, the log names the keys that wait
for the next start, and a wrong file changes nothing.`},
			{Title: "Files", Items: []manual.Item{
				{Term: "NAME.conf", Text: "the configuration"},
				{Term: "logs/NAME.log", Text: "the log; \"logdir\" in the configuration names another directory"},
				{Term: "logs/pool/pool.status", Text: "statistics of the pool, each minute"},
				{Term: "logs/pool/blocks.json", Text: "blocks found and what became of them"},
				{Term: "logs/pool/blocks/", Text: "blocks found that are not yet decided"},
				{Term: "logs/pool/sessions.json", Text: "sessions that miners may resume after a restart"},
				{Term: "logs/pool/pool.txns", Text: "transactions of the present work"},
				{Term: "logs/users/USER", Text: "statistics of a user and its workers, each minute"},
				{Term: "logs/HEIGHT/WORK.sharelog", Text: "shares, with -L"},
				{Term: "/tmp/NAME/", Text: "control sockets listener, stratifier, generator, connector, and main.pid"},
			}},
			{Title: "Signals", Items: []manual.Item{
				{Term: "SIGTERM, SIGINT", Text: "end, with everything written"},
				{Term: "SIGHUP", Text: "open the logs by name again and read the configuration again"},
				{Term: "SIGUSR1", Text: "open the logs by name again"},
			}},
			{Title: "Environment", Items: []manual.Item{
				{Term: "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS", Text: "as systemd sets them: see sd_notify(3) and sd_listen_fds(3). " +
					"Sockets passed on are used where their address is one of the configuration."},
			}},
			{Title: "Exit status", Text: `0 after a signal or the command shutdown, 1 after an error. What a node says is no
error: the pool waits until it can be used.`},
			{Title: "See also", Text: "ckpmsg(1), notifier(1), ckbench(1), docs/operations.md"},
		},
	}
}
