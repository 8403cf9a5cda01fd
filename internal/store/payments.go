package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Payments are the payments in the database: the book of package payout, whose accounts
// are those of the store by number. Who changes one keeps all others who would waiting,
// so that no two have one input or one balance.
type Payments struct{ store *Store }

// Payments is the book of payments.
func (s *Store) Payments() *Payments { return &Payments{s} }

var _ payout.Book = (*Payments)(nil)

// token tells a change from those of others, where the answer to its commit was lost.
func token() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return b
}

// head keeps everybody else who changes payments waiting, until the end of tx.
func (b *Payments) head(ctx context.Context, tx table.Tx) (cursor string, err error) {
	err = one(ctx, tx, "select cursor from payment_head"+b.store.db.Lock(), nil, &cursor)
	return cursor, err
}

var (
	paymentOutputs = &table.Table{Name: "payment_outputs", Columns: join(columns(table.Integer, table.Keep, "payment", "number", "account"), columns(table.Text, table.Keep, "name", "address"),
		columns(table.Bytes, table.Keep, "script"), columns(table.Integer, table.Keep, "debit", "amount"))}
	paymentAmounts = &table.Table{Name: "payment_amounts", Columns: columns(table.Integer, table.Keep, "payment", "version", "number", "amount")}
	paymentInputs  = &table.Table{Name: "payment_inputs", Columns: join(columns(table.Integer, table.Keep, "payment", "version", "number"), columns(table.Text, table.Keep, "txid"),
		columns(table.Integer, table.Keep, "vout", "value"), columns(table.Bytes, table.Keep, "script"))}
)

// Begin is that of [payout.Book].
func (b *Payments) Begin(ctx context.Context, by string, list []payout.Payment) (begun []payout.Payment, err error) {
	mark := token()
	err = b.store.change(ctx, func(tx table.Tx) error {
		if _, err := b.head(ctx, tx); err != nil {
			return err
		}
		var run int64
		if err := one(ctx, tx, "select run from payment_runs where token = $1", []any{mark}, &run); err != nil {
			return err
		}
		if run == 0 {
			if run, err = b.begin(ctx, tx, by, mark, list); err != nil {
				return err
			}
			if begun, err = b.read(ctx, tx, "run = $1", run); err != nil {
				return err
			}
			for i := range begun {
				if err := b.store.audit(ctx, tx, AuditRow{By: by, What: "payout", Subject: fmt.Sprintf("payment %d", begun[i].ID), Before: "none", After: standingOf(&begun[i])}); err != nil {
					return err
				}
			}
			return nil
		}
		begun, err = b.read(ctx, tx, "run = $1", run)
		return err
	})
	return begun, err
}

func (b *Payments) begin(ctx context.Context, tx table.Tx, by string, mark []byte, list []payout.Payment) (run int64, err error) {
	var id int64
	if err := one(ctx, tx, "select (select coalesce(max(run), 0) + 1 from payment_runs), (select coalesce(max(id), 0) from payments)", nil, &run, &id); err != nil {
		return 0, err
	}
	at := now()
	if _, err := tx.Exec(ctx, "insert into payment_runs (run, at, by, token) values ($1, $2, $3, $4)", run, at, clean(by), mark); err != nil {
		return 0, err
	}
	for i := range list {
		p := &list[i]
		id++
		if _, err := tx.Exec(ctx, "insert into payments (id, run, token, at, state, by, payees_pay, replaces) values ($1, $2, $3, $4, $5, $6, $7, $8)",
			id, run, mark, at, string(payout.Planned), clean(by), number(p.PayeesPay), p.Replaces); err != nil {
			return 0, err
		}
		n := len(p.Outputs)
		numbers, account, names, addresses := make([]int64, n), make([]int64, n), make([]string, n), make([]string, n)
		scripts, debit, amount := make([][]byte, n), make([]int64, n), make([]int64, n)
		for k, o := range p.Outputs {
			numbers[k], account[k], names[k], addresses[k], scripts[k], debit[k], amount[k] = int64(k), o.Account, clean(o.Name), o.Address, o.Script, o.Debit, o.Amount
		}
		if _, err := tx.Merge(ctx, paymentOutputs, paymentOutputs.Name, n, table.Rows{slices.Repeat([]int64{id}, n), numbers, account, names, addresses, scripts, debit, amount}); err != nil {
			return 0, err
		}
	}
	return run, nil
}

