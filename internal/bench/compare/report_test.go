package compare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A row is over its budget by its median alone, and by the median of the rounds'
// ratios.
func TestOver(t *testing.T) {
	pooled := func(pool, floor []float64, b budget) bool {
		r := newReport(Config{})
		for _, v := range pool {
			r.add("q", 0, v)
		}
		for _, v := range floor {
			r.add("q", 1, v)
		}
		return r.over(&row{key: "q", unit: "ms", budget: b})
	}
	for _, tt := range []struct {
		name        string
		pool, floor []float64
		budget      budget
		over        bool
	}{
		{"nothing measured", nil, nil, budget{most: 1}, false},
		{"median within", []float64{1, 9, 2}, nil, budget{most: 2}, false},
		{"median above", []float64{1, 9, 3}, nil, budget{most: 2}, true},
		{"difference within", []float64{5, 6}, []float64{1, 2}, budget{above: 4}, false},
		{"difference above", []float64{5, 6}, []float64{1, 1}, budget{above: 4}, true},
		{"ratios pair the rounds", []float64{10, 100, 12}, []float64{10, 100, 10}, budget{ratio: 1.1}, false},
		{"ratio above", []float64{12, 120, 10}, []float64{10, 100, 10}, budget{ratio: 1.1}, true},
		{"without a base", []float64{12}, nil, budget{ratio: 1.1}, false},
		{"no budget", []float64{1e9}, []float64{1}, budget{}, false},
	} {
		if got := pooled(tt.pool, tt.floor, tt.budget); got != tt.over {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.0612: "0.061", 0.9951: "1.00", 1.234: "1.23", 12.34: "12.3", 1234.5: "1234", -3: "-3.00"} {
		if got := short(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestReadLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	text := `[2026-01-02 03:04:05.000] ckpool starting
[2026-01-02 03:04:06.000] Refused a connection of 10.0.0.1: too many
[2026-01-02 03:04:07.000] Pool:{"a":1}
[2026-01-02 03:04:07.100] Pool:{"a":2}
[2026-01-02 03:04:16.000] Refused a connection of 10.0.0.2: too many
[2026-01-02 03:05:06.000] Refused a connection of 10.0.0.3: too many
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, chatty, err := readLog(path)
	if err != nil || lines != 6 || len(chatty) != 1 || !strings.Contains(chatty[0], "10.0.0.2") {
		t.Errorf("%d lines, %q, %v", lines, chatty, err)
	}
}

func TestMachine(t *testing.T) {
	text := describeMachine().String()
	if !strings.Contains(text, "Linux") || !strings.Contains(text, "go1.") || strings.HasPrefix(text, "0") {
		t.Error(text)
	}
}
