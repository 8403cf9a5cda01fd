package journalwriter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/segment"
	"github.com/ckpool/ckpool/internal/testkit/disk"
	"github.com/ckpool/ckpool/journal"
)

// faults are files that fail when they are told to.
type faults struct {
	mu    sync.Mutex
	room  int64 // bytes that can still be written; -1: as much as there is
	sync  error // of each sync
	after int   // syncs that succeed before
	drops bool  // a sync that fails drops what was written since the last one
}

func newFaults() *faults {
	return &faults{room: -1}
}

func (f *faults) set(room int64, after int, sync error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room, f.after, f.sync = room, after, sync
}

func (f *faults) open(path string) (file, error) {
	real, err := createFile(path)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file: real, f: f}, nil
}

type faultyFile struct {
	file
	f      *faults
	synced int64
	end    int64
}

func (k *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	k.f.mu.Lock()
	defer k.f.mu.Unlock()
	n := int64(len(b))
	if k.f.room >= 0 {
		n = min(n, k.f.room)
		k.f.room -= n
	}
	if _, err := k.file.WriteAt(b[:n], at); err != nil {
		return 0, err
	}
	k.end = max(k.end, at+n)
	if n < int64(len(b)) {
		return int(n), unix.ENOSPC
	}
	return len(b), nil
}

func (k *faultyFile) Sync() error {
	k.f.mu.Lock()
	defer k.f.mu.Unlock()
	if k.f.sync != nil {
		if k.f.after == 0 {
			if k.f.drops {
				k.file.(diskFile).Truncate(k.synced)
			}
			return k.f.sync
		}
		k.f.after--
	}
	k.synced = k.end
	return nil
}

func openFaulty(t testing.TB, o Options, f *faults) *Writer {
	t.Helper()
	w, err := openWith(o, f.open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.lock.Close() })
	return w
}

// tell tells shares from n on, each loop the same number.
func tell(w *Writer, next *[2]uint32, n int) {
	for loop := range next {
		for range n {
			w.Share(loop, testShare(loop, next[loop]), testMiner(int(next[loop]%5)))
			next[loop]++
		}
		w.Flush(loop)
	}
}

