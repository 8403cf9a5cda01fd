package work_test

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/work"
)

// A template as a node on an empty regtest chain gives it.
const reply = `{"result":{"version":536870912,"rules":["csv","!segwit","taproot"],"vbrequired":0,
"previousblockhash":"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
"transactions":[],"coinbaseaux":{},"coinbasevalue":5000000000,"mintime":1296688603,"curtime":1795327613,
"bits":"207fffff","height":1,
"default_witness_commitment":"6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9"},
"error":null,"id":1}`

// From a node's answer to work for a miner, a share and the block it solves.
func Example() {
	r, err := work.ParseReply([]byte(reply))
	if err != nil || r.Template == nil {
		fmt.Println(r.Code, r.Message, err)
		return
	}
	template := r.Template
	payout, _ := hex.DecodeString("0014e8df018c7e326cc253faac7e46cdc51e68542c42")
	builder := &work.Builder{
		Tag:            "example",
		PayoutScript:   payout,
		Extranonce1Len: 4,
		Extranonce2Len: 8,
		VersionMask:    0x1fffe000,
	}
	job, err := builder.Job(template, 1, time.Unix(1795327613, 0), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	miner := &work.Miner{Limit: work.CoinbaseLimit("bitaxe/BM1370/v2.9.0"), Extranonce1: []byte{1, 2, 3, 4}}
	coinbase := job.Coinbase(miner.Limit) // the miner's parts of it go behind Head and Mid
	fmt.Printf("%x... version %08x, mask %08x\n", coinbase.Head[:5], job.Version, job.Mask)

	// What a miner sends back; on regtest every second hash is a block.
	found := &work.Solution{Extranonce2: make([]byte, 8), Time: template.CurTime, Version: job.Version}
	var share work.Share
	for !share.Block {
		found.Nonce++
		job.Hash(&share, miner, found)
	}
	block := job.Block(&share, miner, found)
	fmt.Printf("a block of %d bytes and %d transaction\n", len(block), block[80])

	// Output:
	// 0100000001... version 20000000, mask 1fffe000
	// a block of 279 bytes and 1 transaction
}

func ExampleMerkleRoot() {
	// The block at height 170, the first with a transaction beside the coinbase.
	coinbase := [32]byte(reversed("b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082"))
	txid := [32]byte(reversed("f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16"))
	root := work.MerkleRoot(coinbase, work.MerkleBranch([][32]byte{txid}))
	fmt.Println(work.FormatHash(root))
	// Output:
	// 7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff
}

// The genesis block, as a miner that knows all but the nonce would look for it.
func ExampleHeader() {
	root, err := work.ParseHash("4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b")
	if err != nil {
		fmt.Println(err)
		return
	}
	target, err := difficulty.TargetFromBits(0x1d00ffff)
	if err != nil {
		fmt.Println(err)
		return
	}
	for nonce := uint32(2083236000); ; nonce++ {
		header := work.Header(&work.HeaderParts{Version: 1, Root: root, Time: 1231006505, Bits: 0x1d00ffff, Nonce: nonce})
		if hash := work.HashHeader(&header); target.MetBy(&hash) {
			fmt.Println(nonce, work.FormatHash(hash))
			return
		}
	}
	// Output: 2083236893 000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f
}

// reversed turns display order into internal order and back.
func reversed(display string) []byte {
	b, err := hex.DecodeString(display)
	if err != nil {
		panic(err)
	}
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return b
}
