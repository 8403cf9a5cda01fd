package payout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/corewallet"
)

var errKilled = errors.New("killed")

// place is a chain, its wallet, a book, and a way to end a sender at any step.
type place struct {
	t      *testing.T
	node   *btcdNode
	core   *corewallet.Wallet
	client *bitcoind.Client
	book   TestBook
	blocks map[string]*wire.MsgBlock // that paid has read, by hash
	fault  func(method string) error // before each call of the node; nil: none
	after  func(method string) error // after it
}

type btcdNode = testkit.Btcd

var alice, bob = btcd.NewWallet("alice"), btcd.NewWallet("bob")

func payees() []Payee {
	a, b := one(1, 150_000_000, alice.Address()), one(2, 30_000_000, bob.Address())
	a.Targets = []Target{{alice.Address(), 2}, {p2tr, 1}}
	return []Payee{a, b}
}

// start is a place whose chain has so many blocks, and a book in which the payees have
// their balances.
func start(t *testing.T, empty func(*testing.T) TestBook, blocks int) *place {
	t.Helper()
	x := &place{t: t, node: testkit.StartBtcd(t, btcd.Options{}), book: empty(t), blocks: map[string]*wire.MsgBlock{}}
	credit(x.book, payees())
	x.book.PaidTo(1, alice.Address(), p2tr)
	x.book.PaidTo(2, bob.Address())
	x.node.Generate(blocks)
	x.core = corewallet.New(x.node.Node)
	s := httptest.NewServer(x.core)
	t.Cleanup(s.Close)
	x.client = bitcoind.NewClient(bitcoind.Config{URL: s.URL + "/wallet/pool", User: "u", Pass: "p"}, bitcoind.Options{})
	return x
}

// Call is the node's, with faults.
func (x *place) Call(ctx context.Context, result any, method string, params ...any) error {
	if x.fault != nil {
		if err := x.fault(method); err != nil {
			return err
		}
	}
	err := x.client.Call(ctx, result, method, params...)
	if x.after != nil {
		if err := x.after(method); err != nil {
			return err
		}
	}
	return err
}

func (x *place) sender(by string) *Sender {
	s := Defaults(address.Regtest)
	s.Rate, s.MinRate = 5_000, 1_000
	return &Sender{Book: x.book, Wallet: NewWallet(x, address.Regtest), Settings: s, By: by}
}

func (x *place) planned(s *Sender) Payment {
	x.t.Helper()
	return x.plannedFor(s, payees())
}

// rich are the payees, of whom alice has so much, and the book knows it.
func (x *place) rich(balance int64) []Payee {
	list := payees()
	x.book.Credit(1, balance-list[0].Balance)
	list[0].Balance = balance
	return list
}

// plannedFor is the one payment of a run for payees.
func (x *place) plannedFor(s *Sender, payees []Payee) Payment {
	x.t.Helper()
	plan, err := s.Plan(x.t.Context(), payees)
	if err != nil {
		x.t.Fatal(err)
	}
	list, err := s.Begin(x.t.Context(), plan)
	if err != nil || len(list) != 1 {
		x.t.Fatalf("%+v, %v", list, err)
	}
	return list[0]
}

func (x *place) is(p Payment, err error) func(State) Payment {
	return func(want State) Payment {
		x.t.Helper()
		if err != nil || p.State != want {
			x.t.Fatalf("payment is %s (%s), %v; want %s", p.State, p.Reason, err, want)
		}
		return p
	}
}

// paid is what an address got in blocks of the chain.
func (x *place) paid(w *btcd.Wallet) (sum int64) {
	x.t.Helper()
	for hash := x.node.BestBlockHash(); hash != (chainhash.Hash{}).String(); {
		b := x.blocks[hash]
		if b == nil {
			var err error
			if b, err = x.node.Block(x.t.Context(), hash); err != nil {
				x.t.Fatal(err)
			}
			x.blocks[hash] = b
		}
		for _, tx := range b.Transactions {
			for _, o := range tx.TxOut {
				if bytes.Equal(o.PkScript, w.Script()) {
					sum += o.Value
				}
			}
		}
		hash = b.Header.PrevBlock.String()
	}
	return sum
}

func (x *place) mempool() (txids []string) {
	x.t.Helper()
	if err := x.node.Call(x.t.Context(), &txids, "getrawmempool"); err != nil {
		x.t.Fatal(err)
	}
	return txids
}

// sums fails unless every account was debited once, and the ledger sums to zero.
func (x *place) sums(confirmed bool) {
	x.t.Helper()
	if b := x.book.Balances(); b[1] != 0 || b[2] != 0 {
		x.t.Errorf("balances %v", b)
	}
	m := x.book.Ledger()
	total := m[Chain] + m[Paying] + m[Fees]
	if total != 0 || confirmed != (m[Paying] == 0) {
		x.t.Errorf("ledger %v", m)
	}
}

// The whole way, twice over: planned, signed, sent, confirmed; balances are zero, the
// payees have it to the satoshi, and the fee is the pool's.
func TestStory(t *testing.T) { each(t, testStory) }

