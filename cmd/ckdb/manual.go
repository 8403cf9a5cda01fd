package main

import (
	"strings"

	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/manual"
)

func manualPage() manual.Page {
	p := manual.Page{
		Name:     "ckdb",
		Title:    "database of a bitcoin mining pool",
		Synopsis: synopsis,
		About: `ckdb reads what ckpool writes in its journal and stores it in a database: each share
once, whatever is stopped, killed or away in between, and its sums by worker, hour, day
and shift. It runs until SIGTERM; kill -9 loses nothing. Without options the journal is
logs/journal, where the key "journal" of ckpool.conf(5) puts it, and the database is
SQLite, in the directory ckdb.

Pools at other sites send their shares over NATS JetStream: there ckdb runs with --forward
and needs no database; the one with the database takes them by --nats, beside the journals
of its own machine. There need be none; logs/journal is read as soon as it is there.

With --node it follows the chain of that node, divides the pool's blocks among those who
worked for them, and keeps a ledger of what they are owed: see docs/accounting.md. "payout"
pays it from the wallet of that node; where money moves you are asked.

With a command it shows what is stored, while it runs or not, and changes nothing but
with "user add" and those after it, which say who may mine, and with "set NAME VALUE",
"block", "retire" and "correct", which are about rewards and are kept in an audit log, and
with "payout". The database of the running instance is asked for by its socket; --db names
another.

Long options may be abbreviated as long as they are unique.`,
		Options: getopt.List(new(flags).set()),
		Sections: []manual.Section{{
			Title: "Commands",
			Text: `On a terminal tables fit its width. Numbers that --json prints as text are exact: difficulties
have up to twelve decimals. The running instance answers ckpmsg -n ckdb, too: ping, version,
status, loglevel=N and shutdown.`,
		}, {
			Title: "Environment",
			Items: []manual.Item{
				{Term: envDB, Text: "the database, where --db does not name it"},
				{Term: envNode, Text: "the node, where --node does not name it: with its password in it, others do not see it in the list of processes"},
				{Term: envNATS, Text: "the NATS servers, where --nats does not name them: with a password in it, others do not see it in the list of processes"},
				{Term: "SSL_CERT_FILE", Text: "certificates of authorities, for servers by tls:// whose one the system does not know"},
				{Term: "PGPASSWORD, PGHOST and others", Text: "of PostgreSQL, for what its URL does not say"},
			},
		}, {
			Title: "Examples",
			Items: []manual.Item{
				{Term: "ckdb", Text: "store logs/journal in ckdb/"},
				{Term: "ckdb --db postgres://ckdb@db.example/ckdb -j /var/lib/ckpool/logs/journal -j /var/lib/ckpool/solo/journal", Text: "store two pools in PostgreSQL"},
				{Term: "ckdb --db postgres://ckdb@db.example/ckdb --nats tls://a.example,tls://b.example", Text: "take shares of other sites as well"},
				{Term: "ckdb --forward --nats tls://a.example,tls://b.example", Text: "at another site: send logs/journal there"},
				{Term: "ckdb status", Text: "how far it is"},
				{Term: "ckdb --json blocks", Text: "blocks found, for a program to read"},
				{Term: "ckdb --node http://user:password@127.0.0.1:8332", Text: "store, follow the chain and make rewards"},
				{Term: "ckdb set fee 0.9%", Text: "the pool keeps 0.9 % of blocks that are found from now on"},
				{Term: "ckdb --node http://user:password@127.0.0.1:8332 --wallet pool payout send", Text: "pay who is owed enough"},
				{Term: "ckdb explain block 900000", Text: "who gets how much of it, to follow by hand"},
			},
		}, {
			Title: "Exit status",
			Text: `0; 1 if a command failed or "check" found a difference, or if it could not start, or no journal
could be stored any more: that of another network, or of a later release.`,
		}, {
			Title: "See also",
			Text:  "ckpool(1), ckpool.conf(5), ckpmsg(1), docs/ckdb.md, docs/accounting.md, docs/scaling.md",
		}},
	}
	for _, c := range commands {
		p.Sections[0].Items = append(p.Sections[0].Items, manual.Item{Term: strings.TrimSpace(c.name + " " + c.args), Text: c.text})
		if word, _, two := strings.Cut(c.name, " "); !two || p.Words[len(p.Words)-1] != word {
			p.Words = append(p.Words, word)
		}
	}
	return p
}
