package jsontext

import (
	"encoding/json"
	"testing"
)

// What is a value is JSON, and all JSON is a value.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{}`, `[1,-0.5e+7,"a\n\u00e9\\",{"":null}]`, `truefalse`, `"\ud800"`, `01`, `1.`, "\"\x01\"", `[,]`, `{"a":1,}`,
		" 7 ", `-`, "\"\xff\"", `"eight bytes and more, é, \" and \\"`, `"\u12g4"`, "\"1234567\x1f\"", `{"a" : [ ] , "b":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		end := Value(text, Space(text, 0), 0)
		whole := end >= 0 && Space(text, end) == len(text)
		if valid := json.Valid(text); valid != whole {
			t.Fatalf("json.Valid says %v, the value ends at %d of %d", valid, end, len(text))
		}
	})
}
