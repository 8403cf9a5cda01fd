package relay

import (
	"strings"
	"testing"

	"github.com/ckpool/ckpool/stratum"
)

// A pool goes on with a miner who does not notice it only where it has the same session, gives
// the same by way of configuration, and still lets the miner in.
func TestResume(t *testing.T) {
	scan := func(line string) *stratum.Message {
		var m stratum.Message
		if stratum.Scan([]byte(line), &m) != stratum.Object {
			t.Fatal(line)
		}
		return &m
	}
	const (
		configured = `{"version-rolling":true,"version-rolling.mask":"1fffe000"}`
		subscribed = `[[["mining.notify","00000000000000aa"]],"0a0b0c0d",4]`
	)
	for _, tt := range []struct {
		what     string
		answers  [3]string // results: of configuration, subscription, login
		outcomes []outcome
	}{
		{"the same", [3]string{configured, subscribed, "true"}, []outcome{forNobody, forNobody, resumed}},
		{"another session of the same extranonce", [3]string{configured, strings.Replace(subscribed, "aa", "bb", 1), "true"}, []outcome{forNobody, forNobody, resumed}},
		{"another mask", [3]string{strings.Replace(configured, "1fff", "0fff", 1), subscribed, "true"}, []outcome{notResumed}},
		{"another extranonce1", [3]string{configured, strings.Replace(subscribed, "0a0b", "0a0e", 1), "true"}, []outcome{forNobody, notResumed}},
		{"a shorter extranonce2", [3]string{configured, strings.Replace(subscribed, "4]", "3]", 1), "true"}, []outcome{forNobody, notResumed}},
		{"no subscription", [3]string{configured, "null", "true"}, []outcome{forNobody, notResumed}},
		{"no login", [3]string{configured, subscribed, "false"}, []outcome{forNobody, forNobody, notResumed}},
	} {
		p := &past{}
		for i, said := range []string{
			`{"id":1,"method":"mining.configure","params":[["version-rolling"],{}]}`,
			`{"id":2,"method":"mining.subscribe","params":["miner/1"]}`,
			`{"id":3,"method":"mining.authorize","params":["alice.1","x"]}`,
		} {
			p.said(scan(said), []byte(said))
			if what, _, _ := p.heard(scan(`{"id":` + string(rune('1'+i)) + `,"result":` + [3]string{configured, subscribed, "true"}[i] + `,"error":null}`)); what != forMiner {
				t.Fatalf("%s: %v", said, what)
			}
		}
		if !p.resumable() {
			t.Fatal("not resumable")
		}
		lines := strings.Split(strings.TrimSpace(string(p.resume(nil))), "\n")
		if len(lines) != 3 || !strings.Contains(lines[1], `"00000000000000aa"`) || !strings.Contains(lines[2], `["alice.1","x"]`) {
			t.Fatalf("%q", lines)
		}
		for _, id := range []string{"resume--1", "resume-+0", "resume-3", "resume-18446744073709551615", "resume-"} {
			if what, _, _ := p.heard(scan(`{"id":"` + id + `","result":true,"error":null}`)); what == resumed || what == notResumed {
				t.Errorf("an answer to %s has the outcome %d", id, what)
			}
		}
		notify := scan(`{"id":null,"method":"mining.notify","params":[]}`)
		if what, _, _ := p.heard(notify); what != forNobody {
			t.Errorf("work comes before the session")
		}
		for i, want := range tt.outcomes {
			answer := `{"id":"resume-` + string(rune('0'+i)) + `","result":` + tt.answers[i] + `,"error":null}`
			if what, _, _ := p.heard(scan(answer)); what != want {
				t.Errorf("%s: %s has the outcome %d, want %d", tt.what, answer, what, want)
			}
		}
		if tt.outcomes[len(tt.outcomes)-1] != resumed {
			continue
		}
		if what, _, _ := p.heard(notify); what != forMiner {
			t.Errorf("work does not come")
		}
		p.heard(scan(`{"id":null,"method":"mining.set_extranonce","params":["0f",4]}`))
		if p.resumable() {
			t.Error("resumable, with an extranonce that is not of the session")
		}
	}
}

