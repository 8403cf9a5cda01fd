package journalwriter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/journal"
)

// told collects events.
type told struct {
	mu   sync.Mutex
	list []event.Event
}

func (t *told) tell(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, e)
}

func (t *told) has(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.list, func(e event.Event) bool { return strings.Contains(e.Text, text) })
}

func (t *told) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, e := range t.list {
		fmt.Fprintln(&b, e.Level, e.Text)
	}
	return b.String()
}

// memory is a directory for rings.
func memory(t testing.TB) string {
	t.Helper()
	if !onMemory("/dev/shm") {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "journal-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testOptions(t testing.TB) Options {
	return Options{
		Dir: filepath.Join(memory(t), "journal"), RingDirs: []string{memory(t)},
		Name: "ckpool", Network: "regtest", Program: "ckpool 1.0",
		Reasons: []string{"accepted", "malformed", "stale"}, Schemes: []string{"pplns", "solo"},
		Loops: 2, RingSize: 256 << 10,
	}
}

func mustOpen(t testing.TB, o Options) *Writer {
	t.Helper()
	w, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.lock.Close() })
	return w
}

// mustRound writes all that was told.
func mustRound(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.write(); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// shareBody is a share as it stands in files.
func shareBody(b []byte, s *journal.Share) []byte {
	b, _ = s.AppendBinary(b)
	return b
}

// testShare is a share with a number that no other has.
func testShare(loop int, n uint32) *journal.Share {
	s := &journal.Share{
		Time: 1_795_327_613_000_000 + int64(n), Job: 0, Variant: uint8(n % 3),
		Extranonce1: []byte{1, 2, 3, byte(loop)}, Extranonce2: []byte{0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)},
		NTime: 1_795_327_613, Nonce: n, Version: 0x20000000,
		Difficulty: 1024, Credit: 1024, Scheme: uint8(n % 2),
	}
	switch n % 100 { // went up to another pool
	case 43:
		s.Above, s.AboveDifficulty = journal.AcceptedAbove, 65536
	case 49:
		s.Above, s.AboveDifficulty, s.Here, s.AboveText = journal.RefusedAbove, 0.5, 2, []byte("Job not found")
	}
	if n%10 == 9 {
		s.Credit, s.Reason = 0, 2
	} else {
		for i := range 28 {
			s.Hash[i] = byte(n>>(i%4*8)) | 1
		}
	}
	return s
}

func testMiner(n int) *journal.Miner {
	return &journal.Miner{User: fmt.Sprint("user", n), Worker: fmt.Sprintf("user%d.rig", n), Agent: "cgminer/4.12", Address: "10.0.0.1", Limit: 750}
}

// readAll reads until there is no more.
func readAll(t testing.TB, r *journal.Reader) (list []journal.Record) {
	t.Helper()
	for {
		k, err := r.Read()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, lasting(k))
	}
}

// lasting is a copy of a record that stays as it is.
func lasting(k *journal.Record) journal.Record {
	c := *k
	c.Share.Extranonce1, c.Share.Extranonce2 = slices.Clone(k.Share.Extranonce1), slices.Clone(k.Share.Extranonce2)
	c.Share.AboveText = slices.Clone(k.Share.AboveText)
	return c
}

func readJournal(t testing.TB, dir string, after journal.Cursor) []journal.Record {
	t.Helper()
	r, err := journal.Open(dir, after)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return readAll(t, r)
}

// shares are those of a list of records, and nothing may be missing.
func shares(t testing.TB, list []journal.Record) (s []journal.Share) {
	t.Helper()
	for _, k := range list {
		switch k.Kind {
		case journal.KindShare:
			s = append(s, k.Share)
		case journal.KindMissing:
			t.Errorf("missing up to %v: %+v", k.Position, k.Missing)
		}
	}
	return s
}

