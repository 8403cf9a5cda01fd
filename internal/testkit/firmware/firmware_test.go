package firmware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const easy = "0.00000001" // 43 hashes per share

func dial(t *testing.T, name string, p *pool, opts Options) (*Device, error) {
	t.Helper()
	f, ok := Find(name)
	if !ok {
		t.Fatalf("no family %s", name)
	}
	if f.MaxExtranonce2 < 8 && p.nonce2Size == 8 {
		p.nonce2Size = f.MaxExtranonce2
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := f.Dial(ctx, p.addr(), "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt.rig1", opts)
	if err == nil {
		t.Cleanup(d.Close)
	}
	return d, err
}

func mineShares(t *testing.T, d *Device, n int) Stats {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := d.Mine(ctx, func(s Stats) bool { return s.Submitted >= n })
	if err != nil {
		t.Fatalf("%v: %+v", err, s)
	}
	return s
}

// Every family mines on a pool that is right, over new jobs, clean ones and
// changes of difficulty in both directions, and loses nothing.
func TestFamiliesMine(t *testing.T) {
	for _, f := range Families() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, easy)
			p.branches = 12
			p.everyShares = 10
			var later uint32
			p.onShares = func(c *client) {
				later++
				switch c.accepted / 10 % 4 {
				case 0:
					c.notify(c.newJob(later), false)
				case 1:
					c.setDifficulty("0.00000002")
					c.notify(c.newJob(later), false)
				case 2:
					c.setDifficulty(easy)
					// Firmware that mines at it at once does so on the old job.
					for _, j := range c.jobs {
						j.difficulty = easy
					}
					c.notify(c.newJob(later), false)
				case 3:
					c.notify(c.newJob(later), true)
				}
			}
			d, err := dial(t, f.Name, p, Options{Suggest: 1e-8, Window: 4})
			if err != nil {
				t.Fatal(err)
			}
			s := mineShares(t, d, 120)
			if text := s.Failure(); text != "" {
				t.Errorf("%s\n%+v", text, s)
			}
			if s.Accepted < 120 || s.Jobs < 10 || s.CleanJobs < 2 || len(s.Difficulties) < 5 {
				t.Errorf("%+v", s)
			}
			if s.Worked < 120*1e-8*0.999 {
				t.Errorf("worked %g for %d shares", s.Worked, s.Accepted)
			}
			if d.Session().ID != poolSession {
				t.Errorf("session id %q", d.Session().ID)
			}
		})
	}
}

// What each family sends to log in, in its order.
func TestTranscripts(t *testing.T) {
	for name, want := range map[string]string{
		"Bitaxe":             "configure subscribe authorize suggest_difficulty extranonce.subscribe",
		"Bitaxe 2024":        "subscribe configure suggest_difficulty authorize",
		"NerdMiner":          "subscribe authorize suggest_difficulty",
		"cgminer":            "configure subscribe authorize suggest_difficulty",
		"cgminer 3.7.2":      "subscribe authorize",
		"Braiins Farm Proxy": "configure subscribe extranonce.subscribe authorize authorize authorize authorize authorize",
		"NiceHash":           "subscribe extranonce.subscribe authorize",
		"MiningRigRentals":   "extranonce.subscribe subscribe login",
		"SparkMiner":         "subscribe suggest_difficulty authorize",
		"Authorize first":    "authorize subscribe authorize subscribe",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, easy)
			d, err := dial(t, name, p, Options{})
			if err != nil {
				t.Fatal(err)
			}
			mineShares(t, d, 1)
			var got []string
			for _, m := range p.methods() {
				if m != "mining.submit" {
					got = append(got, strings.TrimPrefix(m, "mining."))
				}
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("got  %s\nwant %s", text, want)
			}
		})
	}
}

