package nodework

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/sent"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/users"
	codec "github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/stratum"
)

// What the first release writes of a miner.
var ofMiner = minerRecord{
	agent: "miner/1", extranonce1: []byte{1, 2, 3, 4}, extranonce2Len: 8, mask: 0x1fffe000, difficulty: 42, workers: []string{"bob.rig", "bob.two"},
	waiting: []askedRecord{{[]byte("7"), uint8(askedSubmit), "bob.rig", 42, 99.5}},
	jobs: []jobRecord{{sent.Job{
		ID: 6888000000000000017, Suffix: 3, Prev: [32]byte{5}, Coinb1: []byte{1}, Coinb2: []byte{2}, Branch: [][32]byte{{6}, {7}}, Version: 0x20000000, Bits: 0x1d00ffff,
	}, 42}},
}

func TestRecordsV1(t *testing.T) {
	got := records.Check(t, records.V1(t, "miner"), minerVersion, (*minerRecord).fields)
	if !reflect.DeepEqual(*got, ofMiner) {
		t.Errorf("%+v", got)
	}
	records.Damaged(t, "miner", 0, func(in []byte) error {
		c := codec.Read(in)
		c.Versioned(minerVersion, new(minerRecord).fields)
		return c.Done()
	})
}

// A miner goes on in another process: its next share is computed, and the verdict on the one
// before is counted.
func TestMinerMoves(t *testing.T) {
	start := func() (*Node, *users.Users) {
		u := users.New(users.Config{LogDir: t.TempDir(), Loops: 1}, time.Now())
		return NewNode(Options{Workers: u, Sink: u, Loops: 1}), u
	}
	said := func(m interface{ Said(*stratum.Message) }, line string) {
		var msg stratum.Message
		stratum.Scan([]byte(line), &msg)
		m.Said(&msg)
	}
	heard := func(m interface{ Heard(*stratum.Message, bool) }, line string) {
		var msg stratum.Message
		stratum.Scan([]byte(line), &msg)
		m.Heard(&msg, false)
	}
	const share = `,"method":"mining.submit","params":["bob","0000000000000007","0000000000000000","68e77800","00000000"]}`
	n, u := start()
	m := n.Watch(0, 5, netip.MustParseAddrPort("192.0.2.7:1"), nil)
	said(m, `{"id":1,"method":"mining.subscribe","params":["miner/1"]}`)
	heard(m, `{"id":1,"result":[[["mining.notify","aa"]],"01020304",8],"error":null}`)
	said(m, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`)
	heard(m, `{"id":2,"result":true,"error":null}`)
	heard(m, `{"id":null,"method":"mining.set_difficulty","params":[3]}`)
	heard(m, `{"id":null,"method":"mining.notify","params":["0000000000000007","`+zeros(64)+`","01","02",[],"20000000","1d00ffff","68e77800",true]}`)
	said(m, `{"id":3`+share)
	heard(m, `{"id":3,"result":true,"error":null}`)
	said(m, `{"id":4`+share)
	if s := u.Status(time.Now(), users.Sessions{}); s.AcceptedCount != 1 || s.Accepted != 3 {
		t.Errorf("counted %+v", s)
	}
	n, u = start()
	again := n.Watch(0, 5, netip.MustParseAddrPort("192.0.2.7:1"), m.Record())
	heard(again, `{"id":4,"result":true,"error":null}`)
	said(again, `{"id":5`+share)
	if w := again.(*miner).waiting; len(w) != 1 || !w[0].known || w[0].found.Hash == [32]byte{} {
		t.Errorf("the next share is %+v", w)
	}
	heard(again, `{"id":5,"result":false,"error":[23,"Above target",null]}`)
	if s := u.Status(time.Now(), users.Sessions{}); s.AcceptedCount != 1 || s.Accepted != 3 || s.RejectedCount != 1 || s.Workers != 1 {
		t.Errorf("counted %+v", s)
	}
	again.Left()
	if s := u.Status(time.Now(), users.Sessions{}); s.Workers != 0 {
		t.Errorf("counted %+v", s)
	}
}

func zeros(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0'
	}
	return string(b)
}

// Whatever a record says, a miner is made of it.
func FuzzMiner(f *testing.F) {
	f.Add(records.V1(f, "miner"))
	u := users.New(users.Config{LogDir: f.TempDir(), Loops: 1}, time.Now())
	f.Fuzz(func(_ *testing.T, in []byte) {
		n := NewNode(Options{Workers: u, Sink: u, Loops: 1})
		n.Watch(0, 5, netip.MustParseAddrPort("192.0.2.7:1"), in).Left()
	})
}

// A share costs no memory.
func TestShareAllocates(t *testing.T) {
	u := users.New(users.Config{LogDir: t.TempDir(), Loops: 1}, time.Now())
	m := NewNode(Options{Workers: u, Sink: u, Loops: 1}).Watch(0, 5, netip.MustParseAddrPort("192.0.2.7:1"), records.V1(t, "miner"))
	var said, heard stratum.Message
	stratum.Scan([]byte(`{"id":9,"method":"mining.submit","params":["bob.rig","5f9717817ce4001103","0000000000000000","68e77800","00000000"]}`), &said)
	stratum.Scan([]byte(`{"id":9,"result":true,"error":null}`), &heard)
	share := func() {
		m.Said(&said)
		m.Heard(&heard, false)
	}
	share()
	if n := testing.AllocsPerRun(100, share); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if s := u.Status(time.Now(), users.Sessions{}); s.AcceptedCount < 100 || s.BestShare >= ofMiner.difficulty { // which is that of unknown jobs
		t.Errorf("counted %+v", s)
	}
}
