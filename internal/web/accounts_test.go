package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

// people is a database of accounts whose figures a test chooses.
type people struct {
	mu      sync.Mutex
	known   map[string]credentials.Known // guarded by mu
	tries   map[string]int               // guarded by mu
	broken  error                        // guarded by mu; of the database
	used    int64                        // guarded by mu; the last step of a one-time code
	tokens  map[string][]credentials.Scope
	amounts map[string]int64   // balances by user
	changed []string           // guarded by mu; what forms did
	offered credentials.Secret // guarded by mu

	afterUse func() // is called when a login was written down; nil: nothing is
}

func (p *people) change(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = append(p.changed, text)
}

// changes are those since it was asked last.
func (p *people) changes() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.changed, "; ")
	p.changed = nil
	return text
}

func (p *people) Addresses(context.Context, string) ([]AddressSet, error) {
	return []AddressSet{{Since: began, By: hostile, Parts: []AddressPart{{"bc1qexample", 600_000}, {"bc1pexample", 400_000}}, Void: hostile}}, nil
}

func (p *people) SetAddresses(_ context.Context, user string, words []string) (*Claim, error) {
	if slices.Contains(words, "owned") {
		return &Claim{Text: "Pool: x | " + hostile, Signer: "owned", Until: began}, nil
	}
	if slices.Contains(words, "wrong") {
		return nil, &RefusedError{errors.New(hostile + " is no address")}
	}
	p.change(user + " is paid to " + strings.Join(words, " "))
	return nil, nil
}

func (p *people) SetMinimum(_ context.Context, user string, satoshis int64) (*Claim, error) {
	if satoshis == 7 {
		return &Claim{Text: "Pool: x | " + hostile, Signer: "owned", Until: began}, nil
	}
	p.change(fmt.Sprint(user, " is paid from ", satoshis))
	return nil, nil
}

func (p *people) SetPrivate(_ context.Context, user string, private bool) error {
	p.change(fmt.Sprint(user, " is private: ", private))
	return nil
}

func (p *people) SetPassword(_ context.Context, user, hash string) error {
	p.set(user, func(k *credentials.Known) { k.Password = hash })
	p.change(user + " has another password")
	return nil
}

func (p *people) OfferSecret(_ context.Context, user string, secret credentials.Secret) error {
	p.mu.Lock()
	p.offered = secret
	p.mu.Unlock()
	p.change(user + " is offered a secret")
	return nil
}

func (p *people) offeredSecret() credentials.Secret {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offered
}

func (p *people) TrySecret(_ context.Context, user, code string, now time.Time, recovery []credentials.Digest) error {
	p.mu.Lock()
	secret := p.offered
	p.mu.Unlock()
	if len(secret.Key) > 0 {
		if _, ok := secret.Match(code, now, 0); !ok {
			return fmt.Errorf("one-time codes: %w", credentials.ErrBadCode)
		}
		p.set(user, func(k *credentials.Known) { k.Secret = secret.String() })
	}
	p.change(fmt.Sprint(user, " has one-time codes and ", len(recovery)))
	return nil
}

func (p *people) NoSecret(_ context.Context, user string) error {
	p.set(user, func(k *credentials.Known) { k.Secret = "" })
	p.change(user + " has no one-time codes")
	return nil
}

func (p *people) NewRecoveryCodes(_ context.Context, user string, recovery []credentials.Digest) error {
	p.change(fmt.Sprint(user, " has new recovery codes ", len(recovery)))
	return nil
}

func (p *people) LoginClaim(_ context.Context, address, site string) (*Claim, error) {
	if address != anAddress {
		return nil, &RefusedError{errors.New(address + " is no address")}
	}
	return &Claim{Text: "sign for " + site, Signer: address, Until: began}, nil
}

func (p *people) ProveLogin(_ context.Context, site, claim, signature string) (string, error) {
	if claim != "sign for "+site || signature != "signed" {
		return "", &RefusedError{errors.New("the signature is not of " + anAddress)}
	}
	return anAddress, nil
}

func (p *people) Prove(_ context.Context, user, claim string, signatures []string) error {
	p.change(user + " proves " + claim + " by " + strings.Join(signatures, " "))
	return nil
}

func (p *people) Tokens(context.Context, string) ([]Token, error) {
	at := began
	return []Token{{Number: 2, Name: hostile, Scopes: []credentials.Scope{credentials.ReadOwn}, Created: began, Expires: began}, {Number: 1, Name: "old", Scopes: []credentials.Scope{}, Revoked: &at}}, nil
}

func (p *people) AddToken(_ context.Context, user, name string, scopes []credentials.Scope, days int) (string, error) {
	p.change(fmt.Sprint(user, " has a token ", name, scopes, days))
	return "ckdb-new-token", nil
}

func (p *people) RevokeToken(_ context.Context, user string, number int64) error {
	p.change(fmt.Sprint(user, " revokes ", number))
	return nil
}

const (
	goodPassword = "correct horse battery staple"
	aBlock       = "00000000000000000001aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	aToken       = "ckdb-token-of-alice"
	anAddress    = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
)

// everyone are users of each role, and one with one-time codes.
func everyone(t *testing.T) *people {
	t.Helper()
	hash, err := credentials.HashPassword(goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	p := &people{known: map[string]credentials.Known{}, tries: map[string]int{}, tokens: map[string][]credentials.Scope{aToken: {credentials.ReadOwn}, "ckdb-changes": {credentials.ChangeOwn}, "ckdb-all": {credentials.ReadOwn, credentials.ReadAll, credentials.Money}}, amounts: map[string]int64{"alice": 123456789, "bob": 987654321}}
	for name, role := range map[string]credentials.Role{"alice": "", "bob": "", "reader": credentials.Reader, "support": credentials.Support, "accountant": credentials.Accountant, "admin": credentials.Admin} {
		p.known[name] = credentials.Known{Name: name, Role: role, Password: hash}
	}
	p.known["carol"] = credentials.Known{Name: "carol", Password: hash, Secret: "SHA1:GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"} // that of RFC 6238
	return p
}

func (p *people) set(name string, change func(*credentials.Known)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.known[name]
	change(&k)
	p.known[name] = k
}

func (p *people) Known(_ context.Context, name string) (credentials.Known, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[name], p.broken
}

func (p *people) AddTry(_ context.Context, limits []credentials.Limit) (time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range limits {
		if p.tries[l.Key] >= l.Most {
			return l.Within, nil
		}
	}
	for _, l := range limits {
		p.tries[l.Key]++
	}
	return 0, p.broken
}

func (p *people) TakeBackTry(_ context.Context, limits []credentials.Limit) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range limits {
		p.tries[l.Key]--
	}
	return nil
}

