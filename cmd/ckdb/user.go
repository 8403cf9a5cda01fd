package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/store"
)

// standing is what was said of an account.
type standing struct {
	Registered bool   `json:"registered"`
	Password   bool   `json:"password"` // it has one
	Locked     bool   `json:"locked"`
	Reason     string `json:"reason"` // of the lock
	Private    bool   `json:"private"`
}

func standingOf(a *store.Account) standing {
	return standing{a.Registered, a.Password != "", a.Locked, a.Reason, a.Private}
}

// say changes the account of the worker that was named, and prints what done says, or
// its standing for programs.
func (c *call) say(ctx context.Context, change func(s *store.Store, w store.Worker) (done string, err error)) error {
	return c.with(ctx, func(s *store.Store) error {
		network, err := s.Network(ctx)
		if err != nil {
			return err
		}
		w := accounting.ParseWorker(network, c.args[0])
		done, err := change(s, w)
		if err != nil {
			return err
		}
		if !c.json {
			_, err = fmt.Fprintln(c, page.OneLine(done))
			return err
		}
		a, err := s.Account(ctx, w)
		if err != nil {
			return err
		}
		return c.print(struct {
			User   string `json:"user"`
			Kind   string `json:"kind"`
			Worker string `json:"worker"`
			standing
			Minimum float64 `json:"mindiff"`
		}{w.Account, string(w.Kind), workerName(&w), standingOf(&a), a.Minimum})
	})
}

// whole refuses the name of a worker where an account is meant.
func whole(w store.Worker) error {
	if w.Name != "" {
		return fmt.Errorf("%q is a worker: name its account, %q", workerName(&w), w.Account)
	}
	return nil
}

// known refuses an account that nobody has heard of: its name may be a wrong one. An
// address is one before it mines.
func known(ctx context.Context, s *store.Store, w store.Worker) error {
	a, err := s.Account(ctx, w)
	if err == nil && !a.Exists && w.Kind == store.User {
		err = fmt.Errorf("%q has not mined and is not registered: \"ckdb user add %s\" does that", w.Account, w.Account)
	}
	return err
}

// maxUser is the bytes of a user's name.
const maxUser = 128

// checkUser refuses names that no miner could give, or that are an address to others.
func checkUser(w store.Worker) error {
	name := w.Account
	bad := strings.IndexFunc(name, func(r rune) bool { return r == '/' || r == ',' || unicode.IsSpace(r) || !unicode.IsPrint(r) })
	switch {
	case w.Kind == store.Address:
		return fmt.Errorf("%s is a bitcoin address, which mines without being registered", name)
	case w.Name != "":
		return fmt.Errorf("%q: names of users have no point and no underscore, behind which a worker's name begins", workerName(&w))
	case name == "" || len(name) > maxUser || bad >= 0:
		return fmt.Errorf("%q: want a name of 1 to %d bytes without spaces, commas and slashes", name, maxUser)
	case isAddress(name):
		return fmt.Errorf("%s is a bitcoin address of another network than the pool's, or of a pool that has stored nothing yet", name)
	}
	return nil
}

// addUser registers a user.
func (c *call) addUser(ctx context.Context) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		if err := checkUser(w); err != nil {
			return "", err
		}
		first, err := isFirst(ctx, s)
		if err != nil {
			return "", err
		}
		if err := s.Add(ctx, person(), w.Kind, w.Account); err != nil {
			return "", fmt.Errorf("%q: %w", w.Account, err)
		}
		return w.Account + " is registered, and any password will do: \"ckdb user password " + w.Account + "\" sets one" + first, nil
	})
}

// isFirst is what to say if the next user is the first that is registered.
func isFirst(ctx context.Context, s *store.Store) (string, error) {
	if registers, err := s.Registers(ctx); err != nil || registers {
		return "", err
	}
	return ". It is the first: from now on other names must be registered too, or be a bitcoin address", nil
}

func (c *call) setPassword(ctx context.Context) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		err, first := whole(w), ""
		if a, e := s.Account(ctx, w); e != nil {
			return "", e
		} else if w.Kind == store.User && !a.Registered {
			if err = checkUser(w); err == nil {
				first, err = isFirst(ctx, s)
			}
		}
		if err != nil {
			return "", err
		}
		password, err := readPassword(ctx, w.Account)
		if err != nil {
			return "", err
		}
		hash, err := credentials.HashPassword(password)
		if err != nil {
			return "", err
		}
		if err := s.SetPassword(ctx, person(), w.Kind, w.Account, hash); err != nil {
			return "", fmt.Errorf("%q: %w", w.Account, err)
		}
		return w.Account + " has that password from now on" + first, nil
	})
}

// readPassword asks for a password twice, or reads the first line of what is no
// terminal.
func readPassword(ctx context.Context, name string) (string, error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 1<<12)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var both [2]string
	for i, prompt := range []string{"Password of " + page.OneLine(name) + ": ", "Once more: "} {
		fmt.Fprint(os.Stderr, prompt)
		said, err := typed(ctx, func() (string, error) {
			b, err := term.ReadPassword(in)
			return string(b), err
		})
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", err
		}
		both[i] = said
	}
	if both[0] != both[1] {
		return "", errors.New("the two are not the same: nothing was changed")
	}
	return both[0], nil
}

func (c *call) lock(ctx context.Context) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		if err := errors.Join(whole(w), known(ctx, s, w)); err != nil {
			return "", err
		}
		return w.Account + " is locked", s.Lock(ctx, person(), w.Kind, w.Account, strings.Join(c.args[1:], " "))
	})
}

func (c *call) unlock(ctx context.Context) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		if err := errors.Join(whole(w), known(ctx, s, w)); err != nil {
			return "", err
		}
		return w.Account + " is not locked", s.Unlock(ctx, person(), w.Kind, w.Account)
	})
}

func (c *call) setPrivate(ctx context.Context) error {
	private := c.args[1] == "on"
	if !private && c.args[1] != "off" {
		return errors.New("usage: ckdb user private NAME on|off")
	}
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		if err := errors.Join(whole(w), known(ctx, s, w)); err != nil {
			return "", err
		}
		done := w.Account + " is named to nobody by pools that ask this database"
		if !private {
			done = w.Account + " is shown as everybody is"
		}
		return done, s.SetPrivate(ctx, person(), w.Kind, w.Account, private)
	})
}

func (c *call) message(ctx context.Context) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		if err := errors.Join(whole(w), known(ctx, s, w)); err != nil {
			return "", err
		}
		return "shown to the miners of " + w.Account + " that are connected", s.Message(ctx, person(), w.Kind, w.Account, strings.Join(c.args[1:], " "))
	})
}

func (c *call) setMinimum(ctx context.Context) error {
	return c.say(ctx, func(s *store.Store, w store.Worker) (string, error) {
		least, err := strconv.ParseFloat(c.args[1], 64)
		exact := difficulty.Exact{}
		if err == nil && least >= 0 {
			exact, err = difficulty.ParseExact(c.args[1])
		}
		if err != nil || !(least >= 0) || least > 0 && exact == (difficulty.Exact{}) {
			return "", fmt.Errorf("%q: want a difficulty above 0, or 0 for none", c.args[1])
		}
		if err := known(ctx, s, w); err != nil {
			return "", err
		}
		done := "the least difficulty of " + workerName(&w) + " is " + figures.Number(least)
		if least == 0 {
			done = workerName(&w) + " has no least difficulty of its own"
		}
		return done, s.SetMinimum(ctx, person(), w, least)
	})
}

func isAddress(name string) bool {
	_, err := address.Parse(name)
	return err == nil
}
