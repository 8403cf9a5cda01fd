package reference

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"testing"
	"unicode/utf8"
)

func TestParseRequest(t *testing.T) {
	r, err := ParseRequest([]byte("Authorise.4711x42.username=alice\tworkername=a=b\tusername=bob\tempty=\r"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Command != "authorise" || r.ID != "4711x42" {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string]string{"username": "alice", "workername": "a=b", "empty": ""} {
		if got, ok := r.Value(name); !ok || got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	// JSON behind another field is text.
	if r, err = ParseRequest([]byte(`a.b.x=1	json={"y":2}`)); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Value("json"); got != `{"y":2}` {
		t.Errorf("json is %q", got)
	}
}

func TestTime(t *testing.T) {
	for text, want := range map[string]int64{"1497594048,5300217": 1497594048_005300, "1497594048": 1497594048_000000, "1,999999500": 2_000000, "1,499": 1_000000} {
		if got, err := parseTime(text); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0,0", "-1,0", "1,", "1,1000000000", "1.5", "x", "99999999999,0"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// What encoding/json reads, and is an object without repeated names, is read alike.
func FuzzParseRequest(f *testing.F) {
	text, err := os.ReadFile("testdata/example/ckdb2017061606.log")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		f.Add(line)
	}
	for _, s := range []string{
		`a.b.json={}`, `a.b.json={"x":null,"y":true,"z":-1.5e+9}`, `a.b.json={"x":[1,"]",{"a":[]}],"y":"\ud83d\ude00\ud83d\u0041\"\/"}`,
		"a.b.x=1\ty=2", "a..", "a.b.json={\"x\":\"\x00\xff\"}", `a.b.json={"x" : 1 , "x":2}`, "shares.1.x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRequest(line)
		if err == nil {
			v := values{Request: r}
			v.created()
			v.job()
			v.real("diff", maxCredit)
			v.hash("hash")
			v.name()
			height(v.optional("coinbase1"))
		}
		_, body, ok := bytes.Cut(line, []byte("json="))
		if !ok || !utf8.Valid(body) || bytes.ContainsAny(body, "\r\n") || !bytes.HasPrefix(body, []byte("{")) {
			return
		}
		var want map[string]any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if d.Decode(&want) != nil || d.More() || bytes.Count(body, []byte("[")) > deepest || bytes.Count(body, []byte("{")) > deepest {
			return
		}
		if rest := body[d.InputOffset():]; len(bytes.Trim(rest, " \t")) > 0 {
			return
		}
		if r, err = ParseRequest(append([]byte("a.b.json="), body...)); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		got := map[string]string{}
		for _, v := range r.fields {
			if _, ok := got[v.name]; ok {
				return // repeated
			}
			got[v.name] = v.value
		}
		maps.DeleteFunc(want, func(_ string, v any) bool { return v == nil })
		for name, v := range want {
			switch v := v.(type) {
			case string:
				if got[name] != v {
					t.Errorf("%q is %q, want %q", name, got[name], v)
				}
			case json.Number:
				if got[name] != v.String() {
					t.Errorf("%q is %q, want %q", name, got[name], v)
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
