package session

import (
	"testing"

	"github.com/ckpool/ckpool/work"
)

// The list of a job's transactions may have 650 KB: it is for miners alone.
func TestTransactionListNeedsAWorker(t *testing.T) {
	r := newRig(t, nil)
	const ask, list = `{"id":9,"method":"mining.get_txnhashes","params":["6b02867d00000000"]}`, `{"result":"","error":null,"id":9}`
	r.want(r.open(), ask, rejectLine(24, "Unauthorized worker", "9"))
	slot, _ := r.miner("bob")
	r.want(slot, ask, list)
}

// A source of work need not tell the transactions.
func TestTransactionsThatAreNotKnown(t *testing.T) {
	r := newRig(t, nil)
	slot, _ := r.miner("bob")
	tmpl, err := work.NewTemplate(&work.Parts{
		Height: 1, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x1d00ffff, CurTime: 1795327613, CoinbaseValue: 50e8,
		Branch: make([][32]byte, 2),
	})
	if err != nil {
		t.Fatal(err)
	}
	job, err := r.backend.builder.Job(tmpl, 7, r.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.backend.jobs[7] = &Work{Job: job}
	for _, method := range []string{"mining.get_transactions", "mining.get_txnhashes"} {
		r.want(slot, `{"id":9,"method":"`+method+`","params":["0000000000000007"]}`, rejectLine(20, "Transactions not known", "9"))
	}
}
