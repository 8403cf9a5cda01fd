package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// Limit is how often something may be tried in a time.
type Limit struct {
	Key    string // what is counted; not secret, of bounded length
	Most   int
	Within time.Duration
}

// Source is whom a try is counted for: of IPv6 addresses the network, since who has one
// of its addresses has all.
func Source(from netip.Addr) netip.Prefix {
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, _ := from.Prefix(bits)
	return p
}

// tryTime is that of the limits of a source.
const tryTime = 10 * time.Minute

// PasswordLimits are those of a password of an account from a source. None is of the
// account alone: so nobody can lock its owner out from elsewhere.
func PasswordLimits(account string, from netip.Addr) []Limit {
	source := Source(from).String()
	return []Limit{
		{"password " + source + " " + cut(account), 10, tryTime},
		{"password " + source, 100, tryTime},
	}
}

// CodeLimits are those of a one-time code. Who tries one has the password, so that the
// account may have a limit too: in a year 6 digits are hit with a probability of 2 %.
// Recovery codes are not counted in it: with these the owner always gets in.
func CodeLimits(account string, from netip.Addr) []Limit {
	return []Limit{
		{"code " + Source(from).String() + " " + cut(account), 5, tryTime},
		{"code " + cut(account), 20, 24 * time.Hour},
	}
}

func cut(s string) string { return s[:min(len(s), 128)] }

// WaitError tells that too much was tried.
type WaitError struct{ Wait time.Duration }

// Error is for who tries.
func (e *WaitError) Error() string {
	return fmt.Sprintf("too many wrong tries, retry in %.0f s", math.Ceil(e.Wait.Seconds()))
}

// Known is what is kept of somebody who may log in.
type Known struct {
	Name     string // as it was registered
	Role     Role
	Password string // "": nobody logs in
	Secret   string // of one-time codes; "": none are wanted
	LastStep int64  // that a code was used of
}

// Use is a login to be written down. It is refused with ErrUsed where anything of it
// was used or changed since it was looked up.
type Use struct {
	Name     string
	Password string  // as it was looked up
	Upgrade  string  // the hash that is kept from now on; "": the same
	Secret   string  // as it was looked up
	Step     int64   // of the one-time code; 0: none
	Recovery *Digest // of the recovery code
}

// Keeper keeps all of it.
type Keeper interface {
	// Known gives who may log in by a name; nobody is no error.
	Known(ctx context.Context, name string) (Known, error)
	// AddTry counts a try by each of the limits, or by none and says how long to wait.
	AddTry(ctx context.Context, limits []Limit) (wait time.Duration, err error)
	// TakeBackTry takes back what AddTry counted.
	TakeBackTry(ctx context.Context, limits []Limit) error
	// Use writes a login down: of several with the same code one succeeds.
	Use(ctx context.Context, u Use) error
}

// Errors of Login.
var (
	ErrWrong   = errors.New("wrong name or password")
	ErrNoCode  = errors.New("a one-time code is wanted too, or a recovery code")
	ErrBadCode = errors.New("wrong one-time code: is the clock of the app right?")
	ErrUsed    = errors.New("this code was used before: wait for the next one")
)

// nobody takes as long as a password that is not right.
var nobody = Hash{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltLength), sum: make([]byte, hashLength)}

// Attempt is somebody who wants to log in.
type Attempt struct {
	Name, Password string
	Code           string // one-time or recovery code; "" none
	From           netip.Addr
	Now            time.Time
}

// Login lets somebody in, or says why not. What it gives is what the login took: of a
// password that is kept in another form from now on, that form.
func Login(ctx context.Context, k Keeper, a Attempt) (Known, error) {
	if len(a.Password) > MaxPassword || a.Name == "" {
		return Known{}, ErrWrong
	}
	limits := PasswordLimits(a.Name, a.From)
	if err := try(ctx, k, limits); err != nil {
		return Known{}, err
	}
	known, err := k.Known(ctx, a.Name)
	if err != nil {
		return Known{}, err
	}
	h := nobody
	if known.Password != "" {
		if h, err = ParseHash(known.Password); err != nil {
			return Known{}, err
		}
	}
	if !h.Matches(a.Password) || known.Password == "" {
		return Known{}, ErrWrong
	}
	if err := k.TakeBackTry(ctx, limits); err != nil {
		return Known{}, err
	}
	u := Use{Name: known.Name, Password: known.Password, Secret: known.Secret}
	if known.Secret != "" {
		if err := useCode(ctx, k, &a, &known, &u); err != nil {
			return Known{}, err
		}
	}
	if h.Weak() {
		if u.Upgrade, err = HashPassword(a.Password); err != nil {
			return Known{}, err
		}
	}
	if err := k.Use(ctx, u); err != nil {
		return Known{}, err
	}
	known.Password = cmp.Or(u.Upgrade, known.Password)
	return known, nil
}

func try(ctx context.Context, k Keeper, limits []Limit) error {
	wait, err := k.AddTry(ctx, limits)
	if err == nil && wait > 0 {
		err = &WaitError{wait}
	}
	return err
}

// useCode looks which code came.
func useCode(ctx context.Context, k Keeper, a *Attempt, known *Known, u *Use) error {
	if strings.TrimSpace(a.Code) == "" {
		return ErrNoCode
	}
	if d, ok := RecoveryDigest(a.Code); ok {
		u.Recovery = &d
		return nil
	}
	limits := CodeLimits(known.Name, a.From)
	if err := try(ctx, k, limits); err != nil {
		return err
	}
	secret, err := ParseSecret(known.Secret)
	if err != nil {
		return err
	}
	step, ok := secret.Match(a.Code, a.Now, known.LastStep)
	if !ok {
		if _, ok = secret.Match(a.Code, a.Now, 0); ok {
			return ErrUsed
		}
		return ErrBadCode
	}
	u.Step = step
	return k.TakeBackTry(ctx, limits)
}
