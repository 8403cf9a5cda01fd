package store

import (
	"context"
	"slices"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// joinAll joins what can be joined of all days, with what is pending.
func joinAll(t testing.TB, s *Store) {
	t.Helper()
	first, last := int64(0), int64(-1)
	if err := s.db.Write(context.Background(), func(tx table.Tx) error {
		var most int64
		if err := one(context.Background(), tx, "select coalesce(max(id), 0) from instances", nil, &most); err != nil {
			return err
		}
		for id := int64(1); id <= most; id++ {
			a := &application{tx: tx, store: s, instance: id}
			if _, err := a.fold(context.Background()); err != nil {
				return err
			}
		}
		return one(context.Background(), tx, "select coalesce(min(ntime) / 86400, 0), coalesce(max(ntime) / 86400, -1) from jobs", nil, &first, &last)
	}); err != nil {
		t.Fatal(err)
	}
	for day := first; day <= last; day++ {
		if err := s.joinDay(context.Background(), day); err != nil {
			t.Fatal(err)
		}
	}
}

func count(t testing.TB, s *Store, of string) (n int64) {
	t.Helper()
	if err := s.db.Read(t.Context(), func(tx table.Tx) error {
		return one(t.Context(), tx, "select count(*) from "+of, nil, &n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// What a worker that never stops leaves behind for ever is a row for each height, shift and
// hour, and not for each job; as long as its shares are kept one by one, it is one for each
// job.
func TestJoinedSums(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		n.s.foldLeast, n.s.foldMost = 0, 0
		p := n.pool(1)
		// A job every 30 seconds, of which 20 are of a height and 100 a shift; the first 10 in
		// an hour, 120 in the next, 30 in that of another day.
		day := dayOf(p.ntime)
		p.ntime = uint32((day+1)*secondsPerDay - 65*60)
		var ids []uint64
		for job := range int64(160) {
			p.now = int64(p.ntime-30) * 1_000_000
			p.jobAt(101+job/20, 1000)
			p.share("alice", 1)
			p.ntime += 30
			ids = append(ids, p.job.ID)
		}
		if rows := count(t, n.s, "job_sums"); rows != 160 {
			t.Fatalf("%d rows of 160 jobs", rows)
		}
		if err := n.s.Retain(t.Context(), (day+1)*secondsPerDay); err != nil {
			t.Fatal(err)
		}
		// Six heights and half of one, the first of which has two hours.
		if rows := count(t, n.s, "job_sums"); rows != 8+30 {
			t.Errorf("%d rows, want 8 and 30", rows)
		}
		consistent(t, n.s)
		sum := total(t, n.s)
		if sum.Accepted.Count != 160 {
			t.Errorf("%d shares", sum.Accepted.Count)
		}
		// The next time there is nothing to be joined of that day, even if it is looked at.
		before := dumpTable(t, n.s, "job_sums")
		if err := n.s.joinDay(t.Context(), day); err != nil {
			t.Fatal(err)
		}
		if dumpTable(t, n.s, "job_sums") != before {
			t.Error("joined twice")
		}
		// What comes late for one of those jobs is a row of its own.
		late := Share{Received: p.now, NTime: p.ntime, Job: ids[8], Credit: difficulty.ExactOf(3), Achieved: difficulty.ExactOf(3), Hash: [16]byte{1, 2, 3}}
		p.tell(&Batch{Shares: []Share{late}, Workers: []Worker{{User, "alice", "rig"}}, Agents: []string{"x"}})
		consistent(t, n.s)
		if rows := count(t, n.s, "job_sums"); rows != 8+30+1 {
			t.Errorf("%d rows with one that is late", rows)
		}
		heights, err := n.s.WorkAt(t.Context())
		if err != nil || !slices.Equal([]string{heights[101].String(), heights[102].String()}, []string{"23", "20"}) {
			t.Errorf("work %v, %v", heights[101], err)
		}
	})
}
