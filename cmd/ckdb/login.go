package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store"
)

// registered does something with what a user logs in with.
func (c *call) registered(ctx context.Context, f func(s *store.Store, name string) error) error {
	return c.with(ctx, func(s *store.Store) error {
		network, err := s.Network(ctx)
		if err != nil {
			return err
		}
		w := accounting.ParseWorker(network, c.args[0])
		if err := whole(w); err != nil {
			return err
		}
		if w.Kind == store.Address {
			return fmt.Errorf("%s is a bitcoin address: only registered users log in", w.Account)
		}
		a, err := s.Account(ctx, w)
		if err == nil && !a.Registered {
			err = fmt.Errorf("%q is not registered: \"ckdb user add %s\" does that", w.Account, w.Account)
		}
		if err != nil {
			return err
		}
		return f(s, w.Account)
	})
}

// setRole makes a user what it is to the pool.
func (c *call) setRole(ctx context.Context) error {
	role, err := credentials.ParseRole(c.args[1])
	if err != nil {
		return err
	}
	return c.registered(ctx, func(s *store.Store, name string) error {
		if err := s.SetRole(ctx, person(), name, role); err != nil {
			return err
		}
		return c.done(fmt.Sprintf("%s is %s, and may: %s", name, c.args[1], words(role.Scopes())))
	})
}

// words are scopes as they are given.
func words(scopes []credentials.Scope) string {
	list := make([]string, len(scopes))
	for i, s := range scopes {
		list[i] = string(s)
	}
	return strings.Join(list, ",")
}

// oneTimeCodes is about the codes of an app that a user's password needs beside it.
func (c *call) oneTimeCodes(ctx context.Context) error {
	what, rest := c.args[1], c.args[2:]
	if (what == "confirm") != (len(rest) > 0) {
		what = ""
	}
	do := map[string]func(s *store.Store, name string) error{
		"offer":   func(s *store.Store, name string) error { return c.offerSecret(ctx, s, name) },
		"confirm": func(s *store.Store, name string) error { return c.trySecret(ctx, s, name, strings.Join(rest, "")) },
		"off": func(s *store.Store, name string) error {
			if err := s.NoSecret(ctx, person(), name); err != nil {
				return err
			}
			return c.done(name + " logs in without one-time codes")
		},
		"codes": func(s *store.Store, name string) error { return c.newRecoveryCodes(ctx, s, name) },
	}[what]
	if do == nil {
		return errors.New("usage: ckdb user totp NAME offer|confirm CODE|off|codes")
	}
	return c.registered(ctx, do)
}

// offerSecret makes a secret, which counts when a code of it is confirmed.
func (c *call) offerSecret(ctx context.Context, s *store.Store, name string) error {
	secret := credentials.NewSecret()
	if err := s.OfferSecret(ctx, person(), name, secret); err != nil {
		return err
	}
	return c.print(struct {
		User   string `json:"user"`
		Secret string `json:"secret"`
		URL    string `json:"url"`
		Next   string `json:"next"`
	}{name, secret.Base32(), secret.URL(c.name, name), "it is wanted once a code of it is confirmed: ckdb user totp " + name + " confirm CODE"})
}

// recoveryCodes are shown once: only their digests are kept.
type recoveryCodes struct {
	User  string   `json:"user"`
	Codes []string `json:"recovery_codes"`
}

func (c *call) trySecret(ctx context.Context, s *store.Store, name, code string) error {
	codes, digests := credentials.NewRecoveryCodes()
	if err := s.TrySecret(ctx, person(), name, code, time.Now(), digests); err != nil {
		return err
	}
	return c.print(recoveryCodes{name, codes})
}

func (c *call) newRecoveryCodes(ctx context.Context, s *store.Store, name string) error {
	known, err := s.Known(ctx, name)
	if err == nil && known.Secret == "" {
		err = fmt.Errorf("%s logs in without one-time codes: \"ckdb user totp %s offer\" begins them", name, name)
	}
	if err != nil {
		return err
	}
	codes, digests := credentials.NewRecoveryCodes()
	if err := s.NewRecoveryCodes(ctx, person(), name, digests); err != nil {
		return err
	}
	return c.print(recoveryCodes{name, codes})
}

// token is one of a user, as it is printed.
type token struct {
	Number int64  `json:"number"`
	Name   string `json:"name"`
	Scopes string `json:"scopes"` // as they are given

	Created int64 `json:"created"`
	Expires int64 `json:"expires"`
	Revoked int64 `json:"revoked"` // 0: it is not
}

func tokenOf(t *store.Token) token {
	const second = 1_000_000
	return token{t.Number, t.Name, words(t.Scopes), t.Created / second, t.Expires / second, t.Revoked / second}
}

// tokens is about what programs log in with for a user.
func (c *call) tokens(ctx context.Context) error {
	what, rest := c.args[1], c.args[2:]
	switch {
	case what == "add" && len(rest) > 2:
		return c.addToken(ctx, rest[0], rest[1], strings.Join(rest[2:], " "))
	case what == "list" && len(rest) == 0:
		return c.registered(ctx, func(s *store.Store, name string) error {
			list, err := s.Tokens(ctx, name)
			if err != nil {
				return err
			}
			shown := make([]token, len(list))
			for i := range list {
				shown[i] = tokenOf(&list[i])
			}
			return c.print(struct {
				Tokens []token `json:"tokens"`
			}{shown})
		})
	case what == "revoke" && len(rest) == 1:
		number, err := strconv.ParseInt(rest[0], 10, 64)
		if err != nil {
			return fmt.Errorf("%q: want the number of a token, which \"ckdb user token %s list\" has", rest[0], c.args[0])
		}
		return c.registered(ctx, func(s *store.Store, name string) error {
			if err := s.RevokeToken(ctx, person(), name, number); err != nil {
				return err
			}
			return c.done(fmt.Sprintf("token %d of %s is good for nothing any more", number, name))
		})
	}
	return errors.New("usage: ckdb user token NAME add SCOPES DAYS TEXT, or list, or revoke NUMBER")
}

// addToken makes a token, whose text is shown once: only its digest is kept.
func (c *call) addToken(ctx context.Context, scopes, days, name string) error {
	n, err := strconv.Atoi(days)
	if most := int(store.TokenMost / (24 * time.Hour)); err != nil || n < 1 || n > most {
		return fmt.Errorf("%q: want the days that the token is good for, 1 to %d", days, most)
	}
	return c.registered(ctx, func(s *store.Store, user string) error {
		text, digest := credentials.NewToken()
		t, err := s.AddToken(ctx, person(), user, name, scopes, time.Now().Add(time.Duration(n)*24*time.Hour), digest)
		if err != nil {
			return err
		}
		return c.print(struct {
			Token string `json:"token"`
			token
		}{text, tokenOf(&t)})
	})
}
