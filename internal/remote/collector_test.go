package remote

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

// easyBlock is a block of regtest with a transaction, as a pool tells of it.
func easyBlock(t *testing.T) *poolproto.WholeBlock {
	t.Helper()
	raw := binary.LittleEndian.AppendUint32(nil, 2)
	raw = append(raw, 1)
	raw = append(raw, make([]byte, 36)...)
	raw = append(raw, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x51, 0, 0, 0, 0)
	tx, err := work.ReadTransaction(raw)
	if err != nil {
		t.Fatal(err)
	}
	template, err := work.NewTemplate(&work.Parts{
		Height: 1001, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: 1795327613, CoinbaseValue: 5_000_000_000, Transactions: []work.Transaction{tx},
	})
	if err != nil {
		t.Fatal(err)
	}
	j, err := (&work.Builder{Tag: "ckpool", PayoutScript: []byte{0x51}, Extranonce1Len: 4, Extranonce2Len: 8}).Job(template, 7, time.Unix(1795327613, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := work.Miner{Limit: 750, Extranonce1: []byte{1, 2, 3, 4}}
	s := work.Solution{Extranonce2: make([]byte, 8), Time: 1795327613, Version: j.Version, Nonce: rand.Uint32()}
	var sh work.Share
	for j.Hash(&sh, &m, &s); !sh.Block; j.Hash(&sh, &m, &s) {
		s.Nonce++
	}
	return &poolproto.WholeBlock{Height: 5, Hash: work.FormatHash(sh.Hash), Worker: "alice.rig1", Name: "asia", Block: j.Block(&sh, &m, &s)}
}

// took is what was submitted and said.
type took struct {
	blocks []*Block
	log    strings.Builder
}

func (k *took) submit(b *Block)    { k.blocks = append(k.blocks, b) }
func (k *took) tell(e event.Event) { k.log.WriteString(e.Text + "\n") }

func (k *took) want(t *testing.T, what string, n int, says string) {
	t.Helper()
	if len(k.blocks) != n || !strings.Contains(k.log.String(), says) {
		t.Errorf("%s: %d blocks are submitted, want %d; the log, which wants %q:\n%s", what, len(k.blocks), n, says, k.log.String())
	}
}

// damaged is a block of the same header whose transaction is another.
func damaged(b *poolproto.WholeBlock) *poolproto.WholeBlock {
	other := *b
	other.Block = append(poolproto.Hex(nil), b.Block...)
	other.Block[len(other.Block)-5] ^= 1 // the script of its last output
	return &other
}

// A header that another remote has solved is nothing without its block: what comes with anything
// else does not keep that from being submitted, and told to others, at the height that its coinbase
// tells. One that was found here is not submitted once more for who says it again.
func TestBlocksOfRemotes(t *testing.T) {
	var k took
	c := NewCollector(CollectorOptions{Difficulty: func() float64 { return 0 }, Submit: k.submit, Events: k.tell})
	from := &conversation{collector: c, name: "asia"}
	b := easyBlock(t)
	from.block(damaged(b).Append(nil))
	k.want(t, "another transaction", 0, "merkle root")
	from.block(b.Append(nil))
	from.block(b.Append(nil))
	k.want(t, "a block, twice", 1, "")
	if k.blocks[0].Height != 1001 {
		t.Errorf("it is submitted at height %d", k.blocks[0].Height)
	}
	own := easyBlock(t)
	c.Found(own)
	from.block(own.Append(nil))
	k.want(t, "one of our own", 1, "")

	put := easyBlock(t)
	id, err := work.ParseHash(put.Hash)
	if err != nil {
		t.Fatal(err)
	}
	c.Brought(&Block{WholeBlock: *damaged(put), ID: id})
	k.want(t, "put together of other transactions", 1, "put together of a remote's work")
	c.Brought(&Block{WholeBlock: *put, ID: id})
	k.want(t, "put together", 2, "")
}

// A block is not written for remotes before it is submitted where there is none.
func TestFoundWithoutRemotes(t *testing.T) {
	c := NewCollector(CollectorOptions{})
	b := &poolproto.WholeBlock{Hash: strings.Repeat("ab", 32), Block: make([]byte, 4<<20)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.Found(b)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(b.Block)) {
		t.Errorf("%d bytes are allocated for a block of %d", n, len(b.Block))
	}
}

// Not everything that the main pool calls a block is one: each is kept on the disk until nodes have
// decided.
func TestBlocksOfTheMainPool(t *testing.T) {
	for name, tt := range map[string]struct {
		network float64
		block   func(*poolproto.WholeBlock) *poolproto.WholeBlock
		n       int
		says    string
	}{
		"a block":             {0, func(b *poolproto.WholeBlock) *poolproto.WholeBlock { return b }, 2, ""},
		"far too easy":        {1, func(b *poolproto.WholeBlock) *poolproto.WholeBlock { return b }, 0, "is of difficulty 4.6"},
		"another transaction": {0, damaged, 0, "merkle root"},
	} {
		var k took
		w := &wire{reporter: NewReporter(ReporterOptions{Difficulty: func() float64 { return tt.network }, Submit: k.submit, Events: k.tell})}
		for range 2 {
			if err := w.frame(&poolproto.Frame{Kind: poolproto.Whole, Text: tt.block(easyBlock(t)).Append(nil)}); err != nil {
				t.Error(err)
			}
		}
		k.want(t, name, tt.n, tt.says)
		if n := strings.Count(k.log.String(), "left alone"); tt.n == 0 && n != 1 {
			t.Errorf("%s: it is said %d times", name, n)
		}
	}
}

// What a remote says of its shares stays within what statistics can be summed up to: a sum that is
// not finite could not move to another process.
func TestDifficultyOfRemotes(t *testing.T) {
	for _, tt := range []struct {
		reason             string
		difficulty, credit float64
		counts             bool
	}{
		{"accepted", 1e18, 1e18, true}, {"accepted", 4.6e-10, 0, true}, {"above target", 1e18, 0, true},
		{"above target", 1.7e308, 0, false}, {"stale", math.MaxFloat64, 0, false}, {"accepted", 1, 1.7e308, false},
	} {
		k := &journal.Record{
			Kind: journal.KindShare, Reason: tt.reason, Miner: &journal.Miner{User: "alice", Worker: "alice.rig1"},
			Share: journal.Share{Time: 1795327613_000000, Difficulty: tt.difficulty, Credit: tt.credit},
		}
		if _, _, err := share(k); (err == nil) != tt.counts {
			t.Errorf("%s of %g with a credit of %g: %v", tt.reason, tt.difficulty, tt.credit, err)
		}
	}
	k := conversation{collector: NewCollector(CollectorOptions{})}
	line := `{"method":"share","workername":"alice.rig1","diff":1e300,"hash":"` + strings.Repeat("f", 64) + `","result":false,"error":"Above target"}`
	if err := k.shareOfC([]byte(line)); err == nil {
		t.Error("a difficulty of 1e300 is counted")
	}
}
