package journalwriter

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/journal"
)

// childVariable makes the test program one that writes a journal until it is killed.
const childVariable = "CKPOOL_JOURNAL_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		var c child
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		c.main()
	}
	os.Exit(m.Run())
}

// child is what one is told to do.
type child struct {
	Dir, RingDir string
	Answered     string    // file of what was flushed
	Next         [2]uint32 // number of the next share of each loop
	Shares       uint32    // closes the journal after so many per loop; 0: never
	Pass         bool      // to the next process
}

func (c *child) options() Options {
	return Options{
		Dir: c.Dir, RingDirs: []string{c.RingDir}, Network: "regtest", Loops: 2, Sync: 2 * time.Millisecond,
		SegmentSize: 256 << 10, RingSize: 256 << 10,
	}
}

func (c *child) main() {
	w, err := Open(c.options())
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	answered := counters(c.Answered)
	finished := make(chan struct{})
	for loop := range 2 {
		go func() {
			for n := c.Next[loop]; ; {
				for range 1 + n%7 {
					w.Share(loop, testShare(loop, n), testMiner(int(n%50)))
					n++
				}
				w.Flush(loop)
				answered[loop].Store(n)
				for w.loops[loop].head.Load()-w.loops[loop].freed.Load() > 128<<10 {
					<-time.After(time.Millisecond) // no share is to be lost here
				}
				if n%16 < 7 {
					<-time.After(time.Millisecond)
				}
				if c.Shares > 0 && n >= c.Next[loop]+c.Shares {
					break
				}
			}
			finished <- struct{}{}
		}()
	}
	<-finished
	<-finished
	cancel()
	<-done
	end := w.Close
	if c.Pass {
		end = w.Pass
	}
	if err := end(); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// counters are numbers in a file that two processes have.
func counters(path string) *[2]atomic.Uint32 {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		panic(err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*[2]atomic.Uint32)(unsafe.Pointer(&m[0]))
}

func (c *child) start(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// readShares are all shares that are there now.
func readShares(t *testing.T, r *journal.Reader) (list []journal.Share) {
	t.Helper()
	for {
		k, err := r.Read()
		switch {
		case err == io.EOF:
			return list
		case err != nil:
			t.Fatal(err)
		case k.Kind == journal.KindMissing:
			t.Fatal(k.Missing)
		case k.Kind == journal.KindShare:
			list = append(list, lasting(k).Share)
		}
	}
}

func allShares(t *testing.T, dir string) []journal.Share {
	t.Helper()
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return readShares(t, r)
}

// history checks that the shares of each loop are there from the first on, in order
// and once, and gives the number of the next.
func history(t *testing.T, list []journal.Share) (next [2]uint32) {
	t.Helper()
	for i, s := range list {
		loop := int(s.Extranonce1[3])
		if want := testShare(loop, next[loop]); s.Time != want.Time || !bytes.Equal(shareBody(nil, want), shareBody(nil, &s)) {
			t.Fatalf("share %d of all, loop %d, -want +got:\n%s", i, loop, cmp.Diff(*want, s))
		}
		next[loop]++
	}
	return next
}

// What Flush has returned for is in the journal once, in order, whenever the process
// is killed; also for who follows it meanwhile, and whichever process comes next.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 5
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	c := child{Dir: filepath.Join(t.TempDir(), "journal"), RingDir: memory(t)}
	c.Answered = filepath.Join(c.RingDir, "answered")
	answered := counters(c.Answered)
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Open(c.Dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var followed []journal.Share
	for round := range rounds {
		// Some live to write thousands, some die while they open the journal.
		target := uint32(random.IntN(1500))
		if round%5 == 0 {
			target = 0
		}
		spin := random.IntN(100)
		cmd := c.start(t)
		start := c.Next[0]
		eventually(t, "shares are told", func() bool {
			followed = append(followed, readShares(t, r)...)
			spin--
			return answered[0].Load() >= start+target && spin < 0
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		flushed := [2]uint32{answered[0].Load(), answered[1].Load()}

		if round%2 == 0 { // else the next child does it
			o := c.options()
			var events told
			o.Events = events.tell
			w, err := Open(o)
			if err != nil {
				t.Fatalf("round %d: %v\n%s", round, err, &events)
			}
			mustClose(t, w)
			list := allShares(t, c.Dir)
			next := history(t, list)
			for loop := range 2 {
				if next[loop] < flushed[loop] {
					t.Fatalf("round %d, loop %d: %d shares were answered, %d are there\n%s", round, loop, flushed[loop], next[loop], &events)
				}
			}
			c.Next = next
			followed = append(followed, readShares(t, r)...)
			if history(t, followed) != next {
				t.Fatal("who follows has not read all")
			}
		} else {
			// What was told without an answer may be there or not.
			w, err := Open(c.options())
			if err != nil {
				t.Fatal(err)
			}
			w.lock.Close() // as if it was killed, too
			c.Next = history(t, allShares(t, c.Dir))
			for loop := range 2 {
				if c.Next[loop] < flushed[loop] {
					t.Fatalf("round %d, loop %d: %d shares were answered, %d are there", round, loop, flushed[loop], c.Next[loop])
				}
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d shares of %d processes", len(followed), rounds)
	left, _ := filepath.Glob(filepath.Join(c.RingDir, "*.ring"))
	if len(left) > 3 {
		t.Errorf("rings are left behind: %v", left)
	}
}

// One process closes, the next opens, as in an upgrade: numbers go on in the next
// epoch, none twice and none missing.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	c := child{Dir: filepath.Join(t.TempDir(), "journal"), RingDir: memory(t)}
	c.Answered = filepath.Join(c.RingDir, "answered")
	const processes = 6
	for i := range processes {
		c.Shares, c.Pass = 1500, i%3 != 2
		cmd := c.start(t)
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		answered := counters(c.Answered)
		c.Next = [2]uint32{answered[0].Load(), answered[1].Load()}
		if left, _ := filepath.Glob(filepath.Join(c.RingDir, "*.ring")); (left != nil) != c.Pass {
			t.Fatalf("passed on %v: rings %v are there", c.Pass, left)
		}
	}
	list := readJournal(t, c.Dir, journal.Cursor{})
	if next := history(t, shares(t, list)); next != c.Next {
		t.Errorf("%v shares are there, %v were told", next, c.Next)
	}
	last := journal.Position{Epoch: 1, Number: 0}
	for _, k := range list {
		if k.Position != (journal.Position{Epoch: last.Epoch, Number: last.Number + 1}) && k.Position != (journal.Position{Epoch: last.Epoch + 1, Number: 1}) {
			t.Fatalf("%v comes after %v", k.Position, last)
		}
		last = k.Position
	}
	if last.Epoch != processes {
		t.Errorf("%d epochs of %d processes", last.Epoch, processes)
	}
}
