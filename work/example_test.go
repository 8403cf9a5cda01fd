package work_test

import (
	"encoding/hex"
	"fmt"
	"time"

	"ckpool/stratum"
	"ckpool/work"
)

// A template as a node on an empty regtest chain gives it.
const reply = `{"result":{"version":536870912,"rules":["csv","!segwit","taproot"],"vbrequired":0,
"previousblockhash":"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
"transactions":[],"coinbaseaux":{},"coinbasevalue":5000000000,"mintime":1296688603,"curtime":1795327613,
"bits":"207fffff","height":1,
"default_witness_commitment":"6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9"},
"error":null,"id":1}`

// From a node's answer to a line for miners, a share and the block it solves.
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
	job, err := builder.Job(template, 1, time.Unix(1795327613, 0))
	if err != nil {
		fmt.Println(err)
		return
	}
	limit := work.CoinbaseLimit("bitaxe/BM1370/v2.9.0")
	fmt.Printf("%.60s...\n", job.Notify(limit, true))

	// What a miner sends back; on regtest every second hash is a block.
	extranonce1 := []byte{1, 2, 3, 4}
	submit := &stratum.Submit{Extranonce2Len: 8, NTime: template.CurTime}
	var share work.Share
	for !share.Block {
		submit.Nonce++
		job.Hash(&share, limit, nil, extranonce1, submit, job.Mask)
	}
	block := job.Block(&share, limit, nil, extranonce1, submit)
	fmt.Printf("a block of %d bytes and %d transaction\n", len(block), block[80])

	// Output:
	// {"params":["0000000000000001","466e2206590b1a116012afcabf5be...
	// a block of 279 bytes and 1 transaction
}

// In solo each miner's own script goes into its coinbase.
func ExampleJob_AppendNotify() {
	r, err := work.ParseReply([]byte(reply))
	if err != nil {
		fmt.Println(err)
		return
	}
	builder := &work.Builder{Tag: "solo", Extranonce1Len: 4, Extranonce2Len: 8, VersionMask: 0x1fffe000}
	job, err := builder.Job(r.Template, 1, time.Unix(1795327613, 0))
	if err != nil {
		fmt.Println(err)
		return
	}
	payout, _ := hex.DecodeString("0014e8df018c7e326cc253faac7e46cdc51e68542c42")
	line := job.AppendNotify(nil, work.CoinbaseLimit(""), payout, work.Announcement{Suffix: 1, Clean: true})
	fmt.Printf("%s\n", line[:30])
	// Output:
	// {"params":["000000000000000101
}

func ExampleMerkleRoot() {
	// The block at height 170, the first with a transaction beside the coinbase.
	coinbase := [32]byte(reversed("b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082"))
	txid := [32]byte(reversed("f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16"))
	root := work.MerkleRoot(coinbase, work.MerkleBranch([][32]byte{txid}))
	fmt.Println(hex.EncodeToString(reversed(hex.EncodeToString(root[:]))))
	// Output:
	// 7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff
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
