package relay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/poolproto"
)

// checked is an edge whose one loop does not run, with a miner whose shares it checks.
type checked struct {
	t    *testing.T
	h    *EdgeHandler
	w    *wire
	slot netserver.Slot
	id   int // of requests
}

func startChecked(t *testing.T) *checked {
	t.Helper()
	h, w, slot := standing(t, 1, strings.NewReader(""))
	k := &checked{t: t, h: h, w: w, slot: slot}
	k.says(`{"id":"s","method":"mining.subscribe","params":["miner/1"]}`)
	k.hears(`l 1 {"id":"s","result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}`)
	k.says(`{"id":"a","method":"mining.authorize","params":["bob.rig","x"]}`)
	k.hears(`l 1 {"id":"a","result":true,"error":null}`)
	return k
}

func (k *checked) says(line string) { k.h.Line(k.slot, []byte(line)) }

// up is what has gone up since the last call.
func (k *checked) up() string {
	k.h.Flush()
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	up := string(k.w.out)
	k.w.out = nil
	return up
}

func (k *checked) hears(lines ...string) {
	k.t.Helper()
	for _, line := range lines {
		if err := k.w.frame(k.t.Context(), []byte(line)); err != nil {
			k.t.Fatal(err)
		}
	}
	k.w.deliver(k.t.Context())
	for k.h.Step() {
	}
}

const (
	prevA, prevB = "00000000000000000000000000000000000000000000000000000000000000aa", "00000000000000000000000000000000000000000000000000000000000000bb"
	rare, often  = "1d00ffff", "207fffff" // bits
)

func difficultyLine(d string) string {
	return `l 1 {"id":null,"method":"mining.set_difficulty","params":[` + d + `]}`
}

func notifyLine(id, prev, bits string) string {
	return fmt.Sprintf(`l 1 {"params":["%s","%s","01","02",[],"20000000","%s","68e77800",true],"id":null,"method":"mining.notify"}`, id, prev, bits)
}

// share submits one, and tells whether it went up; why is how it was counted else.
func (k *checked) share(job string, nonce uint32, answer bool) (why poolproto.Refusal) {
	k.t.Helper()
	k.up()
	k.id++
	k.h.miner(k.slot).bytes = 0 // as if a second had passed
	k.says(fmt.Sprintf(`{"id":%d,"method":"mining.submit","params":["bob.rig","%s","0000000000000001","68e77800","%08x"]}`, k.id, job, nonce))
	up := k.up()
	c := k.h.miner(k.slot).checks
	if strings.Contains(up, "mining.submit") == (len(c.sums) > 0) {
		k.t.Fatalf("%+v is counted, and %q went up", c.sums, up)
	}
	if len(c.sums) > 0 {
		why = c.sums[0].Refusal
		c.sums = c.sums[:0]
		return why
	}
	k.hears(fmt.Sprintf(`l 1 {"id":%d,"result":%t,"error":null}`, k.id, answer))
	return 0
}

// hash is that of such a share, computed from the bytes of its line.
func hash(prev, bits string, nonce uint32) [32]byte {
	double := func(b []byte) []byte {
		one := sha256.Sum256(b)
		two := sha256.Sum256(one[:])
		return two[:]
	}
	coinbase, _ := hex.DecodeString("01" + "01020304" + "0000000000000001" + "02")
	header := binary.LittleEndian.AppendUint32(nil, 0x20000000)
	words, _ := hex.DecodeString(prev)
	for i := 0; i < 32; i += 4 { // in the order of mining.notify
		header = append(header, words[i+3], words[i+2], words[i+1], words[i])
	}
	header = append(header, double(coinbase)...)
	header = binary.LittleEndian.AppendUint32(header, 0x68e77800)
	var n uint32
	_, _ = fmt.Sscanf(bits, "%x", &n)
	header = binary.LittleEndian.AppendUint32(header, n)
	header = binary.LittleEndian.AppendUint32(header, nonce)
	return [32]byte(double(header))
}

