package operator

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCutClientID(t *testing.T) {
	for _, tt := range []struct{ text, line string }{
		{`{"client_id":13,"id":null,"method":"client.show_message","params":["hello"]}`, `{"id":null,"method":"client.show_message","params":["hello"]}`},
		{`{"b": 1, "client_id": 13, "a": {"client_id": 5}}`, `{"b":1,"a":{"client_id":5}}`},
		{`{"client_id": 13} text behind`, `{}`},
		{"{\"method\": \"x\\ny\", \"client_id\": 13}", `{"method":"x\ny"}`},
	} {
		id, line, err := cutClientID([]byte(tt.text))
		if err != nil || id != 13 || string(line) != tt.line+"\n" {
			t.Errorf("%s: %d %q %v", tt.text, id, line, err)
		}
	}
}

// What goes to a miner is one line of JSON, whatever came.
func FuzzCutClientID(f *testing.F) {
	f.Add(`{"client_id":13,"id":null,"params":["hello"]}`)
	f.Add("{\"client_id\":1,\"a\":\n[1,\n2]}")
	f.Add(`{"client_id":`)
	f.Add(`[1]`)
	f.Fuzz(func(t *testing.T, text string) {
		_, line, err := cutClientID([]byte(text))
		if err != nil {
			return
		}
		if !strings.HasSuffix(string(line), "\n") || strings.Count(string(line), "\n") != 1 || !json.Valid(line) {
			t.Errorf("%q gives %q", text, line)
		}
	})
}
