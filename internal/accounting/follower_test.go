package accounting

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/source"
)

// A record of every kind is in its place afterwards.
func TestKinds(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		p.options.RingSize = 4 << 10
		hash := [32]byte{7, 31: 9}
		p.write(func() {
			m := &journal.Miner{User: "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt", Worker: "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt.rig", Agent: "bitaxe"}
			p.w.Connect(0, &journal.Connect{Time: began + 1, Client: 7}, m)
			p.w.Worker(0, &journal.Worker{Time: began + 2, Client: 7}, m)
			p.w.Difficulty(0, &journal.Difficulty{Time: began + 3, Client: 7, Job: 1, Difficulty: 42}, m)
			sh, _ := p.share(3)
			sh.Scheme = 1
			p.w.Share(0, sh, m)
			p.w.Leave(0, &journal.Leave{Time: began + 9, Client: 7, Why: "idle"}, m)
			p.w.Flush(0)
			p.w.Block(&journal.Block{Time: began + 20, Job: 1, Height: 850_000, Hash: hash, NetworkDifficulty: 0.5, Reward: 312_500_000, State: source.BlockPending},
				&journal.Miner{User: m.User, Worker: m.Worker})
			p.w.Block(&journal.Block{Time: began + 30, Height: 850_000, Hash: hash, Reward: 312_500_000, State: "orphaned", Text: "by node 2"}, &journal.Miner{User: m.User, Worker: m.Worker})
			p.w.Statistics(&journal.Statistics{Time: began + 40, PoolStatus: sharelog.PoolStatus{Users: 3, Workers: 4, Hashrate: [7]float64{1 << 32, 2 << 32, 0, 3 << 32, 0, 4 << 32, 0}}})
			p.tell(50_000) // for which there is no room
		})
		f := follow(t, s, p.options.Dir)
		f.behind()
		f.stop()

		st := status(t, s)
		if len(st.Gaps) != 1 || st.Gaps[0].Cause != "lost" || st.Name != "ckpool" || st.Network != "regtest" {
			t.Errorf("%+v", st)
		}
		workers, err := s.Sums(t.Context(), store.Query{By: store.ByWorker, Account: "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"})
		if err != nil || len(workers) != 1 || workers[0].Kind != store.Address || workers[0].Name != "rig" || workers[0].Accepted.Count != 1 || workers[0].Accepted.Work.String() != "1024" {
			t.Fatalf("%+v, %v", workers, err)
		}
		if workers[0].Seen < began+9 {
			t.Errorf("seen at %d", workers[0].Seen)
		}
		blocks, err := s.Blocks(t.Context(), 0)
		if err != nil || len(blocks) != 1 || blocks[0].State != "orphaned" || blocks[0].Note != "by node 2" || blocks[0].Finder.Name != "rig" || blocks[0].Hash != hash || blocks[0].Found != began+20 {
			t.Errorf("%+v, %v", blocks, err)
		}
		job, err := s.StoredJob(t.Context(), st.ID, 1)
		if err != nil || job.Height != 850_000 || job.Reward != 312_500_000 || len(job.Record) == 0 {
			t.Errorf("%+v, %v", job, err)
		}
		minutes, err := s.Minutes(t.Context(), st.ID, 0)
		if err != nil || len(minutes) != 1 || minutes[0].Users != 3 || minutes[0].Rate1m.String() != "1" || minutes[0].Rate5m.String() != "2" ||
			minutes[0].Rate1h.String() != "3" || minutes[0].Rate24h.String() != "4" {
			t.Errorf("%+v, %v", minutes, err)
		}
	})
}

