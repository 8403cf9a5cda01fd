package operator

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/work"
)

// Work is what miners have now: without a user the newest, else that of the user's miner
// who is connected for longest. false: there is none.
func (v View) Work(ctx context.Context, user string) (control.MinersWork, bool, error) {
	var of session.Info
	w := v.o.Jobs.Newest()
	if user != "" {
		list, err := v.o.Miners.Sessions(ctx, v.o.Users.OfUser(user))
		if err != nil || len(list) == 0 {
			return control.MinersWork{}, false, err
		}
		of = list[0]
		w = v.o.Jobs.Find(of.Job)
	}
	if w == nil {
		return control.MinersWork{}, false, nil
	}
	return v.o.takeApart(w, &of, v.o.Users.Payout(user)), true, nil
}

// takeApart shows work as one miner has it. Without a payout script there is no coinbase
// in solo.
func (o *Operator) takeApart(w *session.Work, of *session.Info, payout []byte) control.MinersWork {
	j, t := w.Job, w.Job.Template
	reply := control.MinersWork{
		Worker: of.WorkerName, Job: fmt.Sprintf("%016x", j.ID), Made: control.At(j.Created), Height: t.Height,
		PrevHash: work.FormatHash(t.PrevHash), Version: fmt.Sprintf("%08x", j.Version), Bits: fmt.Sprintf("%08x", t.Bits),
		NTime: fmt.Sprintf("%08x", t.CurTime), NetworkDifficulty: j.NetworkDifficulty,
		Transactions: -1, Fees: -1, Check: "unknown",
	}
	if t.HasTransactions() {
		reply.Transactions = int64(t.TxCount())
	}
	if !j.Given() {
		reply.Reward = t.CoinbaseValue
		reply.Fees = t.CoinbaseValue - subsidy(o.Source.Chain(), t.Height)
	}
	extranonce1, err := hex.DecodeString(of.Extranonce1)
	if err != nil || len(extranonce1) == 0 || j.Solo && payout == nil {
		return reply
	}
	m := work.Miner{Limit: of.Limit, Extranonce1: extranonce1}
	if j.Solo {
		m.Payout = payout
	}
	coinbase := j.CoinbaseTx(&m, &work.Solution{Extranonce2: make([]byte, of.Extranonce2Len), Time: t.CurTime, Version: j.Version})
	script, outputs, err := work.DecodeCoinbase(coinbase)
	if err != nil {
		return reply
	}
	txid := work.HashTransaction(coinbase)
	root := work.MerkleRoot(txid, j.Branch)
	reply.Coinbase, reply.TxID = hex.EncodeToString(coinbase), work.FormatHash(txid)
	reply.Extranonce1, reply.Extranonce2Len = hex.EncodeToString(extranonce1), int64(of.Extranonce2Len)
	reply.ScriptSig, reply.Text = hex.EncodeToString(script), printable(script)
	reply.MerkleRoot = work.FormatHash(root)
	for _, h := range j.Branch {
		reply.Branch = append(reply.Branch, hex.EncodeToString(h[:]))
	}
	if t.HasTransactions() {
		reply.Check = "differs"
		if allTransactions(t, txid) == root {
			reply.Check = "ok"
		}
	}
	network, _ := address.NetworkForChain(o.Source.Chain())
	reply.Reward = 0
	for _, out := range outputs {
		reply.Reward += out.Value
		shown := control.Output{Value: out.Value, Script: hex.EncodeToString(out.Script)}
		if a, err := address.FromScript(out.Script, network); err == nil {
			shown.Address = a.String()
		}
		reply.Outputs = append(reply.Outputs, shown)
	}
	return reply
}

// subsidy is the new satoshis of a block (Bitcoin Core, GetBlockSubsidy).
func subsidy(chain string, height int64) int64 {
	const first, main, regtest, most = 50_0000_0000, 210_000, 150, 63
	halving := int64(main)
	if chain == "regtest" {
		halving = regtest
	}
	return first >> min(height/halving, most)
}

// printable are the letters of a script that can be read, in runs of three or more.
func printable(script []byte) string {
	const least = 3
	var runs []string
	for _, run := range strings.FieldsFunc(string(script), func(r rune) bool { return r < ' ' || r > '~' }) {
		if len(run) >= least {
			runs = append(runs, run)
		}
	}
	return strings.Join(runs, " ")
}

// allTransactions is the merkle root over the coinbase and all transactions, computed
// level by level from all of them.
func allTransactions(t *work.Template, coinbase [32]byte) [32]byte {
	level := [][32]byte{coinbase}
	for i := range t.TxCount() {
		level = append(level, t.TxID(i))
	}
	for len(level) > 1 {
		if len(level)%2 == 1 {
			level = append(level, level[len(level)-1])
		}
		for i := range len(level) / 2 {
			level[i] = work.MerkleRoot(level[2*i], [][32]byte{level[2*i+1]})
		}
		level = level[:len(level)/2]
	}
	return level[0]
}
