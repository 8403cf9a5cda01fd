package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// verdicts collects what becomes of shares, as brief texts by number.
type verdicts chan string

func (v verdicts) of(n int) func(Verdict) {
	return func(got Verdict) {
		switch {
		case got.Err != nil:
			v <- fmt.Sprintf("%d %v", n, got.Err)
		case got.Reject != nil:
			v <- fmt.Sprintf("%d %v", n, got.Reject)
		default:
			v <- fmt.Sprintf("%d accepted after %v", n, got.Took)
		}
	}
}

// Whatever form and order the answers of a pool have, each share gets its own, and
// answers to what nobody sent are nobody's.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("é", 150)
		p := newPool(t, func(p *peer) {
			p.welcome("a")
			p.expect(`{"id":3,"method":"mining.submit","params":["bob","a","0001","6b02867d","0009bf79"]}`)
			p.expect(`{"id":4,"method":"mining.submit","params":["bob.rig2","a","0001","6b02867d","0009bf79","0000e000"]}`)
			for range 6 {
				p.in.Scan()
			}
			time.Sleep(time.Second)
			p.send(`{"id":5,"result":null,"error":[21,"Job not found",null]}`,
				`{"id":0,"result":true,"error":null}`, `{"id":41,"result":true}`, `{"id":null,"result":true}`, // not ours
				`{"id":7,"result":false,"error":"low difficulty"}`,
				`{"id":6,"result":null,"error":{"code":22,"message":"Duplicate share"}}`,
				`{"error":null,"id":"4","result":true}`,
				`{"id":8,"result":false,"error":null,"reject-reason":"Stale"}`,
				`{"id":4,"result":false,"error":[20,"again",null]}`,
				`{"id":9,"result":false,"error":[20,"`+long+`",null]}`)
			for _, b := range []byte(`{"id":3,"result":true,"error":null}` + "\n") {
				p.conn.Write([]byte{b})
			}
		})
		c := mustDial(t, p, Options{})
		expectEvents(t, c.Events(), "extranonce 7e86026b/8 session s1")
		job := next(t, c.Events()).(Notify)
		share := Share{Extranonce2: []byte{0, 1}, NTime: 0x6b02867d, Nonce: 0x9bf79}
		got := make(verdicts, 100)
		for n := range 8 {
			s := share
			if n == 1 {
				s.Worker, s.VersionBits, s.HasVersionBits = "bob.rig2", 0xe000, true
			}
			if err := job.Send(s, got.of(n)); err != nil {
				t.Error(err)
			}
		}
		var texts []string
		for range 8 {
			texts = append(texts, <-got)
		}
		want := []string{
			"2 Job not found (21)", "4 low difficulty (20)", "3 Duplicate share (22)", "1 accepted after 1s", "5 Stale (20)",
			"6 " + strings.Repeat("é", 100) + " (20)", "0 accepted after 1s", "7 connection closed: closed by the pool",
		}
		if d := cmp.Diff(want, texts); d != "" {
			t.Error(d)
		}
		if err := job.Send(share, got.of(9)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if len(got) != 0 {
			t.Error("a share that was not sent has a verdict:", <-got)
		}
	})
}

// xmrig/xmrig-proxy#180: a line that takes shares and says nothing is dead long before
// it counts as silent. One share that is not answered, as some pools do with stale ones, is
// given up alone.
func TestAnswerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, func(p *peer) {
			p.welcome("a")
			for n := 0; p.in.Scan(); n++ {
				answer := fmt.Sprintf(`{"id":%d,"result":true}`, n+3)
				switch {
				case n == 7: // later, when it is forgotten
				case n < 25:
					p.send(answer)
				default:
					p.send(`{"params":[42],"id":null,"method":"mining.set_difficulty"}`, `{"id":10,"result":true}`)
				}
			}
		})
		c := mustDial(t, p, Options{AnswerTimeout: 30 * time.Second})
		got := make(verdicts, 100)
		began := time.Now()
		var last time.Time // answered
		at := make([]time.Duration, 28)
		want := map[string]bool{}
		for n := range 28 {
			if n < 25 {
				last = time.Now()
			}
			if err := c.Send("a", Share{}, func(v Verdict) {
				at[n] = time.Since(began)
				got.of(n)(v)
			}); err != nil {
				t.Error(err)
			}
			if n < 27 {
				time.Sleep(2 * time.Second)
			}
			switch {
			case n == 7:
				want["7 timed out"] = true
			case n < 25:
				want[fmt.Sprint(n, " accepted after 0s")] = true
			default:
				want[fmt.Sprint(n, " connection closed: pool has not answered any share for 30s")] = true
			}
		}
		for range 28 {
			if s := <-got; !want[s] {
				t.Errorf("got %q", s)
			} else {
				delete(want, s)
			}
		}
		if at[7] != 44*time.Second {
			t.Errorf("a share is given up after %v", at[7])
		}
		if first := began.Add(50 * time.Second); began.Add(at[25]) != first.Add(30*time.Second) || last != first.Add(-2*time.Second) {
			t.Errorf("the connection is given up after %v", at[25])
		}
	})
}

