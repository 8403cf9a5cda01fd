package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

func rejectLine(code int, text, id string) string {
	return fmt.Sprintf(`{"reject-reason":%q,"result":false,"error":[%d,%q,null],"id":%s}`, text, code, text, id)
}

// Every malformed message has one exact answer, and the connection stays.
func TestAnswers(t *testing.T) {
	for _, c := range []struct{ line, answer string }{
		{``, ""},
		{`   `, ""},
		{`{"result":true,"error":null,"id":7}`, ""},
		{`{"id":3,"method":"pong","params":[]}`, ""},
		{`[]`, rejectLine(20, "Not a JSON object", "null")},
		{`5`, rejectLine(20, "Not a JSON object", "null")},
		{`"x"`, rejectLine(20, "Not a JSON object", "null")},
		{`{}`, rejectLine(20, "Method not found", "null")},
		{`{"id":13}`, rejectLine(20, "Method not found", "13")},
		{`{"id":13,"method":5,"params":[]}`, rejectLine(20, "Method is not string", "13")},
		{`{"id":13,"method":null,"params":[]}`, rejectLine(20, "Method is not string", "13")},
		{`{"id":13,"method":"mining.submit"}`, rejectLine(20, "Params not found", "13")},
		{`{"id":13,"method":"mining.subscribe"}`, rejectLine(20, "Params not found", "13")},
		{`{"id":13,"method":"mining.frobnicate","params":[]}`, rejectLine(20, "Unknown method", "13")},
		{`{"id":13,"method":"MINING.SUBMIT","params":[]}`, rejectLine(20, "Unknown method", "13")},
		{`{"id":13,"method":"mining.submitx","params":[]}`, rejectLine(20, "Unknown method", "13")},
		{`{"id":13,"method":"","params":[]}`, rejectLine(20, "Unknown method", "13")},
		{`{"method":"mining.frobnicate","params":[]}`, rejectLine(20, "Unknown method", "null")},
		{`{"id":"abc","method":"mining.x","params":[]}`, rejectLine(20, "Unknown method", `"abc"`)},
		{`{"id":1.5,"method":"mining.x","params":[]}`, rejectLine(20, "Unknown method", `1.5`)},
		{`{"id":{"a":[1]},"method":"mining.x","params":[]}`, rejectLine(20, "Unknown method", `{"a":[1]}`)},
		{`{"id":1,"method":"mining.ping","params":[]}`, `{"result":"pong","error":null,"id":1}`},
		{`{"id":1,"method":"mining.ping"}`, `{"result":"pong","error":null,"id":1}`},
		{`{"id":8,"method":"mining.extranonce.subscribe","params":[]}`, `{"result":true,"error":null,"id":8}`},
		{`{"id":1,"method":"mining.subscribe","params":{}}`, rejectLine(20, "Params not array", "1")},
		{`{"id":1,"method":"mining.subscribe","params":null}`, rejectLine(20, "Params not array", "1")},
		{`{"id":1,"method":"mining.authorize","params":5}`, rejectLine(20, "Params not array", "1")},
		{`{"id":1,"method":"mining.authorize","params":[]}`, rejectLine(20, "params missing array entries", "1")},
		{`{"id":1,"method":"mining.authorize","params":[5]}`, rejectLine(20, "Invalid workername parameter", "1")},
		{`{"id":1,"method":"mining.configure","params":{}}`, rejectLine(20, "Params not array", "1")},
		{`{"id":1,"method":"mining.configure","params":[]}`, rejectLine(20, "Invalid params", "1")},
		{`{"id":1,"method":"mining.configure","params":["version-rolling"]}`, rejectLine(20, "Invalid params", "1")},
		{`{"id":1,"method":"mining.suggest_difficulty","params":[]}`, rejectLine(20, "Invalid params", "1")},
		{`{"id":1,"method":"mining.suggest_difficulty","params":["x"]}`, rejectLine(20, "Invalid params", "1")},
		{`{"id":1,"method":"mining.suggest_difficulty","params":[-4]}`, rejectLine(20, "Invalid params", "1")},
		{`{"id":1,"method":"mining.suggest_target","params":["zz"]}`, rejectLine(20, "Invalid params", "1")},
		{`{"id":9,"method":"mining.get_transactions","params":["ffffffffffffffff"]}`, rejectLine(21, "Invalid job_id", "9")},
		{`{"id":9,"method":"mining.get_transactions","params":["nothex"]}`, rejectLine(21, "Invalid job_id", "9")},
		{`{"id":9,"method":"mining.get_transactions","params":["6b02867d00000000"]}`, `{"result":0,"error":null,"id":9}`},
		{`{"id":9,"method":"mining.get_transactions(6b02867d00000000)","params":[]}`, `{"result":0,"error":null,"id":9}`},
		{`{"id":9,"method":"mining.get_txnhashes","params":["6b02867d00000000"]}`, rejectLine(24, "Unauthorized worker", "9")},
		{`{"id":1,"method":"mining.submit","params":["a","b","c","d","e"]}`, rejectLine(25, "Not subscribed", "1")},
	} {
		r := newRig(t, nil)
		slot := r.open()
		if c.answer == "" {
			r.want(slot, c.line)
		} else {
			r.want(slot, c.line, c.answer)
		}
		if why, ok := r.closed[slot]; ok {
			t.Errorf("%s: closed: %v", c.line, why)
		}
	}
}

