package sharelog

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendReal(t *testing.T) {
	for _, c := range []struct {
		v      float64
		digits int
		want   string
	}{
		{42, 17, "42.0"},
		{0.0007, 17, "0.00069999999999999999"},
		{0.00001, 17, "1.0000000000000001e-5"},
		{0.1, 17, "0.10000000000000001"},
		{1000000, 17, "1000000.0"},
		{1e22, 17, "1e22"},
		{-1, 17, "-1.0"},
		{0, 17, "0.0"},
		{0, 6, "0.0"},
		{8.63886e13, 6, "8.63886e13"},
		{1.85e8, 6, "1.85e8"},
		{41250, 6, "41250.0"},
		{8.91, 6, "8.91"},
		{48211.25, 16, "48211.25"},
		{1e-100, 17, "1e-100"},
		{math.Inf(1), 17, "0.0"},
		{math.NaN(), 17, "0.0"},
	} {
		if got := string(AppendReal([]byte("x"), c.v, c.digits)); got != "x"+c.want {
			t.Errorf("AppendReal(%v, %d) = %s, want x%s", c.v, c.digits, got, c.want)
		}
	}
}

func TestRealParsesBackExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64().Draw(t, "v")
		text := string(AppendReal(nil, v, 17))
		got, err := strconv.ParseFloat(text, 64)
		if err != nil || got != v {
			t.Fatalf("%v printed as %s reads %v (%v)", v, text, got, err)
		}
		if !json.Valid([]byte(text)) || !strings.ContainsAny(text, ".e") {
			t.Fatalf("%s is not a JSON real", text)
		}
	})
}

func TestWholeIsAlwaysAnInteger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64().Draw(t, "v")
		o := NewObject(nil)
		o.Whole("k", v)
		text := strings.TrimSuffix(strings.TrimPrefix(string(o.Close()), `{"k": `), "}")
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatalf("%v printed as %s", v, text)
		}
	})
}

func TestStringParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var got string
		if err := json.Unmarshal(AppendString(nil, s), &got); err != nil || got != s {
			t.Fatalf("%q written as %s reads %q (%v)", s, AppendString(nil, s), got, err)
		}
	})
	if got := string(AppendString(nil, "a/\x01\"\\\xff")); got != `"a/\u0001\"\\`+"\ufffd\"" {
		t.Errorf("escapes: %s", got)
	}
}

func TestObjectLayout(t *testing.T) {
	o := NewObject(nil)
	o.Int("a", 1)
	o.String("b", "x")
	o.Bool("c", true)
	o.Real("d", 2, 17)
	o.Raw("e", []byte(`[]`))
	if got, want := string(o.Close()), `{"a": 1, "b": "x", "c": true, "d": 2.0, "e": []}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	empty := NewObject(nil)
	if got := string(empty.Close()); got != "{}" {
		t.Errorf("empty object: %s", got)
	}
}
