package work

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

// above is another pool's block, as that pool has it in btcd's types.
type above struct {
	block       wire.MsgBlock
	script      []byte // of the coinbase's input up to the extranonces
	extranonce1 []byte
	length      int    // of extranonce2
	scriptTail  []byte // behind it
	height      int64
}

// drawAbove is a pool's work with extranonces of any length.
func drawAbove(t *rapid.T) *above {
	a := &above{
		height:      int64(rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(100, 1<<23)).Draw(t, "height")),
		extranonce1: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "extranonce1"),
		length:      rapid.IntRange(1, 16).Draw(t, "extranonce2"),
		scriptTail:  rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "tag"),
	}
	a.script = slices.Concat(heightPush(a.height), rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "script"))
	a.block.Header = wire.BlockHeader{
		Version: 0x20000000, Bits: 0x207fffff, Timestamp: time.Unix(int64(rapid.Uint32Range(1, 1<<32-1).Draw(t, "time")), 0),
	}
	copy(a.block.Header.PrevBlock[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "previous block"))
	a.block.Header.PrevBlock[0] |= 1
	coinbase := wire.NewMsgTx(int32(rapid.IntRange(1, 2).Draw(t, "transaction version")))
	coinbase.AddTxIn(wire.NewTxIn(wire.NewOutPoint(&chainhash.Hash{}, 0xffffffff), nil, nil))
	for range rapid.IntRange(1, 300).Draw(t, "outputs") {
		coinbase.AddTxOut(wire.NewTxOut(5000, rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "output")))
	}
	a.block.AddTransaction(coinbase)
	for range rapid.IntRange(0, 9).Draw(t, "transactions") {
		a.block.AddTransaction(drawTx(t, true))
	}
	return a
}

// with is its block with an extranonce2.
func (a *above) with(extranonce2 []byte) *btcutil.Block {
	block := a.block.Copy()
	block.Transactions[0].TxIn[0].SignatureScript = slices.Concat(a.script, a.extranonce1, extranonce2, a.scriptTail)
	b := btcutil.NewBlock(block)
	block.Header.MerkleRoot = blockchain.CalcMerkleRoot(b.Transactions(), false)
	return b
}

// parts is what its notify tells, with pad of the bytes of extranonce2 for variants.
func (a *above) parts(t fataler, pad int) *Parts {
	var tx bytes.Buffer
	if err := a.with(make([]byte, a.length)).MsgBlock().Transactions[0].SerializeNoWitness(&tx); err != nil {
		t.Fatalf("%v", err)
	}
	script := len(a.script) + len(a.extranonce1) + a.length + len(a.scriptTail)
	if script > 100 {
		t.Fatalf("a script of %d bytes", script)
	}
	head := 42 + len(a.script) + len(a.extranonce1)
	var txids [][32]byte
	for _, tx := range a.block.Transactions[1:] {
		txids = append(txids, tx.TxHash())
	}
	h := &a.block.Header
	return &Parts{
		Version: uint32(h.Version), PrevHash: h.PrevBlock, Bits: h.Bits, CurTime: uint32(h.Timestamp.Unix()), Branch: MerkleBranch(txids),
		Coinbase: &GivenCoinbase{Head: tx.Bytes()[:head], Tail: tx.Bytes()[head+a.length:], Pad: pad},
	}
}

