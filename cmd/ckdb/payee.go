package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/store"
)

// hold keeps an account from being paid; unhold ends that.
func (c *call) hold(ctx context.Context) error   { return c.holdFor(ctx, strings.Join(c.args[1:], " ")) }
func (c *call) unhold(ctx context.Context) error { return c.holdFor(ctx, "") }

func (c *call) holdFor(ctx context.Context, reason string) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		if err := errors.Join(whole(w), known(ctx, s, w)); err != nil {
			return "", err
		}
		done := w.Account + " is not paid, and earns on: " + reason
		if reason == "" {
			done = w.Account + " is paid"
		}
		return done, s.Hold(ctx, person(), store.Owner{Kind: w.Kind, Name: w.Account}, reason)
	})
}

// addressSet is where an account is paid from a time on, as it is printed.
type addressSet struct {
	Since     int64  `json:"since"`
	From      string `json:"from"`
	By        string `json:"by"`
	Addresses string `json:"addresses"`
	Void      string `json:"void"`
}

// addresses shows where an account is paid, or says it.
func (c *call) addresses(ctx context.Context) error {
	if len(c.args) == 1 {
		return c.with(ctx, func(s *store.Store) error {
			of, err := ownerNamed(ctx, s, c.args[0])
			if err != nil {
				return err
			}
			return c.printAddresses(ctx, s, of)
		})
	}
	parts, err := parseParts(c.args[1:])
	if err != nil {
		return err
	}
	return c.with(ctx, func(s *store.Store) error {
		of, err := ownerNamed(ctx, s, c.args[0])
		if err != nil {
			return err
		}
		if _, err := s.SetAddresses(ctx, store.AddressChange{Owner: of, Parts: parts, By: person()}); err != nil {
			return orProve(of, err)
		}
		return c.printAddresses(ctx, s, of)
	})
}

func (c *call) printAddresses(ctx context.Context, s *store.Store, of store.Owner) error {
	list, err := s.AddressSets(ctx, of)
	if err != nil {
		return err
	}
	shown := []addressSet{}
	for _, v := range list {
		var parts []string
		for _, p := range v.Parts {
			parts = append(parts, fmt.Sprintf("%s=%s%%", p.Address, store.Percent(p.PPM)))
		}
		shown = append(shown, addressSet{v.Since / 1_000_000, time.UnixMicro(v.Since).Format(timeLayout), v.By, strings.Join(parts, " "), v.Void})
	}
	if len(shown) == 0 && !c.json {
		text := "no address to pay to is known: \"ckdb user address " + of.Name + " ADDRESS\" says it"
		if of.Kind == store.Address {
			text = "paid to itself"
		}
		_, err := fmt.Fprintln(c, page.OneLine(text))
		return err
	}
	return c.print(struct {
		Addresses []addressSet `json:"addresses"`
	}{shown})
}

// parseParts reads addresses, each with =PERCENT behind it unless it is the only one.
func parseParts(args []string) (parts []store.Part, err error) {
	for _, arg := range args {
		address, percent, ok := strings.Cut(arg, "=")
		part := store.Part{Address: address, PPM: store.Whole}
		switch {
		case ok:
			text, err := millionths("part", strings.TrimSuffix(percent, "%")+"%")
			if err != nil {
				return nil, err
			}
			if part.PPM, err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, err
			}
		case len(args) > 1:
			return nil, fmt.Errorf("%q: want ADDRESS=PERCENT, where there are several", arg)
		}
		parts = append(parts, part)
	}
	return parts, nil
}
