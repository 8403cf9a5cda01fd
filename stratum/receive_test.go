package stratum

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const notifyLine = `{"params":["6b02867d00000001","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","01000000aa","0a63","BRANCH","20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}` + "\n"

func TestNotify(t *testing.T) {
	const b0, b1 = "56a9907f2f8a5e37991bb11f3c3c5a4cb8e0e479d9b4400f7d83b0a47ba75ec8", "b488f40d597d9b8553663d52b5830f846f39a83db802dcfbf984b9ac867d9f37"
	line := strings.Replace(notifyLine, `"BRANCH"`, `["`+b0+`","`+b1+`"]`, 1)
	var m Message
	if Scan([]byte(line), &m) != Object || string(m.Method) != "mining.notify" {
		t.Fatal("not a notify")
	}
	want := Notify{JobID: "6b02867d00000001", Coinb1: []byte{1, 0, 0, 0, 0xaa}, Coinb2: []byte{0x0a, 0x63},
		Version: 0x20000000, Bits: 0x1d00ffff, NTime: 0x6b02867d, Clean: true}
	// The block explorers' form of this hash, byte by byte from the end.
	display, _ := hex.DecodeString("0000000000000000000e1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f")
	for i, c := range display {
		want.PrevHash[31-i] = c
	}
	for _, s := range []string{b0, b1} {
		var h [32]byte
		hex.Decode(h[:], []byte(s))
		want.Branch = append(want.Branch, h)
	}
	var n Notify
	for range 2 { // the second time into used slices
		if err := n.Parse(m.Params); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, n); d != "" {
			t.Error(d)
		}
	}
	if got := string(n.Append(nil)); got != line {
		t.Errorf("written as %s", got)
	}
	if a := testing.AllocsPerRun(100, func() { n.Parse(m.Params) }); a != 0 {
		t.Errorf("%v allocations to parse the same job again", a)
	}
	buf := make([]byte, 0, 4096)
	if a := testing.AllocsPerRun(100, func() { n.Append(buf) }); a != 0 {
		t.Errorf("%v allocations to write", a)
	}
}

