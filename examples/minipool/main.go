// Minipool is a pool of one's own: the work of a node, for all who connect, and an address that
// their blocks pay.
//
//	minipool http://USER:PASSWORD@127.0.0.1:8332 bc1q… :3333 1024
//
// The last word is the difficulty of shares. Of those that are accepted it says the worker, and
// what becomes of blocks.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/server"
	"github.com/ckpool/ckpool/work"
)

// coinbaseLimit is what every miner takes.
var coinbaseLimit = work.CoinbaseLimit("")

// rolled are the version bits that miners may roll: those of BIP320.
const rolled = 0x1fffe000

// pool is what the miners' shares are judged by. Its method is called by several goroutines.
type pool struct {
	nodes      *bitcoind.Group
	difficulty float64

	mu   sync.Mutex
	jobs map[uint64]*work.Job // of the present tip, by id
	seen map[[32]byte]bool    // hashes of their shares
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: minipool NODE ADDRESS LISTEN DIFFICULTY")
	}
	ctx := context.Background()
	payee, err := address.Parse(os.Args[2])
	check(err)
	p := &pool{jobs: map[uint64]*work.Job{}, seen: map[[32]byte]bool{}}
	p.difficulty, err = strconv.ParseFloat(os.Args[4], 64)
	check(err)
	p.nodes, err = bitcoind.NewGroup([]bitcoind.Config{{URL: os.Args[1]}}, bitcoind.Options{Fits: func(chain string) error {
		if network, known := address.NetworkForChain(chain); !known || !payee.On(network) {
			return fmt.Errorf("%s is no address of the chain %s", payee, chain)
		}
		return nil
	}})
	check(err)
	s, err := server.New(server.Handler{
		Authorize: func(s *server.Session, _ server.Login) *stratum.Reject {
			s.SetDifficulty(p.difficulty)
			return nil
		},
		Configure: func(*server.Session, *stratum.Configure) (uint32, bool) { return rolled, false },
		Submit:    p.submit,
	}, server.Options{})
	check(err)
	check(s.Listen(ctx, server.Endpoint{Address: os.Args[3]}))
	go func() { check(s.Run(ctx)) }()
	go func() { check(p.nodes.Run(ctx)) }()
	go func() {
		for range time.Tick(30 * time.Second) {
			p.nodes.Refresh("new transactions")
		}
	}()
	builder := work.Builder{Tag: "minipool", PayoutScript: payee.Script(), Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: rolled}
	log.Print("listening on ", s.Addrs())
	for id := uint64(1); ; id++ {
		update := <-p.nodes.Templates()
		job, err := builder.Job(update.Template, id, time.Now(), nil)
		check(err)
		p.add(job, update.NewTip)
		coinbase, t := job.Coinbase(coinbaseLimit), job.Template
		notify := stratum.Notify{
			JobID: fmt.Sprintf("%x", id), PrevHash: t.PrevHash, Coinb1: coinbase.Head, Coinb2: append(coinbase.Mid, coinbase.Tail...),
			Branch: job.Branch, Version: job.Version, Bits: t.Bits, NTime: t.CurTime, Clean: update.NewTip,
		}
		line := notify.Append(nil)
		s.Broadcast(func(b []byte, _ *server.Session) []byte { return append(b, line...) })
		log.Printf("block %d, %d transactions", t.Height, t.TxCount())
	}
}

// add makes a job one that shares are taken for; with a new tip it is the only one.
func (p *pool) add(job *work.Job, newTip bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if newTip {
		clear(p.jobs)
		clear(p.seen)
	}
	p.jobs[job.ID] = job
}

// submit judges a share. Whether it is a block comes before how good it is otherwise.
func (p *pool) submit(s *server.Session, share *stratum.Submit) *stratum.Reject {
	p.mu.Lock()
	job := p.jobs[share.JobID]
	p.mu.Unlock()
	if job == nil {
		return &stratum.Reject{Code: stratum.JobNotFound, Text: "Stale"}
	}
	if share.NTime < job.NTimeMin || share.NTime > job.NTimeMax {
		return &stratum.Reject{Code: stratum.Other, Text: "Ntime out of range"}
	}
	miner := work.Miner{Limit: coinbaseLimit, Extranonce1: s.Extranonce().Extranonce1}
	solution := work.Solution{
		Extranonce2: share.Extranonce2[:share.Extranonce2Len], Time: share.NTime, Nonce: share.Nonce, Version: job.Version | share.VersionBits&job.Mask,
	}
	var found work.Share
	job.Hash(&found, &miner, &solution)
	p.mu.Lock()
	twice := p.seen[found.Hash]
	if good := found.Block || difficulty.Meets(&found.Hash, p.difficulty); good {
		p.seen[found.Hash] = true
	}
	p.mu.Unlock()
	if twice {
		return &stratum.Reject{Code: stratum.Duplicate, Text: "Duplicate"}
	}
	if found.Block {
		hash := found.Hash
		p.nodes.Submit(job.Template.Height, hash, job.Block(&found, &miner, &solution), func(b source.BlockState) {
			log.Printf("block %s: %s %s", work.FormatHash(hash), b.State, b.Text)
		})
	}
	if !difficulty.Meets(&found.Hash, p.difficulty) {
		return &stratum.Reject{Code: stratum.LowDifficulty, Text: "Above target"}
	}
	log.Printf("share of %s, difficulty %.3g", share.Worker, found.Difficulty)
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
