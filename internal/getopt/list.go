package getopt

import "github.com/spf13/pflag"

// Option is an option as manuals show it.
type Option struct {
	Group string // title of the group it is in, or empty
	Short string // a letter, or empty
	Long  string
	Arg   string // name of its argument, empty for none
	Text  string
}

// group is the annotation that carries an option's group.
const group = "group"

// Group puts the options that were declared so far, and are in no group yet, under
// a title.
func Group(fs *pflag.FlagSet, title string) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[group] == nil {
			_ = fs.SetAnnotation(f.Name, group, []string{title}) // it exists
		}
	})
}

// List returns the options of fs in their order, hidden ones left out. The name
// of an argument is what stands in back quotes in the usage text, else the type.
func List(fs *pflag.FlagSet) (list []Option) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		arg, text := pflag.UnquoteUsage(f)
		if f.NoOptDefVal != "" {
			arg = ""
		}
		title := ""
		if g := f.Annotations[group]; len(g) > 0 {
			title = g[0]
		}
		list = append(list, Option{title, f.Shorthand, f.Name, arg, text})
	})
	return list
}
