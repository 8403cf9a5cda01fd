//go:build !race

package operation

var buildFlags []string
