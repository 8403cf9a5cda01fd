package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(p *otherpool.Pool, miners int) Options {
	return Options{Address: p.Addr, Miners: miners, User: "bench", Ready: time.Minute, Pid: os.Getpid()}
}

func shares(t *testing.T, pc otherpool.Config, change func(*SharesConfig)) (*otherpool.Pool, *SharesReport) {
	t.Helper()
	p := otherpool.Start(t, pc)
	c := SharesConfig{Options: options(p, 20), Window: 8, Duration: 3 * time.Second}
	if change != nil {
		change(&c)
	}
	r, err := Shares(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if p.Invalid.Load() != 0 {
		t.Errorf("%d invalid shares: %q", p.Invalid.Load(), p.Faults())
	}
	return p, r
}

// TestShares: every share is valid and every reply is matched, at difficulties
// where every hash is a share, where one in four is, and where it must be
// searched for.
func TestShares(t *testing.T) {
	for name, pc := range map[string]otherpool.Config{
		"every hash":      {Difficulty: 1e-10, Branches: 12},
		"one in four":     {Difficulty: 1e-9, Branches: 12},
		"one in 4000":     {Difficulty: 1e-6},
		"work of its own": {Difficulty: 1e-9, JobPerClient: true, Branches: 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, r := shares(t, pc, func(c *SharesConfig) { c.Count, c.Duration = 50, time.Minute })
			if r.Accepted != 50 || r.Accepted != p.Accepted.Load() || r.Submitted != r.Accepted || r.Failed() {
				t.Errorf("pool accepted %d: %s", p.Accepted.Load(), show(r))
			}
			l := r.Latency
			if l.Count != r.Accepted || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
				t.Errorf("%+v", l)
			}
			if r.Server == nil || r.Server.RSSAfter <= 0 || r.PerSecond <= 0 || r.ClientCPU <= 0 {
				t.Errorf("%s", show(r))
			}
		})
	}
}

func TestSharesCountTrouble(t *testing.T) {
	t.Run("rejects", func(t *testing.T) {
		p, r := shares(t, otherpool.Config{RejectEvery: 5}, nil)
		if r.Rejected == 0 || r.Rejected != p.Refused.Load() || r.Rejects["Made up (23)"] != r.Rejected || r.Failed() {
			t.Errorf("pool refused %d: %s", p.Refused.Load(), show(r))
		}
	})
	t.Run("replies twice", func(t *testing.T) {
		_, r := shares(t, otherpool.Config{RepeatEvery: 10}, nil)
		if r.Unmatched == 0 || r.Accepted+r.Rejected != r.Submitted || !r.Failed() {
			t.Errorf("%s", show(r))
		}
	})
	t.Run("drops", func(t *testing.T) {
		_, r := shares(t, otherpool.Config{DropAfter: 30}, func(c *SharesConfig) { c.Duration = 10 * time.Second })
		if r.Dropped != 20 || r.Accepted != 20*30 || r.Submitted != r.Accepted+r.Unanswered || !r.Failed() {
			t.Errorf("%s", show(r))
		}
	})
	t.Run("silence", func(t *testing.T) {
		defer func(d time.Duration) { drainTime = d }(drainTime)
		drainTime = time.Second
		_, r := shares(t, otherpool.Config{SilentAfter: 30}, func(c *SharesConfig) { c.Miners, c.Duration = 3, 10*time.Second })
		if r.Unanswered != 3*8 || r.Accepted != 3*30 || r.Dropped != 0 || !r.Failed() {
			t.Errorf("%s", show(r))
		}
	})
}