func (p *people) Use(_ context.Context, u credentials.Use) error {
	if p.afterUse != nil {
		defer p.afterUse()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.Step != 0 && u.Step <= p.used {
		return credentials.ErrUsed
	}
	p.used = max(p.used, u.Step)
	return nil
}

func (p *people) Token(_ context.Context, text string, _ time.Time) (credentials.Known, []credentials.Scope, error) {
	scopes, ok := p.tokens[text]
	if !ok {
		return credentials.Known{}, nil, nil
	}
	if text == "ckdb-all" {
		return p.known["accountant"], scopes, nil
	}
	return p.known["alice"], scopes, nil
}

func (p *people) Account(_ context.Context, user string) (Account, error) {
	return Account{User: user, Role: "member", Balance: p.amounts[user], Immature: 2_099_999_999_999_999, Minimum: 100000, Fee: 9000, Hold: hostile}, nil
}

func (p *people) Rewards(context.Context, string) ([]Reward, error) {
	one := Reward{Height: 900000, Block: aBlock, State: "in the chain", Confirmations: 7, Time: began, Amount: 4}
	return []Reward{one, one, one}, nil
}

func (p *people) Payouts(_ context.Context, _ string, from, limit int) ([]Payout, int, error) {
	txid, height := strings.Repeat("ab", 32), int64(900100)
	list := []Payout{
		{Payment: 2, Time: began, State: "signed", Debit: 5, Outputs: []PayoutOutput{{"bc1qexample", 4}}},
		{Payment: 1, Time: began, State: "confirmed", Debit: 7, Outputs: []PayoutOutput{{"bc1qexample", 6}}, Transaction: &txid, Height: &height, Confirmations: 3},
	}
	from = min(from, len(list))
	return list[from:min(from+limit, len(list))], len(list), nil
}

func (p *people) Statement(context.Context, string) ([]Posting, error) {
	return []Posting{{Number: 3, Time: began, Kind: "reward", Immature: 4, Of: aBlock, Note: hostile}}, nil
}

func (p *people) Part(_ context.Context, user, block string) (Part, error) {
	if block != aBlock {
		return Part{}, &RefusedError{errors.New("this account has no reward of such a block")}
	}
	return Part{Height: 900000, Block: block, Scheme: "pplns", Value: 312500000, Divided: 312500000, Difficulty: "1", Counted: "2", Window: "3", Weight: "2", Weights: "3", Whole: 4, Amount: 4}, nil
}

func (p *people) Workers(_ context.Context, user string, _, _ int) ([]AccountWorker, int, error) {
	return []AccountWorker{{Worker: user + "." + hostile, Hashrate: 1e12, Hashrate1d: 1e12, Accepted: 3, Best: "12.5", LastShare: &began}, {Worker: user, Best: "0"}}, 2, nil
}

func (p *people) Users(_ context.Context, search string, from, limit int) ([]User, int, error) {
	if search == "nobody" {
		return nil, 0, nil
	}
	return []User{{User: hostile, Kind: "user", Workers: 2, Hashrate: 1e12, LastShare: &began, Balance: -5, Immature: 3, Hold: hostile}}, 1000, nil
}

func (p *people) Blocks(context.Context) ([]PoolBlock, error) {
	return []PoolBlock{{Height: 900000, Block: aBlock, State: "new", Value: 312500000, Waits: hostile}}, nil
}

func (p *people) Payments(context.Context) ([]Payment, error) {
	return []Payment{{Payment: 1, Run: 1, State: "broadcast", Debit: 7, By: hostile, Reason: hostile}}, nil
}

func (p *people) Settings(context.Context) ([]Setting, error) {
	return []Setting{{Name: "fee", User: hostile, Value: "9000", From: "the beginning", Meaning: "of a block"}}, nil
}

func (p *people) Audit(context.Context) ([]Change, error) {
	return []Change{{Number: 1, Time: began, By: hostile, What: "hold", Subject: hostile, Before: hostile, After: hostile}}, nil
}

func (p *people) Status(context.Context) (Status, error) {
	tip := int64(900001)
	return Status{
		Journals: []Journal{{hostile, 4, 5, 6.5, hostile}}, Gaps: []Gap{{hostile, 1, 2, 0, hostile}}, Waiting: []Waiting{{900000, aBlock, hostile}},
		Alarms: []Alarm{{began, hostile, hostile}}, Height: 900000, Tip: &tip, Trouble: hostile,
	}, nil
}

func (p *people) Hold(_ context.Context, by, name, reason string) error {
	p.change(by + " holds " + name + ": " + reason)
	return nil
}

func (p *people) PlanPayout(_ context.Context, _, rate string) (PayoutPlan, error) {
	fee := int64(123)
	return PayoutPlan{
		Debit: 7, NetworkFee: &fee, Payer: "users", Transactions: 1, FeeRate: rate, Digest: "0123abcd",
		Payees: []Payee{{hostile, "bc1qexample", 7, 6}}, Left: []LeftPayee{{hostile, 3, hostile}},
	}, nil
}

func (p *people) SendPayout(_ context.Context, by, rate, digest string) error {
	if digest != "0123abcd" {
		return &RefusedError{errors.New("the plan is another one by now")}
	}
	p.change(by + " pays at " + rate)
	return nil
}

func (p *people) ExportPayout(_ context.Context, by, rate, digest string) ([]int64, error) {
	if digest != "0123abcd" {
		return nil, &RefusedError{errors.New("the plan is another one by now")}
	}
	p.change(by + " exports at " + rate)
	return []int64{1}, nil
}

func (p *people) SendPayment(_ context.Context, by string, id int64) error {
	p.change(fmt.Sprint(by, " sends ", id))
	return nil
}

func (p *people) BumpPayment(_ context.Context, by string, id int64, rate string) error {
	p.change(fmt.Sprint(by, " bumps ", id, " to ", rate))
	return nil
}

func (p *people) CancelPayment(_ context.Context, by string, id int64) error {
	p.change(fmt.Sprint(by, " cancels ", id))
	return nil
}

func (p *people) ExportPayment(_ context.Context, by string, id int64) (string, error) {
	p.change(fmt.Sprint(by, " exports ", id))
	return "cHNidP8=", nil
}

func (p *people) SetSetting(_ context.Context, by, user, name, value, from string) error {
	p.change(fmt.Sprintf("%s sets %s of %q to %s from %q", by, name, user, value, from))
	return nil
}

func (p *people) Lock(_ context.Context, by, name, reason string) error {
	p.change(by + " locks " + name + ": " + reason)
	return nil
}

// accountServer serves people, and gives what it tells the operator.
func accountServer(t *testing.T, p *people, place Place) (*Accounts, func() string) {
	t.Helper()
	var mu sync.Mutex
	var log strings.Builder
	place.Listen = "127.0.0.1:8081"
	s, err := NewAccounts(AccountOptions{Source: p, Place: place, Events: func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		log.WriteString(e.Text + "\n")
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s, func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

// person is a browser with its cookie.
type person struct {
	t      *testing.T
	s      *Accounts
	cookie *http.Cookie
}

// do asks for a page, or sends a form, as a browser does; further headers replace those.
func (p *person) do(method, path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.RemoteAddr, r.Host = "198.51.100.9:1234", "pool.example"
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://pool.example")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	if p.cookie != nil {
		r.AddCookie(p.cookie)
	}
	w := httptest.NewRecorder()
	p.s.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if p.cookie = c; c.MaxAge < 0 {
			p.cookie = nil
		}
	}
	return w
}

func credentialsOf(name, password, code string) url.Values {
	return url.Values{"name": {name}, "password": {password}, "code": {code}}
}

// loggedIn is somebody who has logged in.
func loggedIn(t *testing.T, s *Accounts, name string) *person {
	t.Helper()
	p := &person{t: t, s: s}
	if w := p.do("POST", s.base+"/login", credentialsOf(name, goodPassword, "")); w.Code != http.StatusSeeOther || !strings.HasSuffix(w.Header().Get("Location"), "/account") {
		t.Fatalf("login of %s: %d %s", name, w.Code, w.Body)
	}
	return p
}

// everybodyIn are users who have logged in, and nobody, who has not.
func everybodyIn(t *testing.T, s *Accounts, names []string) map[string]*person {
	t.Helper()
	in := map[string]*person{"nobody": {t: t, s: s}}
	for _, name := range names {
		in[name] = loggedIn(t, s, name)
	}
	return in
}

// accountPaths are one of each page.
func accountPaths(s *Accounts) (paths []string) {
	for _, l := range s.looks() {
		paths = append(paths, strings.ReplaceAll(l.path, "{block}", aBlock))
	}
	return paths
}

func TestLogin(t *testing.T) {
	p := everyone(t)
	s, log := accountServer(t, p, Place{})
	for name, c := range map[string]struct {
		form url.Values
		code int
		text string
	}{
		"nobody":         {credentialsOf("mallory", goodPassword, ""), 401, "wrong name or password"},
		"wrong password": {credentialsOf("alice", "guess", ""), 401, "wrong name or password"},
		"no name":        {credentialsOf("", goodPassword, ""), 401, "wrong name or password"},
		"no code":        {credentialsOf("carol", goodPassword, ""), 401, "a one-time code is wanted too"},
		"wrong code":     {credentialsOf("carol", goodPassword, "000000"), 401, "wrong one-time code"},
		"hostile":        {credentialsOf(hostile, hostile, hostile), 401, "wrong name or password"},
	} {
		v := &person{t: t, s: s}
		w := v.do("POST", "/login", c.form)
		text := w.Body.String()
		if w.Code != c.code || !strings.Contains(text, c.text) || v.cookie != nil {
			t.Errorf("%s: %d %v\n%s", name, w.Code, v.cookie, text)
		}
		if strings.Contains(text, goodPassword) || strings.Contains(text, "<img src=x") {
			t.Errorf("%s: the page has what was typed:\n%s", name, text)
		}
		if w := v.do("GET", "/account", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login" {
			t.Errorf("%s sees an account: %d", name, w.Code)
		}
	}
	if strings.Contains(log(), goodPassword) {
		t.Errorf("a password is in the log:\n%s", log())
	}
	alice := loggedIn(t, s, "alice")
	if got, want := fmt.Sprint(s.Logins()), "[{accepted 1} {wrong name or password 4} {no one-time code 1} {wrong one-time code 1} {too many tries 0} {failed 0}]"; got != want || s.Sessions() != 1 {
		t.Errorf("counted are %s and %d sessions, want %s", got, s.Sessions(), want)
	}
	if c := alice.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || c.MaxAge != 0 {
		t.Errorf("the cookie is %v", c)
	}
	w := alice.do("GET", "/account", nil)
	for _, want := range []string{"1.23456789 BTC", "20999999.99999999 BTC", "from 0.001 BTC on", "0.9 %"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("there is no %q in\n%s", want, w.Body)
		}
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("an account may be kept by others: %v", w.Header())
	}
}

// What is known to an attacker before a login is of no use after it.
func TestSessionFixation(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{})
	chosen := &http.Cookie{Name: "ckdb", Value: "chosen-by-an-attacker"}
	victim := &person{t: t, s: s, cookie: chosen}
	victim.do("POST", "/login", credentialsOf("alice", goodPassword, ""))
	if victim.cookie == nil || victim.cookie.Value == chosen.Value {
		t.Fatalf("the session is %v", victim.cookie)
	}
	first := victim.cookie
	victim.do("POST", "/login", credentialsOf("bob", goodPassword, ""))
	for _, c := range []*http.Cookie{chosen, first} {
		if w := (&person{t: t, s: s, cookie: c}).do("GET", "/account", nil); w.Code != http.StatusSeeOther {
			t.Errorf("%s is a session: %d", c.Value, w.Code)
		}
	}
	if w := victim.do("GET", "/account", nil); !strings.Contains(w.Body.String(), "9.87654321 BTC") {
		t.Errorf("bob sees\n%s", w.Body)
	}
}

