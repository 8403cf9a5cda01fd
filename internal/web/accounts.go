package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/credentials"
)

// AccountSource is what is kept of accounts, such as ckdb's database. Its methods may be
// called from any goroutine. Names of users are those of Known, or addresses. A refusal that its user
// is to read is a [RefusedError]; of other errors nobody is told but the operator. Amounts
// are whole satoshis.
type AccountSource interface {
	credentials.Keeper
	StaffSource
	SettingSource
	AddressSource
	// Token gives the user of a token, and what it is for; a name of "" tells that it is
	// not good (any more).
	Token(ctx context.Context, text string, now time.Time) (of credentials.Known, scopes []credentials.Scope, err error)
	Account(ctx context.Context, user string) (Account, error)
	// Rewards, Payouts and Statement have the newest first; Payouts at most limit of them
	// from one on, and tells how many there are.
	Rewards(ctx context.Context, user string) ([]Reward, error)
	Payouts(ctx context.Context, user string, from, limit int) (list []Payout, total int, err error)
	Statement(ctx context.Context, user string) ([]Posting, error)
	// Part explains a user's part of a block, by the block's hash.
	Part(ctx context.Context, user, block string) (Part, error)
	// Workers are by name, at most limit of them from one on.
	Workers(ctx context.Context, user string, from, limit int) (list []AccountWorker, total int, err error)
	// Addresses and Tokens have the newest first.
	Addresses(ctx context.Context, user string) ([]AddressSet, error)
	Tokens(ctx context.Context, user string) ([]Token, error)

	// SetAddresses changes where a user is paid: words are addresses, each with =PERCENT
	// behind it where there are several. Where one has to be proved nothing is changed, and
	// claim is what its owner signs.
	SetAddresses(ctx context.Context, user string, words []string) (claim *Claim, err error)
	// Prove makes the change of a claim that was signed; a signature has ADDRESS= before it
	// where it is not the Signer's.
	Prove(ctx context.Context, user, claim string, signatures []string) error
	// AddToken makes a token that is good for days, and gives its text, which is kept
	// nowhere.
	AddToken(ctx context.Context, user, name string, scopes []credentials.Scope, days int) (text string, err error)
	RevokeToken(ctx context.Context, user string, number int64) error
}

// RefusedError is a refusal for the user to read.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Account is how an account stands.
type Account struct {
	User     string `json:"user"`
	Role     string `json:"role"` // member, reader, support, accountant or admin
	Codes    bool   `json:"one_time_codes"`
	Balance  int64  `json:"balance"`  // that is to be paid
	Immature int64  `json:"immature"` // of blocks that may still be orphaned
	Minimum  int64  `json:"minimum"`  // that is paid
	Fee      int64  `json:"fee_ppm"`  // millionths, that the pool keeps
	Hold     string `json:"hold"`     // why it is not paid; "" it is
	Private  bool   `json:"private"`  // it is named to nobody by pools
}

// Reward is what an account has of a block.
type Reward struct {
	Height        int64     `json:"height"`
	Block         string    `json:"block"` // hash
	State         string    `json:"state"`
	Confirmations int64     `json:"confirmations"`
	Time          time.Time `json:"time"`
	Amount        int64     `json:"amount"`
}

// Part is how an account came to its reward: amount = divided × weight / weights, rounded
// down to whole, and more by the remainder; weight = counted × (1,000,000 − fee) /
// 1,000,000. Numbers in text are exact.
type Part struct {
	Height     int64  `json:"height"`
	Block      string `json:"block"`
	Scheme     string `json:"scheme"`
	Value      int64  `json:"value"`    // that the coinbase pays the pool
	PoolFee    int64  `json:"pool_fee"` // of all accounts
	Divided    int64  `json:"divided"`
	Difficulty string `json:"difficulty"` // of the network
	Counted    string `json:"counted"`    // work of the account's shares in the window
	Window     string `json:"window"`     // work of all shares in it
	Fee        int64  `json:"fee_ppm"`
	Weight     string `json:"weight"`
	Weights    string `json:"weights"`
	Whole      int64  `json:"whole"`
	More       int64  `json:"more"`
	Amount     int64  `json:"amount"`
}

