package poolproto

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The lines of ckpool in C, as it writes them.
const (
	helloOfC    = `{"method": "mining.passthrough", "params": ["ckpool\/0.9.9"]}`
	wrappedOfC  = `{"id":7,"method":"mining.submit","params":["u.w","5f00000000000002","0000000000000009","66aa0011","1dac2b7c"],"client_id":12,"address":"192.0.2.7","server":0}`
	termOfC     = `{"id":42,"client_id":12,"address":"192.0.2.7","server":0,"method":"mining.term","params":[]}`
	subscribedC = `{"result":[[["mining.notify","66aa0b21"]],"21a0aa66",8],"id":1,"error":null,"node.method":"subscribe.result","client_id":12}`
)

func TestHello(t *testing.T) {
	for _, h := range []Hello{
		{Role: Passthrough, Program: "ckpool/1.0"},
		{Role: Node, Program: `a "b"`, Dialect: 1},
		{Role: Remote, Program: "ckpool/1.0", Dialect: 7, Secret: `x"\y`},
	} {
		line := AppendHello(nil, &h)
		var m struct {
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal(line, &m); err != nil || !strings.HasSuffix(string(line), "]}\n") {
			t.Fatalf("%s: %v", line, err)
		}
		if got := ParseHello(RoleOf([]byte(m.Method)), m.Params); got != h {
			t.Errorf("%+v is read as %+v", h, got)
		}
	}
	var m struct{ Params json.RawMessage }
	if err := json.Unmarshal([]byte(helloOfC), &m); err != nil {
		t.Fatal(err)
	}
	if got := ParseHello(Passthrough, m.Params); got != (Hello{Role: Passthrough, Program: "ckpool/0.9.9"}) {
		t.Errorf("%+v", got)
	}
	for _, params := range []string{``, `null`, `5`, `[]`, `[5,6]`, `["a",{"dialect":-4}]`, `["a",{"dialect":"x"}]`} {
		if got := ParseHello(Node, []byte(params)); got.Dialect != 0 || got.Secret != "" {
			t.Errorf("%s: %+v", params, got)
		}
	}
	if RoleOf([]byte("mining.submit")) != 0 || RoleOf([]byte("mining.remote")) != Remote || Remote.String() != "remote" {
		t.Error("roles")
	}
}

func TestAnswer(t *testing.T) {
	for _, a := range []Answer{{Accepted: true}, {Accepted: true, Dialect: 1}, {Accepted: true, Dialect: 1, Sums: true}, {Reason: `no "link" for you`}} {
		if got, err := ParseAnswer(AppendAnswer(nil, &a)); err != nil || got != a {
			t.Errorf("%+v is read as %+v, %v", a, got, err)
		}
	}
	if got := string(AppendAnswer(nil, &Answer{Accepted: true})); got != `{"result":true}`+"\n" {
		t.Errorf("C would not read %s", got)
	}
	// A pool says why it does not know the method, in an array as stratum has it.
	for line, want := range map[string]string{
		`{"result":false,"error":[20,"Unknown method",null],"id":null}`:        "Unknown method",
		`{"id":null,"result":null,"error":[20,"No link: not from here",null]}`: "not from here",
		`{"result":false,"error":{"code":20,"message":"No link: never"}}`:      "never",
		`{"result":false,"error":null}`:                                        "",
	} {
		if got, err := ParseAnswer([]byte(line)); err != nil || got.Accepted || got.Reason != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{``, `x`, `[]`, `{}`, `{"transaction":[],"node.method":"transactions"}`, `{"result":true,"node.method":"share.result","client_id":1}`, `{"result":true,"method":"auth.result"}`} {
		if _, err := ParseAnswer([]byte(line)); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestWrapped(t *testing.T) {
	w := Wrapped{Channel: 12, Address: netip.MustParseAddr("192.0.2.7")}
	miner := `{"id": 7, "method": "mining.submit", "params": ["u.w", "5f00000000000002", "0000000000000009", "66aa0011", "1dac2b7c"]}`
	got, err := AppendWrapped(nil, []byte(miner), &w)
	if err != nil || string(got) != wrappedOfC+"\n" {
		t.Errorf("%s, %v", got, err)
	}
	if got := AppendTerm(nil, &w); string(got) != termOfC+"\n" {
		t.Errorf("%s", got)
	}
	for line, want := range map[string]Wrapped{
		wrappedOfC: {Channel: 12, Address: netip.MustParseAddr("192.0.2.7"), Method: "mining.submit"},
		termOfC:    {Channel: 12, Address: netip.MustParseAddr("192.0.2.7"), Method: Term},
		// 2014: no server.
		`{"client_id":4294967295,"address":"2001:db8::7"}`:                                      {Channel: 1<<32 - 1, Address: netip.MustParseAddr("2001:db8::7")},
		`{"client_id":0,"address":"` + strings.Repeat("1", 600) + `","server":3,"method":null}`: {Server: 3},
		`{"client_id":5,"address":"::ffff:192.0.2.7"}`:                                          {Channel: 5, Address: netip.MustParseAddr("192.0.2.7")},
	} {
		if got, err := ParseWrapped([]byte(line)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{`{}`, `{"client_id":-1}`, `{"client_id":4294967296}`, `{"client_id":"7"}`, `{"client_id":1.5}`, `{"client_id":null,"address":"192.0.2.7"}`, `[]`, `{"client_id":1`, `x`, ``} {
		if got, err := ParseWrapped([]byte(line)); err == nil {
			t.Errorf("%s: %+v", line, got)
		}
	}
	// A miner can neither say whose it is nor what a node is to make of it.
	got, err = AppendWrapped(nil, []byte(`{"client_id":99,"node.method":"share.result","a" : [1 , "x y"],"server":5,"addr\u0065ss":"::1"}`), &w)
	if err != nil || string(got) != `{"a":[1,"x y"],"client_id":12,"address":"192.0.2.7","server":0}`+"\n" {
		t.Errorf("%s, %v", got, err)
	}
	for _, line := range []string{``, `x`, `5`, `[{}]`, `{"a":1`, `{} {}`} {
		if got, err := AppendWrapped(nil, []byte(line), &w); err == nil {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestTagged(t *testing.T) {
	for line, want := range map[string]Tagged{
		subscribedC: {Tag: "subscribe.result", Channel: 12, Named: true},
		`{"params":[42.0],"id":null,"method":"mining.set_difficulty","node.method":"diff","client_id":12}`: {Tag: "diff", Channel: 12, Named: true},
		`{"transaction":[],"node.method":"transactions"}`:                                                  {Tag: "transactions"},
		`{"client_id":-5}`: {},
	} {
		if got, err := ParseTagged([]byte(line)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	got, err := AppendUntagged(nil, []byte(subscribedC))
	if err != nil || string(got) != `{"result":[[["mining.notify","66aa0b21"]],"21a0aa66",8],"id":1,"error":null}`+"\n" {
		t.Errorf("%s, %v", got, err)
	}
	for _, tt := range []struct{ line, answering, tag string }{
		{`{"result":true,"error":null,"id":1}`, "mining.submit", "share.result"},
		{`{"reject-reason":"Stale","result":false,"error":[21,"Stale",null],"id":1}`, "mining.submit", "share.result"},
		{`{"result":true,"error":null,"id":1}`, "mining.authorize", "auth.result"},
		{`{"result":true,"error":null,"id":"\"method\":\"mining.notify\""}`, "mining.configure", "mining.configure"},
		{`{"params":[1],"id":null,"method":"mining.set_difficulty"}`, "mining.submit", "diff"},
		{`{"params":[],"id":null,"method":"mining.notify"}`, "", "update"},
		{`{"id":null,"method":"client.reconnect","params":[]}`, "", "reconnect"},
		{`{"id":null,"method":"client.show_message","params":["\"method\":\"mining.ping\""]}`, "", "message"},
		{`{"result":false,"error":[20,"x",null],"id":1}`, "mining.frobnicate", "error"},
	} {
		line := AppendTagged(nil, []byte(tt.line), 9, []byte(tt.answering))
		got, err := ParseTagged(line[:len(line)-1])
		if err != nil || got != (Tagged{tt.tag, 9, true}) {
			t.Errorf("%s: %s is %+v, %v", tt.line, line, got, err)
		}
		if back, err := AppendUntagged(nil, line[:len(line)-1]); err != nil || string(back) != tt.line+"\n" {
			t.Errorf("%s came out as %s, %v", tt.line, back, err)
		}
	}
	for line, want := range map[string]int64{"dropclient=12": 12, "dropclient=4294967295\r": 4294967295, "dropclient=": -1, "dropclient=-1": -1, "dropclient=x": -1, "reject": -1} {
		if id, ok := ParseDropClient([]byte(line)); ok != (want >= 0) || ok && int64(id) != want {
			t.Errorf("%s: %d, %v", line, id, ok)
		}
	}
	if got := string(AppendDropClient(nil, 7)); got != "dropclient=7\n" {
		t.Error(got)
	}
}

func TestFrame(t *testing.T) {
	address := netip.MustParseAddr("2001:db8::7")
	for text, f := range map[string]Frame{
		"o 4294967295 3 2001:db8::7": {Kind: Open, Channel: 1<<32 - 1, Number: 3, Address: address},
		`l 12 {"id":1} `:             {Kind: Line, Channel: 12, Text: []byte(`{"id":1} `)},
		"l 12 ":                      {Kind: Line, Channel: 12, Text: []byte{}},
		"c 0 it has left":            {Kind: Close, Text: []byte("it has left")},
		"w 18446744073709551615 {}":  {Kind: Define, Number: 1<<64 - 1, Text: []byte("{}")},
		"b 7 1+4,9":                  {Kind: Send, Number: 7, Text: []byte("1+4,9")},
		"p":                          {Kind: Ping},
		"q":                          {Kind: Pong},
	} {
		if got := string(AppendFrame(nil, &f)); got != text+"\n" {
			t.Errorf("%+v is written as %q", f, got)
		}
		if got, err := ParseFrame([]byte(text)); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "o", "o 1", "o 1 2", "o 1 2 ::1 x", "o -1 2 ::1", "l", "l 5", "l x {}", "l 4294967296 {}", "w x y", "b", "p 1", "{}", "l  5 {}"} {
		if got, err := ParseFrame([]byte(text)); !errors.Is(err, ErrFrame) {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
	}
}

func TestChannels(t *testing.T) {
	for want, list := range map[string][]uint32{
		"":               nil,
		"5":              {5},
		"1+3":            {1, 2, 3, 4},
		"9,8,7":          {9, 8, 7},
		"4294967294+1,0": {1<<32 - 2, 1<<32 - 1, 0},
		"3+1,9+9,1":      {3, 4, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 1},
	} {
		var b []byte
		var r Range
		for _, c := range list {
			b = AppendChannels(b, &r, c)
		}
		if string(b) != want {
			t.Errorf("%v is %q, want %q", list, b, want)
		}
		var got []uint32
		for first, last := range Channels(b) {
			for c := uint64(first); c <= uint64(last); c++ {
				got = append(got, uint32(c))
			}
		}
		if !reflect.DeepEqual(got, list) {
			t.Errorf("%q is read as %v", b, got)
		}
	}
	for _, text := range []string{"x", "1,x", "1+", "4294967295+1", "-1", "1,,2"} {
		n := 0
		for first, last := range Channels([]byte(text)) {
			if n++; n > 1 || first > last {
				t.Errorf("%q: %d to %d", text, first, last)
			}
		}
	}
}

func TestSums(t *testing.T) {
	sums := []Sum{{RefusedTarget, 0x66aa0b2100000001, 3, 5}, {RefusedFormat, 0, 0, 1}, {RefusedDuplicate, 1, 255, MaxSum}}
	text := AppendSums(nil, sums)
	if want := "t:66aa0b2100000001:3:5,m:0:0:1,d:1:ff:65536"; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	if got, err := ParseSums(nil, text); err != nil || !slices.Equal(got, sums) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", ",", "t", "t:1:1", "t:1:1:0", "t:1:1:65537", "t:1:100:1", "a:1:1:1", "tt:1:1:1", "t:1:1:1:1", "t:1:1:1,", "t:-1:0:1", strings.Repeat("t:1:0:1,", MaxSums) + "t:1:0:1"} {
		if got, err := ParseSums(nil, []byte(bad)); !errors.Is(err, ErrFrame) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

// What a stranger may say is read or refused, and what is written from it is read again.
func FuzzLines(f *testing.F) {
	for _, line := range []string{helloOfC, wrappedOfC, termOfC, subscribedC, "dropclient=4", "o 1 2 ::1", "l 5 {}", "b 7 1+4,9", "s 3 77 t:66aa0b21:1:5,m:0:0:1", "t:1:0:2,s:5:ff:65536", `{"result":true,"dialect":1}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		ParseHello(Node, line)
		_, _ = ParseAnswer(line)
		_, _ = ParseTagged(line)
		ParseDropClient(line)
		w := Wrapped{Channel: 7, Address: netip.IPv6Loopback(), Server: 2}
		if out, err := AppendWrapped(nil, line, &w); err == nil {
			if got, err := ParseWrapped(out[:len(out)-1]); err != nil || got.Channel != 7 || got.Address != w.Address || got.Server != 2 {
				t.Errorf("%q became %q: %+v, %v", line, out, got, err)
			}
		}
		if out, err := AppendUntagged(nil, line); err == nil {
			if got, err := ParseTagged(out[:len(out)-1]); err != nil || got.Named || got.Tag != "" {
				t.Errorf("%q became %q: %+v, %v", line, out, got, err)
			}
		}
		if sums, err := ParseSums(nil, line); err == nil {
			if again, err := ParseSums(nil, AppendSums(nil, sums)); err != nil || !slices.Equal(again, sums) || len(sums) > MaxSums {
				t.Errorf("%q: %+v, then %+v, %v", line, sums, again, err)
			}
		}
		if got, err := ParseFrame(line); err == nil {
			again := AppendFrame(nil, &got)
			if back, err := ParseFrame(again[:len(again)-1]); err != nil || !reflect.DeepEqual(back, got) {
				t.Errorf("%q: %+v, then %+v, %v", line, got, back, err)
			}
			for first, last := range Channels(got.Text) {
				if first > last {
					t.Errorf("%q: %d to %d", line, first, last)
				}
			}
		}
	})
}
