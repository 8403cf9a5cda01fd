package main

import (
	"github.com/spf13/pflag"

	"github.com/ckpool/ckpool/internal/getopt"
	"github.com/ckpool/ckpool/internal/manual"
)

func manualPage(fs *pflag.FlagSet) manual.Page {
	return manual.Page{
		Name:     "notifier",
		Title:    "tell a running ckpool of a new block",
		Synopsis: synopsis,
		About: `Makes the instance ask its node for new work at once. It is meant for the node's
configuration:

	blocknotify=/usr/local/bin/notifier

It is not needed where the node publishes blocks over ZMQ. Other arguments, such as
the hash of the block, are ignored; so are unknown options, with a complaint.`,
		Options: getopt.List(fs),
		Sections: []manual.Section{
			{Title: "Examples", Items: []manual.Item{
				{Term: "notifier", Text: "tell the instance ckpool"},
				{Term: "notifier --name solo", Text: "tell the instance solo"},
			}},
			{Title: "Exit status", Text: "0; 1 if the instance could not be reached or refused."},
			{Title: "See also", Text: "ckpool(1), ckpmsg(1)"},
		},
	}
}
