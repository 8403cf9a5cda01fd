package sharelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func record(workID uint64, n int) *Record {
	return &Record{WorkID: workID, ClientID: int64(n), Created: time.Unix(1795327619, 5), WorkerName: "bob.rig1", UserName: "bob"}
}

func appendRecord(t testing.TB, w *Writer, height int64, workID uint64, n int) {
	t.Helper()
	if err := w.Append(height, record(workID, n)); err != nil {
		t.Fatal(err)
	}
}

func TestWriterPath(t *testing.T) {
	if got, want := Path("logs", 850000, 0x6b02867d00000001), "logs/000cf850/6b02867d00000001.sharelog"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// More jobs at once than files are kept open, in several rounds; every record
// is found again, in order, by job.
func TestWriterAndWalk(t *testing.T) {
	dir := t.TempDir()
	w := OpenWriter(dir)
	const jobs, rounds = 3 * maxOpen, 4
	var want []string
	for round := range rounds {
		for job := range jobs {
			appendRecord(t, w, int64(0xc0000+job%3), uint64(job), round)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		open := 0
		for _, f := range w.files {
			if f.f != nil {
				open++
			}
		}
		if open > maxOpen {
			t.Errorf("%d files open", open)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for h := range 3 {
		for job := h; job < jobs; job += 3 {
			for round := range rounds {
				want = append(want, fmt.Sprint(0xc0000+h, job, round))
			}
		}
	}
	os.MkdirAll(filepath.Join(dir, "pool"), 0o755) // what else a log directory holds
	os.WriteFile(filepath.Join(dir, "000c0000", "notes.txt"), []byte("x"), 0o644)
	var got []string
	err := Walk(dir, func(height int64, r Record) error {
		got = append(got, fmt.Sprint(height, r.WorkID, r.ClientID))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d records %v, want %d", len(got), got, len(want))
	}
}

func TestWriterWritesNothingBeforeFlush(t *testing.T) {
	dir := t.TempDir()
	w := OpenWriter(dir)
	appendRecord(t, w, 1, 2, 3)
	if _, err := os.Stat(Path(dir, 1, 2)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file exists before the flush: %v", err)
	}
	for n := range 1000 { // more than a buffer
		appendRecord(t, w, 1, 2, n)
	}
	if info, err := os.Stat(Path(dir, 1, 2)); err != nil || info.Size() == 0 {
		t.Errorf("full buffer not written: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A line torn by a crash must not swallow the next one.
func TestWriterEndsTornLine(t *testing.T) {
	dir := t.TempDir()
	path := Path(dir, 1, 2)
	os.MkdirAll(filepath.Dir(path), 0o755)
	if err := os.WriteFile(path, []byte(`{"workinfoid": 2, "cli`), 0o644); err != nil {
		t.Fatal(err)
	}
	w := OpenWriter(dir)
	appendRecord(t, w, 1, 2, 7)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got []int64
	err := Walk(dir, func(_ int64, r Record) error {
		got = append(got, r.ClientID)
		return nil
	})
	var bad *BadLinesError
	if !errors.As(err, &bad) || bad.Line != 1 || bad.Count != 1 || bad.Path != path {
		t.Errorf("error %v", err)
	}
	if !slices.Equal(got, []int64{7}) {
		t.Errorf("records %v", got)
	}
}

// While the disk refuses lines they are kept, up to a bound; nothing is lost or
// written twice when it recovers.
func TestWriterDiskTrouble(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "00000001")
	if err := os.WriteFile(blocked, nil, 0o644); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	w := OpenWriter(dir)
	appendRecord(t, w, 1, 2, 0)
	if err := w.Flush(); err == nil {
		t.Fatal("flush into a file succeeded")
	}
	kept := 1
	for {
		err := w.Append(1, record(2, kept))
		if errors.Is(err, ErrFull) {
			break
		}
		kept++
	}
	if size := len(w.files[fileID{1, 2}].pending); size > maxPending+1024 {
		t.Errorf("%d bytes pending", size)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	err := Walk(dir, func(_ int64, r Record) error {
		if r.ClientID != n {
			return fmt.Errorf("record %d in place of %d", r.ClientID, n)
		}
		n++
		return nil
	})
	if err != nil || n != int64(kept) {
		t.Errorf("read %d of %d records: %v", n, kept, err)
	}
}

func TestWalkLeavesUnfinishedLine(t *testing.T) {
	dir := t.TempDir()
	path := Path(dir, 1, 2)
	os.MkdirAll(filepath.Dir(path), 0o755)
	text := string(record(2, 1).Append(nil)) + "\n" + strings.Repeat("x", 100)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := Walk(dir, func(int64, Record) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
	stop := errors.New("stop")
	if err := Walk(dir, func(int64, Record) error { return stop }); err != stop {
		t.Errorf("error of the function came back as %v", err)
	}
}

// Follow gives what is added after it began: to files that exist, to new files
// and to new heights.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	w := OpenWriter(dir)
	appendRecord(t, w, 1, 2, 100) // before: not seen
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make(chan string)
	done := make(chan error, 1)
	go func() {
		done <- Follow(ctx, dir, func(height int64, r Record) error {
			select {
			case seen <- fmt.Sprint(height, r.WorkID, r.ClientID):
			case <-ctx.Done():
			}
			return nil
		})
	}()
	// Until the first is seen Follow may not have begun.
	n := 0
	for begun := false; !begun; n++ {
		appendRecord(t, w, 1, 2, n)
		w.Flush()
		select {
		case <-seen:
			begun = true
		case <-time.After(time.Second):
		case <-ctx.Done():
			t.Fatal("nothing seen")
		}
	}
	for _, step := range []struct {
		height int64
		workID uint64
	}{{1, 3}, {2, 4}, {0, 5}} {
		appendRecord(t, w, step.height, step.workID, 1)
		appendRecord(t, w, step.height, step.workID, 2)
		w.Flush()
		for i := 1; i <= 2; i++ {
			want := fmt.Sprint(step.height, step.workID, i)
			for got := ""; got != want; {
				select {
				case got = <-seen:
				case <-ctx.Done():
					t.Fatalf("%s not seen", want)
				}
				if strings.HasSuffix(got, " 100") {
					t.Fatal("record of before Follow seen")
				}
			}
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
	w.Close()
}
