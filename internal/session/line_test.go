package session

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// The complete share of the vectors.
const (
	vectorPayout   = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
	vectorDonation = "bc1q8qkesw5kyplv7hdxyseqls5m78w5tqdfd40lf5"
	vectorNotify   = `{"params":["6b02867d00000001","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","` +
		"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff320350f80c00047d86026b04e28b56220c" + `","` +
		"0a636b706f6f6c2d6c68720a2f73706563706f6f6c2fffffffff0318b07012000000001976a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac" +
		"08af2f0000000000160014382d983a96207ecf5da624320fc29bf1dd4581a90000000000000000266a24aa21a9ed0a5a456451f1ebbe847433fe8adfdf1f862232544c13d7524fb18f84bf0dfec400000000" + `",[` +
		`"56a9907f2f8a5e37991bb11f3c3c5a4cb8e0e479d9b4400f7d83b0a47ba75ec8",` +
		`"b488f40d597d9b8553663d52b5830f846f39a83db802dcfbf984b9ac867d9f37",` +
		`"7a5180d150568ebc32a38f00643a42b8fcb3eef894a44ce7af3a9a2e6b344ccd"],` +
		`"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}` + "\n"
)

// fromWork reads a file of the tests of package work.
func fromWork(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../work/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func vectorBuilder(t testing.TB, solo bool) *work.Builder {
	b := &work.Builder{
		Tag: "ckpool-lhr", Sig: "/specpool/",
		Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000,
	}
	if !solo {
		b.PayoutScript = script(t, vectorPayout)
	}
	return b
}

func vectorWork(t testing.TB, b *work.Builder, more ...work.Output) *Work {
	t.Helper()
	tmpl, err := work.ParseTemplate(fromWork(t, "vector-template.json"))
	if err != nil {
		t.Fatal(err)
	}
	donation := work.Output{Script: script(t, vectorDonation), Part: work.Percent(1), Required: true}
	j, err := b.Job(tmpl, 0x6b02867d00000001, time.Unix(1795327613, 576097250), append([]work.Output{donation}, more...))
	if err != nil {
		t.Fatal(err)
	}
	return &Work{Job: j, Tip: j.ID, Oldest: j.ID}
}

// withoutMark cuts out what a mark changes: the nanoseconds before the push of
// the extranonces.
func withoutMark(line string) string {
	end := strings.Index(line, `0c","`) // 12 bytes of extranonces
	return line[:end-8] + line[end:]
}

func TestLines(t *testing.T) {
	pool, solo := vectorWork(t, vectorBuilder(t, false)), vectorWork(t, vectorBuilder(t, true))
	if got := string(pool.shared(16_000, true)); got != vectorNotify {
		t.Errorf("shared line\n%s\nwant\n%s", got, vectorNotify)
	}
	if got := string(pool.shared(16_000, false)); got != strings.Replace(vectorNotify, "true]", "false]", 1) {
		t.Errorf("shared line %s", got)
	}
	none, own := &work.Miner{Limit: 16_000}, &work.Miner{Limit: 16_000, Payout: script(t, vectorPayout)}
	if got := string(solo.appendLine(nil, own, announcement{clean: true})); got != vectorNotify {
		t.Errorf("solo line\n%s\nwant\n%s", got, vectorNotify)
	}
	for _, tt := range []struct {
		suffix uint8
		later  uint32
		id     string
		time   string
	}{{0, 0, "6b02867d00000001", "6b02867d"}, {1, 1, "6b02867d0000000101", "6b02867e"},
		{171, 3, "6b02867d00000001ab", "6b028680"}, {255, 0x1000, "6b02867d00000001ff", "6b02967d"}} {
		for _, clean := range []bool{false, true} {
			want := strings.Replace(vectorNotify, "6b02867d00000001", tt.id, 1)
			want = strings.Replace(want, `"6b02867d"`, `"`+tt.time+`"`, 1)
			if !clean {
				want = strings.Replace(want, "true]", "false]", 1)
			}
			a := announcement{tt.suffix, tt.later, clean}
			if got := string(pool.appendLine([]byte("x"), none, a)); withoutMark(got) != withoutMark("x"+want) {
				t.Errorf("pool: %s", got)
			}
			if got := string(solo.appendLine([]byte("x"), own, a)); withoutMark(got) != withoutMark("x"+want) {
				t.Errorf("solo: %s", got)
			}
		}
	}
}

// A line without payee would give the reward to whoever takes it.
func TestSoloWithoutPayout(t *testing.T) {
	w := vectorWork(t, vectorBuilder(t, true))
	if got := w.appendLine(nil, &work.Miner{Limit: 750}, announcement{clean: true}); len(got) != 0 {
		t.Errorf("appended %s", got)
	}
	if got := w.shared(750, true); got != nil {
		t.Errorf("shared line %s", got)
	}
}

// The line that is sent is the work that is hashed, in every variant of the job
// and for every limit.
func TestLineIsTheWorkThatIsHashed(t *testing.T) {
	for _, solo := range []bool{false, true} {
		w := vectorWork(t, vectorBuilder(t, solo), slices.Repeat([]work.Output{{Script: []byte{0x51}, Value: 1}}, 100)...)
		for _, limit := range []int{255, 500, 750, 2250} {
			m := &work.Miner{Limit: limit, Extranonce1: []byte{1, 2, 3, 4}}
			if solo {
				m.Payout = script(t, vectorDonation)
			}
			for variant := range uint8(3) {
				s := &work.Solution{Variant: variant, Extranonce2: []byte{5, 6, 7, 8, 9, 10, 11, 12}}
				n := parseNotify(t, w.appendLine(nil, m, announcement{suffix: variant}))
				tx := append(append(append(append([]byte{}, n.Coinb1...), m.Extranonce1...), s.Extranonce2...), n.Coinb2...)
				if !bytes.Equal(tx, w.Job.CoinbaseTx(m, s)) {
					t.Errorf("solo %v, limit %d, variant %d: another coinbase is sent", solo, limit, variant)
				}
			}
		}
	}
}

func parseNotify(t testing.TB, line []byte) (n stratum.Notify) {
	t.Helper()
	var m stratum.Message
	if stratum.Scan(bytes.TrimSuffix(line, []byte("\n")), &m) != stratum.Object {
		t.Fatalf("%s", line)
	}
	if err := n.Parse(m.Params); err != nil {
		t.Fatal(err)
	}
	return n
}

// Whoever comes first, everybody gets the same bytes.
func TestConcurrentLines(t *testing.T) {
	w := vectorWork(t, vectorBuilder(t, false))
	var lines [8][]byte
	var wg sync.WaitGroup
	for i := range lines {
		wg.Go(func() { lines[i] = w.shared(255+i*1000, true) })
	}
	wg.Wait()
	for _, line := range lines {
		if &line[0] != &lines[0][0] {
			t.Error("two lines with one coinbase")
		}
	}
}

// With every transaction that fits into a block, the lines of a miner that
// takes 4,000 bytes are shorter.
func TestESP32Line(t *testing.T) {
	b := vectorBuilder(t, false)
	b.Sig = strings.Repeat("s", 38)
	w := vectorWork(t, b, slices.Repeat([]work.Output{{Script: make([]byte, 22), Value: 1000}}, 50)...)
	w.Job.Branch = make([][32]byte, 16) // 4 MB / 60 bytes
	m := &work.Miner{Limit: work.CoinbaseLimit("NerdMinerV2/1.7.0"), Extranonce1: make([]byte, 4)}
	if got := len(w.appendLine(nil, m, announcement{suffix: 1})); got > 4000 {
		t.Errorf("line of %d bytes", got)
	}
}

// A job of the first version of the record sends the line that stands beside it.
func TestSendJobV1(t *testing.T) {
	for _, name := range []string{"job-pool", "job-solo"} {
		j, err := new(work.JobReader).Read(fromWork(t, "handover/v1/"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var want struct{ Notify string }
		if err := json.Unmarshal(fromWork(t, "handover/v1/"+name+".want.json"), &want); err != nil {
			t.Fatal(err)
		}
		m := &work.Miner{Limit: 750, Extranonce1: []byte{9, 8, 7, 6}}
		if name == "job-solo" {
			m.Payout = script(t, vectorDonation)
		}
		w := &Work{Job: j}
		if got := string(w.appendLine(nil, m, announcement{suffix: 5, clean: true})); got != want.Notify {
			t.Errorf("%s sends\n%s\nwant\n%s", name, got, want.Notify)
		}
	}
}

func TestVersionBits(t *testing.T) {
	for _, tt := range []struct {
		name                        string
		version, mask, bits, rolled uint32
	}{
		{"nothing rolled", 0x20000000, 0x1fffe000, 0, 0x20000000},
		{"rolled", 0x20000000, 0x1fffe000, 0x00c0a000, 0x20c0a000},
		{"beside others", 0x20000004, 0x1fffe000, 0x2000, 0x20002004},
		{"a required bit stays", 0x20004004, 0x1fffa000, 0x2000, 0x20006004},
		{"bits replace", 0x20004000, 0x1fffe000, 0x2000, 0x20002000},
		{"what is outside the mask counts", 0x20000000, 0x00006000, 0x00008000, 0x20008000},
		{"no mask", 0x2000e004, 0, 0, 0x2000e004},
	} {
		if got := rolled(tt.version, tt.mask, tt.bits); got != tt.rolled {
			t.Errorf("%s: version %08x, want %08x", tt.name, got, tt.rolled)
		}
	}
}

func benchmarkWork(b *testing.B, branches int) (*Work, *work.Miner) {
	w := vectorWork(b, vectorBuilder(b, false))
	w.Job.Branch = make([][32]byte, branches)
	return w, &work.Miner{Limit: 750, Extranonce1: make([]byte, 4)}
}

func BenchmarkAppendLine(b *testing.B) {
	w, m := benchmarkWork(b, 12)
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = w.appendLine(line[:0], m, announcement{suffix: 1})
	}
}

func BenchmarkSharedLine(b *testing.B) {
	w, m := benchmarkWork(b, 12)
	b.ReportAllocs()
	for b.Loop() {
		w.shared(m.Limit, true)
	}
}

// From the node's answer to the first line for miners.
func BenchmarkTemplateToLine(b *testing.B) {
	for _, n := range []int{4_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			body := bigReply(b, n, 400)
			builder := vectorBuilder(b, false)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				reply, err := work.ParseReply(body)
				if err != nil {
					b.Fatal(err)
				}
				j, err := builder.Job(reply.Template, 1, time.Unix(1795327613, 0), nil)
				if err != nil {
					b.Fatal(err)
				}
				(&Work{Job: j}).shared(750, true)
			}
		})
	}
}

// bigReply is an answer to getblocktemplate with n transactions of so many bytes.
func bigReply(t testing.TB, n, size int) []byte {
	t.Helper()
	var tmpl map[string]any
	if err := json.Unmarshal(fromWork(t, "vector-template.json"), &tmpl); err != nil {
		t.Fatal(err)
	}
	txs := make([]any, n)
	for i := range txs {
		id := make([]byte, 32)
		id[0], id[1], id[2] = byte(i), byte(i>>8), 1
		txs[i] = map[string]any{
			"data": strings.Repeat("ab", size), "txid": hex.EncodeToString(id), "hash": hex.EncodeToString(id),
			"depends": []int{}, "fee": 1000, "sigops": 1, "weight": 390,
		}
	}
	tmpl["transactions"] = txs
	b, err := json.Marshal(map[string]any{"result": tmpl, "error": nil, "id": 1})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
