package users

import (
	"strings"
	"testing"
	"time"
)

func TestEndRound(t *testing.T) {
	h := newHarness(t, nil)
	w := grant(t, h.Users, "bob.rig1").Worker
	h.SetNetworkDifficulty(1000)
	h.Share(accepted(w, start.Add(10*time.Second), 420, 500))
	h.found("")
	now := start.Add(20 * time.Second)
	headline, shown := h.EndRound(850000, "bob.rig1", 312500000, now)
	if want := "Block 850000 solved by bob.rig1 @ ckpool!"; shown != want {
		t.Errorf("miners are shown %q", shown)
	}
	// 1 - exp(-0.42)
	if want := "BLOCK 850,000 FOUND by bob.rig1: 3.125 BTC, odds 34%"; headline != want {
		t.Errorf("the operator is told %q", headline)
	}
	events := h.found("")
	if len(events) != 4 || events[0] != "5 Solved and confirmed block 850000 by bob.rig1" ||
		!strings.HasPrefix(events[1], `5 User bob:{"hashrate1m": "`) || !strings.HasSuffix(events[1], `"shares": 420, "authorised": 1795327613}`) ||
		!strings.HasPrefix(events[2], `5 Worker bob.rig1:{"hashrate1m": "`) || strings.Contains(events[2], "shares") ||
		events[3] != "5 Block solved after 420 shares at 42.0% diff" {
		t.Errorf("logged: %s", strings.Join(events, "\n"))
	}
	if st := h.Status(now, Sessions{}); st.Accepted != 0 {
		t.Errorf("round not reset: %+v", st)
	}
	headline, shown = h.EndRound(850001, "", 0, now)
	if shown != "Block solved by ckpool!" || headline != "BLOCK 850,001 FOUND" {
		t.Errorf("of an unknown worker: %q, %q", shown, headline)
	}
}