func TestLosses(t *testing.T) {
	const early = `{"params":[1],"id":null,"method":"mining.set_difficulty"}`
	const earlyMask = `{"params":["1fffe000"],"id":null,"method":"mining.set_version_mask"}`
	for _, c := range []struct {
		what   string
		family string
		spoil  func(p *pool)
		want   string // part of the loss; empty: none
	}{
		{"line before the subscribe reply", "NerdMiner", func(p *pool) { p.early = early }, "not its reply"},
		{"line before the subscribe reply", "cgminer 3.7.2", func(p *pool) { p.early = early }, "followed directly by notify"},
		{"early mask", "Antminer S21", func(p *pool) { p.beforeAuth = earlyMask }, "hangs up"},
		{"early mask", "Antminer S19", func(p *pool) { p.beforeAuth = earlyMask }, ""},
		{"fraction of a large difficulty", "Antminer S19", changes("42.0"), "reads whole numbers"},
		{"exponent", "Bitaxe 2024", changes("1e3"), "reads whole numbers"},
		{"fraction", "Bitaxe", changes("42.5"), ""},
		{"difficulty zero", "cgminer", changes("0"), "not taken"},
		{"difficulty as text", "NerdMiner", changes(`"1"`), "not taken"},
		{"difficulty without notify", "cgminer", alone("0.00000002"), "not followed directly by notify"},
		{"difficulty without notify", "SparkMiner", alone("0.00000001"), ""},
		{"known job id, new difficulty", "Bitaxe", sameID, "known job id"},
		{"known job id, new difficulty", "cgminer", sameID, ""},
		{"extranonce2 of 8", "cgminer 3.7.2", func(p *pool) { p.nonce2Size = 9 }, "extranonce2 of 9 bytes"},
		{"extranonce2 of 9", "Whatsminer", func(p *pool) { p.nonce2Size = 9 }, "extranonce2 of 9 bytes"},
		{"extranonce2 of 3", "NiceHash", func(p *pool) { p.nonce2Size = 3 }, "extranonce2 of 3 bytes"},
		{"extranonce2 of 6", "Braiins Hashpower", func(p *pool) { p.nonce2Size = 6 }, "extranonce2 of 6 bytes"},
		{"coinbase of 255", "NerdMiner", func(p *pool) { p.coinbaseBytes = 255 }, ""},
		{"coinbase of 256", "NerdMiner", func(p *pool) { p.coinbaseBytes = 256 }, "coinbase of 256 bytes"},
		{"coinbase of 500", "NiceHash", func(p *pool) { p.coinbaseBytes = 500 }, ""},
		{"coinbase of 501", "NiceHash", func(p *pool) { p.coinbaseBytes = 501 }, "coinbase of 501 bytes"},
		{"coinbase of 751", "cgminer", func(p *pool) { p.coinbaseBytes = 751 }, "coinbase of 751 bytes"},
		{"coinbase of 2250", "Antminer S21", func(p *pool) { p.coinbaseBytes = 2250 }, ""},
		{"coinbase of 7000", "Bitaxe", func(p *pool) { p.coinbaseBytes = 7000 }, "coinbase of 7000 bytes"},
		{"long coinbase", "SparkMiner", func(p *pool) { p.coinbaseBytes = 250 }, "second part of the coinbase"},
		{"17 branches", "SparkMiner", func(p *pool) { p.branches = 17 }, "17 merkle branches"},
		{"33 branches", "Bitaxe", func(p *pool) { p.branches = 33 }, "33 merkle branches"},
		{"line of more than a document", "NerdMiner", func(p *pool) { p.branches = 50 }, "JSON document"},
		{"null result", "Bitaxe", func(p *pool) { p.suggestReply = "null" }, "taken for nothing"},
		{"text result", "Bitaxe", func(p *pool) { p.suggestReply = `"ok"` }, "taken for nothing"},
		{"null result", "cgminer", func(p *pool) { p.suggestReply = "null" }, ""},
		{"ids changed", "Authorize first", func(p *pool) { p.integerIDs = true }, "which waits for none"},
		{"version with bits of the mask", "Antminer S19", func(p *pool) { p.version = 0x30000000 }, "bits of the mask"},
		{"unasked set_extranonce", "cgminer", says(`{"id":null,"method":"mining.set_extranonce","params":["01",4]}`), "does not know"},
		{"no JSON", "cgminer", says(`{"id":`), "not JSON"},
	} {
		t.Run(c.family+" "+c.what, func(t *testing.T) {
			t.Parallel()
			f, _ := Find(c.family)
			// Some never get on: what they have lost is to be seen soon, on a busy machine later.
			for within := 300 * time.Millisecond; ; within *= 10 {
				p := newPool(t, easy)
				c.spoil(p)
				login := within
				if c.want == "" {
					login = time.Minute
				}
				losses := lossesOf(t, f, p, login, within, func(s Stats) bool { return len(s.Losses) > 0 || s.Submitted >= 30 && c.want == "" })
				switch lost := slices.ContainsFunc(losses, func(l string) bool { return strings.Contains(l, c.want) }); {
				case c.want == "" && len(losses) > 0:
					t.Errorf("lost without reason: %v", losses)
				case c.want != "" && !lost && within < 20*time.Second:
					continue
				case c.want != "" && !lost:
					t.Errorf("losses %v, want %q", losses, c.want)
				}
				return
			}
		})
	}
}

