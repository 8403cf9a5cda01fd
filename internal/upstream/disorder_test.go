package upstream

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
)

// disorder is a group that is moved, or not after all, again and again, while the pool that it
// works for does as it likes.
type disorder struct {
	*farm
	random *rand.Rand
	above  *otherpool.Pool
	config Config
	group  *Group
	end    func()
	jobs   []source.Update
	taken  int64 // shares
}

// begin makes the group of a process.
func (d *disorder) begin() *Group {
	d.t.Helper()
	g, err := NewGroup([]Config{d.config}, GroupOptions{Dial: d.above.Dial, Finder: d, Events: func(e event.Event) {
		if strings.Contains(e.Text, "one moment") { // what the pool says next waits
			time.Sleep(20 * time.Millisecond)
		}
	}})
	if err != nil {
		d.t.Fatal(err)
	}
	return g
}

// something is what the pool does next.
func (d *disorder) something() func() {
	const (
		moment    = `{"id":null,"method":"client.show_message","params":["one moment"]}`
		reconnect = `{"id":null,"method":"client.reconnect","params":[]}`
	)
	g := d.group
	version, size, least := uint32(d.random.IntN(2))*0x1fffe000, []int{8, 4}[d.random.IntN(2)], 1e-9*float64(1+d.random.IntN(3))
	return []func(){
		func() { d.above.Send(reconnect) },
		func() { d.above.Send(moment); d.above.Send(reconnect) },
		func() { d.above.Send(moment); d.above.NewJob() },
		d.above.DropAll,
		d.above.NewJob,
		func() { d.above.SetDifficulty(least) },
		func() { d.above.SetVersionMask(version); d.above.NewJob() },
		func() {
			d.above.SetExtranonce(func(n int) string { return fmt.Sprintf("%08x", n+1000) }, size)
			d.above.NewJob()
		},
		func() { d.above.SetDifficulty(1e-11); d.above.NewJob(); d.above.SetDifficulty(1e-9) },
		func() { _ = g.pools()[0].recruit(1) },
		func() {},
		func() {},
	}[d.random.IntN(12)]
}

// mine finds shares for jobs that there are.
func (d *disorder) mine() {
	for _, u := range d.took() {
		if !u.Ended {
			d.jobs = append(d.jobs, u)
		}
	}
	for range 3 {
		u := d.jobs[len(d.jobs)-1-d.random.IntN(min(len(d.jobs), 2))]
		of := *u.Upstream
		if of.Judge = d.group.Judge(of.Source); of.Judge == nil {
			continue
		}
		u.Upstream = &of
		if of.Judge.Submit(d.find(u, uint64(d.random.IntN(4)), 1e-9, 0)) {
			d.taken++
		}
	}
}

// sleep sleeps for a while or not at all.
func (d *disorder) sleep(most time.Duration) {
	if d.random.IntN(2) == 0 {
		time.Sleep(time.Duration(d.random.Int64N(int64(most))))
	}
}

// move moves the group to another process, or not after all.
func (d *disorder) move() {
	next := d.begin()
	if d.random.IntN(3) > 0 { // else it is told of no connection, and makes its own
		next.Expect(d.group.Standing())
	}
	end := d.runs(next)
	go d.something()()
	record, lines := suspending(d.t, d.group)()
	d.something()()
	d.sleep(40 * time.Millisecond)
	if d.random.IntN(2) == 0 {
		d.group.Resume(lines)
		end()
		return
	}
	if err := next.Adopt(record); err != nil {
		d.t.Fatal(err)
	}
	for _, m := range lines {
		if next.AdoptLine(m.Conn, m.Record) != nil {
			m.Conn.Close()
		}
	}
	next.Begin()
	d.end()
	d.group, d.end = next, end
}

// Whatever a pool does just before a standstill, meanwhile and afterwards: nothing stands still
// for ever, each share counts once, as its miner hears of it, and there is no connection that
// nobody keeps.
func TestMoveInDisorder(t *testing.T) {
	pair := certificate.New(t, "pool.example.org", 1).TLS(t)
	for seed := range uint64(60) {
		bubble(t, func(t *testing.T, f *farm) {
			c := otherpool.Config{VersionMask: 0x1fffe000, Difficulty: 1e-9, Delay: 30 * time.Millisecond, RejectEvery: 7}
			d := &disorder{farm: f, random: rand.New(rand.NewPCG(seed, 0)), config: Config{
				URL: "pool.example.org:3333", User: "farm", VersionMask: 0x1fffe000, Workers: true, LeastDifficulty: 1e-10, MaxLines: 3,
			}}
			if seed%3 == 0 {
				d.config.URL, d.config.TLS = "stratum+ssl://pool.example.org:3333", &tls.Config{InsecureSkipVerify: true}
				c.Wrap = func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}}) }
			}
			d.above = otherpool.New(t, c)
			d.group = d.begin()
			d.end = d.runs(d.group)
			defer func() { d.end() }()
			for range 10 {
				becomes(t, d.group, "p", 2*time.Minute)
				d.above.NewJob()
				d.mine()
				d.something()()
				d.sleep(40 * time.Millisecond)
				d.mine()
				d.move()
				d.sleep(20 * time.Second)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			lines := 0
			for _, l := range d.group.pools()[0].Lines() {
				if l.Source != 0 {
					lines++
				}
			}
			figures := d.group.pools()[0].Figures()
			sum := figures.Accepted.Shares + figures.Refused.Shares + figures.Unanswered.Shares + figures.NotSent.Shares
			if sum != d.taken || figures.Open != 0 || d.above.Connected() != lines {
				t.Errorf("seed %d: %d shares, %d connections kept of %d: %+v", seed, d.taken, lines, d.above.Connected(), figures)
			}
			told := f.counts()
			if told["accepted"] != int(figures.Accepted.Shares) || told["refused"] != int(figures.Refused.Shares) {
				t.Errorf("seed %d: told %v, %+v", seed, told, figures)
			}
		})
	}
}
