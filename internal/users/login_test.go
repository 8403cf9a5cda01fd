package users

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/stratum"
)

const (
	mainAddress = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
	mainScript  = "0014e8df018c7e326cc253faac7e46cdc51e68542c42"
	oldAddress  = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
	oldScript   = "76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac"
	testAddress = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"
)

func TestLoginAnyName(t *testing.T) {
	s := newHarness(t, nil).Users
	for worker, want := range map[string]string{
		"bob":                                    "bob",
		"bob.rig1":                               "bob",
		"bob_rig1":                               "bob",
		"bob.a/b":                                "bob",
		"mürsel x":                               "mürsel x",
		strings.ToUpper(mainAddress) + ".Rig":    mainAddress,
		oldAddress + "_1":                        oldAddress,
		strings.Repeat("a", 255):                 strings.Repeat("a", 255),
		"Bob":                                    "Bob",
		strings.ToUpper(mainAddress[:20]) + ".x": strings.ToUpper(mainAddress[:20]), // no address
	} {
		g, r := s.Authorize(login(worker))
		if r != nil {
			t.Errorf("%s refused: %v", worker, r)
			continue
		}
		if g.User.Name != want || g.Worker == 0 || g.User.Payout != nil || !g.NewName {
			t.Errorf("%s: %+v", worker, g)
		}
		if text := "Authorised, welcome to ckpool " + want + "!"; g.Message != text {
			t.Errorf("%s is told %q", worker, g.Message)
		}
		again := grant(t, s, worker)
		if again.Worker != g.Worker || again.NewName {
			t.Errorf("%s again: %+v", worker, again)
		}
	}
	lower, upper := grant(t, s, mainAddress+".Rig"), grant(t, s, strings.ToUpper(mainAddress)+".Rig")
	if lower.Worker != upper.Worker {
		t.Error("an address in upper case is another worker")
	}
}

func TestLoginRefused(t *testing.T) {
	solo := func(c *Config) { c.Solo = true }
	secret := func(c *Config) { c.Password = "tell nobody" }
	for _, c := range []struct {
		worker, password, text string
		config                 func(*Config)
	}{
		{"", "", "Empty workername parameter", nil},
		{".rig", "", "Empty username parameter", nil},
		{"_rig", "", "Empty username parameter", nil},
		{"a/b", "", "Invalid character in username", nil},
		{strings.Repeat("a", 256), "", "Username too long", nil},
		{"bob." + strings.Repeat("a", 256), "", "Username too long", nil},
		{strings.Repeat(" ", 86), "", "Username too long", nil},
		{"bob", "", "Invalid password", secret},
		{"bob", "tell", "Invalid password", secret},
		{"bob", "tell nobody else", "Invalid password", secret},
		{"bob", "", "Username must be a bitcoin address", solo},
		{mainAddress[:41] + "x", "", "Username must be a bitcoin address", solo},
		{testAddress, "", "Address is for testnet or signet, this pool mines on mainnet", solo},
		{"bc1pfeessrawgf.x", "", "Username must be a payable address: pay-to-anchor", solo},
	} {
		h := newHarness(t, c.config)
		h.SetNetwork(address.Main)
		l := login(c.worker)
		l.Password = c.password
		g, r := h.Authorize(l)
		if r == nil || r.Code != stratum.Unauthorized || !strings.HasPrefix(r.Text, c.text) {
			t.Errorf("%q with %q: %+v %v, want %q", c.worker, c.password, g, r, c.text)
		}
		if n := h.directory.lastID.Load(); n != 0 {
			t.Errorf("%q: a refused login made %d users", c.worker, n)
		}
	}
}

// Who puts something else in the place of the address is told what to put there.
func TestSoloLoginHint(t *testing.T) {
	for _, c := range []struct{ worker, hint string }{
		{"rig1", "; use ADDRESS.rig1 with your own address"},
		{"alice.rig2", "; use ADDRESS.alice with your own address"},
		{"rig1." + mainAddress, "; use " + mainAddress + ".rig1"},
		{"rig1_" + mainAddress, "; use " + mainAddress + ".rig1"},
		{"bitcoin:" + mainAddress, "; use " + mainAddress + ".rig1"},
		{"<" + mainAddress + ">.a", "; use " + mainAddress + ".rig1"},
		{mainAddress[:41] + "x", ""}, // mistyped, as is said
	} {
		h := newHarness(t, func(c *Config) { c.Solo = true })
		h.SetNetwork(address.Main)
		_, r := h.Authorize(login(c.worker))
		if r == nil || c.hint == "" && strings.Contains(r.Text, "use") || !strings.HasSuffix(r.Text, c.hint) {
			t.Errorf("%q: %v, want …%s", c.worker, r, c.hint)
		}
	}
}