// An edge refuses what its pool would, and passes on what it cannot know.
func TestRefuses(t *testing.T) {
	k := startChecked(t)
	if why := k.share("1", 0, false); why != 0 {
		t.Errorf("without work %q", why)
	}
	k.hears(difficultyLine("1e9"), notifyLine("10", prevA, rare))
	if why := k.share("10", 0, false); why != poolproto.RefusedTarget {
		t.Errorf("above target: %q", why)
	}
	if why := k.share("11", 0, false); why != 0 {
		t.Errorf("a job that is not known here: %q", why)
	}
	if why := k.share("no job", 0, false); why != poolproto.RefusedJob {
		t.Errorf("no job: %q", why)
	}
	// What is found before the lower difficulty is known to the miner counts by it; what is
	// found after a raise may still count by the lower one.
	k.hears(difficultyLine("1e-12"))
	if why := k.share("10", 1, true); why != 0 {
		t.Errorf("after the difficulty fell: %q", why)
	}
	k.hears(difficultyLine("1e9"))
	if why := k.share("10", 2, true); why != 0 {
		t.Errorf("after it rose again: %q", why)
	}
	if why := k.share("10", 2, false); why != poolproto.RefusedDuplicate {
		t.Errorf("a duplicate: %q", why)
	}
	k.hears(notifyLine("12", prevA, rare))
	if why := k.share("12", 2, false); why != poolproto.RefusedTarget {
		t.Errorf("a job with the higher one: %q", why)
	}
	// One that the pool has refused, or not answered, is no duplicate here.
	k.hears(difficultyLine("1e-12"), notifyLine("13", prevA, rare))
	for range 2 {
		if why := k.share("13", 3, false); why != 0 {
			t.Errorf("refused by the pool: %q", why)
		}
	}
	k.hears(notifyLine("14", prevB, rare))
	if why := k.share("13", 4, false); why != poolproto.RefusedStale {
		t.Errorf("of the tip before: %q", why)
	}
	k.h.miner(k.slot).checks.tipAt -= staleTime + 1
	if why := k.share("13", 4, false); why != 0 {
		t.Errorf("of the tip before, which the pool may have forgotten: %q", why)
	}
	// Another login: whose shares are whose is the pool's to say.
	k.says(`{"id":"b","method":"mining.authorize","params":["bob.two","x"]}`)
	if why := k.share("no job", 0, false); why != 0 {
		t.Errorf("with two workers: %q", why)
	}
}

// A block goes up whatever else it is.
func TestBlocksGoUp(t *testing.T) {
	k := startChecked(t)
	k.hears(difficultyLine("1e9"), notifyLine("10", prevA, often))
	blocks := 0
	for _, stale := range []bool{false, true} {
		if stale {
			k.hears(notifyLine("11", prevB, often))
		}
		for nonce := range uint32(32) {
			h := hash(prevA, often, nonce)
			block := h[31] < 0x7f
			if why := k.share("10", nonce, true); block && why != 0 {
				t.Errorf("a block is refused: %q, %x", why, h)
			} else if h[31] > 0x80 && why == 0 {
				t.Errorf("no block, and not refused: %x", h)
			}
			if block {
				blocks++
			}
		}
	}
	if blocks < 8 || blocks > 56 {
		t.Errorf("%d blocks of 64", blocks)
	}
}

// The same share on another channel is none of this one's.
func TestDuplicateOfAnotherChannel(t *testing.T) {
	k := startChecked(t)
	k.hears(difficultyLine("1e-12"), notifyLine("10", prevA, rare))
	k.share("10", 1, true)
	k.h.renumber(k.slot, k.h.miner(k.slot)) // as another would have it
	k.up()
	k.says(`{"id":77,"method":"mining.submit","params":["bob.rig","10","0000000000000001","68e77800","00000001"]}`)
	if up := k.up(); !strings.Contains(up, "mining.submit") {
		t.Errorf("refused: %q", up)
	}
}

