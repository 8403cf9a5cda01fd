package operator

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/work"
)

// What a page shows adds up: workers are their user, and users the pool, each second anew
// (oliverw/miningcore#1333, p2pool-starter-stack/pithead#13). When miners stop all goes
// down to nothing, the minute's rate within eleven minutes to a five hundredth; nothing stays for
// hours (oliverw/miningcore#165, #610).
func TestViewAddsUpAndEnds(t *testing.T) {
	h := newHarness(t, false)
	v := h.View()
	for _, dir := range []string{"pool", "users"} {
		if err := os.Mkdir(filepath.Join(h.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	job := &work.Job{ID: 1, Template: &work.Template{Height: 850000}}
	workers := map[string]session.WorkerID{}
	for _, name := range []string{"alice.rig1", "alice.rig2", "bob"} {
		g, refused := h.Users.Authorize(&session.Login{Time: start, Worker: name, Remote: netip.MustParseAddrPort("198.51.100.7:1234"), Client: 13})
		if refused != nil {
			t.Fatal(refused)
		}
		h.Users.Attach(g.Worker, 13, "cgminer/4.12.1", start)
		workers[name] = g.Worker
	}
	now := start
	second := func() {
		now = now.Add(time.Second)
		if err := h.Users.Tick(now, users.Sessions{}); err != nil {
			t.Fatal(err)
		}
	}
	all := func() (pool, ofUsers, ofWorkers [2]float64) {
		p := v.Pool(now)
		pool = [2]float64{p.DSPS1, p.DSPS5}
		for _, u := range v.Users(now) {
			ofUsers[0] += u.DSPS1
			ofUsers[1] += u.DSPS5
			one, _ := v.User(u.User, now)
			if one != u {
				t.Errorf("in the list %+v, alone %+v", u, one)
			}
			var sum control.Rates
			for _, w := range v.Workers(u.User, now) {
				sum.DSPS1 += w.DSPS1
				sum.DSPS5 += w.DSPS5
			}
			ofWorkers[0] += sum.DSPS1
			ofWorkers[1] += sum.DSPS5
		}
		return pool, ofUsers, ofWorkers
	}
	credit := map[string]float64{"alice.rig1": 100, "alice.rig2": 200, "bob": 1000}
	for range 20 * 60 {
		second()
		for name, difficulty := range credit {
			h.Users.Share(&session.Share{
				Time: now, Worker: workers[name], Job: job, Current: job, Hashed: true,
				Computed: work.Share{Difficulty: 2 * difficulty}, Difficulty: difficulty, Credit: difficulty,
			})
		}
	}
	second()
	full, ofUsers, ofWorkers := all()
	for i := range full {
		if math.Abs(full[i]-1300) > 65 || math.Abs(ofUsers[i]-full[i]) > 0.05*full[i] || math.Abs(ofWorkers[i]-ofUsers[i]) > 0.01*full[i] {
			t.Errorf("1300 a second: the pool has %v, users %v, workers %v", full, ofUsers, ofWorkers)
		}
	}
	for range 11 * 60 {
		second()
	}
	pool, ofUsers, ofWorkers := all()
	for _, sum := range [][2]float64{pool, ofUsers, ofWorkers} {
		if sum[0] > full[0]/500 || sum[1] > full[1]/5 {
			t.Errorf("eleven minutes after the last share there are %v, %v while there were shares", sum, full)
		}
	}
	for range 2 * 60 * 60 {
		second()
	}
	if pool, ofUsers, ofWorkers := all(); pool[1]+ofUsers[1]+ofWorkers[1] > 1e-6 {
		t.Errorf("hours later there are %v, %v, %v", pool, ofUsers, ofWorkers)
	}
}
