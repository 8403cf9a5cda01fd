package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// limited is a pool whose limits hold for all of 127.0.0.0/8 too.
func limited(t *testing.T, solo bool, more keys) *running {
	t.Helper()
	n := testkit.StartFakeNode(t, fakenode.Config{})
	k := keys{"limit_exempt": []string{}}
	for name, v := range more {
		k[name] = v
	}
	r := setup{solo: solo, nodes: []keys{fakeEntry(n)}, keys: k}.start(t)
	r.connect(t, poolAddress+".first").job() // there is work
	return r
}

func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	r := limited(t, false, keys{"max_connections_per_address": 5})
	var open []*raw
	for i := range 5 {
		c, ok := r.served(t, "127.1.0.1")
		if !ok {
			t.Fatalf("connection %d is refused", i)
		}
		open = append(open, c)
	}
	for range 3 {
		if _, ok := r.served(t, "127.1.0.1"); ok {
			t.Error("a sixth connection is served")
		}
	}
	if _, ok := r.served(t, "127.1.0.2"); !ok {
		t.Error("another address is refused")
	}
	open[2].Close()
	before := r.connections().Drops["rate limited"]
	if before != 3 {
		t.Errorf("%d counted, want 3", before)
	}
	eventually(t, patience, "room again", func() bool {
		_, ok := r.served(t, "127.1.0.1")
		return ok
	})
	if n := r.log.count("Dropped 127.1.0.1: rate limited: more than 5 connections"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestUnauthorisedPerAddress(t *testing.T) {
	t.Parallel()
	r := limited(t, false, keys{"max_unauthorised_per_address": 3})
	var open []*raw
	for range 3 {
		c, ok := r.served(t, "127.1.0.1")
		if !ok {
			t.Fatal("one of the first three is refused")
		}
		open = append(open, c)
	}
	if _, ok := r.served(t, "127.1.0.1"); ok {
		t.Error("a fourth without authorization is served")
	}
	if a := open[0].mustAsk("mining.authorize", "alice", "x"); a.code() != 0 {
		t.Fatal(a)
	}
	if _, ok := r.served(t, "127.1.0.1"); !ok {
		t.Error("refused although only two are without authorization")
	}
	r.dropped(t, "rate limited", 1)
}

func TestConnectionRate(t *testing.T) {
	t.Parallel()
	r := limited(t, false, keys{"new_connections_per_second": 2, "new_connections_burst": 10})
	began, served := time.Now(), 0
	for range 40 {
		if c, ok := r.served(t, "127.1.0.1"); ok {
			served++
			c.Close()
		}
	}
	most := 10 + int(2*time.Since(began).Seconds()) + 1
	if served < 10 || served > most {
		t.Errorf("%d of 40 served, want 10 to %d", served, most)
	}
	if _, ok := r.served(t, "127.1.0.2"); !ok {
		t.Error("another address is refused")
	}
	r.dropped(t, "rate limited", 40-served)
	eventually(t, patience, "served again", func() bool {
		_, ok := r.served(t, "127.1.0.1")
		return ok
	})
}

// A name that is refused again and again from one address is not looked at any
// more, from there.
func TestRefusedNames(t *testing.T) {
	t.Parallel()
	r := limited(t, true, nil)
	const bad, good = "bcrt1qnotanaddress", poolAddress
	c := r.rawFrom(t, "127.1.0.1")
	for i := range 10 {
		if a := c.mustAsk("mining.authorize", bad, "x"); a.code() != 24 || strings.HasPrefix(a.text(), "retry in") {
			t.Fatalf("refusal %d: %+v", i, a)
		}
		if i == 4 {
			c = r.rawFrom(t, "127.1.0.1") // counted by address
		}
	}
	if a := c.mustAsk("mining.authorize", bad, "x"); a.code() != 24 || !strings.HasPrefix(a.text(), "retry in ") {
		t.Errorf("the eleventh: %+v", a)
	}
	if a := c.mustAsk("mining.authorize", good, "x"); a.code() != 0 {
		t.Errorf("another name from there: %+v", a)
	}
	other := r.rawFrom(t, "127.1.0.2")
	if a := other.mustAsk("mining.authorize", bad, "x"); a.code() != 24 || strings.HasPrefix(a.text(), "retry in") {
		t.Errorf("the name from elsewhere: %+v", a)
	}
}

func TestNewNames(t *testing.T) {
	t.Parallel()
	r := limited(t, false, nil)
	authorize := func(c *raw, name string) answer { return c.mustAsk("mining.authorize", name, "x") }
	made := 0
	for i := range 100 {
		c := r.rawFrom(t, "127.1.0.1")
		for j := range 100 {
			if a := authorize(c, fmt.Sprintf("user%d-%d", i, j)); a.code() != 0 {
				t.Fatalf("name %d: %+v", made, a)
			}
			made++
		}
		if i == 0 {
			if a := authorize(c, "onemore"); a.code() != 24 || a.text() != "Too many new names on this connection" {
				t.Errorf("name 101 of a connection: %+v", a)
			}
			if a := authorize(c, "user0-5"); a.code() != 0 {
				t.Errorf("a known name: %+v", a)
			}
		}
	}
	c := r.rawFrom(t, "127.1.0.1")
	if a := authorize(c, "another"); a.code() != 24 || !strings.HasPrefix(a.text(), "Too many new names from your address, retry in ") {
		t.Errorf("name 10,001 of an address: %+v", a)
	}
	if a := authorize(c, "user3-3"); a.code() != 0 {
		t.Errorf("a known name: %+v", a)
	}
	if a := authorize(r.rawFrom(t, "127.1.0.2"), "another"); a.code() != 0 {
		t.Errorf("from another address: %+v", a)
	}
}

func TestMaxClients(t *testing.T) {
	t.Parallel()
	r := limited(t, false, keys{"maxclients": 4}) // one is there
	var in []*raw
	for range 3 {
		c, ok := r.served(t, "127.1.0.1")
		if !ok {
			t.Fatal("refused below maxclients")
		}
		in = append(in, c)
	}
	for range 3 {
		if _, ok := r.served(t, "127.1.0.1"); ok {
			t.Error("one more than maxclients is served")
		}
	}
	r.dropped(t, "server full", 3)
	in[1].Close()
	eventually(t, patience, "room again", func() bool {
		_, ok := r.served(t, "127.1.0.1")
		return ok
	})
	if n := r.log.count("Refused 127.1.0.1: server full: 4 clients"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

// Each reason has its count, and one line a minute however many it is for.
func TestDropsAreCounted(t *testing.T) {
	t.Parallel()
	r := limited(t, false, nil)
	const each = 30
	for range each {
		for _, line := range []string{"no JSON\n", strings.Repeat("x", 9000) + "\n"} {
			c := r.rawFrom(t, "127.1.0.1")
			if _, err := c.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.dropped(t, "bad input", each)
	r.dropped(t, "line too long", each)
	if n := r.log.count(" Dropped 1"); n != 2 {
		t.Errorf("%d lines about drops", n)
	}
	// They are counted before they are logged.
	eventually(t, patience, "50 lines", func() bool { return r.log.count("Dropped workerless client ") >= 50 })
	if n := r.log.count("Dropped workerless client "); n != 50 {
		t.Errorf("%d lines about clients that were dropped", n)
	}
}

// Strangers cannot fill the log with passwords either.
func TestOneLineForPasswordOptions(t *testing.T) {
	t.Parallel()
	r := limited(t, false, nil)
	c := r.rawFrom(t, "127.1.0.1")
	for i := range 20 {
		if i > 0 {
			c = r.rawFrom(t, "127.1.0.1")
		}
		if a := c.mustAsk("mining.authorize", fmt.Sprintf("user%d", i), fmt.Sprintf("d=x%d", i)); a.code() != 0 {
			t.Fatal(a)
		}
	}
	if n := r.log.count("password option"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}
