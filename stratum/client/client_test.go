package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, func(p *peer) {
			p.expect(`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffffff","version-rolling.min-bit-count":2}]}`)
			p.expect(`{"id":2,"method":"mining.subscribe","params":["miner/1","s0"]}`)
			p.send(`{"result":{"version-rolling":true,"version-rolling.mask":"ffffe000"},"error":null,"id":1}`,
				`{"result":[[["mining.notify","s1"]],"7e86026b",8],"error":null,"id":2}`,
				`{"params":[42],"id":null,"method":"mining.set_difficulty"}`,
				notifyLine("a", true))
			p.expect(`{"id":3,"method":"mining.authorize","params":["bob","x"]}`)
			p.send(`{"result":true,"error":null,"id":3}`)
			p.expect(`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`)
			p.expect(`{"id":5,"method":"mining.suggest_difficulty","params":[0.001]}`)
			p.send(`{"result":true,"error":null,"id":4}`,
				`{"params":[0.001],"id":null,"method":"mining.set_difficulty"}`,
				`{"params":["00ff0000"],"id":null,"method":"mining.set_version_mask"}`,
				`{"params":["08000002",4],"id":null,"method":"mining.set_extranonce"}`,
				notifyLine("b", false),
				`{"id":null,"method":"client.show_message","params":["hello"]}`,
				`{"id":null,"method":"client.reconnect","params":["eu.example.org","3334",0]}`)
			p.wait()
		})
		c := mustDial(t, p, Options{UserAgent: "miner/1", SessionID: "s0", VersionMask: 0x1fffffff, MinBitCount: 2,
			SuggestDifficulty: 0.001, ExtranonceSubscribe: true})
		expectEvents(t, c.Events(),
			"extranonce 7e86026b/8 session s1",
			"mask 1fffe000",
			"difficulty 42",
			"notify a clean=true diff=42 mask=1fffe000 en1=7e86026b",
			"difficulty 0.001",
			"mask 00ff0000",
			"extranonce 08000002/4 session s1",
			"notify b clean=false diff=0.001 mask=00ff0000 en1=08000002",
			"message hello",
			"reconnect eu.example.org:3334")
		c.Close()
		expectEvents(t, c.Events(), "closed: connection closed")
		if _, open := <-c.Events(); open {
			t.Error("events go on after Closed")
		}
	})
}

// TestOddPools: each script is a pool that real clients must cope with. All
// end with the same job.
func TestOddPools(t *testing.T) {
	const (
		subscribe = `{"id":1,"method":"mining.subscribe","params":["ckpool"]}`
		authorize = `{"id":2,"method":"mining.authorize","params":["bob","x"]}`
		result    = `[[["mining.notify","s1"]],"7e86026b",8]`
	)
	for name, script := range map[string]func(*peer){
		"no error members": func(p *peer) {
			p.expect(subscribe)
			p.send(`{"id":1,"result":` + result + `}`)
			p.expect(authorize)
			p.send(`{"id":2,"result":true}`, notifyLine("a", true))
			p.wait()
		},
		"authorize answered null": func(p *peer) {
			p.expect(subscribe)
			p.send(`{"id":1,"result":` + result + `,"error":null}`)
			p.expect(authorize)
			p.send(`{"id":2,"result":null,"error":null}`, notifyLine("a", true))
			p.wait()
		},
		"ids as strings, other key order, CR, spaces": func(p *peer) {
			p.expect(subscribe)
			p.send("{ \"result\" : " + result + " , \"error\" : null , \"id\" : \"1\" }\r")
			p.expect(authorize)
			p.send(`{"jsonrpc":"2.0","error":null,"result":true,"id":"2"}`+"\r", notifyLine("a", true)+"\r")
			p.wait()
		},
		"work before the subscribe reply": func(p *peer) {
			p.expect(subscribe)
			p.send(notifyLine("a", true), `{"id":1,"result":`+result+`,"error":null}`)
			p.expect(authorize)
			p.send(`{"id":2,"result":true,"error":null}`)
			p.wait()
		},
		"lines cut anywhere, garbage, stray replies": func(p *peer) {
			p.expect(subscribe)
			all := "\n\nbanner\n[]\n5\n" + `{"id":99,"result":true}` + "\n" + `{"id":null,"error":"x"}` + "\n" +
				`{"id":1,"result":` + result + `,"error":null}` + "\n"
			for i := range all {
				p.conn.Write([]byte(all[i : i+1]))
			}
			p.expect(authorize)
			p.send(`{"method":5,"id":1}`, `{"method":"mining.unknown","params":{},"id":3}`,
				`{"method":"mining.set_difficulty","params":[0]}`, `{"method":"mining.set_difficulty","params":"x"}`,
				`{"method":"mining.notify","params":["short"]}`, `{"method":"client.reconnect","params":[5]}`,
				`{"method":"mining.set_version_mask","params":["1fffe000"]}`, `{"method":"mining.set_extranonce","params":[]}`,
				`{"id":2,"result":true,"error":null}`, notifyLine("a", true))
			p.wait()
		},
		"asks before it answers": func(p *peer) {
			p.expect(subscribe)
			p.send(`{"id":7,"method":"mining.ping","params":[]}`, `{"id":"v","method":"client.get_version","params":[]}`)
			p.expect(`{"result":"pong","error":null,"id":7}`)
			p.expect(`{"result":"ckpool","error":null,"id":"v"}`)
			p.send(`{"id":1,"result":` + result + `,"error":null}`)
			p.expect(authorize)
			p.send(`{"id":2,"result":true,"error":null}`, notifyLine("a", true))
			p.wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := mustDial(t, newPool(t, script), Options{})
				expectEvents(t, c.Events(), "extranonce 7e86026b/8 session s1",
					"notify a clean=true diff=0 mask=00000000 en1=7e86026b")
				c.Close()
			})
		})
	}
}

