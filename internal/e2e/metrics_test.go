package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// scrape is what a pool's metrics are at an address, by series.
func scrape(t *testing.T, address string) map[string]string {
	t.Helper()
	series := map[string]string{}
	eventually(t, patience, "scraped", func() bool {
		r, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", r.Status, err)
		}
		clear(series)
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && strings.HasPrefix(line, "ckpool_") {
				series[name+"}"] = v
			} else if name, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(line, "ckpool_") {
				series[name] = v
			}
		}
		return true
	})
	return series
}

// However many mine, and under whatever names, the series are the same ones. They have
// what the control commands say, and go on over an upgrade.
func TestMetrics(t *testing.T) {
	t.Parallel()
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + free
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: rareBlocks})
	s := setup{nodes: []keys{fakeEntry(n)}, keys: keys{"metrics": address}}
	p := s.start(t)
	h := p.connect(t, "alice.rig1")
	j := h.job()
	if r := h.submit(h.solve(j, targetOf(j))); r != nil {
		t.Fatal(r)
	}
	few := scrape(t, address)
	const many = 300
	for i := range many {
		p.connect(t, fmt.Sprintf("user%d.rig<%d>", i, i))
	}
	h.jobOn(patience, n.NewBlock())
	if r := h.submit(h.solve(j, targetOf(j))); r == nil {
		t.Fatal("a share on the tip before is accepted")
	}
	var crowd map[string]string
	eventually(t, patience, "told of the new block", func() bool {
		crowd = scrape(t, address)
		return crowd[fmt.Sprintf("ckpool_listener_miners{listener=%q}", p.config.Servers[0].URL)] == "301" && crowd["ckpool_notify_latency_seconds_count"] >= "301" && len(crowd["ckpool_notify_latency_seconds_count"]) == 3
	})
	for name := range crowd {
		if _, ok := few[name]; !ok {
			t.Errorf("with many miners there is %s", name)
		}
		if strings.Contains(name, "user1") || strings.Contains(name, "alice") || strings.Contains(name, "rig") {
			t.Errorf("somebody is named: %s", name)
		}
	}
	if len(crowd) != len(few) || len(few) < 80 {
		t.Errorf("%d series of one miner, %d of many", len(few), len(crowd))
	}
	st := ask[poolStats](p, "poolstats")
	for name, want := range map[string]string{
		"ckpool_miners": "301", "ckpool_users": "301", "ckpool_connections": "301", "ckpool_work_usable": "1",
		`ckpool_shares_total{reason="",verdict="accepted"}`:      fmt.Sprint(st.Accepted),
		`ckpool_shares_total{reason="stale",verdict="rejected"}`: "1",
		"ckpool_share_latency_seconds_count":                     "2",
	} {
		if crowd[name] != want {
			t.Errorf("%s is %s, want %s", name, crowd[name], want)
		}
	}
	p.upgrade(s)
	after := scrape(t, address)
	for _, name := range []string{"ckpool_miners", `ckpool_shares_total{reason="",verdict="accepted"}`, `ckpool_shares_total{reason="stale",verdict="rejected"}`, "ckpool_connections_accepted_total"} {
		if after[name] != crowd[name] {
			t.Errorf("after the upgrade %s is %s, before %s", name, after[name], crowd[name])
		}
	}
}
