package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/web"
)

// auditShown is how many of the newest changes pages have.
const auditShown = 1000

func utc(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// Users are accounts by kind and name.
func (b book) Users(ctx context.Context, search string, from, limit int) (shown []web.User, total int, err error) {
	list, total, err := b.Accounts(ctx, search, from, limit)
	for i := range list {
		a := &list[i]
		u := web.User{User: a.Name, Kind: string(a.Kind), Workers: a.Workers, Balance: a.Balance, Immature: a.Immature, Hold: a.Hold}
		if a.LastShare > 0 {
			at := utc(a.LastShare / 1_000_000)
			u.LastShare = &at
		}
		if a.Since > 0 {
			u.Hashrate = store.HashRate(a.Recent, max(time.Since(time.UnixMicro(a.Since)), time.Minute))
		}
		shown = append(shown, u)
	}
	return shown, total, err
}

func (b book) Blocks(ctx context.Context) ([]web.PoolBlock, error) {
	return b.service.blocks.get(ctx, b.allBlocks)
}

func (b book) allBlocks(ctx context.Context) ([]web.PoolBlock, error) {
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
	list, err := settingsInForce(ctx, b.Store, store.Owner{}, time.UTC)
	var shown []web.Setting
	for _, v := range list {
		shown = append(shown, web.Setting{Name: v.Name, User: v.User, Value: v.Value, From: v.From, Meaning: v.Meaning})
	}
	return shown, err
}

// SetSetting implements web.StaffSource.
func (b book) SetSetting(ctx context.Context, by, user, name, value, when string) error {
	v := store.Setting{Name: name, Value: value, By: byUser(by)}
	set := func(of store.Owner) error {
		v.Owner = of
		_, _, err := setSetting(ctx, b.Store, v, strings.TrimSuffix(when, " UTC"), time.UTC)
		if err != nil && !errors.Is(err, context.Canceled) {
			err = &web.RefusedError{Err: err}
		}
		return err
	}
	if user == "" {
		return set(store.Owner{})
	}
	return b.ofAccount(ctx, user, set)
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
