package e2e

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/firmware"
)

// device is simulated firmware that mines for a test.
type device struct {
	*firmware.Device
	t *testing.T
}

// device connects firmware of a family as a worker.
func (r *running) device(t *testing.T, family, worker string, o firmware.Options) *device {
	t.Helper()
	f, ok := firmware.Find(family)
	if !ok {
		t.Fatalf("no firmware %q", family)
	}
	d, err := f.Dial(t.Context(), r.addr, worker, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return &device{d, t}
}

// mine mines until a condition holds. No share may be lost.
func (d *device) mine(what string, until func(firmware.Stats) bool) firmware.Stats {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*patience)
	defer cancel()
	s, err := d.Mine(ctx, until)
	if err != nil {
		d.t.Fatalf("%s: %v: %+v", what, err, s)
	}
	d.lossless(what, s)
	return s
}

// lossless fails the test for every share that was lost, but for those that
// crossed with a new block on their way.
func (d *device) lossless(what string, s firmware.Stats) {
	d.t.Helper()
	stale := s.Rejects["21 Stale"]
	if len(s.Losses) > 0 || s.Submitted != s.Accepted+stale || stale > 0 && s.CleanJobs < 2 {
		d.t.Fatalf("%s: %s\n%+v", what, s.Failure(), s)
	}
}

// shares mines until n more shares were submitted.
func (d *device) shares(n int) firmware.Stats {
	d.t.Helper()
	n += d.Stats().Submitted
	return d.mine("shares", func(s firmware.Stats) bool { return s.Submitted >= n })
}

// credited is what the pool has put to the account of a user.
func (r *running) credited(user string) float64 {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.config.LogDir, "users", user))
	if err != nil {
		r.t.Fatal(err)
	}
	var file struct {
		Shares float64 `json:"shares_exact"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		r.t.Fatal(err)
	}
	return file.Shares
}

// atDifficulty1 starts a pool on a node whose blocks no CPU finds, with
// enough transactions for a long merkle branch.
func atDifficulty1(t *testing.T, k keys) *running {
	n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff, Transactions: 600})
	return setup{nodes: []keys{fakeEntry(n)}, keys: k}.start(t)
}

// forFamily is what a pool must be configured with for a family.
func forFamily(f firmware.Family) keys {
	if f.MaxExtranonce2 < 8 {
		return keys{"nonce2length": f.MaxExtranonce2}
	}
	return nil
}

// userOf makes a user name of a family's.
func userOf(f firmware.Family) string {
	return strings.NewReplacer(" ", "-", ".", "-").Replace(strings.ToLower(f.Name))
}

// Every family of firmware connects, mines and gets credit.
func TestFirmware(t *testing.T) {
	t.Parallel()
	for _, f := range firmware.Families() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			p := atDifficulty1(t, forFamily(f))
			user := userOf(f)
			d := p.device(t, f.Name, user+".rig1", firmware.Options{Suggest: 1e-8, ShareRate: 40})
			s := d.shares(40)
			if d.Session().ID == "" || s.Jobs == 0 || s.CleanJobs == 0 {
				t.Errorf("%+v", s)
			}
			status := ask[struct {
				Accepted      float64 `json:"accepted"`
				AcceptedCount int     `json:"accepted_count"`
				RejectedCount int     `json:"rejected_count"`
			}](p, "poolstats")
			if status.AcceptedCount != s.Accepted || status.RejectedCount != 0 {
				t.Errorf("the pool counts %+v, the device %d", status, s.Accepted)
			}
			d.Close()
			worked, other := s.Worked, "other-"+user
			// A password goes before what is suggested. Some devices take its difficulty for
			// work they have already, too.
			after := 0.0
			for password, want := range map[string]float64{"d=3e-8": 3e-8, "x,diff=7e-9": 7e-9} {
				d := p.device(t, f.Name, other+".rig2", firmware.Options{Suggest: 1e-8, ShareRate: 40, Password: password})
				s := d.shares(10)
				if last(s) != want {
					t.Errorf("password %s: difficulties %v", password, s.Difficulties)
				}
				after += s.Worked
				d.Close()
			}
			p.stop()
			// One that mines at the next power of two does more than it is paid for.
			if got := p.credited(user); !near(got, worked) && (f.Name != "SV2 translator" || got > worked || got < worked/2) {
				t.Errorf("credited %g for work of %g", got, worked)
			}
			if got := p.credited(other); got > 2*after || got < after/2 {
				t.Errorf("credited %g for work of %g at a password's difficulties", got, after)
			}
		})
	}
}

// The same in solo mode, where the coinbase is the miner's own.
func TestFirmwareSolo(t *testing.T) {
	t.Parallel()
	for _, f := range firmware.Families() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			n := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff, Transactions: 600})
			p := setup{solo: true, nodes: []keys{fakeEntry(n)}, keys: forFamily(f)}.start(t)
			d := p.device(t, f.Name, donationAddress+".rig1", firmware.Options{Suggest: 1e-8, ShareRate: 40})
			d.shares(10)
			n.NewBlock()
			clean := d.Stats().CleanJobs
			crossed := d.mine("a new block", func(s firmware.Stats) bool { return s.CleanJobs > clean }).Rejects["21 Stale"]
			s := d.shares(10)
			if stale := s.Rejects["21 Stale"] - crossed; stale > 0 {
				t.Errorf("%d of 10 shares are stale, of work that came with the block", stale)
			}
			d.Close()
			p.stop()
			if got := p.credited(donationAddress); !near(got, s.Worked) && (f.Name != "SV2 translator" || got > s.Worked) {
				t.Errorf("credited %g for work of %g", got, s.Worked)
			}
		})
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) }

// The difficulty goes up by the rate of shares and down by suggestion, while
// shares are in flight all the time: none is lost, and each is credited with
// the difficulty of its job.
func TestFirmwareThroughChanges(t *testing.T) {
	t.Parallel()
	for _, f := range firmware.Families() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			p := atDifficulty1(t, forFamily(f))
			user := userOf(f)
			d := p.device(t, f.Name, user, firmware.Options{Suggest: 2e-9, HashRate: 600, Window: 8})
			last := func(s firmware.Stats) float64 { return s.Difficulties[len(s.Difficulties)-1] }
			d.mine("first difficulty", func(s firmware.Stats) bool { return len(s.Difficulties) > 0 })
			s := d.mine("flood", func(s firmware.Stats) bool { return last(s) > 5e-8 })
			raised := last(s)
			if err := d.Suggest(4e-9); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			d.mine("suggestion", func(s firmware.Stats) bool { return last(s) == 4e-9 })
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the suggestion took %v", took)
			}
			s = d.mine("flood again", func(s firmware.Stats) bool { return last(s) > 5e-8 })
			t.Logf("%d shares, raised to %g", s.Accepted, raised)
			d.Close()
			p.stop()
			if got := p.credited(user); got > s.Worked*1.01 || got < s.Worked/2 || !slices.Contains(inexact, f.Name) && !near(got, s.Worked) {
				t.Errorf("credited %g for work of %g", got, s.Worked)
			}
		})
	}
}