// A report waits for the pool's word, and is said again on the next link, as it was.
func TestReportIsSaidAgain(t *testing.T) {
	k := startChecked(t)
	k.hears(difficultyLine("1e9"), notifyLine("10", prevA, rare))
	weak := func(nonce int) {
		k.says(fmt.Sprintf(`{"id":1,"method":"mining.submit","params":["bob.rig","10","0000000000000001","68e77800","%08x"]}`, nonce))
	}
	weak(1)
	weak(2)
	k.up()
	k.h.reports()
	first := k.up()
	f, err := poolproto.ParseFrame([]byte(strings.TrimSuffix(first, "\n")))
	if err != nil || f.Kind != poolproto.Sums || string(f.Text) != "t:10:0:2" {
		t.Fatalf("%q, %v", first, err)
	}
	weak(3)
	k.h.reports()
	if up := k.up(); up != "" {
		t.Errorf("a second report before the pool's word: %q", up)
	}
	next := newWire("again", input{bytes.NewReader(nil)})
	next.dialect, next.sums = 1, true
	next.prepare(k.h.edge, 2)
	k.h.edge.active.Store(next)
	k.h.follow(next)
	k.w = next
	for k.h.Step() {
	}
	m := k.h.miner(k.slot)
	k.hears(fmt.Sprintf(`l %d {"id":"resume-0","result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}`, m.id),
		fmt.Sprintf(`l %d {"id":"resume-1","result":true,"error":null}`, m.id))
	up := k.up()
	again := fmt.Sprintf("s %d %d t:10:0:2\n", m.id, f.Number)
	if !strings.Contains(up, again) {
		t.Errorf("%q does not have %q", up, again)
	}
	k.hears(fmt.Sprintf("s %d %d ", m.id, f.Number+1)) // of another report
	k.h.reports()
	if up := k.up(); up != "" {
		t.Errorf("a second report before the pool's word: %q", up)
	}
	k.hears(fmt.Sprintf("s %d %d ", m.id, f.Number))
	k.h.reports()
	if up := k.up(); !strings.HasSuffix(up, " t:10:0:1\n") || strings.Contains(up, fmt.Sprint(f.Number)) {
		t.Errorf("the next report is %q", up)
	}
	weak(4)
	k.h.Closed(k.slot, netserver.PeerClosed)
	if up := k.up(); !strings.Contains(up, " t:10:0:1\nc ") {
		t.Errorf("the last words are %q", up)
	}
}

// A pool that counts no report gets all shares: an older version has taken over.
func TestReportIsNotCounted(t *testing.T) {
	k := startChecked(t)
	k.hears(difficultyLine("1e9"), notifyLine("10", prevA, rare))
	const share = `{"id":1,"method":"mining.submit","params":["bob.rig","10","0000000000000001","68e77800","00000001"]}`
	k.says(share)
	k.h.reports()
	k.says(share)
	k.h.reports()
	m := k.h.miner(k.slot)
	if m.checks == nil {
		t.Fatal("it has had no time")
	}
	m.checks.said -= countTime + 1
	k.h.reports()
	k.up()
	k.says(share)
	if up := k.up(); !strings.Contains(up, "mining.submit") || len(k.h.summing) > 0 {
		t.Errorf("%q", up)
	}
}

// A pool that takes no sums gets all shares.
func TestNoSums(t *testing.T) {
	h, w, slot := standing(t, 1, strings.NewReader(""))
	w.sums = false
	k := &checked{t: t, h: h, w: w, slot: slot}
	k.says(`{"id":"s","method":"mining.subscribe","params":["miner/1"]}`)
	k.hears(`l 1 {"id":"s","result":[[["mining.notify","0123456789abcdef"]],"01020304",8],"error":null}`)
	k.says(`{"id":"a","method":"mining.authorize","params":["bob.rig","x"]}`)
	k.hears(`l 1 {"id":"a","result":true,"error":null}`, difficultyLine("1e9"), notifyLine("10", prevA, rare))
	k.says(`{"id":1,"method":"mining.submit","params":["bob.rig"]}`)
	if up := k.up(); !strings.Contains(up, "mining.submit") || h.miner(slot).checks != nil {
		t.Errorf("%q", up)
	}
}

// Refusing a share costs no memory.
func TestRefusalAllocatesNothing(t *testing.T) {
	k := startChecked(t)
	k.hears(difficultyLine("1e9"), notifyLine("10", prevA, rare))
	share := []byte(`{"id":4,"method":"mining.submit","params":["bob.rig","10","0000000000000001","68e77800","1dac2b7c"]}`)
	m := k.h.miner(k.slot)
	if n := testing.AllocsPerRun(1000, func() {
		m.bytes = 0
		k.h.Line(k.slot, share)
	}); n != 0 || len(m.checks.sums) != 1 {
		t.Errorf("%v allocations, %+v", n, m.checks.sums)
	}
}
