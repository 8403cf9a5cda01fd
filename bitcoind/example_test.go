package bitcoind_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// The genesis block's hash, asked of a node that has a password.
func ExampleClient() {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"result":"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f","error":null,"id":1}`)
	}))
	defer node.Close()

	c := bitcoind.NewClient(bitcoind.Config{URL: node.URL, User: "user", Pass: "password"}, bitcoind.Options{})
	defer c.Close()
	hash, err := c.BlockHash(context.Background(), 0)
	fmt.Println(work.FormatHash(hash), err)
	fmt.Println("chain:", bitcoind.ChainOf(hash))
	// Output:
	// 000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f <nil>
	// chain: main
}

// What a node refuses is an error of its own type; any method can be called.
func ExampleClient_Call() {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"result":null,"error":{"code":-8,"message":"Block height out of range"},"id":1}`)
	}))
	defer node.Close()

	c := bitcoind.NewClient(bitcoind.Config{URL: node.URL}, bitcoind.Options{})
	defer c.Close()
	var stats struct {
		Fee int64 `json:"totalfee"`
	}
	err := c.Call(context.Background(), &stats, "getblockstats", 10_000_000)
	var refused *bitcoind.RPCError
	if errors.As(err, &refused) {
		fmt.Println(refused.Code, refused.Message)
	}
	// Output: -8 Block height out of range
}

// Nodes, of which the best is followed: a template after each new tip.
func ExampleGroup() {
	node, err := fakenode.Start(fakenode.Config{User: "u", Password: "p"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()

	nodes := []bitcoind.Config{{URL: node.Addr(), User: "u", Pass: "p"}}
	g, err := bitcoind.NewGroup(nodes, bitcoind.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()

	tell := func(u source.Update) { fmt.Println(g.Chain(), u.Template.Height, u.NewTip) }
	tell(<-g.Templates())
	node.NewBlock()
	tell(<-g.Templates())

	cancel()
	fmt.Println(<-ended)
	// Output:
	// regtest 1001 true
	// regtest 1002 true
	// <nil>
}