// A disk that is full at any byte: nothing is lost, whoever follows sees nothing
// twice, and the numbers are those without the fault.
func TestFullDisk(t *testing.T) {
	for room := int64(0); room < 30_000; room += 331 {
		o, f := testOptions(t), newFaults()
		o.SegmentSize = 6000
		w := openFaulty(t, o, f)
		r, err := journal.Open(o.Dir, journal.Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		var next [2]uint32
		tell(w, &next, 20)
		mustRound(t, w)
		f.set(room, 0, nil)
		var followed []journal.Share
		failed := 0
		for range 8 {
			tell(w, &next, 20)
			if err := w.write(); err != nil {
				failed++
				if !errors.Is(err, unix.ENOSPC) || w.Status().Err == nil || w.Status().UnsafeShares == 0 {
					t.Fatalf("%v, %+v", err, w.Status())
				}
				f.set(int64(failed*700), 0, nil) // a little room at a time
			}
			followed = append(followed, readShares(t, r)...)
		}
		f.set(-1, 0, nil)
		mustRound(t, w)
		if s := w.Status(); s.Err != nil || s.UnsafeShares != 0 || s.UnsafeBytes != 0 || s.LostRecords != 0 {
			t.Fatalf("%+v", s)
		}
		mustClose(t, w)
		followed = append(followed, readShares(t, r)...)
		r.Close()
		if history(t, allShares(t, o.Dir)) != next || history(t, followed) != next {
			t.Fatalf("room for %d: not all are there", room)
		}
	}
}

// fdatasync fails: what it was for is written again under the same numbers, to
// another segment. A kill in the middle of that changes nothing.
func TestSyncFails(t *testing.T) {
	for after := range 16 {
		for _, killed := range []bool{false, true} {
			o, f := testOptions(t), newFaults()
			o.SegmentSize = 6000 << (after % 2 * 8) // one per chunk, or one for all
			w := openFaulty(t, o, f)
			r, err := journal.Open(o.Dir, journal.Cursor{})
			if err != nil {
				t.Fatal(err)
			}
			f.drops = !killed
			var next [2]uint32
			tell(w, &next, 30)
			mustRound(t, w)
			f.set(-1, after, unix.EIO)
			var followed []journal.Share
			for range 3 {
				tell(w, &next, 30)
				if w.write() == nil && after == 0 {
					t.Fatal("a failed sync is told as a success")
				}
				// The reader has what is not safe as well.
				followed = append(followed, readShares(t, r)...)
			}
			if killed {
				// In the middle of the next attempt.
				tell(w, &next, 30)
				f.set(int64(8192+after*500), 1, unix.EIO)
				w.write()
				w.lock.Close()
				f.set(-1, 0, nil)
				w = openFaulty(t, o, f)
			} else {
				f.set(-1, 0, nil)
				mustRound(t, w)
			}
			mustClose(t, w)
			followed = append(followed, readShares(t, r)...)
			r.Close()
			if history(t, allShares(t, o.Dir)) != next || history(t, followed) != next {
				t.Fatalf("sync %d fails, killed %v: %v are there, %v were followed, want %v", after, killed, history(t, allShares(t, o.Dir)), history(t, followed), next)
			}
		}
	}
}

// A ring that is full: what there was no room for is counted to the record, also when
// the process is killed before it could say so, and what is told later is written.
func TestRingFull(t *testing.T) {
	for _, killed := range []bool{false, true} {
		o, f := testOptions(t), newFaults()
		o.RingSize = minRing
		w := openFaulty(t, o, f)
		f.set(0, 0, nil)
		var next [2]uint32
		tell(w, &next, 1000)
		w.Worker(0, &journal.Worker{Time: 1}, testMiner(0))
		w.Flush(0)
		w.Share(1, testShare(1, 5000), testMiner(0)) // never flushed
		w.write()
		s := w.Status()
		if s.LostShares == 0 || s.LostRecords != s.LostShares+1 || s.UnsafeShares != 2000-s.LostShares {
			t.Fatalf("%+v", s)
		}
		f.set(-1, 0, nil)
		if killed {
			w.lock.Close()
			w = openFaulty(t, o, f)
		} else {
			mustRound(t, w)
			w.Share(0, testShare(0, 4711), testMiner(0))
			w.Flush(0)
		}
		mustClose(t, w)
		var read, records, lost uint64
		for _, k := range readJournal(t, o.Dir, journal.Cursor{}) {
			switch k.Kind {
			case journal.KindShare:
				if read++; k.Share.Nonce == 4711 {
					read--
				}
			case journal.KindLost:
				lost += k.Lost.Shares
				records += k.Lost.Records
			default:
				t.Errorf("%+v", k)
			}
		}
		if read+lost != 2000 || records != lost+1 || lost != s.LostShares {
			t.Errorf("killed %v: %d shares are read and %d told lost, of 2000; status %+v", killed, read, lost, s)
		}
	}
}

// A power cut: the rings are gone, and of the directory is there what was synced. All
// of that is read, at most the last round is missing, and mining goes on.
func TestPowerCut(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 20_000
	w := mustOpen(t, o)
	var next [2]uint32
	for range 10 {
		tell(w, &next, 20)
		mustRound(t, w)
	}
	safe := next
	current := filepath.Join(o.Dir, *w.drain.current.Load())
	synced, err := os.Stat(current)
	if err != nil {
		t.Fatal(err)
	}
	// Of the last round nothing, a part, or all was on the disk.
	tell(w, &next, 20)
	mustRound(t, w)
	whole, _ := os.Stat(current)
	for cut := synced.Size(); cut <= whole.Size(); cut += 97 {
		c := o
		c.Dir = filepath.Join(memory(t), "journal")
		if err := os.CopyFS(c.Dir, os.DirFS(o.Dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(c.Dir, filepath.Base(current)), cut); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(filepath.Join(c.Dir, segment.StateFile))
		os.WriteFile(filepath.Join(c.Dir, segment.StateFile), []byte(strings.ReplaceAll(string(b), "/ckpool-", "/gone-")), 0o600)
		var events told
		c.Events, c.RingDirs = events.tell, []string{memory(t)}
		w := mustOpen(t, c)
		mustClose(t, w)
		got := history(t, allShares(t, c.Dir))
		for loop := range 2 {
			if got[loop] < safe[loop] {
				t.Fatalf("cut at %d: %d shares of loop %d are there, %d were safe", cut, got[loop], loop, safe[loop])
			}
		}
		if !events.has("as after a power cut") {
			t.Fatalf("it is not told:\n%s", &events)
		}
	}
	mustClose(t, w)
}

// A ring on a disk, of before the machine started anew, is not trusted.
func TestRingOfAnotherBoot(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	var next [2]uint32
	tell(w, &next, 5)
	for _, r := range w.drain.rings {
		copy(r.file[ringBootAt:], "00000000-0000-0000-0000-000000000000")
	}
	w.lock.Close()
	var events told
	o.Events = events.tell
	w = mustOpen(t, o)
	mustClose(t, w)
	if n := history(t, allShares(t, o.Dir)); n != [2]uint32{} || !events.has("as after a power cut") {
		t.Errorf("%v shares, events\n%s", n, &events)
	}
}

// tellSlowly tells shares for a while, of which none may wait for a disk that takes
// seconds. Some wait for a processor, where a machine is busy: what waits for the disk
// does so in each of three tries.
func tellSlowly(t *testing.T, w *Writer, next *[2]uint32, span time.Duration) {
	t.Helper()
	slow := ""
	for range 3 {
		if slow = tellFor(t, w, next, span); slow == "" {
			return
		}
	}
	t.Error(slow)
}

// tellFor tells shares for a while, and whether it took too long to tell them.
func tellFor(t *testing.T, w *Writer, next *[2]uint32, span time.Duration) (tooSlow string) {
	t.Helper()
	var slow, all int
	var longest time.Duration
	for begun := time.Now(); time.Since(begun) < span; all++ {
		at := time.Now()
		tell(w, next, 3)
		took := time.Since(at)
		if longest = max(longest, took); took > 100*time.Millisecond {
			slow++
		}
		<-time.After(2 * time.Millisecond)
	}
	t.Logf("the longest of %d took %v", all, longest)
	if slow > 2+all/10 || longest > max(time.Second, span/2) {
		return fmt.Sprintf("%d of %d times it took more than 100 ms to tell shares, the longest %v", slow, all, longest)
	}
	return ""
}

// A disk that is really full: nothing waits for it, and all is written once there is
// room.
func TestFullFileSystem(t *testing.T) {
	t.Parallel()
	dir := disk.Mount(t, "-t", "tmpfs", "-o", "size=2m", "none")
	o := testOptions(t)
	o.Dir, o.Sync, o.RingSize = filepath.Join(dir, "journal"), 5*time.Millisecond, 16<<20
	var events told
	o.Events = events.tell
	w := mustOpen(t, o)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20-100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := run(t, w)
	var next [2]uint32
	tellSlowly(t, w, &next, 1500*time.Millisecond)
	eventually(t, "the trouble is seen", func() bool {
		tell(w, &next, 3) // on a busy machine the disk is not full yet
		s := w.Status()
		return errors.Is(s.Err, unix.ENOSPC) && s.UnsafeShares > 0
	})
	eventually(t, "the trouble is told", func() bool { return events.has("no space left on device") })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is written", func() bool { s := w.Status(); return s.Err == nil && s.UnsafeShares == 0 })
	eventually(t, "that is told", func() bool { return events.has("is written again: nothing was lost") })
	stop()
	mustClose(t, w)
	if got := history(t, allShares(t, o.Dir)); got != next {
		t.Errorf("%v shares are there, %v were told", got, next)
	}
}

// A disk that stalls: the same.
func TestStalledDisk(t *testing.T) {
	t.Parallel()
	dir, stall := disk.Stalling(t, 32<<20)
	o := testOptions(t)
	o.Dir, o.Sync, o.RingSize = filepath.Join(dir, "journal"), 5*time.Millisecond, 16<<20
	w := mustOpen(t, o)
	stop := run(t, w)
	var next [2]uint32
	tellSlowly(t, w, &next, 200*time.Millisecond)
	goOn := stall()
	before := w.Status().Position
	tellSlowly(t, w, &next, 4*time.Second)
	s := w.Status()
	if s.UnsafeShares == 0 || s.UnsafeAge < 3*time.Second || s.Position.Number > before.Number+1000 {
		t.Errorf("the disk did not stall: %+v", s)
	}
	goOn()
	eventually(t, "all is written", func() bool { return w.Status().UnsafeShares == 0 })
	stop()
	lost := w.Status().LostRecords
	mustClose(t, w)
	if got := history(t, allShares(t, o.Dir)); got != next || lost != 0 {
		t.Errorf("%v shares are there, %v were told, %d are lost", got, next, lost)
	}
}

// Before another process is to go on with a journal it is known that it could.
func TestReady(t *testing.T) {
	t.Parallel()
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		dir := disk.Mount(t, "-t", "tmpfs", "-o", "size=1m", "none")
		o := testOptions(t)
		o.Dir = filepath.Join(dir, "journal")
		w := mustOpen(t, o)
		defer mustClose(t, w)
		defer run(t, w)()
		var next [2]uint32
		tell(w, &next, 1)
		filler, err := os.Create(filepath.Join(dir, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		defer filler.Close()
		for err = nil; err == nil; {
			_, err = filler.Write(make([]byte, 4<<10))
		}
		// The writer does not know: what it has is in a page that is there.
		if err := w.Ready(t.Context()); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%v, want %v", err, unix.ENOSPC)
		}
		if err := filler.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if err := w.Ready(t.Context()); err != nil || w.Status().UnsafeShares != 0 {
			t.Errorf("%v, %+v", err, w.Status())
		}
	})
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		dir, stall := disk.Stalling(t, 32<<20)
		o := testOptions(t)
		o.Dir, o.Sync = filepath.Join(dir, "journal"), time.Hour
		w := mustOpen(t, o)
		defer mustClose(t, w)
		defer run(t, w)()
		if err := w.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		goOn := stall()
		var next [2]uint32
		tell(w, &next, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := w.Ready(ctx)
		goOn()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "its disk takes nothing") {
			t.Error(err)
		}
		if err := w.Ready(t.Context()); err != nil || w.Status().UnsafeShares != 0 {
			t.Errorf("%v, %+v", err, w.Status())
		}
	})
}
