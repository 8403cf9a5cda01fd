package main

import (
	"strings"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/manual"
)

// printManual prints a manual: of the program, or of its configuration.
func printManual(format string) (string, error) {
	switch format {
	case "sample":
		return config.Sample(), nil
	case "man5":
		return configPage().Print(manual.Roff)
	}
	return manualPage().Print(format)
}

// configPage is of the configuration file.
func configPage() manual.Page {
	p := manual.Page{
		Name:    "ckpool.conf",
		Chapter: 5,
		Title:   "configuration of ckpool",
		About: `The file is one JSON object. Comments (// and /* */) and trailing commas are allowed,
text behind the object is ignored. It is read from the current directory, or where the
option -c says. "ckpool --check" says what is wrong with it. The least that is needed
in pool mode, where blocks pay one address, with the node's cookie file:

	{ "btcd": [{"url": "127.0.0.1:8332", "cookie": "~/.bitcoin/.cookie"}],
	  "btcaddress": "bc1q..." }

and in solo mode, where a block pays the miner who finds it, with a user and password
that the node has by rpcauth:

	{ "btcd": [{"url": "10.0.0.2:8332", "auth": "user", "pass": "password"}],
	  "solo": true }

and in proxy mode (-p), where shares are found for another pool:

	{ "proxy": [{"url": "pool-a.example:3333", "auth": "account.farm", "pass": "x"}] }

and in passthrough mode (-P), where another pool serves the miners:

	{ "proxy": [{"url": "pool-a.example:3333"}] }

The cookie file is for a node on the same machine, as a user who may read it.

Below, the value behind a key is its default, unless its text says otherwise.`,
	}
	for _, g := range config.Groups() {
		s := manual.Section{Title: g.Title, Text: g.Text}
		for _, k := range g.Keys {
			if strings.Contains(k.Sample, "\n") {
				s.Items = append(s.Items, manual.Item{Term: k.Name, Text: k.Text + "\n\n\t" + strings.ReplaceAll(k.Sample, "\n", "\n\t")})
				continue
			}
			s.Items = append(s.Items, manual.Item{Term: k.Name + ": " + k.Sample, Text: k.Text})
		}
		p.Sections = append(p.Sections, s)
	}
	p.Sections = append(p.Sections,
		manual.Section{Title: "Reloading", Text: "On SIGHUP, or \"ckpmsg reload\", the file is read again. The reply names the keys that are in force, and\n" +
			"those that wait for the next start."},
		manual.Section{Title: "See also", Text: "ckpool(1), ckpmsg(1), docs/operations.md, docs/connections.md, docs/proxy.md, docs/links.md, docs/notifications.md"},
	)
	return p
}

func manualPage() manual.Page {
	return manual.Page{
		Name:     "ckpool",
		Title:    "bitcoin mining pool",
		Synopsis: synopsis,
		About: `ckpool takes work from bitcoin nodes, hands it to miners over stratum, checks and
counts their shares and submits the blocks they find. In pool mode blocks pay the
address in the configuration, in solo mode (-B, or "solo" in the configuration) the
miner who finds them. In proxy mode (-p, or called as ckproxy) work comes from other
pools instead, which see all miners as one account: docs/proxy.md. In passthrough mode
(-P) it brings miners to another pool, where each is a user, and in redirector mode (-R)
it sends them on from there: docs/links.md. A trusted remote (-t) is a pool whose users
and shares are those of a main pool: docs/remotes.md.

An instance is known by its name. Several of different names run side by side;
a second one of the same name is refused, or with -k replaces the first.

Long options may be abbreviated as long as they are unique.`,
		Options: getopt.List(new(flags).set()),
		Words:   []string{initCommand, notifyCommand},
		Sections: []manual.Section{
			initSection(),
			{Title: "Configuration", Text: `The file is described in ckpool.conf(5). The least that is needed:

	{ "btcd": [{"url": "127.0.0.1:8332", "cookie": "~/.bitcoin/.cookie"}],
	  "btcaddress": "bc1q..." }

--check reads the file and all it names, tries the ports, asks each node for two
seconds at most, and changes nothing. It prints a line for all that is wrong, with its
place in the file, and what it found; its status is 1 if there is an error. A node
that is down or still syncing is a warning: the pool waits for it. One that refuses
the password, or is on a chain where the addresses are none, is an error. With -p
it connects to each pool of "proxy" instead, for ten seconds at most, and says what
work it gives: one that refuses the user, or whose certificate is not to be trusted, is
an error, one that is down or full a warning. With -P and -R it asks each of them for a
link: one that refuses it is an error.

A wrong value ends the program with status 1 and such lines; unknown keys are
warned of, but keys of other pools that money or difficulty depends on are errors,
unless there is --ignore-unknown. SIGHUP, or "ckpmsg reload", reads the file again:
what may change while miners mine is in force at once, the log names the keys that
wait for the next start, and a wrong file changes nothing.`},
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
				{Term: "logs/remotes/", Text: "what trusted remotes have reported"},
				{Term: "logs/notify/", Text: "notifications that wait, a directory for each target, and what was told"},
				{Term: "logs/redirects.json", Text: "which address a redirector sends to which pool"},
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
				{Term: "TMPDIR", Text: "where a found block is left, at the end, that neither a node nor the disk of the logs took; /tmp without it"},
			}},
			{Title: "Examples", Items: []manual.Item{
				{Term: "ckpool init", Text: "write ckpool.conf, with questions"},
				{Term: "ckpool init --yes --solo", Text: "write it for solo mining with the node of this machine, without questions"},
				{Term: "ckpool --check -c pool.conf", Text: "say what is wrong with a configuration, and whether its node can be mined from"},
				{Term: "ckpool -c pool.conf", Text: "run a pool on this terminal"},
				{Term: "ckpool -B -D -n solo -c solo.conf", Text: "run a solo pool in the background, beside others, under a name of its own"},
				{Term: "ckpool -p -c farm.conf", Text: "run a proxy: a farm as one account of the pools in the configuration"},
				{Term: "ckpool -P -c eu.conf", Text: "run a passthrough: miners here are served by the pool in the configuration"},
				{Term: "ckpool -H -c pool.conf", Text: "take the place of the running instance, ckpool in C too; miners stay connected where both are this program"},
				{Term: "ckpool notify-test -c pool.conf", Text: "send a test message to each target of \"notify\" and say whether it got there; with a name behind it to that one"},
				{Term: "ckpool -k -c pool.conf", Text: "end the running instance first"},
			}},
			{Title: "Exit status", Text: `0 after a signal or the command shutdown, 1 after an error. What a node says is no
error: the pool waits until it can be used.`},
			{Title: "See also", Text: "ckpool.conf(5), ckpmsg(1), notifier(1), ckbench(1), docs/operations.md, docs/proxy.md, docs/links.md"},
		},
	}
}

// initSection is about the options behind init.
func initSection() manual.Section {
	s := manual.Section{Title: "A first configuration", Text: `"ckpool init" writes a configuration: it looks for bitcoin nodes in ~/.bitcoin and by
/etc/bitcoin/bitcoin.conf, asks which one to take, whom blocks pay and whether there is to be a page, checks the
file that it has written as --check does, and says how to start. It makes the file when all is known, and never
changes one that is there. Its options stand behind the word init:`}
	for _, o := range getopt.List(new(initOptions).set()) {
		term := "--" + o.Long
		if o.Short != "" {
			term = "-" + o.Short + ", " + term
		}
		s.Items = append(s.Items, manual.Item{Term: strings.TrimSpace(term + " " + o.Arg), Text: o.Text})
	}
	return s
}