// A pool that does not read costs a bounded queue, and nobody waits for it.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newPool(t, func(p *peer) {
			p.welcome("a")
			<-release
		})
		c := mustDial(t, p, Options{})
		began := time.Now()
		sent, ended := 0, 0
		var err error
		counted := make(chan struct{})
		for err == nil {
			if err = c.Send("a", Share{}, func(v Verdict) {
				if ended++; !errors.Is(v.Err, ErrClosed) {
					t.Error(v)
				}
				if ended == sent {
					close(counted)
				}
			}); err == nil {
				sent++
			}
		}
		if !errors.Is(err, ErrBusy) || sent < 1000 || sent > 10_000 || time.Since(began) != 0 {
			t.Errorf("%v after %d shares and %v", err, sent, time.Since(began))
		}
		<-counted
		if time.Since(began) != writeTimeout {
			t.Errorf("given up after %v", time.Since(began))
		}
		close(release)
	})
}

// fireworm71/veriumMiner#26: what comes before the reply to mining.subscribe is kept,
// all of it, in its order, in one packet or byte by byte.
func TestAnnouncementsBeforeSubscription(t *testing.T) {
	var lines, want []string
	want = append(want, "extranonce 7e86026b/8 session s1")
	for i := range 10 {
		lines = append(lines, fmt.Sprintf(`{"params":[%d],"id":null,"method":"mining.set_difficulty"}`, i+1), notifyLine(fmt.Sprint("j", i), i == 0))
		want = append(want, fmt.Sprintf("difficulty %d", i+1),
			fmt.Sprintf("notify j%d clean=%v diff=%d mask=00000000 en1=7e86026b", i, i == 0, i+1))
	}
	for name, write := range map[string]func(p *peer, text string){
		"one packet": func(p *peer, text string) { p.conn.Write([]byte(text)) },
		"byte by byte": func(p *peer, text string) {
			for i := range text {
				p.conn.Write([]byte(text[i : i+1]))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := mustDial(t, newPool(t, func(p *peer) {
					p.in.Scan()
					write(p, strings.Join(lines, "\n")+"\n"+`{"result":[[["mining.notify","s1"]],"7e86026b",8],"error":null,"id":1}`+"\n")
					p.in.Scan()
					p.send(`{"result":true,"error":null,"id":2}`)
					p.wait()
				}), Options{})
				expectEvents(t, c.Events(), want...)
			})
		})
	}
}

