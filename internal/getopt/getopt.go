// Package getopt lets long options be abbreviated to any unique prefix, as
// getopt_long does, on top of pflag. It knows nothing of what options mean.
package getopt

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Expand returns args with the long options of fs written out in full. An
// exact name wins over longer ones; a prefix of several options is an error.
// Values of options, and everything after "--", stay as they are, and so do
// unknown options, which fs.Parse reports. An option without an argument must not
// have one.
func Expand(fs *pflag.FlagSet, args []string) ([]string, error) {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		takesNext := false
		switch {
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue := strings.Cut(arg[2:], "=")
			flag, err := find(fs, name)
			if err != nil {
				return nil, err
			}
			if flag != nil && hasValue && flag.NoOptDefVal != "" {
				return nil, fmt.Errorf("option '--%s' doesn't allow an argument", flag.Name)
			}
			if flag != nil {
				arg = "--" + flag.Name
				if hasValue {
					arg += "=" + value
				}
				takesNext = !hasValue && flag.NoOptDefVal == ""
			}
		case len(arg) > 1 && arg[0] == '-':
			takesNext = shortTakesNext(fs, arg[1:])
		}
		out = append(out, arg)
		if takesNext && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out, nil
}

// find returns the option called name or the only one beginning with it, nil
// if there is none.
func find(fs *pflag.FlagSet, name string) (*pflag.Flag, error) {
	if f := fs.Lookup(name); f != nil || name == "" {
		return f, nil
	}
	var found []*pflag.Flag
	fs.VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, name) {
			found = append(found, f)
		}
	})
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = "--" + f.Name
	}
	return nil, fmt.Errorf("option --%s is ambiguous: %s", name, strings.Join(names, ", "))
}

// shortTakesNext tells whether the last of a group of short options has its
// value in the next argument.
func shortTakesNext(fs *pflag.FlagSet, group string) bool {
	for i := range len(group) {
		if group[i] >= 0x80 {
			return false
		}
		f := fs.ShorthandLookup(group[i : i+1])
		if f == nil {
			return false
		}
		if f.NoOptDefVal == "" {
			return i == len(group)-1
		}
	}
	return false
}
