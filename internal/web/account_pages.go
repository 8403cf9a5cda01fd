package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
)

// look is something to be seen: a page at its path, and the same for programs below
// /api/v1.
type look struct {
	path  string // pattern
	page  string // its name
	title string
	text  string // in the list of pages; "": it is not in it
	scope credentials.Scope
	// password tells that it is for who has one, and not for the owners of addresses.
	password bool
	// people tells that it is no part of the API.
	people bool
	data   func(ctx context.Context, v *visitor, r *http.Request) (any, error)
}

// looks are all there are to see, as the list of pages has them.
func (s *Accounts) looks() []look {
	return append([]look{
		{path: "/account", page: "account", title: "Account", text: "Account", scope: credentials.ReadOwn, data: s.lookAccount},
		{path: "/rewards", page: "rewards", title: "Rewards", text: "Rewards", scope: credentials.ReadOwn, data: list(s.source.Rewards)},
		{path: "/rewards/{block}", page: "part", title: "Part of a block", text: "", scope: credentials.ReadOwn, data: s.lookPart},
		{path: "/payouts", page: "payouts", title: "Payouts", text: "Payouts", scope: credentials.ReadOwn, data: s.lookPayouts},
		{path: "/statement", page: "statement", title: "Statement", text: "Statement", scope: credentials.ReadOwn, data: list(s.source.Statement)},
		{path: "/workers", page: "workers", title: "Workers", text: "Workers", scope: credentials.ReadOwn, data: s.lookWorkers},
		{path: "/addresses", page: "addresses", title: "Addresses", text: "Addresses", scope: credentials.ReadOwn, data: list(s.source.Addresses)},
		{path: "/tokens", page: "tokens", title: "Tokens", text: "Tokens", scope: credentials.ReadOwn, password: true, data: s.lookTokens},
		{path: "/settings", page: "own", title: "Settings", text: "Settings", scope: credentials.ReadOwn, people: true, data: s.lookSettings},
	}, s.staffLooks()...)
}

// list shows a list of a user's in parts.
func list[T any](of func(context.Context, string) ([]T, error)) func(context.Context, *visitor, *http.Request) (any, error) {
	return func(ctx context.Context, v *visitor, r *http.Request) (any, error) {
		all, err := of(ctx, v.Name)
		if err != nil {
			return nil, err
		}
		return paged(r, all, func(t *T) T { return *t })
	}
}

func (s *Accounts) lookAccount(ctx context.Context, v *visitor, _ *http.Request) (any, error) {
	return s.source.Account(ctx, v.Name)
}

// settingsPage is what the page of an account's settings has.
type settingsPage struct {
	Account
	Password bool // it has one
	Least    int  // characters of a new one
}

func (s *Accounts) lookSettings(ctx context.Context, v *visitor, _ *http.Request) (any, error) {
	a, err := s.source.Account(ctx, v.Name)
	return settingsPage{a, !v.address, leastPassword}, err
}

func (s *Accounts) lookPart(ctx context.Context, v *visitor, r *http.Request) (any, error) {
	var p Part
	err := compute(ctx, s.parts, func() (err error) {
		p, err = s.source.Part(ctx, v.Name, r.PathValue("block"))
		return err
	})
	return p, err
}

func (s *Accounts) lookPayouts(ctx context.Context, v *visitor, r *http.Request) (any, error) {
	from, limit, err := asked(r)
	if err != nil {
		return nil, err
	}
	items, total, err := s.source.Payouts(ctx, v.Name, from, limit)
	if err != nil {
		return nil, err
	}
	return partOf(items, from, total), nil
}

func (s *Accounts) lookWorkers(ctx context.Context, v *visitor, r *http.Request) (any, error) {
	from, limit, err := asked(r)
	if err != nil {
		return nil, err
	}
	items, total, err := s.source.Workers(ctx, v.Name, from, limit)
	return partWithin(items, from, limit, total), err
}

// accountBar is what pages of accounts have at their top.
type accountBar struct {
	User string // "": nobody is logged in
	Nav  []navLink
	Done string // what was done
	// Miners tells that the user may hold and lock accounts, Money that he may move it; Owner that the account is an
	// address.
	Miners, Money, Owner bool
}

type navLink struct {
	Path    string
	Text    string
	Current bool
}

// Errors of requests.
var (
	errForm      = &failure{http.StatusBadRequest, "this is no form of these pages"}
	errOrigin    = &failure{http.StatusForbidden, "this comes from another site than the pages here"}
	errToken     = &failure{http.StatusUnauthorized, "want a header Authorization: Bearer and a token that is good"}
	errForbidden = &failure{http.StatusForbidden, "this takes another role, or a token for it"}
)

