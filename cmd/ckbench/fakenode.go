package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// runFakeNode serves a fake bitcoind until it is interrupted, so that
// measurements against large templates can be repeated by anyone. It returns
// the exit status.
func runFakeNode(args []string) int {
	flags := newFlagSet("fakenode")
	listen := flags.String("listen", "127.0.0.1:18443", "`host:port` of the RPC server")
	zmq := flags.String("zmq", "", "`host:port` of the ZMQ hashblock publisher")
	chain := flags.String("chain", "regtest", "main, test, testnet4, signet or regtest")
	bits := flags.String("bits", "207fffff", "compact target of every block, 8 `hex` digits")
	height := flags.Int64("height", 1000, "height of the tip at start")
	txs := flags.Int("txs", 4000, "transactions in every template")
	version := flags.String("version", "20000000", "version of the template, 8 `hex` digits")
	user := flags.String("user", "user", "RPC user")
	password := flags.String("password", "pass", "RPC password")
	cookie := flags.String("cookie", "", "`path` of a cookie file to write")
	interval := flags.Duration("block-interval", 0, "time between blocks found by others, 0 for none")
	mempool := flags.Duration("mempool-interval", 0, "time between changes of some transactions of the template, 0 for none")
	if err := flags.parse(args); err != nil {
		if _, err := help(os.Stdout, err); err == nil {
			return 0
		}
		fmt.Fprintln(os.Stderr, "ckbench fakenode:", err)
		return 1
	}
	c := fakenode.Config{
		Listen: *listen, ZMQ: *zmq, Chain: *chain, Height: *height, Transactions: *txs,
		User: *user, Password: *password, CookieFile: *cookie,
	}
	for name, into := range map[string]struct {
		text  string
		value *uint32
	}{"--bits": {*bits, &c.Bits}, "--version": {*version, &c.Version}} {
		v, err := strconv.ParseUint(into.text, 16, 32)
		if err != nil {
			fmt.Fprintf(os.Stderr, "ckbench fakenode: %s %q: want up to 8 hex digits\n", name, into.text)
			return 1
		}
		*into.value = uint32(v)
	}
	if *txs < 0 || *txs > 20_000 {
		fmt.Fprintf(os.Stderr, "ckbench fakenode: --txs %d: want 0 to 20000\n", *txs)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	n, err := fakenode.Start(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ckbench fakenode:", err)
		return 1
	}
	defer n.Close()
	fmt.Printf("fake node on http://%s:%s@%s, %s, bits %08x, %d transactions\n",
		*user, *password, n.Addr(), *chain, c.Bits, *txs)
	if n.ZMQ() != "" {
		fmt.Println("hashblock on", n.ZMQ())
	}
	tick := func(every time.Duration) (c <-chan time.Time, stop func()) {
		if every <= 0 {
			return nil, func() {}
		}
		t := time.NewTicker(every)
		return t.C, t.Stop
	}
	blocks, stopBlocks := tick(*interval)
	defer stopBlocks()
	changes, stopChanges := tick(*mempool)
	defer stopChanges()
	for {
		select {
		case <-blocks:
			n.NewBlock()
		case <-changes:
			n.TouchMempool()
		case <-ctx.Done():
			height, hash := n.Tip()
			fmt.Printf("tip %d %s, %d templates served, %d blocks submitted\n",
				height, hash, n.Calls("getblocktemplate"), n.Calls("submitblock"))
			return 0
		}
	}
}
