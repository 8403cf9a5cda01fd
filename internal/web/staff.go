package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
)

// StaffSource is what is kept of all accounts, for the pool's staff. Lists of what happened
// have the newest first.
type StaffSource interface {
	// Users are accounts whose name has a text, in any case, by kind and name: at most limit
	// of them from one on.
	Users(ctx context.Context, search string, from, limit int) (list []User, total int, err error)
	Blocks(ctx context.Context) ([]PoolBlock, error)
	Payments(ctx context.Context) ([]Payment, error)
	Settings(ctx context.Context) ([]Setting, error)
	Audit(ctx context.Context) ([]Change, error)
	Status(ctx context.Context) (Status, error)
	// Hold keeps an account from being paid, and Lock from mining, for a reason; "" ends
	// that. By is the user who says so.
	Hold(ctx context.Context, by, name, reason string) error
	Lock(ctx context.Context, by, name, reason string) error
	// PlanPayout tells whom a run of payouts would pay what, and changes nothing. Rate is
	// in satoshis per virtual byte; "": what the node estimates.
	PlanPayout(ctx context.Context, by, rate string) (PayoutPlan, error)
	// SendPayout begins such a run if its plan is still the one of the digest, and sends it.
	// ExportPayout begins it for a signer elsewhere, and gives the numbers of its payments.
	SendPayout(ctx context.Context, by, rate, digest string) error
	ExportPayout(ctx context.Context, by, rate, digest string) (payments []int64, err error)
	// SendPayment sends what is planned, or its bytes again; BumpPayment replaces its
	// transaction by one that pays more; CancelPayment ends it, where that is possible;
	// ExportPayment gives its PSBT, in base64, to be signed elsewhere.
	SendPayment(ctx context.Context, by string, id int64) error
	BumpPayment(ctx context.Context, by string, id int64, rate string) error
	CancelPayment(ctx context.Context, by string, id int64) error
	ExportPayment(ctx context.Context, by string, id int64) (psbt string, err error)
	// SetSetting sets a setting of all, or of a user alone; from is a height or a time in
	// UTC, "" now.
	SetSetting(ctx context.Context, by, user, name, value, from string) error
}

// PayoutPlan is what a run of payouts would be.
type PayoutPlan struct {
	Debit        int64       `json:"debit"`       // of all balances
	NetworkFee   *int64      `json:"network_fee"` // null: no node was asked
	Payer        string      `json:"payer"`       // of the fee: pool or users
	Transactions int         `json:"transactions"`
	FeeRate      string      `json:"fee_rate"` // that was asked for
	Payees       []Payee     `json:"payees"`
	Left         []LeftPayee `json:"left"`
	Digest       string      `json:"digest"`
}

// Payee is an output of it.
type Payee struct {
	User    string `json:"user"`
	Address string `json:"address"`
	Debit   int64  `json:"debit"`
	Amount  int64  `json:"amount"` // that arrives
}

// LeftPayee is who is paid nothing.
type LeftPayee struct {
	User    string `json:"user"`
	Balance int64  `json:"balance"`
	Reason  string `json:"reason"`
}

// User is an account as staff sees it.
type User struct {
	User      string     `json:"user"`
	Kind      string     `json:"kind"` // address or user
	Workers   int64      `json:"workers"`
	Hashrate  float64    `json:"hashrate"` // hashes per second, over one to two hours
	LastShare *time.Time `json:"last_share"`
	Balance   int64      `json:"balance"`
	Immature  int64      `json:"immature"`
	Hold      string     `json:"hold"` // why it is not paid; "" it is
}

// PoolBlock is what a block of the pool's is worth, and to whom.
type PoolBlock struct {
	Height        int64  `json:"height"`
	Block         string `json:"block"`
	State         string `json:"state"`
	Confirmations int64  `json:"confirmations"`
	Value         int64  `json:"value"`
	Fee           int64  `json:"fee"`
	Credited      int64  `json:"credited"`
	Accounts      int64  `json:"accounts"`
	Waits         string `json:"waits"` // why it has no reward yet
}

// Payment is a transaction of a run of payouts.
type Payment struct {
	Payment       int64  `json:"payment"`
	Run           int64  `json:"run"`
	State         string `json:"state"`
	Debit         int64  `json:"debit"`
	NetworkFee    int64  `json:"network_fee"` // 0: none is signed
	Payees        int64  `json:"payees"`
	Confirmations int64  `json:"confirmations"`
	By            string `json:"by"`
	Transaction   string `json:"transaction"` // "": none is signed
	Reason        string `json:"reason"`      // why it is not further
}

// Setting is one in force, or to come.
type Setting struct {
	Name    string `json:"name"`
	User    string `json:"user"` // "": of all
	Value   string `json:"value"`
	From    string `json:"from"` // "": it is in force
	Meaning string `json:"meaning"`
}