// Every size of extranonce either works or is refused in one clear line.
func TestExtranonceSizes(t *testing.T) {
	for one := range 21 {
		for two := range 17 {
			synctest.Test(t, func(t *testing.T) {
				answer := func(p *peer) {
					p.in.Scan()
					p.send(fmt.Sprintf(`{"id":1,"result":[[],"%s",%d],"error":null}`, strings.Repeat("ab", one), two))
					if p.in.Scan() {
						p.send(`{"id":2,"result":true,"error":null}`)
					}
					p.wait()
				}
				p := newPool(t, answer, answer)
				c, err := Dial(context.Background(), bob, Options{Dial: p.dial})
				if two == 0 {
					const want = "pool.example.org:3333: mining.subscribe: extranonce2 length is not a number from 1 to 32"
					if err == nil || err.Error() != want {
						t.Errorf("%d and %d bytes: %v", one, two, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if e := next(t, c.Events()).(Extranonce); len(e.Extranonce1) != one || e.Extranonce2Len != two {
					t.Errorf("%d and %d bytes: %+v", one, two, e)
				}
				c.Close()
			})
		}
	}
}

// What a hostile pool sends ends its connection, and says why.
func TestHostilePool(t *testing.T) {
	branch := strings.Repeat(`,"`+strings.Repeat("ab", 32)+`"`, 64)[1:]
	notify := func(id, coinb1, branch string) string {
		return fmt.Sprintf(`{"params":["%s",%s,"%s","02",[%s],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}`,
			id, prevHash, coinb1, branch)
	}
	endless := func(text string) func(p *peer) {
		return func(p *peer) {
			for {
				if _, err := p.conn.Write([]byte(text)); err != nil {
					return
				}
			}
		}
	}
	line := func(text string) func(p *peer) {
		return func(p *peer) { p.send(text); p.wait() }
	}
	for name, tt := range map[string]struct {
		script func(*peer)
		want   string
	}{
		"a line of 2 GB":         {endless(strings.Repeat("x", 1<<16)), "read: line is longer than 1048576 bytes"},
		"10,000 jobs a second":   {endless(notifyLine("a", false) + "\n"), "pool sends more than anybody asked for"},
		"answers to nothing":     {endless(`{"id":77,"result":true}` + "\n"), "pool sends more than anybody asked for"},
		"difficulty too small":   {line(`{"method":"mining.set_difficulty","params":[1e-300]}`), "mining.set_difficulty to 1e-300, from 1e-12 to 1e+18 are taken"},
		"difficulty too large":   {line(`{"method":"mining.set_difficulty","params":[1e300]}`), "mining.set_difficulty to 1e+300, from 1e-12 to 1e+18 are taken"},
		"a job id of 8 KB":       {line(notify(strings.Repeat("j", 8<<10), "01", "")), "mining.notify with a job id of 8192 bytes, at most 256 are taken"},
		"a merkle branch of 64":  {line(notify("a", "01", branch)), "mining.notify with a merkle branch of 64 hashes, at most 32 are possible"},
		"a coinbase of 200 KB":   {line(notify("a", strings.Repeat("00", 200_000), "")), "mining.notify with a coinbase of 200001 bytes, at most 100000 are taken"},
		"pings, answers unread":  {endless(`{"id":"` + strings.Repeat("i", 1<<12) + `","method":"mining.ping","params":[]}` + "\n"), ""},
		"an empty line for ever": {func(p *peer) { p.send(strings.Repeat("\n", 1<<20)); p.conn.Close() }, "closed by the pool"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := mustDial(t, newPool(t, func(p *peer) { p.welcome(); tt.script(p) }), Options{})
				last := ""
				jobs := 0
				for e := range c.Events() {
					if _, ok := e.(Notify); ok {
						jobs++
					}
					last = brief(e)
				}
				if tt.want != "" && last != "closed: "+tt.want || !strings.HasPrefix(last, "closed: ") {
					t.Error(last)
				}
				if jobs > announcements {
					t.Errorf("%d jobs", jobs)
				}
			})
		})
	}
	t.Run("announcements without a subscription", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t, endless(notifyLine("a", false)+"\n"), endless(notifyLine("a", false)+"\n"))
			_, err := Dial(context.Background(), bob, Options{Dial: p.dial})
			if err == nil || !strings.Contains(err.Error(), "256 announcements before the answer to mining.subscribe") {
				t.Error(err)
			}
		})
	})
}

// Whatever a pool says before and after its handshake, the client ends with one
// error and no panic, and its work is within the limits.
func FuzzPool(f *testing.F) {
	f.Add([]byte(`{"id":1,"result":[[],"00",4]}`+"\n"), []byte(notifyLine("a", true)+"\n"+`{"id":3,"result":null,"error":"x"}`+"\n"))
	f.Add([]byte(`{"params":[0.001],"method":"mining.set_difficulty"}`+"\n"+`{"id":"1","result":[["mining.notify","x"],"",16]}`+"\n"),
		[]byte(`{"params":["",33],"method":"mining.set_extranonce"}`+"\n"+`{"method":"client.reconnect","params":["a.b",0,1]}`+"\n"))
	f.Add([]byte(`{"id":1,"result":"full","error":null}`+"\n"), []byte("\x00\n[]\n{}\n"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		synctest.Test(t, func(t *testing.T) {
			script := func(p *peer) {
				p.in.Scan()
				p.conn.Write(before)
				if p.in.Scan() {
					p.conn.Write([]byte(`{"id":2,"result":true}` + "\n"))
					p.conn.Write(after)
				}
			}
			p := newPool(t, script, script)
			c, err := Dial(context.Background(), bob, Options{Dial: p.dial, VersionMask: 0})
			if err != nil {
				if text := err.Error(); !strings.HasPrefix(text, bob.URL+": ") || len(text) > 1000 {
					t.Errorf("%.2000q", text)
				}
				return
			}
			_ = c.Send("a", Share{}, func(Verdict) {})
			for e := range c.Events() {
				switch e := e.(type) {
				case Notify:
					if checkNotify(&e.Notify) != nil || e.Extranonce.Extranonce2Len < 1 {
						t.Errorf("%+v", e)
					}
				case Difficulty:
					if checkDifficulty(float64(e)) != nil {
						t.Error(e)
					}
				case Message:
					if len(e) > maxReason {
						t.Error(len(e))
					}
				}
			}
		})
	})
}
