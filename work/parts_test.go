package work

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// parts takes a node's template apart.
func parts(t *Template) *Parts {
	p := &Parts{
		Height: t.Height, Version: t.Version, PrevHash: t.PrevHash, Bits: t.Bits, CurTime: t.CurTime, MinTime: t.MinTime,
		VBRequired: t.VBRequired, CoinbaseValue: t.CoinbaseValue, Flags: t.Flags, Commitment: t.DefaultCommitment,
		CoinbaseWeight: t.CoinbaseWeight, CoinbaseSigops: t.CoinbaseSigops,
	}
	txs := t.txs.Load()
	for i := range t.TxCount() {
		wtxid, _ := txs.wtxid(i)
		p.Transactions = append(p.Transactions, Transaction{t.TxID(i), wtxid, t.AppendTransaction(nil, i)})
	}
	return p
}

// A template made by hand of what a node's has in it gives the same shares and
// the same block, with and without the node's commitment.
func TestTemplateByHand(t *testing.T) {
	for _, name := range []string{"regtest-getblocktemplate-0tx", "regtest-getblocktemplate-1tx", "regtest-getblocktemplate-400tx"} {
		for _, commitment := range []bool{true, false} {
			theirs := recorded(t, name)
			p := parts(theirs)
			if !commitment && len(p.Transactions) > 0 {
				p.Commitment = nil
			}
			ours, err := NewTemplate(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := ours.CheckWitness(); err != nil {
				t.Error(err)
			}
			if !ours.HasTransactions() || ours.TxCount() != theirs.TxCount() || ours.Target != theirs.Target {
				t.Errorf("%s: %d transactions", name, ours.TxCount())
			}
			theirs.ShareTransactions(ours)
			a, b := newBuilder(t).mustJob(t, ours), newBuilder(t).mustJob(t, theirs)
			m := &Miner{Limit: limitUnknown, Extranonce1: make([]byte, 4)}
			s := &Solution{Extranonce2: make([]byte, 8), Time: a.NTimeMin, Version: a.Version}
			sh := solve(t, a, m, s)
			var other Share
			if b.Hash(&other, m, s); other != *sh {
				t.Errorf("%s: other shares", name)
			}
			block := a.Block(sh, m, s)
			checkBlock(t, a, sh, block, time.Unix(int64(ours.CurTime), 0))
			if !bytes.Equal(block, b.Block(sh, m, s)) {
				t.Errorf("%s: another block", name)
			}
		}
	}
}

// A branch that is empty stands for no transactions that are there.
func TestEmptyBranch(t *testing.T) {
	theirs := recorded(t, "regtest-getblocktemplate-1tx")
	p := parts(theirs)
	p.Branch = [][32]byte{}
	ours, err := NewTemplate(p)
	if err != nil {
		t.Fatal(err)
	}
	j := newBuilder(t).mustJob(t, ours)
	m := &Miner{Limit: limitUnknown, Extranonce1: make([]byte, 4)}
	s := &Solution{Extranonce2: make([]byte, 8), Time: j.NTimeMin, Version: j.Version}
	sh := solve(t, j, m, s)
	checkBlock(t, j, sh, j.Block(sh, m, s), time.Unix(int64(ours.CurTime), 0))
}

// Of a template whose transactions are not known there are the same shares, and
// no block; also in another process.
func TestTemplateWithoutTransactions(t *testing.T) {
	theirs := recorded(t, "regtest-getblocktemplate-400tx")
	whole := newBuilder(t).mustJob(t, theirs)
	p := parts(theirs)
	p.Transactions, p.Branch = nil, whole.Branch
	ours, err := NewTemplate(p)
	if err != nil {
		t.Fatal(err)
	}
	ours.ShareTransactions(theirs)
	next := recorded(t, "regtest-getblocktemplate-400tx")
	next.ShareTransactions(ours) // has nothing in common with it
	if err := next.CheckWitness(); err != nil || next.TxCount() != 400 {
		t.Errorf("%v, %d transactions", err, next.TxCount())
	}
	here := newBuilder(t).mustJob(t, ours)
	record, err := new(JobWriter).Append(nil, here)
	if err != nil {
		t.Fatal(err)
	}
	there, err := new(JobReader).Read(record)
	if err != nil {
		t.Fatal(err)
	}
	m := &Miner{Limit: limitUnknown, Extranonce1: make([]byte, 4)}
	s := &Solution{Extranonce2: make([]byte, 8), Time: here.NTimeMin, Version: here.Version}
	sh := solve(t, whole, m, s)
	for _, j := range []*Job{here, there} {
		if err := j.Template.CheckWitness(); err != nil || j.Template.TxCount() != 0 || j.Template.HasTransactions() {
			t.Errorf("%v, %d transactions", err, j.Template.TxCount())
		}
		var got Share
		if j.Hash(&got, m, s); got != *sh {
			t.Error("other shares")
		}
		if block := j.Block(&got, m, s); block != nil {
			t.Errorf("a block of %d bytes", len(block))
		}
		again, err := newBuilder(t).Job(j.Template, 2, vectorTime, nil)
		if err != nil || !slices.Equal(again.Branch, whole.Branch) {
			t.Errorf("another branch, %v", err)
		}
	}
}

func TestTemplateByHandErrors(t *testing.T) {
	good := func() *Parts { return parts(recorded(t, "regtest-getblocktemplate-1tx")) }
	for _, tt := range []struct {
		name   string
		change func(*Parts)
		err    string
	}{
		{"nothing wrong", func(*Parts) {}, ""},
		{"no mintime", func(p *Parts) { p.MinTime = 0 }, ""},
		{"height", func(p *Parts) { p.Height = -1 }, "block template at height -1: the height is negative"},
		{"version", func(p *Parts) { p.Version = 0 }, "version is 0"},
		{"previous block", func(p *Parts) { p.PrevHash = [32]byte{} }, "no previous block"},
		{"time", func(p *Parts) { p.CurTime = 0 }, "no time"},
		{"reward", func(p *Parts) { p.CoinbaseValue = -1 }, "a reward of -1 satoshis"},
		{"bits", func(p *Parts) { p.Bits = 0xff0000ff }, "bits ff0000ff: "},
		{"commitment", func(p *Parts) { p.Commitment = p.Commitment[:37] }, "is not the script of a commitment output"},
		{"room", func(p *Parts) { p.CoinbaseWeight = -1 }, "room for -1 weight units"},
		{"branch and transactions", func(p *Parts) { p.Branch = make([][32]byte, 1) }, "transactions, and a merkle branch in place of them"},
		{"no data", func(p *Parts) { p.Transactions[0].Data = nil }, "transaction 0 has no data"},
	} {
		p := good()
		tt.change(p)
		tmpl, err := NewTemplate(p)
		checkError(t, tt.name, err, tt.err)
		if err == nil && (tmpl.MinTime == 0 || tmpl.CurTime < tmpl.MinTime) {
			t.Errorf("%s: time %d from %d on", tt.name, tmpl.CurTime, tmpl.MinTime)
		}
	}
}
