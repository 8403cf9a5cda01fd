package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/forward"
	"github.com/ckpool/ckpool/internal/metrics"
	"github.com/ckpool/ckpool/internal/notify"
	"github.com/ckpool/ckpool/internal/store"
)

// Pools of one name are one to who watches, and a journal that is not there yet is none.
func TestWatched(t *testing.T) {
	st := status{
		Journals: []journalStatus{
			{Pool: "main", Shares: 100, Repeated: 3, Expired: 4, Behind: 20, Seconds: 1.5}, {Dir: "/nowhere", Trouble: "there is none yet"},
			{Pool: "site", Shares: 7, Seconds: 60, Trouble: "refused"}, {Pool: "main", Shares: 50, Repeated: 1, Behind: 2, Seconds: 1, Trouble: "late"},
		},
		Gaps: []gap{{Pool: "main"}, {Pool: "main"}},
	}
	figures, told := watched(&st, true)
	if want := []metrics.Journal{
		{Pool: "main", Shares: 150, Repeated: 4, Expired: 4, Behind: 22, Lag: 1500 * time.Millisecond, Failing: true, Gaps: 2}, {Pool: "site", Shares: 7, Lag: time.Minute, Failing: true},
	}; !reflect.DeepEqual(figures, want) {
		t.Errorf("%+v, want %+v", figures, want)
	}
	if want := []notify.Journal{{Pool: "main", Lag: 1500 * time.Millisecond, Trouble: "late", Gaps: 2}, {Pool: "site", Lag: time.Minute, Trouble: "refused"}}; !reflect.DeepEqual(told, want) {
		t.Errorf("%+v, want %+v", told, want)
	}
}

// What a database that does not answer has of journals is not known, and no zero.
func TestWatchedWithoutDatabase(t *testing.T) {
	figures, _ := watched(&status{Journals: []journalStatus{{Pool: "main"}, {Pool: "site", Trouble: "no answer"}}}, false)
	if want := []metrics.Journal{{Pool: "main", Unknown: true}, {Pool: "site", Failing: true, Unknown: true}}; !reflect.DeepEqual(figures, want) {
		t.Errorf("%+v, want %+v", figures, want)
	}
}

// A journal that cannot be looked at is no trouble of the database, nor of anything else that
// is told.
func TestUnreadJournal(t *testing.T) {
	db, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	s := service{options: &options{}, store: db, followers: []*accounting.Follower{{Dir: dir}}}
	s.look(t.Context())
	if a := s.watch.Accounts(); a.Away != "" || len(a.Journals) != 1 || a.Journals[0].Pool != dir || a.Journals[0].Trouble == "" {
		t.Errorf("%+v", a)
	}
	if f := s.AccountFigures(); !f.Database.Up || len(f.Journals) != 1 || !f.Journals[0].Failing {
		t.Errorf("%+v, %+v", f.Database, f.Journals)
	}
	st, err := s.status(t.Context())
	if err != nil || len(st.Journals) != 1 || st.Total == nil || st.Chain == nil {
		t.Fatalf("%+v, %v", st, err)
	}
	if text := st.Journals[0].text(); !strings.HasPrefix(text, "of "+dir+": ") || !strings.HasSuffix(text, "not a directory") {
		t.Error(text)
	}
}

// An instance whose journals were named when it began looks at those that came since too.
func TestLookAtNewJournal(t *testing.T) {
	db, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	named, since := filepath.Join(t.TempDir(), "journal"), filepath.Join(t.TempDir(), "since")
	if err := os.WriteFile(since, nil, 0o600); err != nil { // no directory, which troubles whoever looks
		t.Fatal(err)
	}
	s := service{options: &options{named: true, journals: []string{named}}, store: db, followers: []*accounting.Follower{{Dir: named}, {Dir: since}}}
	s.look(t.Context())
	if a := s.watch.Accounts(); a.Away != "" || len(a.Journals) != 1 || a.Journals[0].Pool != since {
		t.Errorf("%+v", a)
	}
}

// Of journals that go to another site, what troubles one is told, and of the others what
// there is.
func TestUnreadJournalToElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	s := service{options: &options{sites: sites{forward: true}}, forwarders: []*forward.Forwarder{{Dir: filepath.Join(t.TempDir(), "none")}, {Dir: dir}}}
	s.look(t.Context())
	if a := s.watch.Accounts(); a.Away != "" || len(a.Journals) != 1 || a.Journals[0].Pool != dir || a.Journals[0].Trouble == "" {
		t.Errorf("%+v", a)
	}
}
