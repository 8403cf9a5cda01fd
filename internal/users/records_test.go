package users

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/wire"
)

// copier moves Users to others, as two processes would.
type copier struct {
	t        testing.TB
	from, to *Users
	began    bool
}

func (c *copier) copy() {
	c.t.Helper()
	if err := c.from.ExportUsers(!c.began, c.to.ImportUsers); err != nil {
		c.t.Fatal(err)
	}
	c.began = true
}

func (c *copier) finish(now time.Time) {
	c.t.Helper()
	c.copy()
	if err := c.to.ImportCounts(c.from.ExportCounts(nil, now), now); err != nil {
		c.t.Fatal(err)
	}
}

// everything is all Users know, in the order of users: as it would move, and as it is, lest
// what no record has is missing on both sides.
func everything(t testing.TB, s *Users, now time.Time) (all []string) {
	t.Helper()
	record := func(export func(*wire.Codec)) string {
		c := wire.Append(nil)
		export(c)
		return fmt.Sprintf("%x", c.Written())
	}
	plain := func(v tally, more ...any) string {
		v.changed = 0 // is this process's own
		return fmt.Sprintf("%+v %+v", v, more)
	}
	for _, u := range s.directory.all() {
		all = append(all, record(u.export), plain(u.tally, u.id, u.Name, u.Payout, u.authorised, u.loggedIn))
		for _, w := range u.listWorkers() {
			var refused rejects
			if w.rejects != nil {
				refused = *w.rejects
			}
			all = append(all, record(w.export), plain(w.tally, w.name, w.accepted, refused))
		}
	}
	s.totals.collect()
	return append(all, record(s.totals.poolTally.fields), fmt.Sprintf("%+v", s.totals.poolTally), fmt.Sprintf("%+v", s.Status(now, Sessions{})))
}

// However sharing goes on between the copies, nothing is lost or counted twice.
func TestMove(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		now := start
		make := func() *Users {
			return New(Config{Settings: Settings{Name: "ckpool", MaxUserAgents: 10}, LogDir: dir, Loops: 2}, start)
		}
		c := copier{t: t, from: make(), to: make()}
		s := c.from
		var clients []session.WorkerID
		for range rapid.IntRange(0, 120).Draw(r, "operations") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40000).Draw(r, "pause")) * time.Millisecond)
			name := fmt.Sprintf("user%d.%d", rapid.IntRange(0, 3).Draw(r, "user"), rapid.IntRange(0, 2).Draw(r, "worker"))
			switch rapid.IntRange(0, 9).Draw(r, "operation") {
			case 0:
				c.copy()
			case 1:
				s.ResetRound()
			case 2:
				if err := s.Tick(now, Sessions{}); err != nil && !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
					t.Fatal(err)
				}
			case 3:
				if len(clients) > 0 {
					s.Detach(clients[0], 0, "cgminer/4.12.1")
					clients = clients[1:]
				}
			default:
				l := login(name)
				l.Time = now
				g, refused := s.Authorize(l)
				if refused != nil {
					t.Fatal(refused)
				}
				sh := accepted(g.Worker, now, rapid.Float64Range(0, 100).Draw(r, "credit"), rapid.Float64Range(0, 1e6).Draw(r, "achieved"))
				sh.Loop = rapid.IntRange(0, 1).Draw(r, "loop")
				s.Share(sh)
			}
		}
		c.finish(now)
		later := now.Add(time.Minute)
		if diff := cmp.Diff(everything(t, s, later), everything(t, c.to, later)); diff != "" {
			t.Fatalf("moved state differs: %s", diff)
		}
		// It goes on in the same way.
		for _, x := range []*Users{s, c.to} {
			g, _ := x.Authorize(login("user0.0"))
			x.Share(accepted(g.Worker, later, 5, 5))
			x.totals.pass(x.stamp(later))
		}
		if diff := cmp.Diff(everything(t, s, later), everything(t, c.to, later)); diff != "" {
			t.Fatalf("it goes on differently: %s", diff)
		}
	})
}

