package blocks

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/jobs"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// start is the time of every test.
var start = time.Unix(1795327613, 0)

// unconnected are the blocks of a pool whose node cannot say anything of what is
// submitted, which is saved when end is called.
func unconnected(t *testing.T) (k *Blocks, logDir string, end func()) {
	t.Helper()
	logDir = t.TempDir()
	nodes, err := bitcoind.NewGroup([]bitcoind.Config{{URL: "127.0.0.1:1"}}, bitcoind.Options{SaveDir: filepath.Join(logDir, "pool", "blocks")})
	if err != nil {
		t.Fatal(err)
	}
	k = New(Options{
		LogDir: logDir, Network: nodes, Jobs: jobs.New(start),
		Users: users.New(users.Config{LogDir: logDir, Loops: 1}, start),
		Limit: func(string) bool { return true }, Show: func(string) {},
	})
	end = sync.OnceFunc(func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := nodes.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return k, logDir, end
}

// worker logs one in.
func worker(t *testing.T, k *Blocks, name string) session.WorkerID {
	t.Helper()
	g, refused := k.options.Users.Authorize(&session.Login{Time: start, Worker: name, Remote: netip.MustParseAddrPort("198.51.100.7:1234"), Client: 2})
	if refused != nil {
		t.Fatal(refused)
	}
	return g.Worker
}

// What a session gives of a block is the session's: it goes on with it at once,
// for the next line. The block is the one that was found all the same.
func TestBlockIsCopiedFromItsSession(t *testing.T) {
	k, logDir, end := unconnected(t)
	template, err := work.ParseTemplate(fmt.Appendf(nil, `{"version":536870912,"previousblockhash":"%064x","transactions":[],
		"coinbasevalue":312500000,"curtime":%d,"bits":"1d00ffff","height":850000}`, 1, start.Unix()))
	if err != nil {
		t.Fatal(err)
	}
	builder := work.Builder{PayoutScript: make([]byte, 22), Extranonce1Len: 4, Extranonce2Len: 8}
	job, err := builder.Job(template, 7, start, nil)
	if err != nil {
		t.Fatal(err)
	}
	sh := session.Share{
		Time: start, Worker: worker(t, k, "bob.rig1"), Job: job, Current: job, Hashed: true, Limit: 750,
		Extranonce1: session.MakeExtranonce([]byte{1, 2, 3, 4}), Extranonce2: session.MakeExtranonce(make([]byte, 8)),
		NTime: uint32(start.Unix()), Nonce: 7, Version: job.Version,
	}
	m, solution := sh.Miner(), sh.Solution()
	job.Hash(&sh.Computed, &m, &solution)
	hash := sh.Computed.Hash
	done := accepted(sh.Worker)
	k.options.Users.Share(done)
	k.Take(&sh)
	copy(sh.Extranonce1.Bytes(), "\xff\xff\xff\xff")
	copy(sh.Extranonce2.Bytes(), "\xff\xff\xff\xff")
	sh = session.Share{}
	k.Wait()
	end()

	path := filepath.Join(logDir, "pool", "blocks", "850000-"+work.FormatHash(hash)+".block")
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
	if list := k.List(); len(list) != 1 || list[0].Worker != "bob.rig1" || list[0].Reward != 312500000 || list[0].Height != 850000 || list[0].Work != done.Credit {
		t.Errorf("in the table: %+v", list)
	}
}

// A round ends with a block in the chain, once, and not with one that nodes refuse
// or that comes too late.
func TestRoundEndsWithAConfirmedBlock(t *testing.T) {
	k, _, _ := unconnected(t)
	w := worker(t, k, "bob")
	shares := func(want int64) {
		t.Helper()
		if st := k.options.Users.Status(start, users.Sessions{}); st.AcceptedCount != want {
			t.Errorf("%d shares in the round, want %d", st.AcceptedCount, want)
		}
	}
	k.options.Users.Share(accepted(w))
	blocks := []Block{exampleBlock(1), exampleBlock(2), exampleBlock(3)}
	for _, b := range blocks {
		k.table.add(b)
	}
	k.changed(blocks[0].Hash, source.BlockState{State: source.BlockPending, Text: "no node answers"})
	k.changed(blocks[1].Hash, source.BlockState{State: source.BlockRejected, Text: "high-hash"})
	k.changed(blocks[2].Hash, source.BlockState{State: source.BlockOrphaned})
	shares(1)
	k.changed(blocks[0].Hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 1})
	shares(0)
	k.options.Users.Share(accepted(w))
	k.changed(blocks[0].Hash, source.BlockState{State: source.BlockOrphaned})
	k.changed(blocks[0].Hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 3})
	shares(1)
}

