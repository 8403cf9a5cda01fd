package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/source"
)

// X1: what a pool above sees is one miner under the configured name, with all of the
// extranonce2 that it gave.
func TestX1(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{VersionMask: 0x1fffe000, Difficulty: 1e-9})
		f.started(above, Config{User: "acct.worker", Password: "pass", Agent: "ckpool/1", VersionMask: 0x1fffe000})
		u := f.job()
		f.submit(u, 1, 1e-9, 0)
		synctest.Wait()
		if v := f.verdict(1); v != "accepted" || above.Book()["acct.worker"].Shares != 1 {
			t.Errorf("%q, %v", v, above.Book())
		}
		want := []string{
			`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]}`,
			`{"id":2,"method":"mining.subscribe","params":["ckpool/1"]}`,
			`{"id":3,"method":"mining.authorize","params":["acct.worker","pass"]}`,
			`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`,
		}
		if got := above.Lines(); !slices.Equal(got, want) {
			t.Errorf("the pool has seen\n%s", strings.Join(got, "\n"))
		}
	})
}

// seat seats sessions as they come: each waits until there is a place for it.
func seat(t *testing.T, p *Pool, sessions int) map[uint32]int {
	t.Helper()
	at := map[uint32]int{}
	for n := range sessions {
		for tries := 0; ; tries++ {
			if number, ok := p.Place(0); ok {
				p.Opened(number)
				at[number]++
				break
			}
			if tries == 100 {
				t.Fatalf("no place for session %d", n)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
	}
	return at
}

// X2, bitaxeorg/ESP-Miner#1064: an extranonce2 of 3 bytes, behind an extranonce1 of 5 or
// 9, carries many miners on one connection, and no two of one number.
func TestX2(t *testing.T) {
	for _, one := range []int{5, 9} {
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{Extranonce1: func(n int) string { return strings.Repeat(fmt.Sprintf("%02x", n), one) }, Extranonce2Len: 3})
			p := f.started(above, Config{MaxLines: 6})
			if at := seat(t, p, 5); len(at) != 1 || above.Connected() != 1 {
				t.Errorf("5 miners need %d connections, there are %d", len(at), above.Connected())
			}
		})
	}
}

// X3: as many connections as the space needs, opened ahead of demand and no more than
// allowed; those without a session are retired, all but the first.
func TestX3(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Extranonce2Len: 4})
		p := f.started(above, Config{MaxLines: 3})
		at := seat(t, p, 300)
		if len(at) != 2 || above.Connected() != 2 {
			t.Fatalf("300 miners on %v, %d connections", at, above.Connected())
		}
		for number, n := range at {
			if n > 256 {
				t.Errorf("%d sessions on source %d", n, number)
			}
		}
		// The second is there before the first is full.
		for _, n := range seat(t, p, 3*256-300) {
			if n > 256 {
				t.Error(n)
			}
		}
		if n := above.Connected(); n != 3 {
			t.Errorf("%d connections", n)
		}
		if number, ok := p.Place(0); ok {
			t.Errorf("a place on source %d, which is full", number)
		}
		time.Sleep(time.Minute)
		if n := above.Connected(); n != 3 {
			t.Errorf("%d connections, at most 3 are allowed", n)
		}
		for _, l := range p.Lines() {
			if l.Sessions != 256 || l.Capacity != 256 || l.Extranonce2Len != 4 {
				t.Errorf("%+v", l)
			}
			for range 256 {
				p.Closed(l.Source)
			}
		}
		time.Sleep(9 * time.Minute)
		if n := above.Connected(); n != 3 {
			t.Errorf("%d connections, idle for 9 minutes", n)
		}
		time.Sleep(3 * time.Minute)
		if n := above.Connected(); n != 1 || !p.Up() {
			t.Errorf("%d connections, idle for 12 minutes", n)
		}
	})
}

// A source that has numbers at rest, though there are fewer sessions than it has room
// for, is left alone for a while.
func TestFull(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Extranonce2Len: 3})
		p := f.started(above, Config{})
		first, _ := p.Place(0)
		p.Full(first)
		synctest.Wait()
		time.Sleep(time.Second)
		second, ok := p.Place(0)
		if !ok || second == first || above.Connected() != 2 {
			t.Errorf("sources %d and %d, %d connections", first, second, above.Connected())
		}
		time.Sleep(fullFor)
		if again, _ := p.Place(0); again != first {
			t.Errorf("source %d is not asked again", first)
		}
	})
}

