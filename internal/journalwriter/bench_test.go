package journalwriter

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckpool/ckpool/journal"
)

// benchWriter is a writer that has room for n shares.
func benchWriter(b testing.TB, n int64) *Writer {
	o := testOptions(b)
	o.Dir = filepath.Join(b.TempDir(), "journal")
	o.RingSize = n * 300
	return mustOpen(b, o)
}

// sink of a share that loops tell again and again.
func toldShare() (*journal.Share, *journal.Miner) {
	return testShare(0, 12345), &journal.Miner{
		User: "bc1q8qkesw5kyplv7hdxyseqls5m78w5tqdfd40lf5", Worker: "bc1q8qkesw5kyplv7hdxyseqls5m78w5tqdfd40lf5.rig17", Agent: "cgminer/4.12.1", Address: "192.168.100.200", Limit: 750,
	}
}

func TestShareAllocatesNothing(t *testing.T) {
	w := benchWriter(t, 10_000)
	s, m := toldShare()
	w.Share(0, s, m) // makes room for the longest record
	if n := testing.AllocsPerRun(1000, func() {
		w.Share(0, s, m)
		w.Flush(0)
	}); n != 0 {
		t.Errorf("a share allocates %v times", n)
	}
	mustRound(t, w)
	r, err := journal.Open(w.dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 100 {
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(500, func() {
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a share that is read allocates %v times", n)
	}
}

// As many shares as a loop reads at once, then their replies.
func BenchmarkShare(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(map[int]string{1: "each", 64: "of64"}[batch], func(b *testing.B) {
			w := benchWriter(b, 40_000)
			s, m := toldShare()
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				w.Share(0, s, m)
				if n++; n%batch == 0 {
					w.Flush(0)
				}
				if n%4096 == 0 { // as the drain does meanwhile
					w.loops[0].freed.Store(w.loops[0].head.Load())
				}
			}
			if w.Flush(0); w.Status().LostRecords > 0 {
				b.Fatal("records were lost")
			}
		})
	}
}

// What was not chosen: the loop itself writes to a file before its replies.
func BenchmarkWriteOnLoop(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(map[int]string{1: "each", 64: "of64"}[batch], func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			s, m := toldShare()
			var r ring
			var buf []byte
			n := 0
			for b.Loop() {
				r.begin(m)
				r.scratch = shareBody(r.scratch, s)
				buf = append(buf, r.scratch...)
				if n++; n%batch == 0 {
					if _, err := f.Write(buf); err != nil {
						b.Fatal(err)
					}
					buf = buf[:0]
				}
				if n%500_000 == 0 {
					b.StopTimer()
					f.Truncate(0)
					f.Seek(0, io.SeekStart)
					b.StartTimer()
				}
			}
		})
	}
}

// From the rings to the disk, with 1,000 miners. SyncedShares is with fdatasync.
func BenchmarkDrain(b *testing.B) {
	const n = 50_000
	w := benchWriter(b, n)
	miners := make([]*journal.Miner, 1000)
	for i := range miners {
		miners[i] = testMiner(i)
	}
	s := testShare(0, 12345)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range n {
			w.Share(0, s, miners[i%len(miners)])
		}
		w.Flush(0)
		b.StartTimer()
		mustRound(b, w)
	}
	if lost := w.Status().LostRecords; lost > 0 {
		b.Fatalf("%d records were lost", lost)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/share")
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "shares/s")
}

func BenchmarkRead(b *testing.B) {
	const n = 200_000
	w := benchWriter(b, n)
	miners := make([]*journal.Miner, 1000)
	for i := range miners {
		miners[i] = testMiner(i)
	}
	for i := range uint32(n) {
		w.Share(0, testShare(0, i), miners[i%1000])
	}
	w.Flush(0)
	mustRound(b, w)
	size := w.Status().Size
	b.ReportAllocs()
	read := 0
	for b.Loop() {
		r, err := journal.Open(w.dir, journal.Cursor{})
		if err != nil {
			b.Fatal(err)
		}
		for range n {
			if _, err := r.Next(context.Background()); err != nil {
				b.Fatal(err)
			}
			read++
		}
		r.Close()
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "shares/s")
	b.ReportMetric(float64(size)/n, "bytes/share")
}

// What an upgrade waits for: the end of one epoch and the beginning of the next, with
// rings of their usual size.
func BenchmarkReopen(b *testing.B) {
	o := testOptions(b)
	o.Dir, o.RingSize = filepath.Join(b.TempDir(), "journal"), DefaultRingSize
	w := mustOpen(b, o)
	s, m := toldShare()
	for b.Loop() {
		w.Share(0, s, m)
		w.Flush(0)
		if err := w.Pass(); err != nil {
			b.Fatal(err)
		}
		w = mustOpen(b, o)
	}
}