func testStory(t *testing.T, empty func(*testing.T) TestBook) {
	for _, old := range []bool{false, true} {
		for _, payeesPay := range []bool{false, true} {
			t.Run(fmt.Sprintf("old %v payees pay %v", old, payeesPay), func(t *testing.T) {
				t.Parallel()
				x := start(t, empty, 102)
				x.core.SetOld(old)
				s := x.sender("op")
				s.Settings.PayeesPay = payeesPay
				p := x.planned(s)
				p = x.is(s.Send(t.Context(), p.ID))(Broadcast)
				x.sums(false)
				x.node.Generate(1)
				p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
				x.sums(true)
				v := p.Versions[0]
				wantA, wantB, fees := int64(100_000_000), int64(30_000_000), v.Fee
				if payeesPay {
					wantA, wantB, fees = wantA-v.Fee/3-v.Fee%3, wantB-v.Fee/3, 0
				}
				if a, b := x.paid(alice), x.paid(bob); a != wantA || b != wantB {
					t.Errorf("alice has %d, bob %d, want %d and %d", a, b, wantA, wantB)
				}
				if got := x.book.Ledger()[Fees]; got != -fees || v.Fee*1000 < 5_000*(v.Size-2) || v.Fee > 6*v.Size {
					t.Errorf("the pool paid %d of a fee of %d for %d vbytes", -got, v.Fee, v.Size)
				}
				for range 3 { // nothing more is booked
					was := x.book.Dump()
					x.is(s.Follow(t.Context(), p.ID))(Confirmed)
					x.is(s.Send(t.Context(), p.ID))(Confirmed)
					if x.book.Dump() != was {
						t.Error("a step that was done changed the book")
					}
				}
			})
		}
	}
}

// crashing ends everything at the nth step, a call of the node or of the book, before or
// after it.
type crashing struct {
	Book
	step func(after bool) error
}

func (c *crashing) Change(ctx context.Context, id, serial int64, ch Change) (Payment, error) {
	if err := c.step(false); err != nil {
		return Payment{}, err
	}
	p, err := c.Book.Change(ctx, id, serial, ch)
	if err := c.step(true); err != nil {
		return Payment{}, err
	}
	return p, err
}

// Case 1: killed before and after every step, and the command repeated: one txid, one
// debit per payee. Then it is repeated 100 times.
func TestCase1Killed(t *testing.T) { each(t, testCase1Killed) }

func testCase1Killed(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	steps := 0
	for at := 1; ; at++ {
		if at > 1 {
			credit(x.book, payees())
		}
		s := x.sender("op")
		p := x.planned(s)
		n, dead := 0, false
		step := func(bool) error {
			if n++; n == at {
				dead = true
			}
			if dead {
				return errKilled
			}
			return nil
		}
		s.Book = &crashing{x.book, step}
		x.fault = func(string) error { return step(false) }
		x.after = func(string) error { return step(true) }
		_, err := s.Send(t.Context(), p.ID)
		whole := !dead
		x.fault, x.after = nil, nil
		if now, e := x.book.Payment(t.Context(), p.ID); e != nil || dead && err == nil && !strings.Contains(now.Reason, "killed") {
			t.Errorf("step %d: killed, and nobody noticed: %v", at, e)
		}
		again := x.sender("op")
		repeats := 2
		if whole {
			repeats = 100
		}
		for range repeats {
			p = x.is(again.Send(t.Context(), p.ID))(Broadcast)
		}
		if pool := x.mempool(); len(pool) != 1 || len(p.Versions) != 1 || pool[0] != p.Versions[0].Txid {
			t.Fatalf("step %d: mempool %v, versions %d", at, pool, len(p.Versions))
		}
		x.sums(false)
		x.node.Generate(1) // the next round has another coinbase
		x.is(again.Follow(t.Context(), p.ID))(Confirmed)
		x.sums(true)
		if whole {
			break
		}
		steps++
	}
	if steps < 20 {
		t.Errorf("only %d steps", steps)
	}
	if got, want := x.paid(bob), int64(steps+1)*30_000_000; got != want {
		t.Errorf("bob has %d after %d rounds, want %d", got, steps+1, want)
	}
}

// Case 2: a backup older than the payment: its spend is strange, and stops sending and
// autopay until it is booked.
func TestCase2Restored(t *testing.T) { each(t, testCase2Restored) }

func testCase2Restored(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 103)
	old := x.book.Backup()
	s := x.sender("op")
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	for _, confirmed := range []bool{false, true} {
		if confirmed {
			x.node.Generate(1)
		}
		x.book = old.Backup()
		s := x.sender("op")
		q := x.planned(s)
		was := x.book.Dump()
		_, err := s.Send(t.Context(), q.ID)
		if e, ok := errors.AsType[*StrangeError](err); !ok || e.Txids[0] != p.Versions[0].Txid {
			t.Fatalf("confirmed %v: %v", confirmed, err)
		}
		if _, err := s.Export(t.Context(), q.ID); err == nil {
			t.Error("exported")
		}
		_, err = s.Auto(t.Context(), payees(), Limits{maxMoney, maxMoney}, 0, time.Now())
		if _, ok := errors.AsType[*StrangeError](err); !ok {
			t.Error(err)
		}
		if x.book.Dump() != was {
			t.Error("the book changed")
		}
		x.book.Known(p.Versions[0].Txid)
		q = x.is(s.Send(t.Context(), q.ID))(Broadcast)
		x.node.Generate(1)
		old.Known(q.Versions[0].Txid)
	}
}