// 39: sums are equal after restarts at any moment, without the cursor's file, from a
// copy of the journal elsewhere, and where another instance tells the same shares.
func TestCase39(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		r := rand.New(rand.NewPCG(39, 1))
		for range 4 {
			stop := p.run()
			for range 4 {
				f := follow(t, s, p.options.Dir)
				for range 20 {
					p.tell(r.IntN(300))
					if r.IntN(5) == 0 {
						p.nextJob()
					}
				}
				f.stop()
				if r.IntN(2) == 0 {
					os.Remove(filepath.Join(p.options.Dir, "cursor-ckdb.json"))
				}
			}
			stop()
		}
		f := follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		p.matches(s)

		elsewhere := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(elsewhere, os.DirFS(p.options.Dir)); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(elsewhere, "cursor-ckdb.json"))
		f = follow(t, s, elsewhere)
		f.behind()
		f.stop()
		p.matches(s)
		if n := status(t, s).Repeated; n != 0 {
			t.Errorf("%d repeated", n)
		}

		again := newPool(t)
		again.options.Name = "other"
		again.write(func() {
			for again.n < p.n {
				if sh, m := again.share(again.n); sh.Reason == 0 {
					again.w.Share(0, sh, m)
				}
				again.n++
			}
			again.w.Flush(0)
		})
		f = follow(t, s, again.options.Dir)
		f.behind()
		f.stop()
		p.matches(s)
		list, _, err := s.Status(t.Context())
		if err != nil || len(list) != 2 || list[0].Shares != p.all() || list[1].Shares != 0 || list[1].Repeated != p.all() {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// frames calls f with each frame of a file, to change it.
func frames(t testing.TB, path string, f func(n int, frame []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = 44
	for n, rest := 0, b; len(rest) >= head; n++ {
		frame := rest[:head+int(binary.BigEndian.Uint32(rest[12:]))]
		f(n, frame)
		rest = rest[len(frame):]
	}
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	return list
}

// 39: a record of a later release stops it by name; what was before it is stored, the
// cursor stays, and the later release goes on from there.
func TestCase39Later(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		stop := p.run()
		p.tell(100)
		wait.Until(t, patience, "written", func() bool { return p.w.Status().UnsafeShares == 0 })
		p.tell(100)
		stop()
		path := segments(t, p.options.Dir)[0]
		change := func(kind byte) (was byte) {
			last := 0
			frames(t, path, func(n int, f []byte) {
				if binary.BigEndian.Uint32(f[36-4:]) > 0 { // it has shares
					last = n
				}
			})
			frames(t, path, func(n int, f []byte) {
				if n == last {
					at := 44 + 20 + int(binary.BigEndian.Uint32(f[44+8:]))
					was, f[at] = f[at], kind
					binary.BigEndian.PutUint32(f[8:], crc32.Checksum(f[12:], crc32.MakeTable(crc32.Castagnoli)))
				}
			})
			return was
		}
		was := change(77)
		f := follow(t, s, p.options.Dir)
		f.refuses(`it was written by ckpool 1.0 and has records of the kind "kind 77", which this release does not know`)
		at := status(t, s).At
		if c, err := journal.ReadCursor(p.options.Dir, "ckdb"); err != nil || at.Number < 100 || c.Position != (journal.Position{Epoch: 1, Number: uint64(at.Number)}) {
			t.Errorf("cursor %+v, %v; stored to %v", c, err, at)
		}
		change(was)
		f = follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		p.matches(s)
	})
}

// What is damaged is named by its range, and all around it is stored.
func TestDamaged(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		stop := p.run()
		for range 3 {
			p.tell(100)
			wait.Until(t, patience, "written", func() bool { return p.w.Status().UnsafeShares == 0 })
		}
		stop()
		var first uint64
		frames(t, segments(t, p.options.Dir)[0], func(_ int, f []byte) {
			if n := binary.BigEndian.Uint32(f[32:]); n > 0 {
				first = binary.BigEndian.Uint64(f[16:])
				f[60] ^= 1
			}
		})
		f := follow(t, s, p.options.Dir)
		f.says("are damaged")
		f.stop()
		st := status(t, s)
		var lost int64
		for _, g := range st.Gaps {
			lost += g.Last - g.First + 1
			if g.Cause != "damaged" || g.Epoch != 1 || g.First < 1 || g.Last < int64(first) {
				t.Errorf("%+v", g)
			}
		}
		if lost != int64(p.n)+1 { // and the job
			t.Errorf("%d records of %d: %+v", lost, p.n, st.Gaps)
		}
	})
}

// A journal that is not there yet is waited for; another one in its place is followed
// from its beginning, and what of the old one is gone is told.
func TestReplaced(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		f := follow(t, s, p.options.Dir)
		f.says("there is none yet")
		for range 3 {
			p.write(func() { p.tell(100) })
		}
		f.behind()
		f.says("is stored again")
		old := f.Progress().Instance
		wait.Until(t, patience, "removed", func() bool { return os.RemoveAll(p.options.Dir) == nil })
		p.write(func() { p.tell(100) })
		f.says("that of the instance " + old + " is gone, with what was not stored of it after record 3/101")
		wait.Until(t, patience, "the new one", func() bool { return f.Progress().Instance != old })
		f.behind()
		f.stop()
		p.matches(s)
	})
}