// routes are all there are, below the base.
func (s *Accounts) routes() http.Handler {
	pages, m := http.NewServeMux(), http.NewServeMux()
	for _, a := range s.acts() {
		pages.HandleFunc("POST "+a.path, s.acted(&a))
	}
	for _, l := range s.looks() {
		pages.HandleFunc("GET "+l.path, s.shown(&l))
		if !l.people {
			m.HandleFunc("GET /api/v1"+l.path, s.told(&l))
		}
	}
	pages.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.pages.link("account"), http.StatusSeeOther)
	})
	pages.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { s.showLogin(w, r, http.StatusOK, "", "") })
	pages.HandleFunc("POST /login", s.login)
	pages.HandleFunc("GET /login/address", func(w http.ResponseWriter, r *http.Request) { s.showAddressLogin(w, r, &addressLogin{}, nil) })
	pages.HandleFunc("POST /login/address", s.loginByAddress)
	pages.HandleFunc("POST /logout", s.logout(false))
	pages.HandleFunc("POST /logout/everywhere", s.logout(true))
	pages.HandleFunc("/", s.nothing)
	plain, secured := s.sessions.LoadAndSave(pages), s.secured.LoadAndSave(pages)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.overTLS(r) {
			secured.ServeHTTP(w, r)
			return
		}
		plain.ServeHTTP(w, r)
	})
	m.HandleFunc("/api/", s.nothing)
	m.HandleFunc("GET /api/v1/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		seal(http.StatusOK, jsonType, accountsAPI).write(w, r, "no-cache")
	})
	m.Handle("GET /assets/", s.pages.assets)

	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errOrigin) }))
	same := origins.Handler(m)
	return s.guard(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := r.Header.Get("X-Forwarded-Host"); host != "" && s.trusted(r) {
			r.Host = host // by which a browser calls this site
		}
		// A browser says where a form comes from. What says nothing is no browser, and has
		// no business with forms.
		if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
			s.fail(w, r, errOrigin)
			return
		}
		same.ServeHTTP(w, r)
	}), "same-origin")
}

func (s *Accounts) nothing(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errNoPage) }

// shown serves a page to who is logged in and may see it.
func (s *Accounts) shown(l *look) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visitor(r)
		if err == nil && v == nil {
			http.Redirect(w, r, s.pages.link("login"), http.StatusSeeOther)
			return
		}
		if err == nil && (!v.may(l.scope) || l.password && v.address) {
			err = errForbidden
		}
		var data any
		if err == nil {
			data, err = l.data(r.Context(), v, r)
		}
		if err != nil {
			s.fail(w, r, readable(err))
			return
		}
		s.show(w, r, v, l.page, l.title, data)
	}
}

func (s *Accounts) show(w http.ResponseWriter, r *http.Request, v *visitor, page, title string, data any) {
	bar := accountBar{User: v.Name, Miners: v.may(credentials.Miners), Money: v.may(credentials.Money), Owner: v.address, Done: done[r.URL.Query().Get("done")]}
	for _, l := range s.looks() {
		if l.text != "" && v.may(l.scope) && !(l.password && v.address) {
			bar.Nav = append(bar.Nav, navLink{s.base + l.path, l.text, l.page == page})
		}
	}
	a, err := s.pages.render(page, &view{Title: title, Name: accountsName, Account: &bar, Now: time.Now(), Data: data})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a.write(w, r, "no-store")
}

// told answers a program that has a token for it.
func (s *Accounts) told(l *look) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := s.answer(l, r)
		if err != nil {
			if errors.Is(err, errToken) {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			s.fail(w, r, readable(err))
			return
		}
		a.write(w, r, "private, no-cache")
	}
}

func (s *Accounts) answer(l *look, r *http.Request) (*answer, error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, errToken
	}
	known, scopes, err := s.source.Token(r.Context(), strings.TrimSpace(text), time.Now())
	if err != nil {
		return nil, err
	}
	if known.Name == "" {
		return nil, errToken
	}
	v := visitor{Known: known, token: scopes, from: s.client(r)}
	if scopes == nil || !v.may(l.scope) {
		return nil, errForbidden
	}
	data, err := l.data(r.Context(), &v, r)
	if err != nil {
		return nil, err
	}
	b, err := encode(data)
	if err != nil {
		return nil, err
	}
	return seal(http.StatusOK, jsonType, b), nil
}

// readable gives a refusal that the user is to read the status of one.
func readable(err error) error {
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return &failure{http.StatusUnprocessableEntity, refused.Error()}
	}
	return err
}