// A wallet that has lost its locks, as when its node starts anew, does not fund another payment
// with what one spends that is with its signer, or of which nobody knows whether it was sent.
func TestCoinsAreKept(t *testing.T) { each(t, testCoinsAreKept) }

func testCoinsAreKept(t *testing.T, empty func(*testing.T) TestBook) {
	begin := func(s *Sender, who []Payee) Payment {
		t.Helper()
		plan, err := s.Plan(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Begin(t.Context(), plan)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0]
	}
	for state, leave := range map[State]func(x *place, s *Sender, id int64) error{
		Exported: func(_ *place, s *Sender, id int64) error {
			_, err := s.Export(t.Context(), id)
			return err
		},
		Unknown: func(x *place, s *Sender, id int64) error {
			x.fault = func(method string) error {
				if method == "sendrawtransaction" {
					return errors.New("connection reset")
				}
				return nil
			}
			_, err := s.Send(t.Context(), id)
			return err
		},
	} {
		x := start(t, empty, 102)
		s := x.sender("op")
		p := begin(s, payees()[1:])
		if err := leave(x, s, p.ID); err != nil {
			t.Fatal(err)
		}
		p = x.is(x.book.Payment(t.Context(), p.ID))(state)
		if err := x.Call(t.Context(), nil, "lockunspent", true); err != nil {
			t.Fatal(err)
		}
		next := begin(s, payees()[:1])
		_, inputs, err := s.Fund(t.Context(), &next)
		if err != nil || len(inputs) == 0 || slices.ContainsFunc(inputs, func(in Input) bool { return p.spends(in.Point) }) {
			t.Errorf("funded with %+v, %v; the one that is %s spends %+v", inputs, err, state, p.Inputs)
		}
	}
}

// Cases 3 and 9: no clear answer to sendrawtransaction is unknown, whether the node took
// it or not; only the same bytes again decide. A refusal keeps its reason.
func TestCase3Unclear(t *testing.T) { each(t, testCase3Unclear) }

func testCase3Unclear(t *testing.T, empty func(*testing.T) TestBook) {
	for name, fault := range map[string]struct {
		took bool
		err  error
	}{
		"cut before": {false, errors.New("connection reset")}, "time-out after": {true, context.DeadlineExceeded},
		"HTTP 500 after": {true, &bitcoind.RPCError{Status: http.StatusInternalServerError, Message: "Internal Server Error"}},
		"busy":           {false, &bitcoind.RPCError{Status: http.StatusServiceUnavailable, Message: "Work queue depth exceeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t, empty, 102)
			s := x.sender("op")
			p := x.planned(s)
			hit := func(method string) error {
				if method == "sendrawtransaction" {
					return fault.err
				}
				return nil
			}
			if fault.took {
				x.after = hit
			} else {
				x.fault = hit
			}
			p = x.is(s.Send(t.Context(), p.ID))(Unknown)
			bytesSent := p.Versions[0].Raw
			x.sums(false)
			if _, err := s.Cancel(t.Context(), p.ID); err == nil {
				t.Error("an unknown payment is cancelled")
			}
			if plan, err := s.Plan(t.Context(), []Payee{one(1, x.book.Balances()[1], alice.Address())}); err != nil || len(plan.Payments) != 0 {
				t.Errorf("%+v, %v", plan, err)
			}
			x.is(s.Follow(t.Context(), p.ID))(Unknown)
			x.fault, x.after = nil, nil
			p = x.is(s.Follow(t.Context(), p.ID))(Broadcast)
			if len(p.Versions) != 1 || !bytes.Equal(p.Versions[0].Raw, bytesSent) {
				t.Error("other bytes")
			}
			x.node.Generate(1)
			x.is(s.Follow(t.Context(), p.ID))(Confirmed)
			x.sums(true)
		})
	}
}

// Case 4: what the mempool lost is sent again, the same bytes.
func TestCase4Evicted(t *testing.T) { each(t, testCase4Evicted) }

func testCase4Evicted(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	s := x.sender("op")
	p := x.planned(s)
	lost := 2
	x.fault = func(method string) error {
		if method == "sendrawtransaction" && lost > 0 {
			lost--
			return &bitcoind.RPCError{Code: -26, Message: "mempool full", Status: 500}
		}
		return nil
	}
	p = x.is(s.Send(t.Context(), p.ID))(Signed)
	if !strings.Contains(p.Reason, "mempool full") {
		t.Errorf("reason %q", p.Reason)
	}
	x.sums(false)
	x.is(s.Send(t.Context(), p.ID))(Signed)
	again := x.is(s.Send(t.Context(), p.ID))(Broadcast)
	if again.Reason != "" || len(again.Versions) != 1 || x.mempool()[0] != p.Versions[0].Txid {
		t.Errorf("%+v", again)
	}
}

// Case 5: autopay and two people at once: one wins, the others are told who.
func TestCase5TwoSenders(t *testing.T) { each(t, testCase5TwoSenders) }