func TestLoginPassword(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Password = "secret" })
	for _, password := range []string{"secret", "secret,d=200", "d=200, secret", " secret "} {
		l := login("bob")
		l.Password = password
		if _, r := h.Authorize(l); r != nil {
			t.Errorf("%q refused: %v", password, r)
		}
	}
}

func TestReload(t *testing.T) {
	h := newHarness(t, nil)
	grant(t, h.Users, "bob")
	h.Set(Settings{Name: "other", Password: "secret"})
	if g, r := h.Authorize(login("bob")); r == nil {
		t.Errorf("let in without the new password: %+v", g)
	}
	l := login("bob")
	l.Password = "secret"
	if g, r := h.Authorize(l); r != nil || g.Message != "Authorised, welcome to other bob!" {
		t.Errorf("%+v, %v", g, r)
	}
}

func TestLoginSolo(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Solo = true })
	// Before the chain is known any address will do.
	if g := grant(t, h.Users, testAddress); len(g.User.Payout) == 0 {
		t.Errorf("no payout before the chain is known: %+v", g)
	}
	h.SetNetwork(address.Main)
	for worker, script := range map[string]string{
		mainAddress:                            mainScript,
		strings.ToUpper(mainAddress) + ".rig1": mainScript,
		oldAddress + ".rig1":                   oldScript,
	} {
		g := grant(t, h.Users, worker)
		if got := hex.EncodeToString(g.User.Payout); got != script {
			t.Errorf("%s is paid to %s, want %s", worker, got, script)
		}
	}
	// sessions of a user share one script
	a, b := grant(t, h.Users, mainAddress), grant(t, h.Users, mainAddress+".rig1")
	if &a.User.Payout[0] != &b.User.Payout[0] {
		t.Error("two workers of a user have scripts of their own")
	}
}

func TestLoginRefusedTooOften(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Solo = true })
	at := start
	try := func(worker, from string) string {
		l := login(worker)
		l.Time = at
		l.Remote = netip.MustParseAddrPort(from)
		_, r := h.Authorize(l)
		if r == nil {
			return ""
		}
		return r.Text
	}
	const bad, good, here, there = "bob", mainAddress, "198.51.100.7:1", "198.51.100.8:1"
	for i := range 10 {
		if text := try(bad, here); !strings.HasPrefix(text, "Username must") {
			t.Fatalf("refusal %d: %q", i+1, text)
		}
		at = at.Add(time.Second)
	}
	// the tenth was a second ago
	if text := try(bad, here); text != "retry in 59 s" {
		t.Errorf("eleventh: %q", text)
	}
	for _, other := range []struct{ worker, from string }{{"eve", here}, {bad, there}} {
		if text := try(other.worker, other.from); !strings.HasPrefix(text, "Username must") {
			t.Errorf("%s from %s suffers: %q", other.worker, other.from, text)
		}
	}
	if text := try(good, here); text != "" {
		t.Errorf("a good name suffers: %q", text)
	}
	at = at.Add(58*time.Second + 500*time.Millisecond)
	if text := try(bad, here); text != "retry in 1 s" {
		t.Errorf("at the end: %q", text)
	}
	at = at.Add(time.Second)
	if text := try(bad, here); !strings.HasPrefix(text, "Username must") {
		t.Errorf("a minute later: %q", text)
	}
	// nine a minute never block
	for range 30 {
		at = at.Add(7 * time.Second)
		if text := try(bad, here); !strings.HasPrefix(text, "Username must") {
			t.Fatalf("slow tries: %q", text)
		}
	}
}

