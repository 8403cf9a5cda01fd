package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// Book is an account of the ledger: one of each user's, or one of the pool's.
type Book string

// Books. What a book has is owed to its owner; Chain is the outside, which owes all
// that came from it.
const (
	Immature    Book = "immature" // a user's, of blocks that may still be orphaned
	Balance     Book = "balance"  // a user's, to be paid; negative where too much was
	FeeImmature Book = "fee immature"
	Fee         Book = "fee"         // the pool's
	NetworkFee  Book = "network fee" // that the pool paid
	Held        Book = "held"        // of coinbases that no pool told of
	Paying      Book = "paying"      // in transactions that are not confirmed
	Chain       Book = "chain"
)

// Books are all there are.
var Books = []Book{Immature, Balance, FeeImmature, Fee, NetworkFee, Held, Paying, Chain}

// ofUsers tells whether a book is one of each user's.
func (b Book) ofUsers() bool { return b == Immature || b == Balance }

// Posting is why a transaction of the ledger was made.
type Posting string

// Kinds of postings.
const (
	Reward     Posting = "reward"     // of a block, to be held until it is mature
	Maturity   Posting = "maturity"   // of a block
	Orphaned   Posting = "orphan"     // takes back what was posted of a block
	Return     Posting = "return"     // of a block that was orphaned
	Hold       Posting = "hold"       // the coinbase of a block that no pool told of
	Payout     Posting = "payout"     // debit of what is about to be sent
	Confirmed  Posting = "confirmed"  // what was sent is in the chain
	Bump       Posting = "bump"       // another fee than was posted
	Returned   Posting = "returned"   // all of a payout that never will be confirmed, back
	Correction Posting = "correction" // by a person; of one other transaction, once
)

// Owner is whom something is owed: an account, by its name as names are compared.
type Owner struct {
	Kind Kind
	Name string
}

// String is as people read it.
func (o Owner) String() string { return string(o.Kind) + " " + o.Name }

// Folded is the same account with its name as names are compared.
func (o Owner) Folded() Owner { return Owner{o.Kind, fold(o.Kind, clean(o.Name))} }

// compare orders accounts.
func (o Owner) compare(p Owner) int {
	return cmp.Or(cmp.Compare(o.Kind, p.Kind), cmp.Compare(o.Name, p.Name))
}

// Entry is what a transaction adds to a book.
type Entry struct {
	Book   Book
	Owner  Owner // of a book of users; else zero
	Amount int64 // satoshis; may be negative
}

// Transaction of the ledger. Its entries sum to zero.
type Transaction struct {
	Number    int64 // from 1, without a gap; given when it is posted
	At        int64 // likewise
	Kind      Posting
	Reference string // unique among those of its kind: what makes it happen once
	Note      string // for people
	Entries   []Entry
}

// ErrPosted tells that a transaction of the same kind and reference was posted with
// other entries.
var ErrPosted = errors.New("posted before with other amounts")

// Post appends a transaction to the ledger. One that is there already is not posted
// again: posted is the one that is there, and the error ErrPosted where its entries are
// others. The note does not tell them apart.
func (s *Store) Post(ctx context.Context, t Transaction) (posted Transaction, err error) {
	err = s.change(ctx, func(tx table.Tx) (err error) {
		posted, err = s.post(ctx, tx, t)
		return err
	})
	return posted, err
}

// change runs f in a transaction, again where that failed for another's sake or its
// outcome is not known: f must find out what is done already.
func (s *Store) change(ctx context.Context, f func(table.Tx) error) error {
	const attempts = 10
	for i := 1; ; i++ {
		err := s.db.Write(ctx, f)
		if err == nil || !s.db.Again(err) && !s.db.Unknown(err) || i == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(i*i) * 5 * time.Millisecond):
		}
	}
}