func testCase5TwoSenders(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	p := x.planned(x.sender("op"))
	var wg sync.WaitGroup
	errs := make([]error, 3)
	names := []string{"ann", "ben", Autopay}
	var meet sync.WaitGroup // all have read the payment as planned before one signs
	meet.Add(len(names))
	for i, name := range names {
		wg.Go(func() {
			s := x.sender(name)
			s.Book = &meeting{Book: x.book, meet: &meet}
			_, errs[i] = s.Send(t.Context(), p.ID)
		})
	}
	wg.Wait()
	won := ""
	for i, err := range errs {
		if err == nil {
			won = names[i]
		}
	}
	for i, err := range errs {
		if e, ok := errors.AsType[*LostError](err); names[i] != won && (!ok || !strings.Contains(e.Error(), "taken by "+won)) {
			t.Errorf("%s, while %s won: %v", names[i], won, err)
		}
	}
	if len(x.mempool()) != 1 {
		t.Errorf("mempool %v", x.mempool())
	}
	x.sums(false)
}

type meeting struct {
	Book
	meet *sync.WaitGroup
	once sync.Once
}

func (m *meeting) Change(ctx context.Context, id, serial int64, c Change) (Payment, error) {
	m.once.Do(func() { m.meet.Done(); m.meet.Wait() })
	return m.Book.Change(ctx, id, serial, c)
}

// Case 7: what was exported is cancelled only when another spend of its input is
// confirmed; signed, it comes back and is sent.
func TestCase7Exported(t *testing.T) { each(t, testCase7Exported) }

func testCase7Exported(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	s.Settings.Final = 2
	p := x.planned(s)
	text, err := s.Export(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Export(t.Context(), p.ID); err != nil || again != text {
		t.Errorf("the second export differs: %v", err)
	}
	if _, err := s.Cancel(t.Context(), p.ID); err == nil || !strings.Contains(err.Error(), "could still be sent") {
		t.Errorf("cancelled: %v", err)
	}
	plan, err := s.Plan(t.Context(), payees())
	if err != nil || len(plan.Payments) != 0 || plan.Left[0].Reason != "in payment 1, exported" {
		t.Errorf("%+v, %v", plan, err)
	}
	// A file has the end of a line, which a node does not take.
	for _, file := range []string{text, text + "\n", text[:64] + "\r\n" + text[64:] + "\r\n"} {
		if _, err := s.Import(t.Context(), p.ID, []byte(file)); err == nil || !strings.Contains(err.Error(), "signatures are missing") {
			t.Error(err)
		}
	}
	var signed struct{ Hex, PSBT string }
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}

	r, err := s.Replace(t.Context(), p.ID, payees())
	if err != nil {
		t.Fatal(err)
	}
	if p, err = x.book.Payment(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	r = x.is(s.Send(t.Context(), r.ID))(Broadcast)
	if !r.spends(p.Inputs[0].Point) {
		t.Error("the replacement spends nothing of what it replaces")
	}
	was := x.book.Dump()
	if _, err := s.Import(t.Context(), p.ID, []byte(signed.Hex)); err == nil {
		t.Error("both were sent")
	}
	if x.book.Dump() != was {
		t.Error("the book changed")
	}
	x.node.Generate(1)
	if _, err := s.Cancel(t.Context(), p.ID); err == nil || !strings.Contains(err.Error(), "has 1 of 2 confirmations") {
		t.Errorf("cancelled after one confirmation: %v", err)
	}
	x.node.Generate(1)
	x.is(s.Cancel(t.Context(), p.ID))(Cancelled)
	x.is(s.Follow(t.Context(), r.ID))(Confirmed)
	x.sums(true)

	// Another one is signed, as PSBT, and sent by its signer himself before it is imported.
	x.book.Credit(2, 30_000_000)
	list, err := s.Begin(t.Context(), &Plan{Payments: [][]Output{r.Outputs[2:]}})
	if err != nil {
		t.Fatal(err)
	}
	if text, err = s.Export(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}
	if err := x.client.Call(t.Context(), nil, "sendrawtransaction", signed.Hex); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cancel(t.Context(), list[0].ID); err == nil || !strings.Contains(err.Error(), "was sent by its signer") {
		t.Error(err)
	}
	x.is(s.Import(t.Context(), list[0].ID, []byte(signed.PSBT)))(Broadcast)
	x.is(s.Import(t.Context(), list[0].ID, []byte(signed.Hex)))(Broadcast)
	x.sums(false)
}

// What was exported comes back signed while its replacement is planned: only one of them
// is debited.
func TestCase7ImportedAndReplaced(t *testing.T) { each(t, testCase7ImportedAndReplaced) }

func testCase7ImportedAndReplaced(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 104)
	s := x.sender("op")
	p := x.planned(s)
	text, err := s.Export(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Replace(t.Context(), p.ID, payees())
	if err != nil {
		t.Fatal(err)
	}
	var signed struct{ PSBT string }
	if err := x.client.Call(t.Context(), &signed, "walletprocesspsbt", text); err != nil {
		t.Fatal(err)
	}
	x.fault = func(method string) error {
		if method == "sendrawtransaction" {
			return errors.New("cut")
		}
		return nil
	}
	x.is(s.Import(t.Context(), p.ID, []byte(signed.PSBT)))(Unknown)
	x.fault = nil
	credit(x.book, payees()) // enough for both
	if _, err := s.Send(t.Context(), r.ID); err == nil || !strings.Contains(err.Error(), "replaces payment 1, which is unknown now") {
		t.Errorf("%v", err)
	}
	x.is(s.Follow(t.Context(), p.ID))(Broadcast)
	// The book itself refuses what read the payment before it was signed.
	p, _ = x.book.Payment(t.Context(), p.ID)
	_, err = x.book.Change(t.Context(), r.ID, r.Serial, Change{To: Signed, By: "late", Inputs: p.Inputs, Postings: []Posting{debit(&r)}})
	if _, ok := errors.AsType[*TakenError](err); !ok {
		t.Error(err)
	}
}

// Case 8: the payment's block leaves the chain: broadcast again, the same bytes, and the
// balances as they were; confirmed again, nothing is booked again.
func TestCase8Reorganised(t *testing.T) { each(t, testCase8Reorganised) }

func testCase8Reorganised(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	s := x.sender("op")
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	x.node.Generate(1)
	p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	booked := x.book.Postings()
	x.node.Reorg(1)
	p = x.is(s.Follow(t.Context(), p.ID))(Broadcast)
	if p.Block != nil || len(p.Versions) != 1 || x.mempool()[0] != p.Versions[0].Txid {
		t.Errorf("%+v", p)
	}
	x.sums(true)
	x.node.Generate(1)
	x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	x.sums(true)
	if x.book.Postings() != booked {
		t.Errorf("%d postings, %d before", x.book.Postings(), booked)
	}
}

// Cases 9 and 28: what the wallet refuses changes nothing but the payment's reason; too
// little money stops the run, amounts do not shrink.
func TestCase9Refused(t *testing.T) { each(t, testCase9Refused) }

func testCase9Refused(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 100) // nothing is mature for the wallet
	s := x.sender("op")
	p := x.planned(s)
	p, err := s.Send(t.Context(), p.ID)
	if code(err) != -4 || p.State != Planned || !strings.Contains(p.Reason, "Insufficient funds") {
		t.Errorf("%+v, %v", p, err)
	}
	x.node.Generate(2)
	x.core.SetLocked(true)
	p, err = s.Send(t.Context(), p.ID)
	if code(err) != -13 || p.State != Planned || !strings.Contains(p.Reason, "unlock it") {
		t.Errorf("%+v, %v", p, err)
	}
	if x.book.Balances()[1] != 150_000_000 || x.book.Postings() != 0 {
		t.Error("something was debited")
	}
	x.core.SetLocked(false)
	p = x.is(s.Send(t.Context(), p.ID))(Broadcast)
	if p.Reason != "" || p.Versions[0].Amounts[2] != 30_000_000 {
		t.Errorf("%+v", p)
	}
}

