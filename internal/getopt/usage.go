package getopt

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

const (
	defaultWidth = 80
	maxWidth     = 100 // longer lines are hard to read
)

// Width is how many columns of text fit what help is written to.
func Width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return defaultWidth
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return defaultWidth
	}
	return min(width, maxWidth)
}

// Usage is the help of a program: how it is called, each way on a line, a few
// words, and the options of fs by their groups.
func Usage(fs *pflag.FlagSet, synopsis []string, about string, width int) string {
	const column = 27 // where texts of options begin; longer options have a line of their own
	var b strings.Builder
	head := "Usage: "
	for _, s := range synopsis {
		b.WriteString(head + strings.TrimSpace(fs.Name()+" "+s) + "\n")
		head = "       "
	}
	if about != "" {
		b.WriteString("\n" + Wrap(about, width, 0) + "\n")
	}
	title := "\x00"
	for _, o := range List(fs) {
		if o.Group != title {
			title = o.Group
			b.WriteString("\n" + title)
			if title != "" {
				b.WriteString("\n")
			}
		}
		option := "      --" + o.Long
		if o.Short != "" {
			option = "  -" + o.Short + ", --" + o.Long
		}
		if o.Arg != "" {
			option += " " + o.Arg
		}
		switch {
		case width < 2*column: // no room beside
			b.WriteString(option + "\n" + strings.Repeat(" ", 8) + Wrap(o.Text, width, 8) + "\n")
		case len(option) > column-2:
			b.WriteString(option + "\n" + strings.Repeat(" ", column) + Wrap(o.Text, width, column) + "\n")
		default:
			b.WriteString(option + strings.Repeat(" ", column-len(option)) + Wrap(o.Text, width, column) + "\n")
		}
	}
	return b.String()
}

// Wrap breaks text into lines of at most width columns, of which all but the first
// are indented, and the first is taken to be.
func Wrap(text string, width, indent int) string {
	var b strings.Builder
	used := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			used = indent
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}
