package session

import (
	"strings"
	"testing"

	"github.com/ckpool/ckpool/stratum"
)

// What miners, share logs and the scripts that read them have always been told.
func TestReasons(t *testing.T) {
	seen := map[Reason]bool{}
	for _, c := range []struct {
		reason Reason
		code   stratum.Code
		text   string
		errn   int // -1: not in share logs
		name   string
	}{
		{Accepted, 0, "", 0, "accepted"},
		{UnknownJob, 21, "Invalid JobID", 1, "job not found"},
		{Stale, 21, "Stale", 2, "stale"},
		{NTimeRange, 20, "Ntime out of range", 3, "ntime out of range"},
		{Duplicate, 22, "Duplicate", 4, "duplicate"},
		{AboveTarget, 23, "Above target", 5, "above target"},
		{VersionMask, 20, "Invalid version mask", 6, "invalid version mask"},
		{Malformed, 20, "Invalid params", -1, "malformed"},
		{WorkerMismatch, 24, "Worker mismatch", -1, "worker mismatch"},
		{Unauthorized, 24, "Unauthorized worker", -1, "unauthorized worker"},
		{NotSubscribed, 25, "Not subscribed", -1, "not subscribed"},
		{Refused, 20, "Refused upstream", 7, "refused upstream"},
		{Unanswered, 20, "No answer from upstream", 8, "unanswered upstream"},
	} {
		told := c.reason.Reject()
		if (told == nil) != (c.text == "") || told != nil && *told != (stratum.Reject{Code: c.code, Text: c.text}) {
			t.Errorf("%v: miners are told %v", c.reason, told)
		}
		if errn, logged := c.reason.Logged(); errn != c.errn || logged != (c.errn >= 0) {
			t.Errorf("%v has number %d, want %d", c.reason, errn, c.errn)
		}
		if r, ok := ReasonNamed(c.name); r != c.reason || !ok || r.String() != c.name {
			t.Errorf("%q is the name of %v", c.name, r)
		}
		if of := c.reason == Refused || c.reason == Unanswered; c.reason.OfUpstream() != of {
			t.Errorf("%v is of another pool: %v", c.reason, !of)
		}
		seen[c.reason] = true
	}
	if len(seen) != Reasons {
		t.Errorf("%d reasons of %d are right", len(seen), Reasons)
	}
	if _, ok := ReasonNamed("bored"); ok {
		t.Error("a name nothing has")
	}
}

// Every submit that is refused reaches the backend with its reason, under the
// worker it is of, or the connection's first.
func TestRefusedSubmitsAreCounted(t *testing.T) {
	r := newRig(t, nil)
	slot, sent := r.miner("bob")
	r.send(slot, `{"id":3,"method":"mining.authorize","params":["alice","x"]}`)
	bob, alice := r.backend.workers["bob"], r.backend.workers["alice"]
	n := lastJob(sent)
	subscribed := r.open()
	r.subscription(subscribed, "")
	good := submitLine(9, "alice", &n, "00000001")
	for _, c := range []struct {
		slot   int
		line   string
		want   Reason
		worker WorkerID
		told   string
	}{
		{0, strings.Replace(good, `"0000000000000000"`, `"00"`, 1), Malformed, alice, "Invalid nonce2 length"},
		{0, strings.Replace(good, `"00000001"`, `"x"`, 1), Malformed, alice, "No nonce"},
		{0, `{"id":9,"method":"mining.submit","params":["alice"]}`, Malformed, bob, "Invalid array size"},
		{0, `{"id":9,"method":"mining.submit","params":{}}`, Malformed, bob, "Params not array"},
		{0, strings.Replace(good, "alice", "eve", 1), WorkerMismatch, 0, "Worker mismatch"},
		{0, strings.Replace(good, n.JobID, "ff", 1), UnknownJob, alice, "Invalid JobID"},
		{1, good, Unauthorized, 0, "Unauthorized worker"},
		{2, good, NotSubscribed, 0, "Not subscribed"},
	} {
		from := slot
		switch c.slot {
		case 1:
			from = subscribed
		case 2:
			from = r.open()
		}
		before := len(r.backend.shares)
		got := r.send(from, c.line)
		if len(got) == 0 || !strings.Contains(got[0], `,"`+c.told+`",null]`) {
			t.Errorf("%s\nanswered %q, want %s", c.line, got, c.told)
		}
		if len(r.backend.shares) != before+1 {
			t.Errorf("%s\nis not counted", c.line)
			continue
		}
		if s := r.backend.last(); s.Reason != c.want || s.Worker != c.worker || s.Credit != 0 {
			t.Errorf("%s\nis counted as %v of worker %d with credit %v, want %v of %d", c.line, s.Reason, s.Worker, s.Credit, c.want, c.worker)
		}
	}
}
