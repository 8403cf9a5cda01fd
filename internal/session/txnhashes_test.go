package session

import "testing"

// The list of a job's transactions may have 650 KB: it is for miners alone.
func TestTransactionListNeedsAWorker(t *testing.T) {
	r := newRig(t, nil)
	const ask, list = `{"id":9,"method":"mining.get_txnhashes","params":["6b02867d00000000"]}`, `{"result":"","error":null,"id":9}`
	r.want(r.open(), ask, rejectLine(24, "Unauthorized worker", "9"))
	slot, _ := r.miner("bob")
	r.want(slot, ask, list)
}
