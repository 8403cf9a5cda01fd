// Package buildinfo tells what a program was built from.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version is the module's version where it was released, or the revision the
// program was built from, of which "+changes" says that its sources were changed. It
// is "(devel)" for one built outside a repository.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return version(info)
}

func version(info *debug.BuildInfo) string {
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	v := info.Main.Version
	// Without a tag Go makes a version up from the revision.
	made := v == "" || v == "(devel)" || strings.HasPrefix(v, "v0.0.0-") || strings.Contains(v, "+dirty")
	if revision := setting["vcs.revision"]; made && len(revision) >= 12 {
		v = revision[:12]
		if setting["vcs.modified"] == "true" {
			v += "+changes"
		}
	}
	return cmp.Or(v, "unknown")
}

// Line is what a program prints for --version.
func Line(program string) string {
	return fmt.Sprintf("%s %s, %s\n", program, Version(), runtime.Version())
}