// Case 28: too little money stops a run, however often it is tried, and amounts do not
// shrink; who pays the network fee is what was set when the run was planned, and what the
// pool pays is booked apart from its fees.
func TestCase28(t *testing.T) { each(t, testCase28) }

func testCase28(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 100) // nothing is mature for the wallet
	s := x.sender("op")
	first := x.planned(s)
	// It is said only for the runs to come.
	credit(x.book, payees())
	s.Settings.PayeesPay = true
	for range 3 {
		p, err := s.Send(t.Context(), first.ID)
		if code(err) != -4 || p.State != Planned || len(p.Outputs) != 3 {
			t.Errorf("%+v, %v", p, err)
		}
		for i, want := range []int64{100_000_000, 50_000_000, 30_000_000} {
			if o := p.Outputs[i]; o.Amount != want || o.Debit != want {
				t.Errorf("output %d is of %d, %d debited, want %d", i, o.Amount, o.Debit, want)
			}
		}
	}
	if b := x.book.Balances(); b[1] != 300_000_000 || b[2] != 60_000_000 || x.book.Postings() != 0 {
		t.Errorf("balances %v, %d postings", b, x.book.Postings())
	}
	x.node.Generate(4)
	first = x.is(s.Send(t.Context(), first.ID))(Broadcast)
	x.node.Generate(1)
	first = x.is(s.Follow(t.Context(), first.ID))(Confirmed)
	fee := first.Versions[0].Fee
	if a, b := x.paid(alice), x.paid(bob); a != 100_000_000 || b != 30_000_000 {
		t.Errorf("alice has %d, bob %d: the pool pays the fee", a, b)
	}
	if m := x.book.Ledger(); fee <= 0 || m[Fees] != -fee || m[Pool] != 0 {
		t.Errorf("a fee of %d, ledger %v", fee, m)
	}
	second := x.planned(s)
	x.is(s.Send(t.Context(), second.ID))(Broadcast)
	x.node.Generate(1)
	second = x.is(s.Follow(t.Context(), second.ID))(Confirmed)
	if m := x.book.Ledger(); m[Fees] != -fee || m[Paying] != 0 {
		t.Errorf("the pool's part is %d before and %d after a payment whose payees pay", -fee, m[Fees])
	}
	if took := 60_000_000 - x.paid(bob); took != second.Versions[0].Fee/3 {
		t.Errorf("bob paid %d of a fee of %d for three outputs", took, second.Versions[0].Fee)
	}
}

// Case 29: fee and rate are those of the transaction itself; outside of the bounds nothing
// is sent and nothing is debited.
func TestCase29(t *testing.T) { each(t, testCase29) }

