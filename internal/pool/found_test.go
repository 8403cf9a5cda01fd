package pool

import (
	"context"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ckpool/bitcoind"
	"ckpool/internal/config"
	"ckpool/internal/session"
	"ckpool/stratum"
	"ckpool/work"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
)

// unconnected is a pool that does not run: no node can say anything of what it
// submits, which is saved when end is called.
func unconnected(t *testing.T) (p *Pool, logDir string, end func()) {
	t.Helper()
	logDir = t.TempDir()
	p, err := New(config.Config{
		LogDir: logDir, Nonce1Length: 4, Nonce2Length: 8,
		Nodes: []bitcoind.Config{{URL: "127.0.0.1:1"}}, Servers: []config.Listener{{}},
	}, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.nodes.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return p, logDir, end
}

// What a session gives of a block is the session's: it goes on with it at once,
// for the next line. The block is the one that was found all the same.
func TestBlockIsCopiedFromItsSession(t *testing.T) {
	p, logDir, end := unconnected(t)
	c := newJobClock(t)
	job := c.Find(c.at(0)).Job
	extranonce1 := []byte{1, 2, 3, 4}
	worker := []byte("bob.rig1")
	submit := stratum.Submit{Worker: worker, JobID: job.ID, Extranonce2Len: 8, NTime: uint32(start.Unix()), Nonce: 7}
	var computed work.Share
	job.Hash(&computed, work.ProfileS19, nil, extranonce1, &submit, 0)
	hash := computed.Hash
	p.Block(&session.Share{
		Job: job, Current: job, Profile: work.ProfileS19, Computed: &computed, Submit: &submit, Extranonce1: extranonce1,
		Worker: grant(t, p.State, "bob.rig1").Worker, Time: start,
	})
	copy(extranonce1, "\xff\xff\xff\xff")
	copy(worker, "eve.rig9")
	submit, computed = stratum.Submit{}, work.Share{}
	p.submissions.Wait()
	end()

	path := filepath.Join(logDir, "pool", "blocks", "850000-"+display(hash)+".block")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	block, err := btcutil.NewBlockFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	root := blockchain.CalcMerkleRoot(block.Transactions(), false)
	if header := block.MsgBlock().Header; header.MerkleRoot != root || [32]byte(*block.Hash()) != hash || header.Nonce != 7 {
		t.Errorf("block %v has merkle root %v, its transactions have %v", block.Hash(), header.MerkleRoot, root)
	}
	if list := p.blocks.List(); len(list) != 1 || list[0].Worker != "bob.rig1" || list[0].Reward != 312500000 || list[0].Height != 850000 {
		t.Errorf("in the table: %+v", list)
	}
}

// A round ends with a block in the chain, once, and not with one that nodes refuse
// or that comes too late.
func TestRoundEndsWithAConfirmedBlock(t *testing.T) {
	p, _, _ := unconnected(t)
	w := grant(t, p.State, "bob").Worker
	shares := func(want int64) {
		t.Helper()
		if st := p.Status(start, Sessions{}); st.AcceptedCount != want {
			t.Errorf("%d shares in the round, want %d", st.AcceptedCount, want)
		}
	}
	p.Share(accepted(w, start, 42, 50))
	blocks := []Block{exampleBlock(1), exampleBlock(2), exampleBlock(3)}
	for _, b := range blocks {
		p.blocks.Add(b)
	}
	p.blockChanged(blocks[0].Hash, bitcoind.BlockState{State: bitcoind.BlockPending, Text: "no node answers"})
	p.blockChanged(blocks[1].Hash, bitcoind.BlockState{State: bitcoind.BlockRejected, Text: "high-hash"})
	p.blockChanged(blocks[2].Hash, bitcoind.BlockState{State: bitcoind.BlockOrphaned})
	shares(1)
	p.blockChanged(blocks[0].Hash, bitcoind.BlockState{State: bitcoind.BlockConfirmed, Confirmations: 1})
	shares(0)
	p.Share(accepted(w, start, 42, 50))
	p.blockChanged(blocks[0].Hash, bitcoind.BlockState{State: bitcoind.BlockOrphaned})
	p.blockChanged(blocks[0].Hash, bitcoind.BlockState{State: bitcoind.BlockConfirmed, Confirmations: 3})
	shares(1)
}

// What the table says of a block is what the nodes are asked about when it is
// followed again: else it is submitted, or told, once more.
func TestBlocksAreFollowedAsTheyWere(t *testing.T) {
	p, _, _ := unconnected(t)
	for n, state := range []bitcoind.BlockState{
		{State: bitcoind.BlockPending}, {State: bitcoind.BlockConfirmed, Confirmations: 42},
		{State: bitcoind.BlockOrphaned}, {State: bitcoind.BlockRejected, Text: "a:1: high-hash"},
	} {
		hash := [32]byte{byte(n + 1)}
		p.blocks.Add(Block{Height: 850000, Hash: display(hash), Chain: "testnet4", Time: start})
		p.blockChanged(display(hash), state)
		if got, chain := p.nodesState(hash); got != state || chain != "testnet4" {
			t.Errorf("%+v of chain %s, want %+v", got, chain, state)
		}
	}
	if got, chain := p.nodesState([32]byte{9}); got != (bitcoind.BlockState{}) || chain != "" {
		t.Errorf("of an unknown block: %+v, chain %q", got, chain)
	}
}