func TestSharesAtARate(t *testing.T) {
	p, r := shares(t, otherpool.Config{Difficulty: 1e-9}, func(c *SharesConfig) { c.Rate, c.Duration = 200, 3*time.Second })
	if r.Accepted < 100 || float64(r.Accepted) > 200*r.Seconds+4 || r.Accepted != p.Accepted.Load() || r.Failed() {
		t.Errorf("%s", show(r))
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "20 with 200 shares per second") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// TestSharesWhileBlocksChange: idle connections and new blocks beside the load
// do no harm, and the table and the JSON tell what was done.
func TestSharesWhileBlocksChange(t *testing.T) {
	pc := otherpool.Config{Difficulty: 1e-9, Branches: 2}
	var p *otherpool.Pool
	_, r := shares(t, pc, func(c *SharesConfig) {
		p = otherpool.Start(t, pc)
		c.Options = options(p, 10)
		c.Idle, c.Block, c.Every, c.Duration, c.Loops = 50, p.NewBlock, 500*time.Millisecond, 3*time.Second, 2
	})
	if p.Invalid.Load() != 0 || r.Blocks < 1 || r.Failed() || r.Notifies < int64(60*r.Blocks) {
		t.Errorf("%q %s", p.Faults(), show(r))
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"10 with a window of 8", "accepted, 0 rejected", "p50", "CPU of pool per share"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	encoded, err := json.Marshal(r)
	var back map[string]any
	if err != nil || json.Unmarshal(encoded, &back) != nil || back["mode"] != "shares" || back["accepted"] != float64(r.Accepted) ||
		back["latency"].(map[string]any)["count"] != float64(r.Latency.Count) {
		t.Errorf("%v %s", err, encoded)
	}
}

// show is a report without the histogram behind it.
func show(r any) []byte {
	b, _ := json.Marshal(r)
	return b
}

func TestIdle(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{})
	o := options(p, 300)
	o.Workers = 7
	r, err := Idle(t.Context(), IdleConfig{Options: o, Duration: 100 * time.Millisecond})
	if err != nil || r.Failed() || p.Authorized.Load() != 300 || p.Workers() != 7 || r.Notifies < 300 || r.Server.RSSAfter == 0 {
		t.Errorf("%v %+v, %d workers", err, r, p.Workers())
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "300 idle") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestStorm(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{Branches: 12})
	r, err := Storm(t.Context(), StormConfig{options(p, 1500)})
	if err != nil || r.Failed() || p.Authorized.Load() != 1500 || r.Each.Count != 1500 ||
		r.First <= 0 || r.First > r.Median || r.Median > r.P99 || r.P99 > r.Last {
		t.Errorf("%v %+v", err, r)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "1500 connected") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestNotify(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{})
	r, err := Notify(t.Context(), NotifyConfig{Options: options(p, 100), Block: p.NewBlock, Rounds: 3, Interval: 10 * time.Millisecond})
	if err != nil || r.Failed() || len(r.Rounds) != 3 {
		t.Fatalf("%v %+v", err, r)
	}
	for _, x := range append(r.Rounds, r.Median) {
		if x.First <= 0 || x.First > x.Median || x.Median > x.P99 || x.P99 > x.Last || x.Missing != 0 {
			t.Errorf("%+v", x)
		}
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "round 3") {
		t.Errorf("%v\n%s", err, &out)
	}
	failing := func(context.Context) error { return errors.New("node is down") }
	if _, err := Notify(t.Context(), NotifyConfig{Options: options(p, 1), Block: failing, Rounds: 1, Interval: time.Millisecond}); err == nil ||
		err.Error() != "new block: node is down" {
		t.Error(err)
	}
}

func TestMine(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{Difficulty: 1e-7, VersionMask: 0x1fffe000, RejectEvery: 10})
	r, err := Mine(t.Context(), MineConfig{Options: options(p, 3), HashRate: 20_000, VersionMask: 0xffffffff, Duration: 3 * time.Second})
	if err != nil || p.Invalid.Load() != 0 {
		t.Fatal(err, p.Faults())
	}
	if r.Accepted != p.Accepted.Load() || r.Rejected != p.Refused.Load() || r.Failed() || r.Best < 1e-7 || r.Latency.Count != r.Accepted+r.Rejected {
		t.Errorf("%s", show(r))
	}
	// 60,000 H/s for three seconds at 429 hashes a share
	if r.Accepted+r.Rejected < 30 || r.Accepted+r.Rejected > 780 {
		t.Errorf("%d shares", r.Accepted+r.Rejected)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "Made up (23)") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Without a share the report says that none was to be expected: 2^32 hashes of
// difficulty 1 at 100 kH/s take 42,950 s.
func TestMineTooHard(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{Difficulty: 1})
	r, err := Mine(t.Context(), MineConfig{Options: options(p, 1), HashRate: 100_000, Duration: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "a share of difficulty 1 takes 11h 55m at this hash rate: --suggest 0.0001") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestNobodyToLoad(t *testing.T) {
	closed, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	refused := otherpool.Start(t, otherpool.Config{NoAuthorize: true})
	stuck := otherpool.Start(t, otherpool.Config{Stuck: true})
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no listener", func(o *Options) { o.Address = "127.0.0.1:" + closed }, "no miner got work: 5 × connect: connection refused"},
		{"refused", func(o *Options) { o.Address = refused.Addr }, "5 × authorize refused: no (24)"},
		{"stuck", func(o *Options) { o.Address, o.Ready = stuck.Addr, 50*time.Millisecond }, "no miner got work in 50ms"},
		{"remote", func(o *Options) { o.Address = "192.0.2.1:3333" }, "is not on this machine: load goes to others only with --allow-remote"},
		{"no port", func(o *Options) { o.Address = "127.0.0.1" }, "not host:port"},
		{"none", func(o *Options) { o.Miners = 0 }, "0 miners: must be 1 to 200000"},
		{"too many", func(o *Options) { o.Miners = 1e6 }, "1000000 miners: must be"},
		{"descriptors", func(o *Options) { o.Miners = MaxMiners }, "raise it with ulimit -n"},
		{"no process", func(o *Options) { o.Pid = 1 << 30 }, "process 1073741824"},
	} {
		o := options(stuck, 5)
		tt.change(&o)
		r, err := Storm(t.Context(), StormConfig{o})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %+v", tt.name, err, r)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Storm(ctx, StormConfig{options(stuck, 5)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestBounds(t *testing.T) {
	for _, c := range []SharesConfig{
		{Window: 0, Duration: time.Second},
		{Window: MaxWindow + 1, Duration: time.Second},
		{Window: 1, Rate: -1, Duration: time.Second},
		{Window: 1, Duration: 0},
		{Window: 1, Duration: 2 * MaxDuration},
		{Window: 1, Idle: -1, Duration: time.Second},
	} {
		c.Options = Options{Address: "127.0.0.1:1", Miners: 1}
		if _, err := Shares(t.Context(), c); err == nil || strings.Contains(err.Error(), "refused") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestGenerate: the request is one that nodes understand, and their refusals
// are told.
func TestGenerate(t *testing.T) {
	answer := `{"result":["00"],"error":null,"id":1}`
	var asked, auth string
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		asked = b.String()
		user, password, _ := r.BasicAuth()
		auth = user + ":" + password
		w.Write([]byte(answer))
	}))
	defer node.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	rpc := strings.Replace(node.URL, "//", "//bob:secret@", 1)
	block, err := Generate(rpc, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := block(t.Context()); err != nil || asked != `{"id":1,"jsonrpc":"1.0","method":"generate","params":[1]}` || auth != "bob:secret" {
		t.Error(err, asked, auth)
	}
	block, _ = Generate(rpc, "bcrt1q", false)
	if err := block(t.Context()); err != nil || !strings.Contains(asked, `"generatetoaddress","params":[1,"bcrt1q"]`) {
		t.Error(err, asked)
	}
	answer = `{"result":null,"error":{"code":-1,"message":"no peers"},"id":1}`
	if err := block(t.Context()); err == nil || err.Error() != "generatetoaddress: no peers" {
		t.Error(err)
	}
	answer = `<html>`
	if err := block(t.Context()); err == nil || !strings.Contains(err.Error(), "200 OK") {
		t.Error(err)
	}
	for _, bad := range []string{"", "localhost:18443", "ftp://h", "http://", "http://192.0.2.1:1"} {
		if _, err := Generate(bad, "", false); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

// TestHistogram: quantiles are those of a sorted list, within a 32nd.
func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1<<rapid.IntRange(1, 62).Draw(t, "bits")), 1, 200).Draw(t, "values")
		var a, b histogram
		for i, v := range values {
			h := &a
			if i%2 == 1 {
				h = &b
			}
			h.add(time.Duration(v))
		}
		a.merge(&b)
		slices.Sort(values)
		for _, q := range []float64{0.001, 0.5, 0.99, 1} {
			exact := values[max(0, min(len(values)-1, ceil(q*float64(len(values)))-1))]
			got := int64(a.quantile(q))
			if got < exact || got-exact > exact/32+1 {
				t.Fatalf("quantile %v of %v is %d, want %d", q, values, got, exact)
			}
		}
		if a.latency().Max != microseconds(time.Duration(values[len(values)-1])) {
			t.Fatal("max is not exact")
		}
	})
	if l := (&histogram{}).latency(); l != (Latency{}) {
		t.Errorf("of nothing: %+v", l)
	}
}

func ceil(x float64) int {
	n := int(x)
	if float64(n) < x {
		n++
	}
	return n
}

func TestShort(t *testing.T) {
	for us, want := range map[float64]string{0.5: "500ns", 123.4: "123us", 1234: "1.23ms", 1234567: "1.23s", 0: "0s"} {
		if got := short(us); got != want {
			t.Errorf("%v us: %s, want %s", us, got, want)
		}
	}
}