func number(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// Payment is that of [payout.Book].
func (b *Payments) Payment(ctx context.Context, id int64) (p payout.Payment, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		p, err = b.payment(ctx, tx, id)
		return err
	})
	return p, err
}

func (b *Payments) payment(ctx context.Context, tx table.Tx, id int64) (payout.Payment, error) {
	list, err := b.read(ctx, tx, "id = $1", id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("there is no payment %d: \"ckdb payout show\" lists them", id)
	}
	if err != nil {
		return payout.Payment{}, err
	}
	return list[0], nil
}

// Open is that of [payout.Book].
func (b *Payments) Open(ctx context.Context, deep int64) (list []payout.Payment, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		list, err = b.read(ctx, tx, "state <> 'cancelled' and (state <> 'confirmed' or confirmations < $1)", deep)
		return err
	})
	return list, err
}

// Last are the newest payments, the oldest of them first.
func (b *Payments) Last(ctx context.Context, most int64) (list []payout.Payment, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		list, err = b.read(ctx, tx, "id > (select coalesce(max(id), 0) - $1 from payments)", most)
		return err
	})
	return list, err
}

// PaymentNews is what became of a payment.
type PaymentNews struct {
	ID, Outputs, Debit int64
	State              payout.State
	Reason             string
	First              string // transaction that was signed first; "": none was
	Txid               string // that is in the chain, or was signed last
	Height             int64  // of its block; 0: it is in none
}

// News are the newest payments, and all that may still change, by id.
func (b *Payments) News(ctx context.Context, deep int64) (list []PaymentNews, err error) {
	const newest = 100
	version := "coalesce((select v.txid from payment_versions v where v.payment = p.id order by v.number"
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, "select p.id, p.state, p.reason, p.block_txid, p.block_height, "+version+" limit 1), ''), "+version+` desc limit 1), ''),
			(select count(*) from payment_outputs o where o.payment = p.id), (select coalesce(`+b.store.db.Sum(table.Column{Name: "o.debit", Merge: table.Add})+`, 0) from payment_outputs o where o.payment = p.id)
			from payments p where p.id > (select coalesce(max(id), 0) - $1 from payments) or p.state <> 'cancelled' and (p.state <> 'confirmed' or p.confirmations < $2) order by p.id`,
			[]any{int64(newest), deep}, func(scan func(...any) error) error {
				var v PaymentNews
				var mined string
				err := scan(&v.ID, &v.State, &v.Reason, &mined, &v.Height, &v.First, &v.Txid, &v.Outputs, &v.Debit)
				v.Txid = cmp.Or(mined, v.Txid)
				list = append(list, v)
				return err
			})
	})
	return list, err
}