// What cannot be understood at all is answered and then closed.
func TestAnsweredAndClosed(t *testing.T) {
	for _, line := range []string{"{", "nonsense", `{"id":1,"method":"\u0000"}`, "{\"id\":1}\x00", "{\"id\":\"\xff\"}"} {
		r := newRig(t, nil)
		slot := r.open()
		r.want(slot, line, rejectLine(20, "Invalid JSON, disconnecting", "null"))
		if r.closed[slot] != netserver.BadInput {
			t.Errorf("%q: not closed for bad input", line)
		}
	}
}

// Who asks for a link and gets none hears why, and is closed: nothing else it says is of use.
func TestLinkRefused(t *testing.T) {
	r := newRig(t, nil)
	ask := func(slot netserver.Slot, why string) {
		t.Helper()
		r.want(slot, `{"id":13,"method":"mining.passthrough","params":["x"]}`, rejectLine(20, "No link: "+why, "13"))
		if r.closed[slot] != netserver.BadInput {
			t.Error("not closed for bad input")
		}
	}
	ask(r.open(), "links between pools are not accepted here")
	r.Link = func(netserver.Slot, int, []byte, []byte) string { return "not you" }
	ask(r.open(), "not you")
	r.Link = func(netserver.Slot, int, []byte, []byte) string { t.Error("asked"); return "" }
	slot, _ := r.miner("bob")
	ask(slot, "it is not the first line")
}

func TestTenBadLinesInARow(t *testing.T) {
	r := newRig(t, nil)
	slot := r.open()
	for range 3 {
		for range 9 {
			r.send(slot, `{"id":1,"method":"x","params":[]}`)
		}
		r.send(slot, `{"id":1,"method":"mining.ping","params":[]}`) // a good line starts the count anew
	}
	if _, closed := r.closed[slot]; closed {
		t.Fatal("closed although never ten in a row were bad")
	}
	var last []string
	for range 10 {
		last = r.send(slot, `{"id":1,"method":"x","params":[]}`)
	}
	if r.closed[slot] != netserver.BadInput {
		t.Fatal("ten bad lines in a row did not close")
	}
	if got := last[len(last)-1]; got != rejectLine(20, "Too many bad messages, disconnecting", "null") {
		t.Errorf("last words %s", got)
	}
}

// Every way a submit can be wrong, with the text dashboards know.
func TestSubmitAnswers(t *testing.T) {
	for _, c := range []struct {
		params string
		code   int
		text   string
	}{
		{`{}`, 20, "Params not array"},
		{`["bob.rig1","J"]`, 20, "Invalid array size"},
		{`[5,"J","0000000000000001","T","00000000"]`, 20, "No username"},
		{`["","J","0000000000000001","T","00000000"]`, 20, "No username"},
		{`["bob.rig1",5,"0000000000000001","T","00000000"]`, 20, "No job_id"},
		{`["bob.rig1","","0000000000000001","T","00000000"]`, 20, "No job_id"},
		{`["bob.rig1","J",5,"T","00000000"]`, 20, "No nonce2"},
		{`["bob.rig1","J","zz00000000000001","T","00000000"]`, 20, "No nonce2"},
		{`["bob.rig1","J","0000000000000001",5,"00000000"]`, 20, "No ntime"},
		{`["bob.rig1","J","0000000000000001","xx","00000000"]`, 20, "No ntime"},
		{`["bob.rig1","J","0000000000000001","T",5]`, 20, "No nonce"},
		{`["bob.rig1","J","0000000000000001","T","0x"]`, 20, "No nonce"},
		{`["bob.rig1","J","0000000000000001","T","123456789"]`, 20, "No nonce"},
		{`["bob.rig1","nothex","0000000000000001","T","00000000"]`, 21, "Invalid JobID"},
		{`["bob.rig1","6b02867dffffffff","0000000000000001","T","00000000"]`, 21, "Invalid JobID"},
		{`["eve.rig1","J","0000000000000001","T","00000000"]`, 24, "Worker mismatch"},
		{`["bob.rig1","J","0000000000000001","00000001","00000000"]`, 20, "Ntime out of range"},
		{`["bob.rig1","J","0000000000000001","ffffffff","00000000"]`, 20, "Ntime out of range"},
		{`["bob.rig1","J","0000000000000001","T","00000000","00000001"]`, 20, "Invalid version mask"},
	} {
		r := newRig(t, nil)
		slot, sent := r.miner("bob.rig1")
		n := lastJob(sent)
		params := strings.NewReplacer(`"J"`, `"`+n.JobID+`"`, `"T"`, fmt.Sprintf(`"%08x"`, n.NTime)).Replace(c.params)
		r.want(slot, `{"id":101,"method":"mining.submit","params":`+params+`}`, rejectLine(c.code, c.text, "101"))
	}
	for _, length := range []string{"", "00", "00000000000001", "000000000000000001"} {
		r := newRig(t, nil)
		slot, sent := r.miner("bob.rig1")
		n := lastJob(sent)
		got := r.send(slot, fmt.Sprintf(`{"id":101,"method":"mining.submit","params":["bob.rig1","%s","%s","%08x","00000000"]}`, n.JobID, length, n.NTime))
		if len(got) != 1 || !strings.Contains(got[0], `"error":[20,`) {
			t.Errorf("extranonce2 %q: %q", length, got)
		}
	}
}

