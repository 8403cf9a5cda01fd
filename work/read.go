package work

import (
	"encoding/binary"
	"errors"
	"slices"
)

// ErrNotTransaction is that bytes are no transaction as it stands in a block.
var ErrNotTransaction = errors.New("not a transaction")

// ReadTransaction is a transaction of its bytes as they stand in a block, which it keeps.
// What scripts and witnesses mean it does not look at.
func ReadTransaction(data []byte) (Transaction, error) {
	t, err := readParts(data)
	if err != nil {
		return Transaction{}, err
	}
	return t.transaction(data), nil
}

// txParts are where the parts of a transaction stand.
type txParts struct {
	witness   bool // it has the form with witness (BIP144)
	witnesses int  // where they begin, or the lock time
	inputs    int
	outputs   [][]byte // their scripts
}

func readParts(data []byte) (t txParts, err error) {
	r := reader{rest: data}
	if t = r.transaction(); r.bad || len(r.rest) > 0 {
		return txParts{}, ErrNotTransaction
	}
	return t, nil
}

// transaction is that which has these parts, of its bytes.
func (t *txParts) transaction(data []byte) Transaction {
	tx := Transaction{WTxID: doubleHash(data), Data: data}
	tx.TxID = tx.WTxID
	if t.witness {
		tx.TxID = doubleHash(t.stripped(data))
	}
	return tx
}

// stripped is the transaction without witness, of its bytes.
func (t *txParts) stripped(data []byte) []byte {
	if !t.witness {
		return data
	}
	return slices.Concat(data[:4], data[6:t.witnesses], data[len(data)-4:])
}

// transaction reads the next one.
func (r *reader) transaction() (t txParts) {
	size := len(r.rest)
	r.take(4)
	if len(r.rest) > 1 && r.rest[0] == 0 && r.rest[1] == 1 {
		t.witness = true
		r.take(2)
	}
	t.inputs = r.count(32 + 4 + 1 + 4)
	for range t.inputs {
		r.take(32 + 4)
		r.take(r.count(1))
		r.take(4)
	}
	outputs := r.count(8 + 1)
	for range outputs {
		r.take(8)
		t.outputs = append(t.outputs, r.take(r.count(1)))
	}
	t.witnesses = size - len(r.rest)
	if t.witness {
		for range t.inputs {
			for range r.count(1) {
				r.take(r.count(1))
			}
		}
	}
	r.take(4)
	r.bad = r.bad || t.inputs == 0
	return t
}

// reader takes bytes from the front. After a failure it gives none.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.bad = nil, true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// count is a compact size of things, each of which takes so many bytes at least.
func (r *reader) count(size int) int {
	var n uint64
	switch first := r.take(1); {
	case r.bad:
		return 0
	case first[0] < 0xfd:
		n = uint64(first[0])
	default:
		var b [8]byte
		copy(b[:], r.take(2<<(first[0]-0xfd)))
		n = binary.LittleEndian.Uint64(b[:])
	}
	if n > uint64(len(r.rest)/size) {
		r.rest, r.bad = nil, true
		return 0
	}
	return int(n)
}

// AssembleBlock is a block of its parts. The coinbase is given without witness, and gets
// its witness if it has a commitment output. Whether the parts go together is not checked.
func AssembleBlock(header *[80]byte, coinbase []byte, transactions []*Transaction) ([]byte, error) {
	t, err := readParts(coinbase)
	if err != nil || t.witness || t.inputs != 1 {
		return nil, errors.New("not a coinbase without witness")
	}
	size := len(header) + 9 + len(coinbase) + 2 + len(witness)
	for _, tx := range transactions {
		size += len(tx.Data)
	}
	b := append(make([]byte, 0, size), header[:]...)
	b = appendCompactSize(b, 1+len(transactions))
	if t.commitment() != nil {
		b = appendWithWitness(b, coinbase)
	} else {
		b = append(b, coinbase...)
	}
	for _, tx := range transactions {
		b = append(b, tx.Data...)
	}
	return b, nil
}

// HashTransaction is the hash of the bytes of a transaction: its txid, of one without
// witness.
func HashTransaction(data []byte) [32]byte { return doubleHash(data) }

// HashHeader is the hash of a block.
func HashHeader(header *[80]byte) [32]byte { return doubleHash(header[:]) }
