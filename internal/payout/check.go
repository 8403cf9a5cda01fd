package payout

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/figures"
)

// Input is an output that a payment spends.
type Input struct {
	Point  wire.OutPoint
	Value  int64
	Script []byte
}

// Checked is a signed transaction that is what was planned.
type Checked struct {
	Txid    string // as displayed
	Raw     []byte
	Fee     int64
	Size    int64       // virtual, in vbytes
	Amounts []int64     // of the outputs of the plan, in their order
	Change  *wire.TxOut // nil: none
}

// Check decodes a signed transaction and compares it with what was planned: its inputs
// are all those given and no others, its outputs those of the plan and at most one more,
// whose script the caller has to know as the wallet's; every input is signed, and so that
// nothing in the transaction could be changed; fee and rate, of the bytes as they are,
// lie within their bounds. payeesPay: the fee is taken off the outputs, as Bitcoin Core
// does it, and so may be more than what is missing there; false: their amounts are [Output.Amount]. height is that of the next block.
func Check(raw []byte, outputs []Output, inputs []Input, payeesPay bool, s *Settings, height int64) (*Checked, error) {
	tx := new(wire.MsgTx)
	r := bytes.NewReader(raw)
	if err := tx.Deserialize(r); err != nil {
		return nil, fmt.Errorf("payout: the signed transaction cannot be read: %w", err)
	}
	c := &Checked{Txid: tx.TxHash().String(), Raw: bytes.Clone(raw)}
	fail := func(format string, args ...any) (*Checked, error) {
		return nil, fmt.Errorf("payout: transaction %s is not what was planned: %s; nothing was sent", c.Txid, fmt.Sprintf(format, args...))
	}
	if r.Len() != 0 {
		return fail("%s follow its end", figures.Things(int64(r.Len()), "byte"))
	}
	if !bytes.Equal(serialize(tx), raw) {
		return fail("its bytes are not the usual form")
	}
	if tx.Version != 1 && tx.Version != 2 {
		return fail("it has version %d", tx.Version)
	}
	if lock := int64(tx.LockTime); lock >= height {
		return fail("it could not be mined before block %d", lock+1)
	}
	var in, out int64
	known := make(map[wire.OutPoint]Input, len(inputs))
	for _, i := range inputs {
		known[i.Point] = i
	}
	for n, i := range tx.TxIn {
		k, ok := known[i.PreviousOutPoint]
		if !ok {
			return fail("input %d spends %s", n, i.PreviousOutPoint)
		}
		delete(known, i.PreviousOutPoint)
		if i.Sequence&wire.SequenceLockTimeDisabled == 0 {
			return fail("input %d waits for its coins to be older", n)
		}
		in += k.Value
	}
	for p := range known {
		return fail("it does not spend %s", p)
	}
	for n, o := range tx.TxOut {
		if o.Value < 0 || o.Value > maxMoney || out > maxMoney {
			return fail("output %d has %s", n, figures.Things(o.Value, "satoshi"))
		}
		out += o.Value
	}
	c.Fee = in - out
	if c.Fee < 0 {
		return fail("its outputs have more than its inputs")
	}
	amounts, change, err := match(tx.TxOut, outputs, c.Fee, payeesPay)
	if err != nil {
		return fail("%v", err)
	}
	c.Amounts, c.Change = amounts, change
	weight := int64(3*tx.SerializeSizeStripped() + tx.SerializeSize())
	c.Size = (weight + 3) / 4
	switch {
	case weight > s.MaxWeight:
		return fail("its weight is %d, more than %d", weight, s.MaxWeight)
	case c.Fee > s.MaxFee:
		return fail("its fee is %s, more than %s", FormatBitcoins(c.Fee), FormatBitcoins(s.MaxFee))
	case c.Fee*1000 > s.MaxRate*c.Size:
		return fail("its fee rate is %d satoshis per 1000 vbytes, more than %d", c.Fee*1000/c.Size, s.MaxRate)
	case c.Fee*1000 < s.MinRate*c.Size:
		return fail("its fee rate is %d satoshis per 1000 vbytes, less than %d", c.Fee*1000/c.Size, s.MinRate)
	}
	if err := signed(tx, inputs); err != nil {
		return fail("%v", err)
	}
	return c, nil
}

