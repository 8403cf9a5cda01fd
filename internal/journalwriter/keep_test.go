package journalwriter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/internal/testkit/disk"
	"github.com/ckpool/ckpool/journal"
)

// segmentsOf are the first positions of the segments that are there.
func segmentsOf(t testing.TB, dir string) (list []journal.Position) {
	t.Helper()
	files, err := segment.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range files {
		list = append(list, journal.Position{Epoch: s.Epoch, Number: s.First})
	}
	return list
}

// filled is a journal of two epochs with 50 shares in each of their segments, of
// which the first epoch has three and the second two.
func filled(t testing.TB, o *Options) *Writer {
	t.Helper()
	o.SegmentSize = 10_000
	for epoch := range 2 {
		w := mustOpen(t, *o)
		for range 3 - epoch {
			for n := range uint32(50) {
				w.Share(0, testShare(0, n), testMiner(0))
			}
			w.Flush(0)
			mustRound(t, w)
		}
		if epoch == 1 {
			return w
		}
		mustClose(t, w)
	}
	panic("unreachable")
}

// Segments are deleted when the slowest reader has read them, not a record before,
// and never without a reader.
func TestDelete(t *testing.T) {
	o := testOptions(t)
	w := filled(t, &o)
	all := []journal.Position{
		{Epoch: 1, Number: 1}, {Epoch: 1, Number: 51}, {Epoch: 1, Number: 101}, {Epoch: 2, Number: 1}, {Epoch: 2, Number: 51},
	}
	check := func(want []journal.Position) {
		t.Helper()
		if err := w.clean(context.Background()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, segmentsOf(t, o.Dir)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
	if w.drain.segmentSize = 1 << 20; segmentsOf(t, o.Dir)[0] != all[0] {
		t.Fatal(segmentsOf(t, o.Dir))
	}
	check(all)
	at := func(name string, epoch, number uint64) {
		t.Helper()
		if err := journal.WriteCursor(o.Dir, name, journal.Cursor{Instance: w.instance, Network: "regtest", Position: journal.Position{Epoch: epoch, Number: number}, Time: 1}); err != nil {
			t.Fatal(err)
		}
	}
	at("fast", 2, 90)
	at("slow", 1, 49)
	check(all)
	at("slow", 1, 50)
	check(all[1:])
	at("other", 1, 149)
	at("slow", 1, 149)
	check(all[2:])
	if err := journal.WriteCursor(o.Dir, "slow", journal.Cursor{Instance: "00", Network: "regtest", Position: journal.Position{Epoch: 9, Number: 9}, Time: 1}); err != nil {
		t.Fatal(err)
	}
	check(all[2:]) // of another journal: it has read nothing of this one
	os.WriteFile(filepath.Join(o.Dir, "cursor-slow.json"), []byte("{"), 0o600)
	if err := w.clean(context.Background()); err == nil || !strings.Contains(err.Error(), "cursor-slow.json") {
		t.Errorf("a damaged cursor: %v", err)
	}
	at("slow", 2, 90)
	check(all[2:])
	at("other", 1, 150)
	check(all[3:])
	at("other", 2, 0)
	check(all[3:])
	s := w.Status()
	if len(s.Readers) != 3 || s.Readers[0].Name != "fast" || s.Readers[0].Behind != 10 || s.Readers[1].Behind != 100 || s.Position != (journal.Position{Epoch: 2, Number: 100}) {
		t.Errorf("%+v", s)
	}
	at("other", 2, 100)
	at("fast", 2, 100)
	at("slow", 2, 100)
	check(all[4:]) // the one that is being written stays
	mustClose(t, w)
}

// A segment whose end nothing tells is deleted when all readers are in later epochs, with what
// they have read of these.
func TestDeleteUnknownEnd(t *testing.T) {
	o := testOptions(t)
	w := filled(t, &o)
	files, err := segment.List(o.Dir)
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	path := filepath.Join(o.Dir, files[3].Name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(`"network"`), []byte(`"netwark"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		epoch, number uint64
		left          int
	}{{1, 149, 3}, {1, 150, 3}, {2, 0, 2}, {2, 50, 1}} {
		c := journal.Cursor{Instance: w.instance, Network: "regtest", Position: journal.Position{Epoch: at.epoch, Number: at.number}, Time: 1}
		if err := journal.WriteCursor(o.Dir, "ckdb", c); err != nil {
			t.Fatal(err)
		}
		if err := w.clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := segmentsOf(t, o.Dir); len(left) != at.left {
			t.Errorf("read up to %v: %v are left, want %d", c.Position, left, at.left)
		}
	}
	mustClose(t, w)
}

// A segment that the disk does not give is as one without a header, unless it is the newest,
// and is deleted as others are.
func TestUnreadableSegment(t *testing.T) {
	const noBytes = "/proc/self/mem" // none at 0
	if f, err := os.Open(noBytes); err != nil {
		t.Skip(err)
	} else {
		_, err = f.ReadAt(make([]byte, 8), 0)
		f.Close()
		if !errors.Is(err, unix.EIO) {
			t.Skip("there is no file to be had that cannot be read")
		}
	}
	o := testOptions(t)
	var events told
	o.Events = events.tell
	w := filled(t, &o)
	files, err := segment.List(o.Dir)
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	replace := func(n int) {
		path := filepath.Join(o.Dir, files[n].Name)
		if err := errors.Join(os.Rename(path, path+".away"), os.Symlink(noBytes, path)); err != nil {
			t.Fatal(err)
		}
	}
	replace(0)
	replace(1)
	epochs, err := journal.Epochs(o.Dir)
	if err != nil || len(epochs) != 2 || epochs[0].Life == "" {
		t.Errorf("%v, %v", epochs, err)
	}
	at := func(number uint64, left int) {
		t.Helper()
		c := journal.Cursor{Instance: w.instance, Network: "regtest", Position: journal.Position{Epoch: 1, Number: number}, Time: 1}
		if err := journal.WriteCursor(o.Dir, "ckdb", c); err != nil {
			t.Fatal(err)
		}
		if err := w.clean(t.Context()); err != nil {
			t.Error(err)
		}
		if got := segmentsOf(t, o.Dir); len(got) != left {
			t.Errorf("read up to %d: %v are left, want %d", number, got, left)
		}
	}
	at(50, 4)
	w.maxSize = 0
	at(50, 1)
	if !events.has(files[1].Name + " is deleted although not all have read it: what of it cannot be read is not counted: ") {
		t.Errorf("events\n%s", &events)
	}
	replace(4)
	if epochs, err := journal.Epochs(o.Dir); !errors.Is(err, unix.EIO) {
		t.Errorf("the newest cannot be read: %v, %v", epochs, err)
	}
	mustClose(t, w)
}

// On a disk that is full what is read is deleted all the same: how far that is can be said.
func TestDeleteOnFullDisk(t *testing.T) {
	dir := disk.Mount(t, "-t", "tmpfs", "-o", "size=2m", "none")
	o := testOptions(t)
	o.Dir = filepath.Join(dir, "journal")
	w := filled(t, &o)
	c := journal.Cursor{Instance: w.instance, Network: "regtest", Time: 1}
	for range 2 {
		if err := journal.WriteCursor(o.Dir, "ckdb", c); err != nil {
			t.Fatal(err)
		}
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for page := make([]byte, 4096); err == nil; {
		_, err = filler.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	c.Position = journal.Position{Epoch: 2, Number: 100}
	if err := journal.WriteCursor(o.Dir, "ckdb", c); err != nil {
		t.Error(err)
	}
	if err := w.clean(t.Context()); err != nil {
		t.Error(err)
	}
	if left := segmentsOf(t, o.Dir); len(left) != 1 {
		t.Errorf("%v are left", left)
	}
	mustClose(t, w)
}

// At the size limit the oldest segment goes, and each reader's loss is told to the
// share. Who reads later is told what is missing.
func TestSizeLimit(t *testing.T) {
	o := testOptions(t)
	var events told
	o.Events = events.tell
	w := filled(t, &o)
	size := func() int64 {
		k, err := w.look()
		if err != nil {
			t.Fatal(err)
		}
		return k.size + w.drain.size.Load()
	}
	w.maxSize = size() - 1
	journal.WriteCursor(o.Dir, "ckdb", journal.Cursor{Instance: w.instance, Network: "regtest", Position: journal.Position{Epoch: 1, Number: 20}, Time: 1})
	journal.WriteCursor(o.Dir, "forward", journal.Cursor{Instance: w.instance, Network: "regtest", Position: journal.Position{Epoch: 1, Number: 120}, Time: 1})
	if err := w.clean(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !events.has("00000001-0000000000000001.journal is deleted although not all have read it: ckdb has lost 30 shares") || events.has("forward has lost") {
		t.Errorf("events\n%s", &events)
	}
	for _, name := range []string{"ckdb", "forward"} {
		c, err := journal.ReadCursor(o.Dir, name)
		if err != nil {
			t.Fatal(err)
		}
		list := readJournal(t, o.Dir, c)
		if name == "ckdb" {
			m := list[0]
			if m.Kind != journal.KindMissing || m.Missing.First != (journal.Position{Epoch: 1, Number: 21}) || m.Position != (journal.Position{Epoch: 1, Number: 50}) || m.Missing.Count != 30 {
				t.Errorf("%+v", m)
			}
			list = list[1:]
		}
		if n := len(shares(t, list)); name == "ckdb" && n != 200 || name == "forward" && n != 130 {
			t.Errorf("%s reads %d shares", name, n)
		}
	}
	// Without any reader.
	os.Remove(filepath.Join(o.Dir, "cursor-ckdb.json"))
	os.Remove(filepath.Join(o.Dir, "cursor-forward.json"))
	w.maxSize = size() - 1
	if err := w.clean(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !events.has("nobody has read its 50 shares") {
		t.Errorf("events\n%s", &events)
	}
	mustClose(t, w)
}

// A reader goes on from any record, over segments and epochs, and past what a power
// cut took from behind it.
func TestCursor(t *testing.T) {
	o := testOptions(t)
	mustClose(t, filled(t, &o))
	whole := readJournal(t, o.Dir, journal.Cursor{})
	if len(whole) != 250 {
		t.Fatal(len(whole))
	}
	for i := 0; i < len(whole); i += 7 {
		list := readJournal(t, o.Dir, journal.Cursor{Network: "regtest", Position: whole[i].Position})
		if diff := cmp.Diff(whole[i+1:], list); diff != "" {
			t.Fatalf("after %v:\n%s", whole[i].Position, diff)
		}
	}
	if list := readJournal(t, o.Dir, journal.Cursor{Position: journal.Position{Epoch: 1, Number: 170}}); len(shares(t, list)) != 100 {
		t.Errorf("%d shares after what was never safe", len(list))
	}
	// An epoch that the reader has not come to is gone.
	files, _ := segment.List(o.Dir)
	for _, f := range files[:3] {
		os.Remove(filepath.Join(o.Dir, f.Name))
	}
	list := readJournal(t, o.Dir, journal.Cursor{Position: journal.Position{Epoch: 1, Number: 120}})
	if len(list) != 101 || list[0].Kind != journal.KindMissing || list[0].Missing.Count != 30 || list[0].Position != (journal.Position{Epoch: 1, Number: 150}) {
		t.Errorf("%+v", list[0])
	}
}

// A reader that waits is given what comes, and ends when it is told to.
func TestNext(t *testing.T) {
	o := testOptions(t)
	o.Sync = time.Millisecond
	w := mustOpen(t, o)
	stop := run(t, w)
	r, err := journal.Open(o.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	for n := range uint32(5) {
		w.Share(0, testShare(0, n), testMiner(0))
		w.Flush(0)
		if k, err := r.Next(ctx); err != nil || k.Share.Nonce != n {
			t.Fatal(k, err)
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Error(err)
	}
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	stop()
	mustClose(t, w)
}

// Clocks may say what they want: records are in the order of their numbers, and their
// times are what was told.
func TestClockJumps(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	times := []int64{5e15, -7, 1 << 62, 0, -(1 << 62), 3, 3, 1_795_327_613_000_000}
	for i, at := range times {
		s := testShare(0, uint32(i))
		s.Time = at
		w.Share(0, s, testMiner(0))
	}
	w.Flush(0)
	mustClose(t, w)
	for i, s := range shares(t, readJournal(t, o.Dir, journal.Cursor{})) {
		if s.Nonce != uint32(i) || s.Time != times[i] {
			t.Errorf("share %d is share %d of %d", i, s.Nonce, s.Time)
		}
	}
}

// Without memory that outlives the process the rings are in the journal's directory,
// and that is said.
func TestNoMemory(t *testing.T) {
	o := testOptions(t)
	o.Dir, o.RingDirs = filepath.Join(t.TempDir(), "journal"), []string{t.TempDir(), "/nonexistent"}
	var events told
	o.Events = events.tell
	w := mustOpen(t, o)
	if filepath.Dir(w.drain.rings[0].path) != o.Dir || !events.has("a disk that stalls can delay replies") {
		t.Errorf("%s, events\n%s", w.drain.rings[0].path, &events)
	}
	var next [2]uint32
	tell(w, &next, 5)
	w.lock.Close()
	mustClose(t, mustOpen(t, o))
	if history(t, allShares(t, o.Dir)) != next {
		t.Error("they are not read again")
	}
	if left, _ := filepath.Glob(filepath.Join(o.Dir, "*.ring")); left != nil {
		t.Error(left)
	}
}

// A process that could not close goes on.
func TestCloseFails(t *testing.T) {
	o, f := testOptions(t), newFaults()
	w := openFaulty(t, o, f)
	var next [2]uint32
	tell(w, &next, 10)
	f.set(100, 0, nil)
	if err := w.Close(); err == nil {
		t.Fatal("closed without room")
	}
	tell(w, &next, 10)
	if _, err := Open(o); err == nil {
		t.Fatal("the lock is gone")
	}
	f.set(-1, 0, nil)
	mustClose(t, w)
	if history(t, allShares(t, o.Dir)) != next {
		t.Error("not all are there")
	}
}

// Trouble is told once, then once a minute, and its end with what was lost.
func TestTroubles(t *testing.T) {
	var events told
	var tr troubles
	now := time.Unix(1000, 0)
	full := Status{Err: errors.New("no space left on device"), UnsafeShares: 7}
	tr.tell("j", events.tell, Status{UnsafeAge: time.Second}, now)
	tr.tell("j", events.tell, full, now)
	tr.tell("j", events.tell, full, now.Add(59*time.Second))
	full.LostRecords, full.LostShares = 5, 4
	tr.tell("j", events.tell, full, now.Add(60*time.Second))
	tr.tell("j", events.tell, Status{LostRecords: 5, LostShares: 4}, now.Add(70*time.Second))
	tr.tell("j", events.tell, Status{UnsafeAge: 4 * time.Second, LostRecords: 5, LostShares: 4}, now.Add(71*time.Second))
	tr.tell("j", events.tell, Status{LostRecords: 5, LostShares: 4}, now.Add(72*time.Second))
	want := `3 Journal j cannot be written: no space left on device; 7 shares are held in memory and are not yet safe
3 Journal j cannot be written: no space left on device; 7 shares are held in memory and are not yet safe; there is no more room: 5 records are lost, of them 4 shares
5 Journal j is written again: 5 records are lost, of them 4 shares, in all since the start
3 Journal j cannot be written: its disk has taken nothing for 4s; 0 shares are held in memory and are not yet safe
5 Journal j is written again: nothing was lost
`
	if diff := cmp.Diff(want, events.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A process that has passed the journal on, and still tells something, does not
// disturb the one that writes it now.
func TestPassed(t *testing.T) {
	o := testOptions(t)
	old := mustOpen(t, o)
	var next [2]uint32
	tell(old, &next, 10)
	if err := old.Pass(); err != nil {
		t.Fatal(err)
	}
	w := mustOpen(t, o)
	if w.drain.rings[0].path != old.drain.rings[0].path {
		t.Fatal("the memory is not passed on")
	}
	tell(w, &next, 10)
	for n := range uint32(50) {
		old.Share(0, testShare(0, 1000+n), testMiner(9))
		old.Flush(0)
		old.Statistics(&journal.Statistics{Time: 1})
	}
	if s := old.Status(); s.UnsafeBytes < 0 {
		t.Errorf("%+v", s)
	}
	tell(w, &next, 10)
	w.Statistics(&journal.Statistics{Time: 2})
	w.lock.Close() // killed
	mustClose(t, mustOpen(t, o))
	if got := history(t, allShares(t, o.Dir)); got != next {
		t.Errorf("%v shares are there, want %v", got, next)
	}
}

// Where memory is small, as in a container, rings are smaller before they are on a
// disk.
func TestLittleMemory(t *testing.T) {
	dir := disk.Mount(t, "-t", "tmpfs", "-o", "size=8m", "none")
	o := testOptions(t)
	o.RingDirs, o.RingSize = []string{dir}, DefaultRingSize
	var events told
	o.Events = events.tell
	w := mustOpen(t, o)
	if r := w.drain.rings[0]; filepath.Dir(r.path) != dir || len(r.data) != 2<<20 || !events.has("has room for 48 MiB: what is not yet written has 2048 KiB for each loop, in "+dir) {
		t.Errorf("%s of %d bytes, events\n%s", r.path, len(r.data), &events)
	}
	var next [2]uint32
	tell(w, &next, 5)
	mustClose(t, w)
	if history(t, allShares(t, o.Dir)) != next {
		t.Error("not all are there")
	}
}

// A process that was killed while it made its rings stops nobody.
func TestHalfMadeRing(t *testing.T) {
	for _, size := range []int64{0, ringPage + minRing} {
		o := testOptions(t)
		w := mustOpen(t, o)
		var next [2]uint32
		tell(w, &next, 5)
		mustClose(t, w)
		f, err := os.Create(w.drain.rings[0].path)
		if err != nil {
			t.Fatal(err)
		}
		f.Truncate(size)
		f.Close()
		w = mustOpen(t, o)
		tell(w, &next, 5)
		mustClose(t, w)
		if history(t, allShares(t, o.Dir)) != next {
			t.Error("not all are there")
		}
	}
}
