package difficulty

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRound(t *testing.T) {
	tests := []struct{ x, want float64 }{
		{0.00037, 0.0004},
		{0.0037180534, 0.004},
		{0.0037, 0.004},
		{0.0375, 0.04},
		{0.95, 0.9},
		{0.99, 1},
		{1.3, 1},
		{1.5, 2},
		{2.5, 3},
		{42.5, 43},
		{0.3, 0.3},
		{0.07, 0.07},
		{0.25, 0.3},
		{0.75, 0.8},
		{1e-9, 1e-9},
		{1.44e-11, 1e-11},
		{1e18, 1e18},
		{0, 0},
		{-2, -2},
	}
	for _, tt := range tests {
		if got := Round(tt.x); got != tt.want {
			t.Errorf("Round(%v) = %v, want %v", tt.x, got, tt.want)
		}
	}
	if !math.IsNaN(Round(math.NaN())) {
		t.Error("Round(NaN) is a number")
	}
}

func TestRoundIsOneDigit(t *testing.T) {
	digit := regexp.MustCompile(`^0\.0*[1-9]$|^1$`)
	rapid.Check(t, func(t *rapid.T) {
		x := math.Pow(10, rapid.Float64Range(-12, 0).Draw(t, "log10")) * 0.999999
		got := Round(x)
		if text := string(AppendWire(nil, got)); !digit.MatchString(text) {
			t.Fatalf("Round(%v) prints as %s", x, text)
		}
		unit := math.Pow(10, math.Floor(math.Log10(x)))
		if math.Abs(got-x) > unit*0.5000001 {
			t.Fatalf("Round(%v) = %v, not the nearest", x, got)
		}
	})
}