func TestLogout(t *testing.T) {
	p := everyone(t)
	s, _ := accountServer(t, p, Place{})
	sees := func(v *person) bool { return v.do("GET", "/account", nil).Code == http.StatusOK }
	one, two, other := loggedIn(t, s, "alice"), loggedIn(t, s, "alice"), loggedIn(t, s, "bob")
	kept := *one
	if one.do("POST", "/logout", url.Values{}); one.cookie != nil || sees(&kept) || !sees(two) {
		t.Error("logging out ends not this session, or another one")
	}
	one = loggedIn(t, s, "alice")
	kept = *two
	if one.do("POST", "/logout/everywhere", url.Values{}); sees(&kept) || sees(one) || !sees(other) {
		t.Error("logging out everywhere leaves a session, or ends another's")
	}
	for name, change := range map[string]func(*credentials.Known){
		"password": func(k *credentials.Known) { k.Password += "x" },
		"codes":    func(k *credentials.Known) { k.Secret = "SHA1:GEZDGNBVGY3TQOJQ" },
		"removed":  func(k *credentials.Known) { *k = credentials.Known{} },
	} {
		was, _ := p.Known(t.Context(), "bob")
		bob := loggedIn(t, s, "bob")
		kept = *bob
		p.set("bob", change)
		if sees(bob) {
			t.Errorf("%s: the session goes on", name)
		}
		p.set("bob", func(k *credentials.Known) { *k = was })
		if sees(&kept) {
			t.Errorf("%s: the session is back", name)
		}
	}
	// The oldest of too many ends.
	first := loggedIn(t, s, "alice")
	var last *person
	for range sessionsMost {
		last = loggedIn(t, s, "alice")
	}
	if sees(first) || !sees(last) {
		t.Error("not the oldest session ended")
	}
}