// braiins/farm-proxy#16: the pool above gives an empty extranonce1, as a proxy may. One
// connection is as good as any; a second with the same work would find the same hashes.
func TestSameWorkOnTwoConnections(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Extranonce1: func(int) string { return "" }, Extranonce2Len: 2})
		p := f.started(above, Config{MaxLines: 5})
		u := f.job()
		p.Opened(u.Upstream.Source)
		time.Sleep(10 * time.Minute)
		if n := above.Connected(); n != 1 || above.Connections.Load() > 3 {
			t.Errorf("%d connections, %d were made", n, above.Connections.Load())
		}
		f.submit(u, 1, 1e-10, 0)
		synctest.Wait()
		if v := f.verdict(1); v != "accepted" || !p.Up() {
			t.Errorf("%q, %+v", v, p.Status())
		}
	})
}

// btccom/btcagent#3: every size works or is refused in one clear line, and is tried again.
func TestRefusedSizes(t *testing.T) {
	for size, want := range map[int]string{
		-1: "mining.subscribe: extranonce2 length is not a number from 1 to 32",
		17: "an extranonce2 of 17 bytes: at most 16 are supported",
		33: "mining.subscribe: extranonce2 length is not a number from 1 to 32",
	} {
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{Extranonce2Len: size})
			p := f.pool(Config{}, Options{Dial: above.Dial})
			time.Sleep(3 * time.Second)
			log := f.log()
			if len(log) != 1 || !strings.HasPrefix(log[0], "Upstream pool.example.org:3333 gives no work: "+want+"; again in ") {
				t.Errorf("%d bytes: %q", size, log)
			}
			if s := p.Status(); s.State != "no work" || s.Reason != want || p.Up() || len(f.took()) != 0 {
				t.Errorf("%d bytes: %+v", size, s)
			}
			above.Configure(func(c *otherpool.Config) { c.Extranonce2Len = 8 })
			f.works(p)
		})
	}
}

// fireworm71/veriumMiner#26: work and difficulty before the reply to mining.subscribe,
// with the difficulty as a string, and in pieces.
func TestWorkFirst(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{WorkFirst: true, StringDifficulty: true, Pieces: true, Difficulty: 2e-9})
		f.started(above, Config{})
		u := f.job()
		f.submit(u, 1, 2e-9, 0)
		synctest.Wait()
		if v := f.verdict(1); v != "accepted" || u.Upstream.Difficulty != 2e-9 {
			t.Errorf("%q at %v", v, u.Upstream.Difficulty)
		}
	})
}

// A pool that has not told a difficulty is taken to ask for 1; what it tells then counts
// for the job that it has sent.
func TestNoDifficulty(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{NoDifficulty: true, Policy: otherpool.AtOnce})
		f.started(above, Config{})
		if d := f.job().Upstream.Difficulty; d != 1 {
			t.Errorf("difficulty %v", d)
		}
		above.SetDifficulty(3e-9)
		u := f.job()
		if d := u.Upstream.Difficulty; d != 3e-9 || above.Invalid.Load() != 0 {
			t.Errorf("difficulty %v", d)
		}
		f.submit(u, 1, 3e-9, 0)
		synctest.Wait()
		if v := f.verdict(1); v != "accepted" {
			t.Error(v)
		}
	})
}

// What is told of a pool that is connected and gives no job is not that it could not be
// connected to.
func TestReasonWithoutJob(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		above.Down(errors.New("no route"))
		p := f.pool(Config{}, Options{Dial: above.Dial})
		time.Sleep(2 * time.Second)
		if s := p.Status(); !strings.Contains(s.Reason, "no route") {
			t.Errorf("down: %+v", s)
		}
		above.Configure(func(c *otherpool.Config) { c.NoWork = true })
		above.Down(nil)
		time.Sleep(time.Minute)
		if s := p.Status(); s.State != "no work" || s.Reason != "connected, no job yet" {
			t.Errorf("up without a job: %+v", s)
		}
	})
}

