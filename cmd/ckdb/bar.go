package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// bar shows on a terminal how far long work is; elsewhere it shows nothing. What else is
// printed meanwhile comes after clear.
type bar struct{ shown bool }

func newBar() *bar { return &bar{term.IsTerminal(int(os.Stderr.Fd()))} }

// show draws it anew: done of all, and a few words behind.
func (b *bar) show(done, all uint64, text string) {
	if !b.shown {
		return
	}
	const width = 30
	n := int(width * min(done, all) / max(all, 1))
	fmt.Fprintf(os.Stderr, "\r\x1b[K[%s%s] %s", strings.Repeat("#", n), strings.Repeat(".", width-n), text)
}

// clear takes it away.
func (b *bar) clear() {
	if b.shown {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
