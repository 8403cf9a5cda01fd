package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/ownership"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/web"
)

// loginAge is how old a text may be that somebody logs in by.
const loginAge = 5 * time.Minute

// loginWhat is what the owner of an address signs to log in at a site, by its host and
// path. It is no change, so that the signature is good for none.
func loginWhat(site string) string { return "log in at " + site }

// owned is the account of an address of the pool's network.
func (b book) owned(ctx context.Context, name string) (store.Worker, error) {
	network, err := b.Network(ctx)
	if err != nil {
		return store.Worker{}, err
	}
	w := accounting.ParseWorker(network, name)
	if err := whole(w); err != nil {
		return w, &web.RefusedError{Err: err}
	}
	if w.Kind != store.Address {
		return w, &web.RefusedError{Err: fmt.Errorf("%q is no bitcoin address of this pool's network", name)}
	}
	return w, nil
}

// LoginClaim implements web.AddressSource. Whether the address has an account it does not
// tell.
func (b book) LoginClaim(ctx context.Context, name, site string) (*web.Claim, error) {
	w, err := b.owned(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := b.newClaim(ctx, w.Account, loginWhat(site), w.Account)
	if err == nil {
		c.Until = c.Until.Add(loginAge - ownership.MaxAge)
	}
	return c, err
}

// ProveLogin implements web.AddressSource.
func (b book) ProveLogin(ctx context.Context, site, text, signature string) (string, error) {
	claim, err := ownership.ParseClaim(text)
	if err != nil {
		return "", &web.RefusedError{Err: err}
	}
	w, err := b.owned(ctx, claim.Account)
	if err != nil {
		return "", err
	}
	pool, err := poolName(ctx, b.Store)
	if err != nil {
		return "", err
	}
	proof, err := proveLogin(&claim, w.Account, pool, site, text, signature, time.Now())
	if err != nil {
		return "", &web.RefusedError{Err: err}
	}
	a, err := b.Store.Account(ctx, w)
	if err != nil {
		return "", err
	}
	if !a.Exists {
		return "", &web.RefusedError{Err: fmt.Errorf("%s has not mined here", w.Account)}
	}
	return w.Account, refusal(b.UseProof(ctx, store.Owner{Kind: w.Kind, Name: w.Account}, claim.What, proof))
}

func proveLogin(claim *ownership.Claim, account, pool, site, text, signature string, now time.Time) (*ownership.Proof, error) {
	switch {
	case claim.What != loginWhat(site):
		return nil, errors.New("this text is not for a login at this site")
	case now.Sub(claim.Time) > loginAge:
		return nil, errors.New("this text is too old: ask for another one")
	}
	a, err := address.Parse(account)
	if err != nil {
		return nil, err
	}
	return ownership.Prove(a, pool, text, signature, now)
}