// lossesOf are those of a device of a family that logs in and mines for a while, or until
// it has done enough.
func lossesOf(t *testing.T, f Family, p *pool, login, within time.Duration, enough func(Stats) bool) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), login)
	defer cancel()
	d, err := f.Dial(ctx, p.addr(), "worker", Options{Suggest: 1e-8})
	if err == nil {
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		s, _ := d.Mine(ctx, enough) // an end of the connection is a loss too, or no time is left
		return s.Losses
	}
	if !errors.Is(err, ErrGaveUp) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if l, ok := errors.AsType[*Lost](err); ok {
		return l.Losses
	}
	return []string{err.Error()}
}

// changes announces a difficulty as written and a new job at it.
func changes(text string) func(p *pool) {
	return func(p *pool) {
		p.afterAuth = append(p.afterAuth, func(c *client) {
			c.setDifficulty(text)
			c.notify(c.newJob(1), false)
			c.difficulty = easy
		})
	}
}

func alone(text string) func(p *pool) {
	return func(p *pool) {
		p.everyShares = 5
		p.onShares = func(c *client) { c.setDifficulty(text) }
	}
}

// sameID repeats the first job with a new difficulty.
func sameID(p *pool) {
	p.afterAuth = append(p.afterAuth, func(c *client) {
		c.setDifficulty("0.00000002")
		c.notify(fmt.Sprintf("%018x", 1), false)
	})
}

func says(line string) func(p *pool) {
	return func(p *pool) { p.afterAuth = append(p.afterAuth, func(c *client) { c.say("%s", line) }) }
}

// Work that hashes as before under a new id makes firmware that begins anew
// with each notify find its shares again.
func TestRepeatedWorkMakesDuplicates(t *testing.T) {
	for name, duplicates := range map[string]bool{
		"Bitaxe": true, "Bitaxe 2024": true, "NerdMiner": true, "cgminer": false, "SparkMiner": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, easy)
			p.everyShares = 20
			p.onShares = func(c *client) { c.notify(c.again(fmt.Sprintf("%018x", 1)), false) }
			d, err := dial(t, name, p, Options{Suggest: 1e-8, Window: 1})
			if err != nil {
				t.Fatal(err)
			}
			s := mineShares(t, d, 60)
			if got := s.Rejects["20 duplicate"] > 0; got != duplicates {
				t.Errorf("rejects %v", s.Rejects)
			}
		})
	}
}

func TestShortNonces(t *testing.T) {
	p := newPool(t, easy)
	p.paddedNonces = true
	d, err := dial(t, "NerdMiner", p, Options{Suggest: 1e-8})
	if err != nil {
		t.Fatal(err)
	}
	if s := mineShares(t, d, 10); s.Rejects["20 short nonce"] != 10 || s.Failure() != "share rejected: 20 short nonce" {
		t.Errorf("%+v", s)
	}
}

