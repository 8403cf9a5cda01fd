package stratum

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

const submitLine = `{"id":102,"method":"mining.submit","params":["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","008a68b4","00c0a000"]}`

func TestScanMessage(t *testing.T) {
	tests := []struct {
		line                              string
		method, id, params, result, error string
		reason                            string
		present                           bool
	}{
		{line: submitLine, method: "mining.submit", id: "102", present: true,
			params: `["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","008a68b4","00c0a000"]`},
		{line: ` {"params" : [ ] , "method" : "a" , "id" : "x" }` + "\r", method: "a", id: `"x"`, params: `[ ]`, present: true},
		{line: `{"id":{"a":[1,{}]},"method":5}`, id: `{"a":[1,{}]}`, present: true},
		{line: `{"id":null,"method":null}`, id: "null", present: true},
		{line: `{"id":1,"id":2,"method":"a","method":"b"}`, id: "2", method: "b", present: true},
		{line: `{"id":1} {"id":2}`, id: "1"},
		{line: `{"id":1}garbage`, id: "1"},
		{line: `{"\u0069d":9,"m\u0065thod":"mining\u002esubmit","reject-reaso\u006e":1}`, id: "9", method: "mining.submit", present: true, reason: "1"},
		{line: `{"ID":1,"Method":"x","iid":3}`},
		{line: `{"id":18446744073709551616,"jsonrpc":"2.0"}`, id: "18446744073709551616"},
		{line: `{"id":4,"result":null,"error":[21,"Stale",null],"reject-reason":"Stale"}`, id: "4", result: "null", error: `[21,"Stale",null]`, reason: `"Stale"`},
		{line: `{}`},
	}
	for _, tt := range tests {
		var m Message
		if k := Scan([]byte(tt.line), &m); k != Object {
			t.Errorf("%s: kind %d", tt.line, k)
			continue
		}
		if string(m.Method) != tt.method || string(m.ID) != tt.id || string(m.Params) != tt.params ||
			string(m.Result) != tt.result || string(m.Error) != tt.error ||
			string(m.RejectReason) != tt.reason || m.MethodPresent != tt.present {
			t.Errorf("%s: %+v", tt.line, m)
		}
	}
}

func TestScanAbsentAndEmpty(t *testing.T) {
	var m Message
	Scan([]byte(`{"method":"","result":null}`), &m)
	if m.Method == nil || !m.MethodPresent || m.Result == nil {
		t.Error("an empty method and a null result are present")
	}
	if m.ID != nil || m.Params != nil || m.Error != nil {
		t.Error("absent keys must be nil")
	}
	Scan([]byte(`{"method":7}`), &m)
	if m.Method != nil || !m.MethodPresent || m.Result != nil {
		t.Error("a method that is no string is present and nil")
	}
	Scan([]byte(`{"id":1,"method":"x`), &m)
	if m.ID != nil {
		t.Error("an invalid line must leave no message")
	}
}

func TestScanKinds(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	tests := []struct {
		line string
		want Kind
	}{
		{"", Empty}, {"\r", Empty}, {" \t ", Empty},
		{"[]", Array}, {`["mining.submit"] x`, Array},
		{"5", Scalar}, {`"x"`, Scalar}, {"null", Scalar}, {"-0.5e+3 {}", Scalar}, {"truex", Scalar},
		{`{"a":1,}`, Invalid}, {`{a:1}`, Invalid}, {`{"a" 1}`, Invalid}, {`{"a":1`, Invalid}, {`{"a":}`, Invalid},
		{`{`, Invalid}, {`[1,]`, Invalid}, {`[1 2]`, Invalid}, {`[`, Invalid}, {`"x`, Invalid}, {`"\x"`, Invalid},
		{`"\u12"`, Invalid}, {`"\u12g4"`, Invalid}, {`01x`, Scalar}, {`-`, Invalid}, {`1.`, Invalid}, {`1e`, Invalid}, {`+1`, Invalid},
		{`nul`, Invalid}, {`GET / HTTP/1.1`, Invalid}, {"\x16\x03\x01", Invalid}, {"\ufeff{}", Invalid},
		{"{\"a\":\"\x01\"}", Invalid}, {"{\"a\":\"tab\t\"}", Invalid},
		{"{\"a\":\"\x00\"}", Invalid}, {"\x00{}", Invalid}, {"{}\x00", Invalid}, {"\x00", Invalid},
		{`{"a":"\u0000"}`, Invalid}, {`{"\u0000":1}`, Invalid}, {`{"a":"\\u0000"}`, Object},
		{"{\"a\":\"\xff\"}", Invalid}, {"{\"a\":\"\xed\xa0\x80\"}", Invalid}, {"{\"a\":\"\xc3\"}", Invalid},
		{"{\"a\":\"é€😀\"}", Object}, {`{"a":"\ud800"}`, Object}, {"{}\xff", Object},
		{`{"a":99999999999999999999999999}`, Object},
		{nested(10000), Array}, {nested(10001), Invalid},
	}
	for _, tt := range tests {
		var m Message
		if got := Scan([]byte(tt.line), &m); got != tt.want {
			t.Errorf("%.40q: kind %d, want %d", tt.line, got, tt.want)
		}
	}
}

