package getopt

import "github.com/spf13/pflag"

// Option is an option as manuals show it.
type Option struct {
	Short string // a letter, or empty
	Long  string
	Arg   string // name of its argument, empty for none
	Text  string
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
		list = append(list, Option{f.Shorthand, f.Name, arg, text})
	})
	return list
}
