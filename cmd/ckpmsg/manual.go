package main

import (
	"strings"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/manual"
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
status shows how the pool does on one screen, and top shows it live, with its users or
workers below.

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
			Title: "Keys of top",
			Text: `The screen is drawn anew each second, from what was asked of the pool, which is asked at most a tenth
of the time. When the pool does not answer, the last line says since when; after a restart or an upgrade it goes
on by itself. Workers that are not connected are dim. NO_COLOR does without colours and such. If the output is no
terminal, it is one screen.`,
			Items: []manual.Item{
				{Term: "q", Text: "leave, as do control-C and control-D"},
				{Term: "u, w, tab", Text: "users; workers; the other of them"},
				{Term: "r, h, d", Text: "sort by hash rate over a minute, an hour, a day"},
				{Term: "l, b, n", Text: "sort by the last share, the best share of the round, the name"},
				{Term: "c", Text: "sort by the count: workers of a user, rejected shares of a worker"},
				{Term: "the same again", Text: "the other way round"},
				{Term: "up, down, k, j", Text: "scroll by one"},
				{Term: "page up, page down, -, space", Text: "scroll by half a screen"},
			},
		}, {
			Title: "Examples",
			Items: []manual.Item{
				{Term: "ckpmsg status", Text: "how the pool does, on one screen"},
				{Term: "ckpmsg top", Text: "the same live, with users and workers"},
				{Term: "ckpmsg getworker bc1q....rig1", Text: "whether a miner is fine"},
				{Term: "ckpmsg -n solo nodes", Text: "the bitcoin nodes of the instance solo"},
				{Term: "ckpmsg --json blocks", Text: "blocks found, for a program to read"},
				{Term: "ckpmsg upgrade", Text: "change to the program that is installed now; miners stay connected"},
			},
		}, {
			Title: "Environment",
			Items: []manual.Item{{Term: "NO_COLOR", Text: "not empty: top has no colours"}, {Term: "TERM", Text: "if it is dumb, top is one screen"}},
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