// A pool that asks for less than miners here can have is asked for that, and not mined for
// until it has raised its difficulty; what it gave before is good then. One that asks for
// enough is left alone: to ask it would lower a high difficulty.
func TestDifficultyBelowTheLeast(t *testing.T) {
	suggested := func(above *otherpool.Pool) (n int) {
		for _, line := range above.Lines() {
			if strings.HasSuffix(line, `"method":"mining.suggest_difficulty","params":[1024]}`) {
				n++
			} else if strings.Contains(line, "suggest") {
				t.Error(line)
			}
		}
		return n
	}
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e6})
		f.started(above, Config{LeastDifficulty: 1024})
		if d, n := f.job().Upstream.Difficulty, suggested(above); d != 1e6 || n != 0 {
			t.Errorf("difficulty %v, suggested %d times", d, n)
		}
		// What is at work goes on, and no job comes at less.
		f.took()
		above.SetDifficulty(5)
		above.NewJob()
		synctest.Wait()
		if got := f.took(); len(got) != 0 || suggested(above) != 1 {
			t.Errorf("%d updates, suggested %d times", len(got), suggested(above))
		}
		above.SetDifficulty(1024)
		synctest.Wait()
		if got := f.took(); len(got) != 1 || got[0].Upstream.Difficulty != 1024 {
			t.Errorf("%d updates", len(got))
		}
	})
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 5})
		p := f.pool(Config{LeastDifficulty: 1024}, Options{Dial: above.Dial})
		time.Sleep(2 * time.Second)
		if got := f.took(); len(got) != 0 || suggested(above) != 1 || p.Up() {
			t.Errorf("%d updates, suggested %d times", len(got), suggested(above))
		}
		above.SetDifficulty(2000)
		synctest.Wait()
		if got := f.took(); len(got) != 1 || got[0].Upstream.Difficulty != 2000 || suggested(above) != 1 {
			t.Errorf("%d updates, suggested %d times", len(got), suggested(above))
		}
		f.log()
		above.SetDifficulty(5)
		time.Sleep(raiseTime)
		synctest.Wait()
		if log := f.log(); len(log) == 0 || !strings.Contains(log[0], "the pool asks for a difficulty of 5, which is below 1024") || p.Up() {
			t.Errorf("%q", log)
		}
	})
}

// ethereum-mining/ethminer#1204, #1435: a job sent again under a known id, behind another
// extranonce or difficulty, is new work, and shares of both are accepted. Sent again
// with nothing new it is no work.
func TestKnownJobAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9})
		f.started(above, Config{})
		first := f.job()
		above.Resend()
		if n := len(f.took()); n != 0 {
			t.Errorf("%d updates of a job that was sent again", n)
		}
		above.SetExtranonce(func(n int) string { return fmt.Sprintf("%016x", n+77) }, 8)
		if n := len(f.took()); n != 0 {
			t.Errorf("%d updates of an extranonce without a job", n)
		}
		above.Resend()
		second := f.job()
		above.SetDifficulty(2e-9)
		above.Resend()
		third := f.job()
		for n, u := range []source.Update{first, second, third} {
			if u.Upstream.JobID != first.Upstream.JobID || u.Upstream.Source != first.Upstream.Source {
				t.Errorf("job %d: %+v", n, u.Upstream)
			}
			f.submit(u, 1, 2e-9, 0)
		}
		synctest.Wait()
		if n := f.counts()["accepted"]; n != 3 {
			t.Errorf("%d of 3 accepted: %q", n, above.Faults())
		}
	})
}

// stratum-mining/sv2-apps#247: another extranonce leaves the connection and, where the
// shape stays, the source: nobody has to move. Another shape is another source.
func TestSetExtranonce(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1e-9})
		p := f.started(above, Config{})
		u := f.job()
		for n, size := range []int{7, 16, 4} {
			above.SetExtranonce(func(int) string { return strings.Repeat("0a", n) }, size)
			time.Sleep(shapeTime - time.Millisecond)
			if updates := f.took(); len(updates) != 0 || !p.Up() {
				t.Errorf("size %d, without a job: %+v", size, updates)
			}
			above.NewJob()
			updates := f.took()
			next := updates[0]
			if same := next.Upstream.Source == u.Upstream.Source; same != (size > 4) {
				t.Errorf("size %d: source %d, then %d", size, u.Upstream.Source, next.Upstream.Source)
			}
			if size == 4 && (len(updates) != 2 || !updates[1].Ended || updates[1].Upstream.Source != u.Upstream.Source) {
				t.Errorf("size %d: %+v", size, updates)
			}
			f.submit(next, 1, 1e-9, 0)
			f.submit(u, 1, 1e-9, 0) // of before: the pool decides
			u = next
		}
		synctest.Wait()
		if n := f.counts()["accepted"]; n != 6 || above.Connections.Load() != 1 || !p.Up() {
			t.Errorf("%d of 6 accepted, %d connections: %q", n, above.Connections.Load(), above.Faults())
		}
		above.SetExtranonce(func(int) string { return "" }, 0) // which cannot be, and is passed over
		above.NewJob()
		if len(f.took()) != 1 || above.Connections.Load() != 1 {
			t.Error("an extranonce2 of 0 bytes has ended the connection")
		}
	})
}

