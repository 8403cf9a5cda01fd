package upstream

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"

	"github.com/google/go-cmp/cmp"
)

// Another shape of extranonces with a job behind it moves miners within the pool, which is
// told; without one they go to another pool after a while, and come back with it. No pool is
// called lost whose connection is there.
func TestSetExtranonceShape(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a, b := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Minute)
		time.Sleep(time.Hour) // the log has room
		f.log()
		a.SetExtranonce(func(int) string { return "01" }, 4)
		time.Sleep(shapeTime / 2)
		a.NewJob()
		time.Sleep(time.Minute)
		if name := activeName(g); name != "a" {
			t.Errorf("%q is active", name)
		}
		if d := cmp.Diff([]string{"Upstream a.example.org:1 gives work: difficulty 1e-10, extranonce1 of 1 bytes and extranonce2 of 4, no version rolling"}, f.log()); d != "" {
			t.Error(d)
		}
		a.SetExtranonce(func(int) string { return "01" }, 8)
		time.Sleep(shapeTime - time.Millisecond)
		if name := activeName(g); name != "a" {
			t.Errorf("%q is active", name)
		}
		becomes(t, g, "b", 10*time.Millisecond)
		a.SetExtranonce(func(int) string { return "02" }, 8)
		a.NewJob()
		becomes(t, g, "a", time.Hour)
		want := []string{
			"Upstream a.example.org:1 gives no work any more: miners work for b.example.org:1",
			"Upstream a.example.org:1 gives work: difficulty 1e-10, extranonce1 of 1 bytes and extranonce2 of 8, no version rolling",
			"Miners work for upstream a.example.org:1",
		}
		if d := cmp.Diff(want, f.log()); d != "" {
			t.Error(d)
		}
		if a.Connections.Load() != 1 {
			t.Errorf("%d connections", a.Connections.Load())
		}
		// There and back again is as if nothing had been.
		f.took()
		a.SetExtranonce(func(int) string { return "03" }, 4)
		a.SetExtranonce(func(int) string { return "04" }, 8)
		time.Sleep(time.Minute)
		a.NewJob()
		if u := f.took(); len(u) != 1 || u[0].Ended || activeName(g) != "a" {
			t.Errorf("%+v", u)
		}
	})
}

// A connection moves to another process while a job of another shape is waited for.
func TestSetExtranonceMoving(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9})
		p := f.process(above, nil, nil)
		becomes(t, p.Group, "p", 10*time.Second)
		u := f.job()
		above.SetExtranonce(func(int) string { return "01" }, 4)
		time.Sleep(time.Second)
		record, lines := p.Suspend()
		next := f.process(above, record, lines)
		p.end()
		moved := *u.Upstream
		moved.Judge = next.Judge(u.Upstream.Source)
		u.Upstream = &moved
		f.submit(u, 1, 1e-9, 0)
		synctest.Wait()
		if n := f.counts()["accepted"]; n != 1 {
			t.Errorf("%v: %q", f.counts(), above.Faults())
		}
		updates := f.took() // the pool has sent its job again as it was asked for the worker's name
		if len(updates) != 2 || updates[0].Upstream.Shape != smallShape || !updates[1].Ended || updates[1].Upstream.Source != u.Upstream.Source {
			t.Fatalf("%+v", updates)
		}
		f.submit(updates[0], 1, 1e-9, 0)
		synctest.Wait()
		if n := f.counts()["accepted"]; n != 2 || above.Connections.Load() != 1 {
			t.Errorf("%v: %q", f.counts(), above.Faults())
		}
	})
}

// However much a pool has to say, what becomes of it is told too.
func TestQuotes(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		p := f.started(above, Config{})
		f.log()
		for n := range 1000 {
			above.Send(fmt.Sprintf(`{"id":null,"method":"client.show_message","params":["block %d"]}`, n))
			time.Sleep(time.Second)
		}
		quotes := len(f.log())
		above.DropAll()
		time.Sleep(time.Minute)
		log := f.log()
		if len(log) != 2 || !strings.HasPrefix(log[0], "Upstream pool.example.org:3333 is lost: closed by the pool; again in ") || !strings.HasPrefix(log[1], "Upstream pool.example.org:3333 gives work: ") {
			t.Errorf("%q", log)
		}
		if quotes < 10 || quotes > 30 || !p.Up() {
			t.Errorf("%d lines of 1000 in %v", quotes, 1000*time.Second)
		}
	})
}