// Another pool that puts a share together of what it has sent itself gets the header
// that was hashed here, whatever its sizes are.
func TestGivenCoinbase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAbove(t)
		most := min(a.length, 8)
		b := &Builder{VersionMask: 0x1fffe000, Extranonce2Len: rapid.IntRange(1, most).Draw(t, "the miner's")}
		b.Extranonce1Len = rapid.IntRange(max(0, a.length-b.Extranonce2Len-MaxPad), min(8, a.length-b.Extranonce2Len)).Draw(t, "the session's")
		pad := a.length - b.Extranonce1Len - b.Extranonce2Len
		template, err := NewTemplate(a.parts(t, pad))
		if err != nil {
			t.Fatal(err)
		}
		if template.Height != a.height || template.HasTransactions() {
			t.Errorf("height %d, want %d; has transactions: %v", template.Height, a.height, template.HasTransactions())
		}
		j, err := b.Job(template, 1, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !j.Given() || j.Solo || j.Variants() != 1 && pad == 0 || j.Variants() != 256 && pad > 0 {
			t.Errorf("given: %v, solo: %v, %d variants with %d bytes", j.Given(), j.Solo, j.Variants(), pad)
		}
		s := &Solution{
			Extranonce2: rapid.SliceOfN(rapid.Byte(), b.Extranonce2Len, b.Extranonce2Len).Draw(t, "found"),
			Time:        rapid.Uint32().Draw(t, "ntime"), Nonce: rapid.Uint32().Draw(t, "nonce"),
			Version: j.Version | rapid.Uint32().Draw(t, "bits")&j.Mask,
		}
		if pad > 0 {
			s.Variant = rapid.Byte().Draw(t, "variant")
		}
		m := &Miner{
			Limit:       rapid.SampledFrom(limits).Draw(t, "limit"),
			Extranonce1: rapid.SliceOfN(rapid.Byte(), b.Extranonce1Len, b.Extranonce1Len).Draw(t, "own"),
		}
		var sh Share
		j.Hash(&sh, m, s)
		extranonce2 := j.AppendGivenExtranonce(nil, m, s)
		if len(extranonce2) != a.length || !bytes.HasSuffix(extranonce2, slices.Concat(m.Extranonce1, s.Extranonce2)) {
			t.Fatalf("extranonce2 %x of %d bytes, the session's are %x, the miner's %x", extranonce2, a.length, m.Extranonce1, s.Extranonce2)
		}
		theirs := a.with(extranonce2)
		h := &theirs.MsgBlock().Header
		h.Version, h.Timestamp, h.Nonce = int32(s.Version), time.Unix(int64(s.Time), 0), s.Nonce
		if hash := h.BlockHash(); hash != sh.Hash {
			t.Fatalf("hash %x, theirs %x", sh.Hash, hash)
		}
		if met := blockchain.HashToBig((*chainhash.Hash)(&sh.Hash)).Cmp(blockchain.CompactToBig(h.Bits)) <= 0; met != sh.Block {
			t.Errorf("a block: %v", sh.Block)
		}
		if j.Block(&sh, m, s) != nil {
			t.Error("a block without its transactions")
		}
		// What a miner is sent is what it hashes.
		c := j.Coinbase(m.Limit)
		var tx bytes.Buffer
		if err := theirs.MsgBlock().Transactions[0].SerializeNoWitness(&tx); err != nil {
			t.Fatal(err)
		}
		if sent := slices.Concat(j.AppendHead(nil, m, s.Variant), m.Extranonce1, s.Extranonce2, c.Mid, c.Tail); !bytes.Equal(sent, tx.Bytes()) {
			t.Errorf("sent %x, theirs is %x", sent, tx.Bytes())
		}

		record, err := new(JobWriter).Append(nil, j)
		if err != nil {
			t.Fatal(err)
		}
		moved, err := new(JobReader).Read(record)
		if err != nil {
			t.Fatal(err)
		}
		var again Share
		moved.Hash(&again, m, s)
		if again != sh || !bytes.Equal(moved.AppendGivenExtranonce(nil, m, s), extranonce2) || !moved.Given() || moved.Variants() != j.Variants() ||
			moved.Template.Height != a.height || !moved.Template.SameWork(template) {
			t.Error("another job in another process")
		}
	})
}