// Who logs in by a password that is changed in the same moment is not in by the new one.
func TestChangeBesideLogin(t *testing.T) {
	p := everyone(t)
	s, _ := accountServer(t, p, Place{})
	p.afterUse = func() { p.set("alice", func(k *credentials.Known) { k.Password += "x" }) }
	if w := loggedIn(t, s, "alice").do("GET", "/account", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login" {
		t.Errorf("the session goes on: %d", w.Code)
	}
}

// A session is over after its time, and then takes no memory once another begins.
func TestSessionTime(t *testing.T) {
	p := everyone(t)
	synctest.Test(t, func(t *testing.T) {
		s, _ := accountServer(t, p, Place{})
		alice := loggedIn(t, s, "alice")
		time.Sleep(sessionTime - time.Second)
		if alice.do("GET", "/account", nil).Code != http.StatusOK {
			t.Error("the session ended early")
		}
		time.Sleep(2 * time.Second)
		if alice.do("GET", "/account", nil).Code == http.StatusOK {
			t.Error("the session never ends")
		}
		loggedIn(t, s, "bob")
		if n := len(s.kept.kept); n != 1 {
			t.Errorf("%d sessions are kept", n)
		}
	})
}

// Nothing is written without a login, nor from elsewhere.
func TestForms(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{})
	for name, headers := range map[string][]string{
		"another site": {"Origin", "http://evil.example"}, "sandbox": {"Origin", "null"}, "nothing said": {"Origin", ""},
		"said by the browser": {"Origin", "", "Sec-Fetch-Site", "cross-site"}, "a sibling": {"Origin", "http://pool.example", "Sec-Fetch-Site", "same-site"},
		"a proxy that nobody trusts": {"Origin", "http://evil.example", "X-Forwarded-Host", "evil.example"},
	} {
		for _, path := range []string{"/login", "/logout", "/logout/everywhere"} {
			alice := loggedIn(t, s, "alice")
			kept := *alice
			if w := alice.do("POST", path, credentialsOf("bob", goodPassword, ""), headers...); w.Code != http.StatusForbidden {
				t.Errorf("%s: POST %s: %d", name, path, w.Code)
			}
			if w := kept.do("GET", "/account", nil); !strings.Contains(w.Body.String(), "1.23456789 BTC") {
				t.Errorf("%s: POST %s did something", name, path)
			}
		}
	}
	alice := loggedIn(t, s, "alice")
	for _, path := range append(accountPaths(s), "/", "/nothing", "/login", "/logout", "/api/v1/account") {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			if method == "POST" && (path == "/login" || path == "/logout" || slices.ContainsFunc(s.acts(), func(a act) bool { return a.path == path })) {
				continue
			}
			if w := alice.do(method, path, url.Values{}); w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
}

