package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
)

// act is something that a form does.
type act struct {
	path     string
	scope    credentials.Scope
	password bool // it is for who has one, and not for the owners of addresses
	do       func(ctx context.Context, v *visitor, form url.Values) (result, error)
}

// result is where the browser goes next, to read that something is done; or a page that is
// shown once.
type result struct {
	to          []string // elements of its path
	done        string
	page, title string
	data        any
}

// done says what was done, by its key in an address.
var done = map[string]string{
	"proved":    "The change is made.",
	"minimum":   "That is the minimum from now on.",
	"private":   "Pools name this account to nobody, within some seconds.",
	"public":    "Pools show this account as they show everybody.",
	"password":  "The password is changed. Other browsers are logged out.",
	"nocodes":   "One-time codes are off.",
	"addresses": "The addresses are changed. The newest below says from when on.",
	"revoked":   "The token is good for nothing any more.",
	"begun":     "The payout has begun: its payments are below, and come to be broadcast within seconds.",
	"exported":  "The payout has begun: its payments are below, and their PSBTs wait for a signer.",
	"sending":   "The payment is being sent. Its state is below.",
	"bumping":   "The payment's transaction is being replaced. Its state is below.",
	"cancelled": "The payment is cancelled.",
	"set":       "The setting is made. If it holds only later it stands below beside the present one.",
	"held":      "The account is not paid, and earns on.",
	"paid":      "The account is paid.",
	"locked":    "The account is locked.",
	"unlocked":  "The account is not locked.",
}

// acts are all that forms do.
func (s *Accounts) acts() []act {
	return slices.Concat(s.staffActs(), s.settingActs(), []act{
		{path: "/addresses", scope: credentials.ChangeOwn, do: s.setAddresses},
		{path: "/prove", scope: credentials.ChangeOwn, do: s.prove},
		{path: "/tokens", scope: credentials.ChangeOwn, password: true, do: s.addToken},
		{path: "/tokens/revoke", scope: credentials.ChangeOwn, password: true, do: s.revokeToken},
	})
}

// changesMost is how often a user may change something in a day: all of it is kept. It is
// staffMost where it is of others.
const (
	changesMost = 50
	staffMost   = 2000
)

func (a *act) limits(user string) []credentials.Limit {
	if a.scope != credentials.ChangeOwn {
		return []credentials.Limit{{Key: "staff " + user, Most: staffMost, Within: 24 * time.Hour}}
	}
	return []credentials.Limit{{Key: "change " + user, Most: changesMost, Within: 24 * time.Hour}}
}

// acted takes a form of who is logged in and may send it.
func (s *Accounts) acted(a *act) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visitor(r)
		if err == nil && v == nil {
			http.Redirect(w, r, s.pages.link("login"), http.StatusSeeOther)
			return
		}
		if err == nil && (!v.may(a.scope) || a.password && v.address) {
			err = errForbidden
		}
		if err == nil && r.ParseForm() != nil {
			err = errForm
		}
		if err == nil {
			var wait time.Duration
			if wait, err = s.source.AddTry(r.Context(), a.limits(v.Name)); err == nil && wait > 0 {
				err = &failure{http.StatusTooManyRequests, "too many changes for a day"}
			}
		}
		var done result
		if err == nil {
			done, err = a.do(r.Context(), v, r.PostForm)
		}
		switch {
		case err != nil:
			s.fail(w, r, readable(err))
		case done.page != "":
			s.show(w, r, v, done.page, done.title, done.data)
		default:
			http.Redirect(w, r, s.pages.link(done.to...)+"?done="+done.done, http.StatusSeeOther)
		}
	}
}

func (s *Accounts) setAddresses(ctx context.Context, v *visitor, form url.Values) (result, error) {
	claim, err := s.source.SetAddresses(ctx, v.Name, strings.Fields(form.Get("addresses")))
	return settled(claim, err, "addresses", "addresses")
}

func (s *Accounts) prove(ctx context.Context, v *visitor, form url.Values) (result, error) {
	return result{to: []string{"account"}, done: "proved"}, s.source.Prove(ctx, v.Name, strings.TrimSpace(form.Get("claim")), strings.Fields(form.Get("signatures")))
}

// tokensPage is what the page of tokens has: for programs it is the part of the list.
type tokensPage struct {
	page[Token]
	scopes []credentials.Scope // that a new one may have
}

// Scopes are for the page's form.
func (p tokensPage) Scopes() []credentials.Scope { return p.scopes }

func (s *Accounts) lookTokens(ctx context.Context, v *visitor, r *http.Request) (any, error) {
	all, err := s.source.Tokens(ctx, v.Name)
	if err != nil {
		return nil, err
	}
	part, err := paged(r, all, func(t *Token) Token { return *t })
	return tokensPage{part, v.Role.Scopes()}, err
}

func (s *Accounts) addToken(ctx context.Context, v *visitor, form url.Values) (result, error) {
	days, err := strconv.Atoi(form.Get("days"))
	if err != nil || days < 1 || days > 366 {
		return result{}, &failure{http.StatusUnprocessableEntity, "want the days that the token is good for, 1 to 366"}
	}
	var scopes []credentials.Scope
	for _, text := range form["scope"] {
		scopes = append(scopes, credentials.Scope(text))
	}
	if len(scopes) == 0 || slices.ContainsFunc(scopes, func(s credentials.Scope) bool { return !v.may(s) }) {
		return result{}, &failure{http.StatusUnprocessableEntity, "want what the token is for, of what you may do yourself"}
	}
	name := form.Get("name")
	if len(name) > 100 {
		return result{}, &failure{http.StatusUnprocessableEntity, "want at most 100 bytes that say what the token is for"}
	}
	text, err := s.source.AddToken(ctx, v.Name, name, scopes, days)
	return result{page: "token", title: "A new token", data: text}, err
}

func (s *Accounts) revokeToken(ctx context.Context, v *visitor, form url.Values) (result, error) {
	number, err := strconv.ParseInt(form.Get("number"), 10, 64)
	if err != nil {
		return result{}, errForm
	}
	return result{to: []string{"tokens"}, done: "revoked"}, s.source.RevokeToken(ctx, v.Name, number)
}