// X5: a lower difficulty reaches miners at once, with or without a job behind it; a
// higher one with the next job.
func TestX5(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Difficulty: 1000})
		f.started(above, Config{})
		f.took()
		began := time.Now()
		above.SetDifficulty(10)
		time.Sleep(time.Second)
		u := f.job()
		if u.Upstream.Difficulty != 10 || u.NewTip || u.Clean || u.Received.Sub(began) != jobSoon {
			t.Errorf("%+v after %v", u, u.Received.Sub(began))
		}
		above.SetDifficulty(500)
		time.Sleep(time.Minute)
		if n := len(f.took()); n != 0 {
			t.Errorf("%d updates", n)
		}
		above.SetDifficulty(5)
		above.NewJob()
		time.Sleep(time.Minute)
		if updates := f.took(); len(updates) != 1 || updates[0].Upstream.Difficulty != 5 {
			t.Errorf("%+v", updates)
		}
	})
}

// X6: refusals with a null result are counted, and make the connection be given up.
func TestX6(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{Answer: otherpool.Forms["null and array"], Refuse: func(string, int) string { return "Stale" }})
		p := f.started(above, Config{})
		u := f.job()
		for n := range 170 {
			if !u.Upstream.Judge.Submit(f.find(u, uint64(n%2), 1e-10, 0)) {
				break
			}
			time.Sleep(time.Second)
		}
		if n := p.Figures().Reasons["Stale"].Shares; n < 150 || n > 152 {
			t.Errorf("%d refused", n)
		}
		f.works(p)
		if n := above.Connections.Load(); n != 2 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// dialler dials other pools by their addresses.
type dialler map[string]*otherpool.Pool

func (d dialler) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if p := d[address]; p != nil {
		return p.Dial(ctx, network, address)
	}
	return nil, fmt.Errorf("dial %s: no such host", address)
}

// or dials another pool at every other address.
func (d dialler) or(other *otherpool.Pool) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if p := d[address]; p != nil {
			return p.Dial(ctx, network, address)
		}
		return other.Dial(ctx, network, address)
	}
}

// X7, ckolivas/cgminer#581: client.reconnect is followed within the domain, also to a
// port given as a string, and not elsewhere. A place that does not authorize is given
// up after three failures; a chain of redirections has an end.
func TestX7(t *testing.T) {
	for name, tt := range map[string]struct {
		params string
		there  otherpool.Config
		to     string // where the work comes from a minute later
		back   string // and ten minutes later
	}{
		"same domain":    {`"eu.example.org",3334,0`, otherpool.Config{}, "eu", "eu"},
		"string port":    {`"eu.example.org","3334","0"`, otherpool.Config{}, "eu", "eu"},
		"other domain":   {`"evil.test",3334,0`, otherpool.Config{}, "us", "us"},
		"empty":          {``, otherpool.Config{}, "us", "us"},
		"same port":      {`"",3333,0`, otherpool.Config{}, "us", "us"},
		"nobody there":   {`"ap.example.org",3334,0`, otherpool.Config{}, "us", "us"},
		"no authorize":   {`"eu.example.org",3334,0`, otherpool.Config{NoAuthorize: true}, "", "us"},
		"says nothing":   {`"eu.example.org",3334,0`, otherpool.Config{Stuck: true}, "", "us"},
		"full":           {`"eu.example.org",3334,0`, otherpool.Config{Full: true}, "", "us"},
		"closed at once": {`"eu.example.org",3334,0`, otherpool.Config{ClosedAt: otherpool.AtFirstJob}, "", "us"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *farm) {
				us := otherpool.New(t, otherpool.Config{})
				tt.there.Difficulty = 7e-9
				eu := otherpool.New(t, tt.there)
				evil := otherpool.New(t, otherpool.Config{})
				p := f.pool(Config{URL: "us.example.org:3333"}, Options{Dial: dialler{"us.example.org:3333": us, "eu.example.org:3334": eu, "evil.test:3334": evil}.dial})
				f.works(p)
				time.Sleep(10 * time.Second)
				f.took()
				us.Send(`{"id":null,"method":"client.reconnect","params":[` + tt.params + `]}`)
				where := func() string {
					switch {
					case !p.Up():
						return ""
					case eu.Connected() == 1:
						return "eu"
					case us.Connected() == 1:
						return "us"
					}
					return "nowhere"
				}
				time.Sleep(time.Minute)
				if at := where(); at != tt.to && tt.to != "" {
					t.Errorf("work comes from %q: %q", at, f.log())
				}
				time.Sleep(9 * time.Minute)
				if at := where(); at != tt.back || evil.Connections.Load() != 0 {
					t.Errorf("work comes from %q in the end: %q", at, f.log())
				}
			})
		})
	}
	t.Run("chain", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *farm) {
			here, there := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{})
			p := f.pool(Config{URL: "us.example.org:3333"}, Options{Dial: dialler{"us.example.org:3333": here, "eu.example.org:3333": there}.dial})
			stop := time.Now().Add(time.Hour)
			for time.Now().Before(stop) {
				here.Send(`{"method":"client.reconnect","params":["eu.example.org",3333]}`)
				there.Send(`{"method":"client.reconnect","params":["us.example.org",3333]}`)
				time.Sleep(100 * time.Millisecond)
			}
			if n := here.Connections.Load() + there.Connections.Load(); n > 100 {
				t.Errorf("%d connections in an hour", n)
			}
			if n := len(f.log()); n > 60+mostLines {
				t.Errorf("%d lines in the log in an hour", n)
			}
			time.Sleep(5 * time.Minute)
			if !p.Up() {
				t.Error("no work after the chain has ended")
			}
		})
	})
	t.Run("chain without work", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *farm) {
			here, there := otherpool.New(t, otherpool.Config{}), otherpool.New(t, otherpool.Config{NoWork: true})
			p := f.pool(Config{URL: "n0.example.org:3333"}, Options{Dial: dialler{"n0.example.org:3333": here}.or(there)})
			f.works(p)
			time.Sleep(10 * time.Second)
			here.Send(`{"method":"client.reconnect","params":["n1.example.org",3333]}`)
			for n := range 60 {
				time.Sleep(5 * time.Second)
				there.Send(fmt.Sprintf(`{"method":"client.reconnect","params":["n%d.example.org",3333]}`, n+2))
			}
			if !p.Up() || here.Connected() != 1 {
				t.Errorf("no work after 5 minutes of redirections: %q", f.log())
			}
		})
	})
}