// tidy sums up entries of one book and account, and puts them in order.
func tidy(list []Entry) ([]Entry, error) {
	list = slices.Clone(list)
	for i := range list {
		e := &list[i]
		if e.Owner.Name = fold(e.Owner.Kind, e.Owner.Name); e.Book.ofUsers() != (e.Owner != Owner{}) {
			return nil, fmt.Errorf("entry of %s in book %q of account %q cannot be", figures.Things(e.Amount, "satoshi"), e.Book, e.Owner.Name)
		}
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Book, b.Book), a.Owner.compare(b.Owner)) })
	var total int64
	merged := list[:0]
	for _, e := range list {
		total += e.Amount
		if n := len(merged); n > 0 && merged[n-1].Book == e.Book && merged[n-1].Owner == e.Owner {
			merged[n-1].Amount += e.Amount
			continue
		}
		merged = append(merged, e)
	}
	if total != 0 || len(merged) == 0 {
		return nil, fmt.Errorf("the sum of what is to be posted is %s, of as many entries as %d: want 0, of some", figures.Things(total, "satoshi"), len(list))
	}
	return merged, nil
}

// post appends a transaction; whoever else does so waits until the end of tx.
func (s *Store) post(ctx context.Context, tx table.Tx, t Transaction) (Transaction, error) {
	fail := func(err error) (Transaction, error) {
		return Transaction{}, fmt.Errorf("ledger: %s of %s: %w", t.Kind, t.Reference, err)
	}
	t.Note = clean(t.Note)
	var err error
	if t.Entries, err = tidy(t.Entries); err != nil {
		return fail(err)
	}
	if t.Reference == "" || t.Reference != clean(t.Reference) {
		return fail(errors.New("the reference is empty or too long"))
	}
	var last int64
	if err := one(ctx, tx, "select last from ledger_head"+s.db.Lock(), nil, &last); err != nil {
		return fail(err)
	}
	list, err := transactions(ctx, tx, "t.kind = $1 and t.reference = $2", string(t.Kind), t.Reference)
	if err != nil {
		return fail(err)
	}
	if len(list) > 0 {
		if !slices.Equal(list[0].Entries, t.Entries) {
			return list[0], fmt.Errorf("ledger: %s of %s: %w, as number %d", t.Kind, t.Reference, ErrPosted, list[0].Number)
		}
		return list[0], nil
	}
	t.Number, t.At = last+1, now()
	n := len(t.Entries)
	number, book, amount := slices.Repeat([]int64{t.Number}, n), make([]string, n), make([]int64, n)
	for i, e := range t.Entries {
		book[i], amount[i] = string(e.Book), e.Amount
	}
	account, err := s.accountNumbers(ctx, tx, t.Entries)
	if err != nil {
		return fail(err)
	}
	if _, err := tx.Merge(ctx, ledgerEntries, ledgerEntries.Name, n, table.Rows{number, book, account, amount}); err != nil {
		return fail(err)
	}
	if _, err := tx.Exec(ctx, "insert into ledger (number, at, kind, reference, note) values ($1, $2, $3, $4, $5)", t.Number, t.At, string(t.Kind), t.Reference, t.Note); err != nil {
		return fail(err)
	}
	if _, err := tx.Exec(ctx, "update ledger_head set last = $1", t.Number); err != nil {
		return fail(err)
	}
	return t, nil
}

var ledgerEntries = &table.Table{Name: "ledger_entries", Columns: join(columns(table.Integer, table.Keep, "number"), columns(table.Text, table.Keep, "book"),
	columns(table.Integer, table.Keep, "account", "amount"))}

// accountNumbers are those of the entries' accounts, 0 for the pool's.
func (s *Store) accountNumbers(ctx context.Context, tx table.Tx, list []Entry) ([]int64, error) {
	var kinds, folded []string
	for _, e := range list {
		if e.Book.ofUsers() {
			kinds, folded = append(kinds, string(e.Owner.Kind)), append(folded, e.Owner.Name)
		}
	}
	ids, err := tx.Find(ctx, accounts, len(kinds), table.Rows{kinds, folded})
	if err != nil {
		return nil, err
	}
	numbers := make([]int64, len(list))
	k := 0
	for i, e := range list {
		if e.Book.ofUsers() {
			if numbers[i] = ids[k]; ids[k] == 0 {
				return nil, fmt.Errorf("%w: %s", ErrAccount, e.Owner)
			}
			k++
		}
	}
	return numbers, nil
}

// ErrAccount tells that there is no such account.
var ErrAccount = errors.New("no such account")

// one reads a row, or leaves everything as it is where there is none.
func one(ctx context.Context, tx table.Tx, query string, args []any, to ...any) error {
	return rows(ctx, tx, query, args, func(scan func(...any) error) error { return scan(to...) })
}