func testCase29(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	s := x.sender("op")
	p := x.planned(s)
	for name, tt := range map[string]struct {
		set  func(*Settings)
		says string
	}{
		"a rate hundreds of times too high": {func(s *Settings) { s.Rate = 300 * 5_000 }, "more than 200000"},
		"a rate below what is relayed":      {func(s *Settings) { s.MinRate = 6_000 }, "less than 6000"},
		"a fee above":                       {func(s *Settings) { s.MaxFee = 100 }, "more than 0.00000100"},
		"no estimate":                       {func(s *Settings) { s.Rate = 0 }, "--fee-rate"},
	} {
		s := x.sender("op")
		tt.set(&s.Settings)
		p, err := s.Send(t.Context(), p.ID)
		if err == nil || !strings.Contains(err.Error(), tt.says) || p.State == Broadcast {
			t.Errorf("%s: %s, %v", name, p.State, err)
		}
		if b := x.book.Balances(); b[1] != 150_000_000 || b[2] != 30_000_000 || x.book.Postings() != 0 || len(x.mempool()) != 0 {
			t.Errorf("%s: balances %v, %d postings, mempool %v", name, b, x.book.Postings(), x.mempool())
		}
	}
	x.is(s.Send(t.Context(), p.ID))(Broadcast)
	x.sums(false)
}

// estimating is a node with an estimate of the fee rate, in bitcoins per 1000 vbytes.
type estimating struct {
	Node
	rate string
}

func (e *estimating) Call(ctx context.Context, result any, method string, params ...any) error {
	if method == "estimatesmartfee" {
		return json.Unmarshal([]byte(`{"feerate":`+e.rate+`,"blocks":6}`), result)
	}
	return e.Node.Call(ctx, result, method, params...)
}

// Case 29: an estimate above the bounds is refused; below them, as of Bitcoin Core 30 where
// blocks are not full, the least is paid.
func TestEstimates(t *testing.T) { each(t, testEstimates) }

func testEstimates(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 102)
	s := x.sender("op")
	p := x.planned(s)
	s.Settings.Rate = 0
	s.Wallet = NewWallet(&estimating{x, "0.00200001"}, address.Regtest)
	if _, err := s.Send(t.Context(), p.ID); err == nil || !strings.Contains(err.Error(), "200001 satoshis per 1000 vbytes, is more than 200000") {
		t.Errorf("an estimate above: %v", err)
	}
	s.Wallet = NewWallet(&estimating{x, "0.00000123"}, address.Regtest)
	p = x.is(s.Send(t.Context(), p.ID))(Broadcast)
	// One signature of 256 is a byte shorter than what the wallet reckons with.
	if v := p.Versions[0]; v.Fee < v.Size || v.Fee > v.Size+1 {
		t.Errorf("a fee of %d for %d vbytes", v.Fee, v.Size)
	}
}

// Case 17: mature is 101 confirmations; nothing spends a coinbase earlier, and the chain
// itself would take 100.
func TestCase17Maturity(t *testing.T) {
	t.Parallel()
	x := start(t, Backends[0].Empty, 98)
	s := x.sender("op")
	block := x.node.BlockAt(1)
	at := wire.OutPoint{Hash: block.Transactions[0].TxHash()}
	for confirmations := int64(99); confirmations <= 101; confirmations++ {
		x.node.Generate(1)
		tx := wire.NewMsgTx(2)
		tx.AddTxIn(wire.NewTxIn(&at, nil, nil))
		f := encodePacket(t, tx)
		_, err := s.coins(t.Context(), f, nil)
		if (err == nil) != (confirmations >= 101) || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("coinbase with %d confirmations: it is spent from 101", confirmations)) {
			t.Errorf("%d confirmations: %v", confirmations, err)
		}
		spend, err := x.node.Wallet.Spend(at, block.Transactions[0].TxOut[0].Value, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		reason, err := s.Wallet.Accepted(t.Context(), serialize(spend))
		if err != nil || (reason == "") != (confirmations >= 100) {
			t.Errorf("mempool with %d confirmations: %q, %v", confirmations, reason, err)
		}
	}
}

// Case 18: an input that is gone names its block and ends its payment alone; a new plan
// works.
func TestCase18Gone(t *testing.T) { each(t, testCase18Gone) }