func TestNotifyOddities(t *testing.T) {
	const prev = `"3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000"`
	parse := func(params string) (Notify, error) {
		var n Notify
		err := n.Parse([]byte(params))
		return n, err
	}
	n, err := parse(`["job A",` + prev + `,"","",[],"2","1d00ffff","6b02867d","extra",true]`)
	if err != nil || !n.Clean || n.JobID != "job A" || len(n.Branch) != 0 || n.Version != 2 {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err = parse(`[17,` + prev + `,"","",[],"2","1d00ffff","6b02867d"]`); err != nil || n.Clean || n.JobID != "17" {
		t.Errorf("numeric job id, no clean: %+v, %v", n, err)
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `["a"]`, `["a",` + prev + `,"","",[],"2","1d00ffff"]`,
		`[null,` + prev + `,"","",[],"2","1d00ffff","1",true]`,
		`["a","00","","",[],"2","1d00ffff","1",true]`,
		`["a",` + prev + `,"0","",[],"2","1d00ffff","1",true]`,
		`["a",` + prev + `,"",5,[],"2","1d00ffff","1",true]`,
		`["a",` + prev + `,"","",{},"2","1d00ffff","1",true]`,
		`["a",` + prev + `,"","",["00"],"2","1d00ffff","1",true]`,
		`["a",` + prev + `,"","",[],"x","1d00ffff","1",true]`,
		`["a",` + prev + `,"","",[],"2",486604799,"1",true]`,
		`["a",` + prev + `,"","",[],"2","1d00ffff","123456789",true]`,
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func FuzzNotify(f *testing.F) {
	f.Add([]byte(`["1","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","01","",["56a9907f2f8a5e37991bb11f3c3c5a4cb8e0e479d9b4400f7d83b0a47ba75ec8"],"20000000","1d00ffff","6b02867d",false]`))
	f.Add([]byte(`[{},[],null,1,"\u0031"]`))
	f.Fuzz(func(t *testing.T, params []byte) {
		var n, again Notify
		if n.Parse(params) != nil {
			return
		}
		var m Message
		if Scan(n.Append(nil), &m) != Object || again.Parse(m.Params) != nil {
			t.Fatalf("%q: does not read back", params)
		}
		if n.JobID = strings.ToValidUTF8(n.JobID, "?"); n.JobID == again.JobID && cmp.Diff(n, again) != "" {
			t.Fatal(cmp.Diff(n, again))
		}
	})
}

func TestParseSubscribeResult(t *testing.T) {
	tests := []struct {
		raw  string
		want Extranonce
	}{
		{`[[["mining.notify","6b02867f"]],"7e86026b",8]`, Extranonce{"6b02867f", []byte{0x7e, 0x86, 2, 0x6b}, 8}},
		{`[[["mining.set_difficulty","b4b6"],["mining.notify","ae68"]],"08000002",4]`, Extranonce{"ae68", []byte{8, 0, 0, 2}, 4}},
		{`[["mining.notify","x"],"0800",4,"more"]`, Extranonce{"x", []byte{8, 0}, 4}},
		{`[[[["mining.notify","deep"]]],"08","3"]`, Extranonce{"deep", []byte{8}, 3}},
		{`[null,"010203040506070809",3.0]`, Extranonce{"", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, 3}},
		{`[[],"",2]`, Extranonce{"", nil, 2}},
		{`[[["mining.notify",null]],"00",2]`, Extranonce{"", []byte{0}, 2}},
	}
	for _, tt := range tests {
		got, err := ParseSubscribeResult([]byte(tt.raw))
		if err != nil || got.SessionID != tt.want.SessionID || string(got.Extranonce1) != string(tt.want.Extranonce1) || got.Extranonce2Len != tt.want.Extranonce2Len {
			t.Errorf("%s: %+v, %v", tt.raw, got, err)
		}
	}
	for _, bad := range []string{`"proxy full"`, `null`, `true`, `[]`, `[[]]`, `[[],"xy",4]`, `[[],5,4]`, `[[],"00"]`, `[[],"00",0]`, `[[],"00",2.5]`, `[[],"00",33]`, `[[],"000",4]`, `[[],"` + strings.Repeat("00", 65) + `",4]`} {
		if e, err := ParseSubscribeResult([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, e)
		}
	}
	if e, err := ParseExtranonce([]byte(`["08000002",4]`)); err != nil || e.Extranonce2Len != 4 || e.Extranonce1[0] != 8 {
		t.Errorf("set_extranonce: %+v, %v", e, err)
	}
}

func TestParseAnnouncements(t *testing.T) {
	for raw, want := range map[string]float64{`[42]`: 42, `[0.0001]`: 0.0001, `["1e3"]`: 1000, `[1024.0]`: 1024} {
		if d, err := ParseDifficulty([]byte(raw)); err != nil || d != want {
			t.Errorf("%s: %v, %v", raw, d, err)
		}
	}
	for _, raw := range []string{``, `[]`, `[0]`, `[-1]`, `[null]`, `["x"]`, `{}`} {
		if d, err := ParseDifficulty([]byte(raw)); err == nil {
			t.Errorf("%s: %v", raw, d)
		}
	}
	if mask, err := ParseVersionMask([]byte(`["1fffe000"]`)); err != nil || mask != 0x1fffe000 {
		t.Errorf("%x, %v", mask, err)
	}
	if _, err := ParseVersionMask([]byte(`[536862720]`)); err == nil {
		t.Error("a mask that is a number was taken")
	}
	if s, err := ParseMessage([]byte(`["a\nb"]`)); err != nil || s != "a\nb" {
		t.Errorf("%q, %v", s, err)
	}
	for raw, want := range map[string]uint32{
		`{"version-rolling":true,"version-rolling.mask":"1fffe000"}`:     0x1fffe000,
		`{"version-rolling.mask":"FF","version-rolling":true,"x":[{}]}`:  0xff,
		`{"version-rolling":false}`:                                      0,
		`{"version-rolling":"not supported","version-rolling.mask":"1"}`: 0,
		`{}`: 0,
	} {
		if mask, err := ParseConfigureResult([]byte(raw)); err != nil || mask != want {
			t.Errorf("%s: %x, %v", raw, mask, err)
		}
	}
	for _, raw := range []string{`true`, `null`, ``, `{"version-rolling.mask":5}`} {
		if mask, err := ParseConfigureResult([]byte(raw)); err == nil {
			t.Errorf("%s: %x", raw, mask)
		}
	}
}

func TestParseReconnect(t *testing.T) {
	for raw, want := range map[string]Reconnect{
		``: {}, `null`: {}, `[]`: {}, `["",0,0]`: {}, `[null,null,null]`: {}, `["","",""]`: {},
		`["pool.example.org",3333,0]`:     {"pool.example.org", 3333, 0},
		`["pool.example.org","3333","7"]`: {"pool.example.org", 3333, 7 * time.Second},
		`["::1",3333]`:                    {"::1", 3333, 0},
		`["h"]`:                           {"h", 0, 0},
	} {
		if got, err := ParseReconnect([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
	for _, raw := range []string{`[5]`, `["h",70000]`, `["h","x"]`, `["h",1,-1]`, `["h",1,1e9]`, `["h",1.5]`} {
		if got, err := ParseReconnect([]byte(raw)); err == nil {
			t.Errorf("%s: %+v", raw, got)
		}
	}
}

func TestVerdict(t *testing.T) {
	for line, want := range map[string]*Reject{
		`{"id":1,"result":true,"error":null}`:                                 nil,
		`{"id":1,"result":true}`:                                              nil,
		`{"id":1,"result":true,"error":false}`:                                nil,
		`{"id":1,"result":false,"error":[21,"Stale",null]}`:                   {21, "Stale"},
		`{"id":1,"result":null,"error":[23,"low difficulty share",null]}`:     {23, "low difficulty share"},
		`{"id":1,"result":true,"error":[22,"Duplicate",null]}`:                {22, "Duplicate"},
		`{"id":1,"result":false,"error":null,"reject-reason":"Above target"}`: {20, "Above target"},
		`{"id":1,"result":false,"error":"Worker mismatch"}`:                   {20, "Worker mismatch"},
		`{"id":1,"error":{"code":24,"message":"unauthorized"}}`:               {24, "unauthorized"},
		`{"id":1,"result":false}`:                                             {20, "rejected"},
		`{"id":1,"result":null,"error":null}`:                                 {20, "rejected"},
		`{"id":1}`:                                                            {20, "rejected"},
		`{"id":1,"result":false,"error":[20],"reject-reason":"why"}`:          {20, "why"},
		`{"id":1,"error":["x",5]}`:                                            {20, "rejected"},
		`{"id":1,"error":-3}`:                                                 {20, "-3"},
	} {
		var m Message
		if Scan([]byte(line), &m) != Object {
			t.Fatal(line)
		}
		if d := cmp.Diff(want, m.Verdict()); d != "" {
			t.Errorf("%s: %s", line, d)
		}
	}
	if got := (&Reject{Duplicate, "Duplicate"}).String(); got != "Duplicate (22)" {
		t.Error(got)
	}
}

// FuzzReceive: nothing a pool can send makes the miner's side panic.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{`[[["mining.notify","6b02867f"]],"7e86026b",8]`, `["pool.example.org","3333",0]`,
		`{"version-rolling":true,"version-rolling.mask":"1fffe000"}`, `[42]`, `[[[[[[]]]]]]`, `[`, `{"`, `"\`, `["a"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ParseSubscribeResult(raw)
		ParseExtranonce(raw)
		ParseDifficulty(raw)
		ParseVersionMask(raw)
		ParseConfigureResult(raw)
		ParseMessage(raw)
		ParseReconnect(raw)
		String(raw, nil)
		Number(raw)
		m := Message{Result: raw, Error: raw, RejectReason: raw}
		m.Verdict()
		var s Submit
		s.Parse(raw, 4, nil)
	})
}