// begun is what is known of a miner that has logged in after it has said some lines more, each
// with an answer.
func begun(t *testing.T, more ...string) *past {
	t.Helper()
	p := &past{}
	for _, k := range append([][2]string{
		{`{"id":1,"method":"mining.subscribe","params":["miner/1"]}`, `[[["mining.notify","00000000000000aa"]],"0a0b0c0d",4]`},
		{`{"id":1,"method":"mining.authorize","params":["alice.1","x"]}`, "true"},
	}, answered(more)...) {
		var m stratum.Message
		for i, line := range []string{k[0], `{"id":1,"result":` + k[1] + `,"error":null}`} {
			if stratum.Scan([]byte(line), &m) != stratum.Object {
				t.Fatal(line)
			}
			if i == 0 {
				p.said(&m, []byte(line))
			} else {
				p.heard(&m)
			}
		}
	}
	if !p.resumable() {
		t.Fatal("not resumable")
	}
	return p
}

func answered(lines []string) (list [][2]string) {
	for _, line := range lines {
		list = append(list, [2]string{line, "true"})
	}
	return list
}

// What a miner has said without params is said so again: as anything else it would be no JSON,
// for which a pool closes it.
func TestResumeWithoutParams(t *testing.T) {
	p := begun(t, `{"id":1,"method":"mining.extranonce.subscribe"}`)
	lines := strings.Split(strings.TrimSpace(string(p.resume(nil))), "\n")
	if want := `{"id":"resume-2","method":"mining.extranonce.subscribe"}`; len(lines) != 3 || lines[2] != want {
		t.Errorf("%q, want %s at the end", lines, want)
	}
	p = &past{requests: []request{{method: []byte("mining.suggest_difficulty")}}}
	if said, want := string(p.begin(nil)), `{"id":null,"method":"mining.suggest_difficulty"}`+"\n"; said != want {
		t.Errorf("%q, want %q", said, want)
	}
}

// A miner of which something is not known any more does not become resumable by suggesting
// another difficulty.
func TestNeverResumableAgain(t *testing.T) {
	suggest := func(p *past, d string) {
		var m stratum.Message
		line := []byte(`{"id":null,"method":"mining.suggest_difficulty","params":[` + d + `]}`)
		stratum.Scan(line, &m)
		p.said(&m, line)
	}
	p := begun(t)
	suggest(p, "100000000")
	if !p.resumable() {
		t.Fatal("not resumable")
	}
	var m stratum.Message
	stratum.Scan([]byte(`{"id":null,"method":"mining.set_extranonce","params":["0f",4]}`), &m)
	p.heard(&m)
	for _, d := range []string{"1", "2"} {
		if suggest(p, d); p.resumable() {
			t.Errorf("resumable after a suggestion of %s, with an extranonce that is not of the session", d)
		}
	}
}

// What a miner says while a pool is asked to go on with it does not change what the answers of
// the pool stand for: the miner is not left without work.
func TestSaidWhileResuming(t *testing.T) {
	scan := func(line string) *stratum.Message {
		var m stratum.Message
		if stratum.Scan([]byte(line), &m) != stratum.Object {
			t.Fatal(line)
		}
		return &m
	}
	const subscribed = `[[["mining.notify","00000000000000aa"]],"0a0b0c0d",4]`
	p := &past{}
	for _, k := range [][2]string{
		{`{"id":1,"method":"mining.suggest_difficulty","params":[64]}`, ""},
		{`{"id":1,"method":"mining.subscribe","params":["miner/1"]}`, subscribed},
		{`{"id":1,"method":"mining.extranonce.subscribe","params":[]}`, "true"},
		{`{"id":1,"method":"mining.authorize","params":["alice.1","x"]}`, "true"},
	} {
		p.said(scan(k[0]), []byte(k[0]))
		if k[1] != "" {
			p.heard(scan(`{"id":1,"result":` + k[1] + `,"error":null}`))
		}
	}
	if !p.resumable() {
		t.Fatal("not resumable")
	}
	p.resume(nil)
	for _, line := range []string{`{"id":2,"method":"mining.suggest_difficulty","params":[128]}`, `{"id":3,"method":"mining.extranonce.subscribe"}`} {
		p.said(scan(line), []byte(line))
	}
	for i, result := range []string{subscribed, "true", "true"} {
		want := forNobody
		if i == 2 {
			want = resumed
		}
		answer := `{"id":"resume-` + string(rune('1'+i)) + `","result":` + result + `,"error":null}`
		if what, _, _ := p.heard(scan(answer)); what != want {
			t.Errorf("%s has the outcome %d, want %d", answer, what, want)
		}
	}
	if what, _, _ := p.heard(scan(`{"id":null,"method":"mining.notify","params":[]}`)); what != forMiner {
		t.Error("work does not come")
	}
	if again := string(p.resume(nil)); !strings.HasPrefix(again, `{"id":null,"method":"mining.suggest_difficulty","params":[128]}`) {
		t.Errorf("the next pool is told %s", again)
	}
}