func testCase18Gone(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	s := x.sender("op")
	p := x.planned(s)
	_, inputs, err := s.Fund(t.Context(), &p)
	if err != nil {
		t.Fatal(err)
	}
	// The wallet's opinion is stale: it offers what the chain does not have.
	gone := inputs[0].Point
	stale := &staleCoins{Node: x, gone: gone}
	s.Wallet = NewWallet(stale, address.Regtest)
	_, err = s.Send(t.Context(), p.ID)
	if err == nil || !strings.Contains(err.Error(), "of block "+x.node.BlockHash(1)+" is gone") {
		t.Errorf("%v", err)
	}
	if p, _ = x.book.Payment(t.Context(), p.ID); p.State != Cancelled || x.book.Postings() != 0 {
		t.Errorf("%+v", p)
	}
	q := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	if q.spends(gone) {
		t.Error("planned with it again")
	}
	lock := func() error {
		return x.Call(t.Context(), nil, "lockunspent", false, []any{map[string]any{"txid": gone.Hash.String(), "vout": gone.Index}})
	}
	if err := lock(); code(err) != codeParameter {
		t.Errorf("it is not locked: %v", err)
	}
	// It was of a block that is in the chain again.
	stale.gone = wire.OutPoint{}
	r := x.planned(s)
	if _, _, err := s.Fund(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if err := lock(); err != nil {
		t.Errorf("it stays locked: %v", err)
	}
}

type staleCoins struct {
	Node
	gone wire.OutPoint
}

func (s *staleCoins) Call(ctx context.Context, result any, method string, params ...any) error {
	if method == "gettxout" && params[0] == s.gone.Hash.String() {
		return nil
	}
	return s.Node.Call(ctx, result, method, params...)
}

// A bump costs the pool what it is more, where payees pay the network fee: where it has
// less than that of its own, it would pay with what it owes, and nothing is sent; unless the
// settings say by now that the pool pays.
func TestBumpNobodyPays(t *testing.T) { each(t, testBumpNobodyPays) }

func testBumpNobodyPays(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 103)
	s := x.sender("op")
	s.Settings.PayeesPay = true
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	first := p.Versions[0]
	more := first.Size*20_000/1000 - first.Fee
	refused := func(has string) {
		t.Helper()
		was := x.book.Dump()
		want := "payment 1 would cost the pool " + FormatBitcoins(more) + ", and of its own it has " + has + ": "
		if _, err := s.Bump(t.Context(), p.ID, 20_000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if x.book.Dump() != was || len(x.mempool()) != 1 || x.mempool()[0] != first.Txid {
			t.Error("it changed something")
		}
	}
	refused("0.00000000")
	x.book.Earn(more - 1)
	refused(FormatBitcoins(more - 1))
	x.book.Earn(1)
	p = x.is(s.Bump(t.Context(), p.ID, 20_000))(Broadcast)
	if p.Versions[1].Fee != first.Fee+more {
		t.Fatalf("a fee of %d, want %d", p.Versions[1].Fee, first.Fee+more)
	}
	// What is not booked yet is spent all the same.
	if _, err := s.Bump(t.Context(), p.ID, 30_000); err == nil || !strings.Contains(err.Error(), "of its own it has "+FormatBitcoins(more)) {
		t.Errorf("bumped again: %v", err)
	}
	// So is what the bump of another payment costs.
	credit(x.book, payees())
	other := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	if _, err := s.Bump(t.Context(), other.ID, 20_000); err == nil || !strings.Contains(err.Error(), "of its own it has 0.00000000") {
		t.Errorf("another is bumped: %v", err)
	}
	s.Settings.PayeesPay = false
	p = x.is(s.Bump(t.Context(), p.ID, 30_000))(Broadcast)
	x.node.Generate(1)
	x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	if paid := x.book.Ledger()[Fees]; paid != -(p.Versions[2].Fee - first.Fee) {
		t.Errorf("it cost %d", paid)
	}
}

// Where the change is too little for a bump the wallet takes a further coin: it is the
// payment's as well, payees have what they were promised, and the fee is booked once.
func TestBumpTakesAnotherCoin(t *testing.T) { each(t, testBumpTakesAnotherCoin) }

func testBumpTakesAnotherCoin(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 103)
	s := x.sender("op")
	rich := x.rich(50_0000_0000 - 30_000_000 - 3000) // of a coin: enough for the first fee
	p := x.is(s.Send(t.Context(), x.plannedFor(s, rich).ID))(Broadcast)
	first := p.Versions[0]
	if len(first.Inputs) != 1 {
		t.Fatalf("inputs %+v", first.Inputs)
	}
	p = x.is(s.Bump(t.Context(), p.ID, 20_000))(Broadcast)
	second := p.Versions[1]
	if len(second.Inputs) != 2 || !slices.Contains(points(second.Inputs), first.Inputs[0].Point) || !slices.Equal(second.Amounts, first.Amounts) {
		t.Fatalf("the bump is %+v of %+v", second, first)
	}
	if !slices.Equal(points(p.Inputs), points(second.Inputs)) { // which others must not fund theirs with
		t.Errorf("the payment holds %v, its bump spends %v", points(p.Inputs), points(second.Inputs))
	}
	if pool := x.mempool(); len(pool) != 1 || pool[0] != second.Txid || second.Fee < 19*second.Size {
		t.Errorf("mempool %v, a fee of %d for %d vbytes", pool, second.Fee, second.Size)
	}
	x.sums(false)
	x.node.Generate(1)
	p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	x.sums(true)
	if got := x.paid(bob); got != 30_000_000 || p.Block.Txid != second.Txid || x.book.Ledger()[Fees] != -second.Fee {
		t.Errorf("bob has %d, %+v is confirmed, the pool paid %d of %d", got, p.Block, -x.book.Ledger()[Fees], second.Fee)
	}
}

// Case 35: a payment and its bump: whichever is mined is booked, once, with its own fee;
// a bump that changes a payee's output is refused.
func TestCase35Bump(t *testing.T) { each(t, testCase35Bump) }

