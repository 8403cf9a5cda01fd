package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/work"
)

// What the parts of a pool tell, and what the notifier finds when it looks at them, gets to
// targets: here to their files, since nobody answers.
func TestNotifies(t *testing.T) {
	dir := t.TempDir()
	text := fmt.Appendf(nil, `{"proxy": [{"url": "127.0.0.1:1", "auth": "farm"}], "logdir": %q, "serverurl": ["127.0.0.1:3333"], "notify": [
		{"type": "ntfy", "url": "http://127.0.0.1:1/x", "name": "ops"},
		{"type": "ntfy", "url": "http://127.0.0.1:1/y", "name": "alice", "user": "alice"}]}`, dir)
	c, _, err := config.Parse("ckproxy.conf", text, config.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p, err := New(c, Options{Proxy: true, Wants: func(event.Level) bool { return false }, Events: func(event.Event) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { p.notifier.Run(ctx) })
		synctest.Wait()
		now := time.Now()
		p.users.With("alice.1", now, func(id session.WorkerID) {
			p.users.Share(&session.Share{Time: now, Worker: id, Credit: 1, Difficulty: 1, Computed: work.Share{Difficulty: 5000}})
		})
		time.Sleep(2 * time.Minute)
		view := p.notifierView(&c)
		list := view.Workers(time.Now(), "alice")
		if len(list) != 1 || list[0].Worker != "alice.1" || list[0].AcceptedShares != 1 || len(view.Workers(time.Now(), "bob")) != 0 || len(view.Workers(time.Now(), "")) != 1 {
			t.Errorf("workers of alice: %+v", list)
		}
		stop()
		running.Wait()
		waits := func(target, title string) bool {
			files, _ := filepath.Glob(filepath.Join(dir, "notify", target, "*.json"))
			for _, name := range files {
				if data, _ := os.ReadFile(name); strings.Contains(string(data), title) {
					return true
				}
			}
			return false
		}
		if !waits("ops", "Work is stale") || !waits("ops", " is down") || !waits("alice", "Best share ever of") || waits("ops", "Best share") || waits("alice", "is down") {
			t.Error("not told")
		}
		next := c
		next.Notify = c.Notify[:1]
		if m, err := p.Apply(t.Context(), next); err != nil || strings.Join(m.Changed, " ") != "notify" {
			t.Errorf("reload: %v, %v", m.Changed, err)
		}
	})
}

// Workers of a pool are connected here or nowhere, unless there is a trusted remote: where
// there may be some, but is none, who is not connected is down.
func TestNobodyElsewhere(t *testing.T) {
	p := newPool(t, "127.0.0.1:1")
	elsewhere := p.notifierView(p.config.Load()).Elsewhere
	if elsewhere() {
		t.Error("without a trusted remote workers may be connected to one")
	}
	r := new(relay.RemoteLink)
	p.collector.Joined(r)
	if !elsewhere() {
		t.Error("workers cannot be connected to the trusted remote that is linked")
	}
	p.collector.Left(r)
	if elsewhere() {
		t.Error("workers may be connected to a remote that is gone and has left nothing")
	}
}

// That shares should be kept and are not is told, such as after an upgrade that failed, while
// the other process still has the journal; before there is a network nothing is wrong.
func TestJournalNotKeptIsSeen(t *testing.T) {
	p := newPool(t, "127.0.0.1:1")
	p.options.Journal = true
	j, _, _ := kept(t)
	p.journal = j
	look := p.notifierView(p.config.Load()).Journal
	want := func(when string, kept, wrong bool) {
		t.Helper()
		if seen := look(); seen.Kept != kept || (seen.Error != "") != wrong {
			t.Errorf("%s: %+v", when, seen)
		}
	}
	want("open", true, false)
	if err := j.pass(); err != nil {
		t.Fatal(err)
	}
	want("another process's", false, false)
	j.mu.Lock()
	j.ours = true // as after begin, which has not got it
	j.mu.Unlock()
	want("not open", true, true)
	j.mu.Lock()
	j.network = ""
	j.mu.Unlock()
	want("without a network", false, false)
	if err := j.setNetwork("regtest"); err != nil {
		t.Fatal(err)
	}
	want("open again", true, false)
}
