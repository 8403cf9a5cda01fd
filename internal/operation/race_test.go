//go:build race

package operation

// buildFlags make the programs like the tests.
var buildFlags = []string{"-race"}
