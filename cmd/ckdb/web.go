package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/ownership"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/web"
	"github.com/ckpool/ckpool/work"
)

// webOptions are where the pages of accounts are served.
type webOptions struct {
	listen    string // host:port; empty: nowhere
	cert, key string // files; empty: without TLS
	base      string
	proxies   []string
	names     []string
	trusted   []netip.Prefix
}

func (o *webOptions) set(fs *pflag.FlagSet) {
	fs.StringVar(&o.listen, "http", "", "`ADDRESS`, HOST:PORT, at which users see their accounts in a browser; without it nowhere")
	fs.StringVar(&o.cert, "http-cert", "", "`FILE` with a TLS certificate for that; it is read again when it changes")
	fs.StringVar(&o.key, "http-key", "", "`FILE` with its key")
	fs.StringVar(&o.base, "http-base", "", "`PATH` before those of all pages, such as /accounts, behind a reverse proxy that others share")
	fs.StringSliceVar(&o.proxies, "http-proxy", nil, "`NETWORK` of reverse proxies, such as 127.0.0.0/8, whose word on readers' addresses is taken; may be given for each")
	fs.StringSliceVar(&o.names, "http-name", nil, "`HOST` that browsers call that, such as accounts.example.org, beside those of its certificate: owners of addresses log in there, and nowhere else; may be given for each")
}

func (o *webOptions) resolve(forward bool) error {
	switch {
	case o.listen == "" && (o.cert != "" || o.key != "" || o.base != "" || len(o.proxies) > 0 || len(o.names) > 0):
		return errors.New("--http-cert, --http-key, --http-base, --http-proxy and --http-name are for --http, which says where")
	case o.listen == "":
		return nil
	case forward:
		return errors.New("--http is for the ckdb with the database, --forward stores nothing here")
	case (o.cert == "") != (o.key == ""):
		return errors.New("--http-cert and --http-key go together")
	}
	if _, port, err := net.SplitHostPort(o.listen); err != nil || port == "" || port == "0" {
		return fmt.Errorf("--http %s: want HOST:PORT, such as 127.0.0.1:8081", o.listen)
	}
	if o.base = strings.TrimSuffix(o.base, "/"); o.base != "" && (o.base[0] != '/' || strings.ContainsAny(o.base, "?#%; ") || strings.Contains(o.base+"/", "//") || strings.Contains(o.base+"/", "/./") || strings.Contains(o.base+"/", "/../")) {
		return fmt.Errorf("--http-base %s: want the beginning of a path, such as /accounts", o.base)
	}
	for _, text := range o.proxies {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--http-proxy %s: want a network, such as 127.0.0.0/8", text)
		}
		o.trusted = append(o.trusted, n.Masked())
	}
	for _, name := range o.names {
		if strings.ContainsAny(name, ":/ ") || name == "" {
			return fmt.Errorf("--http-name %s: want a host alone, such as accounts.example.org", name)
		}
	}
	return nil
}

// openPage begins to listen for pages; nil: there are none.
func (s *service) openPage(ctx context.Context) (*web.Accounts, net.Listener, error) {
	o := &s.options.webOptions
	if o.listen == "" {
		return nil, nil, nil
	}
	page, err := web.NewAccounts(web.AccountOptions{
		Source: book{s.store, s.store.Payments(), s}, Place: web.Place{Listen: o.listen, Base: o.base, Trusted: o.trusted, Names: o.names},
		Cert: o.cert, Key: o.key, Events: s.events,
	})
	if err != nil {
		return nil, nil, err
	}
	l, err := page.Listen(ctx, 0)
	return page, l, err
}

// status is what the command of this name shows.
func (s *service) status(ctx context.Context) (*status, error) {
	d := s.daemon()
	return s.own().statusOf(ctx, s.store, s.where, &d)
}

// servePage serves pages until ctx ends. What goes wrong with it is told, and shares are
// stored on.
func (s *service) servePage(ctx context.Context, page *web.Accounts, l net.Listener) {
	s.events.Say(event.Warning, "Accounts at "+page.URL())
	if err := page.Run(ctx, l); err != nil && ctx.Err() == nil {
		s.events.Say(event.Error, "There is no page: "+err.Error())
	}
}

// book is what pages show of the database, as the commands do.
type book struct {
	*store.Store // is what logins need
	payments     *store.Payments
	service      *service
}

