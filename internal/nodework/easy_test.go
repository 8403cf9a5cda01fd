package nodework

import (
	"testing"

	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// harder is a template of a network of difficulty 1, which the blocks of these tests are far
// easier than.
func harder(t *testing.T) *work.Template {
	t.Helper()
	template, err := work.NewTemplate(&work.Parts{
		Height: 1000, Version: 0x20000000, PrevHash: [32]byte{9}, Bits: 0x1d00ffff, CurTime: 1795327613, CoinbaseValue: 5_000_000_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	return template
}

// wholeBlock is the message of a block that a pool tells of whole.
func wholeBlock(t *testing.T, j *work.Job) (message, raw []byte) {
	t.Helper()
	k, raw := block(t, j)
	b := poolproto.WholeBlock{Height: 5, Hash: work.FormatHash(work.HashHeader(&k.Header)), Worker: "alice", Name: "asia", Block: raw}
	return b.Append(nil), raw
}

// Whatever a pool calls a block is submitted, and kept on the disk until nodes have decided: one
// that is far easier than those of the network is none, whether the pool tells of it or an own
// miner has found it in what the pool calls work.
func TestEasyBlocks(t *testing.T) {
	for chain, refused := range map[string]bool{"main": true, "": true, "regtest": true, "test": false, "testnet4": false} {
		t.Run(chain, func(t *testing.T) {
			r := start(t)
			r.options.Chain = func() string { return chain }
			r.run()
			r.node.templates <- source.Update{Template: harder(t)}
			r.send(poolproto.Work, info(r.job).Append(nil))
			r.says("Stored work")
			message, first := wholeBlock(t, r.job)
			r.send(poolproto.Whole, message)
			k, second := block(t, r.job)
			r.send(poolproto.Solved, k.Append(nil))
			own, third := block(t, r.job)
			if !refused {
				r.wantBlocks(first, second)
				r.solved(&solved{header: own.Header, coinbase: own.Coinbase, job: own.JobID})
				r.wantBlocks(first, second, third)
				return
			}
			r.says("Pool pool.example:3335: left alone what it says to nodes: " + errEasy.Error())
			r.solved(&solved{header: own.Header, coinbase: own.Coinbase, job: own.JobID})
			r.says("of an own miner is left to the pool: " + errEasy.Error())
			if n := len(r.node.submitted()); n > 0 {
				t.Errorf("%d blocks are submitted", n)
			}
		})
	}
}

// While the own nodes have told nothing, blocks are taken, but not without an end.
func TestBlocksBeforeATemplate(t *testing.T) {
	r := start(t)
	r.options.Chain = func() string { return "main" }
	r.run()
	for range mostUnknown + 1 {
		message, _ := wholeBlock(t, r.job)
		r.send(poolproto.Whole, message)
	}
	r.says(errUnknown.Error())
	if n := len(r.node.submitted()); n != mostUnknown {
		t.Errorf("%d are submitted, want %d", n, mostUnknown)
	}
}

// A header is not all of a block, and its height is the one that its coinbase tells: nodes are
// asked by that what became of it.
func TestWholeBlocks(t *testing.T) {
	r := start(t, read(t, transaction(1, 3)))
	r.run()
	message, good := wholeBlock(t, r.job)
	var b poolproto.WholeBlock
	if err := b.Parse(message); err != nil {
		t.Fatal(err)
	}
	b.Block[len(b.Block)-5] ^= 1 // the witness of the last transaction
	r.send(poolproto.Whole, b.Append(nil))
	r.says("does not commit to its witnesses")
	r.send(poolproto.Whole, message)
	r.wantBlocks(good)
	if height := r.node.heights(); len(height) != 1 || height[0] != 1077 {
		t.Errorf("submitted at heights %d, want 1077", height)
	}
}