func TestMoveRefusals(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Password = "secret" })
	bad := login("bob")
	for range 10 {
		if _, r := h.Authorize(bad); r == nil {
			t.Fatal("let in without the password")
		}
	}
	c := copier{t: t, from: h.Users, to: h.open(t, start, func(c *Config) { c.Password = "secret" })}
	c.finish(start.Add(10 * time.Second))
	good := login("bob")
	good.Password, good.Time = "secret", start.Add(20*time.Second)
	if _, r := c.to.Authorize(good); r == nil || r.Text != "retry in 40 s" {
		t.Errorf("refusal %v, want 40 s more", r)
	}
	good.Time = start.Add(61 * time.Second)
	if _, r := c.to.Authorize(good); r != nil {
		t.Errorf("still refused: %v", r)
	}
}

func TestMovePayout(t *testing.T) {
	const name = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
	h := newHarness(t, func(c *Config) { c.Solo = true })
	g := grant(t, h.Users, name+".rig1")
	c := copier{t: t, from: h.Users, to: h.open(t, start, func(c *Config) { c.Solo = true })}
	c.finish(start)
	r := c.to.ResumeWorker(name + ".rig1")
	if !bytes.Equal(r.User.Payout, g.User.Payout) || len(r.User.Payout) == 0 || r.User.Name != g.User.Name || r.Name != g.Name {
		t.Errorf("%+v, was %+v", r, g)
	}
}

// A user of an earlier run logs in, and a worker is refused shares, while the rest
// is being copied: that goes along too. Without his script a solo miner's block
// would pay nobody.
func TestMoveBetweenCopies(t *testing.T) {
	const name = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
	solo := func(c *Config) { c.Solo = true }
	h := newHarness(t, solo)
	h.Share(accepted(grant(t, h.Users, name+".rig1").Worker, start, 42, 50))
	if err := h.Save(start, Sessions{}); err != nil {
		t.Fatal(err)
	}
	c := copier{t: t, from: h.open(t, start, solo), to: h.open(t, start, solo)}
	c.copy()
	g := grant(t, c.from, name+".rig1")
	c.copy()
	c.from.Share(rejected(g.Worker, at(time.Second), 42, session.Stale))
	c.finish(at(2 * time.Second))
	if r := c.to.ResumeWorker(name + ".rig1"); len(r.User.Payout) == 0 || !bytes.Equal(r.User.Payout, g.User.Payout) {
		t.Errorf("pays %x, was %x", r.User.Payout, g.User.Payout)
	}
	if diff := cmp.Diff(everything(t, c.from, at(3*time.Second)), everything(t, c.to, at(3*time.Second))); diff != "" {
		t.Errorf("moved state differs: %s", diff)
	}
}

// However many users there are, each goes along once, in records of a bounded size.
func TestRecordsOfUsersAreBounded(t *testing.T) {
	h := newHarness(t, nil)
	const users = 5000
	for n := range users {
		l := login(fmt.Sprintf("user%d.rig", n))
		l.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 1234)
		if _, r := h.Authorize(l); r != nil {
			t.Fatal(r)
		}
	}
	to := New(Config{Loops: 1}, start)
	total, largest := 0, 0
	err := h.ExportUsers(true, func(record []byte) error {
		total, largest = total+len(record), max(largest, len(record))
		return to.ImportUsers(record)
	})
	if err != nil || largest > usersChunk+4096 || total < 2*usersChunk || total > users*600 {
		t.Errorf("%d bytes, at most %d in a record, %v", total, largest, err)
	}
	if n := len(to.directory.all()); n != users {
		t.Errorf("%d users came", n)
	}
}

