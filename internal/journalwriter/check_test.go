package journalwriter

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/work"
)

func newCounter() *atomic.Uint64 { return new(atomic.Uint64) }

// testJob is a job that every share solves.
func testJob(t testing.TB, id uint64) *work.Job {
	t.Helper()
	tmpl, err := work.NewTemplate(&work.Parts{
		Height: 850_000, Version: 0x20000000, PrevHash: [32]byte{1, byte(id)}, Bits: 0x207fffff, CurTime: 1_795_327_613, CoinbaseValue: 312_500_000,
		Transactions: []work.Transaction{{TxID: [32]byte{5}, WTxID: [32]byte{5}, Data: bytes.Repeat([]byte{1}, 5000)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := work.Builder{Tag: "ckpool", Sig: "/test/", PayoutScript: append([]byte{0, 20}, make([]byte, 20)...), Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000}
	j, err := b.Job(tmpl, id, time.Unix(1_795_327_613, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// minedShare is a share of a job as a pool would judge it.
func minedShare(j *work.Job, nonce uint32, m *journal.Miner) *journal.Share {
	s := testShare(0, nonce)
	s.Job, s.Reason = j.ID, 0
	var sh work.Share
	j.Hash(&sh, &work.Miner{Limit: m.Limit, Payout: m.Payout, Extranonce1: s.Extranonce1},
		&work.Solution{Variant: s.Variant, Extranonce2: s.Extranonce2, Time: s.NTime, Nonce: s.Nonce, Version: s.Version})
	s.Hash = sh.Hash
	s.Difficulty = difficulty.OfHash(&sh.Hash) / 2
	s.Credit = s.Difficulty
	return s
}

// Who has the journal alone computes every share again, over segments and epochs,
// and finds the ones that are not right.
func TestCheck(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 30 << 10
	nonce, wrong := uint32(0), 0
	for epoch := range 2 {
		w := mustOpen(t, o)
		old := testJob(t, uint64(100+epoch))
		if err := w.Job(old, 1); err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			j := testJob(t, uint64(200+10*epoch+n))
			if err := w.Job(j, old.ID); err != nil {
				t.Fatal(err)
			}
			for range 200 {
				nonce++
				m := testMiner(int(nonce % 5))
				s := minedShare([]*work.Job{old, j}[nonce%2], nonce, m)
				switch nonce {
				case 300:
					s.Hash[0] ^= 1
					wrong++
				case 500:
					s.Credit = difficulty.OfHash(&s.Hash) * 1.5
					wrong++
				case 700:
					s.Reason = 2 // and still credited
					wrong++
				}
				w.Share(0, s, m)
			}
			w.Flush(0)
			mustRound(t, w)
		}
		mustClose(t, w)
	}
	var found []string
	s, err := journal.Check(o.Dir, func(f journal.Finding) { found = append(found, f.Position.String()+" "+f.Text) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Shares != 2000 || s.Computed != 1999 || s.JobMissing != 0 || s.Missing != 0 || int(s.Wrong) != wrong || len(found) != wrong {
		t.Errorf("%+v\n%s", s, strings.Join(found, "\n"))
	}
	list, err := journal.Segments(o.Dir)
	if err != nil || len(list) < 6 {
		t.Fatal(list, err)
	}
	var records uint64
	for _, g := range list {
		records += g.Records
		if !g.Whole || g.Damaged != nil || g.Header.Network != "regtest" || g.Shares > g.Records {
			t.Errorf("%+v", g)
		}
	}
	if records != s.Records || list[len(list)-1].Last != (journal.Position{Epoch: 2, Number: 1006}) {
		t.Errorf("%d records, the check has seen %d; last %v", records, s.Records, list[len(list)-1].Last)
	}
}

// What is behind a position is counted as a reader counts it, at each position.
func TestBehind(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 12 << 10
	n := uint32(0)
	for range 2 {
		w := mustOpen(t, o)
		for range 12 {
			for range 17 {
				n++
				w.Share(0, testShare(0, n), testMiner(1))
				if n%5 == 0 {
					w.Worker(0, &journal.Worker{Time: int64(n), Client: 7}, testMiner(2))
				}
			}
			w.Flush(0)
			mustRound(t, w)
		}
		mustClose(t, w)
	}
	list := readJournal(t, o.Dir, journal.Cursor{})
	if segments := segmentsOf(t, o.Dir); len(segments) < 4 {
		t.Fatalf("segments %v", segments)
	}
	at := journal.Position{}
	for i := range len(list) + 1 {
		want := journal.Backlog{Records: uint64(len(list) - i)}
		for _, k := range list[i:] {
			if k.Kind == journal.KindShare {
				want.Shares++
			}
		}
		if i < len(list) {
			want.Since = list[i].Time
		}
		if got, err := journal.Behind(o.Dir, at); err != nil || got != want {
			t.Fatalf("behind %v: %+v, %v, want %+v", at, got, err, want)
		}
		if i < len(list) {
			at = list[i].Position
		}
	}
}

// A record is a line of JSON for people.
func TestAppendJSON(t *testing.T) {
	o := testOptions(t)
	w := mustOpen(t, o)
	j, m := testJob(t, 0x77), testMiner(1)
	if err := w.Job(j, 0x70); err != nil {
		t.Fatal(err)
	}
	w.Share(0, minedShare(j, 5, m), m)
	w.Share(0, testShare(0, 49), m)
	w.Worker(0, &journal.Worker{Time: 1, Client: 77}, m)
	w.Leave(0, &journal.Leave{Time: 3, Client: 77, Why: "idle"}, m)
	w.Flush(0)
	w.Block(&journal.Block{Time: 5_000_000, Job: 0x77, Height: 850_000, Hash: [32]byte{31: 7}, NetworkDifficulty: 1e12, Reward: 312500000, State: "orphaned"}, m)
	w.Statistics(&journal.Statistics{Time: 6})
	mustClose(t, w)
	list := readJournal(t, o.Dir, journal.Cursor{})
	list = append(list, journal.Record{Position: journal.Position{Epoch: 1, Number: 99}, Kind: journal.KindMissing, Missing: journal.Missing{First: journal.Position{Epoch: 1, Number: 90}, Count: 10, Why: "bytes are damaged", File: "x", Offset: 3, Bytes: 4}})
	var lines []string
	for i := range list {
		b, err := list[i].AppendJSON(nil)
		if err != nil || !json.Valid(b) || bytes.Count(b, []byte{'\n'}) != 1 {
			t.Fatalf("%v: %s", err, b)
		}
		lines = append(lines, string(b))
	}
	all := strings.Join(lines, "")
	for _, want := range []string{
		`{"at":"1/1","time":"2026-11-22T`, `"kind":"job","job":"0000000000000077","oldest_job":"0000000000000070","work":{"version":1,`,
		`"kind":"share","user":"user1","worker":"user1.rig","agent":"cgminer/4.12","address":"10.0.0.1","job":"0000000000000077","reason":"accepted","scheme":"solo","difficulty":`,
		`"reason":"stale"`, `"above":{"verdict":"refused","text":"Job not found","difficulty":0.5,"here":"stale"}`, `"credit":0,`, `"extranonce2":"0000000000000031"`, `"kind":"worker"`, `"client":77,"why":"idle"`,
		`"hash":"07000000`, `"time":"1970-01-01T00:00:05.000000Z"`, `"block":{"height":850000,"state":"orphaned","reward":312500000`, `"statistics":{`, `"hashrate1m":`,
		`"why":"10 records from 1/90 on are missing: bytes are damaged (4 bytes of x from 3 on)"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
}