// checkAgainstJSON compares Scan with encoding/json reading the first value of
// line, allowing for what this package refuses on purpose.
func checkAgainstJSON(t interface {
	Helper()
	Fatalf(string, ...any)
}, line []byte) {
	t.Helper()
	before := bytes.Clone(line)
	var m Message
	kind := Scan(line, &m)
	if !bytes.Equal(line, before) {
		t.Fatalf("%q: line was changed", before)
	}
	if kind == Empty {
		if len(bytes.Trim(line, " \t\r\n")) != 0 {
			t.Fatalf("%q: not empty", line)
		}
		return
	}

	var value json.RawMessage
	err := json.NewDecoder(bytes.NewReader(line)).Decode(&value)
	want := Scalar
	switch {
	case err != nil || bytes.IndexByte(line, 0) >= 0 || !utf8.Valid(value) || hasNulEscape(value):
		want = Invalid
	case value[0] == '{':
		want = Object
	case value[0] == '[':
		want = Array
	}
	if kind != want {
		t.Fatalf("%q: kind %d, want %d (encoding/json: %v)", line, kind, want, err)
	}
	switch kind {
	case Object:
		checkMembers(t, line, value, &m)
	case Array:
		checkParams(t, value)
	default:
		if !reflect.DeepEqual(m, Message{}) {
			t.Fatalf("%q: message left behind", line)
		}
	}
}

