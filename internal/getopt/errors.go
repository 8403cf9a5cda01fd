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
