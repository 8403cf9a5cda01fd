// Embedded is a program with a pool in it: blocks pay an address, each share is logged, and
// each block that is found, and what becomes of it, is posted to a URL:
//
//	embedded -node http://USER:PASSWORD@127.0.0.1:8332 -pay bc1q… -post https://example.org/blocks
//
// What is posted is an object in JSON: height, hash, worker, reward (satoshis), state (pending,
// confirmed, orphaned, rejected), confirmations.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/pool"
	"github.com/ckpool/ckpool/work"
)

func main() {
	node := flag.String("node", "", "URL of a bitcoin node's RPC, with USER:PASSWORD@")
	pay := flag.String("pay", "", "address that blocks pay")
	post := flag.String("post", "", "URL that blocks are posted to")
	dir := flag.String("dir", "pool-files", "directory of the pool's files")
	listen := flag.String("listen", ":3333", "where miners connect to")
	difficulty := flag.Float64("difficulty", 0, "of shares, 0 for the pool's own choice")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, pool.Config{
		Dir:             *dir,
		Payees:          []pool.Payee{{Address: *pay, Share: 1}},
		Listen:          []pool.Listener{{Address: *listen}},
		MinDifficulty:   *difficulty,
		StartDifficulty: *difficulty,
		Events: func(e event.Event) {
			if e.Level <= event.Notice {
				log.Print(e.Text)
			}
		},
	}, *node, *post); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, c pool.Config, node, url string) error {
	client := http.Client{Timeout: 10 * time.Second}
	p, err := pool.New(c, pool.Nodes(bitcoind.Config{URL: node}), pool.Hooks{
		// Many at once, and miners wait: a program of more than an example would send it
		// to a goroutine of its own.
		Share: func(s pool.Share) {
			log.Printf("share of %s: difficulty %g of %g %s", s.Worker, s.Reached, s.Difficulty, s.Reason)
		},
		// One after the other, and nobody waits.
		Block: func(b pool.Block) {
			if err := postBlock(&client, url, &b); err != nil {
				log.Printf("block %d is not posted: %v", b.Height, err)
			}
		},
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// postBlock posts a block as JSON.
func postBlock(c *http.Client, url string, b *pool.Block) error {
	body, err := json.Marshal(map[string]any{
		"height": b.Height, "hash": work.FormatHash(b.Hash), "worker": b.Worker, "reward": b.Reward,
		"state": b.State, "confirmations": b.Confirmations,
	})
	if err != nil {
		return err
	}
	answer, err := c.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}
