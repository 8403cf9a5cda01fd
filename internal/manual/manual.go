// Package manual prints the manual page of a program and its completion for
// shells, from the table of its options. It knows their formats, no program.
package manual

import (
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/internal/getopt"
)

// Page is what a manual says of a program, or of its file.
type Page struct {
	Name     string
	Chapter  int      // of the manual; 0 is 1, that of programs
	Title    string   // what it is, in a few words
	Synopsis []string // what follows the name on a command line
	About    string   // paragraphs with an empty line between them
	Options  []getopt.Option
	Sections []Section
	Words    []string // first words that are no options, for completion
}

// Section is a part of a page.
type Section struct {
	Title string
	Text  string // paragraphs; lines that begin with a tab stay as they are
	Items []Item
}

// Item is a term and what it means.
type Item struct{ Term, Text string }

// Formats are what Print can print.
const (
	Roff = "man"
	Bash = "bash"
	Zsh  = "zsh"
)

// Print returns the page in a format.
func (p Page) Print(format string) (string, error) {
	switch format {
	case Roff:
		return p.roff(), nil
	case Bash:
		return p.bash(), nil
	case Zsh:
		return p.zsh(), nil
	}
	return "", fmt.Errorf("no format %q: want %s, %s or %s", format, Roff, Bash, Zsh)
}

func (p Page) roff() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d \"\" ckpool \"ckpool manual\"\n", strings.ToUpper(p.Name), max(1, p.Chapter))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", p.Name, escape(p.Title))
	if len(p.Synopsis) > 0 {
		b.WriteString(".SH SYNOPSIS\n")
	}
	for i, s := range p.Synopsis {
		if i > 0 {
			b.WriteString(".br\n")
		}
		fmt.Fprintf(&b, ".B %s\n%s\n", p.Name, escape(s))
	}
	b.WriteString(".SH DESCRIPTION\n")
	writeText(&b, p.About)
	if len(p.Options) > 0 {
		b.WriteString(".SH OPTIONS\n")
	}
	group := ""
	for _, o := range p.Options {
		if o.Group != group {
			group = o.Group
			fmt.Fprintf(&b, ".SS %s\n", escape(group))
		}
		fmt.Fprintf(&b, ".TP\n%s\n", optionTerm(o))
		writeText(&b, o.Text)
	}
	for _, s := range p.Sections {
		fmt.Fprintf(&b, ".SH %s\n", escape(strings.ToUpper(s.Title)))
		writeText(&b, s.Text)
		for _, i := range s.Items {
			fmt.Fprintf(&b, ".TP\n.B %s\n", strings.ReplaceAll(escape(i.Term), `"`, `\(dq`))
			writeText(&b, i.Text)
		}
	}
	return b.String()
}

// optionTerm is "-c FILE, --config FILE" in bold and italics.
func optionTerm(o getopt.Option) string {
	term := `\fB` + escape("--"+o.Long) + `\fR`
	if o.Short != "" {
		term = `\fB` + escape("-"+o.Short) + `\fR, ` + term
	}
	if o.Arg != "" {
		term += ` \fI` + escape(o.Arg) + `\fR`
	}
	return term
}

// writeText writes paragraphs.
func writeText(b *strings.Builder, text string) {
	literal := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		code, isCode := strings.CutPrefix(line, "\t")
		if isCode != literal && line != "" {
			b.WriteString(map[bool]string{true: ".PP\n.nf\n.RS 4\n", false: ".RE\n.fi\n"}[isCode])
			literal = isCode
		}
		switch {
		case line == "" && !literal:
			b.WriteString(".PP\n")
		default:
			b.WriteString(escape(code) + "\n")
		}
	}
	if literal {
		b.WriteString(".RE\n.fi\n")
	}
}

// escape keeps text from being taken for requests, and hyphens what they are.
func escape(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = strings.ReplaceAll(s, "-", `\-`)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
