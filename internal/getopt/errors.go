package getopt

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// Explain words an error of pflag's Parse as getopt_long does, without the
// program's name. Other errors are returned as they are.
func Explain(err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown):
		if unknown.GetSpecifiedShortnames() != "" {
			return fmt.Errorf("invalid option -- '%s'", unknown.GetSpecifiedName())
		}
		return fmt.Errorf("unrecognized option '--%s'", unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		if missing.GetSpecifiedShortnames() != "" {
			return fmt.Errorf("option requires an argument -- '%s'", missing.GetSpecifiedName())
		}
		return fmt.Errorf("option '--%s' requires an argument", missing.GetSpecifiedName())
	case errors.As(err, &invalid) && invalid.GetFlag().NoOptDefVal != "":
		return fmt.Errorf("option '--%s' doesn't allow an argument", invalid.GetFlag().Name)
	case errors.As(err, &invalid):
		return fmt.Errorf("option '--%s': invalid argument %q", invalid.GetFlag().Name, invalid.GetValue())
	}
	return err
}

// Parse expands and reads arguments for a program that takes options alone. The
// error is what its user is to read.
func Parse(fs *pflag.FlagSet, args []string) error {
	args, err := Expand(fs, args)
	if err == nil {
		err = Explain(fs.Parse(args))
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("%q is no option", fs.Arg(0))
	}
	if err != nil {
		return Refuse(fs.Name(), err)
	}
	return nil
}

// Refuse says which program does not take its options, and where they are listed.
func Refuse(program string, err error) error {
	return fmt.Errorf("%s: %w; see %s -h", program, err, program)
}