func TestAppendWire(t *testing.T) {
	tests := []struct {
		d    float64
		want string
	}{
		{1, "1"}, {42, "42"}, {1000000, "1000000"}, {1e22, "10000000000000000000000"},
		{0.5, "0.5"}, {0.004, "0.004"}, {0.00015, "0.00015"}, {1e-9, "0.000000001"},
		{0.1, "0.1"}, {1.5, "1.5"},
	}
	for _, tt := range tests {
		if got := string(AppendWire([]byte("x"), tt.d)); got != "x"+tt.want {
			t.Errorf("%v: %s, want x%s", tt.d, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := math.Abs(rapid.Float64Range(1e-12, 1e20).Draw(t, "d"))
		text := string(AppendWire(nil, d))
		if back, err := strconv.ParseFloat(text, 64); err != nil || back != d || strings.ContainsAny(text, "eE+") {
			t.Fatalf("%v prints as %s and reads as %v, %v", d, text, back, err)
		}
	})
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { AppendWire(buf, 0.00015) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFormatSI(t *testing.T) {
	tests := []struct {
		v    float64
		want string
	}{
		{0, "0"}, {-1, "0"}, {math.NaN(), "0"}, {0.0012, "0"}, {5e-9, "0"}, {0.5, "1"},
		{1, "1"}, {42, "42"}, {63.9, "64"}, {999.4, "999"}, {999.5, "1K"}, {999.6, "1K"},
		{1000, "1K"}, {1234, "1.23K"}, {1234.9, "1.23K"}, {12345, "12.3K"}, {100000, "100K"},
		{999499, "999K"}, {999500, "1M"}, {999600, "1M"}, {999999, "1M"}, {1.5e9, "1.5G"},
		{1.234e12, "1.23T"}, {9.87654e14, "988T"}, {1.23456e15, "1.23P"}, {5.5e18, "5.5E"},
		{7.25e20, "725E"}, {1.1e21, "1.1Z"}, {5e25, "999Z"}, {math.Inf(1), "999Z"},
	}
	for _, tt := range tests {
		if got := FormatSI(tt.v); got != tt.want {
			t.Errorf("FormatSI(%v) = %s, want %s", tt.v, got, tt.want)
		}
	}
}

func TestParseSI(t *testing.T) {
	tests := []struct {
		s    string
		want float64
	}{
		{"0", 0}, {"42", 42}, {"63.9", 63.9}, {"1K", 1e3}, {"1k", 1e3}, {"1.23K", 1230},
		{"1e+03", 1e3}, {"1e+03K", 1e6}, {"1e3M", 1e9}, {"998G", 998e9}, {"1.02T", 1.02e12},
		{" 988T", 988e12}, {"1.23P ", 1.23e15}, {"5.5E", 5.5e18}, {"1.1Z", 1.1e21},
		{"1.2m", 1.2e-3}, {"500u", 500e-6}, {"5n", 5e-9}, {"5.00n", 5e-9}, {"0.00", 0},
	}
	for _, tt := range tests {
		if got, err := ParseSI(tt.s); err != nil || !near(got, tt.want) {
			t.Errorf("ParseSI(%q) = %v, %v; want %v", tt.s, got, err, tt.want)
		}
	}
	for _, s := range []string{
		"", " ", "K", "-1K", "1Q", "1 K K", "inf", "nan", "NaN", "0x10", "1_000", "1,2K", "1e999", "1e308E", "1\x00", "é",
	} {
		if got, err := ParseSI(s); err == nil {
			t.Errorf("ParseSI(%q) = %v", s, got)
		}
	}
}

func FuzzParseSI(f *testing.F) {
	for _, s := range []string{"0", "1.23K", "1e+03K", " 988T", "5n", "1.2m", "", "E", "1E", "\x00", "999Z"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^([0-9]{1,3}|[0-9]\.[0-9]{1,2}[KMGTPEZ]|[0-9]{2}\.[0-9][KMGTPEZ]|[0-9]{1,3}[KMGTPEZ])$`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseSI(s)
		if err != nil {
			return
		}
		text := FormatSI(v)
		if !form.MatchString(text) {
			t.Fatalf("%q reads as %v and prints as %q", s, v, text)
		}
		back, err := ParseSI(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if v >= 1000 && v < 999e21 && math.Abs(back-v) > 0.0051*v {
			t.Fatalf("%v printed as %s reads as %v", v, text, back)
		}
	})
}

func TestAverage(t *testing.T) {
	var a Average
	for _, step := range []struct{ amount, seconds, want float64 }{
		{42, 1.875, 0.6686047423926936},
		{0, 1.875, 0.6486479432163544},
		{42, 10, 1.121286698776508},
		{5, 0, 1.121286698776508},
		{5, -1, 1.121286698776508},
		{5, math.NaN(), 1.121286698776508},
	} {
		if a.Decay(step.amount, step.seconds, 60); !near(float64(a), step.want) {
			t.Errorf("%v in %v s: %v, want %v", step.amount, step.seconds, a, step.want)
		}
	}

	a = 0
	for _, want := range []float64{1.33087, 2.48462, 3.48482} {
		if a.Decay(100, 10, 60); math.Abs(float64(a)-want) > 5e-6 {
			t.Errorf("100 in 10 s: %v, want %v", a, want)
		}
	}

	a = 0
	if a.Decay(42, 1795327613, 300); !near(float64(a), 1.1697029471355877e-08) {
		t.Errorf("after half a century: %v", a)
	}

	a = 0
	for range 10000 {
		a.Decay(1.875, 1.875, 60)
	}
	if !near(float64(a), 1) {
		t.Errorf("steady input of 1 per second converges to %v", a)
	}
	for range 100000 {
		a.Decay(0, 1.875, 60)
	}
	if a != 0 {
		t.Errorf("fades to %v instead of 0", a)
	}
}

func TestBias(t *testing.T) {
	for _, tt := range []struct{ t, window, want float64 }{
		{0.001, 300, 3.3333277777991555e-06},
		{60, 300, 0.18126924692201818},
		{240, 300, 0.5506710358827784},
		{300, 300, 0.6321205588285577},
		{3600, 300, 0.9999938557876467},
		{15, 15, 0.6321205588285577},
		{1e12, 15, 1},
	} {
		if got := Bias(tt.t, tt.window); math.Abs(got-tt.want) > 1e-15 {
			t.Errorf("Bias(%v, %v) = %v, want %v", tt.t, tt.window, got, tt.want)
		}
	}
}

func TestFormatAchieved(t *testing.T) {
	for d, want := range map[float64]string{
		1234.56789:            "1234.567890",
		0.15:                  "0.150000",
		0.001:                 "0.001000",
		0.00099:               "0.00099",
		1.0285838158229e-8:    "1.028584e-08",
		118211223344556.12345: "118211223344556.125000",
	} {
		if got := FormatAchieved(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