// read reads the payments that a condition is true of, by id.
func (b *Payments) read(ctx context.Context, tx table.Tx, where string, args ...any) (list []payout.Payment, err error) {
	at := map[int64]int{}
	err = rows(ctx, tx, `select id, run, serial, state, by, reason, payees_pay, replaces, psbt, block_txid, block_hash, block_height, confirmations, booked, bookings
		from payments where `+where+" order by id", args, func(scan func(...any) error) error {
		var p payout.Payment
		var block payout.Block
		var pays int64
		err := scan(&p.ID, &p.Run, &p.Serial, &p.State, &p.By, &p.Reason, &pays, &p.Replaces, &p.PSBT, &block.Txid, &block.Hash, &block.Height, &block.Confirmations, &p.Booked, &p.Bookings)
		if p.PayeesPay = pays != 0; block.Txid != "" {
			p.Block = &block
		}
		at[p.ID] = len(list)
		list = append(list, p)
		return err
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	of := []any{b.store.db.List(ids)}
	in := " where payment " + b.store.db.In(1) + " order by payment, "
	var id, version int64
	if err := rows(ctx, tx, "select payment, account, name, address, script, debit, amount from payment_outputs"+in+"number", of, func(scan func(...any) error) error {
		var o payout.Output
		err := scan(&id, &o.Account, &o.Name, &o.Address, &o.Script, &o.Debit, &o.Amount)
		list[at[id]].Outputs = append(list[at[id]].Outputs, o)
		return err
	}); err != nil {
		return nil, err
	}
	if err := rows(ctx, tx, "select payment, txid, raw, fee, size from payment_versions"+in+"number", of, func(scan func(...any) error) error {
		var v payout.Version
		err := scan(&id, &v.Txid, &v.Raw, &v.Fee, &v.Size)
		list[at[id]].Versions = append(list[at[id]].Versions, v)
		return err
	}); err != nil {
		return nil, err
	}
	if err := rows(ctx, tx, "select payment, version, amount from payment_amounts"+in+"version, number", of, func(scan func(...any) error) error {
		var amount int64
		if err := scan(&id, &version, &amount); err != nil {
			return err
		}
		v := &list[at[id]].Versions[version-1]
		v.Amounts = append(v.Amounts, amount)
		return nil
	}); err != nil {
		return nil, err
	}
	return list, rows(ctx, tx, "select payment, version, txid, vout, value, script from payment_inputs"+in+"version, number", of, func(scan func(...any) error) error {
		var i payout.Input
		var txid string
		if err := scan(&id, &version, &txid, &i.Point.Index, &i.Value, &i.Script); err != nil {
			return err
		}
		hash, err := chainhash.NewHashFromStr(txid)
		if err != nil {
			return err
		}
		i.Point.Hash = *hash
		to := &list[at[id]].Inputs
		if version > 0 {
			to = &list[at[id]].Versions[version-1].Inputs
		}
		*to = append(*to, i)
		return nil
	})
}

// Gone is that of [payout.Book].
func (b *Payments) Gone(ctx context.Context) (list []wire.OutPoint, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		list = nil
		return rows(ctx, tx, "select distinct reason from payments where state = $1 and reason like 'input %' order by reason", []any{string(payout.Cancelled)}, func(scan func(...any) error) error {
			var reason string
			if err := scan(&reason); err != nil {
				return err
			}
			if at, ok := payout.Gone(reason); ok {
				list = append(list, at)
			}
			return nil
		})
	})
	return list, err
}

// Change is that of [payout.Book].
func (b *Payments) Change(ctx context.Context, id, serial int64, c payout.Change) (p payout.Payment, err error) {
	mark := token()
	err = b.store.change(ctx, func(tx table.Tx) error {
		if _, err := b.head(ctx, tx); err != nil {
			return err
		}
		if p, err = b.payment(ctx, tx, id); err != nil {
			return err
		}
		if p.Serial != serial {
			var mine int64
			if err := one(ctx, tx, "select count(*) from payments where id = $1 and serial = $2 and token = $3", []any{id, serial + 1, mark}, &mine); err != nil || mine == 1 {
				return err
			}
			return &payout.LostError{Now: p}
		}
		if p.State == payout.Planned && (c.To == payout.Signed || c.To == payout.Exported) {
			if err := b.payable(ctx, tx, &p); err != nil {
				return err
			}
			if err := b.unclaimed(ctx, tx, &p); err != nil {
				return err
			}
		}
		if c.To == payout.Exported || c.To == payout.Signed && len(p.Versions) == 0 {
			if stop, err := suspended(ctx, tx); err != nil || stop {
				return cmp.Or(err, error(ErrImplausible))
			}
		}
		if err := b.free(ctx, tx, &p, c.Inputs); err != nil {
			return err
		}
		if c.Version != nil {
			if err := b.free(ctx, tx, &p, c.Version.Inputs); err != nil {
				return err
			}
		}
		for _, posting := range c.Postings {
			if err := b.post(ctx, tx, posting, c.Left); err != nil {
				return err
			}
		}
		if err := b.write(ctx, tx, &p, c, mark); err != nil {
			return err
		}
		was := p
		if p, err = b.payment(ctx, tx, id); err != nil {
			return err
		}
		// What the chain makes of a payment is nobody's change.
		if c.Version == nil && (c.To == was.State || c.To != payout.Exported && c.To != payout.Cancelled) {
			return nil
		}
		return b.store.audit(ctx, tx, AuditRow{By: c.By, What: "payout", Subject: fmt.Sprintf("payment %d", id), Before: standingOf(&was), After: standingOf(&p)})
	})
	return p, err
}