// A journal of another network is refused, with nothing changed.
func TestOtherNetwork(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p, other := open(t, where), newPool(t), newPool(t)
		p.write(func() { p.tell(50) })
		other.options.Network, other.options.Name = "main", "big"
		other.write(func() { other.tell(50) })
		f := follow(t, s, p.options.Dir)
		f.behind()
		g := follow(t, s, other.options.Dir)
		g.refuses("pool big is on main, the database has shares of regtest")
		p.matches(s)
		if _, err := os.Stat(filepath.Join(other.options.Dir, "cursor-ckdb.json")); err == nil {
			t.Error("a cursor lets the journal be deleted")
		}
	})
}

// Two that read one journal into one database store each share once, and say so.
func TestTwoReaders(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		stop := p.run()
		f, g := follow(t, s, p.options.Dir), follow(t, open(t, where), p.options.Dir)
		for deadline := time.Now().Add(patience); !strings.Contains(f.told.String()+g.told.String(), "somebody else stores it as well"); {
			if time.Now().After(deadline) {
				t.Fatalf("neither says so: %+v, %+v, told %d\n%s%s", f.Progress(), g.Progress(), p.n, f.told, g.told)
			}
			p.tell(500)
			wait.Until(t, patience, "written", func() bool { return p.w.Status().UnsafeShares == 0 })
		}
		stop()
		g.stop()
		f.behind()
		f.stop()
		p.matches(s)
	})
}

// 36: what may be deleted of a journal is behind what the database has committed:
// while it is away nothing is. TestCase36Broker in package forward is of a broker that
// loses what it has acknowledged.
func TestCase36Database(t *testing.T) {
	s, p := open(t, "sqlite:"+t.TempDir()), newPool(t)
	p.options.SegmentSize = 16 << 10
	stop := p.run()
	p.tell(100)
	wait.Until(t, patience, "written", func() bool { return p.w.Status().UnsafeShares == 0 })
	f := follow(t, s, p.options.Dir)
	f.behind()
	s.Close()
	at := f.Progress().Position
	for range 20 {
		p.tell(100)
		wait.Until(t, patience, "written", func() bool { return p.w.Status().UnsafeShares == 0 })
	}
	f.says("trying again")
	f.stop()
	stop()
	c, err := journal.ReadCursor(p.options.Dir, "ckdb")
	if err != nil || c.Position != at {
		t.Errorf("cursor %+v, %v, want %v", c, err, at)
	}
	if b, err := journal.Behind(p.options.Dir, at); err != nil || b.Shares != 2000 {
		t.Errorf("%+v, %v", b, err)
	}
}

// What is stored can be deleted as soon as that can be said, though nothing comes any more.
func TestCursorLater(t *testing.T) {
	s, p := open(t, "sqlite:"+t.TempDir()), newPool(t)
	p.write(func() { p.tell(100) })
	inTheWay := filepath.Join(p.options.Dir, ".new-cursor-ckdb.json")
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := follow(t, s, p.options.Dir)
	f.says("what is stored of it cannot be deleted")
	f.behind()
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, "the cursor", func() bool {
		c, err := journal.ReadCursor(p.options.Dir, "ckdb")
		return err == nil && c.Position == f.Progress().Position
	})
	f.stop()
}

