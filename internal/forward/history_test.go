package forward

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
)

// epoch writes one of so many shares.
func (p *pool) epoch(shares int) {
	p.t.Helper()
	w, err := journalwriter.Open(journalwriter.Options{
		Dir: p.dir, RingDirs: []string{"/dev/shm"}, Name: "pool1", Network: "regtest", Program: "ckpool test",
		Reasons: []string{"accepted", "stale"}, Schemes: []string{"pplns", "solo"}, Loops: 1,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.w = w
	p.mine(shares)
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// An older copy of a journal is put back, and the pool goes on in epochs whose numbers the
// database has with other records: it gets each share once, whether the forwarder sees
// that or begins later.
func TestOlderCopyPutBack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		running bool
		since   []int // shares of the epochs that are written in the copy
	}{
		{"fewer", false, []int{300}},
		{"more", true, []int{2_000}},
		{"more epochs", false, []int{50, 900, 400}},
		{"more epochs while it runs", true, []int{50, 900, 400}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, d := startBroker(t), openDatabase(t)
			dir := t.TempDir()
			p := &pool{t: t, number: 1, dir: filepath.Join(dir, "journal")}
			p.epoch(500)
			if err := os.CopyFS(filepath.Join(dir, "aside"), os.DirFS(p.dir)); err != nil {
				t.Fatal(err)
			}
			p.epoch(700)
			h, err := journal.Describe(p.dir)
			if err != nil {
				t.Fatal(err)
			}
			p.id = h.Instance
			d.receive(b.url())
			log := &told{}
			_, sending := p.forward(b.url(), log)
			d.complete(p)
			if !tt.running {
				sending.stop(t)
			}
			if err := os.Rename(p.dir, filepath.Join(dir, "away")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "aside"), p.dir); err != nil {
				t.Fatal(err)
			}
			for _, n := range tt.since {
				p.epoch(n)
			}
			if !tt.running {
				p.forward(b.url(), log)
			}
			until(t, "the shares of both", func() bool { return d.stored(p).Accepted.Count >= int64(p.shares) })
			if s := d.stored(p); s.Accepted.Count != int64(p.shares) || s.Accepted.Work != p.work || s.Repeated.Count != 0 {
				t.Errorf("%d shares of difficulty %s are stored, %d twice; want %d of %s", s.Accepted.Count, s.Accepted.Work, s.Repeated.Count, p.shares, p.work)
			}
			list, _, err := d.store.Status(t.Context())
			if err != nil || len(list) != 1 || len(list[0].Gaps) != 1 || list[0].Gaps[0].Cause != "replaced" || list[0].Gaps[0].Epoch != 2 || list[0].Gaps[0].First != 701 {
				t.Errorf("%+v, %v", list, err)
			}
			for _, l := range []*told{log, d.log} {
				if !strings.Contains(l.String(), "an older copy of it was put back") {
					t.Errorf("told:\n%s", l)
				}
			}
			until(t, "a cursor at the end of the journal", func() bool {
				c, err := journal.ReadCursor(p.dir, reader)
				h, e := journal.Describe(p.dir)
				return err == nil && e == nil && c.Life == h.Life && c.Number == uint64(tt.since[len(tt.since)-1])
			})
		})
	}
}

// An older copy of a journal is put back, and then the newer one, of which the database has
// all: it gets what comes after that, and nothing twice.
func TestNewerCopyPutBack(t *testing.T) {
	b, d := startBroker(t), openDatabase(t)
	p := &pool{t: t, number: 1, dir: filepath.Join(t.TempDir(), "journal")}
	for range 3 {
		p.epoch(500)
	}
	h, err := journal.Describe(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	p.id = h.Instance
	d.receive(b.url())
	p.forward(b.url(), &told{})
	d.complete(p)
	list, err := filepath.Glob(filepath.Join(p.dir, "*.journal"))
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	for _, name := range list[1:] {
		if err := os.Rename(name, name+".away"); err != nil {
			t.Fatal(err)
		}
	}
	place := func() store.Position {
		all, _, err := d.store.Status(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0].At
	}
	until(t, "the place in the older copy", func() bool { return place().Epoch == 1 })
	for _, name := range list[1:] {
		if err := os.Rename(name+".away", name); err != nil {
			t.Fatal(err)
		}
	}
	p.epoch(500)
	until(t, "the newest epoch", func() bool { return place().Epoch == 4 })
	d.complete(p)
	if s := d.stored(p); s.Repeated.Count != 0 {
		t.Errorf("%d shares are stored twice", s.Repeated.Count)
	}
}
