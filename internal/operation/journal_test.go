package operation

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/disk"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/journal"
)

// verdicts are the shares that miners were answered, by their hash.
type verdicts struct {
	mu sync.Mutex
	// guarded by mu
	accepted, rejected map[[32]byte]bool
}

func newVerdicts() *verdicts {
	return &verdicts{accepted: map[[32]byte]bool{}, rejected: map[[32]byte]bool{}}
}

func (a *verdicts) add(hash [32]byte, accepted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if accepted {
		a.accepted[hash] = true
	} else {
		a.rejected[hash] = true
	}
}

// answered is how many shares were.
func (a *verdicts) answered() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return uint64(len(a.accepted) + len(a.rejected))
}

// journaled is a pool with a journal, for which every hash is a share and none a block.
func journaled(t *testing.T, journal string) *killed {
	t.Helper()
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	port, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	k := &killed{t: t, dir: t.TempDir(), addr: "127.0.0.1:" + port, shares: map[string]float64{}}
	config := fmt.Appendf(nil, `{"btcd": [{"url": %q, "auth": "user", "pass": "pass"}], "solo": true, "serverurl": %q,
		"mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, "journal": %q}`, node.Addr(), k.addr, journal)
	if err := os.WriteFile(filepath.Join(k.dir, "ckpool.conf"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(k.dir, "s"), 0o750); err != nil {
		t.Fatal(err)
	}
	return k
}

// Killed at any moment under load, and started again: every share that a miner was
// told is accepted is in the journal, each once, and no other that was answered.
func TestJournalOfKilledPools(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := journaled(t, "shares")
	told := newVerdicts()
	for range 4 {
		c := k.start()
		after := time.Duration(random.Int64N(int64(2 * time.Second)))
		_, err := bench.Shares(t.Context(), bench.SharesConfig{Options: k.load(40), Rate: 1000, Answered: told.add,
			During: func(context.Context, func() time.Duration) error {
				<-time.After(after)
				err := c.Process.Signal(syscall.SIGKILL)
				_ = c.Wait()
				return err
			}})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := k.start()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob("/dev/shm/ckpool-*"); len(left) > 0 {
		t.Log(left) // of other tests
	}

	told.compare(t, filepath.Join(k.dir, "logs", "shares"))
}

// compare checks that a journal has each share that was answered true, once, and no other
// that was answered, and that all of it is right. It returns what each user has.
func (a *verdicts) compare(t *testing.T, dir string) map[string]float64 {
	t.Helper()
	s, err := journal.Check(dir, func(f journal.Finding) { t.Errorf("%v: %s", f.Position, f.Text) }, nil)
	if err != nil || s.Wrong > 0 || s.JobMissing > 0 || s.Computed != s.Shares {
		t.Errorf("%+v, %v", s, err)
	}
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	kept, users := map[[32]byte]int{}, map[string]float64{}
	for {
		k, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case k.Kind == journal.KindMissing || k.Kind == journal.KindLost:
			t.Errorf("%v %+v %+v", k.Position, k.Missing, k.Lost)
		case k.Kind == journal.KindShare && k.Reason == "accepted":
			kept[k.Share.Hash]++
			users[k.Miner.User] += k.Share.Credit
		}
	}
	lost, twice, wrong := 0, 0, 0
	for hash := range a.accepted {
		if kept[hash] == 0 {
			lost++
		}
	}
	for hash, n := range kept {
		if n > 1 {
			twice++
		}
		if a.rejected[hash] {
			wrong++
		}
	}
	t.Logf("%d shares were answered true, %d are kept", len(a.accepted), len(kept))
	if lost > 0 || twice > 0 || wrong > 0 || len(a.accepted) == 0 {
		t.Errorf("%d lost, %d there twice, %d kept though refused", lost, twice, wrong)
	}
	return users
}

// A disk that takes nothing for 10 s: no miner waits for it, the operator sees what is
// not yet safe, and all of it is there afterwards.
func TestJournalOnStalledDisk(t *testing.T) {
	t.Parallel()
	dir, stall := disk.Stalling(t, 64<<20)
	k := journaled(t, filepath.Join(dir, "journal"))
	c := k.start()
	told := newVerdicts()
	journalNow := func() control.Journal {
		var j control.Journal
		if err := await(func() (err error) { // on a busy machine one reply may take too long
			j, err = control.Dial(filepath.Join(k.dir, "s"), "ckpool", "listener").Journal(t.Context())
			return err
		}); err != nil {
			t.Error(err)
		}
		return j
	}
	r, err := bench.Shares(t.Context(), bench.SharesConfig{Options: k.load(20), Rate: 500, Answered: told.add,
		During: func(ctx context.Context, slowest func() time.Duration) error {
			<-time.After(500 * time.Millisecond)
			slowest()
			goOn := stall()
			defer goOn()
			before := told.answered()
			<-time.After(10 * time.Second)
			// A busy machine keeps a miner waiting now and then, but not for the disk.
			if d := slowest(); d > 5*time.Second {
				t.Errorf("a miner waited %v while the disk stalled", d)
			}
			// It also has fewer answered than the 5,000 that there could be. The first of them may be safe yet.
			n := told.answered() - before
			if j := journalNow(); n < 500 || j.UnsafeShares < n*9/10 || j.UnsafeAgeMS < 5000 || j.LostShares > 0 {
				t.Errorf("%d shares were answered meanwhile: %+v", n, j)
			}
			goOn()
			if err := await(func() error {
				if j := journalNow(); j.UnsafeAgeMS > 1000 {
					return fmt.Errorf("%+v", j)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("replies took %+v", r.Latency)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	s, err := journal.Check(filepath.Join(dir, "journal"), func(f journal.Finding) { t.Errorf("%v: %s", f.Position, f.Text) }, nil)
	if err != nil || s.Missing > 0 || s.Shares != uint64(len(told.accepted)+len(told.rejected)) {
		t.Errorf("%+v, %d were answered, %v", s, len(told.accepted)+len(told.rejected), err)
	}
}
