package payout

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/payout/psbt"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// backwards stores inputs in another order, as wallets put them in any.
type backwards struct{ Book }

func (b *backwards) Change(ctx context.Context, id, serial int64, c Change) (Payment, error) {
	c.Inputs = slices.Clone(c.Inputs)
	slices.Reverse(c.Inputs)
	return b.Book.Change(ctx, id, serial, c)
}

// Case 7: what replaces a replacement that was exported spends an input of each: all of
// them have left, and one can be confirmed.
func TestCase7ReplacedTwice(t *testing.T) { each(t, testCase7ReplacedTwice) }

func testCase7ReplacedTwice(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 108)
	rich := x.rich(60_0000_0000) // more than one coin
	s := x.sender("op")
	s.Book = &backwards{x.book}
	out := []Payment{x.plannedFor(s, rich)}
	for i := range 2 {
		_, err := s.Export(t.Context(), out[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		if out[i], err = x.book.Payment(t.Context(), out[i].ID); err != nil || len(out[i].Inputs) < 2 {
			t.Fatalf("%+v, %v", out[i], err)
		}
		next, err := s.Replace(t.Context(), out[i].ID, rich)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, next)
	}
	last := x.is(s.Send(t.Context(), out[2].ID))(Broadcast)
	for _, p := range out[:2] {
		if !slices.ContainsFunc(p.Inputs, func(in Input) bool { return last.spends(in.Point) }) {
			t.Errorf("payment %d and payment %d, which ends it, have no input in common: both can be confirmed", p.ID, last.ID)
		}
	}
	x.sums(false)
}

// Case 2: the backup is older than a bump, or than the signed file of what was exported:
// what a person would book as strange is the payment's own, and nobody is debited twice.
func TestCase2OwnSpends(t *testing.T) { each(t, testCase2OwnSpends) }

func testCase2OwnSpends(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	old := x.book.Backup()
	bumped := x.is(s.Bump(t.Context(), p.ID, 20_000))(Broadcast).Versions[1]
	x.node.Generate(1)
	x.book = old
	s = x.sender("op")
	_, err := s.Send(t.Context(), p.ID)
	if e, ok := errors.AsType[*StrangeError](err); !ok || e.Txids[0] != bumped.Txid {
		t.Fatalf("%v", err)
	}
	v, err := s.Stranger(t.Context(), bumped.Txid)
	if err != nil || v.Fee != bumped.Fee {
		t.Fatalf("%+v, %v", v, err)
	}
	q, own, err := s.Adopt(t.Context(), v)
	if err != nil || !own {
		t.Fatalf("%t, %v", own, err)
	}
	x.is(q, nil)(Confirmed)
	x.sums(true)
	if fees := x.book.Ledger()[Fees]; fees != -bumped.Fee {
		t.Errorf("fees %d, want %d", fees, -bumped.Fee)
	}
	x.is(s.Send(t.Context(), p.ID))(Confirmed)

	// What its signer sent is his payment's, and his file is wanted.
	credit(x.book, payees())
	p = x.planned(s)
	text, err := s.Export(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	var signed struct{ Hex string }
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}
	var txid string
	if err := x.client.Call(t.Context(), &txid, "sendrawtransaction", signed.Hex); err != nil {
		t.Fatal(err)
	}
	x.node.Generate(1)
	was := x.book.Dump()
	if v, err = s.Stranger(t.Context(), txid); err != nil {
		t.Fatal(err)
	}
	if _, own, err = s.Adopt(t.Context(), v); own || err == nil || !strings.Contains(err.Error(), "its signer sent") || x.book.Dump() != was {
		t.Errorf("%t, %v, or the book changed", own, err)
	}
	// A spend of nobody's payment is a person's own.
	x.is(s.Import(t.Context(), p.ID, []byte(signed.Hex)))(Broadcast)
	p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	v = &Stranger{Txid: "ab", tx: v.tx, inputs: []Input{{Point: wire.OutPoint{Index: 7}}}}
	if _, own, err = s.Adopt(t.Context(), v); own || err != nil {
		t.Errorf("%t, %v", own, err)
	}
	// One that spends the payment's input and pays a payee otherwise is not guessed.
	v = &Stranger{Txid: "ab", tx: wire.NewMsgTx(2), inputs: p.Inputs, Outputs: p.Outputs[:1]}
	v.tx.AddTxOut(wire.NewTxOut(5, p.Outputs[0].Script))
	was = x.book.Dump()
	if _, own, err = s.Adopt(t.Context(), v); own || err == nil || !strings.Contains(err.Error(), "otherwise") || x.book.Dump() != was {
		t.Errorf("%t, %v, or the book changed", own, err)
	}
}

