package users

import (
	"crypto/subtle"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/stratum"
)

// maxNewNames is how many workers one connection may make.
const maxNewNames = 100

// Authorize decides a login. It makes the user and the worker if there are
// none, but never for a refused login.
func (s *Users) Authorize(l *session.Login) (session.Grant, *stratum.Reject) {
	now := s.stamp(l.Time)
	from := refusal{place(l.Remote.Addr()), l.Worker[:min(len(l.Worker), 256)]}
	if wait := s.refusals.wait(from, now); wait > 0 {
		return session.Grant{}, unauthorized(retryIn(wait))
	}
	g, refused := s.login(l, now)
	switch {
	case refused == tryAgain: // nothing is wrong with it
		return session.Grant{}, unauthorized(refused)
	case refused != "":
		from.name = strings.Clone(from.name)
		s.refusals.add(from, now)
		return session.Grant{}, unauthorized(refused)
	}
	return g, nil
}

func unauthorized(text string) *stratum.Reject {
	return &stratum.Reject{Code: stratum.Unauthorized, Text: text}
}

func retryIn(wait time.Duration) string {
	return fmt.Sprintf("retry in %.0f s", math.Ceil(wait.Seconds()))
}

func (s *Users) login(l *session.Login, now stamp) (g session.Grant, refused string) {
	if refused := checkName(l.Worker); refused != "" {
		return g, refused
	}
	if !passwordMatches(s.settings.Load().Password, l.Password) {
		return g, "Invalid password"
	}
	name, payout, free := l.Worker, []byte(nil), false
	payable := true
	if !s.checked(l) {
		userName, rest := splitName(name)
		a, err := address.Parse(userName)
		if err == nil {
			name = a.String() + rest
		}
		refused := ""
		if s.cfg.Solo || s.cfg.Accounts != nil {
			refused = s.checkPayout(a, err)
			payable = refused == ""
		}
		if s.cfg.Solo {
			if refused != "" {
				if err != nil {
					refused += addressHint(l.Worker, userName)
				}
				return g, refused
			}
			payout = a.Script()
		}
		// The limits are not for the address that a connection mines for, which is paid.
		free = err == nil && rest == "" && !l.Further && !s.cfg.Proxy
	}
	if s.cfg.Accounts != nil {
		if refused := s.ask(l, name, payable, &g); refused != "" || g.Undecided {
			return g, refused
		}
	}
	w := s.directory.hold(name)
	if w == nil {
		if !free {
			if refused := s.checkNewName(l, now); refused != "" {
				return g, refused
			}
		}
		made := false
		w, made = s.directory.holdNew(name, now)
		if made && !free {
			g.NewName = true
			s.newNames.add(place(l.Remote.Addr()), now)
		}
	}
	g.Worker, g.Name = w.id, w.name
	g.User = w.user.login(payout, l.Time, s.copies.Load)
	g.Message = fmt.Sprintf("Authorised, welcome to %s %s!", s.settings.Load().Name, w.user.Name)
	return g, ""
}

// checked tells that a login in solo mode is a further one of a user whose address
// was looked at before. For a taproot address that takes as long as twenty shares
// do, and a connection may ask for many names.
func (s *Users) checked(l *session.Login) bool {
	if !s.cfg.Solo || !l.Further {
		return false
	}
	userName, _ := splitName(l.Worker)
	u := s.directory.user(userName)
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.Payout != nil
}

// login notes a successful login and returns what all sessions of the user share,
// with the payout script of the first.
func (u *user) login(payout []byte, now time.Time, copies func() uint32) *session.User {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.changed = copies()
	u.loggedIn = true
	if u.authorised == 0 {
		u.authorised = now.Unix()
	}
	if u.Payout == nil && payout != nil { // sessions read it without the lock
		u.Payout = payout
	}
	return &u.User
}

func checkName(worker string) string {
	userName, _ := splitName(worker)
	switch {
	case worker == "":
		return "Empty workername parameter"
	case userName == "":
		return "Empty username parameter"
	case strings.Contains(userName, "/"):
		return "Invalid character in username"
	}
	if _, err := sharelog.FileName(worker); err != nil {
		return "Username too long"
	}
	return ""
}

// passwordMatches tells whether the miner's password is, or has among its
// options, the one that keeps strangers out.
func passwordMatches(want, got string) bool {
	if want == "" {
		return true
	}
	match := subtle.ConstantTimeCompare([]byte(got), []byte(want))
	for option := range strings.SplitSeq(got, ",") {
		match |= subtle.ConstantTimeCompare([]byte(strings.TrimSpace(option)), []byte(want))
	}
	return match == 1
}

// Unpayable is why blocks cannot be paid to an address, "" if they can.
func (s *Users) Unpayable(text string) string {
	a, err := address.Parse(text)
	refused := s.checkPayout(a, err)
	if err == nil {
		err = a.Payable()
	}
	if refused != "" && err != nil {
		return err.Error() // what a login is told speaks of user names
	}
	return refused
}

// checkPayout refuses what a block's reward must not be paid to.
func (s *Users) checkPayout(a address.Address, err error) string {
	if err != nil {
		return fmt.Sprintf("Username must be a bitcoin address: %v", err)
	}
	if n := s.network.Load(); n >= 0 && !a.On(address.Network(n)) {
		return fmt.Sprintf("Address is for %v, this pool mines on %v", a.Network(), address.Network(n))
	}
	if err := a.Payable(); err != nil {
		return fmt.Sprintf("Username must be a payable address: %v", err)
	}
	return ""
}

// shortestAddress is below the length of any address.
const shortestAddress = 26

// addressHint is what a solo miner whose user name is no address should put there,
// if the mistake is plain.
func addressHint(worker, userName string) string {
	parts := strings.FieldsFunc(worker, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, part := range parts {
		if len(part) < shortestAddress {
			continue
		}
		if _, err := address.Parse(part); err != nil {
			continue
		}
		rig := "rig1"
		if i > 0 && i == len(parts)-1 && len(parts[0]) < shortestAddress && !strings.Contains(worker, ":") { // as in bitcoin:ADDRESS
			rig = parts[0]
		}
		return "; use " + part + "." + rig
	}
	if len(userName) < shortestAddress {
		return "; use ADDRESS." + userName + " with your own address"
	}
	return ""
}

// checkNewName limits the names strangers can make.
func (s *Users) checkNewName(l *session.Login, now stamp) string {
	if l.NewNames >= maxNewNames {
		return "Too many new names on this connection"
	}
	addr := l.Remote.Addr().Unmap()
	for _, p := range s.settings.Load().NameExempt {
		if p.Contains(addr) {
			return ""
		}
	}
	if wait := s.newNames.wait(place(addr), now); wait > 0 {
		return "Too many new names from your address, " + retryIn(wait)
	}
	return ""
}

// ResumeWorker implements session.Workers.
func (s *Users) ResumeWorker(name string) session.Grant {
	w, _ := s.directory.holdNew(name, s.stamp(time.Now()))
	w.user.mu.Lock()
	defer w.user.mu.Unlock()
	return session.Grant{Worker: w.id, Name: w.name, User: &w.user.User}
}