// Change is a row of the audit log.
type Change struct {
	Number  int64     `json:"number"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	What    string    `json:"what"`
	Subject string    `json:"subject"`
	Before  string    `json:"before"`
	After   string    `json:"after"`
}

// Status is how far all is stored, and what a person has to look after.
type Status struct {
	Journals []Journal `json:"journals"`
	Gaps     []Gap     `json:"gaps"`
	Waiting  []Waiting `json:"waiting"`
	Alarms   []Alarm   `json:"alarms"`
	Height   int64     `json:"height"`  // of the newest block that was taken over; -1: none
	Tip      *int64    `json:"tip"`     // of the node; null: no node is followed
	Trouble  string    `json:"trouble"` // with the node
}

// Journal is how far that of a pool is stored.
type Journal struct {
	Pool          string  `json:"pool"`
	Shares        int64   `json:"shares"`
	Behind        int64   `json:"behind"` // shares that are not stored
	BehindSeconds float64 `json:"behind_seconds"`
	Trouble       string  `json:"trouble"`
}

// Gap is what the journal of a pool does not have.
type Gap struct {
	Pool  string `json:"pool"`
	Epoch int64  `json:"epoch"`
	First int64  `json:"first"`
	Last  int64  `json:"last"` // 0: to the end of the epoch
	Cause string `json:"cause"`
}

// Waiting is a block that has no reward yet.
type Waiting struct {
	Height int64  `json:"height"`
	Block  string `json:"block"`
	Reason string `json:"reason"`
}

// Alarm is one that nobody has ended.
type Alarm struct {
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
}

// staffLooks are what staff sees.
func (s *Accounts) staffLooks() []look {
	return []look{
		{path: "/staff/status", page: "status", title: "Status", text: "Status", scope: credentials.ReadAll, data: func(ctx context.Context, _ *visitor, _ *http.Request) (any, error) { return s.source.Status(ctx) }},
		{path: "/staff/users", page: "users", title: "Users", text: "Users", scope: credentials.ReadAll, data: s.lookUsers},
		{path: "/staff/blocks", page: "blocks", title: "Blocks", text: "Blocks", scope: credentials.ReadAll, data: all(s.source.Blocks)},
		{path: "/staff/payments", page: "payments", title: "Payments", text: "Payments", scope: credentials.ReadAll, data: all(s.source.Payments)},
		{path: "/staff/payout", page: "payout", title: "Payout", text: "Payout", scope: credentials.Money, data: s.lookPlan},
		{path: "/staff/settings", page: "settings", title: "Settings of the pool", text: "Pool settings", scope: credentials.ReadAll, data: s.lookPoolSettings},
		{path: "/staff/audit", page: "audit", title: "Audit log", text: "Audit", scope: credentials.ReadAll, data: all(s.source.Audit)},
	}
}

// all shows a list in parts, whoever asks.
func all[T any](of func(context.Context) ([]T, error)) func(context.Context, *visitor, *http.Request) (any, error) {
	return func(ctx context.Context, v *visitor, r *http.Request) (any, error) {
		return list(func(ctx context.Context, _ string) ([]T, error) { return of(ctx) })(ctx, v, r)
	}
}

// staffActs are what forms of staff do.
func (s *Accounts) staffActs() []act {
	return []act{
		{path: "/staff/hold", scope: credentials.Miners, do: s.say("held", "paid", s.source.Hold)},
		{path: "/staff/lock", scope: credentials.Miners, do: s.say("locked", "unlocked", s.source.Lock)},
		{path: "/staff/payout", scope: credentials.Money, do: s.sendPayout},
		{path: "/staff/payout/export", scope: credentials.Money, do: s.exportPayout},
		{path: "/staff/payments/send", scope: credentials.Money, do: s.onPayment(func(ctx context.Context, by string, id int64, _ string) (result, error) {
			return result{to: paymentsPage, done: "sending"}, s.source.SendPayment(ctx, by, id)
		})},
		{path: "/staff/payments/bump", scope: credentials.Money, do: s.onPayment(func(ctx context.Context, by string, id int64, rate string) (result, error) {
			return result{to: paymentsPage, done: "bumping"}, s.source.BumpPayment(ctx, by, id, rate)
		})},
		{path: "/staff/payments/cancel", scope: credentials.Money, do: s.onPayment(func(ctx context.Context, by string, id int64, _ string) (result, error) {
			return result{to: paymentsPage, done: "cancelled"}, s.source.CancelPayment(ctx, by, id)
		})},
		{path: "/staff/payments/export", scope: credentials.Money, do: s.onPayment(func(ctx context.Context, by string, id int64, _ string) (result, error) {
			psbt, err := s.source.ExportPayment(ctx, by, id)
			return result{page: "psbt", title: fmt.Sprintf("Payment %d", id), data: exported{id, psbt}}, err
		})},
		{path: "/staff/settings", scope: credentials.Money, do: s.setPoolSetting},
	}
}

// say says something of an account, for a reason, or ends it.
func (s *Accounts) say(begun, ended string, what func(ctx context.Context, by, name, reason string) error) func(context.Context, *visitor, url.Values) (result, error) {
	return func(ctx context.Context, v *visitor, form url.Values) (result, error) {
		reason, end := strings.TrimSpace(form.Get("reason")), form.Get("end") != ""
		switch {
		case end:
			return result{to: []string{"staff", "users"}, done: ended}, what(ctx, v.Name, form.Get("name"), "")
		case reason == "" || len(reason) > 500:
			return result{}, &failure{http.StatusUnprocessableEntity, "want a reason of at most 500 bytes"}
		}
		return result{to: []string{"staff", "users"}, done: begun}, what(ctx, v.Name, form.Get("name"), reason)
	}
}

// feeRate is a rate as people write it; ok is false where it is none.
func feeRate(text string) (rate string, ok bool) {
	text = strings.TrimSpace(text)
	v, err := strconv.ParseFloat(text, 64)
	return text, text == "" || err == nil && v > 0 && len(text) < 20
}

func (s *Accounts) lookPlan(ctx context.Context, v *visitor, r *http.Request) (any, error) {
	rate, ok := feeRate(r.URL.Query().Get("fee_rate"))
	if !ok {
		return nil, &failure{http.StatusBadRequest, `"fee_rate" is in satoshis per virtual byte, such as 5 or 1.25`}
	}
	var p PayoutPlan
	err := compute(ctx, s.plans, func() (err error) {
		p, err = s.source.PlanPayout(ctx, v.Name, rate)
		return err
	})
	return p, err
}

var paymentsPage = []string{"staff", "payments"}

// exported is a payment for a signer elsewhere.
type exported struct {
	Payment int64
	PSBT    string
}

// onPayment does something to the payment that a form names, for who has agreed to it.
func (s *Accounts) onPayment(f func(ctx context.Context, by string, id int64, rate string) (result, error)) do {
	return func(ctx context.Context, v *visitor, form url.Values) (result, error) {
		id, err := strconv.ParseInt(form.Get("payment"), 10, 64)
		rate, ok := feeRate(form.Get("fee_rate"))
		if err != nil || id < 1 || !ok || form.Get("yes") == "" {
			return result{}, errForm
		}
		return f(ctx, v.Name, id, rate)
	}
}

// foundUsers is what the page of users has: for programs it is the part of the list.
type foundUsers struct {
	page[User]
	search string
}

// Search is what was searched for.
func (p foundUsers) Search() string { return p.search }

// More is the address of the next part.
func (p foundUsers) More() string {
	return "?" + url.Values{"search": {p.search}, "cursor": {*p.Next}}.Encode()
}

func (s *Accounts) lookUsers(ctx context.Context, _ *visitor, r *http.Request) (any, error) {
	search := strings.TrimSpace(r.URL.Query().Get("search"))
	if len(search) > 200 {
		return nil, &failure{http.StatusBadRequest, `"search" has at most 200 bytes`}
	}
	from, limit, err := asked(r)
	if err != nil {
		return nil, err
	}
	list, total, err := s.source.Users(ctx, search, from, limit)
	return foundUsers{partWithin(list, from, limit, total), search}, err
}

// poolSettings is what the page of settings has: for programs it is the part of the list.
type poolSettings struct {
	page[Setting]
	names []string
}

// Names are those of all settings, for the page's form.
func (p poolSettings) Names() []string { return p.names }

func (s *Accounts) lookPoolSettings(ctx context.Context, _ *visitor, r *http.Request) (any, error) {
	all, err := s.source.Settings(ctx)
	if err != nil {
		return nil, err
	}
	p := poolSettings{}
	for i := range all {
		if name := all[i].Name; !slices.Contains(p.names, name) {
			p.names = append(p.names, name)
		}
	}
	p.page, err = paged(r, all, func(v *Setting) Setting { return *v })
	return p, err
}

func (s *Accounts) setPoolSetting(ctx context.Context, v *visitor, form url.Values) (result, error) {
	text := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	if form.Get("yes") == "" {
		return result{}, errForm
	}
	return result{to: []string{"staff", "settings"}, done: "set"}, s.source.SetSetting(ctx, v.Name, text("user"), text("name"), text("value"), text("from"))
}

// exportPayout is the second step where a signer elsewhere has the keys.
func (s *Accounts) exportPayout(ctx context.Context, v *visitor, form url.Values) (result, error) {
	rate, err := agreed(form)
	if err == nil {
		_, err = s.source.ExportPayout(ctx, v.Name, rate, form.Get("digest"))
	}
	return result{to: paymentsPage, done: "exported"}, err
}

// agreed is the fee rate of a plan that somebody has agreed to.
func agreed(form url.Values) (rate string, err error) {
	rate, ok := feeRate(form.Get("fee_rate"))
	if !ok || form.Get("digest") == "" || form.Get("yes") == "" {
		return "", errForm
	}
	return rate, nil
}

// sendPayout is the second step: what the first has shown is sent, or nothing.
func (s *Accounts) sendPayout(ctx context.Context, v *visitor, form url.Values) (result, error) {
	rate, err := agreed(form)
	if err == nil {
		err = s.source.SendPayout(ctx, v.Name, rate, form.Get("digest"))
	}
	return result{to: paymentsPage, done: "begun"}, err
}
