package payout

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/btcsuite/btcd/wire/v2"
)

// State of a payment.
type State string

// States. Edges go down this list, and from confirmed back to broadcast when the chain
// does; between signed, broadcast and unknown. None leads from signed to planned or
// exported, and only the chain leads to cancelled, where another transaction spends what
// each version of the payment spends, Maturity deep.
const (
	Planned   State = "planned"   // may be cancelled: nothing left the pool
	Exported  State = "exported"  // a PSBT left for its signer; may come back at any time
	Signed    State = "signed"    // debited, and its bytes are in the book; perhaps never sent
	Unknown   State = "unknown"   // sent without a clear answer
	Broadcast State = "broadcast" // a node took it
	Confirmed State = "confirmed" // in a block
	Cancelled State = "cancelled" // it never will be confirmed
)

// States are all there are.
var States = []State{Planned, Exported, Signed, Unknown, Broadcast, Confirmed, Cancelled}

// left is whether bytes of the payment may be in the network.
func (s State) left() bool {
	return s == Signed || s == Unknown || s == Broadcast || s == Confirmed
}

// Payment is one transaction of a run, by all its versions.
type Payment struct {
	ID, Run int64
	Serial  int64 // how often it was changed
	State   State
	By      string // who changed it last
	Reason  string // why it is not further, "" as it should be

	Outputs   []Output
	PayeesPay bool  // see [Settings.PayeesPay]
	Replaces  int64 // the exported payment one of whose inputs this one spends; 0: none

	PSBT   string  // what was exported
	Inputs []Input // what it spends; those of bumps may be more, see Version

	Versions []Version // oldest first: the signed transaction, and its bumps
	Block    *Block    // of the version that is in the chain; nil: none is

	// Booked is the txid of the version whose fee is in the ledger, "" before its first
	// confirmation; Bookings counts the times that was another one.
	Booked   string
	Bookings int64
}

// Version is a signed transaction of a payment.
type Version struct {
	Txid    string // as displayed
	Raw     []byte
	Fee     int64
	Size    int64   // vbytes
	Amounts []int64 // of the payment's outputs, in their order
	Inputs  []Input
}

// Block is where a version was confirmed.
type Block struct {
	Txid          string
	Hash          string // as displayed
	Height        int64
	Confirmations int64
}

// Change is what becomes of a payment in one step: everything in it is stored in one
// transaction, or nothing.
type Change struct {
	To       State
	By       string
	Reason   string
	PSBT     string    // stored if not ""
	Inputs   []Input   // stored if not nil
	Version  *Version  // appended if not nil
	Block    *Block    // stored, nil too
	Postings []Posting // made in the ledger
	Booked   string    // stored if not "", and Bookings counted
	Left     bool      // the network has it already: a Balance may become negative
}

// Posting is a transaction of the ledger: its entries sum to zero. Kind and reference
// are unique in the ledger: the same again changes nothing, another content is an error.
type Posting struct {
	Kind, Reference string
	Entries         []Entry
}

// Entry of a posting.
type Entry struct {
	Ledger  string // Balance, Paying, Fees, Pool or Chain
	Account int64  // of Balance
	Amount  int64
}

// Accounts of the ledger. What the pool owes is positive.
const (
	Balance = "balance"     // of one account: owed, and payable
	Paying  = "paying"      // owed, and on its way
	Fees    = "network fee" // the pool's: what network fees cost it, negative
	Pool    = "fee"         // the pool's: what it earned
	Chain   = "chain"       // the outside: negative of all coins that came
)

// Kinds of postings.
const (
	KindPayout    = "payout"    // balance to paying
	KindConfirmed = "confirmed" // paying to chain, and the network fee
	KindBump      = "bump"      // the difference of the fee of another version
	KindReturned  = "returned"  // all of it back to balance: it never will be confirmed
)

// Book is where payments are kept. Every method is one transaction.
type Book interface {
	// Begin stores the payments of a new run as planned, with ids, run and serial 0,
	// and returns them.
	Begin(ctx context.Context, by string, payments []Payment) ([]Payment, error)
	// Payment reads one; an id that is not there is an error.
	Payment(ctx context.Context, id int64) (Payment, error)
	// Open reads the payments that are neither cancelled nor confirmed so often as deep,
	// by id.
	Open(ctx context.Context, deep int64) ([]Payment, error)
	// Change changes a payment if its serial is still that, and counts it up; if it is
	// not, the error is a *LostError, and nothing changed. Nothing changes either, and
	// the error says so: if a posting would make a Balance negative (*ShortError) and nothing has left, if a
	// planned payment debits an account of what exported ones would, or if
	// an input of the change is one of another payment, or of a version of it
	// (*TakenError), that is neither cancelled nor planned; what [Payment.Replaces] names,
	// and what that replaces in turn, does not count while it is exported.
	Change(ctx context.Context, id, serial int64, c Change) (Payment, error)
	// Gone are the inputs of GoneErrors that payments were cancelled for.
	Gone(ctx context.Context) ([]wire.OutPoint, error)
	// Strangers are those of the txids that are no version of a payment and were not
	// booked otherwise.
	Strangers(ctx context.Context, txids []string) ([]string, error)
	// Cursor is the block from which the wallet's spends are to be compared, "" first.
	Cursor(ctx context.Context) (string, error)
	SetCursor(ctx context.Context, block string) error
	// Pool is what the pool has of its own in the ledger: its fees, less network fees.
	Pool(ctx context.Context) (int64, error)
	// Debited is the sum of debits of payments since a time.
	Debited(ctx context.Context, since time.Time) (int64, error)
}