func checkMembers(t interface {
	Helper()
	Fatalf(string, ...any)
}, line, value []byte, m *Message) {
	t.Helper()
	var want map[string]json.RawMessage
	if err := json.Unmarshal(value, &want); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for key, got := range map[string][]byte{
		"id": m.ID, "params": m.Params, "result": m.Result, "error": m.Error, "reject-reason": m.RejectReason,
	} {
		w, present := want[key]
		if present != (got != nil) || !bytes.Equal(got, w) {
			t.Fatalf("%q: %s is %q, want %q", line, key, got, w)
		}
	}
	method, present := want["method"]
	var name *string
	if json.Unmarshal(method, &name) != nil {
		name = nil
	}
	if m.MethodPresent != present || (m.Method != nil) != (name != nil) || name != nil && string(m.Method) != *name {
		t.Fatalf("%q: method %q (%v)", line, m.Method, m.MethodPresent)
	}
	checkParams(t, m.Params)

	members, ok := ParseMembers(value)
	got := map[string]json.RawMessage{}
	for ok {
		var k, v []byte
		if k, v, ok = members.Next(); ok {
			got[string(k)] = v
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%q: %d members, want %d", line, len(got), len(want))
	}
	for k, v := range want {
		if !bytes.Equal(got[k], v) {
			t.Fatalf("%q: member %q is %q", line, k, got[k])
		}
	}
}

func checkParams(t interface {
	Helper()
	Fatalf(string, ...any)
}, raw []byte) {
	t.Helper()
	var want []json.RawMessage
	isArray := len(raw) > 0 && raw[0] == '['
	p, ok := ParseParams(raw)
	if ok != isArray {
		t.Fatalf("%q: array %v", raw, ok)
	}
	if !isArray {
		return
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	for i := 0; ; i++ {
		v, ok := p.Next()
		if ok != (i < len(want)) {
			t.Fatalf("%q: %d elements, want %d", raw, i, len(want))
		}
		if !ok {
			return
		}
		if !bytes.Equal(v, want[i]) {
			t.Fatalf("%q: element %d is %q", raw, i, v)
		}
		var text *string
		isString := json.Unmarshal(v, &text) == nil && text != nil
		s, ok := String(v, nil)
		if ok != isString || ok && string(s) != *text {
			t.Fatalf("%q: string %q, %v", v, s, ok)
		}
	}
}

// hasNulEscape reports a \u0000 whose backslash is not itself escaped.
func hasNulEscape(value []byte) bool {
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' {
			if bytes.HasPrefix(value[i:], []byte(`\u0000`)) {
				return true
			}
			i++
		}
	}
	return false
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{
		submitLine, "", "[]", "5", `"\ud83d\ude00\ud800\u0041"`, `{"id":"\/\b\f\n\r\t\"\\","method":"a(b)","params":{}}`,
		`{"id":1.5e-7,"method":"mining.suggest_difficulty(512)","params":null}`, "{\"a\":\"\xff\"}", "{} \x00",
		`{"\u0069d":1,"error":[20,"x",null],"result":false,"reject-reason":"x"}`, `[1,"2",[3],{"4":5},null,true]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) { checkAgainstJSON(t, line) })
}

// TestScanMutations walks the neighbourhood of real lines, where a fuzzer
// without a corpus takes long to get.
func TestScanMutations(t *testing.T) {
	alphabet := []byte("{}[]\",:\\u0d8 \t\n\x00\x1f\x7f\x80\xc3\xa9\xff-+.eE19tfnaid")
	rapid.Check(t, func(t *rapid.T) {
		line := []byte(rapid.SampledFrom([]string{
			submitLine,
			`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}`,
			`{"id":"é\u00e9\ud83d\ude00","method":"x","params":[-1.5e+10,"\"\\",null,true,[],{}],"method":"y"}`,
		}).Draw(t, "line"))
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			i := rapid.IntRange(0, len(line)-1).Draw(t, "at")
			c := rapid.SampledFrom(alphabet).Draw(t, "byte")
			switch rapid.IntRange(0, 2).Draw(t, "edit") {
			case 0:
				line[i] = c
			case 1:
				line = append(line[:i], append([]byte{c}, line[i:]...)...)
			case 2:
				line = append(line[:i], line[i+1:]...)
			}
		}
		checkAgainstJSON(t, line)
	})
}

func TestString(t *testing.T) {
	for _, tt := range []struct {
		raw, want string
		ok        bool
	}{
		{`"abc"`, "abc", true}, {`""`, "", true}, {`"a\"b\\c\/\n\u00e9"`, "a\"b\\c/\né", true},
		{`"\ud83d\ude00"`, "😀", true}, {`"\ud83dx"`, "\ufffdx", true}, {`"\ude00\ud83d"`, "\ufffd\ufffd", true},
		{`5`, "", false}, {`null`, "", false}, {``, "", false}, {`"`, "", false}, {`"\"`, "", false}, {`"\u12"`, "", false},
	} {
		got, ok := String([]byte(tt.raw), nil)
		if string(got) != tt.want || ok != tt.ok || ok && got == nil {
			t.Errorf("%s: %q, %v", tt.raw, got, ok)
		}
	}
	raw, scratch := []byte(`"a\nb"`), make([]byte, 16)
	if n := testing.AllocsPerRun(100, func() { String(raw, scratch) }); n != 0 {
		t.Errorf("%v allocations with a scratch buffer", n)
	}
}

// TestAppendString: what is written is JSON that encoding/json and this package
// read back alike.
func TestAppendString(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, s string) {
		raw := AppendString(nil, s)
		var want string
		if err := json.Unmarshal(raw, &want); err != nil || !utf8.Valid(raw) || bytes.ContainsAny(raw, "\n\r\x00") {
			t.Fatalf("%q: %q, %v", s, raw, err)
		}
		if want != strings.ToValidUTF8(s, "\ufffd") && want != string([]rune(s)) {
			t.Fatalf("%q: reads as %q", s, want)
		}
	}
	check(t, "a\x00\x1f\x7f\"\\/\n\r\té\xff\xfe€\u2028")
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s"))
	})
	if got := string(AppendString(nil, "a/b\u2028<")); got != "\"a/b\u2028<\"" {
		t.Errorf("needless escape: %s", got)
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	line, scratch := []byte(submitLine), make([]byte, 64)
	var m Message
	var s Submit
	reply := make([]byte, 0, 256)
	n := testing.AllocsPerRun(1000, func() {
		if Scan(line, &m) != Object || s.Parse(m.Params, 8, scratch) != nil {
			t.Fatal("refused")
		}
		reply = AppendTrue(reply[:0], m.ID)
		reply = AppendReject(reply[:0], m.ID, invalidArraySize)
		reply = AppendSetDifficulty(reply[:0], 0.0001)
	})
	if n != 0 {
		t.Errorf("%v allocations per submit", n)
	}
}

func BenchmarkScanSubmit(b *testing.B) {
	line := []byte(submitLine)
	var m Message
	var s Submit
	b.ReportAllocs()
	for b.Loop() {
		Scan(line, &m)
		s.Parse(m.Params, 8, nil)
	}
}

func BenchmarkScan(b *testing.B) {
	line := []byte(submitLine)
	var m Message
	for b.Loop() {
		Scan(line, &m)
	}
}
