// Template shows what a node would have mined now, and the coinbase that pays an address:
//
//	template http://USER:PASSWORD@127.0.0.1:8332 bc1q…
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/work"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: template http://USER:PASSWORD@HOST:PORT ADDRESS")
	}
	if err := show(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func show(url, pays string) error {
	payee, err := address.Parse(pays)
	if err != nil {
		return err
	}
	node := bitcoind.NewClient(bitcoind.Config{URL: url}, bitcoind.Options{})
	defer node.Close()
	t, err := node.Template(context.Background(), "")
	if err != nil {
		return err
	}
	fmt.Println("height:      ", t.Height)
	fmt.Println("on block:    ", work.FormatHash(t.PrevHash))
	fmt.Printf("version:      %08x\n", t.Version)
	fmt.Printf("bits:         %08x, difficulty %.4g\n", t.Bits, t.Target.Difficulty())
	fmt.Println("time:        ", time.Unix(int64(t.CurTime), 0).UTC().Format(time.DateTime), "UTC")
	fmt.Println("reward:      ", t.CoinbaseValue, "satoshis")
	fmt.Println("rules:       ", t.Rules)

	fmt.Println("transactions:", t.TxCount())
	for i := range t.TxCount() {
		fmt.Printf("  %s %7d bytes\n", work.FormatHash(t.TxID(i)), len(t.AppendTransaction(nil, i)))
	}
	if err := t.CheckWitness(); err != nil {
		fmt.Println("a block of it would be invalid:", err)
	}

	builder := &work.Builder{Tag: "template", PayoutScript: payee.Script(), Extranonce1Len: 4, Extranonce2Len: 8}
	job, err := builder.Job(t, 1, time.Now(), nil)
	if err != nil {
		return err
	}
	miner := &work.Miner{Limit: work.CoinbaseLimit(""), Extranonce1: make([]byte, 4)}
	coinbase := job.CoinbaseTx(miner, &work.Solution{Extranonce2: make([]byte, 8)})
	script, outputs, err := work.DecodeCoinbase(coinbase)
	if err != nil {
		return err
	}
	fmt.Printf("coinbase:     %d bytes, %q\n", len(coinbase), script)
	for _, o := range outputs {
		to := fmt.Sprintf("%x", o.Script)
		if a, err := address.FromScript(o.Script, payee.Network()); err == nil {
			to = a.String()
		}
		fmt.Printf("  %d to %s\n", o.Value, to)
	}
	return nil
}
