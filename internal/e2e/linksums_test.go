package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum/client"
)

// weak is a share of a job that is above its target.
func (h *hand) weak(j client.Notify) solution {
	h.t.Helper()
	for {
		if s := h.solve(j, difficulty.TargetFromDifficulty(1e-10)); s.achieved < j.Difficulty {
			return s
		}
	}
}

// refusedInAllWays has a miner submit shares that are refused, each for another reason, and
// returns the answers. news makes a new block.
func (h *hand) refusedInAllWays(news func() string) (answers []string) {
	h.t.Helper()
	submit := func(s solution) {
		h.t.Helper()
		answers = append(answers, fmt.Sprint(h.submit(s)))
	}
	j := h.job()
	good := h.solve(j, targetOf(j))
	submit(good)
	submit(good)
	submit(good)
	for range 3 {
		submit(h.weak(j))
	}
	for _, bad := range []func(*solution){
		func(s *solution) { s.Extranonce2 = s.Extranonce2[1:] },
		func(s *solution) { s.job.JobID = "no job" },
		func(s *solution) { s.job.JobID = "00000000000000ff" },
		func(s *solution) { s.NTime -= 1 << 20 },
		func(s *solution) { s.HasVersionBits, s.VersionBits = true, 1 },
	} {
		s := h.weak(j)
		bad(&s)
		submit(s)
	}
	late := h.solve(j, targetOf(j))
	h.jobOn(patience, news())
	submit(late)
	submit(good)
	return answers
}

// rejects are those of a worker by reason, as the pool has counted them.
func (r *running) rejects(worker string) map[string]int64 {
	r.t.Helper()
	for _, w := range ask[struct{ Workers []control.Worker }](r, "workers").Workers {
		if w.Worker == worker {
			counts := map[string]int64{}
			for _, c := range w.Rejects {
				counts[c.Name] = c.Count
			}
			return counts
		}
	}
	return nil
}

// Shares that an edge refuses itself are answered and counted as the pool would: by worker
// and by reason, in the journal with job and difficulty.
func TestEdgeRefuses(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"journal": "journal"}}
	p := s.start(t)
	way := startWay(t, p.addr)
	edges := map[string]*edge{
		"c":     startEdge(t, 0, relay.EdgeOptions{}, p.addr),
		"short": startEdge(t, poolproto.Dialect, relay.EdgeOptions{}, way.addr),
	}
	want := connectTo(t, client.Endpoint{URL: p.addr, User: "bob.direct", Password: "x"}, client.Options{VersionMask: 0xffffffff}).refusedInAllWays(n.NewBlock)
	counts := p.rejects("bob.direct")
	if len(counts) != 7 || counts["above target"] != 3 || counts["duplicate"] != 2 {
		t.Fatalf("%v, %v", counts, want)
	}
	for name, e := range edges {
		worker := "bob." + name
		h := e.connect(t, worker)
		if got := h.refusedInAllWays(n.NewBlock); !slices.Equal(got, want) {
			t.Errorf("%s: answers\n%q\nwant\n%q", name, got, want)
		}
		eventually(t, patience, name+" is counted", func() bool { return maps.Equal(p.rejects(worker), counts) })
	}
	eventually(t, patience, "the pool has said that it counted", func() bool { return strings.Contains(way.text(), "\ns ") })
	if heard := way.text(); strings.Contains(heard, "Above target") || strings.Contains(heard, "Duplicate") || strings.Contains(heard, "nonce2") {
		t.Errorf("the pool has refused what the edge should:\n%s", heard)
	}
	pool := ask[struct{ Rejects map[string]int64 }](p, "rejects").Rejects
	if pool["above target"] != 9 || pool["stale"] != 3*counts["stale"] {
		t.Errorf("the pool counts %v", pool)
	}
	p.stop()
	told := map[string][]string{}
	p.records(func(k *journal.Record) {
		if k.Kind == journal.KindShare && k.Reason != "accepted" {
			told[k.Miner.Worker] = append(told[k.Miner.Worker], fmt.Sprintf("%s %t %g", k.Reason, k.Share.Job != 0, k.Share.Difficulty))
		}
	})
	for _, list := range told {
		slices.Sort(list)
	}
	for worker, list := range told {
		if diff := cmp.Diff(told["bob.direct"], list); diff != "" {
			t.Errorf("%s in the journal:\n%s", worker, diff)
		}
	}
	if len(told) != 3 {
		t.Errorf("%v", told)
	}
}

// What was refused at an edge counts once, whatever becomes of the link and the pool.
func TestEdgeRefusesOnce(t *testing.T) {
	t.Parallel()
	_, s, p, _ := startRare(t, "alice")
	way := startWay(t, p.addr)
	e := startEdge(t, poolproto.Dialect, relay.EdgeOptions{Patience: patience}, way.addr)
	h := e.connect(t, "bob.rig")
	h.share() // who has none is forgotten when he leaves
	refused := int64(0)
	weak := func(n int) {
		for range n {
			if reject := h.submit(h.weak(h.job())); reject == nil || reject.Text != "Above target" {
				t.Errorf("answered %v", reject)
			}
			refused++
		}
	}
	counted := func(what string) {
		t.Helper()
		eventually(t, patience, what, func() bool { return p.rejects("bob.rig")["above target"] == refused })
	}
	weak(3)
	counted("reports")
	for range 3 {
		weak(2)
		way.cut()
		h.share()
		weak(1)
		counted("a link that was cut")
	}
	weak(2)
	p = p.upgrade(s)
	weak(2)
	counted("an upgrade of the pool")
	h.connected()
	weak(4)
	h.client.Close()
	counted("a miner that leaves")
	p.gone("bob.rig")
	counted("a miner that has left")
}
