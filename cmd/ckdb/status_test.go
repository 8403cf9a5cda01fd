package main

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
)

// Where an older copy of a journal was put back, status says so, and how many shares of
// it are not stored; afterwards a gap says that some may be missing.
func TestStatusOfOlderCopy(t *testing.T) {
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir, n := filepath.Join(t.TempDir(), "journal"), uint64(0)
	mine := func(shares int) {
		w, err := journalwriter.Open(journalwriter.Options{
			Dir: dir, RingDirs: []string{"/dev/shm"}, Name: "pool", Network: "regtest", Program: "ckpool test",
			Reasons: []string{"accepted"}, Schemes: []string{"pplns"}, Loops: 1, RingSize: 1 << 20,
		})
		if err != nil {
			t.Fatal(err)
		}
		for range shares {
			n++
			sh := &journal.Share{Time: time.Now().UnixMicro(), NTime: uint32(time.Now().Unix()), Difficulty: 1, Credit: 1}
			binary.BigEndian.PutUint64(sh.Hash[:], n)
			w.Share(0, sh, &journal.Miner{User: "alice", Worker: "alice"})
		}
		w.Flush(0)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	keep := func() {
		ctx, cancel := context.WithCancel(t.Context())
		f, ended := &accounting.Follower{Dir: dir, Reader: "ckdb", Store: s}, make(chan error)
		go func() { ended <- f.Run(ctx) }()
		wait.Until(t, time.Minute, "all stored", func() bool {
			list, _, err := s.Status(t.Context())
			return err == nil && len(list) == 1 && list[0].Shares == int64(n)
		})
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	look := func() (st status) {
		c := &call{options: &options{journals: []string{dir}}}
		if err := c.fill(t.Context(), &st, s, nil); err != nil || len(st.Journals) != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
		return st
	}
	mine(10)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mine(20)
	keep()
	if st := look(); st.Journals[0].text() != "of pool: all shares stored" || len(st.Gaps) != 0 {
		t.Errorf("%+v", st)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, dir); err != nil {
		t.Fatal(err)
	}
	mine(5)
	if text := look().Journals[0].text(); !strings.HasPrefix(text, "of pool: 5 shares not stored yet") || !strings.HasSuffix(text, "an older copy of it was put back, and ckdb has not seen that yet") {
		t.Error(text)
	}
	keep()
	st := look()
	if st.Journals[0].text() != "of pool: all shares stored" || len(st.Gaps) != 1 || st.Gaps[0] != (gap{"pool", 2, 21, 0, "replaced"}) {
		t.Errorf("%+v", st)
	}
}
