package notify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/internal/config"
)

// Load reads who hears of what from a configuration, whatever is wrong with the rest of it:
// messages get where they are to go. Errors are those about that alone; of a file that
// cannot be read they are all there are, and the Config's File is empty.
func Load(path string) (c config.Config, errs config.Errors) {
	c, _, err := config.Load(path, config.Pool)
	_ = errors.As(err, &errs)
	if c.File == "" {
		return c, errs
	}
	errs = slices.DeleteFunc(errs, func(e *config.Error) bool { return !strings.HasPrefix(e.Key, "notify") })
	return c, append(errs, TemplateErrors(&c, func(key, text string) *config.Error { return config.Locate(c.File, config.Pool, key, text) })...)
}

// TemplateErrors are those of the targets' templates, which the configuration does not read.
func TemplateErrors(c *config.Config, locate func(key, text string) *config.Error) (errs config.Errors) {
	for _, t := range c.Notify {
		if _, err := parseTemplate(t.Template); err != nil {
			errs = append(errs, locate(t.Key+".template", fmt.Sprintf("template of the target %s: %v", t.Name, err)))
		}
	}
	return errs
}