// X8: version bits go up, within the mask that was granted; a pool that refuses, or that
// does not know mining.configure, has no mask, and newcomers that roll are not placed
// there.
func TestX8(t *testing.T) {
	for name, tt := range map[string]struct {
		config otherpool.Config
		mask   uint32
	}{
		"granted":        {otherpool.Config{VersionMask: 0x00ffe000}, 0x00ffe000},
		"more than ours": {otherpool.Config{VersionMask: 0xffffffff}, 0x1fffe000},
		"refused":        {otherpool.Config{}, 0},
		"unknown":        {otherpool.Config{VersionMask: 0x1fffe000, Configure: otherpool.ConfigureError}, 0},
		"ignored":        {otherpool.Config{VersionMask: 0x1fffe000, Configure: otherpool.ConfigureSilent}, 0},
		"hated":          {otherpool.Config{VersionMask: 0x1fffe000, Configure: otherpool.ConfigureCloses}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *farm) {
				tt.config.Difficulty = 1e-9
				above := otherpool.New(t, tt.config)
				p := f.started(above, Config{VersionMask: 0x1fffe000})
				u := f.job()
				for range 10 {
					f.submit(u, 1, 1e-9, 0)
				}
				synctest.Wait()
				if n := f.counts()["accepted"]; n != 10 || u.Upstream.VersionMask != tt.mask {
					t.Errorf("%d of 10 accepted with mask %08x: %q", n, u.Upstream.VersionMask, above.Faults())
				}
				if _, ok := p.Place(0x1fffe000); ok != (tt.mask != 0) {
					t.Errorf("a miner that rolls is placed: %v", ok)
				}
				if _, ok := p.Place(0); !ok {
					t.Error("a miner that does not roll is not placed")
				}
				if tt.mask != 0 {
					above.SetVersionMask(0x00e00000)
					above.NewJob()
					if u = f.job(); u.Upstream.VersionMask != 0x00e00000&0x1fffe000 {
						t.Errorf("mask %08x", u.Upstream.VersionMask)
					}
				}
			})
		})
	}
}

// A pool that sets bits which it lets be rolled hears of all shares what they are, also of
// a miner that does not roll.
func TestVersionBitsOfThePool(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{VersionMask: 0x1fffe000, Version: 0x3fffe004, Difficulty: 1e-9})
		f.started(above, Config{VersionMask: 0x1fffe000})
		u := f.job()
		found := f.find(u, 1, 1e-9, 0)
		for found.VersionBits != 0 {
			f.mu.Lock()
			f.shares = 1<<16 - 1 // of which the bits are 0
			f.mu.Unlock()
			found = f.find(u, 1, 1e-9, 0)
		}
		found.HasVersionBits = false
		if !u.Upstream.Judge.Submit(found) {
			t.Error("not taken")
		}
		synctest.Wait()
		if v := f.verdict(found.Share); v != "accepted" {
			t.Error(v, above.Faults())
		}
	})
}