// standingOf is what the audit log says of a payment.
func standingOf(p *payout.Payment) string {
	text := fmt.Sprintf("%s, %d satoshis to %d addresses", p.State, payout.Debits(p.Outputs), len(p.Outputs))
	if n := len(p.Versions); n > 0 {
		text += ", transaction " + p.Versions[n-1].Txid
		if p.State == payout.Cancelled {
			text += ": " + p.Reason
		}
	}
	return text
}

// remedy is what can be done about a payment that is not payable.
const remedy = "nothing was debited: cancel it and plan again"

// payable refuses to pay an account that is locked or held since the payment was planned,
// or paid elsewhere: an address that was changed holds until the change does.
func (b *Payments) payable(ctx context.Context, tx table.Tx, p *payout.Payment) error {
	ids := make([]int64, len(p.Outputs))
	for i, o := range p.Outputs {
		ids[i] = o.Account
	}
	sets, err := addressSets(ctx, tx, "s.account "+b.store.db.In(1), b.store.db.List(ids))
	if err != nil {
		return err
	}
	at := now()
	return rows(ctx, tx, "select id, kind, folded, name, locked + held from accounts where id "+b.store.db.In(1)+" order by id", []any{b.store.db.List(ids)}, func(scan func(...any) error) error {
		var id, stopped int64
		var o Owner
		var name string
		if err := scan(&id, &o.Kind, &o.Name, &name, &stopped); err != nil {
			return err
		}
		if stopped > 0 {
			return fmt.Errorf("payment %d would pay %s, who is locked or held by now; %s", p.ID, name, remedy)
		}
		parts := holding(sets[o], o, at).Parts
		for _, to := range p.Outputs {
			if to.Account == id && !slices.ContainsFunc(parts, func(part Part) bool { return part.Address == to.Address }) {
				return fmt.Errorf("payment %d would pay %s to %s, where he is not paid any more; %s", p.ID, name, to.Address, remedy)
			}
		}
		return nil
	})
}

// unclaimed refuses to pay what exported payments would: their signer may send them at any
// time, and they are debited only then. Those that a payment replaces are for the same money.
func (b *Payments) unclaimed(ctx context.Context, tx table.Tx, p *payout.Payment) error {
	var ids []int64
	want, claimed, by := map[int64]int64{}, map[int64]int64{}, map[int64]int64{}
	names := map[int64]string{}
	for _, o := range p.Outputs {
		if _, ok := want[o.Account]; !ok {
			ids = append(ids, o.Account)
		}
		want[o.Account] += o.Debit
		names[o.Account] = o.Name
	}
	_, has, err := b.owed(ctx, tx, ids)
	if err != nil {
		return err
	}
	replaced, err := b.replaced(ctx, tx, p)
	if err != nil {
		return err
	}
	sum := b.store.db.Sum(table.Column{Name: "o.debit", Merge: table.Add})
	if err := rows(ctx, tx, "select o.account, max(o.payment), "+sum+" from payment_outputs o join payments e on e.id = o.payment where e.state = 'exported' and o.account "+b.store.db.In(1)+
		" and not (e.id "+b.store.db.In(2)+") and not exists (select 1 from payments r where r.replaces = e.id and r.state not in ('planned', 'cancelled')) group by o.account",
		[]any{b.store.db.List(ids), b.store.db.List(replaced)}, func(scan func(...any) error) error {
			var id, payment, debit int64
			err := scan(&id, &payment, &debit)
			claimed[id], by[id] = debit, payment
			return err
		}); err != nil {
		return err
	}
	for _, id := range ids {
		switch {
		case want[id] <= has[id]-claimed[id]:
		case claimed[id] == 0:
			return &payout.ShortError{Account: id, Balance: has[id], Want: want[id]}
		default:
			return fmt.Errorf("payment %d would pay %s %s: of the %s that he has, %s is in payment %d, which is exported; %s", p.ID, names[id],
				payout.FormatBitcoins(want[id]), payout.FormatBitcoins(has[id]), payout.FormatBitcoins(claimed[id]), by[id], remedy)
		}
	}
	return nil
}

// replaced are the payments that one replaces, and that those replace.
func (b *Payments) replaced(ctx context.Context, tx table.Tx, p *payout.Payment) (list []int64, err error) {
	for id := p.Replaces; id != 0 && err == nil; {
		list = append(list, id)
		err = one(ctx, tx, "select replaces from payments where id = $1", []any{id}, &id)
	}
	return list, err
}

