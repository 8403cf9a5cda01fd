package accounting

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/work"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// each runs a test with an empty database of each kind.
func each(t *testing.T, test func(t *testing.T, where string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+t.TempDir()) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.Filled(t, store.Open)) })
}

func open(t testing.TB, where string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// began is 2026-11-22 06:06:53 UTC, in microseconds.
const began = 1_795_327_613_000_000

// pool writes a journal, and counts by itself what it has told.
type pool struct {
	t       testing.TB
	options journalwriter.Options
	w       *journalwriter.Writer
	job     *work.Job
	jobs    uint64
	n       uint32 // shares
	clock   int64  // what is added to the time of a share

	accepted map[string]*big.Rat // credit by user
	shares   map[string]int64    // accepted, by user
	refused  int64
}

func newPool(t testing.TB) *pool {
	return &pool{t: t, accepted: map[string]*big.Rat{}, shares: map[string]int64{}, options: journalwriter.Options{
		Dir: filepath.Join(t.TempDir(), "journal"), RingDirs: []string{t.TempDir()}, Name: "ckpool", Network: "regtest", Program: "ckpool 1.0",
		Reasons: []string{"accepted", "stale", "low diff"}, Schemes: []string{"pplns", "solo"}, Loops: 1,
	}}
}

// open begins an epoch, with a job.
func (p *pool) open() {
	p.t.Helper()
	w, err := journalwriter.Open(p.options)
	if err != nil {
		p.t.Fatal(err)
	}
	p.w = w
	p.nextJob()
}

func (p *pool) close() {
	p.t.Helper()
	if err := p.w.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// write lets a whole epoch be told by f.
func (p *pool) write(f func()) {
	p.t.Helper()
	p.open()
	f()
	p.close()
}

// run writes while the test goes on, until stop.
func (p *pool) run() (stop func()) {
	p.open()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	w := p.w
	running.Go(func() { w.Run(ctx) })
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
		p.close()
	})
}

func (p *pool) nextJob() {
	p.t.Helper()
	p.jobs++
	tmpl, err := work.NewTemplate(&work.Parts{
		Height: 850_000, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: began / 1_000_000, CoinbaseValue: 312_500_000,
	})
	if err == nil {
		b := work.Builder{Tag: "ckpool", Sig: "/test/", PayoutScript: append([]byte{0, 20}, make([]byte, 20)...), Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000}
		p.job, err = b.Job(tmpl, p.jobs, time.UnixMicro(began), nil)
	}
	if err == nil {
		err = p.w.Job(p.job, 1)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// share is share n; its hash is that of no other.
func (p *pool) share(n uint32) (*journal.Share, *journal.Miner) {
	credit := []float64{1e-12, 0.1, 42, 1024, 1e18}[n%5]
	s := &journal.Share{
		Time: began + p.clock + int64(n)*1000, Job: p.job.ID, Extranonce1: []byte{1, 2, 3, 4}, Extranonce2: binary.BigEndian.AppendUint64(nil, uint64(n)),
		NTime: began/1_000_000 + n/1000, Nonce: n, Version: 0x20000000, Difficulty: credit, Credit: credit,
	}
	binary.BigEndian.PutUint32(s.Hash[:], n+1)
	if n%10 == 9 {
		s.Credit, s.Reason = 0, uint8(1+n/10%2)
	}
	user := fmt.Sprintf("user%d", n%3)
	return s, &journal.Miner{User: user, Worker: user + ".rig", Agent: "cgminer/4.12", Address: "10.0.0.1"}
}

// tell tells so many further shares.
func (p *pool) tell(count int) {
	for range count {
		s, m := p.share(p.n)
		p.n++
		p.w.Share(0, s, m)
		if s.Reason != 0 {
			p.refused++
			continue
		}
		credit, _ := new(big.Rat).SetString(strconv.FormatFloat(s.Credit, 'f', -1, 64))
		if p.accepted[m.User] == nil {
			p.accepted[m.User] = new(big.Rat)
		}
		p.accepted[m.User].Add(p.accepted[m.User], credit)
		p.shares[m.User]++
	}
	p.w.Flush(0)
}

func (p *pool) all() (n int64) {
	for _, k := range p.shares {
		n += k
	}
	return n
}

// told are events.
type told struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *told) tell(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.text, e.Text)
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// following is a Follower that runs.
type following struct {
	*Follower
	t     testing.TB
	told  *told
	ended chan error
	stop  func()
}

func follow(t testing.TB, s *store.Store, dir string) *following {
	f := &following{t: t, told: &told{}, ended: make(chan error, 1)}
	f.Follower = &Follower{Dir: dir, Reader: "ckdb", Store: s, Events: f.told.tell}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		f.ended <- f.Run(ctx)
		close(done)
	}()
	f.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(f.stop)
	return f
}

const patience = time.Minute

// behind waits until all is stored that is in the journal.
func (f *following) behind() {
	f.t.Helper()
	wait.Until(f.t, patience, "all stored", func() bool {
		p := f.Progress()
		b, err := journal.Behind(f.Dir, p.Position)
		return p.Instance != "" && err == nil && b.Records == 0
	})
}

// refuses waits for the end and wants it for a reason.
func (f *following) refuses(text string) {
	f.t.Helper()
	select {
	case err := <-f.ended:
		if err == nil || !strings.Contains(err.Error(), text) || !f.Progress().Refused {
			f.t.Errorf("ended with %v, want %q", err, text)
		}
	case <-time.After(patience):
		f.t.Errorf("it goes on; told:\n%s", f.told)
	}
}

func (f *following) says(text string) {
	f.t.Helper()
	f.tells()
	wait.Until(f.t, patience, "told: "+text, func() bool { return strings.Contains(f.told.String(), text) })
}

// tells shows what was told and how far it is, where the test fails.
func (f *following) tells() {
	f.t.Cleanup(func() {
		if f.t.Failed() {
			f.t.Logf("%+v, told:\n%s", f.Progress(), f.told)
		}
	})
}

// status is that of the only instance.
func status(t testing.TB, s *store.Store) store.InstanceStatus {
	t.Helper()
	list, _, err := s.Status(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	return list[0]
}

// sums are those of all accounts by name.
func sums(t testing.TB, s *store.Store) map[string]store.Sum {
	t.Helper()
	list, err := s.Sums(t.Context(), store.Query{By: store.ByAccount, Days: true})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]store.Sum{}
	for _, r := range list {
		all[r.Account] = r.Sum
	}
	return all
}

// matches compares what is stored with what the pool has counted, exactly.
func (p *pool) matches(s *store.Store) {
	p.t.Helper()
	var refused int64
	got := sums(p.t, s)
	for user, sum := range got {
		rejected := sum.Rejected()
		refused += rejected.Count
		work, _ := new(big.Rat).SetString(sum.Accepted.Work.String())
		if want := p.accepted[user]; want == nil || work.Cmp(want) != 0 || sum.Accepted.Count != p.shares[user] {
			p.t.Errorf("%s has %d shares with %s, want %d with %v", user, sum.Accepted.Count, sum.Accepted.Work, p.shares[user], want)
		}
	}
	if len(got) != len(p.accepted) || refused != p.refused {
		p.t.Errorf("%d accounts, want %d; %d refused, want %d", len(got), len(p.accepted), refused, p.refused)
	}
	differences, err := s.Check(p.t.Context(), nil)
	if err != nil || len(differences) > 0 {
		p.t.Errorf("%q, %v", differences, err)
	}
}
