package payout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/wire/v2"
)

// memory is a Book in memory, that holds what the interface says of one.
type memory struct {
	mu       sync.Mutex
	payments []Payment
	postings map[string]Posting
	balance  map[int64]int64
	ledger   map[string]int64 // of the pool's accounts
	booked   map[string]bool
	cursor   string
	runs     int64
}

func newMemory(payees ...Payee) *memory {
	m := &memory{postings: map[string]Posting{}, balance: map[int64]int64{}, ledger: map[string]int64{}, booked: map[string]bool{}}
	for _, p := range payees {
		m.balance[p.Account] += p.Balance
		m.ledger[Chain] -= p.Balance
	}
	return m
}

// copied is a value that shares nothing with v.
func copied[T any](v T) (c T) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		panic(err)
	}
	return c
}

// dump is all there is, to compare.
func (m *memory) dump() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := json.Marshal([]any{m.payments, m.postings, m.balance, m.ledger})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// backup is a copy of the book as it is.
func (m *memory) backup() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{payments: copied(m.payments), postings: copied(m.postings), balance: copied(m.balance), ledger: copied(m.ledger),
		booked: copied(m.booked), cursor: m.cursor, runs: m.runs}
}

func (m *memory) Begin(_ context.Context, by string, list []Payment) ([]Payment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs++
	for _, p := range list {
		p = copied(p)
		p.ID, p.Run, p.By = int64(len(m.payments))+1, m.runs, by
		m.payments = append(m.payments, p)
	}
	return copied(m.payments[len(m.payments)-len(list):]), nil
}

func (m *memory) Payment(_ context.Context, id int64) (Payment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id < 1 || id > int64(len(m.payments)) {
		return Payment{}, fmt.Errorf("payout: there is no payment %d", id)
	}
	return copied(m.payments[id-1]), nil
}

func (m *memory) Open(_ context.Context, deep int64) (list []Payment, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.payments {
		if p.State != Cancelled && (p.State != Confirmed || p.Block.Confirmations < deep) {
			list = append(list, copied(p))
		}
	}
	return list, nil
}

func (m *memory) Change(_ context.Context, id, serial int64, c Change) (Payment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c = copied(c)
	p := copied(m.payments[id-1])
	if p.Serial != serial {
		return p, &LostError{p}
	}
	for _, in := range c.Inputs {
		for _, o := range m.payments {
			replaced := o.ID == p.Replaces && o.State == Exported
			if o.ID != id && !replaced && o.State != Cancelled && o.State != Planned && o.spends(in.Point) {
				return p, &TakenError{in.Point, o.ID}
			}
		}
	}
	balance, ledger, postings := copied(m.balance), copied(m.ledger), copied(m.postings)
	for _, posting := range c.Postings {
		key, sum := posting.Kind+" "+posting.Reference, int64(0)
		if was, ok := postings[key]; ok {
			if fmt.Sprint(was) != fmt.Sprint(posting) {
				return p, errors.New("another posting has this reference: " + key)
			}
			continue
		}
		postings[key] = posting
		for _, e := range posting.Entries {
			sum += e.Amount
			if e.Ledger != Balance {
				ledger[e.Ledger] += e.Amount
				continue
			}
			balance[e.Account] += e.Amount
			if balance[e.Account] < 0 {
				return p, &ShortError{e.Account, balance[e.Account] - e.Amount, -e.Amount}
			}
		}
		if sum != 0 {
			return p, fmt.Errorf("posting %s sums to %d", key, sum)
		}
	}
	m.balance, m.ledger, m.postings = balance, ledger, postings
	p.Serial++
	p.State, p.By, p.Reason, p.Block = c.To, c.By, c.Reason, c.Block
	if c.PSBT != "" {
		p.PSBT = c.PSBT
	}
	if c.Inputs != nil {
		p.Inputs = c.Inputs
	}
	if c.Version != nil {
		p.Versions = append(p.Versions, *c.Version)
	}
	if c.Booked != "" {
		p.Booked = c.Booked
		p.Bookings++
	}
	m.payments[id-1] = p
	return copied(p), nil
}

func (p *Payment) spends(at wire.OutPoint) bool {
	if slices.Contains(points(p.Inputs), at) {
		return true
	}
	return slices.ContainsFunc(p.Versions, func(v Version) bool { return slices.Contains(points(v.Inputs), at) })
}

func (m *memory) Strangers(_ context.Context, txids []string) (list []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, txid := range txids {
		known := m.booked[txid]
		for _, p := range m.payments {
			known = known || p.version(txid) != nil
		}
		if !known {
			list = append(list, txid)
		}
	}
	return list, nil
}

func (m *memory) Cursor(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursor, nil
}

func (m *memory) SetCursor(_ context.Context, block string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursor = block
	return nil
}

func (m *memory) Debited(context.Context, time.Time) (sum int64, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.payments {
		if len(p.Versions) > 0 {
			sum += Debits(p.Outputs)
		}
	}
	return sum, nil
}