// LostError is a payment that somebody else changed first.
type LostError struct{ Now Payment }

func (e *LostError) Error() string {
	return fmt.Sprintf("payout: payment %d was taken by %s, it is %s now; nothing was done here", e.Now.ID, e.Now.By, e.Now.State)
}

// ShortError is an account that has less than it is to be debited.
type ShortError struct {
	Account       int64
	Balance, Want int64
}

func (e *ShortError) Error() string {
	return fmt.Sprintf("payout: account %d has %s, less than the %s of the payment; nothing was debited: cancel it and plan again",
		e.Account, FormatBitcoins(e.Balance), FormatBitcoins(e.Want))
}

// TakenError is an input that another payment spends.
type TakenError struct {
	Point wire.OutPoint
	By    int64
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("payout: input %s is spent by payment %d; nothing was done", e.Point, e.By)
}

// StrangeError are spends of the wallet that the book does not know.
type StrangeError struct{ Txids []string }

func (e *StrangeError) Error() string {
	return "payout: the wallet has spends that the database does not know: " + strings.Join(e.Txids, ", ") +
		"; was an old backup restored? Nothing is sent until they are booked"
}

// debit moves what payees are debited to paying.
func debit(p *Payment) Posting {
	list := Posting{Kind: KindPayout, Reference: fmt.Sprintf("payment %d", p.ID)}
	at := map[int64]int{}
	for _, o := range p.Outputs {
		i, ok := at[o.Account]
		if !ok {
			i = len(list.Entries)
			at[o.Account] = i
			list.Entries = append(list.Entries, Entry{Balance, o.Account, 0})
		}
		list.Entries[i].Amount -= o.Debit
	}
	list.Entries = append(list.Entries, Entry{Paying, 0, Debits(p.Outputs)})
	return list
}

// booking is what a confirmed version costs, once, and the difference if another version
// was booked already; nil: nothing is to be booked.
func booking(p *Payment, won *Version) []Posting {
	switch {
	case p.Booked == won.Txid:
		return nil
	case p.Booked == "":
		debits, spent := Debits(p.Outputs), spent(won)
		return []Posting{{KindConfirmed, fmt.Sprintf("payment %d", p.ID), []Entry{
			{Paying, 0, -debits}, {Chain, 0, spent}, {Fees, 0, debits - spent},
		}}}
	}
	was := p.version(p.Booked)
	more := spent(won) - spent(was)
	return []Posting{{KindBump, fmt.Sprintf("payment %d booking %d", p.ID, p.Bookings+1), []Entry{{Chain, 0, more}, {Fees, 0, -more}}}}
}

// giveBack takes back all that was posted of a payment that never will be confirmed, also
// where it was confirmed in a chain that is no more.
func giveBack(p *Payment) Posting {
	d := debit(p)
	list := Posting{Kind: KindReturned, Reference: d.Reference}
	for _, e := range d.Entries {
		list.Entries = append(list.Entries, Entry{e.Ledger, e.Account, -e.Amount})
	}
	if p.Booked != "" {
		debits, spent := Debits(p.Outputs), spent(p.version(p.Booked))
		list.Entries = append(list.Entries, Entry{Paying, 0, debits}, Entry{Chain, 0, -spent}, Entry{Fees, 0, spent - debits})
	}
	return list
}

// spent is what leaves the wallet by a version: all but change.
func spent(v *Version) int64 {
	sum := v.Fee
	for _, a := range v.Amounts {
		sum += a
	}
	return sum
}

// cost is what a payment takes from the pool's own, by its dearest version: any may be
// mined. What is booked is in the pool's books already.
func (p *Payment) cost() (most int64) {
	if p.Booked != "" {
		most = spent(p.version(p.Booked))
	} else {
		most = Debits(p.Outputs)
	}
	already := most
	for i := range p.Versions {
		most = max(most, spent(&p.Versions[i]))
	}
	return most - already
}

func (p *Payment) version(txid string) *Version {
	for i := range p.Versions {
		if p.Versions[i].Txid == txid {
			return &p.Versions[i]
		}
	}
	return nil
}
