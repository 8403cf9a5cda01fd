package poolproto

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/work"

	"github.com/google/go-cmp/cmp"
)

const noughts = "00000000000000000000000000000000000000000000000000000000000000000000000000000000" + // 152
	"000000000000000000000000000000000000000000000000000000000000000000000000"

// Lines as ckpool in C writes them.
const (
	lineOfWork = `{"jobid":6888000000000000017,"target":"00000000ffff0000000000000000000000000000000000000000000000000000",` +
		`"diff":1.0,"version":536870912,"curtime":1760000000,` +
		`"prevhash":"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20","ntime":"68e77800","bbversion":"20000000","nbit":"1d00ffff",` +
		`"coinbasevalue":314000000,"height":918000,"flags":"","txns":2,` +
		`"txn_hashes":"1111111111111111111111111111111111111111111111111111111111111100 2222222222222222222222222222222222222222222222222222222222222200 ",` +
		`"merkles":2,"merklehash":["0011111111111111111111111111111111111111111111111111111111111111","3333333333333333333333333333333333333333333333333333333333333333"],` +
		`"coinb1":"01000000","enonce1varlen":4,"enonce2varlen":8,"coinb1len":4,"coinb2len":2,"coinb2":"0a63","node.method":"workinfo"}` + "\n"
	lineOfNoTransactions = `{"jobid":1,"target":"7fffff0000000000000000000000000000000000000000000000000000000000",` +
		`"diff":4.6565423739069247e-10,"version":1,"curtime":1,` +
		`"prevhash":"0000000000000000000000000000000000000000000000000000000000000000","ntime":"00000001","bbversion":"00000001","nbit":"207fffff",` +
		`"coinbasevalue":5000000000,"height":1,"flags":"/P2SH/","txns":0,"txn_hashes":"","merkles":0,"merklehash":[],` +
		`"coinb1":"01","enonce1varlen":4,"enonce2varlen":8,"coinb1len":1,"coinb2len":1,"coinb2":"00","node.method":"workinfo"}` + "\n"
	lineOfTransactions = `{"transaction":[{"hash":"1111111111111111111111111111111111111111111111111111111111111100","data":"0100"},` +
		`{"hash":"2222222222222222222222222222222222222222222222222222222222222200","data":"02"}],"node.method":"transactions"}` + "\n"
	lineOfBlock = `{"enonce1":"21a0aa66","nonce":"1dac2b7c","nonce2":"0000000000000009","ntime32":1722482705,"version_mask":0,` +
		`"jobid":6888000000000000017,"diff":130000000000000.5,"name":"mainpool","cblen":2,` +
		`"coinbasehex":"0100","swaphex":"00000020` + noughts + `","node.method":"block"}` + "\n"
	lineOfRequest = `{"hash":["1111111111111111111111111111111111111111111111111111111111111100"],"node.method":"reqtxns"}` + "\n"
	// Work of a trusted remote, which cannot be mined on.
	lineOfReduced = `{"workinfoid":77,"transactiontree":"1111111111111111111111111111111111111111111111111111111111111100 ","prevhash":"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",` +
		`"coinbase1":"01","coinbase2":"02","version":"20000000","ntime":"68e77800","bits":"1d00ffff","reward":314000000,"merklehash":["0011111111111111111111111111111111111111111111111111111111111111"],` +
		`"jobid":77,"txns":1,"txn_hashes":"1111111111111111111111111111111111111111111111111111111111111100 ","merkles":1,"node.method":"workinfo"}`
	// Before December 2016 a block came without its coinbase.
	lineOfOldBlock = `{"enonce1":"21a0aa66","nonce":"1dac2b7c","nonce2":"0000000000000009","ntime32":1722482705,"jobid":6888000000000000017,"diff":1,"name":"m","node.method":"block"}`
)

