package users

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/session"
)

// soloAddress is the n-th of many addresses.
func soloAddress(t testing.TB, n int) string {
	t.Helper()
	script := make([]byte, 22)
	script[1] = 20
	binary.BigEndian.PutUint64(script[2:], uint64(n))
	a, err := address.FromScript(script, address.Main)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

// loginMany logs in as many solo miners, each with a share, as a loop would:
// from strings of its own.
func loginMany(t testing.TB, s *Users, names []string) {
	sh := accepted(0, start.Add(time.Second), 42, 50)
	for i, name := range names {
		l := session.Login{Time: start, Worker: name, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}
		g, r := s.Authorize(&l)
		if r != nil {
			t.Fatal(r)
		}
		s.Attach(g.Worker, uint64(i+1), "cgminer/4.12.1", start)
		sh.Worker = g.Worker
		s.Share(sh)
	}
}

// A solo miner costs a user, a worker, their names and the output script.
func TestMemoryOfAMiner(t *testing.T) {
	const miners = 10_000
	for _, suffix := range []string{"", ".rig1"} {
		names := make([]string, miners)
		for i := range names {
			names[i] = soloAddress(t, i) + suffix
		}
		s := New(Config{Solo: true}, start)
		before := heap()
		loginMany(t, s, names)
		each := (heap() - before) / miners
		t.Logf("%d bytes per miner named address%s", each, suffix)
		if each > 1000 {
			t.Errorf("%d bytes per miner named address%s", each, suffix)
		}
		if n := s.active.Load(); n != miners {
			t.Errorf("%d users", n)
		}
		runtime.KeepAlive(names)
	}
}

// These are in the allocator's classes of 192 bytes; the next is 208.
func TestSizesOfRecords(t *testing.T) {
	if u, w := unsafe.Sizeof(user{}), unsafe.Sizeof(worker{}); u > 192 || w > 192 {
		t.Errorf("%d bytes per user, %d per worker, want at most 192", u, w)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkSave(b *testing.B) {
	for _, miners := range []int{100, 10_000} {
		b.Run(fmt.Sprint(miners), func(b *testing.B) {
			names := make([]string, miners)
			for i := range names {
				names[i] = soloAddress(b, i) + ".rig1"
			}
			s := newHarness(b, func(c *Config) { c.Solo, c.Events = true, nil }).Users
			loginMany(b, s, names)
			for b.Loop() {
				if err := s.Save(start.Add(2*time.Second), Sessions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAuthorize(b *testing.B) {
	s := New(Config{Solo: true}, start)
	l := login(soloAddress(b, 1) + ".rig1")
	b.ReportAllocs()
	for b.Loop() {
		if _, r := s.Authorize(l); r != nil {
			b.Fatal(r)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	names := make([]string, 10_000)
	for i := range names {
		names[i] = soloAddress(b, i) + ".rig1"
	}
	h := newHarness(b, func(c *Config) { c.Solo = true })
	loginMany(b, h.Users, names)
	if err := h.Save(start.Add(2*time.Second), Sessions{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		h.open(b, start.Add(3*time.Second), nil)
	}
}

// taproot is an address that takes long to check.
const taproot = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"

// Further names of a connection do not have its address checked each time, which
// allocates a hundred times; another user's is checked.
func TestFurtherNames(t *testing.T) {
	s := New(Config{Solo: true}, start)
	s.SetNetwork(address.Main)
	own := grant(t, s, taproot)
	l := login("")
	l.Further, l.NewNames = true, maxNewNames
	names := make([]string, 101)
	for i := range names {
		names[i] = fmt.Sprint(taproot, ".j", i)
	}
	i := 0
	n := testing.AllocsPerRun(len(names)-1, func() {
		l.Worker = names[i]
		i++
		if _, r := s.Authorize(l); r == nil {
			t.Fatal("not refused")
		}
	})
	if n > 10 {
		t.Errorf("a refused name allocates %v times", n)
	}
	l.NewNames = 0
	if g, r := s.Authorize(l); r != nil || g.User != own.User || len(g.User.Payout) == 0 {
		t.Errorf("a further worker: %+v, %v", g, r)
	}
	for _, name := range []string{"bob.rig1", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx.rig1"} {
		l.Worker = name
		if _, r := s.Authorize(l); r == nil {
			t.Errorf("%s is not refused", name)
		}
	}
}

// Logins that are refused under names not heard of before: no address, and further
// names of a connection with a worker.
func BenchmarkRefuse(b *testing.B) {
	for name, prefix := range map[string]string{"nobody": "j", "address": soloAddress(b, 1) + ".j", "taproot": taproot + ".j"} {
		b.Run(name, func(b *testing.B) {
			s := New(Config{Solo: true}, start)
			s.SetNetwork(address.Main)
			l := login("")
			if own, _ := splitName(prefix); own != prefix {
				grant(b, s, own)
				l.Further, l.NewNames = true, maxNewNames
			}
			names := make([]string, 1<<16)
			for i := range names {
				names[i] = fmt.Sprint(prefix, i)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				l.Worker = names[i%len(names)]
				i++
				if _, r := s.Authorize(l); r == nil {
					b.Fatal("not refused")
				}
			}
		})
	}
}
