package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	const revision = "32173a5fd0e1d3c8d1b44c1f0a9be2a5c9a4f0aa"
	for _, tt := range []struct{ module, revision, modified, want string }{
		{"(devel)", revision, "false", "32173a5fd0e1"},
		{"(devel)", revision, "true", "32173a5fd0e1+changes"},
		{"v0.0.0-20261129000000-32173a5fd0e1", revision, "false", "32173a5fd0e1"},
		{"v1.2.3", revision, "false", "v1.2.3"},
		{"v1.2.3+dirty", revision, "true", "32173a5fd0e1+changes"},
		{"v1.2.3", "", "", "v1.2.3"},
		{"(devel)", "", "", "(devel)"},
		{"", "", "", "unknown"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: tt.module}}
		if tt.revision != "" {
			info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: tt.revision}, {Key: "vcs.modified", Value: tt.modified}}
		}
		if got := version(info); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	if line := Line("ckpool"); !strings.HasPrefix(line, "ckpool ") || !strings.Contains(line, ", go1.") {
		t.Errorf("%q", line)
	}
}
