package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

// A trusted remote that reports more than its miners have found is believed what they have: the
// main pool computes each share anew.
func TestForgedShares(t *testing.T) {
	t.Parallel()
	f := startFar(t, rareBlocks, nil, nil)
	template, err := work.NewTemplate(&work.Parts{Height: 1001, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: rareBlocks, CurTime: uint32(time.Now().Unix()), CoinbaseValue: 50e8})
	if err != nil {
		t.Fatal(err)
	}
	b := work.Builder{Tag: "evil", PayoutScript: append([]byte{0, 20}, make([]byte, 20)...), Extranonce1Len: 4, Extranonce2Len: 8}
	job, err := b.Job(template, 100, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := journalwriter.Open(journalwriter.Options{
		Dir: dir, RingDirs: []string{t.TempDir()}, Name: "evil", Network: "regtest", Program: "evil/1", Loops: 1,
		Reasons: []string{"accepted"}, Schemes: []string{"pplns"}, SegmentSize: 64 << 10, MaxSize: 1 << 20, RingSize: 64 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Job(job, 1); err != nil {
		t.Fatal(err)
	}
	for nonce, forge := range []func(s *journal.Share){
		func(s *journal.Share) { s.Difficulty, s.Credit = 1e6*s.Difficulty, 1e6*s.Credit },
		func(s *journal.Share) { s.Credit *= 1e6 },
		func(s *journal.Share) { clear(s.Hash[16:]) },
		func(s *journal.Share) { s.Job = 77 },
		func(s *journal.Share) { s.Time = 0 },                         // which no database takes
		func(s *journal.Share) { s.Time += time.Hour.Microseconds() }, // at last one that is right, by a clock that is not
	} {
		m := journal.Miner{User: "evil", Worker: fmt.Sprint("evil.", nonce)}
		s := journal.Share{
			Time: time.Now().UnixMicro(), Job: job.ID, Extranonce1: make([]byte, 4), Extranonce2: make([]byte, 8),
			NTime: template.CurTime, Nonce: uint32(nonce), Version: template.Version,
		}
		var computed work.Share
		job.Hash(&computed, &work.Miner{Extranonce1: s.Extranonce1}, &work.Solution{Extranonce2: s.Extranonce2, Time: s.NTime, Nonce: s.Nonce, Version: s.Version})
		s.Hash = computed.Hash
		s.Difficulty = difficulty.OfHash(&s.Hash) / 2
		s.Credit = s.Difficulty
		forge(&s)
		w.Share(0, &s, &m)
	}
	w.Flush(0)
	instance := w.Status().Instance
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", f.main.trusted())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, `{"method":"mining.remote","params":["evil/1",{"dialect":1,"secret":"far"}]}`+"\n"+
		`j {"instance":%q,"name":"evil","network":"regtest"}`+"\n", instance)
	segments, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		if data, err := os.ReadFile(filepath.Join(dir, s.Name())); err == nil && filepath.Ext(s.Name()) == ".journal" {
			_, _ = c.Write(poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Bytes, Text: poolproto.AppendBytes(nil, s.Name(), data)}))
		}
	}
	accepted := func(i int) int64 {
		k, _ := f.main.pool.Users().Worker(fmt.Sprint("evil.", i), time.Now())
		return k.Rejects.Accepted
	}
	eventually(t, patience, "the share that is right", func() bool { return accepted(5) == 1 })
	if k, _ := f.main.pool.Users().Worker("evil.5", time.Now()); k.LastShare.After(time.Now()) {
		t.Errorf("the last share is of %v", k.LastShare)
	}
	for i := range 5 {
		if n := accepted(i); n != 0 {
			t.Errorf("%d shares of worker %d count", n, i)
		}
	}
	s, err := store.Open(t.Context(), "sqlite:"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	follower := &accounting.Follower{Dir: filepath.Join(f.main.config.LogDir, "remotes", journalwriter.MirrorDir(instance, "evil")), Reader: "test", Store: s}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		if err := follower.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	eventually(t, patience, "all of it is read", func() bool { return follower.Progress().Position.Number >= 7 }) // and the job
	cancel()
	following.Wait()
	sums, err := s.Sums(t.Context(), store.Query{By: store.ByWorker})
	if err != nil || len(sums) != 1 || sums[0].Accepted.Count != 1 || sums[0].Worker.Name != "5" {
		t.Errorf("ckdb has %+v, %v", sums, err)
	}
}
