package jobs

import (
	"fmt"
	"testing"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"

	"pgregory.net/rapid"
)

// jobClock publishes jobs at chosen times.
type jobClock struct {
	*testing.T
	*Jobs
	builder work.Builder
	start   time.Time
	block   int
}

func newJobClock(t *testing.T) *jobClock {
	start := time.Unix(1795327613, 0)
	return &jobClock{
		T: t, Jobs: New(start), start: start,
		block: 1, builder: work.Builder{PayoutScript: make([]byte, 22), Extranonce1Len: 4, Extranonce2Len: 8},
	}
}

// at publishes a job of the present block after so many seconds and returns
// its id.
func (c *jobClock) at(seconds int) uint64 {
	c.Helper()
	now := c.start.Add(time.Duration(seconds) * time.Second)
	tmpl, err := work.ParseTemplate(fmt.Appendf(nil, `{"version":536870912,"previousblockhash":"%064x","transactions":[],
		"coinbasevalue":312500000,"curtime":%d,"bits":"1d00ffff","height":850000}`, c.block, now.Unix()))
	if err != nil {
		c.Fatal(err)
	}
	w, err := c.publish(&c.builder, nil, &source.Update{Template: tmpl}, now, nil)
	if err != nil {
		c.Fatal(err)
	}
	return w.Job.ID
}

func (c *jobClock) want(id uint64, known bool) {
	c.Helper()
	f := c.Find(id)
	if (f != nil) != known {
		c.Errorf("job %x: known %v, want %v", id, f != nil, known)
	}
	if known && f != nil && f.Job.ID != id {
		c.Errorf("job %x: found %x", id, f.Job.ID)
	}
}

// Shares still arrive for jobs of the present tip for ten minutes after the next
// job, for those of an earlier one for two after the tip.
func TestJobsAreKept(t *testing.T) {
	c := newJobClock(t)
	if c.Find(1) != nil || c.Work(0) != nil {
		t.Fatal("work before the first template")
	}
	first := c.at(0)
	if first != 0x6b02867d<<32 {
		t.Errorf("first job id %x", first)
	}
	second := c.at(30)
	c.at(630)
	c.want(first, true)
	c.at(631)
	c.want(first, false)
	c.want(second, true)

	tip := c.Work(0).Tip
	c.block++
	newTip := c.at(660)
	if c.Work(0).Tip == tip || c.Find(second).Tip != tip {
		t.Error("a new previous block is not a new tip")
	}
	c.want(second, true)
	c.at(780)
	c.want(second, true)
	c.at(781)
	c.want(second, false)
	c.want(newTip, true)
	c.want(newTip+1000, false)
	c.want(0, false)
}

// Many blocks in a row: each tip's jobs go two minutes after that tip did.
func TestJobsOfManyTips(t *testing.T) {
	c := newJobClock(t)
	var ids []uint64
	for i := range 100 {
		c.block++
		ids = append(ids, c.at(5*i))
	}
	for i, id := range ids {
		c.want(id, 5*(99-i-1) <= 120)
	}
}

// With long between updates, or a node that gave no work for long, the job the
// miners have until the next one comes is kept as long after it as any.
func TestJobIsKeptAfterTheNext(t *testing.T) {
	c := newJobClock(t)
	first := c.at(0)
	c.at(3600)
	c.want(first, true)
	c.at(4200)
	c.want(first, true)
	c.at(4201)
	c.want(first, false)
}

// What concerns a job is kept until Work.Oldest has passed it: no job before that
// is found, whatever the pauses between jobs were, and none that is still worth
// something is given up.
func TestOldestJob(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newJobClock(t)
		type published struct {
			id            uint64
			tip           int
			replaced, end int // seconds, -1 if never
		}
		var all []published
		now := 0
		for range rapid.IntRange(1, 40).Draw(rt, "jobs") {
			now += rapid.SampledFrom([]int{0, 1, 30, 119, 120, 121, 599, 600, 601, 1800, 7200}).Draw(rt, "pause")
			newTip := rapid.IntRange(0, 4).Draw(rt, "tip") == 0
			if newTip {
				c.block++
			}
			for i := range all {
				p := &all[i]
				if p.replaced < 0 {
					p.replaced = now
				}
				if newTip && p.end < 0 {
					p.end = now
				}
			}
			all = append(all, published{c.at(now), c.block, -1, -1})
			oldest := c.Work(0).Oldest
			for _, p := range all {
				taken := p.end >= 0 && p.end-p.replaced <= 600 && now-p.end <= 120 || p.end < 0 && (p.replaced < 0 || now-p.replaced <= 600)
				if taken && p.id < oldest {
					rt.Fatalf("job %x is still worth something, the oldest is %x", p.id, oldest)
				}
				if found := c.Find(p.id) != nil; found != (p.id >= oldest) {
					rt.Fatalf("job %x: found %v, the oldest is %x", p.id, found, oldest)
				}
				if p.id < oldest {
					continue
				}
				if first := c.Find(p.id).Tip; first > p.id || (first == c.Work(0).Tip) != (p.tip == c.block) {
					rt.Fatalf("job %x: tip %x, the present one is %x", p.id, first, c.Work(0).Tip)
				}
			}
		}
	})
}

func TestJobsAreBounded(t *testing.T) {
	c := newJobClock(t)
	first := c.at(0)
	for range maxTipJobs - 1 {
		c.at(0)
	}
	c.want(first, true)
	c.at(0)
	c.want(first, false)
	c.want(first+1, true)
}

// Two starts within a second do not give out the same job ids.
func TestJobIDsOfTwoStarts(t *testing.T) {
	at := time.Unix(1795327613, 250_000_000)
	first, second := New(at), New(at.Add(20*time.Millisecond))
	const jobsOfTheFirst = 4096
	if second.next < first.next+jobsOfTheFirst {
		t.Errorf("ids begin at %016x and then at %016x", first.next, second.next)
	}
	if first.next>>32 != uint64(at.Unix()) {
		t.Errorf("%016x does not begin with the second", first.next)
	}
	if next := New(at.Truncate(time.Second).Add(time.Second)).next; New(at.Truncate(time.Second).Add(time.Second-time.Microsecond)).next >= next {
		t.Error("ids go back from one second to the next")
	}
}