// match finds the outputs of the plan. Where the payees pay, every one has the same part
// of the fee taken off, and the first what does not divide (Bitcoin Core, CreateTransaction).
// Without change that is what is missing of the fee when it has what the coins have beyond the
// plan, too little for an output.
func match(have []*wire.TxOut, planned []Output, fee int64, payeesPay bool) (amounts []int64, change *wire.TxOut, err error) {
	type key struct {
		script string
		amount int64
	}
	left := map[key]int{}
	for _, o := range have {
		left[key{string(o.PkScript), o.Value}]++
	}
	n := int64(len(planned))
	cut := fee
	if payeesPay && len(have) == len(planned) {
		cut = Debits(planned)
		for _, o := range have {
			cut -= o.Value
		}
		if cut < 0 || cut > fee {
			return nil, nil, fmt.Errorf("its payees have %s less than they are owed, and its fee is %s", FormatBitcoins(cut), FormatBitcoins(fee))
		}
	}
	for i, o := range planned {
		amount := o.Amount
		if payeesPay {
			amount = o.Debit - cut/n
			if i == 0 {
				amount -= cut % n
			}
		}
		if limit := Dust(o.Script); amount < limit {
			return nil, nil, fmt.Errorf("%d satoshis to %s are below the dust limit of %d", amount, o.Address, limit)
		}
		k := key{string(o.Script), amount}
		if left[k] == 0 {
			return nil, nil, fmt.Errorf("it has no output of %s to %s", FormatBitcoins(amount), o.Address)
		}
		left[k]--
		amounts = append(amounts, amount)
	}
	for _, o := range have {
		k := key{string(o.PkScript), o.Value}
		if left[k] == 0 {
			continue
		}
		left[k]--
		if change != nil {
			return nil, nil, errors.New("it has more outputs than those to payees and one for change")
		}
		change = o
	}
	return amounts, change, nil
}

// signed runs the scripts of all inputs, and runs them again with one thing added to the
// transaction: an input, an output. A signature that does not fail then leaves something
// of the transaction to who relays it; only SIGHASH_ALL and taproot's default do not.
func signed(tx *wire.MsgTx, inputs []Input) error {
	coins := make(map[wire.OutPoint]*wire.TxOut, len(inputs)+1)
	for _, i := range inputs {
		coins[i.Point] = wire.NewTxOut(i.Value, i.Script)
	}
	other := wire.OutPoint{Index: 1}
	coins[other] = wire.NewTxOut(0, []byte{txscript.OP_TRUE})
	fetch := txscript.NewMultiPrevOutFetcher(coins)
	longer, wider := tx.Copy(), tx.Copy()
	longer.AddTxOut(wire.NewTxOut(0, []byte{txscript.OP_TRUE}))
	wider.AddTxIn(wire.NewTxIn(&other, nil, nil))
	var hashes [3]*txscript.TxSigHashes
	for n, t := range []*wire.MsgTx{tx, longer, wider} {
		hashes[n] = txscript.NewTxSigHashes(t, fetch)
	}
	for i, in := range tx.TxIn {
		coin := coins[in.PreviousOutPoint]
		for n, t := range []*wire.MsgTx{tx, longer, wider} {
			err := execute(t, i, coin, hashes[n], fetch)
			if n == 0 && err != nil {
				return fmt.Errorf("input %d is not signed as its coins demand: %w", i, err)
			}
			if n > 0 && err == nil {
				return fmt.Errorf("the signature of input %d leaves something open: sign with SIGHASH_ALL", i)
			}
		}
	}
	return nil
}

func execute(tx *wire.MsgTx, i int, coin *wire.TxOut, hashes *txscript.TxSigHashes, fetch txscript.PrevOutputFetcher) error {
	e, err := txscript.NewEngine(coin.PkScript, tx, i, txscript.StandardVerifyFlags, nil, hashes, coin.Value, fetch)
	if err != nil {
		return err
	}
	return e.Execute()
}