func TestSubmitBeforeAuthorize(t *testing.T) {
	r := newRig(t, nil)
	slot := r.open()
	sent := r.send(slot, `{"id":1,"method":"mining.subscribe","params":["x"]}`)
	n := lastJob(sent)
	r.want(slot, submitLine(4, "bob", &n, "00000001"), rejectLine(24, "Unauthorized worker", "4"))
	if s := r.backend.last(); s.Worker != 0 || s.Credit != 0 || s.Reason != Unauthorized {
		t.Errorf("a share without a worker is counted for worker %d, credit %v, %v", s.Worker, s.Credit, s.Reason)
	}
}

// Judgement of well-formed shares: each verdict at its place.
func TestVerdicts(t *testing.T) {
	r := newRig(t, func(s *Settings) { s.Listeners[0].StartDiff, s.Listeners[0].MinDiff = 1e-7, 1e-7 })
	slot, sent := r.miner("bob.rig1")
	n := lastJob(sent)
	good := r.solve(slot, n.JobID, 1e-7, 0)
	r.want(slot, submitLine(1, "bob.rig1", &n, good), `{"result":true,"error":null,"id":1}`)
	if s := r.backend.last(); s.Credit != 1e-7 || s.Difficulty != 1e-7 || s.Reason != Accepted {
		t.Errorf("credited %v of %v", s.Credit, s.Difficulty)
	}
	r.want(slot, submitLine(2, "bob.rig1", &n, good), rejectLine(22, "Duplicate", "2"))
	low := r.solve(slot, n.JobID, 1e-12, 1e-7)
	r.want(slot, submitLine(3, "bob.rig1", &n, low), rejectLine(23, "Above target", "3"))
	// The nonce without its leading zeros, as String(nonce, HEX) prints it.
	var padded string
	for padded == "" || padded[0] != '0' {
		padded = r.solve(slot, n.JobID, 1e-7, 0)
	}
	r.want(slot, submitLine(4, "bob.rig1", &n, strings.TrimLeft(padded, "0")), `{"result":true,"error":null,"id":4}`)

	stale := r.solve(slot, n.JobID, 1e-7, 0)
	r.backend.newTip(r.now)
	r.Step()
	r.wantMethods(r.written(slot), "notify true")
	r.want(slot, submitLine(5, "bob.rig1", &n, stale), rejectLine(21, "Stale", "5"))
	if len(r.backend.shares) != 5 {
		t.Errorf("%d submits counted, want 5", len(r.backend.shares))
	}
}

// A refused authorize may be tried again on the same connection.
func TestAuthorizeRetry(t *testing.T) {
	r := newRig(t, nil)
	slot := r.open()
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":[]}`)
	r.backend.refuse = &stratum.Reject{Code: stratum.Unauthorized, Text: "no"}
	r.want(slot, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`, rejectLine(24, "no", "2"))
	r.backend.refuse = nil
	r.want(slot, `{"id":3,"method":"login","params":["bob"]}`, `{"result":true,"error":null,"id":3}`)
	r.want(slot, `{"id":4,"method":"mining.authorize","params":["bob"]}`, `{"result":true,"error":null,"id":4}`)
	if r.backend.attached != 1 {
		t.Errorf("attached %d times", r.backend.attached)
	}
}
