package pool

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ckpool/internal/handover"
	"ckpool/internal/session"
	"ckpool/work"
)

// copier moves a State to another, as two processes would.
type copier struct {
	t        testing.TB
	from, to *State
	began    bool
}

func (c *copier) copy() {
	c.t.Helper()
	if err := (moving{c.from}).exportUsers(!c.began, moving{c.to}.importUsers); err != nil {
		c.t.Fatal(err)
	}
	c.began = true
}

func (c *copier) finish(now time.Time) {
	c.t.Helper()
	c.copy()
	if err := (moving{c.to}).importCounts(moving{c.from}.exportCounts(nil, now), now); err != nil {
		c.t.Fatal(err)
	}
}

// everything is all a State knows, in the order of users.
func everything(t testing.TB, s *State, now time.Time) (all []string) {
	t.Helper()
	for _, u := range s.names.all() {
		all = append(all, fmt.Sprintf("%x", u.append(nil)))
		for _, w := range u.listWorkers() {
			all = append(all, fmt.Sprintf("%x", w.append(nil)))
		}
	}
	return append(all, fmt.Sprintf("%x", s.totals.append(nil)), fmt.Sprintf("%+v", s.Status(now, Sessions{})))
}

// However sharing goes on between the copies, nothing is lost or counted twice.
func TestMoveState(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		now := start
		make := func() *State {
			return NewState(Config{Settings: Settings{Name: "ckpool", MaxUserAgents: 10}, LogDir: dir, Loops: 2}, start)
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
				if err := s.Tick(now, func() Sessions { return Sessions{} }); err != nil && !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
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
		for _, x := range []*State{s, c.to} {
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
	c := copier{t: t, from: h.State, to: h.open(t, start, func(c *Config) { c.Password = "secret" })}
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
	g := grant(t, h.State, name+".rig1")
	c := copier{t: t, from: h.State, to: h.open(t, start, func(c *Config) { c.Solo = true })}
	c.finish(start)
	r := moving{c.to}.ResumeWorker(name + ".rig1")
	if !bytes.Equal(r.Payout, g.Payout) || len(r.Payout) == 0 || r.User != g.User || r.Name != g.Name {
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
	h.Share(accepted(grant(t, h.State, name+".rig1").Worker, start, 42, 50))
	if err := h.Save(start, Sessions{}); err != nil {
		t.Fatal(err)
	}
	c := copier{t: t, from: h.open(t, start, solo), to: h.open(t, start, solo)}
	c.copy()
	g := grant(t, c.from, name+".rig1")
	c.copy()
	c.from.Share(rejected(g.Worker, at(time.Second), 42, session.Stale))
	c.finish(at(2 * time.Second))
	if r := (moving{c.to}).ResumeWorker(name + ".rig1"); len(r.Payout) == 0 || !bytes.Equal(r.Payout, g.Payout) {
		t.Errorf("pays %x, was %x", r.Payout, g.Payout)
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
	to := NewState(Config{Loops: 1}, start)
	total, largest := 0, 0
	err := moving{h.State}.exportUsers(true, func(record []byte) error {
		total, largest = total+len(record), max(largest, len(record))
		return moving{to}.importUsers(record)
	})
	if err != nil || largest > usersChunk+4096 || total < 2*usersChunk || total > users*600 {
		t.Errorf("%d bytes, at most %d in a record, %v", total, largest, err)
	}
	if n := len(to.names.all()); n != users {
		t.Errorf("%d users came", n)
	}
}

// Records of the first version are read for ever; the files are never made
// anew.
func v1(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "handover", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadUsersV1(t *testing.T) {
	s := NewState(Config{Loops: 1}, start)
	if err := (moving{s}).importUsers(v1(t, "users")); err != nil {
		t.Fatal(err)
	}
	u := s.names.user("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2")
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
	if u.tally != want || u.id != 17 || u.authorised != 1795327613 || !u.loggedIn || fmt.Sprintf("%x", u.payout) != "76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac" {
		t.Errorf("%+v", u)
	}
	w := s.names.worker("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2.rig1")
	want.lastShare = never
	if w == nil || w.tally != want || w.connected.agentName() != "cgminer/4.12.1" || w.user != u || w.accepted != 13 {
		t.Errorf("%+v", w)
	}
	if w.rejects == nil || *w.rejects != (rejects{[session.Reasons]int64{0, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110}, session.Stale, 14e9}) {
		t.Errorf("%+v", w.rejects)
	}
}

func TestReadCountsV1(t *testing.T) {
	k, err := readCounts(v1(t, "counts"))
	if err != nil {
		t.Fatal(err)
	}
	if k.now != stamp(time.Hour) || k.round != 3 || k.lastID != 17 || k.netDiff != 1e12 ||
		k.totals.round != (roundCounts{1.5, 2.5, 3, 4, 5.5}) || k.totals.credit != 6.5 || k.totals.shares != 7 ||
		k.totals.rates[6] != 7 || k.totals.sps[3] != 40 || k.totals.decayed != stamp(time.Minute) || k.totals.passes != 33 {
		t.Errorf("%+v", k)
	}
	if k.rejects[0] != 100 || k.rejects[6] != 106 || k.sums["cgminer"] != (agentSum{8, 9}) {
		t.Errorf("%v, %v", k.rejects, k.sums)
	}
	from := netip.MustParsePrefix("198.51.100.7/32")
	refused, _ := k.refusals.Get(refusal{from, "bob"})
	made, _ := k.newNames.Get(netip.MustParsePrefix("2001:db8::/64"))
	if refused != (windowCount{5, 9}) || made != (windowCount{6, 7}) {
		t.Errorf("%v, %v", refused, made)
	}
}

func TestReadSectionsV1(t *testing.T) {
	now := time.Unix(1795327614, 0)
	m, err := readMoment(v1(t, "moment"), now)
	if err != nil || !m.at.Equal(now.Add(-750*time.Millisecond)) || m.sessions != 3600.25 || !m.rejecting {
		t.Errorf("%+v, %v", m, err)
	}
	tip, j, err := readJob(v1(t, "job"), new(work.JobReader))
	if err != nil || tip != 9 || j.ID != 0x6b02867d00000001 {
		t.Errorf("%d, %+v, %v", tip, j, err)
	}
	k, err := readJobs(v1(t, "jobs"))
	if err != nil || k != (jobsRecord{1, 0x6b02867d00000001, 3}) {
		t.Errorf("%+v, %v", k, err)
	}
	var c candidates
	if err := c.read(v1(t, "candidates")); err != nil || !c.hashes[[32]byte{3}] || len(c.hashes) != 1 {
		t.Errorf("%v, %v", c.hashes, err)
	}
	table, unsaved, err := readBlocks(v1(t, "blocks"))
	want := Block{
		Height: 850000, Hash: display([32]byte{3}), Worker: "bob.rig1", Difficulty: 86388558925171.02, Reward: 312500000,
		Time: time.Unix(1795327613, 0), State: BlockConfirmed, Confirmations: 2,
	}
	if err != nil || len(table) != 1 || table[0] != want || len(unsaved) != 1 || unsaved[0].Height != 850001 ||
		unsaved[0].Hash != [32]byte{4} || !bytes.Equal(unsaved[0].Serialised, bytes.Repeat([]byte{0x5a}, 81)) {
		t.Errorf("%+v, %+v, %v", table, unsaved, err)
	}
	l, err := readListeners(v1(t, "listeners"))
	if err != nil || len(l) != 1 || l[0].URL != "localhost:3333" || len(l[0].Addrs) != 2 || l[0].Addrs[1] != netip.MustParseAddrPort("127.0.0.1:3333") {
		t.Errorf("%+v, %v", l, err)
	}
	var i Instance
	if err := json.Unmarshal(v1(t, "instance"), &i); err != nil || i != (Instance{true, 4, 8, 2, 0}) {
		t.Errorf("%+v, %v", i, err)
	}
	// The numbers of sections are part of the format.
	if sectionListeners != 16 || sectionSessions != 26 || sectionBlocks != 27 || SectionsOfProcess != 128 || handover.FirstSection != 16 {
		t.Error("sections have other numbers")
	}
}

// The wall clock may be set back or far ahead while a process takes over.
func TestMomentAndTheWallClock(t *testing.T) {
	at := time.Unix(1795327613, 0)
	m := moment{at: at, sessions: 2}
	record := m.append(nil)
	for _, tt := range []struct{ late, want time.Duration }{
		{50 * time.Millisecond, 50 * time.Millisecond}, {-time.Hour, 0}, {24 * time.Hour, maxPause},
	} {
		now := at.Add(tt.late)
		got, err := readMoment(record, now)
		if err != nil || now.Sub(got.at) != tt.want {
			t.Errorf("%v late: %v ago, %v; want %v", tt.late, now.Sub(got.at), err, tt.want)
		}
	}
}

func FuzzReadUsers(f *testing.F) {
	f.Add(v1(f, "users"))
	f.Add([]byte{1, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		s := NewState(Config{Loops: 1}, start)
		if (moving{s}).importUsers(in) != nil {
			return
		}
		var again []byte
		if err := (moving{s}).exportUsers(true, func(record []byte) error {
			again = record
			return moving{NewState(Config{Loops: 1}, start)}.importUsers(record)
		}); err != nil {
			t.Fatalf("%x: %v", again, err)
		}
	})
}

func FuzzReadCounts(f *testing.F) {
	f.Add(v1(f, "counts"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := NewState(Config{Loops: 1}, start)
		if (moving{s}).importCounts(in, start) == nil {
			s.Status(start, Sessions{})
			if _, err := readCounts(moving{s}.exportCounts(nil, start)); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzReadSections(f *testing.F) {
	for _, name := range []string{"moment", "jobs", "candidates", "job", "blocks"} {
		f.Add(v1(f, name))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = readMoment(in, start)
		_, _ = readJobs(in)
		_ = new(candidates).read(in)
		_, _, _ = readBlocks(in)
		_, _, _ = readJob(in, new(work.JobReader))
	})
}

// A clock that no process can have had would make all times of shares wrong.
func TestCountsOfAnImpossibleClock(t *testing.T) {
	good := bytes.TrimSuffix(v1(t, "counts"), []byte("\n"))
	for _, uptime := range []time.Duration{-time.Second, 101 * 365 * 24 * time.Hour} {
		record := bytes.Clone(good)
		binary.BigEndian.PutUint64(record[1:], uint64(uptime))
		if _, err := readCounts(record); err == nil || !strings.Contains(err.Error(), "uptime "+uptime.String()) {
			t.Errorf("uptime %v: %v", uptime, err)
		}
	}
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	for name, read := range map[string]func(in []byte) error{
		"users":      func(in []byte) error { return moving{NewState(Config{Loops: 1}, start)}.importUsers(in) },
		"counts":     func(in []byte) error { _, err := readCounts(in); return err },
		"moment":     func(in []byte) error { _, err := readMoment(in, start); return err },
		"job":        func(in []byte) error { _, _, err := readJob(in, new(work.JobReader)); return err },
		"jobs":       func(in []byte) error { _, err := readJobs(in); return err },
		"candidates": func(in []byte) error { return new(candidates).read(in) },
		"blocks":     func(in []byte) error { _, _, err := readBlocks(in); return err },
		"listeners":  func(in []byte) error { _, err := readListeners(in); return err },
	} {
		good := bytes.TrimSuffix(v1(t, name), []byte("\n"))
		if err := read(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		taken := 0
		for n := range good {
			if read(good[:n:n]) == nil {
				taken++
			}
		}
		entries := map[string]int{"users": 2}[name] // one user less, or none
		if taken != entries {
			t.Errorf("%s: %d parts of it are taken for all", name, taken)
		}
		newer := append([]byte{2}, good[1:]...)
		if good[0] == '{' {
			newer = bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1)
		}
		if err := read(newer); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s of version 2: %v", name, err)
		}
	}
}