// No two variants of a job are the same work to a miner, however few bytes there are to
// tell them apart, and nobody knows one from another miner's or another job's.
func TestVariantsOfAGivenCoinbase(t *testing.T) {
	for _, pad := range []int{1, 2, 4, MaxPad} {
		same := 0
		for range 20 {
			p := &Parts{Version: 1, PrevHash: [32]byte{1}, Bits: 0x1d00ffff, CurTime: 1, Coinbase: &GivenCoinbase{Head: []byte{1, 2}, Tail: []byte{3}, Pad: pad}}
			template, err := NewTemplate(p)
			if err != nil {
				t.Fatal(err)
			}
			b := &Builder{Extranonce1Len: 1, Extranonce2Len: 2}
			job := func() *Job {
				j, err := b.Job(template, 1, time.Now(), nil)
				if err != nil {
					t.Fatal(err)
				}
				return j
			}
			here, again := job(), job()
			a, c := &Miner{Extranonce1: []byte{7}}, &Miner{Extranonce1: []byte{8}}
			seen := map[string]int{}
			for variant := range 256 {
				head := here.AppendHead(nil, a, uint8(variant))
				if before, ok := seen[string(head)]; ok {
					t.Fatalf("%d bytes: variants %d and %d have the head %x", pad, before, variant, head)
				}
				seen[string(head)] = variant
				if !bytes.HasPrefix(head, []byte{1, 2}) || len(head) != 2+pad || !bytes.HasSuffix(head, here.AppendHeadEnd(nil, a, uint8(variant))) {
					t.Fatalf("%d bytes: variant %d has the head %x", pad, variant, head)
				}
				if bytes.Equal(head, here.AppendHead(nil, c, uint8(variant))) {
					same++
					if variant > 0 && pad > 3 {
						t.Errorf("%d bytes: another miner's variant %d is %x as well", pad, variant, head)
					}
				}
				if pad > 3 && bytes.Equal(head, again.AppendHead(nil, a, uint8(variant))) {
					t.Errorf("%d bytes: variant %d of another job of the template is %x as well", pad, variant, head)
				}
			}
		}
		// Of 255 numbers in another order one stands where it did before.
		if same -= 20; same > 100 {
			t.Errorf("%d bytes: %d of %d variants are the same to two miners", pad, same, 20*255)
		}
	}
}

func TestGivenCoinbaseErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Parts, *Builder)
		err    string
	}{
		{"nothing wrong", func(*Parts, *Builder) {}, ""},
		{"no height", func(p *Parts, _ *Builder) { p.Coinbase.Head = []byte{1} }, ""},
		{"no extranonce1", func(_ *Parts, b *Builder) { b.Extranonce1Len = 0 }, ""},
		{"no extranonce2", func(_ *Parts, b *Builder) { b.Extranonce2Len = 0 }, "extranonces of 4 and 0 bytes in a given coinbase"},
		{"long extranonce1", func(_ *Parts, b *Builder) { b.Extranonce1Len = 9 }, "extranonces of 9 and 8 bytes"},
		{"nothing before", func(p *Parts, _ *Builder) { p.Coinbase.Head = nil }, "a coinbase of 0 bytes before the extranonces and 1 behind them"},
		{"nothing behind", func(p *Parts, _ *Builder) { p.Coinbase.Tail = nil }, "before the extranonces and 0 behind them"},
		{"large", func(p *Parts, _ *Builder) { p.Coinbase.Tail = make([]byte, 16000) }, "bytes: at most 16000"},
		{"pad", func(p *Parts, _ *Builder) { p.Coinbase.Pad = 17 }, "17 bytes for variants: at most 16"},
		{"negative pad", func(p *Parts, _ *Builder) { p.Coinbase.Pad = -1 }, "-1 bytes for variants"},
		{"long branch", func(p *Parts, _ *Builder) { p.Branch = make([][32]byte, 64) }, "a merkle branch of 64 hashes: at most 32"},
		{"reward", func(p *Parts, _ *Builder) { p.CoinbaseValue = 1 }, "a coinbase, and parts that another is made of"},
		{"commitment", func(p *Parts, _ *Builder) { p.Commitment = commitmentScript([32]byte{}) }, "parts that another is made of"},
	} {
		p := &Parts{
			Version: 1, PrevHash: [32]byte{1}, Bits: 0x1d00ffff, CurTime: 1795327613,
			Coinbase: &GivenCoinbase{Head: append(make([]byte, 42), 0x51), Tail: []byte{0}, Pad: 4},
		}
		b := &Builder{Extranonce1Len: 4, Extranonce2Len: 8}
		tt.change(p, b)
		template, err := NewTemplate(p)
		if err == nil {
			_, err = b.Job(template, 1, time.Now(), nil)
		}
		checkError(t, tt.name, err, tt.err)
	}
	template, err := NewTemplate(&Parts{Version: 1, PrevHash: [32]byte{1}, Bits: 0x1d00ffff, CurTime: 1, Coinbase: &GivenCoinbase{Head: []byte{1}, Tail: []byte{1}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = newBuilder(t).Job(template, 1, time.Now(), []Output{donation(t)})
	checkError(t, "outputs", err, "outputs for a coinbase that is given")
}

// The height is what consensus compares (BIP34), and nothing that only looks like it.
func TestHeightOfAGivenCoinbase(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   int64
	}{
		{"51", 1}, {"60", 16}, {"0111", 17}, {"03a0bb0d", 900000}, {"04ffffff7f", 1<<31 - 1},
		{"", 0}, {"00", 0}, {"0105", 0}, {"0401000000", 0}, {"03a0bb", 0}, {"0500000001000000", 0}, {"4c03a0bb0d", 0}, {"0181", 0},
	} {
		g := &GivenCoinbase{Head: append(make([]byte, 42), unhex(t, tt.script)...)}
		if got := g.height(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.script, got, tt.want)
		}
	}
}

