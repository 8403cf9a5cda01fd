package stratum

import (
	"encoding/json"
	"slices"
	"testing"
)

// The examples of BIP310, and what miners make of it.
func TestConfigure(t *testing.T) {
	for _, tt := range []struct {
		params  string
		asked   []string
		mask    uint32
		minimum float64
		refused string
	}{
		{`[["minimum-difficulty","version-rolling"],{"minimum-difficulty.value":2048,"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]`,
			[]string{"minimum-difficulty", "version-rolling"}, 0x1fffe000, 2048, ""},
		{`[["version-rolling"],{}]`, []string{"version-rolling"}, 0xffffffff, 0, ""},
		{`[["version-rolling"]]`, []string{"version-rolling"}, 0xffffffff, 0, ""},
		{`[["version-rolling"],{"version-rolling.mask":"0x1FFFE000"}]`, []string{"version-rolling"}, 0x1fffe000, 0, ""},
		{`[["version-rolling"],{"version-rolling.mask":"mask"}]`, []string{"version-rolling"}, 0, 0, ""},
		{`[["version-rolling"],{"version-rolling.mask":"1ffffffff"}]`, []string{"version-rolling"}, 0, 0, ""},
		{`[["info"],{"minimum-difficulty.value":-1}]`, []string{"info"}, 0xffffffff, 0, ""},
		{`[]`, nil, 0xffffffff, 0, "Invalid params (20)"},
		{`[[1]]`, nil, 0xffffffff, 0, "Invalid params (20)"},
		{`[["info"],7]`, nil, 0xffffffff, 0, "Invalid params (20)"},
		{`{}`, nil, 0xffffffff, 0, "Params not array (20)"},
	} {
		var c Configure
		bad := c.Parse([]byte(tt.params))
		if tt.refused != "" {
			if bad == nil || bad.String() != tt.refused {
				t.Errorf("%s: %v, want %s", tt.params, bad, tt.refused)
			}
			continue
		}
		if bad != nil || !slices.Equal(c.Extensions, tt.asked) || c.VersionMask != tt.mask || c.MinimumDifficulty != tt.minimum {
			t.Errorf("%s: %+v, %v", tt.params, c, bad)
		}
	}
	got := string(AppendConfigureResult(nil, []byte("1"), []Grant{{"minimum-difficulty", true, 0}, {"version-rolling", true, 0x1fffe000}, {"x\"", false, 0}}))
	want := `{"result":{"minimum-difficulty":true,"version-rolling.mask":"1fffe000","version-rolling":true,"x\"":false},"error":null,"id":1}` + "\n"
	if got != want {
		t.Errorf("\n got %swant %s", got, want)
	}
}

func TestSuggestion(t *testing.T) {
	const one = `"00000000ffff0000000000000000000000000000000000000000000000000000"` // BIP: the target of difficulty 1
	for _, tt := range []struct {
		method, params, arg string
		want                float64 // 0: refused
	}{
		{"mining.suggest_difficulty", `[512]`, "", 512},
		{"mining.suggest_difficulty", `["1.5e3"]`, "", 1500},
		{"mining.suggest_difficulty", `42`, "", 42},
		{"mining.suggest_difficulty", `[]`, "0.001", 0.001},
		{"mining.suggest_difficulty", `null`, "0x10", 16},
		{"mining.suggest_difficulty", `[0]`, "", 0},
		{"mining.suggest_difficulty", `["1_0"]`, "", 0},
		{"mining.suggest_difficulty", `[]`, "", 0},
		{"mining.suggest_target", `[` + one + `]`, "", 1},
		{"mining.suggest_target", `["0xffff0000000000000000000000000000000000000000000000000000"]`, "", 1},
		{"mining.suggest_target", `["0"]`, "", 0},
		{"mining.suggest_target", `["x"]`, "", 0},
	} {
		got, ok := Suggestion([]byte(tt.method), []byte(tt.params), []byte(tt.arg))
		if ok != (tt.want > 0) || ok && got != tt.want {
			t.Errorf("%s %s (%s): %v %v, want %v", tt.method, tt.params, tt.arg, got, ok, tt.want)
		}
	}
}

// Whatever a miner asks for, what it is answered is JSON.
func FuzzConfigure(f *testing.F) {
	f.Add([]byte(`[["version-rolling","x"],{"version-rolling.mask":"1fffe000"}]`), []byte("1"))
	f.Add([]byte(`["5"]`), []byte(`5`))
	f.Fuzz(func(t *testing.T, params, arg []byte) {
		if d, ok := Suggestion([]byte("mining.suggest_target"), params, arg); ok && !(d > 0) {
			t.Fatalf("difficulty %v", d)
		}
		var c Configure
		if c.Parse(params) != nil {
			return
		}
		var grants []Grant
		for _, x := range c.Extensions {
			grants = append(grants, Grant{Extension: x, Granted: true, VersionMask: c.VersionMask})
		}
		if line := AppendConfigureResult(nil, []byte("1"), grants); !json.Valid(line) {
			t.Fatalf("%s is answered %s", params, line)
		}
	})
}
