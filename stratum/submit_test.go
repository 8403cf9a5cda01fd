package stratum

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/jsontext"
)

func TestSubmitParse(t *testing.T) {
	const id = "6b02867d00000001"
	good := Submit{Worker: []byte("bob.rig1"), JobID: 0x6b02867d00000001, Extranonce2: [8]byte{7: 1},
		Extranonce2Len: 8, NTime: 0x6b02867d, Nonce: 0x0009bf79}
	with := func(change func(*Submit)) *Submit {
		s := good
		change(&s)
		return &s
	}
	tests := []struct {
		name, params string
		want         *Submit
		code         Code
		text         string
	}{
		{name: "five", params: `["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","0009bf79"]`, want: &good},
		{name: "six", params: `["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","0009bf79","00c0a000"]`,
			want: with(func(s *Submit) { s.VersionBits, s.HasVersionBits = 0x00c0a000, true })},
		{name: "more than six", params: `["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","0009bf79","1",{},null]`,
			want: with(func(s *Submit) { s.VersionBits, s.HasVersionBits = 1, true })},
		{name: "unpadded nonce", params: `["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","9bf79"]`, want: &good},
		{name: "0x and upper case", params: `["bob.rig1","0X6B02867D00000001","0000000000000001","0x6B02867D","0x9BF79","0x0"]`,
			want: with(func(s *Submit) { s.HasVersionBits = true })},
		{name: "escapes", params: `["b\u006fb.rig1","\u0036b02867d00000001","000000000000000\u0031","6b02867d","0009bf7\u0039"]`, want: &good},
		{name: "suffix", params: `["bob.rig1","6b02867d000000012a","0000000000000001","6b02867d","0009bf79"]`,
			want: with(func(s *Submit) { s.Suffix = 0x2a })},
		{name: "short job id", params: `["bob.rig1","1","0000000000000001","6b02867d","0009bf79"]`,
			want: with(func(s *Submit) { s.JobID = 1 })},
		{name: "job id not hex", params: `["bob.rig1","job7","0000000000000001","6b02867d","0009bf79"]`,
			want: with(func(s *Submit) { s.JobID, s.JobIDBad = 0, true })},
		{name: "job id of 17", params: `["bob.rig1","` + id + `0","0000000000000001","6b02867d","0009bf79"]`,
			want: with(func(s *Submit) { s.JobID, s.JobIDBad = 0, true })},
		{name: "job id of 19", params: `["bob.rig1","` + id + `000","0000000000000001","6b02867d","0009bf79"]`,
			want: with(func(s *Submit) { s.JobID, s.JobIDBad = 0, true })},
		{name: "bad suffix", params: `["bob.rig1","` + id + `0g","0000000000000001","6b02867d","0009bf79"]`,
			want: with(func(s *Submit) { s.JobID, s.JobIDBad = 0, true })},
		{name: "bits null", params: `["bob.rig1","` + id + `","0000000000000001","6b02867d","0009bf79",null]`, want: &good},
		{name: "bits empty", params: `["bob.rig1","` + id + `","0000000000000001","6b02867d","0009bf79",""]`, want: &good},
		{name: "bits a number", params: `["bob.rig1","` + id + `","0000000000000001","6b02867d","0009bf79",4096]`, want: &good},
		{name: "bits not hex", params: `["bob.rig1","` + id + `","0000000000000001","6b02867d","0009bf79","none"]`, want: &good},

		{name: "no params", params: ``, code: 20, text: "Params not array"},
		{name: "null", params: `null`, code: 20, text: "Params not array"},
		{name: "object", params: `{"0":"bob"}`, code: 20, text: "Params not array"},
		{name: "string", params: `"bob"`, code: 20, text: "Params not array"},
		{name: "empty", params: `[]`, code: 20, text: "Invalid array size"},
		{name: "four", params: `["","","",""]`, code: 20, text: "Invalid array size"},
		{name: "no worker", params: `["","","","",""]`, code: 20, text: "No username"},
		{name: "worker a number", params: `[5,"1","0000000000000001","6b02867d","1"]`, code: 20, text: "No username"},
		{name: "no job id", params: `["b","","0000000000000001","6b02867d","1"]`, code: 20, text: "No job_id"},
		{name: "job id a number", params: `["b",1,"0000000000000001","6b02867d","1"]`, code: 20, text: "No job_id"},
		{name: "no nonce2", params: `["b","1","","6b02867d","1"]`, code: 20, text: "No nonce2"},
		{name: "nonce2 null", params: `["b","1",null,"6b02867d","1"]`, code: 20, text: "No nonce2"},
		{name: "nonce2 odd", params: `["b","1","000000000000001","6b02867d","1"]`, code: 20, text: "No nonce2"},
		{name: "nonce2 not hex", params: `["b","1","000000000000000g","6b02867d","1"]`, code: 20, text: "No nonce2"},
		{name: "nonce2 0x", params: `["b","1","0x00000000000001","6b02867d","1"]`, code: 20, text: "No nonce2"},
		{name: "nonce2 short", params: `["b","1","ffee","6b02867d","1"]`, code: 20, text: "Invalid nonce2 length"},
		{name: "nonce2 long", params: `["b","1","000000000000000001","6b02867d","1"]`, code: 20, text: "Invalid nonce2 length"},
		{name: "no ntime", params: `["b","1","0000000000000001","","1"]`, code: 20, text: "No ntime"},
		{name: "ntime a number", params: `["b","1","0000000000000001",1795327613,"1"]`, code: 20, text: "No ntime"},
		{name: "ntime long", params: `["b","1","0000000000000001","06b02867d","1"]`, code: 20, text: "No ntime"},
		{name: "ntime 0x alone", params: `["b","1","0000000000000001","0x","1"]`, code: 20, text: "No ntime"},
		{name: "no nonce", params: `["b","1","0000000000000001","6b02867d",""]`, code: 20, text: "No nonce"},
		{name: "nonce not hex", params: `["b","1","0000000000000001","6b02867d","-1"]`, code: 20, text: "No nonce"},
		{name: "nonce long", params: `["b","1","0000000000000001","6b02867d","000000001"]`, code: 20, text: "No nonce"},
		{name: "nonce an object", params: `["b","1","0000000000000001","6b02867d",{}]`, code: 20, text: "No nonce"},
		{name: "bits long", params: `["b","1","0000000000000001","6b02867d","1","000000001"]`, code: 20, text: "Invalid version mask"},
	}
	for _, tt := range tests {
		var got Submit
		reject := got.Parse([]byte(tt.params), 8, nil)
		if tt.want == nil {
			if reject == nil || *reject != (Reject{tt.code, tt.text}) {
				t.Errorf("%s: %v, want %s", tt.name, reject, tt.text)
			}
			continue
		}
		if reject != nil {
			t.Errorf("%s: %v", tt.name, reject)
			continue
		}
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", *tt.want); g != w {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, g, w)
		}
	}
}