func hashOf(t *testing.T, text string) [32]byte {
	t.Helper()
	h, err := work.ParseHash(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWorkInfo(t *testing.T) {
	ids := [][32]byte{hashOf(t, strings.Repeat("1", 62)+"00"), hashOf(t, strings.Repeat("2", 62)+"00")}
	prev := [32]byte{4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 24, 23, 22, 21, 28, 27, 26, 25, 32, 31, 30, 29}
	target, err := difficulty.TargetFromBits(0x1d00ffff)
	if err != nil {
		t.Fatal(err)
	}
	w := WorkInfo{
		JobID: 6888000000000000017, Target: target, Version: 0x20000000, CurTime: 1760000000, PrevHash: prev, Bits: 0x1d00ffff,
		Value: 314000000, Height: 918000, TxIDs: ids, Branch: [][32]byte{ids[0], [32]byte(bytes.Repeat([]byte{0x33}, 32))},
		Coinb1: []byte{1, 0, 0, 0}, Coinb2: []byte{10, 0x63}, Extranonce1Len: 4, Extranonce2Len: 8,
	}
	if got := string(AppendNodeLine(nil, w.Append(nil), TagWorkInfo)); got != lineOfWork {
		t.Errorf("work is written as\n%s, want\n%s", got, lineOfWork)
	}
	for _, line := range []string{lineOfWork, lineOfNoTransactions} {
		var read WorkInfo
		if err := read.Parse([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if line == lineOfWork {
			if diff := cmp.Diff(w, read); diff != "" {
				t.Errorf("work is read with %s", diff)
			}
		}
		if got := string(AppendNodeLine(nil, read.Append(nil), TagWorkInfo)); got != line {
			t.Errorf("work is written as\n%s, want\n%s", got, line)
		}
	}
	var reduced WorkInfo
	if err := reduced.Parse([]byte(lineOfReduced)); err != nil || reduced.Coinb1 != nil || reduced.JobID != 77 || len(reduced.TxIDs) != 1 || reduced.PrevHash != prev {
		t.Errorf("the reduced form is %+v, %v", reduced, err)
	}
}

func TestBadWorkInfo(t *testing.T) {
	for _, change := range [][2]string{
		{`00 ","merkles"`, `00","merkles"`}, // the last hash without its space
		{`"txns":2`, `"txns":3`},
		{`"jobid":6888000000000000017`, `"jobid":"17"`},
		{`"jobid":6888000000000000017,`, ``},
		{`"nbit":"1d00ffff"`, `"nbit":"1d00fff"`},
		{`"coinb2":"0a63"`, `"coinb2":"0a6"`},
		{`"merklehash":[`, `"merklehash":[1,`},
		{`"height":918000`, `"height":-1`},
	} {
		line := strings.Replace(lineOfWork, change[0], change[1], 1)
		var w WorkInfo
		if err := w.Parse([]byte(line)); line == lineOfWork || err == nil {
			t.Errorf("with %s work is read as %+v", change[1], w)
		}
	}
}

func TestTransactions(t *testing.T) {
	list, err := ParseTransactions([]byte(lineOfTransactions))
	if err != nil || len(list) != 2 || !bytes.Equal(list[0].Data, []byte{1, 0}) || work.FormatHash(list[1].Hash)[:4] != "2222" {
		t.Fatalf("%+v, %v", list, err)
	}
	if got := string(AppendNodeLine(nil, AppendTransactions(nil, list), TagTransactions)); got != lineOfTransactions {
		t.Errorf("transactions are written as\n%s", got)
	}
	for _, bad := range []string{`[]`, `{"transaction":{}}`, `{"transaction":[{"hash":"11","data":"00"}]}`, `{"transaction":[{"data":"00"}]}`, `{"transaction":[[]]}`} {
		if list, err := ParseTransactions([]byte(bad)); err == nil {
			t.Errorf("%s is read as %v", bad, list)
		}
	}
	ids, err := ParseRequest([]byte(lineOfRequest))
	if err != nil || len(ids) != 1 || ids[0] != list[0].Hash {
		t.Fatalf("%v, %v", ids, err)
	}
	if got := string(AppendNodeLine(nil, AppendRequest(nil, ids), TagRequest)); got != lineOfRequest {
		t.Errorf("a request is written as\n%s", got)
	}
}

func TestBlock(t *testing.T) {
	var k Block
	if err := k.Parse([]byte(lineOfBlock)); err != nil || k.NTime != 1722482705 || k.Nonce != 0x1dac2b7c || k.Header[3] != 0x20 {
		t.Fatalf("%+v, %v", k, err)
	}
	if got := string(AppendNodeLine(nil, k.Append(nil), TagBlock)); got != lineOfBlock {
		t.Errorf("a block is written as\n%s", got)
	}
	if err := k.Parse([]byte(lineOfOldBlock)); err != nil || k.Coinbase != nil || k.Difficulty != 1 {
		t.Errorf("an old block is read as %+v, %v", k, err)
	}
	whole := Block{Difficulty: 3, Coinbase: []byte{}}
	if got := string(whole.Append(nil)); !strings.Contains(got, `"diff":3.0,`) {
		t.Errorf("ckpool in C reads no real number in %s", got)
	}
}

// What is read and written again is the same, whatever the bytes.
func FuzzNodeWork(f *testing.F) {
	for _, line := range []string{lineOfWork, lineOfNoTransactions, lineOfTransactions, lineOfBlock, lineOfRequest, lineOfReduced, lineOfOldBlock, `{"jobid":1e3}`, `{`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var w, again WorkInfo
		if w.Parse(line) == nil {
			if err := again.Parse(w.Append(nil)); err != nil || !slices.Equal(w.TxIDs, again.TxIDs) || !slices.Equal(w.Branch, again.Branch) || !bytes.Equal(w.Coinb1, again.Coinb1) {
				t.Errorf("work %+v is read again as %+v, %v", w, again, err)
			}
		}
		if list, err := ParseTransactions(line); err == nil {
			if more, err := ParseTransactions(AppendTransactions(nil, list)); err != nil || cmp.Diff(list, more) != "" && len(list) > 0 {
				t.Errorf("transactions %v are read again as %v, %v", list, more, err)
			}
		}
		if ids, err := ParseRequest(line); err == nil {
			if more, err := ParseRequest(AppendRequest(nil, ids)); err != nil || !slices.Equal(ids, more) {
				t.Errorf("request %v is read again as %v, %v", ids, more, err)
			}
		}
		var k, more Block
		if k.Parse(line) == nil {
			if err := more.Parse(k.Append(nil)); err != nil || more.Header != k.Header || !bytes.Equal(more.Coinbase, k.Coinbase) || more.Difficulty != k.Difficulty {
				t.Errorf("block %+v is read again as %+v, %v", k, more, err)
			}
		}
	})
}