// Case 2: a bump that the backup does not know and the chain has is its payment's own without
// a person too: it is not cancelled when the bump rules out what the backup knows, which would
// have the pool pay its fee.
func TestCase2Bumped(t *testing.T) { each(t, testCase2Bumped) }

func testCase2Bumped(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	old := x.book.Backup()
	bumped := x.is(s.Bump(t.Context(), p.ID, 20_000))(Broadcast).Versions[1]
	x.book = old
	s = x.sender("op")
	p = x.is(s.Follow(t.Context(), p.ID))(p.State) // the node has the bump, the chain has none
	if len(p.Versions) != 1 {
		t.Fatalf("adopted before the chain has it: %+v", p.Versions)
	}
	x.node.Generate(1)
	if p = x.is(s.Follow(t.Context(), p.ID))(Confirmed); p.Block.Txid != bumped.Txid || len(p.Versions) != 2 || !slices.Equal(p.Versions[1].Amounts, bumped.Amounts) {
		t.Errorf("%+v", p)
	}
	x.sums(true)
	if err := s.Guard(t.Context()); err != nil {
		t.Error(err)
	}
	x.node.Generate(Maturity)
	if now := x.is(s.Follow(t.Context(), p.ID))(Confirmed); now.Booked != bumped.Txid {
		t.Errorf("booked %s", now.Booked)
	}
	x.sums(true)
}

// Case 2: what was exported after the backup is no spend yet: its coins, which the wallet keeps,
// tell of it, and nothing else that the wallet keeps for a payment does.
func TestCase2Exported(t *testing.T) { each(t, testCase2Exported) }