// transactions are those of the ledger that a condition is true of, by number.
func transactions(ctx context.Context, tx table.Tx, where string, args ...any) (list []Transaction, err error) {
	err = rows(ctx, tx, `select t.number, t.at, t.kind, t.reference, t.note, e.book, coalesce(a.kind, ''), coalesce(a.folded, ''), e.amount
		from ledger t join ledger_entries e on e.number = t.number left join accounts a on a.id = e.account where `+where+" order by t.number",
		args, func(scan func(...any) error) error {
			var t Transaction
			var e Entry
			if err := scan(&t.Number, &t.At, &t.Kind, &t.Reference, &t.Note, &e.Book, &e.Owner.Kind, &e.Owner.Name, &e.Amount); err != nil {
				return err
			}
			if n := len(list); n == 0 || list[n-1].Number != t.Number {
				list = append(list, t)
			}
			last := &list[len(list)-1]
			last.Entries = append(last.Entries, e)
			return nil
		})
	for i := range list { // in the order of tidy, whatever that of the database's texts is
		slices.SortFunc(list[i].Entries, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Book, b.Book), a.Owner.compare(b.Owner)) })
	}
	return list, err
}

// BookBalance is what a book has.
type BookBalance struct {
	Book   Book
	Owner  Owner  // zero: the pool's
	Name   string // of the account, as it was written first
	Amount int64  // satoshis
}

// Balances are those of all books that anything was ever posted to, the pool's first,
// then by account.
func (s *Store) Balances(ctx context.Context) (list []BookBalance, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err = s.balances(ctx, tx)
		return err
	})
	return list, err
}

func (s *Store) balances(ctx context.Context, tx table.Tx) (list []BookBalance, err error) {
	err = rows(ctx, tx, "select e.book, coalesce(a.kind, ''), coalesce(a.folded, ''), coalesce(a.name, ''), "+s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})+
		" from ledger_entries e left join accounts a on a.id = e.account group by e.book, e.account, a.kind, a.folded, a.name", nil,
		func(scan func(...any) error) error {
			var v BookBalance
			err := scan(&v.Book, &v.Owner.Kind, &v.Owner.Name, &v.Name, &v.Amount)
			list = append(list, v)
			return err
		})
	slices.SortFunc(list, func(a, b BookBalance) int { return cmp.Or(a.Owner.compare(b.Owner), cmp.Compare(a.Book, b.Book)) })
	return list, err
}

// Statement is what was posted to the books of an account, the oldest first. Of each
// transaction there are the account's entries alone.
func (s *Store) Statement(ctx context.Context, of Owner) (list []Transaction, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		var id int64
		if err := one(ctx, tx, "select id from accounts where kind = $1 and folded = $2", []any{string(of.Kind), fold(of.Kind, of.Name)}, &id); err != nil {
			return err
		}
		if id == 0 {
			return fmt.Errorf("%w: %s", ErrAccount, of)
		}
		list, err = transactions(ctx, tx, "e.account = $1", id)
		return err
	})
	return list, err
}

// Ledger is the whole of it behind a number, the oldest first, at most so many.
func (s *Store) Ledger(ctx context.Context, after int64, most int64) (list []Transaction, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err = transactions(ctx, tx, "t.number > $1 and t.number <= $2", after, after+most)
		return err
	})
	return list, err
}

// Correct posts a correction by a person of the transaction of a number, for a reason:
// from one account to another, the zero Owner being the pool. There is one of each
// transaction at most; the same again changes nothing. What is moved of a block that may
// still be orphaned is held as its rewards are, and goes back with them.
func (s *Store) Correct(ctx context.Context, by string, number int64, from, to Owner, amount int64, reason string) (posted Transaction, err error) {
	from.Name, to.Name = fold(from.Kind, from.Name), fold(to.Kind, to.Name)
	err = errBy(by)
	switch {
	case err != nil:
	case amount < 1:
		err = fmt.Errorf("%d satoshis: want 1 or more", amount)
	case from == to:
		err = errors.New("it would be moved to where it is")
	case reason == "" || reason != clean(reason):
		err = errors.New("the reason is empty or too long")
	default:
		err = s.change(ctx, func(tx table.Tx) error {
			posted, err = s.correct(ctx, tx, by, number, from, to, amount, reason)
			return err
		})
	}
	if err != nil {
		return Transaction{}, fmt.Errorf("correction of number %d: %w", number, err)
	}
	return posted, nil
}

