package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	goqr "github.com/piglig/go-qr"

	"github.com/ckpool/ckpool/internal/credentials"
)

// SettingSource is what users change of their own accounts, beside addresses and tokens.
// Those without a claim are for who has a password alone.
type SettingSource interface {
	// SetMinimum makes an account be paid from so many satoshis on; claim is as that of
	// SetAddresses.
	SetMinimum(ctx context.Context, user string, satoshis int64) (claim *Claim, err error)
	// SetPrivate has an account named to nobody by pools, or ends that.
	SetPrivate(ctx context.Context, user string, private bool) error
	SetPassword(ctx context.Context, user, hash string) error
	// OfferSecret keeps a secret of one-time codes until TrySecret puts it in force, by a
	// code of it and with new recovery codes. NoSecret ends both.
	OfferSecret(ctx context.Context, user string, secret credentials.Secret) error
	TrySecret(ctx context.Context, user, code string, now time.Time, recovery []credentials.Digest) error
	NoSecret(ctx context.Context, user string) error
	NewRecoveryCodes(ctx context.Context, user string, recovery []credentials.Digest) error
}

// leastPassword is how many characters a new password must have.
const leastPassword = 10

func refusedForm(format string, args ...any) error {
	return &failure{http.StatusUnprocessableEntity, fmt.Sprintf(format, args...)}
}

// settingActs are what users change of how their account is kept.
func (s *Accounts) settingActs() []act {
	return []act{
		{path: "/settings/minimum", scope: credentials.ChangeOwn, do: s.setMinimum},
		{path: "/settings/private", scope: credentials.ChangeOwn, do: s.setPrivate},
		{path: "/settings/password", scope: credentials.ChangeOwn, password: true, do: s.again(s.setPassword)},
		{path: "/settings/codes", scope: credentials.ChangeOwn, password: true, do: s.again(s.offerSecret)},
		{path: "/settings/codes/confirm", scope: credentials.ChangeOwn, password: true, do: s.trySecret},
		{path: "/settings/codes/off", scope: credentials.ChangeOwn, password: true, do: s.again(s.noSecret)},
		{path: "/settings/codes/recovery", scope: credentials.ChangeOwn, password: true, do: s.again(s.newRecoveryCodes)},
	}
}

type do = func(ctx context.Context, v *visitor, form url.Values) (result, error)

// again does something for who gives his password, and code, once more: a browser that
// somebody has left open is not enough. What ends sessions leaves this one.
func (s *Accounts) again(f do) do {
	return func(ctx context.Context, v *visitor, form url.Values) (done result, err error) {
		err = compute(ctx, s.logins, func() error {
			_, err := credentials.Login(ctx, s.source, credentials.Attempt{
				Name: v.Name, Password: form.Get("current"), Code: form.Get("code"), From: v.from, Now: time.Now(),
			})
			return err
		})
		switch result := loginResult(err); {
		case result == loginAccepted:
		case result == loginTooMany:
			return done, &failure{http.StatusTooManyRequests, err.Error()}
		case result == loginWrong:
			return done, refusedForm("the present password is another one")
		case result != loginFailed:
			return done, refusedForm("%v", err)
		default:
			return done, err
		}
		if done, err = f(ctx, v, form); err == nil {
			err = s.begin(ctx, v.Name)
		}
		return done, err
	}
}

func (s *Accounts) setMinimum(ctx context.Context, v *visitor, form url.Values) (result, error) {
	n, err := satoshis(form.Get("minimum"))
	if err != nil {
		return result{}, err
	}
	claim, err := s.source.SetMinimum(ctx, v.Name, n)
	return settled(claim, err, "settings", "minimum")
}

func (s *Accounts) setPrivate(ctx context.Context, v *visitor, form url.Values) (result, error) {
	private := form.Get("private") == "1"
	done := "public"
	if private {
		done = "private"
	}
	return result{to: []string{"settings"}, done: done}, s.source.SetPrivate(ctx, v.Name, private)
}

// settled is where a change leads that may have to be proved first.
func settled(claim *Claim, err error, page, done string) (result, error) {
	if err != nil || claim == nil {
		return result{to: []string{page}, done: done}, err
	}
	return result{page: "claim", title: "Prove that it is yours", data: claim}, nil
}

// satoshis reads an amount of bitcoins, as pages show them.
func satoshis(text string) (int64, error) {
	whole, part, _ := strings.Cut(strings.TrimSpace(text), ".")
	const places = 8
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", max(places-len(part), 0)), 10, 64)
	if err != nil || n < 0 || len(part) > places || strings.Trim(whole+part, "0123456789") != "" {
		return 0, refusedForm("want an amount of bitcoins, such as 0.001")
	}
	return n, nil
}

func (s *Accounts) setPassword(ctx context.Context, v *visitor, form url.Values) (result, error) {
	text := form.Get("new")
	switch {
	case text != form.Get("repeated"):
		return result{}, refusedForm("the two new passwords are not the same: nothing was changed")
	case utf8.RuneCountInString(text) < leastPassword || len(text) > credentials.MaxPassword:
		return result{}, refusedForm("want a password of %d characters or more, and at most %d bytes", leastPassword, credentials.MaxPassword)
	}
	hash, err := credentials.HashPassword(text)
	if err != nil {
		return result{}, err
	}
	return result{to: []string{"settings"}, done: "password"}, s.source.SetPassword(ctx, v.Name, hash)
}

// offer is a secret for an app, which is shown this once.
type offer struct {
	Secret string
	QR     template.URL
}

func (s *Accounts) offerSecret(ctx context.Context, v *visitor, _ url.Values) (result, error) {
	secret := credentials.NewSecret()
	code, err := goqr.EncodeText(secret.URL(accountsName, v.Name), goqr.Medium)
	if err != nil {
		return result{}, fmt.Errorf("QR code: %w", err)
	}
	const module, quiet = 1, 4 // as on the page of listeners
	picture, err := code.ToSVGBytes(goqr.NewQrCodeImgConfig(module, quiet, goqr.WithOptimalSVG()))
	if err != nil {
		return result{}, fmt.Errorf("QR code: %w", err)
	}
	if err := s.source.OfferSecret(ctx, v.Name, secret); err != nil {
		return result{}, err
	}
	data := offer{secret.Base32(), template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(picture))}
	return result{page: "offer", title: "One-time codes", data: data}, nil
}

func (s *Accounts) trySecret(ctx context.Context, v *visitor, form url.Values) (result, error) {
	codes, digests := credentials.NewRecoveryCodes()
	err := s.source.TrySecret(ctx, v.Name, form.Get("code"), time.Now(), digests)
	if errors.Is(err, credentials.ErrBadCode) {
		err = refusedForm("wrong code: is the clock of the app right? Begin again")
	}
	if err == nil {
		err = s.begin(ctx, v.Name)
	}
	return result{page: "recovery", title: "Recovery codes", data: codes}, err
}

func (s *Accounts) noSecret(ctx context.Context, v *visitor, _ url.Values) (result, error) {
	return result{to: []string{"settings"}, done: "nocodes"}, s.source.NoSecret(ctx, v.Name)
}

func (s *Accounts) newRecoveryCodes(ctx context.Context, v *visitor, _ url.Values) (result, error) {
	codes, digests := credentials.NewRecoveryCodes()
	return result{page: "recovery", title: "Recovery codes", data: codes}, s.source.NewRecoveryCodes(ctx, v.Name, digests)
}