func testCase2Exported(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	s := x.sender("op")
	kept := func(want ...wire.OutPoint) {
		t.Helper()
		if got, err := s.KeptForNone(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	old := x.book.Backup()
	p, text := x.exported()
	kept()
	lost := p.Inputs[0].Point
	x.book = old
	s = x.sender("op")
	kept(lost)
	// The next run takes another coin: both can be confirmed.
	again := x.planned(s)
	if _, err := s.Export(t.Context(), again.ID); err != nil {
		t.Fatal(err)
	}
	if p, err := x.book.Payment(t.Context(), again.ID); err != nil || slices.Contains(points(p.Inputs), lost) {
		t.Fatalf("%+v, %v: this shows nothing", p, err)
	}
	kept(lost)
	// Once its signer has sent it, it is a spend.
	var signed struct{ Hex string }
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}
	if err := x.client.Call(t.Context(), nil, "sendrawtransaction", signed.Hex); err != nil {
		t.Fatal(err)
	}
	kept()
	if _, ok := errors.AsType[*StrangeError](s.Guard(t.Context())); !ok {
		t.Error("the spend is not strange")
	}
}

// What pays the payees and somebody else too, from the payment's input, is no version of it:
// that somebody's money would be in no account.
func TestAdoptedChange(t *testing.T) { each(t, testAdoptedChange) }

func testAdoptedChange(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	v := &Stranger{Txid: "ab", tx: wire.NewMsgTx(2), inputs: p.Inputs, Outputs: p.Outputs}
	for i, o := range p.Outputs {
		v.tx.AddTxOut(wire.NewTxOut(p.Versions[0].Amounts[i], o.Script))
	}
	v.tx.AddTxOut(wire.NewTxOut(5_000, btcd.NewWallet("mallory").Script()))
	was := x.book.Dump()
	if _, own, err := s.Adopt(t.Context(), v); own || err == nil || !strings.Contains(err.Error(), "0.00005000 to somebody else") || x.book.Dump() != was {
		t.Errorf("%t, %v, or the book changed", own, err)
	}
}

// A spend of a person is found also where it came into the chain by a reorganisation that is
// deeper than what is read again.
func TestStrangeReorganised(t *testing.T) { each(t, testStrangeReorganised) }

func testStrangeReorganised(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	fork, height := x.node.BestBlockHash(), x.node.BlockCount()
	other := x.byHand(s)
	x.node.Generate(4 * young)
	if err := s.guard(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if at, err := x.book.Cursor(t.Context()); err != nil || at == "" || at == fork {
		t.Fatalf("cursor %q, %v", at, err)
	}
	left, err := s.Wallet.BlockHash(t.Context(), height+1)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.node.Call(t.Context(), nil, "invalidateblock", left); err != nil {
		t.Fatal(err)
	}
	mine(t, x, fork, other)
	x.node.Generate(5 * young)
	if e, ok := errors.AsType[*StrangeError](s.Guard(t.Context())); !ok || e.Txids[0] != other.TxHash().String() {
		t.Errorf("%v", s.Guard(t.Context()))
	}
}

// byHand is a transaction of the wallet to alice that is no payment, and is not sent.
func (x *place) byHand(s *Sender) *wire.MsgTx {
	x.t.Helper()
	f, err := s.Wallet.Fund(x.t.Context(), []Output{{Address: alice.Address(), Debit: 1_000_000}}, nil, 5_000, false)
	if err != nil {
		x.t.Fatal(err)
	}
	raw, err := s.Wallet.Sign(x.t.Context(), f.PSBT)
	if err != nil {
		x.t.Fatal(err)
	}
	tx := wire.NewMsgTx(2)
	if err := tx.Deserialize(bytes.NewReader(raw)); err != nil {
		x.t.Fatal(err)
	}
	return tx
}

// A wallet that was somebody's before: what it spent below the first block that is paid for is
// none of the pool's payments, and what it spent from there on is strange.
func TestUsedWallet(t *testing.T) { each(t, testUsedWallet) }

func testUsedWallet(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	s := x.sender("op")
	tx := x.byHand(s)
	other := tx.TxHash().String()
	if verdict, why := s.Wallet.Send(t.Context(), serialize(tx), other); verdict != Taken {
		t.Fatal(why)
	}
	x.node.Generate(1)
	at := x.node.BlockCount()
	x.node.Generate(1)
	p := x.planned(s)
	for _, height := range []int64{0, at, 1_000_000} {
		s.Settings.Start = height
		_, err := s.Send(t.Context(), p.ID)
		if e, ok := errors.AsType[*StrangeError](err); !ok || e.Txids[0] != other {
			t.Errorf("from height %d: %v", height, err)
		}
	}
	s.Settings.Start = at + 1
	x.is(s.Send(t.Context(), p.ID))(Broadcast)
}

// longHistory is a node whose wallet has sent more than an answer may be long.
type longHistory struct{ Node }

func (l *longHistory) Call(ctx context.Context, result any, method string, params ...any) error {
	if method == "listsinceblock" && params[0] == "" {
		return errors.New("listsinceblock: reading the answer: more than 134217728 bytes are too long")
	}
	return l.Node.Call(ctx, result, method, params...)
}

// Case 7: however much a wallet has sent, what was exported and replaced is cancelled, and what
// ends a signed payment that was never in the mempool is found.
func TestLongHistory(t *testing.T) { each(t, testLongHistory) }

func testLongHistory(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	first, _ := x.exported()
	r, err := replaced(t.Context(), x.sender("op"), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	x.node.Generate(1)
	s := x.sender("op")
	s.Settings.Final = 1
	s.Wallet = NewWallet(&longHistory{x}, address.Regtest)
	x.is(s.Follow(t.Context(), r.ID))(Confirmed)
	x.is(s.Cancel(t.Context(), first.ID))(Cancelled)

	credit(x.book, payees())
	x.fault = func(method string) error {
		if method == "sendrawtransaction" {
			return &bitcoind.RPCError{Code: -26, Message: "mempool full", Status: 500}
		}
		return nil
	}
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Signed)
	x.fault = nil
	other, err := x.node.Wallet.Spend(p.Inputs[0].Point, p.Inputs[0].Value, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	mine(t, x, x.node.BestBlockHash(), other)
	if p, err = s.Follow(t.Context(), p.ID); err != nil || !strings.Contains(p.Reason, other.TxHash().String()+", which has 1 of the 101 confirmations") {
		t.Errorf("%s (%s), %v", p.State, p.Reason, err)
	}
}

// Case 33: where payees pay the network fee, one whose amount does not carry its part is
// left out with its reason, and the rest are paid.
func TestCase33Small(t *testing.T) { each(t, testCase33Small) }

func testCase33Small(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	s.Settings.PayeesPay = true
	list := payees()[:1]
	small := one(2, 400, bob.Address())
	small.Minimum = 1
	plan, err := s.Plan(t.Context(), append(list, small))
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Left) != 1 || plan.Left[0].Account != 2 || !strings.Contains(plan.Left[0].Reason, "0.00000400 to "+bob.Address()+" do not carry their part of the network fee") {
		t.Errorf("%+v", plan.Left)
	}
	begun, err := s.Begin(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	x.is(s.Send(t.Context(), begun[0].ID))(Broadcast)
}

// A signer that pays the change to somebody else is refused, and nothing is debited.
func TestStolenChange(t *testing.T) { each(t, testStolenChange) }

func testStolenChange(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 103)
	s := x.sender("op")
	p := x.planned(s)
	text, err := s.Export(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	f, err := psbt.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = x.book.Payment(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	coins := map[wire.OutPoint]*wire.TxOut{}
	for _, in := range p.Inputs {
		coins[in.Point] = wire.NewTxOut(in.Value, in.Script)
	}
	change := f.Tx.TxOut[len(f.Tx.TxOut)-1]
	if !bytes.Equal(change.PkScript, x.node.Wallet.Script()) {
		t.Fatal("the last output is no change")
	}
	change.PkScript = btcd.NewWallet("thief").Script()
	if err := x.node.Wallet.Sign(f.Tx, txscript.NewMultiPrevOutFetcher(coins)); err != nil {
		t.Fatal(err)
	}
	was := x.book.Dump()
	if _, err := s.Import(t.Context(), p.ID, []byte(hex.EncodeToString(serialize(f.Tx)))); err == nil || !strings.Contains(err.Error(), "to a script that is not the wallet's") {
		t.Error(err)
	}
	if x.book.Dump() != was || len(x.mempool()) != 0 {
		t.Error("something was debited or sent")
	}
}

// What is spent is confirmed, and worth what its PSBT says.
func TestCoins(t *testing.T) {
	t.Parallel()
	x := start(t, Backends[0].Empty, 103)
	s := x.sender("op")
	block := x.node.BlockAt(1).Transactions[0]
	at := wire.OutPoint{Hash: block.TxHash()}
	packet := func(at wire.OutPoint) *psbt.Packet {
		tx := wire.NewMsgTx(2)
		tx.AddTxIn(wire.NewTxIn(&at, nil, nil))
		return encodePacket(t, tx)
	}
	p := packet(at)
	for _, tt := range []struct {
		value int64
		pk    []byte
		good  bool
	}{{block.TxOut[0].Value, block.TxOut[0].PkScript, true}, {block.TxOut[0].Value + 1, block.TxOut[0].PkScript, false}, {block.TxOut[0].Value, alice.Script(), false}} {
		p.Inputs[0].Output = wire.NewTxOut(tt.value, tt.pk)
		if _, err := s.coins(t.Context(), p, nil); (err == nil) != tt.good || err != nil && !strings.Contains(err.Error(), "in the PSBT") {
			t.Errorf("%d: %v", tt.value, err)
		}
	}
	spend, err := x.node.Wallet.Spend(at, block.TxOut[0].Value, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if verdict, why := s.Wallet.Send(t.Context(), serialize(spend), spend.TxHash().String()); verdict != Taken {
		t.Fatal(why)
	}
	if _, err := s.coins(t.Context(), packet(wire.OutPoint{Hash: spend.TxHash()}), nil); err == nil || !strings.Contains(err.Error(), "is not confirmed") {
		t.Error(err)
	}
}