// X10: 600 s of silence end a connection that nobody uses.
func TestX10(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		p := f.started(above, Config{})
		above.Silence(true)
		time.Sleep(9 * time.Minute)
		if !p.Up() {
			t.Error("given up too early")
		}
		time.Sleep(2 * time.Minute)
		if p.Up() || above.Connections.Load() < 2 {
			t.Errorf("up %v, %d connections made", p.Up(), above.Connections.Load())
		}
		above.Silence(false)
		f.works(p)
	})
}

// X11: what a pool asks is answered, and what it says makes no noise.
func TestX11(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		f.started(above, Config{Agent: "ckpool/1"})
		f.log()
		for _, line := range []string{
			`{"id":7,"method":"mining.ping","params":[]}`, `{"id":"v","method":"client.get_version","params":[]}`,
			`{"id":41,"result":null,"error":[-1,"Unknown method mining.suggest",null]}`, `{"method":"mining.unheard_of","params":[1]}`, `nonsense`,
		} {
			above.Send(line)
			synctest.Wait()
		}
		above.Send(`{"id":null,"method":"client.show_message","params":["maintenance at noon"]}`)
		synctest.Wait()
		want := []string{`{"result":"pong","error":null,"id":7}`, `{"result":"ckpool/1","error":null,"id":"v"}`}
		if got := above.Lines(); !slices.Equal(got[len(got)-2:], want) {
			t.Errorf("answers %q", got)
		}
		if log := f.log(); !slices.Equal(log, []string{`pool.example.org:3333 says: "maintenance at noon"`}) {
			t.Errorf("%q", log)
		}
	})
}

// xmrig/xmrig-proxy#180: the line is lost and no error tells: the shares are unanswered
// within 30 s, the connection is replaced, and nothing was accepted that was not.
func TestLostLine(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{})
		p := f.started(above, Config{})
		u := f.job()
		for range 10 {
			f.submit(u, 1, 1e-10, 0)
		}
		synctest.Wait()
		above.Silence(true)
		began := time.Now()
		for p.Up() && time.Since(began) < time.Minute {
			u.Upstream.Judge.Submit(f.find(u, 1, 1e-10, 0))
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(began); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("given up after %v", d)
		}
		if n := f.counts(); n["accepted"] != 10 || n["unanswered"] < 290 || n[""] > 1 {
			t.Errorf("%v", n)
		}
		last := f.took()
		if e := last[len(last)-1]; !e.Ended || e.Upstream.Source != u.Upstream.Source || e.Template != nil {
			t.Errorf("the source has not ended: %+v", e)
		}
		above.Silence(false)
		f.works(p)
	})
}

// xmrig/xmrig-proxy#178: cut at each step, for a long time and again and again, it is
// back at work when the other pool is.
func TestCutAtEachStep(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		above := otherpool.New(t, otherpool.Config{VersionMask: 0x1fffe000})
		p := f.started(above, Config{VersionMask: 0x1fffe000})
		rounds := 1000
		if testing.Short() {
			rounds = 50
		}
		for round := range rounds {
			step := otherpool.Step(round % 7)
			if step == otherpool.Nowhere {
				above.Down(errors.New("connection refused"))
			}
			above.Configure(func(c *otherpool.Config) { c.ClosedAt = step })
			if step == otherpool.AtSubmit {
				u := f.job()
				f.submit(u, 1, 1e-10, 0)
				time.Sleep(time.Second)
				if v := f.verdict(f.shares); v != "unanswered" || p.Up() {
					t.Fatalf("round %d: %q, up %v", round, v, p.Up())
				}
			} else {
				above.DropAll()
			}
			synctest.Wait()
			time.Sleep(time.Duration(round%40) * time.Second)
			// One that closes at mining.configure is taken for one that does not know it.
			if p.Up() && step != otherpool.AtSubmit && step != otherpool.AtConfigure {
				t.Fatalf("round %d: work while connections are cut at step %d", round, step)
			}
			above.Down(nil)
			above.Configure(func(c *otherpool.Config) { c.ClosedAt = otherpool.Nowhere })
			f.works(p)
			time.Sleep(10 * time.Second)
		}
		f.submit(f.job(), 1, 1e-10, 0)
		synctest.Wait()
		if v := f.verdict(f.shares); v != "accepted" {
			t.Error(v)
		}
	})
}

