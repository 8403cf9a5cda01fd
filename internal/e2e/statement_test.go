package e2e

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/journal"
)

// databases are empty ones of each kind.
var databases = map[string]func(t *testing.T) string{
	"sqlite":   func(t *testing.T) string { return "sqlite:" + t.TempDir() },
	"postgres": func(t *testing.T) string { return postgres.Database(t) },
}

// statements are the sums of each user, from a database that the pool's journal was
// stored in. The pool has ended.
func (r *running) statements(t *testing.T, where string) map[string]store.Sum {
	t.Helper()
	s, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	f := &accounting.Follower{Dir: filepath.Join(r.config.LogDir, "journal"), Reader: t.Name(), Store: s, Events: func(e event.Event) { t.Log(e.Text) }}
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	eventually(t, patience, "the journal in the database", func() bool {
		p := f.Progress()
		b, err := journal.Behind(f.Dir, p.Position)
		return p.Instance != "" && err == nil && b.Records == 0
	})
	cancel()
	if err := <-ended; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	if differences, err := s.Check(t.Context(), nil); err != nil || len(differences) > 0 {
		t.Errorf("%q, %v", differences, err)
	}
	rows, err := s.Sums(t.Context(), store.Query{By: store.ByAccount})
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]store.Sum{}
	for _, row := range rows {
		users[row.Account] = row.Sum
	}
	return users
}

// Of a proxy with a journal, the statements of its users add up to the book of the pool
// above, exactly, and to what miners were told.
func TestStatements(t *testing.T) {
	t.Parallel()
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff})
	kept := keys{"mindiff": farmAbove, "startdiff": farmAbove, "maxdiff": farmAbove, "journal": "journal"}
	m := setup{nodes: []keys{fakeEntry(n)}, keys: kept}.start(t)
	p := m.before(t, keys{"mindiff": farmHere, "startdiff": farmHere, "maxdiff": farmHere, "journal": "journal"})
	miners := p.mine(t, farmHashRate, farmUsers()[:40]...)
	for range 3 {
		before := ask[exactStats](m, "poolstats").AcceptedCount
		eventually(t, 2*patience, "shares above", func() bool { return ask[exactStats](m, "poolstats").AcceptedCount >= before+30 })
		n.NewBlock()
	}
	miners.stop()
	miners.undisturbed()
	eventually(t, patience, "all verdicts", func() bool { return p.upstreams()[0].Waiting == 0 })
	p.stop()
	m.stop()
	h := miners.harvest()
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			book := m.statements(t, database(t))["farm"]
			var all store.Sum
			users := p.statements(t, database(t))
			for _, sum := range users {
				all.Add(&sum)
			}
			if all.AcceptedAbove != book.Accepted || all.RefusedAbove.Count != book.Rejected().Count || book.Accepted.Count != int64(h.above) || len(users) != 7 {
				t.Errorf("of %d users %+v was accepted and %+v refused above, where %+v and %+v are in the book; %+v", len(users), all.AcceptedAbove, all.RefusedAbove, book.Accepted, book.Rejected(), h)
			}
			if all.Accepted.Count != int64(h.here+h.above) || all.Rejected().Count != int64(h.refused+h.stale) || all.Unanswered.Count != 0 {
				t.Errorf("%+v, miners were told %+v", all, h)
			}
			if sent := all.Sent(); sent.Count != all.AcceptedAbove.Count+all.RefusedAbove.Count || sent.Count >= all.Accepted.Count {
				t.Errorf("%+v went up of %+v", sent, all.Accepted)
			}
			if book.Sent().Count != 0 {
				t.Errorf("%+v went up from a pool with nodes", book.Sent())
			}
		})
	}
}

// Each verdict of a pool is in the statement of the one whose share it was, with the
// difficulty that it was sent with, and in the journal in the pool's words.
func TestVerdictsInStatement(t *testing.T) {
	t.Parallel()
	const here = aboveDifficulty / 4
	above := otherPool(t, 0xaa, otherpool.Config{RejectEvery: 3})
	p := proxyOf(keys{"mindiff": here, "startdiff": here, "maxdiff": here, "journal": "journal"}, above.Addr).start(t)
	p.works(t)
	alice, bob := p.connect(t, "alice.rig"), p.connect(t, "bob.rig")
	// find finds a share that goes up, or one that does not.
	find := func(h *hand, up bool) (s solution) {
		for s = h.solve(h.job(), difficulty.TargetFromDifficulty(here)); (s.achieved >= aboveDifficulty) != up; {
			s = h.solve(h.job(), difficulty.TargetFromDifficulty(here))
		}
		return s
	}
	for i := range 3 { // every third is refused
		if r := alice.submit(find(alice, true)); (r != nil) != (i == 2) {
			t.Errorf("share %d: %v", i, r)
		}
	}
	for range 2 {
		if r := bob.submit(find(bob, false)); r != nil {
			t.Error(r)
		}
	}
	above.Silence(true)
	answered := make(chan string)
	s := find(bob, true)
	go func() { answered <- fmt.Sprint(bob.submit(s)) }()
	eventually(t, patience, "the share above", func() bool { return p.upstreams()[0].Waiting == 1 })
	above.Down(net.ErrClosed)
	if text := <-answered; text != "No answer from upstream (20)" {
		t.Error(text)
	}
	p.stop()

	class := func(count int64, of float64) (c store.Class) {
		c.Count = count
		for range count {
			c.Work = c.Work.Add(difficulty.ExactOf(of))
		}
		return c
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			users := p.statements(t, database(t))
			a, b := users["alice"], users["bob"]
			if a.Accepted != class(2, here) || a.Other != class(1, here) || a.AcceptedAbove != class(2, aboveDifficulty) || a.RefusedAbove != class(1, aboveDifficulty) || a.Unanswered.Count != 0 {
				t.Errorf("%+v", a)
			}
			if b.Accepted != class(2, here) || b.Other != class(1, here) || b.AcceptedAbove.Count+b.RefusedAbove.Count != 0 || b.Unanswered != class(1, aboveDifficulty) {
				t.Errorf("%+v", b)
			}
		})
	}
	verdicts := map[string]int{}
	p.records(func(k *journal.Record) {
		if s := &k.Share; k.Kind == journal.KindShare && s.Above != journal.NotSent {
			verdicts[fmt.Sprint(s.Above, " ", string(s.AboveText), " ", k.Here, " ", k.Reason)]++
		}
	})
	if len(verdicts) != 3 || verdicts["accepted  accepted accepted"] != 2 || verdicts["refused Made up accepted refused upstream"] != 1 || verdicts["unanswered  accepted unanswered upstream"] != 1 {
		t.Errorf("%v", verdicts)
	}
}