// free refuses inputs that another payment has.
func (b *Payments) free(ctx context.Context, tx table.Tx, p *payout.Payment, inputs []payout.Input) error {
	replaced, err := b.replaced(ctx, tx, p)
	if err != nil {
		return err
	}
	for _, in := range inputs {
		var by int64
		if err := one(ctx, tx, `select o.id from payment_inputs i join payments o on o.id = i.payment where i.txid = $1 and i.vout = $2 and o.id <> $3
			and o.state not in ('cancelled', 'planned') and not (o.id `+b.store.db.In(4)+` and o.state = 'exported') limit 1`,
			[]any{in.Point.Hash.String(), int64(in.Point.Index), p.ID, b.store.db.List(replaced)}, &by); err != nil {
			return err
		}
		if by != 0 {
			return &payout.TakenError{Point: in.Point, By: by}
		}
	}
	return nil
}

func (b *Payments) write(ctx context.Context, tx table.Tx, p *payout.Payment, c payout.Change, mark []byte) error {
	block, booked, bookings := payout.Block{}, p.Booked, p.Bookings
	if c.Block != nil {
		block = *c.Block
	}
	if c.Booked != "" {
		booked, bookings = c.Booked, bookings+1
	}
	psbt := p.PSBT
	if c.PSBT != "" {
		psbt = c.PSBT
	}
	if _, err := tx.Exec(ctx, `update payments set serial = serial + 1, token = $2, at = $3, state = $4, by = $5, reason = $6, psbt = $7,
		block_txid = $8, block_hash = $9, block_height = $10, confirmations = $11, booked = $12, bookings = $13 where id = $1`,
		p.ID, mark, now(), string(c.To), clean(c.By), c.Reason, psbt, block.Txid, block.Hash, block.Height, block.Confirmations, booked, bookings); err != nil {
		return err
	}
	if c.Inputs != nil {
		if _, err := tx.Exec(ctx, "delete from payment_inputs where payment = $1 and version = 0", p.ID); err != nil {
			return err
		}
		if err := b.inputs(ctx, tx, p.ID, 0, c.Inputs); err != nil {
			return err
		}
	}
	if c.Version == nil {
		return nil
	}
	v, version := c.Version, int64(len(p.Versions)+1)
	if _, err := tx.Exec(ctx, "insert into payment_versions (payment, number, txid, raw, fee, size, at) values ($1, $2, $3, $4, $5, $6, $7)",
		p.ID, version, v.Txid, v.Raw, v.Fee, v.Size, now()); err != nil {
		return err
	}
	n := len(v.Amounts)
	if _, err := tx.Merge(ctx, paymentAmounts, paymentAmounts.Name, n, table.Rows{slices.Repeat([]int64{p.ID}, n), slices.Repeat([]int64{version}, n), counted(n), v.Amounts}); err != nil {
		return err
	}
	return b.inputs(ctx, tx, p.ID, version, v.Inputs)
}

// counted are the numbers from 0.
func counted(n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = int64(i)
	}
	return list
}

func (b *Payments) inputs(ctx context.Context, tx table.Tx, id, version int64, list []payout.Input) error {
	n := len(list)
	txid, vout, value, script := make([]string, n), make([]int64, n), make([]int64, n), make([][]byte, n)
	for i, in := range list {
		txid[i], vout[i], value[i], script[i] = in.Point.Hash.String(), int64(in.Point.Index), in.Value, in.Script
	}
	_, err := tx.Merge(ctx, paymentInputs, paymentInputs.Name, n, table.Rows{slices.Repeat([]int64{id}, n), slices.Repeat([]int64{version}, n), counted(n), txid, vout, value, script})
	return err
}

