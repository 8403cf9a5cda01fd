package pool_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ckpool/ckpool/pool"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// oneBlock is a source of work for one block. A real one would hear of new blocks and
// transactions, make a template of them, and bring blocks to the network.
type oneBlock struct {
	updates chan source.Update
	taken   func(source.SolvedBlock)
}

// Run gives the work for the block.
func (s *oneBlock) Run(ctx context.Context) error {
	template, err := work.NewTemplate(&work.Parts{
		Height: 102, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x207fffff, CurTime: uint32(time.Now().Unix()),
		CoinbaseValue: 50_0000_0000,
	})
	if err != nil {
		return err
	}
	s.updates <- source.Update{Template: template, NewTip: true, From: "example", Received: time.Now()}
	<-ctx.Done()
	return nil
}

func (s *oneBlock) Updates() <-chan source.Update { return s.updates }

func (s *oneBlock) Refresh(reason string) {} // there is nothing new

func (s *oneBlock) Chain() string { return "regtest" }

// Submit takes the block, which is the one that counts here.
func (s *oneBlock) Submit(b source.SolvedBlock, changed func(source.BlockState)) {
	s.taken(b)
	changed(source.BlockState{State: source.BlockConfirmed, Confirmations: 1})
}

func (s *oneBlock) Status() []source.Status {
	return []source.Status{{URL: "example", State: "ok", Current: true, Height: 101}}
}

// A pool with a source of its own, which pays who finds the block, and one percent to
// somebody else.
func ExampleFrom() {
	dir, err := os.MkdirTemp("", "pool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	from := &oneBlock{updates: make(chan source.Update, 1), taken: func(b source.SolvedBlock) {
		if ctx.Err() == nil {
			fmt.Println("block", b.Height)
		}
		stop()
	}}
	p, err := pool.New(pool.Config{
		Dir: dir,
		Payees: []pool.Payee{
			{Address: pool.Finder, Share: 99},
			{Address: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Share: 1},
		},
		Listen:        []pool.Listener{{Address: "127.0.0.1:0"}},
		MinDifficulty: 1e-9, StartDifficulty: 1e-9, // of a chain for tests
	}, pool.From(from), pool.Hooks{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Listen(ctx); err != nil {
		fmt.Println(err)
		return
	}
	mined := exampleMiner(ctx, p.Addrs()[0].String(), "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry.rig1")
	fmt.Println("ended:", p.Run(ctx))
	mined.Wait()
	// Output:
	// block 102
	// ended: <nil>
}
