package pool_test

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/pool"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
)

// A pool that pays two addresses half of each block each, until it has found one.
func Example() {
	node := exampleNode()
	defer node.Close()
	dir, err := os.MkdirTemp("", "pool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p, err := pool.New(
		pool.Config{
			Dir: dir,
			Payees: []pool.Payee{
				{Address: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", Share: 1},
				{Address: "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry", Share: 1},
			},
			Listen:        []pool.Listener{{Address: "127.0.0.1:0"}},
			MinDifficulty: 1e-9, StartDifficulty: 1e-9, // of a chain for tests
		},
		pool.Nodes(bitcoind.Config{URL: node.Addr(), User: "user", Pass: "pass"}),
		pool.Hooks{
			Block: func(b pool.Block) {
				if b.State == source.BlockConfirmed && ctx.Err() == nil {
					fmt.Printf("%s has found block %d, of %d satoshis\n", b.Worker, b.Height, b.Reward)
					stop()
				}
			},
		},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Listen(ctx); err != nil { // before Run, to know the port
		fmt.Println(err)
		return
	}
	mined := exampleMiner(ctx, p.Addrs()[0].String(), "alice.rig1")
	fmt.Println("ended:", p.Run(ctx))
	mined.Wait()
	// Output:
	// alice.rig1 has found block 1001, of 78125000 satoshis
	// ended: <nil>
}

// What is wrong with a configuration is told by the names of its fields, all at once.
func ExampleNew() {
	_, err := pool.New(
		pool.Config{
			Dir:             "/var/lib/mypool",
			Payees:          []pool.Payee{{Address: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", Share: 1}},
			StartDifficulty: -42,
		},
		pool.Nodes(bitcoind.Config{URL: "127.0.0.1:8332", Cookie: "/home/bitcoin/.bitcoin"}),
		pool.Hooks{},
	)
	fmt.Println(err)
	// Output:
	// pool: Config.StartDifficulty: -42
	// pool: Config.Payees[0].Address: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5": address checksum is wrong, perhaps it is mistyped
}

// exampleNode is a node of an easy chain.
func exampleNode() *fakenode.Node {
	n, err := fakenode.Start(fakenode.Config{User: "user", Password: "pass"})
	if err != nil {
		panic(err)
	}
	return n
}

// exampleMiner mines at a pool until ctx ends.
func exampleMiner(ctx context.Context, addr, user string) *sync.WaitGroup {
	var mining sync.WaitGroup
	mining.Go(func() {
		_ = miner.Run(ctx, miner.Config{Endpoint: client.Endpoint{URL: addr, User: user}, HashRate: 50})
	})
	return &mining
}