// TestPickyPools: pools that want another handshake get it on a new connection.
func TestPickyPools(t *testing.T) {
	const configure = `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":0}]}`
	closes := func(p *peer) { p.expect(configure) }
	accepts := func(id1, id2, agent string) func(*peer) {
		return func(p *peer) {
			p.expect(`{"id":` + id1 + `,"method":"mining.subscribe","params":[` + agent + `]}`)
			p.send(`{"id":` + id1 + `,"result":[[],"00",4],"error":null}`)
			p.expect(`{"id":` + id2 + `,"method":"mining.authorize","params":["bob","x"]}`)
			p.send(`{"id":` + id2 + `,"result":true,"error":null}`)
			p.wait()
		}
	}
	refuses := func(id, reply string) func(*peer) {
		return func(p *peer) {
			p.expect(`{"id":` + id + `,"method":"mining.subscribe","params":["ckpool"]}`)
			p.send(`{"id":` + id + `,` + reply + `}`)
			p.wait()
		}
	}
	t.Run("no configure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mustDial(t, newPool(t, closes, accepts("1", "2", `"ckpool"`)), Options{VersionMask: 0x1fffe000}).Close()
		})
	})
	t.Run("neither configure nor user agent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mustDial(t, newPool(t, closes, refuses("1", `"result":null,"error":[20,"params",null]`), accepts("1", "2", "")),
				Options{VersionMask: 0x1fffe000}).Close()
		})
	})
	t.Run("refuses for good", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			full := `"result":"proxy full","error":null`
			p := newPool(t, refuses("1", full), func(p *peer) {
				p.expect(`{"id":1,"method":"mining.subscribe","params":[]}`)
				p.send(`{"id":1,` + full + `}`)
				p.wait()
			})
			_, err := Dial(context.Background(), bob, Options{Dial: p.dial})
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Reject.Text != "proxy full" {
				t.Error(err)
			}
			if want := "pool.example.org:3333: mining.subscribe refused: proxy full (20)"; err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		})
	})
}

func TestDialFails(t *testing.T) {
	for name, tt := range map[string]struct {
		scripts []func(*peer)
		want    string
	}{
		"nobody there": {nil, "connection refused"},
		"authorize refused": {[]func(*peer){func(p *peer) {
			p.expect(`{"id":1,"method":"mining.subscribe","params":["ckpool"]}`)
			p.send(`{"id":1,"result":[[],"00",4],"error":null}`)
			p.in.Scan()
			p.send(`{"id":2,"result":false,"error":[24,"unknown worker",null]}`)
			p.wait()
		}}, "mining.authorize refused: unknown worker (24)"},
		"authorize answered by closing": {[]func(*peer){func(p *peer) {
			p.in.Scan()
			p.send(`{"id":1,"result":[[],"00",4],"error":null}`)
			p.in.Scan()
		}}, "closed instead of an answer to mining.authorize"},
		"silent": {[]func(*peer){(*peer).wait}, "no answer in 30s"},
		"web server": {[]func(*peer){
			func(p *peer) { p.in.Scan(); p.send(strings.Split(strings.Repeat("<html>|", 12), "|")...); p.wait() },
			func(p *peer) { p.in.Scan(); p.send(strings.Split(strings.Repeat("<html>|", 12), "|")...); p.wait() },
		}, "not stratum"},
		"endless line": {[]func(*peer){
			func(p *peer) { p.in.Scan(); p.send(strings.Repeat("x", 2<<20)) },
			func(p *peer) { p.in.Scan(); p.send(strings.Repeat("x", 2<<20)) },
		}, "line is longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, tt.scripts...)
				c, err := Dial(context.Background(), bob, Options{Dial: p.dial})
				if err == nil {
					c.Close()
					t.Fatal("connected")
				}
				if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), bob.URL) {
					t.Errorf("%q, want %q", err, tt.want)
				}
			})
		})
	}
	t.Run("context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			p := newPool(t, (*peer).wait)
			began := time.Now()
			_, err := Dial(ctx, bob, Options{Dial: p.dial})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
				t.Error(err, time.Since(began))
			}
		})
	})
}

func TestSubmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, func(p *peer) {
			p.welcome("a")
			p.expect(`{"id":3,"method":"mining.submit","params":["bob","a","0000000000000001","6b02867d","0009bf79"]}`)
			p.send(`{"id":3,"result":true,"error":null}`)
			p.expect(`{"id":4,"method":"mining.submit","params":["bob.rig2","a","0000000000000001","6b02867d","0009bf79","0000e000"]}`)
			p.send(`{"reject-reason":"Above target","result":false,"error":[23,"Above target",null],"id":4}`)
			p.in.Scan() // 5 and 6 are answered in the other order
			p.in.Scan()
			p.send(`{"id":6,"result":false,"error":null,"reject-reason":"Stale"}`, `{"id":5,"result":true,"error":null}`)
			p.in.Scan() // 7 is not answered in time
			time.Sleep(2 * time.Second)
			p.send(`{"id":7,"result":true,"error":null}`)
			p.in.Scan() // 8 never
		})
		c := mustDial(t, p, Options{})
		expectEvents(t, c.Events(), "extranonce 7e86026b/8 session s1")
		job := next(t, c.Events()).(Notify)
		share := Share{Extranonce2: []byte{7: 1}, NTime: 0x6b02867d, Nonce: 0x9bf79}

		if r, err := job.Submit(t.Context(), share); r != nil || err != nil {
			t.Error(r, err)
		}
		rolled := share
		rolled.Worker, rolled.VersionBits, rolled.HasVersionBits = "bob.rig2", 0xe000, true
		if r, err := job.Submit(t.Context(), rolled); err != nil || *r != (stratum.Reject{Code: 23, Text: "Above target"}) {
			t.Error(r, err)
		}
		first := make(chan *stratum.Reject, 1)
		go func() {
			r, _ := job.Submit(t.Context(), share)
			first <- r
		}()
		synctest.Wait()
		if r, err := job.Submit(t.Context(), share); err != nil || r.Text != "Stale" {
			t.Error(r, err)
		}
		if r := <-first; r != nil {
			t.Error(r)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := job.Submit(ctx, share); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := job.Submit(t.Context(), share); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "closed by the pool") {
			t.Error(err)
		}
		expectEvents(t, c.Events(), "closed: closed by the pool")
		if _, err := job.Submit(t.Context(), share); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, func(p *peer) {
			p.welcome("a")
			p.expect(`{"id":3,"method":"mining.ping","params":[]}`)
			p.send(`{"id":3,"result":null,"error":[20,"Unknown method",null]}`) // alive all the same
			p.expect(`{"id":4,"method":"mining.ping","params":[]}`)
			p.wait()
		})
		c := mustDial(t, p, Options{})
		began := time.Now()
		for range 2 {
			next(t, c.Events())
		}
		expectEvents(t, c.Events(), "closed: pool is silent for 10m0s")
		if d := time.Since(began); d != 15*time.Minute {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestEventsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, func(p *peer) {
			p.welcome()
			for range maxEvents {
				time.Sleep(time.Second / announcementsRate)
				p.send(`{"params":[1],"id":null,"method":"mining.set_difficulty"}`)
			}
			p.wait()
		})
		c := mustDial(t, p, Options{})
		time.Sleep(2 * time.Minute)
		n := 0
		for e := range c.Events() {
			if n++; n > maxEvents && brief(e) != "closed: events are not being read" {
				t.Error(brief(e))
			}
		}
		if n != maxEvents+1 {
			t.Errorf("%d events", n)
		}
	})
}

// TestStuckPool: a pool that does not read is given up.
func TestStuckPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newPool(t, func(p *peer) {
			p.welcome("a")
			<-release
		})
		c := mustDial(t, p, Options{})
		began := time.Now()
		_, err := c.Submit(t.Context(), "a", Share{})
		if !errors.Is(err, ErrClosed) || time.Since(began) != writeTimeout {
			t.Error(err, time.Since(began))
		}
		close(release)
	})
}
