package store

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
)

// registeredUser makes a user with a password, cheaply hashed.
func registeredUser(t testing.TB, s *Store, name, password string) {
	t.Helper()
	hash, err := credentials.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetPassword(t.Context(), "ann", User, name, hash); err != nil {
		t.Fatal(err)
	}
}

// secretOf puts one-time codes in force.
func secretOf(t testing.TB, s *Store, name string, at time.Time) (secret credentials.Secret, codes []string) {
	t.Helper()
	secret = credentials.Secret{Algorithm: credentials.SHA256, Key: []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 255}}
	codes, digests := credentials.NewRecoveryCodes()
	if err := s.ImportSecret(t.Context(), "ann", name, secret); err != nil {
		t.Fatal(err)
	}
	if err := s.NewRecoveryCodes(t.Context(), "ann", name, digests); err != nil {
		t.Fatal(err)
	}
	return secret, codes
}

// people is a dump of all that people log in with.
func logins(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"accounts", "recovery_codes", "tokens", "proofs", "address_owners", "address_sets", "address_parts", "settings", "audit", "changes"} {
		b.WriteString(dumpTable(t, s, name))
	}
	return b.String()
}

// The reference's code of step 50,000,000, at 2017-07-14 02:40 UTC.
const referenceCode = "647163"

var referenceTime = time.Unix(1_500_000_000, 0)

