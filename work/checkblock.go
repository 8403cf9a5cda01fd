package work

import (
	"bytes"
	"errors"
	"fmt"
)

// leastTransaction is shorter than any transaction, in bytes.
const leastTransaction = 51

// CheckBlock reports a serialised block whose parts do not go together: transactions that
// cannot be read, that are there twice, or that are not those of the header's merkle root, and
// witnesses that the coinbase does not commit to (BIP141). What else the rules of a chain ask
// for its nodes know. height is the one that the coinbase tells, 0 where it does not (BIP34).
func CheckBlock(block []byte) (height int64, err error) {
	const header = 80
	if len(block) < header {
		return 0, errors.New("not a block")
	}
	r := reader{rest: block[header:]}
	n := r.count(leastTransaction)
	if n == 0 {
		return 0, errors.New("a block without transactions")
	}
	txids, wtxids, known := make([][32]byte, n), make([][32]byte, n), make(map[[32]byte]bool, n)
	var coinbase txParts
	var first []byte // the bytes of that
	witnesses := false
	for i := range n {
		data := r.rest
		t := r.transaction()
		if r.bad {
			return 0, fmt.Errorf("a block whose transaction %d cannot be read", i)
		}
		data = data[:len(data)-len(r.rest)]
		tx := t.transaction(data)
		if known[tx.TxID] { // the same merkle root may stand for a list in which some are twice
			return 0, fmt.Errorf("a block that has transaction %s twice", FormatHash(tx.TxID))
		}
		if i == 0 {
			coinbase, first = t, data
		}
		known[tx.TxID], txids[i], wtxids[i] = true, tx.TxID, tx.WTxID
		witnesses = witnesses || t.witness
	}
	switch {
	case len(r.rest) > 0:
		return 0, fmt.Errorf("a block with %d bytes behind its transactions", len(r.rest))
	case MerkleRoot(txids[0], MerkleBranch(txids[1:])) != [32]byte(block[36:68]):
		return 0, errors.New("a block whose merkle root is not that of its transactions")
	case !coinbase.commitsTo(first, wtxids, witnesses):
		return 0, errors.New("a block whose coinbase does not commit to its witnesses")
	}
	return CoinbaseHeight(coinbase.stripped(first)), nil
}

// commitment is what counts of the script of a coinbase's commitment output, of which the
// last counts, and which may have more behind that (BIP141); nil: there is none.
func (t *txParts) commitment() (script []byte) {
	for _, s := range t.outputs {
		if len(s) >= commitmentLen && isCommitment(s[:commitmentLen]) {
			script = s[:commitmentLen]
		}
	}
	return script
}

// commitsTo tells that a coinbase, of its bytes, commits to the witnesses of a block; needed: it
// must. The first of the ids stands for the coinbase.
func (t *txParts) commitsTo(data []byte, wtxids [][32]byte, needed bool) bool {
	script := t.commitment()
	if script == nil {
		return !needed
	}
	own := data[t.witnesses : len(data)-4]
	if len(own) != len(witness) || !bytes.HasPrefix(own, witness[:2]) { // one item, of 32 bytes
		return false
	}
	root, reserved := MerkleRoot([32]byte{}, MerkleBranch(wtxids[1:])), [32]byte(own[2:])
	return bytes.Equal(script, commitmentScript(hashPair(&root, &reserved)))
}
