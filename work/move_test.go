package work

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// sameWork fails unless both jobs mean the same to every miner and node.
func sameWork(t *testing.T, got, want *Job, payout []byte) {
	t.Helper()
	extranonce1 := []byte{9, 8, 7, 6}
	for _, limit := range limits {
		m := &Miner{limit, payout, extranonce1}
		for variant := range uint8(2) {
			g, w := got.AppendHead(nil, m, variant), want.AppendHead(nil, m, variant)
			if !bytes.Equal(g, w) {
				t.Fatalf("limit %d is sent the head\n%x\nwant\n%x", limit, g, w)
			}
		}
		if g, w := got.Coinbase(limit), want.Coinbase(limit); !reflect.DeepEqual(g, w) || got.Solo != want.Solo {
			t.Fatalf("limit %d is sent\n%x\nwant\n%x", limit, g, w)
		}
		s := &Solution{Variant: uint8(limit), Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Time: want.NTimeMin, Nonce: 7, Version: want.Version | 1<<13}
		var g, w Share
		got.Hash(&g, m, s)
		want.Hash(&w, m, s)
		if g != w {
			t.Fatalf("limit %d: another share", limit)
		}
		if !bytes.Equal(got.Block(&g, m, s), want.Block(&w, m, s)) {
			t.Fatalf("limit %d: another block", limit)
		}
	}
	if got.ID != want.ID || got.Version != want.Version || got.Mask != want.Mask || !slices.Equal(got.Branch, want.Branch) || got.Template.CurTime != want.Template.CurTime || got.NTimeMin != want.NTimeMin || got.NTimeMax != want.NTimeMax || !got.Created.Equal(want.Created) ||
		got.NetworkDifficulty != want.NetworkDifficulty || got.Target != want.Target || got.Template.PrevHash != want.Template.PrevHash {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	if err := got.Template.CheckWitness(); err != nil {
		t.Error(err)
	}
}

func TestMoveJobs(t *testing.T) {
	for _, name := range []string{"regtest-getblocktemplate-0tx", "regtest-getblocktemplate-1tx", "regtest-getblocktemplate-400tx", "signet-getblocktemplate"} {
		for _, solo := range []bool{false, true} {
			b := newBuilder(t)
			outputs, payout := extras(30), []byte(nil)
			if solo {
				b.PayoutScript, outputs, payout = nil, nil, unhex(t, vectorDonation)
			}
			first, second := b.mustJob(t, recorded(t, name), outputs...), b.mustJob(t, recorded(t, name), outputs...)
			first.Template.ShareTransactions(nil)
			var w JobWriter
			var r JobReader
			var sizes []int
			for _, j := range []*Job{first, second} {
				record, err := w.Append(nil, j)
				if err != nil {
					t.Fatal(err)
				}
				got, err := r.Read(record)
				if err != nil {
					t.Fatal(err)
				}
				sameWork(t, got, j, payout)
				sizes = append(sizes, len(record))
				// It can be passed on once more.
				again, err := new(JobWriter).Append(nil, got)
				if err != nil {
					t.Fatal(err)
				}
				if got, err = new(JobReader).Read(again); err != nil {
					t.Fatal(err)
				}
				sameWork(t, got, j, payout)
			}
			if first.Template.TxCount() > 10 && sizes[1] > sizes[0]/10 {
				t.Errorf("%s: the second record has %d bytes, the first %d: transactions are not shared", name, sizes[1], sizes[0])
			}
		}
	}
}

// A miner may come between the record of a job and the handover, with a limit
// that nobody had before. Both processes give it the same coinbase, or what it
// finds would be lost: the largest there is that it takes, or the smallest.
func TestLimitsAfterTheRecord(t *testing.T) {
	here := newBuilder(t).mustJob(t, vectorTemplate(t), extras(100)...)
	before := here.Coinbase(1234) // of a source that has limits of its own
	record, err := new(JobWriter).Append(nil, here)
	if err != nil {
		t.Fatal(err)
	}
	there, err := new(JobReader).Read(record)
	if err != nil {
		t.Fatal(err)
	}
	known := slices.Sorted(slices.Values(append([]int{1234}, limits...)))
	size := func(limit int) int {
		return len(here.CoinbaseTx(&Miner{limit, nil, make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}))
	}
	for limit := -1; limit < 20_000; limit++ {
		best := known[0]
		for _, k := range known {
			if size(k) <= limit {
				best = k
			}
		}
		got, want := there.Coinbase(limit), here.Coinbase(limit)
		if !reflect.DeepEqual(got, want) || want != here.Coinbase(best) {
			t.Fatalf("limit %d gets another coinbase there, or not that of %d", limit, best)
		}
	}
	if here.Coinbase(1234) != before {
		t.Error("a miner's coinbase has changed under it")
	}
}

// Who keeps jobs to check shares later has no use for their transactions, which
// are most of a record.
func TestJobWithoutTransactions(t *testing.T) {
	for _, name := range []string{"regtest-getblocktemplate-0tx", "regtest-getblocktemplate-400tx"} {
		want := newBuilder(t).mustJob(t, recorded(t, name), extras(30)...)
		whole, err := new(JobWriter).Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		record, err := (&JobWriter{WithoutTransactions: true}).Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := new(JobReader).Read(record)
		if err != nil {
			t.Fatal(err)
		}
		known := want.Template.TxCount() == 0
		if got.Template.HasTransactions() != known || !known && len(record) > len(whole)/10 {
			t.Errorf("%s: a record of %d bytes, with transactions %d", name, len(record), len(whole))
		}
		for _, limit := range limits {
			m := &Miner{Limit: limit, Extranonce1: []byte{9, 8, 7, 6}}
			s := &Solution{Variant: 3, Extranonce2: make([]byte, 8), Time: want.NTimeMin, Nonce: 7, Version: want.Version}
			var g, w Share
			got.Hash(&g, m, s)
			want.Hash(&w, m, s)
			if g != w || !reflect.DeepEqual(got.Coinbase(limit), want.Coinbase(limit)) {
				t.Errorf("%s, limit %d: another share", name, limit)
			}
			if !known && got.Block(&g, m, s) != nil {
				t.Error("a block without its transactions")
			}
		}
	}
}

// A template that follows a moved one shares its transactions.
func TestMovedTemplateIsShared(t *testing.T) {
	record, err := new(JobWriter).Append(nil, newBuilder(t).mustJob(t, recorded(t, "regtest-getblocktemplate-400tx")))
	if err != nil {
		t.Fatal(err)
	}
	j, err := new(JobReader).Read(record)
	if err != nil {
		t.Fatal(err)
	}
	next := recorded(t, "regtest-getblocktemplate-400tx")
	next.ShareTransactions(j.Template)
	if &next.txs.Load().shared[0] != &j.Template.txs.Load().shared[0] {
		t.Error("the transactions are there twice")
	}
}

func TestBadJobRecords(t *testing.T) {
	good, err := new(JobWriter).Append(nil, newBuilder(t).mustJob(t, newGBT().parse(t)))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, new, want string }{
		{"no JSON", `{`, ``, "invalid character"},
		{"newer version", `"version":1,`, `"version":3,`, "version 3, this program reads 1 to 2"},
		{"no version", `"version":1,`, ``, "version 0, this program reads 1 to 2"},
		{"unknown transaction", `"transactions":[]`, `"transactions":[0]`, "transaction 0 of 0"},
		{"negative transaction", `"transactions":[]`, `"transactions":[-1]`, "transaction -1 of 0"},
		{"no coinbases", `"coinbases":[`, `"coinbases":[],"x":[`, "no coinbase"},
		{"a limit twice", `"coinbases":[{"limit":0,`, `"coinbases":[{"limit":0,"head":"0100000001","mid":"","tail":""},{"limit":0,`, "coinbase 1 is for 0 bytes"},
		{"no key", `"key":"`, `"key":"00`, "key of 17 bytes"},
		{"no coinbase", `"head":"01`, `"head":"","x":"01`, "0 bytes up to the extranonces"},
		{"short hash", `"prevhash":"6f`, `"prevhash":"`, "hash of 62 digits"},
		{"given, with what is made", `"version":1,`, `"version":2,"pad":1,`, "coinbases, one of them given"},
		{"no bits", `"bits":486604799`, `"bits":4278190335`, "bits ff0000ff"},
	}
	for _, tt := range tests {
		bad := strings.Replace(string(good), tt.old, tt.new, 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing to replace in %s", tt.name, good)
		}
		if _, err := new(JobReader).Read([]byte(bad)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// The first version of the record is read for ever; the file is never made
// anew. Beside each record stand the line it must send and a block it makes;
// that it sends the line is a test of sessions.
func TestReadJobV1(t *testing.T) {
	for _, name := range []string{"job-pool", "job-solo"} {
		dir := filepath.Join("testdata", "handover", "v1")
		record, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		j, err := new(JobReader).Read(record)
		if err != nil {
			t.Fatal(err)
		}
		var want struct{ Block string }
		b, err := os.ReadFile(filepath.Join(dir, name+".want.json"))
		if err != nil || json.Unmarshal(b, &want) != nil {
			t.Fatal(err)
		}
		m := &Miner{Limit: limitUnknown, Extranonce1: []byte{9, 8, 7, 6}}
		if name == "job-solo" {
			m.Payout = unhex(t, vectorDonation)
		}
		s := &Solution{Variant: 5, Extranonce2: make([]byte, 8), Time: j.NTimeMin, Nonce: 7, Version: j.Version}
		var sh Share
		j.Hash(&sh, m, s)
		if got := j.Block(&sh, m, s); !bytes.Equal(got, unhex(t, want.Block)) {
			t.Errorf("%s makes the block\n%x\nwant\n%s", name, got, want.Block)
		}
	}
}

func FuzzReadJob(f *testing.F) {
	for _, name := range []string{"job-pool.json", "job-solo.json"} {
		if b, err := os.ReadFile(filepath.Join("testdata", "handover", "v1", name)); err == nil {
			f.Add(b)
		}
	}
	if b, err := os.ReadFile(filepath.Join("testdata", "handover", "v2", "job-given.json")); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		j, err := new(JobReader).Read(record)
		if err != nil {
			return
		}
		again, err := new(JobWriter).Append(nil, j)
		if err != nil {
			t.Fatal(err)
		}
		k, err := new(JobReader).Read(again)
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range limits {
			m := &Miner{limit, []byte{0x51}, make([]byte, 4)}
			s := &Solution{Extranonce2: make([]byte, 8)}
			if !bytes.Equal(j.CoinbaseTx(m, s), k.CoinbaseTx(m, s)) {
				t.Errorf("limit %d is sent something else", limit)
			}
		}
	})
}
