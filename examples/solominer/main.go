// Solominer mines on a node of yours, with one core, and has an address paid:
//
//	solominer http://USER:PASSWORD@127.0.0.1:8332 bc1q…
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: solominer http://USER:PASSWORD@HOST:PORT ADDRESS")
	}
	payee, err := address.Parse(os.Args[2])
	check(err)
	// A block of one chain must not pay an address of another.
	fits := func(chain string) error {
		if network, known := address.NetworkForChain(chain); !known || !payee.On(network) {
			return fmt.Errorf("%s is no address of the chain %s", payee, chain)
		}
		return nil
	}
	nodes, err := bitcoind.NewGroup([]bitcoind.Config{{URL: os.Args[1]}}, bitcoind.Options{Fits: fits})
	check(err)
	go func() { check(nodes.Run(context.Background())) }()
	go func() {
		for range time.Tick(time.Minute) {
			nodes.Refresh("new transactions")
		}
	}()

	builder := &work.Builder{Tag: "solominer", PayoutScript: payee.Script(), Extranonce1Len: 4, Extranonce2Len: 8}
	miner := &work.Miner{Limit: work.CoinbaseLimit("solominer"), Extranonce1: make([]byte, 4)}
	for id := uint64(1); ; id++ {
		update := <-nodes.Templates() // when there is another block, and each minute
		job, err := builder.Job(update.Template, id, time.Now(), nil)
		check(err)
		fmt.Printf("block %d, difficulty %v\n", job.Template.Height, job.NetworkDifficulty)
		solution := &work.Solution{Extranonce2: make([]byte, 8), Time: job.Template.CurTime, Version: job.Version}
		var share work.Share
		for n := uint64(0); !share.Block && len(nodes.Templates()) == 0; n++ {
			solution.Nonce = uint32(n)
			binary.LittleEndian.PutUint64(solution.Extranonce2, n>>32)
			job.Hash(&share, miner, solution)
		}
		if share.Block {
			block := job.Block(&share, miner, solution)
			nodes.Submit(job.Template.Height, share.Hash, block, func(s source.BlockState) {
				fmt.Printf("%s: %s, %d confirmations %s\n", work.FormatHash(share.Hash), s.State, s.Confirmations, s.Text)
			})
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
