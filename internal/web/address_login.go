package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/credentials"
)

// AddressSource lets the owners of addresses in, which are accounts without a password.
type AddressSource interface {
	// LoginClaim is what the owner of an address signs to log in at a site.
	LoginClaim(ctx context.Context, address, site string) (*Claim, error)
	// ProveLogin gives the account of the address whose owner has signed such a claim,
	// once.
	ProveLogin(ctx context.Context, site, claim, signature string) (account string, err error)
}

// siteOf is what this site is called by who asks, in a text that is signed for it. The name
// has to be this site's own: whoever has somebody sign for a login at another site could ask
// here by the name of that one. The error is a [RefusedError].
func (s *Accounts) siteOf(r *http.Request) (string, error) {
	host := s.hostOf(r)
	if host == "" || !s.isNamed(host) && !s.isLocal(host, r) {
		return "", &RefusedError{fmt.Errorf("%q is no name that this site is known to have: nobody logs in by an address here (--http-name)", host)}
	}
	return r.Host + s.base, nil
}

// isNamed tells that a host is what the operator, or the certificate, calls this one. Of the
// names that a wildcard stands for one may be somebody else's: whoever has it could have texts
// signed there that are good here.
func (s *site) isNamed(host string) bool {
	called := func(name string) bool { return strings.EqualFold(name, host) }
	if slices.ContainsFunc(s.place().Names, called) {
		return true
	}
	if s.pair == nil {
		return false
	}
	c, err := s.pair.Certificate(nil)
	return err == nil && (slices.ContainsFunc(c.Leaf.DNSNames, called) || net.ParseIP(host) != nil && c.Leaf.VerifyHostname(host) == nil)
}

// isLocal tells that a host is this machine for who runs it, or the very address that the
// request came to. Only who asks from this machine, or from a network of this machine's own as
// of its containers, has the first: it is a name of anybody's machine.
func (s *Accounts) isLocal(host string, r *http.Request) bool {
	from := s.client(r)
	near := from.IsLoopback() || from.IsPrivate()
	if host == "localhost" {
		return near
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	to, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return near && ip.IsLoopback() || ok && to.AddrPort().Addr().Unmap() == ip.Unmap()
}

// loginByAddress shows what the owner of an address signs, or lets him in by it.
func (s *Accounts) loginByAddress(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		s.fail(w, r, errForm)
		return
	}
	address, ctx := strings.TrimSpace(r.PostForm.Get("address")), r.Context()
	text, signature := strings.TrimSpace(r.PostForm.Get("claim")), strings.TrimSpace(r.PostForm.Get("signature"))
	site, err := s.siteOf(r)
	if err != nil {
		s.showAddressLogin(w, r, &addressLogin{Address: address}, err)
		return
	}
	if text == "" {
		claim, err := s.source.LoginClaim(ctx, address, site)
		s.showAddressLogin(w, r, &addressLogin{Address: address, Claim: claim}, err)
		return
	}
	account := ""
	err = compute(ctx, s.logins, func() (err error) {
		limits := credentials.PasswordLimits(address, s.client(r))
		wait, err := s.source.AddTry(ctx, limits)
		switch {
		case err != nil:
			return err
		case wait > 0:
			return &credentials.WaitError{Wait: wait}
		}
		// What is right is counted as well: each is kept for a day.
		account, err = s.source.ProveLogin(ctx, site, text, signature)
		return err
	})
	refused := (*RefusedError)(nil)
	result := loginResult(err)
	if errors.As(err, &refused) {
		result = loginWrong
	}
	if result == loginAccepted {
		if err = s.beginAddress(ctx, account); err != nil {
			result = loginFailed
		}
	}
	s.counted[result].Add(1)
	if err != nil {
		s.showAddressLogin(w, r, &addressLogin{Address: address, Claim: &Claim{Text: text, Signer: address}}, err)
		return
	}
	s.events.Say(event.Info, fmt.Sprintf("http: %q has logged in from %s", account, s.client(r)))
	http.Redirect(w, r, s.pages.link("account"), http.StatusSeeOther)
}

// addressLogin is what its page has.
type addressLogin struct {
	Address, Trouble string
	Claim            *Claim // nil: none yet
}

// showAddressLogin shows the page, with what is wrong for whoever is to read it.
func (s *Accounts) showAddressLogin(w http.ResponseWriter, r *http.Request, l *addressLogin, err error) {
	status := http.StatusOK
	refused, wait := (*RefusedError)(nil), (*credentials.WaitError)(nil)
	switch {
	case err == nil:
	case errors.As(err, &refused):
		status, l.Trouble = http.StatusUnauthorized, refused.Error()
	case errors.As(err, &wait):
		status, l.Trouble = http.StatusTooManyRequests, wait.Error()
		w.Header().Set("Retry-After", fmt.Sprint(int(wait.Wait.Seconds())+1))
	default:
		s.fail(w, r, err)
		return
	}
	a, err := s.pages.render("address", &view{Title: "Log in by an address", Name: accountsName, Account: &accountBar{}, Now: time.Now(), Data: l})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a.status = status
	a.write(w, r, "no-store")
}

// beginAddress logs the owner of an address in.
func (s *Accounts) beginAddress(ctx context.Context, account string) error {
	return s.beginSession(ctx, account, "", true)
}