func TestTries(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{})
	v := &person{t: t, s: s}
	for range 10 {
		v.do("POST", "/login", credentialsOf("alice", "guess", ""))
	}
	w := v.do("POST", "/login", credentialsOf("alice", goodPassword, ""))
	if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != http.StatusTooManyRequests || err != nil || seconds < 1 {
		t.Errorf("an 11th try: %d %v", w.Code, w.Header())
	}
	// Whom a reverse proxy names is another one.
	s, _ = accountServer(t, everyone(t), Place{Trusted: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	v = &person{t: t, s: s}
	for range 11 {
		v.do("POST", "/login", credentialsOf("alice", "guess", ""), "X-Forwarded-For", "203.0.113.1, 203.0.113.7")
	}
	if w := v.do("POST", "/login", credentialsOf("alice", goodPassword, ""), "X-Forwarded-For", "203.0.113.7, 203.0.113.8"); w.Code != http.StatusSeeOther {
		t.Errorf("another reader: %d", w.Code)
	}
	if w := v.do("POST", "/login", credentialsOf("alice", goodPassword, ""), "X-Forwarded-For", "203.0.113.8, 203.0.113.7"); w.Code != http.StatusTooManyRequests {
		t.Errorf("the same one: %d", w.Code)
	}
}

// sample is a form that each act takes, and what it does, of the user NAME.
var samples = map[string]struct {
	form url.Values
	does string
}{
	"/addresses":               {url.Values{"addresses": {"bc1qa=60%\r\nbc1qb=40%"}}, "NAME is paid to bc1qa=60% bc1qb=40%"},
	"/settings/minimum":        {url.Values{"minimum": {"0.0012"}}, "NAME is paid from 120000"},
	"/settings/private":        {url.Values{"private": {"1"}}, "NAME is private: true"},
	"/settings/password":       {url.Values{"current": {goodPassword}, "new": {goodPassword}, "repeated": {goodPassword}}, "NAME has another password"},
	"/settings/codes":          {url.Values{"current": {goodPassword}}, "NAME is offered a secret"},
	"/settings/codes/off":      {url.Values{"current": {goodPassword}}, "NAME has no one-time codes"},
	"/settings/codes/recovery": {url.Values{"current": {goodPassword}}, "NAME has new recovery codes 10"},
	"/settings/codes/confirm":  {url.Values{"code": {"123456"}}, "NAME has one-time codes and 10"},
	"/prove":                   {url.Values{"claim": {" Pool: x | Once: y\r\n"}, "signatures": {"a\r\nb=c="}}, "NAME proves Pool: x | Once: y by a b=c="},
	"/tokens":                  {url.Values{"name": {"my text"}, "days": {"30"}, "scope": {"read-own", "change-own"}}, "NAME has a token my text[read-own change-own] 30"},
	"/staff/hold":              {url.Values{"name": {"bob"}, "reason": {" who is he "}}, "NAME holds bob: who is he"},
	"/staff/lock":              {url.Values{"name": {"bob"}, "reason": {"x"}, "end": {"1"}}, "NAME locks bob: "},
	"/staff/payout":            {url.Values{"digest": {"0123abcd"}, "fee_rate": {"1.25"}, "yes": {"1"}}, "NAME pays at 1.25"},
	"/staff/payout/export":     {url.Values{"digest": {"0123abcd"}, "fee_rate": {"2"}, "yes": {"1"}}, "NAME exports at 2"},
	"/staff/payments/send":     {url.Values{"payment": {"7"}, "yes": {"1"}}, "NAME sends 7"},
	"/staff/payments/bump":     {url.Values{"payment": {"7"}, "fee_rate": {"12.5"}, "yes": {"1"}}, "NAME bumps 7 to 12.5"},
	"/staff/payments/cancel":   {url.Values{"payment": {"7"}, "yes": {"1"}}, "NAME cancels 7"},
	"/staff/payments/export":   {url.Values{"payment": {"7"}, "yes": {"1"}}, "NAME exports 7"},
	"/staff/settings":          {url.Values{"name": {"fee"}, "value": {"0.9%"}, "user": {" bob "}, "from": {"2027-01-01"}, "yes": {"1"}}, `NAME sets fee of "bob" to 0.9% from "2027-01-01"`},
	"/tokens/revoke":           {url.Values{"number": {"7"}}, "NAME revokes 7"},
}

// What each role may do: by a form of the page here, and by no other.
func TestActs(t *testing.T) {
	p := everyone(t)
	s, log := accountServer(t, p, Place{})
	all := []string{"nobody", "alice", "reader", "support", "accountant", "admin"}
	may := map[credentials.Scope][]string{credentials.ChangeOwn: all[1:], credentials.Miners: {"support", "admin"}, credentials.Money: {"accountant", "admin"}}
	in := everybodyIn(t, s, all[1:])
	for _, a := range s.acts() {
		p.offered = credentials.Secret{} // any code will do
		sample, ok := samples[a.path]
		if !ok || may[a.scope] == nil {
			t.Errorf("%s: what does it, and who may?", a.path)
		}
		for _, name := range all {
			v := in[name]
			for _, headers := range [][]string{{"Origin", "http://evil.example"}, {"Origin", ""}, {"Sec-Fetch-Site", "cross-site"}} {
				if w := v.do("POST", a.path, sample.form, headers...); w.Code != http.StatusForbidden || p.changes() != "" {
					t.Errorf("%s as %s with %q: %d", a.path, name, headers, w.Code)
				}
			}
			if w := v.do("GET", a.path+"?"+sample.form.Encode(), nil); p.changes() != "" {
				t.Errorf("a link to %s does it: %d", a.path, w.Code)
			}
			w, want := v.do("POST", a.path, sample.form), ""
			if slices.Contains(may[a.scope], name) {
				want = strings.Replace(sample.does, "NAME", name, 1)
			}
			if did := p.changes(); did != want || w.Code >= 400 && want != "" {
				t.Errorf("%s as %s: %d, it does %q", a.path, name, w.Code, did)
			}
			if strings.Contains(log(), "ckdb-new-token") || strings.Contains(w.Header().Get("Location"), "new-token") {
				t.Error("a token is in the log or an address")
			}
			if next := w.Header().Get("Location"); next != "" && next != "/login" && want != "" {
				if w := v.do("GET", next, nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `role="status"`) {
					t.Errorf("behind %s: %d", a.path, w.Code)
				}
			}
		}
	}
}

func TestRefusedForms(t *testing.T) {
	p := everyone(t)
	s, _ := accountServer(t, p, Place{})
	alice := loggedIn(t, s, "alice")
	for name, c := range map[string]struct {
		path string
		form url.Values
		code int
		text string
	}{
		"no address": {"/addresses", url.Values{"addresses": {"wrong"}}, 422, "is no address"},
		"no days":    {"/tokens", url.Values{"name": {"x"}, "days": {"367"}, "scope": {"read-own"}}, 422, "1 to 366"},
		"too much":   {"/tokens", url.Values{"name": {"x"}, "days": {"3"}, "scope": {"read-own", "administer"}}, 422, "of what you may do yourself"},
		"nothing":    {"/tokens", url.Values{"name": {"x"}, "days": {"3"}}, 422, "of what you may do yourself"},
		"long":       {"/tokens", url.Values{"name": {strings.Repeat("x", 101)}, "days": {"3"}, "scope": {"read-own"}}, 422, "at most 100 bytes"},
		"no role":    {"/staff/hold", url.Values{"name": {"bob"}, "reason": {"x"}}, 403, "this takes another role"},
		"no number":  {"/tokens/revoke", url.Values{"number": {"x"}}, 400, "no form of these pages"},
		"huge":       {"/addresses", url.Values{"addresses": {strings.Repeat("x", maxBody)}}, 400, "no form of these pages"},
		"proof":      {"/addresses", url.Values{"addresses": {"owned"}}, 200, "Pool: x |"},
	} {
		w := alice.do("POST", c.path, c.form)
		if text := w.Body.String(); w.Code != c.code || !strings.Contains(text, c.text) || strings.Contains(text, "<script") || strings.Contains(text, "<img src=x") {
			t.Errorf("%s: %d\n%s", name, w.Code, text)
		}
		if did := p.changes(); did != "" {
			t.Errorf("%s: it does %q", name, did)
		}
	}
	accountant := loggedIn(t, s, "accountant")
	for name, form := range map[string]url.Values{
		"another plan": {"digest": {"4567"}, "yes": {"1"}}, "nobody agreed": {"digest": {"0123abcd"}}, "no plan": {"yes": {"1"}},
		"no rate": {"digest": {"0123abcd"}, "yes": {"1"}, "fee_rate": {"NaN"}},
	} {
		if w := accountant.do("POST", "/staff/payout", form); w.Code < 400 || p.changes() != "" {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for path, list := range map[string][]url.Values{
		"/staff/payments/send":   {{"payment": {"7"}}, {"payment": {"x"}, "yes": {"1"}}, {"payment": {"-1"}, "yes": {"1"}}},
		"/staff/payments/bump":   {{"payment": {"7"}, "fee_rate": {"1e99999"}, "yes": {"1"}}},
		"/staff/payments/cancel": {{"payment": {"7"}}}, "/staff/payments/export": {{"payment": {"7"}}},
		"/staff/payout/export": {{"digest": {"4567"}, "yes": {"1"}}, {"digest": {"0123abcd"}}},
		"/staff/settings":      {{"name": {"fee"}, "value": {"1%"}}},
	} {
		for _, form := range list {
			if w := accountant.do("POST", path, form); w.Code < 400 || p.changes() != "" {
				t.Errorf("%s with %v: %d", path, form, w.Code)
			}
		}
	}
	for n := 0; ; n++ {
		if w := alice.do("POST", "/tokens/revoke", url.Values{"number": {"7"}}); w.Code == http.StatusTooManyRequests {
			break
		}
		if n > changesMost {
			t.Fatal("there is no end of changes")
		}
	}
}

// What each role sees.
func TestRoles(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{})
	all := []string{"nobody", "alice", "reader", "support", "accountant", "admin"}
	may := map[credentials.Scope][]string{credentials.ReadOwn: all[1:], credentials.ReadAll: {"reader", "support", "accountant", "admin"}, credentials.Money: {"accountant", "admin"}}
	in := everybodyIn(t, s, all[1:])
	for _, l := range s.looks() {
		allowed, ok := may[l.scope]
		if !ok {
			t.Errorf("%s: who may see it?", l.path)
		}
		for _, name := range all {
			w := in[name].do("GET", strings.ReplaceAll(l.path, "{block}", aBlock), nil)
			if got := w.Code == http.StatusOK; got != slices.Contains(allowed, name) {
				t.Errorf("%s as %s: %d", l.path, name, w.Code)
			}
		}
	}
}

// Pages are as all pages here are, whatever their texts are made of.
func TestAccountPages(t *testing.T) {
	p := everyone(t)
	for _, base := range []string{"", "/a/b"} {
		s, log := accountServer(t, p, Place{Base: base})
		alice := loggedIn(t, s, "admin")
		if base != "" && alice.cookie.Path != base+"/" {
			t.Errorf("the cookie is for %s", alice.cookie.Path)
		}
		for _, path := range append(accountPaths(s), "/login", "/rewards/"+escaped(hostile), "/nothing") {
			w := alice.do("GET", base+path, nil)
			text := w.Body.String()
			if strings.Contains(text, "<script") || strings.Contains(text, "<img src=x") || strings.Contains(text, " style=") || strings.Contains(text, goodPassword) {
				t.Errorf("%s:\n%s", path, text)
			}
			for _, attribute := range []string{`href="/`, `src="/`, `action="/`} {
				for _, rest := range strings.Split(text, attribute)[1:] {
					if !strings.HasPrefix("/"+rest, base+"/") {
						t.Errorf("%s leaves %s: %.60s", path, base, rest)
					}
				}
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %s is %q", path, name, got)
				}
			}
		}
		if w := alice.do("GET", base+"/rewards/xyz", nil); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "no reward of such a block") {
			t.Errorf("no block: %d\n%s", w.Code, w.Body)
		}
		// What is wrong with the database is the operator's to know.
		p.broken = errors.New("postgres://ckdb:secret@10.0.0.1/ckdb: out of memory")
		if w := alice.do("GET", base+"/account", nil); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "10.0.0.1") {
			t.Errorf("%d\n%s", w.Code, w.Body)
		}
		if !strings.Contains(log(), "out of memory") {
			t.Errorf("the log has %q", log())
		}
		p.broken = nil
	}
}