// stratum-mining/sv2-apps#673: a pool that was down a hundred times is used the next time.
func TestDownAndUp(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		changes := make(chan struct{}, 1000)
		above := otherpool.New(t, otherpool.Config{})
		p := f.pool(Config{}, Options{Dial: above.Dial, Changed: func() { changes <- struct{}{} }})
		f.works(p)
		for range 100 {
			above.Down(errors.New("connection refused"))
			synctest.Wait()
			if p.Up() || !f.ended() {
				t.Fatal("work from a pool that is down")
			}
			time.Sleep(3 * time.Minute)
			above.Down(nil)
			began := time.Now()
			f.works(p)
			if d := time.Since(began); d > 62*time.Second {
				t.Fatalf("back after %v", d)
			}
			time.Sleep(time.Minute)
		}
		if n := len(changes); n != 201 {
			t.Errorf("%d changes told, 201 happened", n)
		}
	})
}

// ended tells that the last update is the end of a source.
func (f *farm) ended() bool {
	updates := f.took()
	return len(updates) > 0 && updates[len(updates)-1].Ended
}

// fireice-uk/xmr-stak#124, ckolivas/cgminer#746: a day of each failure. Tries follow the
// pauses, the log stays short, and neither memory nor goroutines grow.
func TestDayOfFailure(t *testing.T) {
	for name, c := range map[string]*otherpool.Config{
		"no such host":          nil,
		"authorize refused":     {NoAuthorize: true},
		"full":                  {Full: true},
		"says nothing":          {Stuck: true},
		"closed at connect":     {ClosedAt: otherpool.AtConnect},
		"closed at subscribe":   {ClosedAt: otherpool.AtSubscribe},
		"closed at authorize":   {ClosedAt: otherpool.AtAuthorize},
		"closed at first job":   {ClosedAt: otherpool.AtFirstJob},
		"no extranonce2":        {Extranonce2Len: -1},
		"a difficulty of 1e-11": {Difficulty: 1e-11},
		"all shares refused":    {Refuse: func(string, int) string { return "no" }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *farm) {
				tries := 0
				dial := func(ctx context.Context, network, address string) (net.Conn, error) {
					tries++
					return nil, errors.New("no such host")
				}
				var above *otherpool.Pool
				if c != nil {
					above = otherpool.New(t, *c)
					dial = above.Dial
				}
				p := f.pool(Config{LeastDifficulty: 1e-10, VersionMask: 0x1fffe000}, Options{Dial: dial})
				var memory [2]runtime.MemStats
				goroutines := [2]int{}
				lines, worked := 0, time.Duration(0)
				hours := 24
				if testing.Short() {
					hours = 4
				}
				for hour := range hours {
					for range 720 {
						time.Sleep(5 * time.Second)
						if p.Up() {
							worked += 5 * time.Second
							if name == "all shares refused" {
								u := f.newest()
								for miner := range uint64(2) {
									if found := f.find(u, miner, 1e-10, 0); !u.Upstream.Judge.Submit(found) {
										break
									}
								}
							}
						}
						f.forget()
						lines += len(f.log())
					}
					if above != nil {
						above.NewBlock(t.Context())
					}
					if hour == 1 || hour == hours-1 {
						synctest.Wait()
						runtime.GC()
						runtime.ReadMemStats(&memory[hour/(hours-1)])
						goroutines[hour/(hours-1)] = runtime.NumGoroutine()
					}
				}
				if above != nil {
					tries = int(above.Connections.Load())
				}
				// The handshake may be tried three times for one try: with less each time.
				if tries < hours || tries > 3*hours*60+60 {
					t.Errorf("%d tries in a day", tries)
				}
				if lines > hours*60+mostLines {
					t.Errorf("%d lines in the log", lines)
				}
				if goroutines[1] > goroutines[0]+10 {
					t.Errorf("%d goroutines in the second hour, %d in the last", goroutines[0], goroutines[1])
				}
				if grown := int64(memory[1].HeapAlloc) - int64(memory[0].HeapAlloc); grown > 1<<20 {
					t.Errorf("%d bytes more than in the second hour", grown)
				}
				if worked > time.Hour && name != "all shares refused" {
					t.Errorf("up for %v", worked)
				}
			})
		})
	}
}

// newest is the last job there was.
func (f *farm) newest() source.Update {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.updates[len(f.updates)-1]
}

// forget forgets all but the last update, and all verdicts.
func (f *farm) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.updates); n > 1 {
		f.updates = slices.Clone(f.updates[n-1:])
	}
	clear(f.verdicts)
	clear(f.heard)
}

