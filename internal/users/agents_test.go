package users

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/sharelog"

	"github.com/google/go-cmp/cmp"
)

func TestNormalAgent(t *testing.T) {
	for agent, want := range map[string]string{
		"cgminer/4.11.1":       "cgminer",
		"cpuminer-multi/1.3.7": "cpuminer",
		"cpuminer_gc3355 x":    "cpuminer",
		"CPUMiner-Opt-v3":      "CPUMiner",
		"LuckyMiner BM1366":    "LuckyMiner",
		"xminer-1.2.7":         "xminer",
		"stratum-ping":         "stratum-ping",
		"abc-1.":               "abc-1.",
		"A BM1366-2.0":         "A BM1366",
		"bitaxe/BM1370/v2.4":   "bitaxe",
		" /x":                  "Other",
		"":                     "Other",
		"  cgminer (x) ":       "cgminer",
		"Antminer S21/1.0":     "Antminer S21",
		"x-BM13":               "x",
		"xBM13":                "xBM13",
		"x-":                   "x-",
		"cpuminer":             "cpuminer",
		"1.2":                  "1.2",
	} {
		if got := normalAgent(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}

func TestUserAgents(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.MaxUserAgents = 3 })
	now := start
	agents := []string{"cgminer/4.12", "cgminer/4.11", "bitaxe/BM1370/v2", "NerdMiner", "zminer", ""}
	for i, agent := range agents {
		w := grant(t, h.Users, fmt.Sprintf("bob.rig%d", i)).Worker
		h.Attach(w, uint64(i+1), agent, now)
		h.Attach(w, uint64(i+1), agent, now) // twice is once
		h.Share(accepted(w, now.Add(10*time.Second), 60, float64(100+i)))
	}
	gone := grant(t, h.Users, "bob.gone").Worker
	h.Attach(gone, 99, "gone/1", now)
	h.Detach(gone, 99, "gone/1")
	h.Detach(gone, 99, "gone/1")
	if err := h.Save(now.Add(11*time.Second), Sessions{}); err != nil {
		t.Fatal(err)
	}
	var each difficulty.Average
	each.Decay(60, 10, 300)
	rate := hashrate(each)
	got, err := sharelog.ReadPoolStatus(h.poolFile())
	if err != nil {
		t.Fatal(err)
	}
	round := func(v float64) float64 {
		v, _ = difficulty.ParseSI(difficulty.FormatSI(v))
		return v
	}
	want := []sharelog.AgentStatus{
		{Agent: "cgminer", Devices: 2, Hashrate5m: round(2 * rate), BestShare: 101},
		{Agent: "NerdMiner", Devices: 1, Hashrate5m: round(rate), BestShare: 103},
		{Agent: "bitaxe", Devices: 1, Hashrate5m: round(rate), BestShare: 102},
	}
	if diff := cmp.Diff(want, got.UserAgents); diff != "" {
		t.Error(diff)
	}
	if got.Users != 1 || got.Workers != int64(len(agents)) {
		t.Errorf("%d users, %d workers", got.Users, got.Workers)
	}
}

// Several miners under one worker name.
func TestConnections(t *testing.T) {
	h := newHarness(t, nil)
	id := grant(t, h.Users, "bob.rig").Worker
	for range 4 { // one for each Detach
		grant(t, h.Users, "bob.rig")
	}
	w := h.directory.table.get(id)
	expect := func(count int, started stamp, agent, kind string) {
		t.Helper()
		c := &w.connected
		if c.count() != count || c.started() != started || c.agentName() != agent || c.kind() != kind {
			t.Errorf("%d since %v, %q, %q; want %d since %v, %q, %q", c.count(), c.started(), c.agentName(), c.kind(), count, started, agent, kind)
		}
		if h.workers.Load() != int64(count) || h.active.Load() != int64(min(count, 1)) {
			t.Errorf("%d workers, %d users", h.workers.Load(), h.active.Load())
		}
	}
	expect(0, never, "", "Other")
	h.Attach(id, 1, "cgminer/4.12.1", start.Add(10))
	expect(1, 10, "cgminer/4.12.1", "cgminer")
	h.Attach(id, 2, "cgminer/4.11", start.Add(20))
	expect(2, 10, "Other", "cgminer")
	h.Attach(id, 3, "bitaxe/x", start.Add(30))
	expect(3, 10, "Other", "Other")
	h.Detach(id, 1, "")
	expect(2, 20, "Other", "Other")
	h.Detach(id, 2, "")
	expect(1, 30, "bitaxe/x", "bitaxe")
	h.Detach(id, 7, "")
	expect(1, 30, "bitaxe/x", "bitaxe")
	h.Detach(id, 3, "")
	expect(0, never, "bitaxe/x", "bitaxe")
	if n := len(h.agents.devices); n != 0 {
		t.Errorf("%d user agents left", n)
	}
	h.Attach(id, 4, "cgminer/5", start.Add(40))
	expect(1, 40, "cgminer/5", "cgminer")
	h.Attach(0, 4, "x", start)
	h.Detach(4242, 4, "x")
	expect(1, 40, "cgminer/5", "cgminer")
}

func FuzzNormalAgent(f *testing.F) {
	for _, agent := range []string{"cgminer/4.12.1", "LuckyMiner BM1366", "cpuminer_gc3355 x", "xminer-1.2.7", "\xff-1"} {
		f.Add(agent)
	}
	f.Fuzz(func(t *testing.T, agent string) {
		kind := normalAgent(agent)
		if kind == "" || len(kind) > max(len(agent), len(otherAgent)) || strings.ContainsAny(kind, "/(") {
			t.Fatalf("%q is %q", agent, kind)
		}
	})
}