// ownerOf is the account of who is logged in. No user is registered whose name is an address.
func ownerOf(user string) store.Owner {
	if isAddress(user) {
		return store.Owner{Kind: store.Address, Name: user}.Folded()
	}
	return store.Owner{Kind: store.User, Name: user}
}

func (b book) Token(ctx context.Context, text string, now time.Time) (credentials.Known, []credentials.Scope, error) {
	t, known, err := b.UseToken(ctx, text, now)
	if errors.Is(err, store.ErrToken) {
		return credentials.Known{}, nil, nil
	}
	return known, t.Scopes, err
}

// posted is all that was posted to a user. Who was never credited has no account of the
// ledger, and nothing.
func (b book) posted(ctx context.Context, user string) ([]store.Transaction, error) {
	list, err := b.Store.Statement(ctx, ownerOf(user))
	if errors.Is(err, store.ErrAccount) {
		return nil, nil
	}
	return list, err
}

func (b book) Account(ctx context.Context, user string) (web.Account, error) {
	known, err := b.Known(ctx, user)
	if err != nil {
		return web.Account{}, err
	}
	a := web.Account{User: user, Role: cmp.Or(string(known.Role), "member"), Codes: known.Secret != ""}
	list, err := b.posted(ctx, user)
	if err != nil {
		return a, err
	}
	a.Balance, a.Immature = owed(ownPostings(list))
	tip, _, err := b.Tip(ctx)
	if err != nil {
		return a, err
	}
	for name, to := range map[string]*int64{store.SettingLeast: &a.Minimum, store.SettingFee: &a.Fee} {
		value, err := b.SettingAt(ctx, name, ownerOf(user), time.Now().UnixMicro(), tip.Height+1)
		if err != nil {
			return a, err
		}
		if *to, err = strconv.ParseInt(value, 10, 64); err != nil {
			return a, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	of := ownerOf(user)
	said, err := b.Store.Account(ctx, store.Worker{Kind: of.Kind, Account: of.Name})
	if err != nil {
		return a, err
	}
	a.Private = said.Private
	held, err := b.Holds(ctx)
	a.Hold = held[of]
	return a, err
}

func (b book) Rewards(ctx context.Context, user string) ([]web.Reward, error) {
	list, err := ownRewards(ctx, b.Store, ownerOf(user))
	if errors.Is(err, store.ErrAccount) {
		return nil, nil
	}
	var shown []web.Reward
	for _, r := range slices.Backward(list) {
		shown = append(shown, web.Reward{Height: r.Height, Block: r.Hash, State: r.State, Confirmations: r.Confirmations, Time: time.Unix(r.Time, 0).UTC(), Amount: r.Amount})
	}
	return shown, err
}

func (b book) Statement(ctx context.Context, user string) ([]web.Posting, error) {
	list, err := b.posted(ctx, user)
	var shown []web.Posting
	for _, p := range slices.Backward(ownPostings(list)) {
		shown = append(shown, web.Posting{
			Number: p.Number, Time: time.Unix(p.Time, 0).UTC(), Kind: p.Posting, Immature: p.Immature, Balance: p.Balance, Of: p.Of, Note: p.Note,
		})
	}
	return shown, err
}

// Payouts are those that were debited: what is only planned may still be cancelled.
func (b book) Payouts(ctx context.Context, user string, from, limit int) (shown []web.Payout, total int, err error) {
	list, err := b.posted(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	type debit struct{ payment, at int64 }
	var debits []debit
	for _, t := range slices.Backward(list) {
		text, ok := strings.CutPrefix(t.Reference, "payment ")
		if id, err := strconv.ParseInt(text, 10, 64); t.Kind == store.Payout && ok && err == nil { // else people booked it
			debits = append(debits, debit{id, t.At})
		}
	}
	from = min(from, len(debits))
	for _, d := range debits[from:min(from+limit, len(debits))] {
		p, err := b.payments.Payment(ctx, d.payment)
		if err != nil {
			return nil, 0, err
		}
		shown = append(shown, payoutTo(&p, user, d.at))
	}
	return shown, len(debits), nil
}

// payoutTo is what a user has of a payment that was debited at a time.
func payoutTo(p *payout.Payment, user string, at int64) web.Payout {
	v := counting(p)
	one := web.Payout{Payment: p.ID, Time: time.UnixMicro(at).UTC(), State: string(p.State), Outputs: []web.PayoutOutput{}}
	if v != nil {
		one.Transaction = &v.Txid
	}
	if p.Block != nil {
		one.Height, one.Confirmations = &p.Block.Height, p.Block.Confirmations
	}
	for i, o := range p.Outputs {
		if ownerOf(o.Name) != ownerOf(user) {
			continue
		}
		amount := o.Amount
		if v != nil {
			amount = v.Amounts[i]
		}
		one.Debit += o.Debit
		one.Outputs = append(one.Outputs, web.PayoutOutput{Address: o.Address, Amount: amount})
	}
	return one
}

func (b book) Part(ctx context.Context, user, block string) (web.Part, error) {
	list, err := b.posted(ctx, user)
	if err != nil {
		return web.Part{}, err
	}
	hash, hashErr := work.ParseHash(block)
	if hashErr != nil || !slices.ContainsFunc(list, func(t store.Transaction) bool { return t.Kind == store.Reward && t.Reference == block }) {
		return web.Part{}, &web.RefusedError{Err: errors.New("this account has no reward of such a block")}
	}
	r, err := b.Reward(ctx, hash, nil)
	if errors.Is(err, store.ErrDropped) {
		err = &web.RefusedError{Err: err}
	}
	if err != nil {
		return web.Part{}, err
	}
	p, ok := partOf(r, ownerOf(user))
	if !ok {
		return web.Part{}, &web.RefusedError{Err: errors.New("by what is stored now this account has no part of the block")}
	}
	return web.Part{
		Height: p.Height, Block: block, Scheme: string(r.Parameters.Scheme), Value: r.Block.Value, PoolFee: r.Fee, Divided: p.Divided,
		Difficulty: r.Block.Difficulty.String(), Counted: p.Work, Window: p.All, Fee: p.Fee, Weight: p.Weight, Weights: p.Weights,
		Whole: p.Whole, More: p.More, Amount: p.Amount,
	}, nil
}

func (b book) Workers(ctx context.Context, user string, from, limit int) (shown []web.AccountWorker, total int, err error) {
	numbers, total, err := b.WorkersOf(ctx, ownerOf(user), from, limit)
	if err != nil || len(numbers) == 0 {
		return nil, total, err
	}
	list, err := workersOf(ctx, b.Store, store.Query{By: store.ByWorker, Days: true}.Of(numbers))
	for i := range list {
		w := &list[i]
		one := web.AccountWorker{
			Worker: w.Worker, Hashrate: w.Hashrate, Hashrate1d: w.Hashrate1d, Accepted: w.Shares, Rejected: w.Rejected, Best: w.Best,
		}
		if w.LastShare > 0 {
			at := time.Unix(w.LastShare, 0).UTC()
			one.LastShare = &at
		}
		shown = append(shown, one)
	}
	return shown, total, err
}

func (b book) Addresses(ctx context.Context, user string) ([]web.AddressSet, error) {
	list, err := b.AddressSets(ctx, ownerOf(user))
	var shown []web.AddressSet
	for _, v := range slices.Backward(list) {
		one := web.AddressSet{Since: time.UnixMicro(v.Since).UTC(), By: v.By, Void: v.Void, Parts: []web.AddressPart{}}
		for _, p := range v.Parts {
			one.Parts = append(one.Parts, web.AddressPart{Address: p.Address, PPM: p.PPM})
		}
		shown = append(shown, one)
	}
	return shown, err
}

// refusal is an error as its user may read it, or as it is.
func refusal(err error) error {
	if refused := (*store.RefusedError)(nil); errors.As(err, &refused) {
		return &web.RefusedError{Err: refused}
	}
	return err
}

// byUser is who did something, for the audit log.
func byUser(user string) string { return ownerOf(user).String() }

func (b book) SetAddresses(ctx context.Context, user string, words []string) (*web.Claim, error) {
	parts, err := parseParts(words)
	if err != nil {
		return nil, &web.RefusedError{Err: err}
	}
	_, err = b.Store.SetAddresses(ctx, store.AddressChange{Owner: ownerOf(user), Parts: parts, By: byUser(user)})
	if !toProve(err) {
		return nil, refusal(err)
	}
	if parts, err = b.CheckParts(ctx, parts); err != nil {
		return nil, refusal(err)
	}
	return b.claim(ctx, user, wanted{parts: parts})
}

// toProve tells that a change is refused until it is proved whose it is.
func toProve(err error) bool { return errors.Is(err, store.ErrOwned) || errors.Is(err, store.ErrProof) }

// claim is what is signed for a change.
func (b book) claim(ctx context.Context, user string, w wanted) (*web.Claim, error) {
	return b.newClaim(ctx, user, w.what(), w.signer(ownerOf(user)))
}

func (b book) newClaim(ctx context.Context, user, what, signer string) (*web.Claim, error) {
	pool, err := poolName(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	claim, err := ownership.NewClaim(pool, user, what, time.Now())
	if err != nil {
		return nil, &web.RefusedError{Err: err}
	}
	return &web.Claim{Text: claim.Text(), Signer: signer, Until: claim.Time.Add(ownership.MaxAge)}, nil
}

func (b book) SetMinimum(ctx context.Context, user string, satoshis int64) (*web.Claim, error) {
	value := strconv.FormatInt(satoshis, 10)
	if err := store.CheckSetting(store.SettingLeast, value); err != nil {
		return nil, &web.RefusedError{Err: err}
	}
	if err := b.setMinimum(ctx, user, value, nil); !toProve(err) {
		return nil, refusal(err)
	}
	return b.claim(ctx, user, wanted{minimum: value})
}

func (b book) setMinimum(ctx context.Context, user, value string, proof *ownership.Proof) error {
	_, err := b.Set(ctx, store.Setting{Name: store.SettingLeast, Owner: ownerOf(user), Value: value, Since: time.Now().UnixMicro(), By: byUser(user), Proof: proof})
	return err
}

func (b book) Prove(ctx context.Context, user, text string, signatures []string) error {
	pool, err := poolName(ctx, b.Store)
	if err != nil {
		return err
	}
	w, proofs, err := proved(text, pool, ownerOf(user), signatures)
	if err == nil && w.minimum != "" && len(proofs) != 1 {
		err = errors.New("a minimum is signed with the key of the account's address alone")
	}
	if err != nil {
		return &web.RefusedError{Err: err}
	}
	if w.minimum != "" {
		return refusal(b.setMinimum(ctx, user, w.minimum, proofs[0]))
	}
	_, err = b.Store.SetAddresses(ctx, store.AddressChange{Owner: ownerOf(user), Parts: w.parts, By: byUser(user), Proofs: proofs})
	return refusal(err)
}

func (b book) SetPrivate(ctx context.Context, user string, private bool) error {
	of := ownerOf(user)
	return b.Store.SetPrivate(ctx, byUser(user), of.Kind, of.Name, private)
}

func (b book) SetPassword(ctx context.Context, user, hash string) error {
	return b.Store.SetPassword(ctx, byUser(user), store.User, user, hash)
}

func (b book) OfferSecret(ctx context.Context, user string, secret credentials.Secret) error {
	return b.Store.OfferSecret(ctx, byUser(user), user, secret)
}

func (b book) TrySecret(ctx context.Context, user, code string, now time.Time, recovery []credentials.Digest) error {
	return refusal(b.Store.TrySecret(ctx, byUser(user), user, code, now, recovery))
}

func (b book) NoSecret(ctx context.Context, user string) error {
	return b.Store.NoSecret(ctx, byUser(user), user)
}

func (b book) NewRecoveryCodes(ctx context.Context, user string, recovery []credentials.Digest) error {
	known, err := b.Known(ctx, user)
	if err == nil && known.Secret == "" {
		err = &web.RefusedError{Err: errors.New("this account logs in without one-time codes")}
	}
	if err != nil {
		return err
	}
	return b.Store.NewRecoveryCodes(ctx, byUser(user), user, recovery)
}

func (b book) Tokens(ctx context.Context, user string) ([]web.Token, error) {
	list, err := b.Store.Tokens(ctx, user)
	var shown []web.Token
	for i := range slices.Backward(list) {
		shown = append(shown, webToken(&list[i]))
	}
	return shown, err
}

func webToken(t *store.Token) web.Token {
	one := web.Token{Number: t.Number, Name: t.Name, Scopes: t.Scopes, Created: time.UnixMicro(t.Created).UTC(), Expires: time.UnixMicro(t.Expires).UTC()}
	if t.Revoked > 0 {
		at := time.UnixMicro(t.Revoked).UTC()
		one.Revoked = &at
	}
	return one
}

func (b book) AddToken(ctx context.Context, user, name string, scopes []credentials.Scope, days int) (string, error) {
	text, digest := credentials.NewToken()
	_, err := b.Store.AddToken(ctx, byUser(user), user, name, words(scopes), time.Now().Add(time.Duration(days)*24*time.Hour), digest)
	return text, refusal(err)
}

func (b book) RevokeToken(ctx context.Context, user string, number int64) error {
	return refusal(b.Store.RevokeToken(ctx, byUser(user), user, number))
}