// What a hostile pool sends ends the connection with one clear line, and costs nobody
// else anything.
func TestHostilePool(t *testing.T) {
	notify := `{"params":["j","` + strings.Repeat("00", 31) + `01","01","02",[],"20000000","%s","6b02867d",true],"id":null,"method":"mining.notify"}`
	for line, want := range map[string]string{
		`{"method":"mining.set_difficulty","params":[1e-300]}`:                            "mining.set_difficulty to 1e-300",
		`{"method":"mining.set_difficulty","params":[1e-11]}`:                             "the pool asks for a difficulty of 1e-11, which is below 1e-10",
		fmt.Sprintf(notify, "00000000"):                                                   "bits 00000000",
		fmt.Sprintf(notify, "ff123456"):                                                   "bits ff123456",
		strings.ReplaceAll(fmt.Sprintf(notify, "1d00ffff"), `"20000000"`, `"00000000"`):   "version is 0",
		strings.ReplaceAll(fmt.Sprintf(notify, "1d00ffff"), `"01","02"`, `"","02"`):       "a coinbase of",
		strings.ReplaceAll(fmt.Sprintf(notify, "1d00ffff"), "01\",\"01\"", "00\",\"01\""): "no previous block",
	} {
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{Extranonce1: func(int) string { return "" }})
			p := f.started(above, Config{LeastDifficulty: 1e-10})
			time.Sleep(10 * time.Second)
			f.log()
			f.took()
			above.Send(line)
			time.Sleep(raiseTime)
			synctest.Wait()
			if log := f.log(); len(log) == 0 || !strings.Contains(log[0], want) {
				t.Errorf("%.80q: %q", line, log)
			}
			f.works(p)
		})
	}
}

// A session that is not known, or a source that has ended, does no harm.
func TestForeignSources(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		p := f.started(otherpool.New(t, otherpool.Config{}), Config{})
		for _, number := range []uint32{0, 99} {
			p.Opened(number)
			p.Closed(number)
			p.Full(number)
			if p.Has(number) {
				t.Errorf("source %d", number)
			}
		}
		if l := p.Lines(); len(l) != 1 || l[0].Sessions != 0 || !p.Has(l[0].Source) {
			t.Errorf("%+v", l)
		}
	})
}

func TestNewPool(t *testing.T) {
	for want, c := range map[string]Config{
		`pool url "ftp://x": unknown scheme "ftp", use stratum+tcp or stratum+ssl`: {URL: "ftp://x", User: "u"},
		`pool url "": no host`:         {User: "u"},
		`pool x.example:3333: no user`: {URL: "x.example:3333"},
	} {
		if _, err := NewPool(c, Options{}); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

// Whatever a pool sends once it is connected: its jobs either come as work that can be
// hashed and shares of it go up, or the connection ends.
func FuzzLine(f *testing.F) {
	const good = `{"params":["a","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","01000000","02",[],"20000000","1d00ffff","6b02867d",true],"method":"mining.notify"}` + "\n"
	f.Add([]byte(good+`{"method":"mining.set_extranonce","params":["",2]}`+"\n"+good+`{"method":"mining.set_difficulty","params":[0.5]}`+"\n"+good), 8)
	f.Add([]byte(`{"method":"mining.set_extranonce","params":["00112233445566778899aabbccddeeff",16]}`+"\n"+good+`{"method":"mining.set_version_mask","params":["00000000"]}`+"\n"+good), 3)
	f.Add([]byte(`{"method":"client.reconnect","params":[]}`+"\n"+`{"id":5,"result":null,"error":{}}`+"\n"), 1)
	f.Fuzz(func(t *testing.T, lines []byte, size int) {
		if size < 1 || size > 16 {
			return
		}
		bubble(t, func(t *testing.T, f *farm) {
			above := otherpool.New(t, otherpool.Config{Extranonce2Len: size, VersionMask: 0x1fffe000})
			f.started(above, Config{VersionMask: 0x1fffe000})
			for line := range strings.Lines(string(lines)) {
				above.Send(strings.TrimSuffix(line, "\n"))
			}
			synctest.Wait()
			var taken []uint64
			for _, u := range f.took() {
				if u.Ended {
					continue
				}
				if u.Upstream.Difficulty < 1e-12 || u.Upstream.Source == 0 || u.Upstream.Shape.Extranonce2 < 1 {
					t.Errorf("%+v", u.Upstream)
				}
				if found := f.find(u, 1, 1e-12, 0); u.Upstream.Judge.Submit(found) {
					taken = append(taken, found.Share)
				}
			}
			time.Sleep(time.Minute)
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, share := range taken {
				if n := f.heard[share]; n != 1 {
					t.Errorf("%d verdicts on a share", n)
				}
			}
		})
	})
}