// Payout is what an account is paid by a transaction.
type Payout struct {
	Payment       int64          `json:"payment"`
	Time          time.Time      `json:"time"`
	State         string         `json:"state"`
	Debit         int64          `json:"debit"` // of the balance
	Outputs       []PayoutOutput `json:"outputs"`
	Transaction   *string        `json:"transaction"` // null: it is not signed
	Height        *int64         `json:"height"`      // null: no block has it
	Confirmations int64          `json:"confirmations"`
}

// PayoutOutput is an output of an account.
type PayoutOutput struct {
	Address string `json:"address"`
	Amount  int64  `json:"amount"`
}

// Posting is what a transaction of the ledger adds to the books of an account.
type Posting struct {
	Number   int64     `json:"number"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Immature int64     `json:"to_immature"`
	Balance  int64     `json:"to_balance"`
	Of       string    `json:"of"`
	Note     string    `json:"note"`
}

// AccountWorker is a worker in sums over all pools.
type AccountWorker struct {
	Worker     string     `json:"worker"`
	Hashrate   float64    `json:"hashrate"`    // hashes per second, over one to two hours
	Hashrate1d float64    `json:"hashrate_1d"` // over a day
	Accepted   int64      `json:"accepted"`    // shares
	Rejected   int64      `json:"rejected"`
	Best       string     `json:"best"` // difficulty, exact
	LastShare  *time.Time `json:"last_share"`
}

// AddressSet is where a user is paid from a time on.
type AddressSet struct {
	Since time.Time     `json:"since"`
	By    string        `json:"by"`
	Parts []AddressPart `json:"parts"`
	Void  string        `json:"void"` // why it does not hold and never will; "": it does, or will
}

// AddressPart is what share of a user's money goes to an address.
type AddressPart struct {
	Address string `json:"address"`
	PPM     int64  `json:"ppm"` // millionths
}

// Claim is a text that the owner of an address signs.
type Claim struct {
	Text   string
	Signer string // whose key is to sign; "": that of each address which is to be proved
	Until  time.Time
}

// Token is what a program asks with.
type Token struct {
	Number  int64               `json:"number"`
	Name    string              `json:"name"` // what it is for
	Scopes  []credentials.Scope `json:"scopes"`
	Created time.Time           `json:"created"`
	Expires time.Time           `json:"expires"`
	Revoked *time.Time          `json:"revoked"` // null: it is not
}

// AccountOptions of Accounts.
type AccountOptions struct {
	Source    AccountSource
	Place     Place
	Cert, Key string // files of a TLS certificate; "" without TLS
	Events    event.Func
}

// Accounts serves the pages of accounts to those who log in.
type Accounts struct {
	*site

	// immutable
	source   AccountSource
	handler  http.Handler
	sessions *scs.SessionManager
	secured  *scs.SessionManager // the same, whose cookies go over TLS alone
	kept     *sessionStore
	logins   chan struct{} // has room for those that are computed at a time
	parts    chan struct{} // likewise
	plans    chan struct{} // likewise, of staff alone
	counted  [len(loginResults)]atomic.Int64
}

// Results of logins.
const (
	loginAccepted = iota
	loginWrong
	loginNoCode
	loginBadCode
	loginTooMany
	loginFailed
)

var loginResults = [...]string{"accepted", "wrong name or password", "no one-time code", "wrong one-time code", "too many tries", "failed"}

// Logins are those since the start by what became of them.
func (s *Accounts) Logins() (list control.Counts) {
	for i, name := range loginResults {
		list = append(list, control.Count{Name: name, Count: s.counted[i].Load()})
	}
	return list
}

// Sessions is how many people are logged in, in how many browsers.
func (s *Accounts) Sessions() int {
	all, _ := s.kept.All() // never fails
	return len(all)
}

const accountsName = "Pool accounts"

// Limits of logins and sessions.
const (
	// loginsMost is how many passwords are computed at a time: each takes 19 MiB.
	loginsMost = 4
	// partsMost is how many blocks are computed at a time, for which the database may have
	// to read many shares.
	partsMost = 2
	// plansMost is how many payouts are planned at a time: whoever looks at parts of blocks
	// keeps nobody from paying.
	plansMost = 1
	// sessionTime is how long somebody stays logged in, and sessionsMost in how many
	// browsers: the oldest session ends.
	sessionTime  = 8 * time.Hour
	sessionsMost = 10
)

// NewAccounts prepares a server. The error is that of a certificate.
func NewAccounts(o AccountOptions) (*Accounts, error) {
	site, err := newSite(o.Cert, o.Key, o.Events, func() Place { return o.Place })
	if err != nil {
		return nil, err
	}
	if site.pages, err = newPages(site.base, "pages/account"); err != nil {
		return nil, err
	}
	s := &Accounts{
		site: site, source: o.Source, kept: &sessionStore{kept: make(map[string]keptSession)},
		logins: make(chan struct{}, loginsMost), parts: make(chan struct{}, partsMost), plans: make(chan struct{}, plansMost),
	}
	// Not by scs.New, which starts a goroutine of a store of its own that nobody ends.
	s.sessions = &scs.SessionManager{
		Store: s.kept, Codec: scs.GobCodec{}, Lifetime: sessionTime, ErrorFunc: s.fail,
		Cookie: scs.SessionCookie{Name: "ckdb", Path: s.base + "/", HttpOnly: true, SameSite: http.SameSiteStrictMode},
	}
	secured := *s.sessions // with the same sessions in the same contexts
	secured.Cookie.Secure = true
	s.secured = &secured
	s.handler = s.routes()
	return s, nil
}

// Run serves what comes through a listener until ctx ends.
func (s *Accounts) Run(ctx context.Context, l net.Listener) error {
	return s.run(ctx, l, s.handler, func(ctx context.Context) { <-ctx.Done() })
}

// visitor is who asks, and may do what its role allows, with a token only what that is for.
type visitor struct {
	credentials.Known
	token   []credentials.Scope // nil: logged in
	address bool                // the account is an address: it has neither password nor token
	from    netip.Addr
}

func (v *visitor) may(want credentials.Scope) bool {
	return credentials.Allowed(v.Role, v.token, want) == nil
}

// Keys of a session's values. Sessions are kept in memory, and changed by logging in
// alone: so no answer under way brings one back that has ended.
const (
	sessionUser  = "user"
	sessionLogin = "login" // what a login takes, hashed: a session ends when it changes
	sessionSince = "since" // unix nanoseconds
	sessionOwner = "owner" // of an address, which was proved
)

// loginOf is a digest of what somebody logs in with.
func loginOf(k *credentials.Known) string {
	sum := sha256.Sum256([]byte(k.Password + " " + k.Secret))
	return string(sum[:])
}

// visitor is who is logged in; nil: nobody.
func (s *Accounts) visitor(r *http.Request) (*visitor, error) {
	user := s.sessions.GetString(r.Context(), sessionUser)
	if user == "" {
		return nil, nil
	}
	if s.sessions.GetBool(r.Context(), sessionOwner) {
		return &visitor{Known: credentials.Known{Name: user}, address: true, from: s.client(r)}, nil
	}
	known, err := s.source.Known(r.Context(), user)
	if err != nil {
		return nil, err
	}
	if known.Password == "" || loginOf(&known) != s.sessions.GetString(r.Context(), sessionLogin) {
		return nil, s.sessions.Destroy(r.Context())
	}
	return &visitor{Known: known, from: s.client(r)}, nil
}

// begin logs somebody in who has changed what a login takes, under a token that nobody has
// seen.
func (s *Accounts) begin(ctx context.Context, user string) error {
	known, err := s.source.Known(ctx, user)
	if err != nil {
		return err
	}
	return s.beginSession(ctx, known.Name, loginOf(&known), false)
}

func (s *Accounts) beginSession(ctx context.Context, user, login string, owner bool) error {
	for {
		n, oldest, since := 0, "", int64(0)
		if err := s.each(ctx, user, func(one context.Context) error {
			n++
			if at := s.sessions.GetInt64(one, sessionSince); oldest == "" || at < since {
				oldest, since = s.sessions.Token(one), at
			}
			return nil
		}); err != nil {
			return err
		}
		if n < sessionsMost {
			break
		}
		if err := s.kept.Delete(oldest); err != nil {
			return err
		}
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	s.sessions.Put(ctx, sessionUser, user)
	s.sessions.Put(ctx, sessionLogin, login)
	s.sessions.Put(ctx, sessionOwner, owner)
	s.sessions.Put(ctx, sessionSince, time.Now().UnixNano())
	return nil
}

// each calls f for all sessions of a user.
func (s *Accounts) each(ctx context.Context, user string, f func(context.Context) error) error {
	return s.sessions.Iterate(ctx, func(one context.Context) error {
		if s.sessions.GetString(one, sessionUser) != user {
			return nil
		}
		return f(one)
	})
}

// login lets somebody in.
func (s *Accounts) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, errForm)
		return
	}
	name, ctx := r.PostForm.Get("name"), r.Context()
	err := compute(ctx, s.logins, func() error {
		known, err := credentials.Login(ctx, s.source, credentials.Attempt{
			Name: name, Password: r.PostForm.Get("password"), Code: r.PostForm.Get("code"), From: s.client(r), Now: time.Now(),
		})
		if err != nil {
			return err
		}
		// With what was looked at: if it is changed by now, the session has ended.
		return s.beginSession(ctx, known.Name, loginOf(&known), false)
	})
	s.counted[loginResult(err)].Add(1)
	status := http.StatusUnauthorized
	switch wait := (*credentials.WaitError)(nil); {
	case err == nil:
		s.events.Say(event.Info, fmt.Sprintf("http: %q has logged in from %s", name, s.client(r)))
		http.Redirect(w, r, s.pages.link("account"), http.StatusSeeOther)
		return
	case errors.As(err, &wait):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", fmt.Sprint(int(wait.Wait.Seconds())+1))
	case loginResult(err) == loginFailed:
		s.fail(w, r, err)
		return
	}
	s.showLogin(w, r, status, name, err.Error())
}

// loginResult is what became of a login, of which err tells.
func loginResult(err error) int {
	switch wait := (*credentials.WaitError)(nil); {
	case err == nil:
		return loginAccepted
	case errors.Is(err, credentials.ErrWrong):
		return loginWrong
	case errors.Is(err, credentials.ErrNoCode):
		return loginNoCode
	case errors.Is(err, credentials.ErrBadCode), errors.Is(err, credentials.ErrUsed):
		return loginBadCode
	case errors.As(err, &wait):
		return loginTooMany
	}
	return loginFailed
}

// compute runs f when there is room for it.
func compute(ctx context.Context, room chan struct{}, f func() error) error {
	select {
	case room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-room }()
	return f()
}

func (s *Accounts) showLogin(w http.ResponseWriter, r *http.Request, status int, name, trouble string) {
	a, err := s.pages.render("login", &view{Title: "Log in", Name: accountsName, Account: &accountBar{}, Now: time.Now(), Data: struct{ Name, Trouble string }{name, trouble}})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a.status = status
	a.write(w, r, "no-store")
}

// logout ends a session; everywhere, all of the user's.
func (s *Accounts) logout(everywhere bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visitor(r)
		if err == nil && v != nil && everywhere {
			err = s.each(r.Context(), v.Name, s.sessions.Destroy)
		}
		if err == nil && v != nil {
			err = s.sessions.Destroy(r.Context())
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		http.Redirect(w, r, s.pages.link("login"), http.StatusSeeOther)
	}
}
