package work

import (
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/difficulty"
)

// Parts are what a template is made of by hand, for a source that does not answer
// getblocktemplate: another pool, Bitcoin Core's IPC.
type Parts struct {
	Height           int64    // of the block; 0 only with Coinbase
	Version          uint32   // of the header, not 0
	PrevHash         [32]byte // of the block before, internal order
	Bits             uint32   // compact target, as in the header
	CurTime, MinTime uint32   // unix seconds; MinTime 0 is CurTime
	VBRequired       uint32   // version bits that must stay as they are

	CoinbaseValue int64  // satoshis
	Flags         []byte // pushed in the coinbase
	// Commitment is the script of the witness commitment's output, 38 bytes. Without
	// it is computed where a transaction has a witness.
	Commitment []byte
	// As in Template.
	CoinbaseWeight, CoinbaseSigops int

	// Coinbase is one that another pool has made, of which Height is taken if it is 0.
	// CoinbaseValue, Flags, Commitment and Transactions are not known then, and Branch
	// stands for the transactions even if it is empty.
	Coinbase *GivenCoinbase

	// Transactions are those of the block without the coinbase. Where they are not
	// known Branch stands for them: what a coinbase hash is combined with, lowest
	// level first.
	Transactions []Transaction
	Branch       [][32]byte
}

// Transaction is a transaction of a block. Of one without witness both ids are the
// same.
type Transaction struct {
	TxID, WTxID [32]byte // internal order
	Data        []byte   // as it stands in a block
}

// NewTemplate makes a template by hand. It keeps the slices of p. Errors name the
// part that is wrong.
func NewTemplate(p *Parts) (*Template, error) {
	t, err := p.template()
	if err != nil {
		return nil, fmt.Errorf("block template at height %d: %w", p.Height, err)
	}
	return t, nil
}

func (p *Parts) template() (*Template, error) {
	switch {
	case p.Height < 0:
		return nil, errors.New("the height is negative")
	case p.Version == 0:
		return nil, errors.New("version is 0")
	case p.PrevHash == [32]byte{}:
		return nil, errors.New("no previous block")
	case p.CurTime == 0:
		return nil, errors.New("no time")
	case p.CoinbaseValue < 0 || p.CoinbaseValue > maxMoney:
		return nil, fmt.Errorf("a reward of %d satoshis", p.CoinbaseValue)
	case p.Commitment != nil && !isCommitment(p.Commitment):
		return nil, fmt.Errorf("%x is not the script of a commitment output", p.Commitment)
	case p.CoinbaseWeight < 0 || p.CoinbaseSigops < 0:
		return nil, fmt.Errorf("room for %d weight units and %d sigops", p.CoinbaseWeight, p.CoinbaseSigops)
	case len(p.Branch) > 0 && len(p.Transactions) > 0:
		return nil, errors.New("transactions, and a merkle branch in place of them")
	}
	if p.Coinbase != nil {
		if err := p.checkGiven(); err != nil {
			return nil, err
		}
	}
	target, err := difficulty.TargetFromBits(p.Bits)
	if err != nil {
		return nil, fmt.Errorf("bits %08x: %w", p.Bits, err)
	}
	minTime := p.MinTime
	if minTime == 0 {
		minTime = p.CurTime
	}
	t := &Template{
		Height: p.Height, Version: p.Version, PrevHash: p.PrevHash, Bits: p.Bits, Target: target,
		CurTime: max(p.CurTime, minTime), MinTime: minTime, VBRequired: p.VBRequired,
		CoinbaseValue: p.CoinbaseValue, Flags: p.Flags,
		HasCommitment: p.Commitment != nil, DefaultCommitment: p.Commitment,
		CoinbaseWeight: p.CoinbaseWeight, CoinbaseSigops: p.CoinbaseSigops,
		branch: p.Branch, given: p.Coinbase,
	}
	if t.given != nil && t.Height == 0 {
		t.Height = t.given.height()
	}
	txs := &transactions{shared: make([]*Transaction, len(p.Transactions))}
	for i := range p.Transactions {
		if txs.shared[i] = &p.Transactions[i]; len(p.Transactions[i].Data) == 0 {
			return nil, fmt.Errorf("transaction %d has no data", i)
		}
	}
	t.txs.Store(txs)
	if p.Commitment != nil || p.Coinbase != nil {
		return t, nil
	}
	return t, t.computeCommitment()
}

// checkGiven reports what does not go with a coinbase that is given.
func (p *Parts) checkGiven() error {
	switch {
	case p.CoinbaseValue != 0 || p.Flags != nil || p.Commitment != nil || len(p.Transactions) > 0:
		return errors.New("a coinbase, and parts that another is made of")
	case len(p.Branch) > maxGivenBranch:
		return fmt.Errorf("a merkle branch of %d hashes: at most %d", len(p.Branch), maxGivenBranch)
	}
	return p.Coinbase.check()
}