func TestLoginNewNames(t *testing.T) {
	exempt := func(c *Config) { c.NameExempt = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	h := newHarness(t, exempt)
	at := start
	n := 0
	try := func(from string, newNames int) string {
		n++
		l := login(fmt.Sprintf("miner%d", n))
		l.Time, l.NewNames, l.Remote = at, newNames, netip.MustParseAddrPort(from)
		_, r := h.Authorize(l)
		if r == nil {
			return ""
		}
		return r.Text
	}
	if text := try("198.51.100.7:1", 99); text != "" {
		t.Errorf("100th name of a connection: %q", text)
	}
	if text := try("198.51.100.7:1", 100); text != "Too many new names on this connection" {
		t.Errorf("101st name of a connection: %q", text)
	}
	for i := range 10_000 {
		if text := try("[2001:db8::1]:1", 0); text != "" {
			t.Fatalf("name %d of an address: %q", i+1, text)
		}
	}
	at = at.Add(59 * time.Minute)
	if text := try("[2001:db8::2]:1", 0); text != "Too many new names from your address, retry in 60 s" {
		t.Errorf("name 10001 of a /64: %q", text)
	}
	if text := try("[2001:db8:0:1::2]:1", 0); text != "" {
		t.Errorf("another /64 suffers: %q", text)
	}
	l := login("miner5000")
	l.Remote = netip.MustParseAddrPort("[2001:db8::2]:1")
	if _, r := h.Authorize(l); r != nil {
		t.Errorf("a known name is refused: %v", r)
	}
	at = at.Add(time.Minute)
	if text := try("[2001:db8::2]:1", 0); text != "" {
		t.Errorf("an hour later: %q", text)
	}
	for i := range 10_001 {
		if text := try("[::ffff:10.1.2.3]:1", 0); text != "" {
			t.Fatalf("name %d of an exempt network: %q", i+1, text)
		}
	}
}

// What strangers can make the limits remember is bounded, and so is what each
// refusal costs however many there were.
func TestLimitsAreBounded(t *testing.T) {
	const some = 10_000
	w := newRefusals()
	n := 0
	refuse := func(names int) time.Duration {
		began := time.Now()
		for range names {
			w.add(refusal{name: fmt.Sprint(n)}, stamp(n))
			n++
		}
		return time.Since(began)
	}
	first := refuse(some)
	refuse(maxKeys - some)
	for range maxKeys / some {
		// The smaller one: a busy machine may hold up one of them.
		if took := min(refuse(some), refuse(some)); took > 50*first+time.Second {
			t.Fatalf("%d refusals take %v when the limit of names is reached, the first took %v", some, took, first)
		}
		if w.counts.Len() > maxKeys {
			t.Fatalf("%d keys", w.counts.Len())
		}
	}
	for hour := range 2 {
		w.sweep(stamp(hour+1) * stamp(time.Hour))
	}
	if w.counts.Len() != 0 {
		t.Errorf("%d keys after two hours", w.counts.Len())
	}
}

func TestLoginConcurrently(t *testing.T) {
	s := newHarness(t, nil).Users
	var loops sync.WaitGroup
	ids := make([][]session.WorkerID, 4)
	for loop := range ids {
		loops.Go(func() {
			for i := range 2000 {
				g, r := s.Authorize(login(fmt.Sprintf("user%d.rig%d", i%50, i)))
				if r != nil {
					t.Error(r)
					return
				}
				ids[loop] = append(ids[loop], g.Worker)
				if w := s.directory.table.get(g.Worker); w == nil || w.id != g.Worker {
					t.Errorf("worker %d not found by its id", g.Worker)
					return
				}
			}
		})
	}
	loops.Wait()
	for loop := range ids {
		for i, id := range ids[loop] {
			if id != ids[0][i] {
				t.Fatalf("loop %d has worker %d as %d, loop 0 as %d", loop, i, id, ids[0][i])
			}
		}
	}
	if users, workers := s.directory.users.Load(), s.directory.table.count(); users != 50 || workers != 2000 {
		t.Errorf("%d users and %d workers", users, workers)
	}
	if w := s.directory.table.get(2001); w != nil || s.directory.table.get(1<<31) != nil || s.directory.table.get(0) != nil {
		t.Error("found a worker that does not exist")
	}
}
