package work

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// transactions are those of one template, in its order, without the coinbase.
// They are kept in one of two ways: as places in the node's answer, which costs
// nothing but keeps all of the answer, or as records that templates share.
// Immutable.
type transactions struct {
	body   []byte
	txids  [][32]byte
	places []place

	shared []*Transaction
}

// place is where a transaction stands in the node's answer, as hex. Without
// hash it is that of a transaction without witness.
type place struct{ data, hash span }

// transactions reads the array, and what its transactions take up. Data and hash are not looked into: that is for
// CheckWitness, or for the day when a block is made of them.
func (s *scanner) transactions() (*transactions, use) {
	used := use{weightKnown: true, sigopsKnown: true}
	if s.null() {
		return nil, used
	}
	const usual = 600 // bytes of answer for a small transaction
	n := (len(s.body) - s.i) / usual
	txs := &transactions{txids: make([][32]byte, 0, n), places: make([]place, 0, n)}
	for more := s.open('['); more; more = s.more('[') {
		var p place
		var txid span
		weight, sigops := int64(-1), int64(-1)
		for more := s.open('{'); more; more = s.more('{') {
			switch string(s.key()) {
			case "data":
				p.data = s.rawOrNull()
			case "txid":
				txid = s.rawOrNull()
			case "hash":
				p.hash = s.rawOrNull()
			case "weight":
				weight = s.count()
			case "sigops":
				sigops = s.count()
			default:
				s.skip()
			}
		}
		if !txid.ok() {
			txid = p.hash
		}
		var id [32]byte
		switch {
		case s.err != nil:
			return nil, used
		case !p.data.ok():
			s.fail("transaction %d has no data", len(txs.places))
		case !decodeHash(&id, s.at(txid)):
			s.fail("transaction %d has no usable txid", len(txs.places))
		}
		if weight < 0 {
			weight, used.weightKnown = int64(p.data.to-p.data.from)/2*witnessScale, false
		}
		if sigops < 0 {
			sigops, used.sigopsKnown = 0, false
		}
		used.weight += weight
		used.sigops += sigops
		txs.txids = append(txs.txids, id)
		txs.places = append(txs.places, p)
	}
	return txs, used
}

func (s *scanner) rawOrNull() span {
	if s.null() {
		return span{}
	}
	return s.raw()
}

// setBody makes the transactions independent of the scanner.
func (txs *transactions) setBody(s *scanner) {
	n := len(s.body)
	txs.body = append(s.body[:n:n], s.unescaped...)
}

func (txs *transactions) count() int {
	if txs == nil {
		return 0
	}
	return max(len(txs.shared), len(txs.places))
}

func (txs *transactions) txid(i int) [32]byte {
	if txs.shared != nil {
		return txs.shared[i].TxID
	}
	return txs.txids[i]
}

// hex is the data of transaction i in the node's answer.
func (txs *transactions) hex(i int) []byte {
	p := txs.places[i].data
	return txs.body[p.from:p.to]
}

// size is that of transaction i in a block.
func (txs *transactions) size(i int) int {
	if txs.shared != nil {
		return len(txs.shared[i].Data)
	}
	return len(txs.hex(i)) / 2
}

// decode is transaction i as it stands in a block, appended to b.
func (txs *transactions) decode(b []byte, i int) ([]byte, error) {
	if txs.shared != nil {
		return append(b, txs.shared[i].Data...), nil
	}
	begin := len(b)
	b, err := hex.AppendDecode(b, txs.hex(i))
	if err != nil || len(b) == begin {
		return b, fmt.Errorf("the data of transaction %d is not hex", i)
	}
	return b, nil
}

func (txs *transactions) wtxid(i int) ([32]byte, error) {
	if txs.shared != nil {
		return txs.shared[i].WTxID, nil
	}
	p := txs.places[i].hash
	if !p.ok() {
		return txs.txids[i], nil
	}
	var id [32]byte
	text := txs.body[p.from:p.to]
	if !decodeHash(&id, text) {
		return id, fmt.Errorf("transaction %d has the hash %q", i, text)
	}
	return id, nil
}

// wtxids begins with the zero that stands for the coinbase. witness tells
// whether any differs from its txid.
func (txs *transactions) wtxids() (ids [][32]byte, witness bool, err error) {
	n := txs.count()
	ids = make([][32]byte, n+1)
	for i := range n {
		id, err := txs.wtxid(i)
		if err != nil {
			return nil, false, err
		}
		ids[i+1] = id
		witness = witness || id != txs.txid(i)
	}
	return ids, witness, nil
}