func TestRefusal(t *testing.T) {
	p := newPool(t, easy)
	p.refuse = true
	_, err := dial(t, "cgminer", p, Options{})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "24 no such address") {
		t.Errorf("%v", err)
	}
}

func TestReconnectIsObeyedWhereTheFirmwareWould(t *testing.T) {
	for _, c := range []struct {
		family, params string
		obeyed         bool
	}{
		{"Bitaxe", `["other.example","3333",0]`, true},
		{"cgminer", `["other.example","3333",0]`, false},
		{"cgminer", `["129.0.0.1",3333,0]`, true}, // all after the first dot is as in 127.0.0.1
		{"cgminer", `[]`, true},
		{"Antminer S19", `[]`, false},
	} {
		p := newPool(t, easy)
		says(`{"id":null,"method":"client.reconnect","params":` + c.params + `}`)(p)
		d, err := dial(t, c.family, p, Options{Suggest: -1})
		if err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err = d.Mine(ctx, func(s Stats) bool { return s.Submitted >= 20 })
			cancel()
		}
		if errors.Is(err, ErrReconnect) != c.obeyed {
			t.Errorf("%s, %s: %v", c.family, c.params, err)
		}
	}
}

func TestCapsAndWithheldBlocks(t *testing.T) {
	p := newPool(t, easy)
	d, err := dial(t, "cgminer", p, Options{Suggest: -1, ShareRate: 200, HashRate: 50_000})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s := mineShares(t, d, 20)
	took := time.Since(start)
	if took < 95*time.Millisecond {
		t.Errorf("20 shares in %s at 200 per second", took)
	}
	if limit := 50_000*took.Seconds() + 2*batch; float64(s.Hashes) > limit {
		t.Errorf("%d hashes in %s", s.Hashes, took)
	}

	// The pool's bits are out of reach; easier ones make every second hash a block.
	d, err = dial(t, "cgminer", p, Options{Suggest: -1, BlockEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for d.job == nil {
		if err := d.next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.job.network = 2e-8
	if s := mineShares(t, d, 30); s.Blocks != 1 {
		t.Errorf("%d blocks", s.Blocks)
	}
}

func TestLongNamesAreCut(t *testing.T) {
	p := newPool(t, easy)
	f, _ := Find("NerdMiner")
	d, err := f.Dial(t.Context(), p.addr(), strings.Repeat("w", 100), Options{Password: strings.Repeat("p", 30)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if s := d.Stats(); len(s.Losses) != 2 {
		t.Errorf("%v", s.Losses)
	}
}

func TestArduinoSize(t *testing.T) {
	for text, want := range map[string]int{
		`1`:                         0,
		`"abc"`:                     4,
		`[]`:                        0,
		`[1,2,3]`:                   3 * 16,
		`{"a":1}`:                   16 + 2,
		`{"a":[1,2,"xyz"]}`:         16 + 2 + 3*16 + 4,
		`{"a":{"b":null},"c":"d"}`:  2*16 + 2*2 + 16 + 2 + 2,
		`[["x"],{"y":"z"},"y",[1]]`: 4*16 + 16 + 2 + 16 + 2 + 2 + 2 + 16,
	} {
		if got := arduinoSize([]byte(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func TestKeepAliveSuggestsAgain(t *testing.T) {
	p := newPool(t, "1000")
	d, err := dial(t, "NerdMiner", p, Options{KeepAlive: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := d.Mine(ctx, func(Stats) bool {
		n := 0
		for _, m := range p.methods() {
			if m == "mining.suggest_difficulty" {
				n++
			}
		}
		return n >= 4
	}); err != nil {
		t.Error(err)
	}
}

func TestPingAndVersionAreAnswered(t *testing.T) {
	p := newPool(t, easy)
	says(`{"id":5,"method":"client.get_version","params":[]}`)(p)
	d, err := dial(t, "cgminer", p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// A reply has no method.
	s, err := d.Mine(ctx, func(Stats) bool { return slices.Contains(p.methods(), "") })
	if err != nil || s.Failure() != "" {
		t.Errorf("get_version was not answered: %v, %s", err, s.Failure())
	}
}