// post makes a posting, and refuses one that debits an account of more than it has, unless
// that has left.
func (b *Payments) post(ctx context.Context, tx table.Tx, p payout.Posting, left bool) error {
	t := Transaction{Kind: Posting(p.Kind), Reference: p.Reference}
	var ids []int64
	for _, e := range p.Entries {
		if Book(e.Ledger) == Balance {
			ids = append(ids, e.Account)
		}
	}
	owners, balances, err := b.owed(ctx, tx, ids)
	if err != nil {
		return err
	}
	var posted int64
	if err := one(ctx, tx, "select number from ledger where kind = $1 and reference = $2", []any{p.Kind, p.Reference}, &posted); err != nil {
		return err
	}
	for _, e := range p.Entries {
		entry := Entry{Book: Book(e.Ledger), Amount: e.Amount}
		if entry.Book == Balance {
			owner, ok := owners[e.Account]
			if !ok {
				return fmt.Errorf("%w: number %d", ErrAccount, e.Account)
			}
			entry.Owner = owner
			if has := balances[e.Account]; posted == 0 && !left && e.Amount < 0 && has+e.Amount < 0 {
				return &payout.ShortError{Account: e.Account, Balance: has, Want: -e.Amount}
			}
			balances[e.Account] += e.Amount
		}
		t.Entries = append(t.Entries, entry)
	}
	_, err = b.store.post(ctx, tx, t)
	return err
}

// owed are accounts by number, and their balances. Nobody posts until the end of tx.
func (b *Payments) owed(ctx context.Context, tx table.Tx, ids []int64) (owners map[int64]Owner, balances map[int64]int64, err error) {
	owners, balances = map[int64]Owner{}, map[int64]int64{}
	if len(ids) == 0 {
		return owners, balances, nil
	}
	var last int64
	if err := one(ctx, tx, "select last from ledger_head"+b.store.db.Lock(), nil, &last); err != nil {
		return nil, nil, err
	}
	err = rows(ctx, tx, "select a.id, a.kind, a.folded, coalesce("+b.store.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})+
		", 0) from accounts a left join ledger_entries e on e.account = a.id and e.book = 'balance' where a.id "+b.store.db.In(1)+" group by a.id, a.kind, a.folded",
		[]any{b.store.db.List(ids)}, func(scan func(...any) error) error {
			var id, sum int64
			var o Owner
			err := scan(&id, &o.Kind, &o.Name, &sum)
			owners[id], balances[id] = o, sum
			return err
		})
	return owners, balances, err
}

// Strangers is that of [payout.Book].
func (b *Payments) Strangers(ctx context.Context, txids []string) (list []string, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		for _, txid := range txids {
			var known int64
			if err := one(ctx, tx, "select (select count(*) from payment_versions where txid = $1) + (select count(*) from payment_strangers where txid = $1)", []any{txid}, &known); err != nil {
				return err
			}
			if known == 0 {
				list = append(list, txid)
			}
		}
		return nil
	})
	return list, err
}

// Cursor is that of [payout.Book].
func (b *Payments) Cursor(ctx context.Context) (block string, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error { return one(ctx, tx, "select cursor from payment_head", nil, &block) })
	return block, err
}

// SetCursor is that of [payout.Book].
func (b *Payments) SetCursor(ctx context.Context, block string) error {
	return b.store.change(ctx, func(tx table.Tx) error {
		_, err := tx.Exec(ctx, "update payment_head set cursor = $1", block)
		return err
	})
}

// Pool is that of [payout.Book].
func (b *Payments) Pool(ctx context.Context) (sum int64, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		return one(ctx, tx, "select coalesce("+b.store.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})+", 0) from ledger_entries e where e.book in ('fee', 'network fee')", nil, &sum)
	})
	return sum, err
}

// Debited is that of [payout.Book].
func (b *Payments) Debited(ctx context.Context, since time.Time) (sum int64, err error) {
	err = b.store.db.Read(ctx, func(tx table.Tx) error {
		return one(ctx, tx, "select coalesce("+b.store.db.Sum(table.Column{Name: "e.amount", Merge: table.Add})+
			", 0) from ledger t join ledger_entries e on e.number = t.number where t.kind = 'payout' and e.book = 'paying' and t.at >= $1", []any{since.UnixMicro()}, &sum)
	})
	return sum, err
}