// TxCount is the number of transactions without the coinbase, 0 where they are not
// known.
func (t *Template) TxCount() int { return t.txs.Load().count() }

// TxID is the id of transaction i, in template order.
func (t *Template) TxID(i int) [32]byte { return t.txs.Load().txid(i) }

// WTxID is the id of transaction i with its witness, the txid where the node gave none
// that is usable.
func (t *Template) WTxID(i int) [32]byte {
	txs := t.txs.Load()
	id, err := txs.wtxid(i)
	if err != nil {
		return txs.txid(i)
	}
	return id
}

// AppendTransaction appends transaction i as it stands in a block, with its
// witness.
func (t *Template) AppendTransaction(b []byte, i int) []byte {
	return t.txs.Load().appendRaw(b, i)
}

// appendRaw appends transaction i; of data that is not hex, what comes before.
// CheckWitness would have told.
func (txs *transactions) appendRaw(b []byte, i int) []byte {
	b, _ = txs.decode(b, i)
	return b
}

// ids are all txids, in order; not to be changed.
func (txs *transactions) ids() [][32]byte {
	if txs == nil {
		return nil
	}
	if txs.shared == nil {
		return txs.txids
	}
	ids := make([][32]byte, len(txs.shared))
	for i, tx := range txs.shared {
		ids[i] = tx.TxID
	}
	return ids
}

// computeCommitment is for a node that gave no commitment.
func (t *Template) computeCommitment() error {
	ids, witness, err := t.txs.Load().wtxids()
	if err != nil {
		return err
	}
	if witness {
		t.computed = commitmentScript(witnessCommitment(ids))
	}
	return nil
}

// CheckWitness checks what is not needed to give work to miners but for the
// block they may find, as far as the transactions are known: that the data of every transaction is hex, and that the
// witness commitment the node gave is the one its transactions have. It costs
// some milliseconds; run it after the work is out. It may run concurrently with
// everything else.
func (t *Template) CheckWitness() error {
	if !t.HasTransactions() {
		return nil
	}
	txs := t.txs.Load()
	var raw []byte
	for i := range txs.count() {
		var err error
		if raw, err = txs.decode(raw[:0], i); err != nil {
			return fmt.Errorf("block template at height %d: %w", t.Height, err)
		}
	}
	ids, _, err := txs.wtxids()
	if err != nil {
		return fmt.Errorf("block template at height %d: %w", t.Height, err)
	}
	if t.DefaultCommitment == nil {
		return nil
	}
	if own := commitmentScript(witnessCommitment(ids)); !bytes.Equal(own, t.DefaultCommitment) {
		return fmt.Errorf("block template at height %d: the witness commitment of its transactions is %x, the node says %x",
			t.Height, own, t.DefaultCommitment)
	}
	return nil
}

// ShareTransactions makes t keep its transactions as records, those that prev also has in
// common with it, and lets go of the node's answer. With each template given
// its predecessor (nil for none), a long row of templates costs one pointer per
// transaction and template. It takes some milliseconds: call it after the work
// is out, once. It may run concurrently with every other use of t and prev.
func (t *Template) ShareTransactions(prev *Template) {
	txs := t.txs.Load()
	if txs == nil || txs.shared != nil || len(txs.places) == 0 {
		return
	}
	var before []*Transaction
	if prev != nil {
		if p := prev.txs.Load(); p != nil {
			before = p.shared
		}
	}
	// The same txid may come with another witness, the same wtxid may not.
	known := make(map[[32]byte]*Transaction, len(before))
	for _, tx := range before {
		known[tx.WTxID] = tx
	}
	shared := make([]*Transaction, len(txs.places))
	same := len(before) == len(shared)
	var raw []byte
	for i := range shared {
		wtxid, err := txs.wtxid(i)
		if err != nil {
			return // CheckWitness tells
		}
		tx := known[wtxid]
		if tx == nil || tx.TxID != txs.txids[i] {
			if raw, err = txs.decode(raw[:0], i); err != nil {
				return // CheckWitness tells
			}
			tx = &Transaction{txs.txids[i], wtxid, bytes.Clone(raw)}
		}
		shared[i] = tx
		same = same && before[i] == tx
	}
	if same {
		shared = before
	}
	t.txs.Store(&transactions{shared: shared})
}
