package pool

import (
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// kept is an open journal with a user in it, and what it says.
func kept(t *testing.T) (j *shareJournal, share *session.Share, said *[]string) {
	t.Helper()
	said = new([]string)
	c := config.Default(config.Pool)
	c.LogDir = t.TempDir()
	u := users.New(users.Config{LogDir: c.LogDir, Loops: 1}, time.Now())
	login := session.Login{Time: time.Now(), Worker: "alice.rig1", Remote: netip.MustParseAddrPort("[::ffff:198.51.100.7]:4000")}
	grant, refused := u.Authorize(&login)
	if refused != nil {
		t.Fatal(refused)
	}
	o := &Options{Name: "ckpool", SockDir: t.TempDir(), Version: "test", Events: func(e event.Event) { *said = append(*said, e.Text) }}
	j = newShareJournal(&c, o, 1, u, func() []*session.Work { return nil })
	if err := j.begin(); err != nil || j.writer.Load() != nil {
		t.Fatalf("open without a network: %v", err)
	}
	if err := j.setNetwork("regtest"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.close(); err != nil {
			t.Error(err)
		}
	})
	return j, &session.Share{
		Time: time.Now(), Worker: grant.Worker, Remote: login.Remote, UserAgent: "cgminer/4.9", Limit: 750,
		Extranonce1: session.MakeExtranonce([]byte{1, 2, 3, 4}), Extranonce2: session.MakeExtranonce(make([]byte, 8)), Difficulty: 42, Credit: 42,
	}, said
}

func TestJournalAllocatesNothing(t *testing.T) {
	j, share, _ := kept(t)
	above := *share
	above.WentUp, above.Above, above.AboveDifficulty = true, source.RefusedAbove, 64
	above.Reason, above.Credit, above.Format = session.Refused, 0, &stratum.Reject{Text: "Job not found"}
	if n := testing.AllocsPerRun(1000, func() {
		share.Nonce++
		j.Share(share)
		j.Share(&above)
		j.Flush(0)
	}); n != 0 {
		t.Errorf("%v allocations per share", n)
	}
}

// Who is known has its shares in the journal, refused ones up to a bound, of which
// the rest is said.
func TestJournalOfRefusedShares(t *testing.T) {
	j, share, said := kept(t)
	share.Reason, share.Credit = session.Duplicate, 0
	share.Also = maxRefused - 2
	j.Share(share) // as many as that
	share.Also = maxRefused
	j.Share(share) // one of which is kept
	share.Also = 0
	share.Time = share.Time.Add(time.Second)
	j.Share(share)
	share.Reason, share.Credit = session.Accepted, 42
	j.Share(share)
	share.Worker = 0
	j.Share(share)
	j.Flush(0)
	j.statistics(j.users.Status(share.Time, users.Sessions{}))
	if len(*said) != 1 || !strings.HasPrefix((*said)[0], "500 refused shares are not in the journal") {
		t.Errorf("%q", *said)
	}
	dir := j.options.Dir
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	reasons := map[string]int{}
	for {
		k, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if k.Kind == journal.KindShare {
			reasons[k.Reason]++
			if m := k.Miner; m.User != "alice" || m.Worker != "alice.rig1" || m.Address != "198.51.100.7" || m.Agent != "cgminer/4.9" || k.Scheme != "pplns" {
				t.Fatalf("%+v %+v", k, m)
			}
		}
	}
	if reasons["duplicate"] != maxRefused+1 || reasons["accepted"] != 1 || len(reasons) != 2 {
		t.Errorf("%v", reasons)
	}
}

// Work that is told while the journal is closed, and that is not among the recent work
// before the journal is open again, is in it all the same: miners are about to have it.
func TestJournalHasWorkOfTheMoment(t *testing.T) {
	j, _, _ := kept(t)
	template, err := work.NewTemplate(&work.Parts{Height: 1, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: 1795332536, CoinbaseValue: 5_000_000_000})
	if err != nil {
		t.Fatal(err)
	}
	b := &work.Builder{PayoutScript: []byte{0x51}, Extranonce1Len: 4, Extranonce2Len: 8}
	job, err := b.Job(template, 77, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.pass(); err != nil {
		t.Fatal(err)
	}
	j.work(&session.Work{Job: job, Tip: 77, Oldest: 77})
	if err := j.begin(); err != nil {
		t.Fatal(err)
	}
	dir := j.options.Dir
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		k, err := r.Read()
		if err != nil {
			t.Fatalf("the job is not in the journal: %v", err)
		}
		if k.Kind == journal.KindJob && k.Job.ID == 77 {
			return
		}
	}
}

// The journal of another network is not gone on with, nor that of another process.
func TestJournalIsNotOurs(t *testing.T) {
	j, _, said := kept(t)
	other := &shareJournal{options: j.options, users: j.users, recent: j.recent, loops: j.loops}
	if err := other.setNetwork("regtest"); err != nil {
		t.Fatal(err)
	}
	if err := other.begin(); err == nil || !strings.Contains(err.Error(), "is being written by another process") {
		t.Errorf("%v", err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	other.network = "main"
	if err := other.begin(); err == nil || !strings.Contains(err.Error(), "regtest") {
		t.Errorf("%v", err)
	}
	// Where nobody has asked for one the pool mines without.
	other.unasked = true
	if err := other.setNetwork("main"); err != nil || other.writer.Load() != nil {
		t.Errorf("%v", err)
	}
	if !strings.Contains((*said)[len(*said)-1], "not kept for ckdb: ") {
		t.Errorf("it says %q", *said)
	}
	// What is not a matter of the other process does not become better while all stands still.
	begun := time.Now()
	other.again()
	if took := time.Since(begun); took > againTime/2 {
		t.Errorf("it was tried for %v", took)
	}
	if err := j.begin(); err != nil {
		t.Error(err)
	}
}

// A process that did not take over, and hangs, has the journal until somebody ends it. From then
// on shares are kept again.
func TestJournalIsOursAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _, _ := kept(t)
		var mu sync.Mutex
		var last string
		j.options.Events = func(e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			last = e.Text
		}
		said := func(want string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !strings.HasPrefix(last, want) {
				t.Errorf("it says %q", last)
			}
		}
		if err := j.pass(); err != nil {
			t.Fatal(err)
		}
		other := &shareJournal{options: j.options, users: j.users, recent: j.recent, loops: make([]journalLoop, 1), network: "regtest"}
		if err := other.begin(); err != nil {
			t.Fatal(err)
		}
		j.again()
		said("Shares are counted, but not kept for ckdb: ")
		if err := other.pass(); err != nil {
			t.Fatal(err)
		}
		j.retry(false)
		if j.writer.Load() == nil {
			t.Error("it is not open")
		}
		said("Shares are kept for ckdb again")
	})
}