// However often strangers ask while the database is away, the log does not fill the disk.
func TestErrorsTold(t *testing.T) {
	p := everyone(t)
	synctest.Test(t, func(t *testing.T) {
		s, log := accountServer(t, p, Place{})
		v := loggedIn(t, s, "alice")
		p.broken = errors.New("the database is away")
		for range 3 {
			for range 50 {
				if w := v.do("GET", "/account", nil); w.Code != http.StatusInternalServerError {
					t.Fatalf("%d\n%s", w.Code, w.Body)
				}
			}
			time.Sleep(time.Second)
		}
		if text := log(); strings.Count(text, "the database is away") != 3 {
			t.Errorf("the log has\n%s", text)
		}
	})
}

// TestAccountsAPI: every route is described and every described one is there; every answer
// is as described, and every member that is described comes in an answer.
func TestAccountsAPI(t *testing.T) {
	var d description
	if err := json.Unmarshal(accountsAPI, &d); err != nil {
		t.Fatal(err)
	}
	s, _ := accountServer(t, everyone(t), Place{})
	there := map[string]bool{}
	for _, l := range s.looks() {
		if l.people {
			continue
		}
		there["/api/v1"+l.path] = true
		if _, ok := d.Paths["/api/v1"+l.path]; !ok {
			t.Errorf("%s is not described", l.path)
		}
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(accountsAPI))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("accounts.json", text); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	v := &person{t: t, s: s}
	for pattern, methods := range d.Paths {
		if !there[pattern] {
			t.Errorf("%s is described and not there", pattern)
			continue
		}
		for _, block := range []string{aBlock, escaped(hostile)} {
			path := strings.ReplaceAll(pattern, "{block}", block)
			own := 0 // any but these
			if strings.HasPrefix(pattern, "/api/v1/staff/") {
				own = 403
			}
			for token, code := range map[string]int{"": 401, "Basic x": 401, "Bearer ": 401, "Bearer ckdb-unknown": 401, "Bearer ckdb-changes": 403, "Bearer " + aToken: own, "Bearer ckdb-all": 0} {
				w := v.do("GET", path, nil, "Authorization", token)
				if code != 0 && w.Code != code {
					t.Errorf("%s with %q: %d", path, token, w.Code)
				}
				if w.Code == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("%s with %q: %v", path, token, w.Header())
				}
				answer, ok := methods["get"].Responses[strconv.Itoa(w.Code)]
				if !ok {
					t.Errorf("%s with %q: %d is not described", path, token, w.Code)
					continue
				}
				schema, err := compiler.Compile("accounts.json" + answer.Content["application/json"].Schema.Ref)
				if err != nil {
					t.Fatal(err)
				}
				value, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
				if err == nil {
					err = schema.Validate(value)
				}
				if err != nil {
					t.Errorf("%s: %v\n%s", path, err, w.Body)
				}
				note(seen, value)
			}
			for _, p := range methods["get"].Parameters {
				if p.In == "query" && p.Name != "search" && v.do("GET", path+"?"+p.Name+"=nonsense", nil, "Authorization", "Bearer ckdb-all").Code != http.StatusBadRequest {
					t.Errorf("%s: %q is not looked at", path, p.Name)
				}
			}
		}
	}
	for name, c := range d.Components.Schemas {
		for member := range c.Properties {
			if !seen[member] {
				t.Errorf("%s: no answer has %q", name, member)
			}
		}
	}
	// Parts, and answers that are there already. A session is no token.
	bearer := []string{"Authorization", "Bearer " + aToken}
	var part page[Payout]
	if err := json.Unmarshal(v.do("GET", "/api/v1/payouts?limit=1", nil, bearer...).Body.Bytes(), &part); err != nil || part.Total != 2 || part.Next == nil || *part.Next != "1" || part.Items[0].Payment != 2 {
		t.Errorf("the first part is %+v: %v", part, err)
	}
	if err := json.Unmarshal(v.do("GET", "/api/v1/payouts?limit=1&cursor=1", nil, bearer...).Body.Bytes(), &part); err != nil || part.Next != nil || part.Items[0].Payment != 1 {
		t.Errorf("the second part is %+v: %v", part, err)
	}
	// Of 1,000 accounts a part comes, and the next goes on with the search.
	reader := loggedIn(t, s, "reader")
	if text := reader.do("GET", "/staff/users?search=%3Cimg+src&cursor=200", nil).Body.String(); !strings.Contains(text, `href="?cursor=300&amp;search=%3Cimg&#43;src"`) {
		t.Errorf("the next part is not there:\n%s", text)
	}
	if w := reader.do("GET", "/staff/users?search="+strings.Repeat("x", 201), nil); w.Code != http.StatusBadRequest {
		t.Errorf("a long search: %d", w.Code)
	}
	if text := reader.do("GET", "/staff/users?search=nobody", nil).Body.String(); !strings.Contains(text, "0 accounts with nobody in the name") {
		t.Errorf("nobody:\n%s", text)
	}
	w := v.do("GET", "/api/v1/account", nil, bearer...)
	if again := v.do("GET", "/api/v1/account", nil, append(bearer, "If-None-Match", w.Header().Get("ETag"))...); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("again: %d", again.Code)
	}
	if w := loggedIn(t, s, "alice").do("GET", "/api/v1/account", nil); w.Code != http.StatusUnauthorized {
		t.Errorf("a session is a token: %d", w.Code)
	}
	if !bytes.Equal(v.do("GET", "/api/v1/openapi.json", nil).Body.Bytes(), accountsAPI) {
		t.Error("the description is not what is served")
	}
}