func TestSubmitExtranonce2Lengths(t *testing.T) {
	for announced := -1; announced <= 10; announced++ {
		for sent := range 12 {
			params := `["b","1","` + strings.Repeat("ab", sent) + `","1","1"]`
			var s Submit
			ok := s.Parse([]byte(params), announced, nil) == nil
			if want := sent == announced && sent >= 1 && sent <= 8; ok != want {
				t.Errorf("announced %d, sent %d: %v", announced, sent, ok)
			}
		}
	}
}

// FuzzSubmit holds the parameters to a slow reading with encoding/json and
// strconv.
func FuzzSubmit(f *testing.F) {
	f.Add([]byte(`["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","0009bf79","00c0a000"]`), 8)
	f.Add([]byte(`["b","1","0001","0x1","FFFFFFFF"]`), 2)
	f.Add([]byte(`[5,null,{},[],"1",6,7]`), 4)
	f.Add([]byte(`["b\u0065","job","","","",""]`), 0)
	f.Fuzz(func(t *testing.T, params []byte, n2 int) {
		var m Message
		if Scan(params, &m) == Invalid {
			return
		}
		if i := jsontext.Value(params, 0, 0); i > 0 {
			params = params[:i]
		}
		var got Submit
		reject := got.Parse(params, n2, make([]byte, 64))
		var fields []any
		if json.Unmarshal(params, &fields) != nil || fields == nil {
			if reject != paramsNotArray && len(params) > 0 {
				t.Fatalf("%q: %v", params, reject)
			}
			return
		}
		text := func(i int) string {
			if i >= len(fields) {
				return ""
			}
			s, _ := fields[i].(string)
			return s
		}
		number := func(i, size int) (uint64, bool) {
			s := text(i)
			if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
				s = s[2:]
			}
			if strings.ContainsAny(s, "+-_xX") {
				return 0, false
			}
			v, err := strconv.ParseUint(s, 16, 64)
			return v, err == nil && len(s) <= size
		}
		ntime, ntimeOK := number(3, 8)
		nonce, nonceOK := number(4, 8)
		_, n2err := strconv.ParseUint("0"+text(2), 16, 64)
		valid := len(fields) >= 5 && text(0) != "" && text(1) != "" && ntimeOK && nonceOK &&
			n2 >= 1 && n2 <= 8 && len(text(2)) == 2*n2 && n2err == nil && !strings.ContainsAny(text(2), "_")
		if reject == nil && !valid || valid && reject != nil && *reject != InvalidVersionMask() {
			t.Fatalf("%q %d: %v, valid %v", params, n2, reject, valid)
		}
		if reject == nil && (uint64(got.NTime) != ntime || uint64(got.Nonce) != nonce || string(got.Worker) != text(0) ||
			fmt.Sprintf("%x", got.Extranonce2[:n2]) != strings.ToLower(text(2))) {
			t.Fatalf("%q: %+v", params, got)
		}
	})
}

func TestSplitMethod(t *testing.T) {
	for _, tt := range []struct {
		method, name, arg string
		has               bool
	}{
		{"mining.submit", "mining.submit", "", false},
		{"mining.suggest_difficulty(512)", "mining.suggest_difficulty", "512", true},
		{"a()", "a", "", true}, {"a(b", "a(b", "", false}, {"a)", "a)", "", false}, {"", "", "", false},
		{"()", "", "", true}, {"a(b)c", "a(b)c", "", false},
	} {
		name, arg := SplitMethod([]byte(tt.method))
		if string(name) != tt.name || string(arg) != tt.arg || (arg != nil) != tt.has {
			t.Errorf("%q: %q, %q", tt.method, name, arg)
		}
	}
}

func TestNumber(t *testing.T) {
	for raw, want := range map[string]float64{"1000": 1000, "0.0001": 0.0001, `"512"`: 512, `" 1.5e3 "`: 1500, "-2": -2, `"0.00015"`: 0.00015} {
		if x, ok := Number([]byte(raw)); !ok || x != want {
			t.Errorf("%s: %v, %v", raw, x, ok)
		}
	}
	for _, raw := range []string{"", "null", `""`, `"inf"`, `"nan"`, `"0x10"`, `"1_0"`, "1e999", "[1]", `"5x"`, "true"} {
		if x, ok := Number([]byte(raw)); ok {
			t.Errorf("%s: read as %v", raw, x)
		}
	}
}
