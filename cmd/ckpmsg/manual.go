package main

import (
	"strings"

	"ckpool/control"
	"ckpool/internal/getopt"
	"ckpool/internal/manual"
)

func manualPage() manual.Page {
	p := manual.Page{
		Name:     "ckpmsg",
		Title:    "talk to a running ckpool",
		Synopsis: synopsis,
		About: `Sends a command to a running ckpool over one of its control sockets and prints the
reply: tables for people, or with --json the reply as it is. Without a command it
reads commands from the terminal, where lines can be edited and recalled, until
control-D, "exit" or "quit". If the input is no terminal, each line of it is sent as
it is, and what happens is printed with a time stamp; a line that begins with # is a
comment. -c and -l are for that.

On a terminal, tables fit its width: names and hashes are shortened, columns and all
but the newest blocks left out. --wide, a pipe or a file has all of it. The command
status shows how the pool does on one screen.

The sockets are looked for in /run/ckpool/NAME, in /run/ckpool for the instance
ckpool, and in /tmp/NAME.`,
		Options: getopt.List(new(values).set()),
		Sections: []manual.Section{{
			Title: "Commands",
			Text: `In the input a command and its argument are one word, "loglevel=5", and several arguments an
object: 'messageuser={"user":"alice","text":"hello"}'. Commands are found by their beginning,
in upper or lower case.`,
		}, {
			Title: "Commands of a proxy",
		}, {
			Title: "Examples",
			Items: []manual.Item{
				{Term: "ckpmsg status", Text: "how the pool does, on one screen"},
				{Term: "ckpmsg getworker bc1q....rig1", Text: "whether a miner is fine"},
				{Term: "ckpmsg -n solo nodes", Text: "the bitcoin nodes of the instance solo"},
				{Term: "ckpmsg --json blocks", Text: "blocks found, for a program to read"},
				{Term: "ckpmsg upgrade", Text: "change to the program that is installed now; miners stay connected"},
			},
		}, {
			Title: "Exit status",
			Text:  "0; 1 if the instance could not be reached or a command failed.",
		}, {
			Title: "See also",
			Text:  "ckpool(1), notifier(1), docs/operations.md",
		}},
	}
	for i, commands := range [][]control.Command{poolCommands(), control.ProxyCommands()} {
		for _, c := range commands {
			term := strings.TrimSpace(c.Name + " " + c.Args)
			p.Sections[i].Items = append(p.Sections[i].Items, manual.Item{Term: term, Text: c.Text})
			p.Words = append(p.Words, c.Name)
		}
	}
	return p
}