// 38: the server is away for long, again and again, killed in the middle of its work,
// and comes back: all is caught up with no help. Of an image of the disk from a power
// cut meanwhile just what was not yet written is missing.
func TestCase38(t *testing.T) {
	server, err := postgres.Start("fsync=off")
	if errors.Is(err, postgres.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(server.Dir)
	defer func() { server.Stop() }()
	if err := server.Create(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	s, p := open(t, server.URL("test")), newPool(t)
	stop := p.run()
	f := follow(t, s, p.options.Dir)
	for range 3 {
		for range 40 {
			p.tell(250)
		}
		wait.Until(t, patience, "some stored", func() bool { return f.Progress().Shares > 0 })
		server.Kill()
		p.tell(20_000)
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
	}
	f.behind()
	wait.Until(t, patience, "written", func() bool { return p.w.Status().UnsafeShares == 0 })
	image := filepath.Join(t.TempDir(), "image")
	if err := os.CopyFS(image, os.DirFS(p.options.Dir)); err != nil {
		t.Fatal(err)
	}
	before := p.all()
	p.tell(1000) // which the image has not
	f.behind()
	stop()
	f.behind()
	f.stop()
	p.matches(s)

	cut := open(t, "sqlite:"+t.TempDir())
	f = follow(t, cut, image)
	f.behind()
	f.stop()
	if st := status(t, cut); st.Shares != before || p.all()-st.Shares != 900 || len(st.Gaps) != 0 {
		t.Errorf("%d shares of %d are in the image, want %d: %+v", st.Shares, p.all(), before, st)
	}
}

// 53: a clock that jumps by a day, either way, changes no sum and no shift.
func TestCase53(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		const day = 86_400_000_000
		p.write(func() {
			for _, clock := range []int64{0, day, -day, 0, 3600_000_000, -3600_000_000} {
				p.clock = clock
				for range 40 {
					p.nextJob()
					p.tell(5)
				}
			}
		})
		f := follow(t, s, p.options.Dir)
		f.behind()
		f.stop()
		p.matches(s)
		shifts, err := s.Shifts(t.Context(), store.ShiftQuery{})
		if err != nil || len(shifts) != 3 { // of 100, 100 and 41 jobs
			t.Fatalf("%d shifts, %v", len(shifts), err)
		}
		var all int64
		for i, want := range []int64{41, 100, 100} {
			if shifts[i].Jobs != want {
				t.Errorf("%+v", shifts[i])
			}
			all += shifts[i].Accepted.Count
		}
		if all != p.all() {
			t.Errorf("%d shares in shifts, want %d", all, p.all())
		}
	})
}

// A trusted remote that is ckpool in C says whatever difficulty its miners ask it for: a share
// of one that cannot be counts for the most that can, and stops nothing.
func TestDifficultyOfRemote(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		p.write(func() {
			for i, d := range []float64{8, 9e18, 1e300, 8} {
				k, m := p.share(uint32(i))
				k.Difficulty, k.Credit, m.User, m.Worker = d, 8, "alice", "alice.rig"
				if d > 8 {
					k.Credit, k.Reason = 0, 2
				}
				p.w.Share(0, k, m)
			}
			p.w.Flush(0)
		})
		f := follow(t, s, p.options.Dir)
		f.behind()
		wait.Until(t, patience, "the shares", func() bool { return sums(t, s)["alice"].Accepted.Count == 2 })
		f.stop()
		if got := sums(t, s)["alice"].Other; got != (store.Class{Count: 2, Work: difficulty.ExactOf(1e18).Add(difficulty.ExactOf(1e18))}) {
			t.Errorf("%+v", got)
		}
	})
}

// What another pool said of shares is stored with the difficulty that it owes, which a
// hostile one may have made larger than any that can be.
func TestVerdictsOfAnotherPool(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, p := open(t, where), newPool(t)
		p.write(func() {
			for i, above := range []struct {
				verdict    journal.Verdict
				difficulty float64
			}{{journal.AcceptedAbove, 0.5}, {journal.AcceptedAbove, 1e300}, {journal.RefusedAbove, 64}, {journal.Unanswered, 64}, {journal.NotSent, 0}} {
				k, m := p.share(uint32(i))
				k.Difficulty, k.Credit, m.User, m.Worker = 8, 8, "alice", "alice.rig"
				k.Above, k.AboveDifficulty = above.verdict, above.difficulty
				if above.verdict == journal.RefusedAbove || above.verdict == journal.Unanswered {
					k.Credit, k.Reason, k.AboveText = 0, 2, []byte("no")
				}
				p.w.Share(0, k, m)
			}
			p.w.Flush(0)
		})
		f := follow(t, s, p.options.Dir)
		f.behind()
		wait.Until(t, patience, "the shares", func() bool { return sums(t, s)["alice"].Accepted.Count == 3 })
		f.stop()
		got := sums(t, s)["alice"]
		class := func(count int64, works ...float64) (c store.Class) {
			c.Count = count
			for _, d := range works {
				c.Work = c.Work.Add(difficulty.ExactOf(d))
			}
			return c
		}
		if got.Accepted != class(3, 8, 8, 8) || got.Other != class(2, 8, 8) || got.AcceptedAbove != class(2, 0.5, 1e18) || got.RefusedAbove != class(1, 64) || got.Unanswered != class(1, 64) {
			t.Errorf("%+v", got)
		}
		if differences, err := s.Check(t.Context(), nil); err != nil || len(differences) > 0 {
			t.Errorf("%q, %v", differences, err)
		}
	})
}
