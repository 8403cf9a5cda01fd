package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ckpool/ckpool/internal/nearest"
)

// suggestion names the known key that key was probably meant to be.
func suggestion[T any](key string, known map[string]T) string {
	word := nearest.Word(key, slices.Collect(maps.Keys(known)))
	if word == "" {
		return ", ignored"
	}
	return fmt.Sprintf(", ignored; did you mean %q?", word)
}
