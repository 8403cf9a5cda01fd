package page

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Lines are lines of a page, each with a head.
type Lines struct {
	*tabwriter.Writer
	limit int // columns behind the heads, 0: as many as needed
}

// Lines are those of a screen about one thing. Flush prints them.
func (p Page) Lines() Lines {
	const heads = 12 // columns of the heads and the gap
	l := Lines{tabwriter.NewWriter(p, 0, 0, gap, ' ', 0), 0}
	if p.Columns > 0 {
		l.limit = max(p.Columns-heads, heads)
	}
	return l
}

// Print prints a line, or as many as the text needs.
func (l Lines) Print(head, text string) {
	for text := range strings.SplitSeq(Wrap(text, l.limit, ""), "\n") {
		fmt.Fprintf(l, "%s\t%s\n", head, text)
		head = ""
	}
}
