package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/ckpool/ckpool/internal/manual"
)

// printManual prints the manual in the format that is the argument.
func printManual(args []string, out, errs io.Writer) int {
	text, err := manualPage().Print(strings.Join(args, " "))
	fmt.Fprint(out, text)
	if err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

func manualPage() manual.Page {
	p := manual.Page{
		Name:     "ckbench",
		Title:    "measure a stratum pool with simulated miners",
		Synopsis: []string{"MODE [options]", "run", "run-pool", "run-proxy", "run-links", "fakenode [options]", "--version"},
		About: `Simulated miners do real hashing against a pool, in one of several modes, and what
the pool took for it is printed as a table. "ckbench run" starts a complete pool to
try, with a node and miners of its own.`,
		Sections: []manual.Section{{
			Title: "Modes",
			Text:  "\"ckbench MODE --help\" lists the options of a mode.",
		}, {
			Title: "Examples",
			Items: []manual.Item{
				{Term: "ckbench run", Text: "a pool to try, with two miners and a node of its own"},
				{Term: "ckbench run-pool", Text: "one to see rewards and payouts with; it prints the commands"},
				{Term: "ckbench run-proxy", Text: "three miners at a proxy before a pool, to see from both sides"},
				{Term: "ckbench run-links", Text: "miners at two passthroughs and a node before a pool"},
				{Term: "ckbench mine --pool 127.0.0.1:3333 --suggest 0.0001", Text: "a miner for a pool on this machine, so easy that it has shares at once"},
				{Term: "ckbench mine --user ADDRESS --miners 5 --duration 10m", Text: "five miners of a solo pool for ten minutes"},
				{Term: "ckbench shares --miners 100 --pid 4711", Text: "how many shares a second the pool takes, which is process 4711, and what each costs it"},
				{Term: "ckbench storm --miners 10000", Text: "how soon 10,000 miners that connect at once have work"},
				{Term: "ckbench notify --rpc http://user:pass@127.0.0.1:18443 --miners 1000", Text: "how soon they have work after a new block of a regtest node"},
				{Term: "ckbench shares --json --count 100000", Text: "a result for a program to read"},
			},
		}, {
			Title: "Exit status",
			Text:  "0; 1 if something could not be measured, or the pool lost shares or connections.",
		}, {
			Title: "See also",
			Text:  "ckpool(1)",
		}},
		Words: []string{"--version"},
	}
	for _, m := range tools {
		p.Sections[0].Items = append(p.Sections[0].Items, manual.Item{Term: m.name, Text: m.about})
		p.Words = append(p.Words, m.name)
	}
	for _, m := range modes {
		p.Sections[0].Items = append(p.Sections[0].Items, manual.Item{Term: m.name, Text: m.about})
		p.Words = append(p.Words, m.name)
	}
	return p
}