// 51: of many who come with one code at once, to two programs, one gets in; and so with a
// recovery code.
func TestCase51(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		programs := []*Store{open(t, where), open(t, where)}
		registeredUser(t, programs[0], "bob", "secret")
		_, codes := secretOf(t, programs[0], "bob", referenceTime)
		known, err := programs[0].Known(t.Context(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		d, ok := credentials.RecoveryDigest(codes[3])
		if !ok {
			t.Fatal(codes)
		}
		for name, use := range map[string]credentials.Use{
			"one-time": {Name: "bob", Password: known.Password, Secret: known.Secret, Step: 50_000_000},
			"recovery": {Name: "bob", Password: known.Password, Secret: known.Secret, Recovery: &d},
		} {
			var got, used atomic.Int32
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					switch err := programs[i%2].Use(t.Context(), use); {
					case err == nil:
						got.Add(1)
					case errors.Is(err, credentials.ErrUsed):
						used.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if got.Load() != 1 || used.Load() != 49 {
				t.Errorf("%s code: %d of 50 are let in, %d refused", name, got.Load(), used.Load())
			}
		}
		if lines := strings.Count(dumpTable(t, programs[0], "recovery_codes"), "\n"); lines != 1+len(codes)-1 {
			t.Errorf("%d codes are left", lines-1)
		}
		// By the whole way too, with the code that comes before the one that was used.
		attempt := credentials.Attempt{Name: "bob", Password: "secret", Code: referenceCode, From: netip.MustParseAddr("192.0.2.1"), Now: referenceTime}
		if _, err := credentials.Login(t.Context(), programs[1], attempt); !errors.Is(err, credentials.ErrUsed) {
			t.Errorf("the code again: %v", err)
		}
		if attempt.Code = codes[4]; true {
			if k, err := credentials.Login(t.Context(), programs[1], attempt); err != nil || k.Name != "bob" {
				t.Errorf("another recovery code: %+v, %v", k, err)
			}
		}
		if _, err := credentials.Login(t.Context(), programs[0], attempt); !errors.Is(err, credentials.ErrUsed) {
			t.Errorf("that again: %v", err)
		}
	})
}

// 50: a thousand wrong tries from elsewhere do not keep the owner out, also after a
// restart; no source gets more than a few, and of codes no account.
func TestCase50Logins(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		registeredUser(t, s, "bob", "secret")
		from := func(text string) netip.Addr { return netip.MustParseAddr(text) }
		try := func(limits []credentials.Limit) time.Duration {
			t.Helper()
			wait, err := s.AddTry(t.Context(), limits)
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		looked := 0
		for i := range 1000 {
			if i == 500 { // the counts outlive the program
				s.Close()
				s = open(t, where)
			}
			if wait := try(credentials.PasswordLimits("bob", from(fmt.Sprintf("2001:db8::%x", i+1)))); wait == 0 {
				looked++
			} else if wait > 10*time.Minute || wait < 5*time.Minute {
				t.Fatalf("wait %v", wait)
			}
		}
		if looked != 10 {
			t.Errorf("%d of 1000 tries from one network are looked at, want 10", looked)
		}
		owner := credentials.Attempt{Name: "bob", Password: "secret", From: from("2001:db8:0:1::1"), Now: referenceTime}
		if _, err := credentials.Login(t.Context(), s, owner); err != nil {
			t.Errorf("the owner elsewhere: %v", err)
		}
		owner.From = from("2001:db8::7")
		var waits *credentials.WaitError
		if _, err := credentials.Login(t.Context(), s, owner); !errors.As(err, &waits) || !strings.Contains(err.Error(), "retry in") {
			t.Errorf("from the network of who guesses: %v", err)
		}
		looked = 0
		for i := range 300 {
			if try(credentials.PasswordLimits(fmt.Sprint("user", i), from("192.0.2.7"))) == 0 {
				looked++
			}
		}
		if looked != 100 {
			t.Errorf("%d of 300 accounts are tried from one source, want 100", looked)
		}
		looked = 0
		for i := range 1000 { // each from a source of its own
			if try(credentials.CodeLimits("bob", from(fmt.Sprintf("10.0.%d.%d", i/250, i%250)))) == 0 {
				looked++
			}
		}
		if looked != 20 {
			t.Errorf("%d of 1000 codes are looked at in a day, want 20", looked)
		}
		// What is over is forgotten.
		change(t, s, "update tries set until = 1")
		if wait := try(credentials.CodeLimits("bob", from("10.0.0.1"))); wait != 0 {
			t.Errorf("a day later: %v", wait)
		}
		if lines := strings.Count(dumpTable(t, s, "tries"), "\n"); lines != 1+2 {
			t.Errorf("%d tries are kept, want 2", lines-1)
		}
		// Right ones are no tries.
		for range 30 {
			l := credentials.PasswordLimits("carol", from("192.0.2.9"))
			if wait := try(l); wait != 0 {
				t.Fatal(wait)
			}
			if err := s.TakeBackTry(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Who has the right password and code gets in, nobody else does, and a password of the
// reference is hashed anew by the first login.
func TestLogin(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		old, err := credentials.OfReference("9488aea815cf5fd5835e8a2c7386579d3a503c1c6ae00e4c41e06479c2ac1f1e", "00112233445566778899aabbccddeeff")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetPassword(t.Context(), "ann", User, "bob", old); err != nil {
			t.Fatal(err)
		}
		if err := s.SetPassword(t.Context(), "ann", User, "nopass", ""); err != nil {
			t.Fatal(err)
		}
		secretOf(t, s, "bob", referenceTime)
		a := credentials.Attempt{Name: "bob", Password: "Correct-Horse7", Code: referenceCode, From: netip.MustParseAddr("192.0.2.1"), Now: referenceTime}
		with := func(change func(a *credentials.Attempt)) credentials.Attempt {
			b := a
			change(&b)
			return b
		}
		before := logins(t, s)
		for name, tt := range map[string]struct {
			a    credentials.Attempt
			want error
		}{
			"wrong password":   {with(func(a *credentials.Attempt) { a.Password = "Correct-Horse8" }), credentials.ErrWrong},
			"the stored hash":  {with(func(a *credentials.Attempt) { a.Password = old }), credentials.ErrWrong},
			"unknown name":     {with(func(a *credentials.Attempt) { a.Name = "Bob" }), credentials.ErrWrong},
			"no password set":  {with(func(a *credentials.Attempt) { a.Name, a.Password = "nopass", "" }), credentials.ErrWrong},
			"no code":          {with(func(a *credentials.Attempt) { a.Code = " " }), credentials.ErrNoCode},
			"wrong code":       {with(func(a *credentials.Attempt) { a.Code = "647164" }), credentials.ErrBadCode},
			"late":             {with(func(a *credentials.Attempt) { a.Now = a.Now.Add(time.Minute) }), credentials.ErrBadCode},
			"no recovery code": {with(func(a *credentials.Attempt) { a.Code = "aaaaa-aaaaa-aaaaa-aaaaa" }), credentials.ErrUsed},
		} {
			if _, err := credentials.Login(t.Context(), s, tt.a); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := logins(t, s); after != before {
			t.Errorf("refused logins have changed\n%s\nto\n%s", before, after)
		}
		in, err := credentials.Login(t.Context(), s, a)
		if err != nil || in.Name != "bob" {
			t.Fatalf("%+v, %v", in, err)
		}
		k, err := s.Known(t.Context(), "bob")
		if err != nil || !strings.HasPrefix(k.Password, "$argon2id$") || k.LastStep != 50_000_000 || in.Password != k.Password {
			t.Errorf("%+v after %+v, %v", k, in, err)
		}
		next := with(func(a *credentials.Attempt) { a.Code = "" })
		next.Now = next.Now.Add(time.Hour)
		if _, err := credentials.Login(t.Context(), s, next); !errors.Is(err, credentials.ErrNoCode) {
			t.Errorf("the password, hashed anew: %v", err)
		}
	})
}

// A new secret is in force when a code of it was tried, and not before.
func TestSecret(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		registeredUser(t, s, "bob", "secret")
		secret := credentials.Secret{Algorithm: credentials.SHA256, Key: []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 255}}
		_, digests := credentials.NewRecoveryCodes()
		if err := s.TrySecret(t.Context(), "bob", "bob", referenceCode, referenceTime, digests); err == nil {
			t.Error("there was no secret to try")
		}
		if err := s.OfferSecret(t.Context(), "bob", "bob", secret); err != nil {
			t.Fatal(err)
		}
		if k, _ := s.Known(t.Context(), "bob"); k.Secret != "" {
			t.Error("it is in force before it was tried")
		}
		before := logins(t, s)
		if err := s.TrySecret(t.Context(), "bob", "bob", "000000", referenceTime, digests); !errors.Is(err, credentials.ErrBadCode) || logins(t, s) != before {
			t.Errorf("a wrong code: %v", err)
		}
		if err := s.TrySecret(t.Context(), "bob", "bob", referenceCode, referenceTime, digests); err != nil {
			t.Fatal(err)
		}
		a := credentials.Attempt{Name: "bob", Password: "secret", Code: referenceCode, From: netip.MustParseAddr("192.0.2.1"), Now: referenceTime}
		if _, err := credentials.Login(t.Context(), s, a); !errors.Is(err, credentials.ErrUsed) {
			t.Errorf("the code that was tried: %v", err)
		}
		if err := s.NoSecret(t.Context(), "ann", "bob"); err != nil {
			t.Fatal(err)
		}
		if _, err := credentials.Login(t.Context(), s, a); err != nil {
			t.Errorf("without codes: %v", err)
		}
		if strings.TrimSpace(dumpTable(t, s, "recovery_codes")) != "recovery_codes" {
			t.Error("recovery codes stay")
		}
	})
}

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		registeredUser(t, s, "bob", "secret")
		if err := s.SetRole(t.Context(), "ann", "bob", credentials.Reader); err != nil {
			t.Fatal(err)
		}
		text, d := credentials.NewToken()
		expires := time.Now().Add(time.Hour)
		token, err := s.AddToken(t.Context(), "bob", "bob", "graphs", "read", expires, d)
		if err != nil || token.Number != 1 {
			t.Fatal(token, err)
		}
		got, k, err := s.UseToken(t.Context(), text, time.Now())
		if err != nil || got.Account != "bob" || k.Role != credentials.Reader || credentials.Allowed(k.Role, got.Scopes, credentials.ReadAll) != nil || credentials.Allowed(k.Role, got.Scopes, credentials.ChangeOwn) == nil {
			t.Errorf("%+v, %+v, %v", got, k, err)
		}
		for _, dumped := range []string{text, strings.TrimPrefix(text, "ckdb-")} {
			if strings.Contains(logins(t, s), dumped) {
				t.Error("the token's text is in the database")
			}
		}
		before := logins(t, s)
		other, _ := credentials.NewToken()
		for name, err := range map[string]error{
			"expired": func() error { _, _, err := s.UseToken(t.Context(), text, expires); return err }(),
			"unknown": func() error { _, _, err := s.UseToken(t.Context(), other, time.Now()); return err }(),
			"nothing": func() error { _, _, err := s.UseToken(t.Context(), "", time.Now()); return err }(),
		} {
			if !errors.Is(err, ErrToken) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, d2 := credentials.NewToken()
		for name, f := range map[string]func() (Token, error){
			"too much": func() (Token, error) { return s.AddToken(t.Context(), "bob", "bob", "x", "money", expires, d2) },
			"no name":  func() (Token, error) { return s.AddToken(t.Context(), "bob", "bob", " ", "read", expires, d2) },
			"over": func() (Token, error) {
				return s.AddToken(t.Context(), "bob", "bob", "x", "read", time.Now().Add(-1), d2)
			},
			"for ever": func() (Token, error) {
				return s.AddToken(t.Context(), "bob", "bob", "x", "read", time.Now().Add(2*TokenMost), d2)
			},
			"nobody's":   func() (Token, error) { return s.AddToken(t.Context(), "bob", "eve", "x", "read", expires, d2) },
			"by nobody":  func() (Token, error) { return s.AddToken(t.Context(), "", "bob", "x", "read", expires, d2) },
			"no revoked": func() (Token, error) { return Token{}, s.RevokeToken(t.Context(), "bob", "bob", 7) },
		} {
			if _, err := f(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if after := logins(t, s); after != before {
			t.Errorf("refused, but changed\n%s\nto\n%s", before, after)
		}
		// A role that is less than the token's scopes makes them less.
		if err := s.SetRole(t.Context(), "ann", "bob", credentials.Member); err != nil {
			t.Fatal(err)
		}
		if got, k, err := s.UseToken(t.Context(), text, time.Now()); err != nil || credentials.Allowed(k.Role, got.Scopes, credentials.ReadAll) == nil {
			t.Errorf("a token of somebody who was a reader may still read: %v", err)
		}
		if err := s.RevokeToken(t.Context(), "bob", "bob", 1); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.UseToken(t.Context(), text, time.Now()); !errors.Is(err, ErrToken) {
			t.Errorf("revoked: %v", err)
		}
		if list, err := s.Tokens(t.Context(), "bob"); err != nil || len(list) != 1 || list[0].Revoked == 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// Every change by a person is in the audit log, with before and after.
func TestAuditOfPeople(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		ctx := t.Context()
		_, d := credentials.NewRecoveryCodes()
		for _, err := range []error{
			s.Add(ctx, "ann", User, "bob"),
			s.SetPassword(ctx, "ann", User, "bob", "$argon2id$x"),
			s.Lock(ctx, "ann", User, "bob", "unpaid"),
			s.Unlock(ctx, "eve", User, "bob"),
			s.SetMinimum(ctx, "ann", Worker{User, "bob", "rig"}, 512),
			s.Message(ctx, "ann", User, "bob", "hello"),
			s.SetRole(ctx, "ann", "bob", credentials.Support),
			s.Hold(ctx, "ann", Owner{User, "bob"}, "asked by a court"),
			s.NewRecoveryCodes(ctx, "bob", "bob", d),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		held, err := s.Holds(ctx)
		if err != nil || len(held) != 1 || held[Owner{User, "bob"}] != "asked by a court" {
			t.Errorf("%v, %v", held, err)
		}
		if err := s.Hold(ctx, "ann", Owner{User, "bob"}, ""); err != nil {
			t.Fatal(err)
		}
		if held, err := s.Holds(ctx); err != nil || len(held) != 0 {
			t.Errorf("%v, %v", held, err)
		}
		list, err := s.Audit(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range list {
			before, after := r.Before, r.After
			if strings.HasPrefix(after, "registered, with password ") {
				after = "registered, with password"
			}
			got = append(got, fmt.Sprintf("%d %s %s of %s: %q to %q", r.Number, r.By, r.What, r.Subject, before, after))
		}
		want := []string{
			`10 ann hold of user bob: "asked by a court" to ""`,
			`9 bob recovery codes of user bob: "0 left" to "10 left"`,
			`8 ann hold of user bob: "" to "asked by a court"`,
			`7 ann role of user bob: "" to "support"`,
			`6 ann message of user bob: "" to "hello"`,
			`5 ann minimum of user bob, worker rig: "least difficulty none" to "least difficulty 512"`,
			`4 eve unlock of user bob: "locked: unpaid" to "not locked"`,
			`3 ann lock of user bob: "not locked" to "locked: unpaid"`,
			`2 ann password of user bob: "registered, without a password" to "registered, with password"`,
			`1 ann password of user bob: "not registered" to "registered, without a password"`,
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the audit log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		before := logins(t, s)
		for _, err := range []error{
			s.Lock(ctx, "", User, "bob", "x"), s.SetRole(ctx, "ann", "nobody", credentials.Admin), s.SetRole(ctx, "ann", "bob", "root"), s.Hold(ctx, "ann", Owner{User, "nobody"}, "x"),
			s.Add(ctx, "ann", User, "bob"),
		} {
			if err == nil {
				t.Error("no error")
			}
		}
		if after := logins(t, s); after != before {
			t.Errorf("refused, but changed\n%s\nto\n%s", before, after)
		}
	})
}