// What a browser that was left open must not do takes the password once more, and the code;
// it is limited as a login is, leaves this session, and ends the others.
func TestOwnSettings(t *testing.T) {
	p := everyone(t)
	s, log := accountServer(t, p, Place{})
	alice, other := loggedIn(t, s, "alice"), loggedIn(t, s, "alice")
	sees := func(v *person) bool { return v.do("GET", "/account", nil).Code == http.StatusOK }
	for name, c := range map[string]struct {
		path string
		form url.Values
		text string
	}{
		"no password":     {"/settings/password", url.Values{"new": {"a new password"}, "repeated": {"a new password"}}, "the present password is another one"},
		"wrong password":  {"/settings/codes", url.Values{"current": {"guess"}}, "the present password is another one"},
		"not the same":    {"/settings/password", url.Values{"current": {goodPassword}, "new": {"a new password"}, "repeated": {"a new passwort"}}, "are not the same"},
		"short":           {"/settings/password", url.Values{"current": {goodPassword}, "new": {"äöüäöüäöü"}, "repeated": {"äöüäöüäöü"}}, "10 characters or more"},
		"long":            {"/settings/password", url.Values{"current": {goodPassword}, "new": {strings.Repeat("x", 257)}, "repeated": {strings.Repeat("x", 257)}}, "at most 256 bytes"},
		"no amount":       {"/settings/minimum", url.Values{"minimum": {"1e-3"}}, "want an amount of bitcoins"},
		"too exact":       {"/settings/minimum", url.Values{"minimum": {"0.000000001"}}, "want an amount of bitcoins"},
		"negative amount": {"/settings/minimum", url.Values{"minimum": {"-1"}}, "want an amount of bitcoins"},
	} {
		w := alice.do("POST", c.path, c.form)
		if did := p.changes(); did != "" || w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s: %d, it does %q:\n%s", name, w.Code, did, w.Body)
		}
	}
	if w := alice.do("POST", "/settings/minimum", url.Values{"minimum": {"0.00000007"}}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Pool: x |") || p.changes() != "" {
		t.Errorf("what is to be proved: %d\n%s", w.Code, w.Body)
	}
	before := *alice
	if w := alice.do("POST", "/settings/password", url.Values{"current": {goodPassword}, "new": {"another password"}, "repeated": {"another password"}}); w.Code != http.StatusSeeOther || p.changes() != "alice has another password" {
		t.Errorf("a new password: %d\n%s", w.Code, w.Body)
	}
	if !sees(alice) || sees(other) || sees(&before) {
		t.Error("not this session alone goes on")
	}
	// One-time codes: a secret is offered, tried, and wanted from then on.
	w := alice.do("POST", "/settings/codes", url.Values{"current": {"another password"}})
	secret := p.offered
	if text := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(text, secret.Base32()) || !strings.Contains(text, `src="data:image/svg&#43;xml;base64,`) {
		t.Errorf("the offer: %d\n%s", w.Code, text)
	}
	if w := alice.do("POST", "/settings/codes/confirm", url.Values{"code": {"000000"}}); w.Code != http.StatusUnprocessableEntity || p.known["alice"].Secret != "" {
		t.Errorf("a wrong code: %d\n%s", w.Code, w.Body)
	}
	code := codeOf(t, secret, time.Now())
	w = alice.do("POST", "/settings/codes/confirm", url.Values{"code": {code}})
	if w.Code != http.StatusOK || strings.Count(w.Body.String(), "-") < 3*credentials.RecoveryCodes || p.known["alice"].Secret == "" || !sees(alice) {
		t.Errorf("a right code: %d\n%s", w.Code, w.Body)
	}
	p.changes()
	if w := alice.do("POST", "/settings/codes/off", url.Values{"current": {"another password"}}); w.Code != http.StatusUnprocessableEntity || p.changes() != "" || !strings.Contains(w.Body.String(), "a one-time code is wanted too") {
		t.Errorf("off without a code: %d\n%s", w.Code, w.Body)
	}
	if w := alice.do("POST", "/settings/codes/off", url.Values{"current": {"another password"}, "code": {codeOf(t, secret, time.Now().Add(30*time.Second))}}); w.Code != http.StatusSeeOther || p.changes() != "alice has no one-time codes" || !sees(alice) {
		t.Errorf("off: %d\n%s", w.Code, w.Body)
	}
	for range 10 {
		alice.do("POST", "/settings/codes", url.Values{"current": {"guess"}})
	}
	if w := alice.do("POST", "/settings/codes", url.Values{"current": {"another password"}}); w.Code != http.StatusTooManyRequests || p.changes() != "" {
		t.Errorf("there is no end of tries: %d", w.Code)
	}
	for _, text := range []string{"another password", secret.Base32(), code} {
		if strings.Contains(log(), text) {
			t.Errorf("%q is in the log", text)
		}
	}
}

// codeOf is what an app shows at a time: RFC 6238.
func codeOf(t *testing.T, secret credentials.Secret, now time.Time) string {
	t.Helper()
	app := hmac.New(sha1.New, secret.Key)
	app.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/30)))
	sum := app.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