// What becomes of a block is told once: not again with each reason that nodes have, nor by a
// run that finds a block as the one before it left it.
func TestChangesAreToldOnce(t *testing.T) {
	k, logDir, _ := unconnected(t)
	var told []string
	k.options.Events = func(e event.Event) {
		if c, ok := e.What.(Changed); ok {
			told = append(told, fmt.Sprint(c.Height, " ", c.StateText()))
		}
	}
	b := exampleBlock(1)
	k.table.add(b)
	k.changed(b.Hash, source.BlockState{State: source.BlockPending, Text: "a:1: connection refused"})
	k.changed(b.Hash, source.BlockState{State: source.BlockPending, Text: "a:1: no answer"})
	k.changed(b.Hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 1})
	k.changed(b.Hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 2})
	k.changed(b.Hash, source.BlockState{State: source.BlockOrphaned, Text: "another block is there"})
	if err := k.table.save(); err != nil {
		t.Fatal(err)
	}
	k.table = newTable(logDir, nil)
	k.Load()
	k.changed(b.Hash, source.BlockState{State: source.BlockOrphaned, Text: "another block is there"})
	if want := []string{"850001 confirmed 1", "850001 confirmed 2", "850001 orphaned"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// The work of a block is all that was done since the one before it that was not lost, in
// whatever order it is known what becomes of them: of one that was in the chain and is lost
// later it is the next one's. Nothing of it is counted twice, nor for none.
func TestWorkOfABlockIsWhatWasDoneForIt(t *testing.T) {
	for name, c := range map[string]struct {
		events string   // s: a share; 1, 2, 3: a block is found
		want   []string // shares of each block
	}{
		"one after the other":            {"s s 1 confirmed1 s 2 confirmed2", []string{"2", "1"}},
		"lost at once":                   {"s s 1 orphaned1 s 2 confirmed2", []string{"2", "3"}},
		"refused":                        {"s s 1 rejected1 s 2 confirmed2", []string{"2", "3"}},
		"lost later":                     {"s s 1 confirmed1 s orphaned1 s 2 confirmed2", []string{"2", "4"}},
		"lost after the next was found":  {"s s 1 confirmed1 s 2 confirmed2 s 3 confirmed3 orphaned1", []string{"2", "3", "1"}},
		"two are lost":                   {"s 1 confirmed1 s s 2 confirmed2 s 3 confirmed3 orphaned2 orphaned1", []string{"1", "3", "4"}},
		"to and fro":                     {"s s 1 confirmed1 orphaned1 s 2 confirmed2 confirmed1", []string{"2", "1"}},
		"two at one height":              {"s s 1 s 2 confirmed1 pending1 confirmed2", []string{"2", "1"}},
		"two at one height, one is lost": {"s s 1 s 2 confirmed1 pending1 confirmed2 orphaned1", []string{"2", "3"}},
		"of two the second is lost":      {"s s 1 s 2 confirmed1 pending1 confirmed2 confirmed1 orphaned2 s 3", []string{"2", "1", "2"}},
		"known late":                     {"s s 1 s s s confirmed1 s 2 confirmed2", []string{"2", "4"}},
		"lost later, and a restart":      {"s s 1 confirmed1 restart s orphaned1 s restart 2 confirmed2", []string{"2", "4"}},
		"known after a restart":          {"s s 1 restart s confirmed1 restart s 2 confirmed2", []string{"2", "2"}},
		"found by a run that was killed": {"s 1 confirmed1 s s saved2 s confirmed2 s 3", []string{"1", "0", "1"}},
		"a round that an operator ended": {"s s s 1 reset s 2 confirmed2", []string{"3", "1"}},
		"killed with a file of before":   {"s s s 1 reset s s restart confirmed1 s 2 confirmed2", []string{"3", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			k, logDir, _ := unconnected(t)
			w := worker(t, k, "bob")
			for what := range strings.FieldsSeq(c.events) {
				state, number := what[:len(what)-1], int64(what[len(what)-1]-'0')
				switch {
				case what == "s":
					k.options.Users.Share(accepted(w))
				case what == "reset":
					k.options.Users.ResetRound()
				case what == "restart":
					if err := k.table.save(); err != nil {
						t.Fatal(err)
					}
					k.table = newTable(logDir, nil)
					k.Load()
				case state == "saved":
					k.table.add(exampleBlock(number))
				case state == "":
					b := exampleBlock(number)
					b.Work = k.options.Users.RoundWork()
					k.table.add(b)
				default:
					k.changed(exampleBlock(number).Hash, source.BlockState{State: state})
				}
			}
			var got []string
			for _, b := range k.List() {
				got = append(got, fmt.Sprint(b.Work/accepted(w).Credit))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// What the table says of a block is what the nodes are asked about when it is
// followed again: else it is submitted, or told, once more.
func TestBlocksAreFollowedAsTheyWere(t *testing.T) {
	k, _, _ := unconnected(t)
	for n, state := range []source.BlockState{
		{State: source.BlockPending}, {State: source.BlockConfirmed, Confirmations: 42},
		{State: source.BlockOrphaned}, {State: source.BlockRejected, Text: "a:1: high-hash"},
	} {
		hash := [32]byte{byte(n + 1)}
		k.table.add(Block{Height: 850000, Hash: work.FormatHash(hash), Chain: "testnet4", Time: start})
		k.changed(work.FormatHash(hash), state)
		if got, chain := k.known(hash); got != state || chain != "testnet4" {
			t.Errorf("%+v of chain %s, want %+v", got, chain, state)
		}
	}
	if got, chain := k.known([32]byte{9}); got != (source.BlockState{}) || chain != "" {
		t.Errorf("of an unknown block: %+v, chain %q", got, chain)
	}
}

// accepted is a share that counts.
func accepted(w session.WorkerID) *session.Share {
	job := &work.Job{ID: 1, Template: &work.Template{Height: 850000}}
	return &session.Share{
		Time: start, Worker: w, Job: job, Current: job, Hashed: true, Computed: work.Share{Difficulty: 50}, Difficulty: 42, Credit: 42,
	}
}
