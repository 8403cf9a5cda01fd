package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/internal/getopt"
)

// completer of an argument, by its name.
func completer(arg string) string {
	switch arg {
	case "FILE":
		return "file"
	case "DIR":
		return "directory"
	case "GROUP":
		return "group"
	}
	return ""
}

func (p Page) bash() string {
	var words, cases []string
	takers := map[string][]string{} // options by how their argument is completed
	for _, o := range p.Options {
		names := optionNames(o)
		words = append(words, names...)
		if o.Arg != "" {
			takers[completer(o.Arg)] = append(takers[completer(o.Arg)], names...)
		}
	}
	for _, c := range []struct{ how, command string }{
		{"file", "compgen -f"}, {"directory", "compgen -d"}, {"group", "compgen -g"}, {"", "true"},
	} {
		if names := takers[c.how]; len(names) > 0 {
			cases = append(cases, fmt.Sprintf("\t%s) COMPREPLY=($(%s -- \"$word\")); return ;;\n", strings.Join(names, "|"), c.command))
		}
	}
	return fmt.Sprintf(`# bash completion of %[1]s
_%[1]s() {
	local word=${COMP_WORDS[COMP_CWORD]}
	case ${COMP_WORDS[COMP_CWORD-1]} in
%[2]s	esac
	if [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "%[3]s" -- "$word"))
	else
		COMPREPLY=($(compgen -W "%[4]s" -- "$word"))
	fi
}
complete -F _%[1]s %[1]s
`, p.Name, strings.Join(cases, ""), strings.Join(words, " "), strings.Join(p.Words, " "))
}

func (p Page) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n_arguments \\\n", p.Name)
	for _, o := range p.Options {
		names := optionNames(o)
		argument := ""
		if o.Arg != "" {
			action := map[string]string{"file": "_files", "directory": "_files -/", "group": "_groups"}[completer(o.Arg)]
			argument = ":" + o.Arg + ":" + action
		}
		text := zshQuote(o.Text)
		if len(names) == 1 {
			fmt.Fprintf(&b, "  '%s[%s]%s' \\\n", names[0], text, argument)
		} else {
			fmt.Fprintf(&b, "  '(%s)'{%s}'[%s]%s' \\\n", strings.Join(names, " "), strings.Join(names, ","), text, argument)
		}
	}
	fmt.Fprintf(&b, "  '1::word:(%s)'\n", strings.Join(p.Words, " "))
	return b.String()
}

func optionNames(o getopt.Option) []string {
	names := []string{"-" + o.Short, "--" + o.Long}
	if o.Short == "" {
		names = slices.Delete(names, 0, 1)
	}
	return names
}

// zshQuote is text between brackets between single quotes.
func zshQuote(s string) string {
	return strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(s)
}