func testCase35Bump(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	s := x.sender("op")
	made := &falseBump{Node: x}
	s.Wallet = NewWallet(made, address.Regtest)
	p := x.is(s.Send(t.Context(), x.planned(s).ID))(Broadcast)
	first := p.Versions[0]
	was := x.book.Dump()
	thief := &alteredBump{Node: x, t: t}
	s.Wallet = NewWallet(thief, address.Regtest)
	if _, err := s.Bump(t.Context(), p.ID, 20_000); err == nil || !strings.Contains(err.Error(), "not what was planned") {
		t.Errorf("a bump that pays somebody else: %v", err)
	}
	if x.book.Dump() != was || x.mempool()[0] != first.Txid {
		t.Error("it changed something")
	}
	for name, why := range map[string]string{"other": "both could be mined", "same": "has no higher fee"} {
		s.Wallet = NewWallet(&falseBump{Node: x, other: name == "other", made: made.made}, address.Regtest)
		if _, err := s.Bump(t.Context(), p.ID, 20_000); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("a bump that is the %s transaction: %v", name, err)
		}
		if x.book.Dump() != was || x.mempool()[0] != first.Txid {
			t.Error("it changed something")
		}
	}
	s.Wallet = NewWallet(x, address.Regtest)
	p = x.is(s.Bump(t.Context(), p.ID, 20_000))(Broadcast)
	second := p.Versions[1]
	if pool := x.mempool(); len(pool) != 1 || pool[0] != second.Txid || second.Fee <= first.Fee {
		t.Fatalf("mempool %v, fees %d and %d", pool, first.Fee, second.Fee)
	}
	x.sums(false)

	// The original is mined all the same, by another miner.
	tx := new(wire.MsgTx)
	if err := tx.Deserialize(bytes.NewReader(first.Raw)); err != nil {
		t.Fatal(err)
	}
	fork := x.node.BestBlockHash()
	mine(t, x, fork, tx)
	p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	if p.Block.Txid != first.Txid || x.book.Ledger()[Fees] != -first.Fee {
		t.Errorf("%+v, fee %d, want %d", p.Block, x.book.Ledger()[Fees], -first.Fee)
	}
	x.sums(true)
	if _, err := s.Bump(t.Context(), p.ID, 40_000); err == nil || !strings.Contains(err.Error(), "only one that waits for confirmation is bumped") {
		t.Errorf("bumped when it was confirmed: %v", err)
	}

	// The chain goes back, and the bump is mined: the difference is booked.
	if _, err := x.node.Branch(t.Context(), fork, 2); err != nil {
		t.Fatal(err)
	}
	x.is(s.Follow(t.Context(), p.ID))(Broadcast)
	x.node.Generate(1)
	p = x.is(s.Follow(t.Context(), p.ID))(Confirmed)
	if p.Block.Txid == first.Txid {
		if x.book.Ledger()[Fees] != -first.Fee {
			t.Errorf("fee %d", x.book.Ledger()[Fees])
		}
	} else if x.book.Ledger()[Fees] != -second.Fee {
		t.Errorf("fee %d, want %d", x.book.Ledger()[Fees], -second.Fee)
	}
	x.sums(true)
	if got := x.paid(bob); got != 30_000_000 {
		t.Errorf("bob has %d", got)
	}
}

// Autopay stays within its limits, and stops where the pool owes more than it has.
func TestAutopay(t *testing.T) { each(t, testAutopay) }

func testAutopay(t *testing.T, empty func(*testing.T) TestBook) {
	x := start(t, empty, 105)
	s := x.sender("op")
	if err := s.guard(t.Context(), ""); err != nil { // where its cursor stays
		t.Fatal(err)
	}
	was := x.book.Dump()
	for name, tt := range map[string]struct {
		l        Limits
		solvency int64
		says     string
	}{
		"no limits": {Limits{}, 0, "no limits"}, "insolvent": {Limits{maxMoney, maxMoney}, -1, "owes 0.00000001 more"},
		"run": {Limits{179_999_999, maxMoney}, 0, "the limits are"}, "day": {Limits{maxMoney, 179_999_999}, 0, "the limits are"},
	} {
		if _, err := s.Auto(t.Context(), payees(), tt.l, tt.solvency, time.Now()); err == nil || !strings.Contains(err.Error(), tt.says) || x.book.Dump() != was {
			t.Errorf("%s: %v, or the database changed", name, err)
		}
	}
	// What cannot be made or signed now is not stored, however often it is tried.
	impossible := x.sender("op")
	impossible.Settings.Rate = 0
	if _, err := impossible.Auto(t.Context(), payees(), Limits{maxMoney, maxMoney}, 0, time.Now()); err == nil || !strings.Contains(err.Error(), "no estimate") || x.book.Dump() != was {
		t.Errorf("no fee rate: %v, or the database changed", err)
	}
	x.core.SetLocked(true)
	if _, err := s.Auto(t.Context(), payees(), Limits{maxMoney, maxMoney}, 0, time.Now()); err == nil || !strings.Contains(err.Error(), "wallet is locked") || x.book.Dump() != was {
		t.Errorf("locked: %v, or the database changed", err)
	}
	x.core.SetLocked(false)
	list, err := s.Auto(t.Context(), payees(), Limits{180_000_000, 180_000_000}, 0, time.Now())
	if err != nil || len(list) != 1 || list[0].State != Broadcast || list[0].By != Autopay {
		t.Fatalf("%+v, %v", list, err)
	}
	x.sums(false)
	x.book.Credit(2, 1_000_000)
	again := []Payee{one(2, 1_000_000, bob.Address())}
	if _, err := s.Auto(t.Context(), again, Limits{180_000_000, 180_999_999}, 0, time.Now()); err == nil || !strings.Contains(err.Error(), "the limits are") {
		t.Errorf("the limit of a day is passed: %v", err)
	}
	// What a person has planned is the person's.
	plan, err := s.Plan(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	begun, err := s.Begin(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.Auto(t.Context(), again, Limits{maxMoney, maxMoney}, 0, time.Now()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	x.node.Generate(1) // its change can be spent
	x.is(s.Send(t.Context(), begun[0].ID))(Broadcast)
}
