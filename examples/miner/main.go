// Miner mines with one core for the first of several pools that has work, and goes back to
// a better one a minute after it is there again:
//
//	miner bc1q….rig1 pool.example:3333 stratum+ssl://spare.example:443
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: miner USER POOL [POOL…]")
	}
	var pools []client.Endpoint
	for _, url := range os.Args[2:] {
		pools = append(pools, client.Endpoint{URL: url, User: os.Args[1], Password: "x"})
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	group := client.NewGroup(pools, client.Options{UserAgent: "example/1.0"})
	go func() { _ = group.Run(ctx) }() // ends with ctx, and the events with it
	mine(group.Events())
}

// mine looks for news between short pieces of hashing.
func mine(events <-chan client.Event) {
	var job *client.Notify // nil: no work
	var nonce uint64       // above 32 bits it counts extranonce2
	active := 0
	for {
		for job != nil && len(events) == 0 {
			nonce = search(job, nonce)
		}
		switch e := (<-events).(type) {
		case client.Active:
			active = e.Endpoint
			fmt.Println("mining for", e.Client.Endpoint().URL)
		case client.Notify:
			job, nonce = &e, 0
		case client.Failed:
			fmt.Printf("pool %d: %v; again in %v\n", e.Endpoint+1, e.Err, e.Retry)
			if e.Endpoint == active {
				job = nil
			}
		case nil: // there are no more
			return
		}
	}
}

// search tries nonces of a job, submits what it finds, and returns where to go on.
func search(job *client.Notify, nonce uint64) uint64 {
	extranonce2 := make([]byte, job.Extranonce.Extranonce2Len)
	copy(extranonce2, binary.LittleEndian.AppendUint32(nil, uint32(nonce>>32)))
	coinbase := slices.Concat(job.Coinb1, job.Extranonce.Extranonce1, extranonce2, job.Coinb2)
	parts := work.HeaderParts{
		Version: job.Version, PrevHash: job.PrevHash, Root: work.MerkleRoot(work.HashTransaction(coinbase), job.Branch),
		Time: job.NTime, Bits: job.Bits,
	}
	target := difficulty.TargetFromDifficulty(cmp.Or(job.Difficulty, 1))
	for end := (nonce>>14 + 1) << 14; nonce < end; {
		parts.Nonce = uint32(nonce)
		nonce++
		header := work.Header(&parts)
		hash := work.HashHeader(&header)
		if target.MetBy(&hash) {
			share := client.Share{Extranonce2: extranonce2, NTime: parts.Time, Nonce: parts.Nonce}
			err := job.Send(share, func(v client.Verdict) {
				if v.Err != nil {
					fmt.Println("no answer:", v.Err)
					return
				}
				fmt.Printf("share of difficulty %.3g: %v\n", difficulty.OfHash(&hash), v.Reject)
			})
			if err != nil {
				fmt.Println("not sent:", err)
			}
			break
		}
	}
	return nonce
}