// What was told is read as it was told, in order, with a number each, by who reads
// it later and by who follows.
func TestRecords(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	r, err := journal.Open(o.Dir, journal.Cursor{Network: "regtest"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var want []journal.Share
	for n := range uint32(1000) {
		loop := int(n % 2)
		s := testShare(loop, n)
		w.Share(loop, s, testMiner(int(n%7)))
		w.Flush(loop)
		want = append(want, *s)
		if n == 500 {
			mustRound(t, w)
		}
	}
	slices.SortStableFunc(want[:501], func(a, b journal.Share) int { return int(a.Extranonce1[3]) - int(b.Extranonce1[3]) })
	slices.SortStableFunc(want[501:], func(a, b journal.Share) int { return int(a.Extranonce1[3]) - int(b.Extranonce1[3]) })
	m := testMiner(3)
	w.Worker(0, &journal.Worker{Time: 1, Client: 77}, m)
	w.Connect(1, &journal.Connect{Time: 2, Client: 78}, m)
	w.Leave(0, &journal.Leave{Time: 3, Client: 77, Why: "idle"}, m)
	w.Difficulty(1, &journal.Difficulty{Time: 4, Client: 78, Job: 0x99, Difficulty: 2048.5}, m)
	w.Flush(0)
	w.Flush(1)
	w.Block(&journal.Block{Time: 5, Job: 0x99, Height: 850_000, Hash: [32]byte{7}, NetworkDifficulty: 1e12, Reward: 312500000, State: "orphaned", Confirmations: 3, Text: "high-hash"}, m)
	st := &journal.Statistics{Time: 6}
	st.Runtime, st.Users, st.Hashrate[6], st.SPS[3], st.BestShare, st.RejectedCount = 60, 5, 1e15, 2.5, 77, 8
	w.Statistics(st)
	mustRound(t, w)
	following := readAll(t, r)
	mustClose(t, w)
	list := readJournal(t, o.Dir, journal.Cursor{})
	if diff := cmp.Diff(list, following); diff != "" {
		t.Errorf("who follows reads something else:\n%s", diff)
	}
	if diff := cmp.Diff(want, shares(t, list)); diff != "" {
		t.Errorf("-told +read:\n%s", diff)
	}
	others := map[journal.Kind]journal.Record{}
	for i, k := range list {
		if (k.Position != journal.Position{Epoch: 1, Number: uint64(i + 1)}) {
			t.Fatalf("record %d is at %v", i, k.Position)
		}
		switch k.Kind {
		case journal.KindShare:
			if !reflect.DeepEqual(k.Miner, testMiner(int(k.Share.Nonce%7))) {
				t.Fatalf("share %d is of %+v", k.Share.Nonce, k.Miner)
			}
			if reason, scheme := o.Reasons[k.Share.Reason], o.Schemes[k.Share.Scheme]; k.Reason != reason || k.Scheme != scheme {
				t.Fatalf("share %d: %s, %s", k.Share.Nonce, k.Reason, k.Scheme)
			}
		default:
			others[k.Kind] = k
		}
	}
	for kind, want := range map[journal.Kind]any{
		journal.KindWorker: journal.Worker{Time: 1, Client: 77}, journal.KindConnect: journal.Connect{Time: 2, Client: 78}, journal.KindLeave: journal.Leave{Time: 3, Client: 77, Why: "idle"}, journal.KindDifficulty: journal.Difficulty{Time: 4, Client: 78, Job: 0x99, Difficulty: 2048.5},
		journal.KindBlock: journal.Block{Time: 5, Job: 0x99, Height: 850_000, Hash: [32]byte{7}, NetworkDifficulty: 1e12, Reward: 312500000, State: "orphaned", Confirmations: 3, Text: "high-hash"}, journal.KindStatistics: *st,
	} {
		k := others[kind]
		got := map[journal.Kind]any{journal.KindWorker: k.Worker, journal.KindConnect: k.Connect, journal.KindLeave: k.Leave, journal.KindDifficulty: k.Difficulty, journal.KindBlock: k.Block, journal.KindStatistics: k.Statistics}[kind]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: -told +read:\n%s", kind, diff)
		}
		if kind != journal.KindStatistics && !reflect.DeepEqual(k.Miner, m) {
			t.Errorf("%v is of %+v", kind, k.Miner)
		}
	}
}

// run runs a writer until the end of the test, or until stop is called.
func run(t testing.TB, w *Writer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// eventually waits for something.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A child that is being started while a journal is closed has a copy of its lock for a
// moment, and is not in the way of who opens it next.
func TestLockIsLeftBesideChildren(t *testing.T) {
	dir := t.TempDir()
	lock, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	child, err := unix.Dup(int(lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if _, err := takeLock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is held: %v", err)
	}
	if err := leaveLock(lock); err != nil {
		t.Error(err)
	}
	next, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaveLock(next); err != nil {
		t.Error(err)
	}
}
