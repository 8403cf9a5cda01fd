package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/ownership"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/store"
)

// prove prints what the owner of an address has to sign for a change, or makes the change
// by the text and its signatures.
func (c *call) prove(ctx context.Context) error {
	_, err := ownership.ParseClaim(c.args[1])
	switch text := err == nil && len(c.args) == 2; {
	case text && len(c.signed) == 0:
		return errors.New("the text is not signed: --signature has what the owner's wallet made of it")
	case !text && len(c.signed) > 0:
		return errors.New("--signature is for the text that was signed, whole and in quotes: ckdb user prove NAME TEXT --signature SIGNATURE")
	}
	return c.with(ctx, func(s *store.Store) error {
		of, err := ownerNamed(ctx, s, c.args[0])
		if err != nil {
			return err
		}
		pool, err := poolName(ctx, s)
		if err != nil {
			return err
		}
		if len(c.signed) > 0 {
			return c.carryOut(ctx, s, of, pool)
		}
		return c.printClaim(ctx, s, of, pool)
	})
}

// poolName is what texts are for: no other database takes them.
func poolName(ctx context.Context, s *store.Store) (string, error) {
	name, _, err := s.Newest(ctx)
	return "ckdb " + name, err
}

// wanted is a change that the owner of an address wants, which is one of the two.
type wanted struct {
	minimum string
	parts   []store.Part
}

// what the change is, in the words that are signed.
func (w wanted) what() string {
	if w.minimum != "" {
		return store.LeastWhat(w.minimum)
	}
	return store.AddressWhat(w.parts)
}

// parseChange reads what wanted.what gave.
func parseChange(what string) (w wanted, err error) {
	if value, ok := strings.CutPrefix(what, store.LeastWhat("")); ok {
		return wanted{minimum: value}, nil
	}
	list, ok := strings.CutPrefix(what, store.AddressWhat(nil)+" ")
	if !ok {
		return wanted{}, fmt.Errorf("%q is no change that is known", what)
	}
	args := strings.Split(list, ", ")
	for i := range args {
		args[i] = strings.Replace(args[i], " ", "=", 1)
	}
	w.parts, err = parseParts(args)
	return w, err
}

// readChange reads it from the command line, and refuses what could not be.
func (c *call) readChange(ctx context.Context, s *store.Store, of store.Owner) (w wanted, err error) {
	if c.args[1] != "minimum" {
		parts, err := parseParts(c.args[1:])
		if err == nil {
			w.parts, err = s.CheckParts(ctx, parts)
		}
		return w, err
	}
	switch {
	case len(c.args) != 3:
		return w, errors.New("usage: ckdb user prove NAME minimum SATOSHIS")
	case of.Kind != store.Address:
		return w, fmt.Errorf("%s is no address, which would be proved: ckdb set minimum %s --user %s", of.Name, c.args[2], of.Name)
	}
	return wanted{minimum: c.args[2]}, store.CheckSetting(store.SettingLeast, c.args[2])
}

func (c *call) printClaim(ctx context.Context, s *store.Store, of store.Owner, pool string) error {
	w, err := c.readChange(ctx, s, of)
	if err != nil {
		return err
	}
	claim, err := ownership.NewClaim(pool, of.Name, w.what(), time.Now())
	if err != nil {
		return err
	}
	signer := w.signer(of)
	if c.json {
		return c.print(struct {
			Text    string `json:"text"`
			Address string `json:"address"` // whose key is to sign; "": of each that is to be proved
			Until   int64  `json:"until"`
		}{claim.Text(), signer, claim.Time.Add(ownership.MaxAge).Unix()})
	}
	with := "the key of " + signer
	if signer == "" {
		with = "the key of each address that is to be proved"
	}
	_, err = fmt.Fprintf(c, "%s\n\nSign exactly the first line with %s; within %d minutes\nckdb user prove %s TEXT --signature SIGNATURE\nmakes the change.\n",
		page.OneLine(claim.Text()), with, int(ownership.MaxAge.Minutes()), page.OneLine(of.Name))
	return err
}

// signer is the address of a signature that names none: an address account's own, or the
// one that a user is to be paid to; "": there is none.
func (w wanted) signer(of store.Owner) string {
	switch {
	case of.Kind == store.Address:
		return of.Name
	case len(w.parts) == 1:
		return w.parts[0].Address
	}
	return ""
}

// carryOut makes the change of a text that was signed.
func (c *call) carryOut(ctx context.Context, s *store.Store, of store.Owner, pool string) error {
	w, proofs, err := proved(c.args[1], pool, of, c.signed)
	if err != nil {
		return err
	}
	if w.minimum == "" {
		if _, err := s.SetAddresses(ctx, store.AddressChange{Owner: of, Parts: w.parts, By: person(), Proofs: proofs}); err != nil {
			return err
		}
		return c.printAddresses(ctx, s, of)
	}
	if len(proofs) != 1 {
		return errors.New("a minimum is signed with the key of the account's address alone: want one --signature")
	}
	if _, err := s.Set(ctx, store.Setting{Name: store.SettingLeast, Owner: of, Value: w.minimum, Since: time.Now().UnixMicro(), By: person(), Proof: proofs[0]}); err != nil {
		return err
	}
	return c.done(fmt.Sprintf("%s is paid from %s satoshis on", of.Name, w.minimum))
}

// proved is the change that a text is about, and what its signatures prove.
func proved(text, pool string, of store.Owner, signatures []string) (w wanted, list []*ownership.Proof, err error) {
	claim, err := ownership.ParseClaim(text)
	if err != nil {
		return w, nil, err
	}
	if w, err = parseChange(claim.What); err == nil {
		list, err = proofs(text, pool, w.signer(of), signatures)
	}
	return w, list, err
}

// proofs are what the signatures prove; signer is the address of those that name none.
func proofs(text, pool, signer string, signatures []string) (list []*ownership.Proof, err error) {
	for _, signature := range signatures {
		at := signer
		// A signature may have = itself, at its end.
		if name, rest, ok := strings.Cut(signature, "="); ok && isAddress(name) {
			at, signature = name, rest
		}
		if at == "" {
			return nil, errors.New("whose signature is it? --signature ADDRESS=SIGNATURE says so, where there are several addresses")
		}
		a, err := address.Parse(at)
		if err != nil {
			return nil, err
		}
		p, err := ownership.Prove(a, pool, text, signature, time.Now())
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// orProve says which command makes a proof where one is wanted.
func orProve(of store.Owner, err error) error {
	if errors.Is(err, store.ErrProof) || errors.Is(err, store.ErrOwned) {
		return fmt.Errorf("%w: \"ckdb user prove %s\" gives a text to sign", err, of.Name)
	}
	return err
}