// BookStranger books a spend of the wallet that is no payment, as a person says what it
// was for: entries sum to zero, and balances may become negative by them. Done again it
// changes nothing.
func (b *Payments) BookStranger(ctx context.Context, by, txid string, entries []payout.Entry) error {
	return b.store.change(ctx, func(tx table.Tx) error {
		if _, err := b.head(ctx, tx); err != nil {
			return err
		}
		var known, version int64
		if err := one(ctx, tx, "select (select count(*) from payment_strangers where txid = $1), (select count(*) from payment_versions where txid = $1)", []any{txid}, &known, &version); err != nil || known > 0 {
			return err
		}
		if version > 0 {
			return fmt.Errorf("transaction %s is a payment's own: it is booked when it is confirmed", txid)
		}
		var ids []int64
		for _, e := range entries {
			if Book(e.Ledger) == Balance {
				ids = append(ids, e.Account)
			}
		}
		owners, _, err := b.owed(ctx, tx, ids)
		if err != nil {
			return err
		}
		t := Transaction{Kind: Payout, Reference: "stranger " + txid, Note: "booked by " + by}
		for _, e := range entries {
			t.Entries = append(t.Entries, Entry{Book: Book(e.Ledger), Owner: owners[e.Account], Amount: e.Amount})
		}
		posted, err := b.store.post(ctx, tx, t)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "insert into payment_strangers (txid, at, by) values ($1, $2, $3)", txid, now(), clean(by)); err != nil {
			return err
		}
		return b.store.audit(ctx, tx, AuditRow{By: by, What: "spend", Subject: txid, After: fmt.Sprintf("booked as number %d", posted.Number)})
	})
}

// checkPayments compares payments with the ledger.
func (b *Payments) checkPayments(ctx context.Context, tx table.Tx, tell func(string, ...any)) error {
	sum := func(column string) string {
		return "coalesce((select " + b.store.db.Sum(table.Column{Name: column, Merge: table.Add}) + " from "
	}
	debits := sum("o.debit") + "payment_outputs o where o.payment = p.id), 0)"
	debited := "-" + sum("e.amount") + "ledger t join ledger_entries e on e.number = t.number where t.kind in ('payout', 'returned') and t.reference = 'payment ' || p.id and e.book = 'balance'), 0)"
	if err := rows(ctx, tx, "select p.id, p.state, "+debits+", "+debited+" from payments p order by p.id", nil, func(scan func(...any) error) error {
		var id, want, have int64
		var state payout.State
		err := scan(&id, &state, &want, &have)
		if state == payout.Planned || state == payout.Exported || state == payout.Cancelled {
			want = 0
		}
		if want != have {
			tell("payment %d is %s: its payees are debited %s in the ledger, want %s", id, state, figures.Things(have, "satoshi"), figures.Count(want))
		}
		return err
	}); err != nil {
		return err
	}
	if err := rows(ctx, tx, `select p.id, p.state from payments p where p.state in ('signed', 'unknown', 'broadcast', 'confirmed')
		and (not exists (select 1 from payment_versions v where v.payment = p.id) or p.state = 'confirmed' and (p.booked = '' or p.block_txid = '')) order by p.id`, nil, func(scan func(...any) error) error {
		var id int64
		var state payout.State
		err := scan(&id, &state)
		tell("payment %d is %s, and there is no transaction of it that was", id, state)
		return err
	}); err != nil {
		return err
	}
	spent := "v.fee + " + sum("a.amount") + "payment_amounts a where a.payment = v.payment and a.version = v.number), 0)"
	left := sum("e.amount") + "ledger t join ledger_entries e on e.number = t.number where e.book = 'chain' and t.kind in ('confirmed', 'bump', 'returned') and (t.reference = 'payment ' || p.id or t.reference like 'payment ' || p.id || ' %')), 0)"
	if err := rows(ctx, tx, "select p.id, case when p.state = 'cancelled' then 0 else "+spent+" end, "+left+" from payments p join payment_versions v on v.payment = p.id and v.txid = p.booked order by p.id", nil, func(scan func(...any) error) error {
		var id, want, have int64
		err := scan(&id, &want, &have)
		if want != have {
			tell("payment %d: %d satoshis left the wallet by it, booked are %d", id, want, have)
		}
		return err
	}); err != nil {
		return err
	}
	var paying, want int64
	if err := one(ctx, tx, "select "+sum("e.amount")+"ledger_entries e where e.book = 'paying'), 0), "+
		sum("o.debit")+"payment_outputs o join payments p on p.id = o.payment where p.booked = '' and p.state not in ('planned', 'exported', 'cancelled')), 0)", nil, &paying, &want); err != nil {
		return err
	}
	if paying != want {
		tell("payments that are on their way have %s, the ledger %s", figures.Things(want, "satoshi"), figures.Count(paying))
	}
	return nil
}