func (s *Store) correct(ctx context.Context, tx table.Tx, by string, number int64, from, to Owner, amount int64, reason string) (posted Transaction, err error) {
	var last int64 // locked before a block is looked at, so that it stays as it is
	if err := one(ctx, tx, "select last from ledger_head"+s.db.Lock(), nil, &last); err != nil {
		return posted, err
	}
	list, err := transactions(ctx, tx, "t.number = $1", number)
	if err != nil {
		return posted, err
	}
	if len(list) == 0 {
		return posted, errors.New("the ledger has no such transaction: \"ckdb explain user\" and \"ckdb explain block\" list them")
	}
	what := string(list[0].Kind) + " of " + list[0].Reference
	held, err := s.heldBack(ctx, tx, what)
	if err != nil {
		return posted, err
	}
	book := func(o Owner) Book {
		switch {
		case o == Owner{} && held:
			return FeeImmature
		case o == Owner{}:
			return Fee
		case held:
			return Immature
		}
		return Balance
	}
	posted, err = s.post(ctx, tx, Transaction{Kind: Correction, Reference: what, Note: reason, Entries: []Entry{{book(from), from, -amount}, {book(to), to, amount}}})
	if err != nil || posted.Number <= last { // it was there
		return posted, err
	}
	text := make([]string, len(posted.Entries))
	for i, e := range posted.Entries {
		text[i] = strings.TrimSpace(fmt.Sprintf("%s %s", e.Book, e.Owner)) + fmt.Sprintf(" %+d", e.Amount)
	}
	return posted, s.audit(ctx, tx, AuditRow{By: by, What: "correction", Subject: what, Before: fmt.Sprintf("as number %d", number), After: strings.Join(text, ", ") + ": " + reason})
}

// heldBack tells whether what was posted of a block, by what was posted, is held because
// the block may still be orphaned. Of one that is orphaned nothing is there to correct.
func (s *Store) heldBack(ctx context.Context, tx table.Tx, what string) (bool, error) {
	name, _, _ := strings.Cut(what[strings.LastIndex(what, " ")+1:], "/")
	hash, err := work.ParseHash(name)
	if err != nil {
		return false, nil // of no block
	}
	list, err := s.poolBlocks(ctx, tx, "hash = $1", hash[:])
	switch {
	case err != nil || len(list) == 0:
		return false, err
	case list[0].posted == postedReward:
		return true, nil
	case list[0].posted == PostedMature:
		return false, nil
	}
	return false, fmt.Errorf("nothing of block %s is in the ledger now that could be moved: it is orphaned, or was not booked", name)
}

// checkLedger adds the ledger up anew.
func (s *Store) checkLedger(ctx context.Context, tx table.Tx, tell func(string, ...any)) error {
	sum := s.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})
	if err := rows(ctx, tx, "select e.number, "+sum+" from ledger_entries e group by e.number having sum(e.amount) <> 0", nil, func(scan func(...any) error) error {
		var number, sum int64
		err := scan(&number, &sum)
		tell("ledger: transaction %d sums to %s", number, figures.Things(sum, "satoshi"))
		return err
	}); err != nil {
		return err
	}
	for _, q := range []struct{ query, text string }{
		{"select distinct e.number from ledger_entries e left join ledger t on t.number = e.number where t.number is null", "ledger: entries of transaction %d, which is not there"},
		{"select t.number from ledger t left join ledger_entries e on e.number = t.number where e.number is null", "ledger: transaction %d has no entries"},
		{"select t.number from ledger t where t.number > 1 and not exists (select 1 from ledger p where p.number = t.number - 1)", "ledger: there is no transaction before %d"},
		{"select h.last from ledger_head h where h.last <> (select coalesce(max(number), 0) from ledger)", "ledger: transaction %d was the last one, and is not"},
		{"select distinct e.account from ledger_entries e left join accounts a on a.id = e.account where e.account > 0 and a.id is null", "ledger: entries of account %d, which is not there"},
	} {
		if err := rows(ctx, tx, q.query, nil, func(scan func(...any) error) error {
			var n int64
			err := scan(&n)
			tell(q.text, n)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
