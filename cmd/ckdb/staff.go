package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/web"
)

// auditShown is how many of the newest changes pages have.
const auditShown = 1000

func utc(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// Users are those that have mined or are owed something, by name.
func (b book) Users(ctx context.Context) ([]web.User, error) {
	mined, err := accounts(ctx, b.Store, "")
	if err != nil {
		return nil, err
	}
	booked, err := b.Balances(ctx)
	if err != nil {
		return nil, err
	}
	held, err := b.Holds(ctx)
	if err != nil {
		return nil, err
	}
	_, balances := accountBalances(booked)
	all := map[store.Owner]*web.User{}
	of := func(kind, name string) *web.User {
		o := store.Owner{Kind: store.Kind(kind), Name: name}.Folded()
		if all[o] == nil {
			all[o] = &web.User{User: name, Kind: kind, Hold: held[o]}
		}
		return all[o]
	}
	for i := range mined {
		m := &mined[i]
		u := of(m.Kind, m.User)
		u.Workers, u.Hashrate = int64(m.Workers), m.Hashrate
		if m.LastShare > 0 {
			at := utc(m.LastShare)
			u.LastShare = &at
		}
	}
	for _, m := range balances {
		u := of(m.Kind, m.User)
		u.Balance, u.Immature = m.Balance, m.Immature
	}
	var list []web.User
	for _, u := range all {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b web.User) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Kind, b.Kind)) })
	return list, nil
}

func (b book) Blocks(ctx context.Context) ([]web.PoolBlock, error) {
	list, err := rewardList(ctx, b.Store)
	var shown []web.PoolBlock
	for _, r := range slices.Backward(list) {
		shown = append(shown, web.PoolBlock{
			Height: r.Height, Block: r.Hash, State: r.State, Confirmations: r.Confirmations, Value: r.Value, Fee: r.Fee, Credited: r.Credited,
			Accounts: r.Accounts, Waits: r.Waits,
		})
	}
	return shown, err
}

func (b book) Payments(ctx context.Context) ([]web.Payment, error) {
	list, err := b.payments.Last(ctx, shownPayments)
	var shown []web.Payment
	for i := range slices.Backward(list) {
		p := paymentOf(&list[i])
		shown = append(shown, web.Payment{
			Payment: p.Payment, Run: p.Run, State: p.State, Debit: p.Debit, NetworkFee: p.Fee, Payees: int64(p.Payees),
			Confirmations: p.Confirmations, By: p.By, Transaction: p.Txid, Reason: p.Reason,
		})
	}
	return shown, err
}

func (b book) Settings(ctx context.Context) ([]web.Setting, error) {
	list, err := settingsInForce(ctx, b.Store, store.Owner{})
	var shown []web.Setting
	for _, v := range list {
		shown = append(shown, web.Setting{Name: v.Name, User: v.User, Value: v.Value, From: v.From, Meaning: v.Meaning})
	}
	return shown, err
}

func (b book) Audit(ctx context.Context) ([]web.Change, error) {
	list, err := b.Store.Audit(ctx, auditShown)
	var shown []web.Change
	for _, r := range list {
		shown = append(shown, web.Change{
			Number: r.Number, Time: time.UnixMicro(r.At).UTC(), By: r.By, What: r.What, Subject: r.Subject, Before: r.Before, After: r.After,
		})
	}
	return shown, err
}

func (b book) Status(ctx context.Context) (web.Status, error) {
	st, err := b.service.status(ctx)
	if err != nil {
		return web.Status{}, err
	}
	v := web.Status{Journals: []web.Journal{}, Gaps: []web.Gap{}, Waiting: []web.Waiting{}, Alarms: []web.Alarm{}, Height: st.Chain.Height}
	if f := st.Chain.following; f != nil {
		v.Tip, v.Trouble = &f.Tip, f.Trouble
	}
	for i := range st.Journals {
		j := &st.Journals[i]
		v.Journals = append(v.Journals, web.Journal{Pool: j.Pool, Shares: j.Shares, Behind: int64(j.Behind), BehindSeconds: j.Seconds, Trouble: j.Trouble})
	}
	for _, g := range st.Gaps {
		v.Gaps = append(v.Gaps, web.Gap{Pool: g.Pool, Epoch: g.Epoch, First: g.First, Last: g.Last, Cause: g.Cause})
	}
	for _, o := range st.Open {
		v.Waiting = append(v.Waiting, web.Waiting{Height: o.Height, Block: o.Hash, Reason: o.Waits})
	}
	for _, a := range st.Alarms {
		v.Alarms = append(v.Alarms, web.Alarm{Time: utc(a.Time), Subject: a.Subject, Text: a.Text})
	}
	return v, nil
}

// ofAccount does something with an account, which is known.
func (b book) ofAccount(ctx context.Context, name string, do func(of store.Owner) error) error {
	network, err := b.Network(ctx)
	if err != nil {
		return err
	}
	w := accounting.ParseWorker(network, name)
	if err := whole(w); err != nil {
		return &web.RefusedError{Err: err}
	}
	a, err := b.Store.Account(ctx, w)
	if err != nil {
		return err
	}
	if !a.Exists {
		return &web.RefusedError{Err: fmt.Errorf("%q has sent no share and is not registered", name)}
	}
	return do(store.Owner{Kind: w.Kind, Name: w.Account})
}

func (b book) Hold(ctx context.Context, by, name, reason string) error {
	return b.ofAccount(ctx, name, func(of store.Owner) error { return b.Store.Hold(ctx, byUser(by), of, reason) })
}

func (b book) Lock(ctx context.Context, by, name, reason string) error {
	return b.ofAccount(ctx, name, func(of store.Owner) error {
		if reason == "" {
			return b.Unlock(ctx, byUser(by), of.Kind, of.Name)
		}
		return b.Store.Lock(ctx, byUser(by), of.Kind, of.Name, reason)
	})
}