// The owner of an address logs in by a signature for this site, and sees what an account
// without a password has.
func TestAddressLogin(t *testing.T) {
	p := everyone(t)
	p.amounts[anAddress] = 42
	s, log := accountServer(t, p, Place{Base: "/a", Names: []string{"pool.example"}, Trusted: []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}})
	v := &person{t: t, s: s}
	if w := v.do("GET", "/a/login/address", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `name="address"`) {
		t.Fatalf("%d\n%s", w.Code, w.Body)
	}
	form := func(claim, signature string) url.Values {
		return url.Values{"address": {anAddress}, "claim": {claim}, "signature": {signature}}
	}
	w := v.do("POST", "/a/login/address", form("", ""))
	if w.Code != http.StatusOK || v.cookie != nil || !strings.Contains(w.Body.String(), "sign for pool.example/a") {
		t.Fatalf("%d\n%s", w.Code, w.Body)
	}
	for name, c := range map[string]struct {
		form    url.Values
		headers []string
		code    int
	}{
		"no address":       {url.Values{"address": {hostile}}, nil, 401},
		"wrong signature":  {form("sign for pool.example/a", "x"), nil, 401},
		"for another site": {form("sign for evil.example/a", "signed"), nil, 401},
		"from elsewhere":   {form("sign for pool.example/a", "signed"), []string{"Origin", "http://evil.example"}, 403},
		// Somebody had it signed at evil.example, and asks here as if this were there.
		"by another name": {form("sign for evil.example/a", "signed"), []string{"Origin", "http://evil.example", "X-Forwarded-Host", "evil.example"}, 401},
		"to have it made": {form("", ""), []string{"Origin", "http://evil.example", "X-Forwarded-Host", "evil.example"}, 401},
	} {
		w := v.do("POST", "/a/login/address", c.form, c.headers...)
		if w.Code != c.code || v.cookie != nil || strings.Contains(w.Body.String(), "<img src=x") {
			t.Errorf("%s: %d %v\n%s", name, w.Code, v.cookie, w.Body)
		}
	}
	v.cookie = &http.Cookie{Name: "ckdb", Value: "chosen-by-an-attacker"}
	if w := v.do("POST", "/a/login/address", form("sign for pool.example/a", "signed")); w.Code != http.StatusSeeOther || v.cookie == nil || v.cookie.Value == "chosen-by-an-attacker" {
		t.Fatalf("%d\n%s", w.Code, w.Body)
	}
	if w := v.do("GET", "/a/account", nil); !strings.Contains(w.Body.String(), "0.00000042 BTC") || !strings.Contains(w.Body.String(), "signed with the key") || strings.Contains(w.Body.String(), "/tokens") {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
	for _, l := range s.looks() {
		want := http.StatusOK
		if l.password || l.scope != credentials.ReadOwn {
			want = http.StatusForbidden
		}
		if w := v.do("GET", "/a"+strings.ReplaceAll(l.path, "{block}", aBlock), nil); w.Code != want {
			t.Errorf("%s: %d", l.path, w.Code)
		}
	}
	p.changes()
	for _, a := range s.acts() {
		may := a.scope == credentials.ChangeOwn && !a.password
		w := v.do("POST", "/a"+a.path, samples[a.path].form)
		if did := p.changes(); (did != "") != may || !may && w.Code != http.StatusForbidden {
			t.Errorf("%s: %d, it does %q", a.path, w.Code, did)
		}
	}
	kept := *v
	if v.do("POST", "/a/logout/everywhere", url.Values{}); kept.do("GET", "/a/account", nil).Code == http.StatusOK {
		t.Error("logging out leaves the session")
	}
	for range 20 {
		w = v.do("POST", "/a/login/address", form("sign for pool.example/a", "x"))
	}
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("there is no end of tries: %d", w.Code)
	}
	if strings.Contains(log(), "signed") {
		t.Errorf("a signature is in the log:\n%s", log())
	}
}

// A site is called what the operator, its certificate, or the address it is reached at say.
func TestSiteNames(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate.New(t, "tls.example", 1).Write(t, dir)
	for _, tt := range []struct {
		names     []string
		tls       bool
		host, own string
		want      bool
		from      string // "": own
	}{
		{nil, false, "pool.example", "198.51.100.7", false, ""}, {[]string{"Pool.example"}, false, "pool.example:8081", "198.51.100.7", true, ""},
		{[]string{"pool.example"}, false, "evil.example", "198.51.100.7", false, ""}, {[]string{"pool.example"}, false, "pool.example.evil.example", "198.51.100.7", false, ""},
		{nil, true, "tls.example", "198.51.100.7", true, ""}, {nil, true, "evil.example", "198.51.100.7", false, ""},
		{nil, false, "198.51.100.7:8081", "198.51.100.7", true, ""}, {nil, false, "198.51.100.8", "198.51.100.7", false, ""},
		{nil, false, "127.0.0.1:8081", "127.0.0.1", true, ""}, {nil, false, "localhost:8081", "127.0.0.1", true, ""}, {nil, false, "[::1]:8081", "::1", true, ""},
		{nil, false, "localhost:8081", "198.51.100.7", false, "203.0.113.9"}, {nil, false, "127.0.0.1:8081", "198.51.100.7", false, "203.0.113.9"},
		{nil, false, "localhost:8081", "172.17.0.2", true, "172.17.0.1"},
		{[]string{""}, false, "", "198.51.100.7", false, ""}, {[]string{"a b"}, false, "a b", "198.51.100.7", false, ""},
	} {
		o := AccountOptions{Source: everyone(t), Place: Place{Listen: "127.0.0.1:8081", Names: tt.names}}
		if tt.tls {
			o.Cert, o.Key = cert, key
		}
		s, err := NewAccounts(o)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/login/address", nil)
		r.Host, r.RemoteAddr = tt.host, net.JoinHostPort(cmp.Or(tt.from, tt.own), "1")
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tt.own), 8081))))
		if site, err := s.siteOf(r); (err == nil) != tt.want || tt.want && site != tt.host {
			t.Errorf("%+v: %q, %v", tt, site, err)
		}
	}
}

// Which of the names that a wildcard stands for is this site's the operator says.
func TestWildcard(t *testing.T) {
	o := AccountOptions{Source: everyone(t), Place: Place{Listen: "127.0.0.1:8081"}}
	o.Cert, o.Key = certificate.New(t, "*.pool.example", 1).Write(t, t.TempDir())
	r := httptest.NewRequest("POST", "/login/address", nil)
	r.Host = "accounts.pool.example"
	for _, named := range []bool{false, true} {
		if named {
			o.Place.Names = []string{r.Host}
		}
		s, err := NewAccounts(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.siteOf(r); (err == nil) != named {
			t.Errorf("named by the operator: %v: %v", named, err)
		}
	}
}

// The cookie goes over TLS alone where the browser asks over TLS, which a reverse proxy
// that is trusted says.
func TestSecureCookie(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		proto   string
		secure  bool
	}{
		"behind TLS": {trusted, "https", true}, "without TLS": {trusted, "http", false}, "nothing said": {trusted, "", false}, "a stranger": {nil, "https", false},
	} {
		s, _ := accountServer(t, everyone(t), Place{Trusted: c.trusted})
		v := &person{t: t, s: s}
		v.do("POST", "/login", credentialsOf("alice", goodPassword, ""), "X-Forwarded-Proto", c.proto, "Origin", "https://pool.example")
		if v.cookie == nil || v.cookie.Secure != c.secure || !v.cookie.HttpOnly || v.cookie.SameSite != http.SameSiteStrictMode {
			t.Errorf("%s: the cookie is %v", name, v.cookie)
			continue
		}
		if w := v.do("GET", "/account", nil, "X-Forwarded-Proto", c.proto); w.Code != http.StatusOK {
			t.Errorf("%s: %d", name, w.Code)
		}
		// A login that ends is told in the same way.
		if v.do("POST", "/logout", url.Values{}, "X-Forwarded-Proto", c.proto); v.cookie != nil {
			t.Errorf("%s: the cookie stays", name)
		}
	}
}

// However many look at parts of blocks, which take long, staff plans a payout.
func TestPlanBesideParts(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{})
	staff := loggedIn(t, s, "accountant")
	for range cap(s.parts) {
		s.parts <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := httptest.NewRequest("GET", "/staff/payout", nil).WithContext(ctx)
	r.Host = "pool.example"
	r.AddCookie(staff.cookie)
	w := httptest.NewRecorder()
	if s.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
}
