package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
)

// logged is a rig whose lines about miners, each behind its level, are kept.
func logged(t *testing.T, level event.Level, change func(*Settings)) (*rig, *[]string) {
	r := newRig(t, change)
	lines := new([]string)
	r.group.Log = NewLog(
		func(l event.Level) bool { return l <= level },
		func(e event.Event) { *lines = append(*lines, fmt.Sprintf("%d %s", e.Level, e.Text)) })
	return r, lines
}

// What an operator asks of a miner is in the log: who it is, how it did, why it
// is gone.
func TestLogTellsOfMiners(t *testing.T) {
	all := []string{
		`5 Authorised client 1 198.51.100.7 worker bob.rig1 as user bob, difficulty 1e-09, "cgminer/4.12.1"`,
		`7 Accepted client 1 198.51.100.7 worker bob.rig1 share diff D/1e-09 credited 1e-09`,
		`6 Rejected client 1 198.51.100.7 worker bob.rig1 share diff D/1e-09: Duplicate (22)`,
		`6 Rejected client 1 198.51.100.7 worker bob.rig1 share diff 0/0: Invalid array size (20)`,
		`6 Client 1 198.51.100.7 worker bob.rig1 difficulty changed from 1e-09 to 1e-06`,
		`5 Client 2 198.51.100.7 worker foo.1 failed to authorise as user foo: no such user`,
		`5 Client 2 198.51.100.7 refused as mining.passthrough: links between pools are not accepted here`,
		`6 Dropped workerless client 2 198.51.100.7: not authorised in time after 1m1s`,
		`5 Dropped client 1 198.51.100.7 user bob worker bob.rig1: closed by peer after 1m1s, 1 shares, 2 rejected`,
	}
	for level := event.Warning; level <= event.Debug; level++ {
		r, lines := logged(t, level, nil)
		slot, sent := r.miner("bob.rig1")
		job := lastJob(sent)
		nonce := r.solve(slot, job.JobID, 1e-9, 0)
		r.send(slot, submitLine(3, "bob.rig1", &job, nonce))
		r.send(slot, submitLine(3, "bob.rig1", &job, nonce))
		r.send(slot, `{"id":3,"method":"mining.submit","params":["bob.rig1"]}`)
		r.send(slot, `{"id":4,"method":"mining.suggest_difficulty","params":[0.000001]}`)
		stranger := r.open()
		no := stratum.Reject{Code: stratum.Other}
		no.Text = "no such user"
		r.backend.refuse = &no
		r.send(stranger, `{"id":1,"method":"mining.authorize","params":["foo.1","x"]}`)
		r.send(stranger, `{"id":1,"method":"mining.passthrough","params":[]}`)
		r.now = r.now.Add(61 * time.Second)
		r.Tick(r.now)
		for _, s := range []netserver.Slot{stranger, slot} {
			why, closed := r.closed[s]
			if !closed {
				why = netserver.PeerClosed
			}
			r.Closed(s, why)
		}
		var want []string
		for _, l := range all {
			if event.Level(l[0]-'0') <= level {
				want = append(want, l)
			}
		}
		for i, l := range *lines {
			if a, b, ok := strings.Cut(l, "share diff "); ok && !strings.HasPrefix(b, "0/") {
				_, b, _ = strings.Cut(b, "/")
				(*lines)[i] = a + "share diff D/" + b
			}
		}
		if !slices.Equal(*lines, want) {
			t.Errorf("level %d:\n got %s\nwant %s", level, strings.Join(*lines, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

// A storm is a few lines and its number.
func TestLogSumsUpStorms(t *testing.T) {
	r, lines := logged(t, 7, nil)
	no := stratum.Reject{Code: stratum.Other}
	no.Text = "no such user"
	r.backend.refuse = &no
	slot := r.open()
	storm := func(n int) {
		for range n {
			r.send(slot, `{"id":1,"method":"mining.authorize","params":["foo","x"]}`)
		}
	}
	storm(10_000)
	r.group.Log.Sum(r.now, false)
	if len(*lines) != 50 {
		t.Fatalf("%d lines", len(*lines))
	}
	// The storm goes on: windows begin anew, what was withheld is told all the same.
	for range 12 {
		r.now = r.now.Add(6 * time.Second)
		storm(100)
		r.group.Log.Sum(r.now, false)
	}
	sum := slices.DeleteFunc(slices.Clone(*lines), func(l string) bool { return !strings.HasSuffix(l, " more") })
	if want := []string{"5 Clients that failed to authorise: 10,900 more"}; !slices.Equal(sum, want) {
		t.Errorf("summed up as %q, want %q", sum, want)
	}
	if n := len(*lines) - len(sum); n != 100 {
		t.Errorf("%d lines of two windows", n)
	}
	r.group.Log.Sum(r.now, true)
	if last := (*lines)[len(*lines)-1]; last != "5 Clients that failed to authorise: 200 more" {
		t.Errorf("at the end: %q", last)
	}
	was := len(*lines)
	r.group.Log.Sum(r.now, true)
	if len(*lines) != was {
		t.Error("told twice")
	}
}

// A stranger's name is one word of bounded length, whatever is in it: it makes
// no line and no field of its own.
func TestLogOfForgedNames(t *testing.T) {
	for name, want := range map[string]string{
		`bob rig`: "bob%20rig",
		"bob\n[2026-01-31 12:00:00.000] Dropped client 1": "bob%0A[2026-01-31%2012:00:00.000]%20Dropped%20client%201",
		"\x1b[2J":   "%1B[2J",
		"bob\u202e": "bob%E2%80%AE",
		"bob\u2028": "bob%E2%80%A8",
		"müller":    "müller",
		"100%":      "100%25",
		"\xff":      "%FF",
		"":          "-",
	} {
		if got := word(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	r, lines := logged(t, 7, nil)
	no := stratum.Reject{Code: stratum.Other}
	no.Text = strings.Repeat("y", 8000)
	r.backend.refuse = &no
	r.set().UserAgents = []string{"good"}
	slot := r.open()
	r.send(slot, `{"id":1,"method":"mining.subscribe","params":["`+strings.Repeat(`\u001b\nx`, 400)+`"]}`)
	r.send(slot, `{"id":1,"method":"mining.authorize","params":["`+strings.Repeat(`\u0007\n `, 400)+`","x"]}`)
	if len(*lines) != 2 {
		t.Fatalf("%q", *lines)
	}
	for _, l := range *lines {
		if strings.ContainsAny(l, "\n\x1b\x07") || len(l) > 1000 {
			t.Errorf("a line of %d bytes: %q", len(l), l)
		}
	}
}

func (r *rig) set() *Settings { return r.backend.set }