func TestReadUsersV1(t *testing.T) {
	s := New(Config{Loops: 1}, start)
	v1 := records.V1(t, "users")
	if err := s.ImportUsers(v1); err != nil {
		t.Fatal(err)
	}
	if err := s.ExportUsers(true, func(again []byte) error {
		records.Same(t, again, v1)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	u := s.directory.user("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2")
	if u == nil {
		t.Fatal("no user")
	}
	want := tally{
		pending: 6, decayed: 7e9, lastShare: 8e9, shares: 9, best: 10, bestEver: 11, round: 12,
	}
	for i := range want.rates {
		want.rates[i]++
		want.rates[i] *= 1.5
	}
	if u.tally != want || u.id != 17 || u.authorised != 1795327613 || !u.loggedIn || fmt.Sprintf("%x", u.Payout) != "76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac" {
		t.Errorf("%+v", u)
	}
	w := s.directory.worker("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2.rig1")
	want.lastShare = never
	if w == nil || w.tally != want || w.connected.agentName() != "cgminer/4.12.1" || w.user != u || w.accepted != 13 {
		t.Errorf("%+v", w)
	}
	if w.rejects == nil || *w.rejects != (rejects{[session.Reasons]int64{0, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110}, session.Stale, 14e9}) {
		t.Errorf("%+v", w.rejects)
	}
}

// A later release adds fields at the ends of users and workers, and has more
// reasons to reject a share.
func TestReadUsersOfALaterRelease(t *testing.T) {
	more := "a field of a later release"
	c := wire.Append(nil)
	c.Version(usersVersion)
	for name, kind := range map[string]uint8{"bob": userEntry, "bob.rig1": workerEntry, "bob.rig2": workerEntry} {
		wire.Uint(c, &kind)
		c.Record(func(c *wire.Codec) {
			if kind == userEntry {
				k := userRecord{name: name, id: 5}
				k.shares = 17
				k.fields(c)
			} else {
				k := workerRecord{name: name, workerState: workerState{accepted: 3, rejects: &rejects{last: session.Stale}}}
				if name == "bob.rig2" {
					k.rejects.last = session.Reasons
				}
				k.fields(c)
			}
			c.Text(&more)
		})
	}
	s := New(Config{Loops: 1}, start)
	if err := s.ImportUsers(c.Written()); err != nil {
		t.Fatal(err)
	}
	u, w, later := s.directory.user("bob"), s.directory.worker("bob.rig1"), s.directory.worker("bob.rig2")
	if u == nil || u.shares != 17 || w == nil || w.accepted != 3 || w.rejects.last != session.Stale || later == nil || later.rejects != nil {
		t.Errorf("%+v\n%+v\n%+v", u, w, later)
	}
}

// What is counted since the start stands at the end, where there is any of it.
func TestReadCountsV3(t *testing.T) {
	records.Check(t, records.Of(t, "v3", "counts"), countsVersion, func(k *counts, c *wire.Codec) {
		if c.Reading() {
			*k = *newCounts()
		}
		k.fields(c)
	})
	k, err := readCounts(records.Of(t, "v3", "counts"))
	if err != nil || k.tally.ever != (roundCounts{11.5, 12.5, 13, 14, 15.5}) || k.tally.passes != 33 || k.rejects[session.Reasons-1] != 111 {
		t.Errorf("%+v, %v", k, err)
	}
	s := New(Config{Loops: 1}, start)
	if err := s.ImportCounts(records.Of(t, "v3", "counts"), start); err != nil {
		t.Fatal(err)
	}
	if got := s.Totals(); got != (Totals{11.5, 12.5, 13, 14, 15.5}) {
		t.Errorf("%+v", got)
	}
}

// A later release may have another window of the averages, at their end.
func TestAveragesOfALaterRelease(t *testing.T) {
	one := tally{pending: 6, decayed: 7e9, lastShare: 8e9, shares: 9, best: 10, bestEver: 11, round: 12}
	all := poolTally{credit: 1.25, shares: 2.25, round: roundCounts{1.5, 2.5, 3, 4, 5.5}, decayed: 5, passes: 7}
	for i := range one.rates {
		one.rates[i] = difficulty.Average(100 + i)
	}
	for i := range all.rates {
		all.rates[i] = difficulty.Average(200 + i)
	}
	for i := range all.sps {
		all.sps[i] = difficulty.Average(300 + i)
	}
	records.Array(t, &one, one.rates[:], func() (*tally, []difficulty.Average) { v := new(tally); return v, v.rates[:] }, (*tally).fields)
	records.Array(t, &all, all.rates[:], func() (*poolTally, []difficulty.Average) { v := new(poolTally); return v, v.rates[:] }, (*poolTally).fields)
	records.Array(t, &all, all.sps[:], func() (*poolTally, []difficulty.Average) { v := new(poolTally); return v, v.sps[:] }, (*poolTally).fields)
}

func TestReadCountsV1(t *testing.T) {
	records.Check(t, records.V1(t, "counts"), countsVersion, func(k *counts, c *wire.Codec) {
		if c.Reading() {
			*k = *newCounts()
		}
		k.fields(c)
	})
	k, err := readCounts(records.V1(t, "counts"))
	if err != nil {
		t.Fatal(err)
	}
	if k.now != stamp(time.Hour) || k.round != 3 || k.lastID != 17 || k.netDiff != 1e12 ||
		k.tally.round != (roundCounts{1.5, 2.5, 3, 4, 5.5}) || k.tally.credit != 6.5 || k.tally.shares != 7 ||
		k.tally.rates[6] != 7 || k.tally.sps[3] != 40 || k.tally.decayed != stamp(time.Minute) || k.tally.passes != 33 {
		t.Errorf("%+v", k)
	}
	if k.rejects != [session.Reasons]int64{0, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109} || k.sums["cgminer"] != (agentSum{8, 9}) {
		t.Errorf("%v, %v", k.rejects, k.sums)
	}
	from := netip.MustParsePrefix("198.51.100.7/32")
	refused, _ := k.refusals.Get(refusal{from, "bob"})
	made, _ := k.newNames.Get(netip.MustParsePrefix("2001:db8::/64"))
	if refused != (windowCount{5, 9}) || made != (windowCount{6, 7}) {
		t.Errorf("%v, %v", refused, made)
	}
}

// What another pool has refused and not answered stands behind the reasons of the first
// release, where there is any of it.
func TestReadCountsV2(t *testing.T) {
	records.Check(t, records.Of(t, "v2", "counts"), countsVersion, func(k *counts, c *wire.Codec) {
		if c.Reading() {
			*k = *newCounts()
		}
		k.fields(c)
	})
	k, err := readCounts(records.Of(t, "v2", "counts"))
	if err != nil || k.rejects != [session.Reasons]int64{0, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111} {
		t.Errorf("%v, %v", k.rejects, err)
	}
	s := New(Config{Loops: 1}, start)
	v2 := records.Of(t, "v2", "users")
	if err := s.ImportUsers(v2); err != nil {
		t.Fatal(err)
	}
	if err := s.ExportUsers(true, func(again []byte) error {
		records.Same(t, again, v2)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w := s.directory.worker("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2.rig1")
	if w == nil || w.rejects == nil || *w.rejects != (rejects{[session.Reasons]int64{0, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112}, session.Refused, 14e9}) {
		t.Errorf("%+v", w.rejects)
	}
}

func FuzzReadUsers(f *testing.F) {
	f.Add(records.V1(f, "users"))
	f.Add([]byte{1, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		s := New(Config{Loops: 1}, start)
		if s.ImportUsers(in) != nil {
			return
		}
		var again []byte
		if err := s.ExportUsers(true, func(record []byte) error {
			again = record
			return New(Config{Loops: 1}, start).ImportUsers(record)
		}); err != nil {
			t.Fatalf("%x: %v", again, err)
		}
	})
}

func FuzzReadCounts(f *testing.F) {
	f.Add(records.V1(f, "counts"))
	f.Add(records.Of(f, "v3", "counts"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := New(Config{Loops: 1}, start)
		if s.ImportCounts(in, start) == nil {
			s.Status(start, Sessions{})
			if _, err := readCounts(s.ExportCounts(nil, start)); err != nil {
				t.Error(err)
			}
		}
	})
}

// A clock that no process can have had would make all times of shares wrong.
func TestCountsOfAnImpossibleClock(t *testing.T) {
	for _, uptime := range []time.Duration{-time.Second, 101 * 365 * 24 * time.Hour} {
		k := newCounts()
		k.now = stamp(uptime)
		c := wire.Append(nil)
		c.Versioned(countsVersion, k.fields)
		if _, err := readCounts(c.Written()); err == nil || !strings.Contains(err.Error(), "uptime "+uptime.String()) {
			t.Errorf("uptime %v: %v", uptime, err)
		}
	}
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	const oneUserLessOrNone = 2
	records.Damaged(t, "users", oneUserLessOrNone, New(Config{Loops: 1}, start).ImportUsers)
	records.Damaged(t, "counts", 0, func(in []byte) error { _, err := readCounts(in); return err })
}
