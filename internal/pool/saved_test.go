package pool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/sharelog"
)

// Blocks that an instance has saved as a pool wait where it runs as a proxy, and the start
// says so; without any it says nothing.
func TestProxyTellsOfSavedBlocks(t *testing.T) {
	for _, saved := range []string{"", "1000-ab.block"} {
		c := config.Default(config.Proxy)
		c.LogDir = t.TempDir()
		c.Proxies = []config.Upstream{{URL: "127.0.0.1:1", User: "farm", Pass: "x"}}
		dir := filepath.Join(c.LogDir, "pool", "blocks")
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{saved, "999-cd.rejected"} {
			if name == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte("00\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var said []string
		p, err := New(c, Options{Proxy: true, Name: "ckproxy", SockDir: t.TempDir(), Events: func(e event.Event) { said = append(said, e.Text) }, Wants: func(event.Level) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		told := strings.Contains(strings.Join(said, "\n"), "Blocks of a run as a pool that wait in "+dir+": 1. ")
		if told != (saved != "") {
			t.Errorf("%q is saved, said: %q", saved, said)
		}
	}
}

// A pool that is killed after a block has statistics of the round before in its file. That
// round does not go on, or the next block would have the work of two.
func TestRoundBeforeABlockIsOver(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	written := now.Add(-time.Hour)
	for name, c := range map[string]struct {
		state string
		found time.Time
		want  float64
	}{
		"before the file":      {"confirmed 3", written.Add(-time.Second), 1000},
		"after it":             {"confirmed 3", written.Add(30 * time.Second), 0},
		"not in the chain":     {"pending", written.Add(30 * time.Second), 1000},
		"by a clock in future": {"confirmed 3", now.Add(time.Hour), 1000},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "pool"), 0o750); err != nil {
				t.Fatal(err)
			}
			st := sharelog.PoolStatus{LastUpdate: written, Accepted: 1000, AcceptedCount: 10, BestShare: 500}
			if err := st.Write(filepath.Join(dir, "pool", "pool.status")); err != nil {
				t.Fatal(err)
			}
			block := fmt.Sprintf(`[{"height": 850000, "hash": "%064x", "worker": "bob", "difficulty": 1e12, "reward": 312500000, "time": %d, "state": %q}]`, 1, c.found.Unix(), c.state)
			if err := os.WriteFile(filepath.Join(dir, "pool", "blocks.json"), []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			p := newPoolIn(t, dir, "127.0.0.1:1")
			if got := p.Users().RoundWork(); got != c.want {
				t.Errorf("the round has work %g, want %g", got, c.want)
			}
			if best := p.Users().Status(now, users.Sessions{}).BestShare; (best > 0) != (c.want > 0) {
				t.Errorf("its best share is %g", best)
			}
		})
	}
}