// Which templates are the same work matters for miners that would begin anew.
func TestSameWork(t *testing.T) {
	make := func(change func(*Parts)) *Template {
		p := &Parts{
			Version: 1, PrevHash: [32]byte{1}, Bits: 0x1d00ffff, CurTime: 1, Branch: [][32]byte{{1}},
			Coinbase: &GivenCoinbase{Head: []byte{1}, Tail: []byte{2}, Pad: 1},
		}
		change(p)
		template, err := NewTemplate(p)
		if err != nil {
			t.Fatal(err)
		}
		return template
	}
	first := make(func(*Parts) {})
	for _, tt := range []struct {
		name   string
		change func(*Parts)
		want   bool
	}{
		{"nothing", func(*Parts) {}, true},
		{"time", func(p *Parts) { p.CurTime = 2 }, true},
		{"extranonce1", func(p *Parts) { p.Coinbase.Head = []byte{1, 1} }, false},
		{"outputs", func(p *Parts) { p.Coinbase.Tail = []byte{3} }, false},
		{"branch", func(p *Parts) { p.Branch = [][32]byte{{2}} }, false},
		{"block", func(p *Parts) { p.PrevHash = [32]byte{2} }, false},
		{"version", func(p *Parts) { p.Version = 2 }, false},
		{"not given", func(p *Parts) { p.Coinbase = nil }, false},
	} {
		if got := first.SameWork(make(tt.change)); got != tt.want {
			t.Errorf("other %s: the same work: %v", tt.name, got)
		}
	}
}

// The first form of a record of a job whose coinbase is given is read for ever.
func TestReadGivenJobV2(t *testing.T) {
	const name = "job-given"
	dir := filepath.Join("testdata", "handover", "v2")
	record, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := new(JobReader).Read(record)
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Hash, Extranonce2 string }
	b, err := os.ReadFile(filepath.Join(dir, name+".want.json"))
	if err != nil || json.Unmarshal(b, &want) != nil {
		t.Fatal(err)
	}
	m := &Miner{Limit: limitUnknown, Extranonce1: []byte{9, 8}}
	s := &Solution{Variant: 5, Extranonce2: []byte{1, 2, 3, 4}, Time: j.NTimeMin, Nonce: 7, Version: j.Version}
	var sh Share
	j.Hash(&sh, m, s)
	if got := j.AppendGivenExtranonce(nil, m, s); !bytes.Equal(sh.Hash[:], unhex(t, want.Hash)) || !bytes.Equal(got, unhex(t, want.Extranonce2)) {
		t.Errorf("hash %x with extranonce2 %x, want %s with %s", sh.Hash, got, want.Hash, want.Extranonce2)
	}
	again, err := new(JobWriter).Append(nil, j)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, bytes.TrimSuffix(record, []byte("\n"))) {
		t.Errorf("written as\n%s\nwas\n%s", again, record)
	}
}
