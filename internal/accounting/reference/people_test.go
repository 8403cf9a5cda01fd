package reference

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store"
)

// Of the reference: the password "Correct-Horse7" with a salt and without, and the key
// whose code at 1500000000 is 647163.
const (
	salted    = "9488aea815cf5fd5835e8a2c7386579d3a503c1c6ae00e4c41e06479c2ac1f1e"
	salt      = "00112233445566778899aabbccddeeff"
	unsalted  = "f0e8a676aa21bc21e252f2fe34bc7bdc45f596e9ee873af90c5f4a2d49877314"
	secretKey = "000102030405060708ff"
	secret32  = "AAAQEAYEAUDAOCH7"
	code      = "647163"
)

// insertUser has a user in the reference's database, in the place of what it was before.
func insertUser(t testing.TB, db *sql.DB, id int, name, status, hash, salt, data string) {
	t.Helper()
	for _, query := range []string{
		fmt.Sprintf("update users set expirydate = createdate where userid = %d", id),
		fmt.Sprintf("insert into users (userid, username, status, passwordhash, salt, userdata, createdate, expirydate) values (%d, '%s', '%s', '%s', '%s', '%s', "+
			"coalesce((select max(createdate) + interval '1 second' from users), '2017-06-16 06:00:00+00'), '6666-06-06 06:06:06+00')", id, name, status, hash, salt, data),
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
}

// Users log in with the password and the codes that they had, until they have one of
// their own here; and nobody who could not there. Miners need no password, as there.
func TestPeople(t *testing.T) {
	for kind, empty := range databases {
		t.Run(kind, func(t *testing.T) {
			url, db, do := theirs(t)
			do(schema)
			testPeople(t, url, db, open(t, empty(t)))
		})
	}
}

func testPeople(t *testing.T, url string, db *sql.DB, s *store.Store) {
	insertUser(t, db, 1, "Alice", "", salted, salt, "x=00,totpauth="+secretKey)
	insertUser(t, db, 3, "bob", "", unsalted, "", "")
	insertUser(t, db, 4, "carol", "", strings.ToUpper(salted), salt, "totpauth="+secretKey+",test2fa=59")
	insertUser(t, db, 5, "auto", "", "*", "", "")
	insertUser(t, db, 6, "eve", "banned", unsalted, "", "")
	insertUser(t, db, 7, "frank", "", unsalted, "", "totpauth=zz")
	insertUser(t, db, 8, "grace", "", salted, "x", "")
	insertUser(t, db, 9, "ALICE", "", unsalted, "", "")
	var told []string
	read := func() DatabaseSummary {
		t.Helper()
		told = nil
		i := DatabaseImport{URL: url, Name: "old", Network: "main", Store: s, By: "ann", Damaged: func(err error) { told = append(told, err.Error()) }}
		sum, err := i.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	logIn := func(name, password, code string) error {
		t.Helper()
		a := credentials.Attempt{Name: name, Password: password, Code: code, From: netip.MustParseAddr("192.0.2.1"), Now: time.Unix(1_500_000_000, 0)}
		_, err := credentials.Login(t.Context(), s, a)
		return err
	}
	audit := func() (lines []string) {
		t.Helper()
		list, err := s.Audit(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			lines = append(lines, fmt.Sprintf("%s %s of %s: %q to %q", r.By, r.What, r.Subject, r.Before, r.After))
		}
		return lines
	}

	sum := read()
	if sum.Passwords != 4 || sum.Secrets != 1 || sum.Damaged != 3 {
		t.Errorf("%+v", sum)
	}
	want := []string{`username "frank": its one-time codes`, `username "grace": salt of a password`, `username "ALICE": a user named Alice is registered`}
	if len(told) != len(want) {
		t.Fatalf("told %q", told)
	}
	for k := range want {
		if !strings.Contains(told[k], want[k]) {
			t.Errorf("told %q, want %q", told[k], want[k])
		}
	}
	rows := audit()
	for _, secret := range []string{salted, unsalted, salt, secretKey, secret32, "ckdb-sha256"} {
		if text := strings.ToLower(strings.Join(append(rows, told...), "\n")); strings.Contains(text, strings.ToLower(secret)) {
			t.Errorf("%s is in the audit log or an error:\n%s", secret, text)
		}
	}
	// The first that there is of a user must not let it in with less than all, if the import ends there.
	alice := []string{`ann password of user Alice: "not registered" to "registered, with a password of the reference"`, `ann one-time codes of user Alice: "off" to "on, imported"`}
	if got := rows[len(rows)-2:]; got[0] != alice[0] || got[1] != alice[1] {
		t.Errorf("the audit log begins with %q", got)
	}
	if sum := read(); len(audit()) != len(rows) || sum.New || sum.Passwords != 4 {
		t.Errorf("a second import changes: %+v\n%s", sum, strings.Join(audit(), "\n"))
	}
	for _, name := range []string{"auto", "frank", "grace", "ALICE", "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"} {
		for _, password := range []string{"Correct-Horse7", "", "*"} {
			if err := logIn(name, password, code); !errors.Is(err, credentials.ErrWrong) {
				t.Errorf("%s with %q: %v", name, password, err)
			}
		}
	}
	for name, locked := range map[string]bool{"Alice": false, "auto": false, "frank": false, "eve": true} {
		if a, err := s.Account(t.Context(), store.Worker{Kind: store.User, Account: name}); err != nil || !a.Registered || a.Locked != locked || locked && a.Reason != "banned" {
			t.Errorf("%+v, %v", a, err)
		}
	}

	// Changed there since, and taken; once somebody has logged in here, not any more.
	const second = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5" // of "12345"
	insertUser(t, db, 3, "bob", "", second, "", "")
	read()
	if err := logIn("bob", "12345", ""); err != nil {
		t.Errorf("bob's new password: %v", err)
	}
	if err := logIn("Alice", "Correct-Horse7", ""); !errors.Is(err, credentials.ErrNoCode) {
		t.Errorf("Alice without a code: %v", err)
	}
	if err := errors.Join(logIn("Alice", "Correct-Horse7", code), logIn("carol", "Correct-Horse7", "")); err != nil {
		t.Error(err)
	}
	insertUser(t, db, 3, "bob", "", unsalted, "", "")
	insertUser(t, db, 1, "Alice", "", unsalted, "", "")
	rows = audit()
	if sum := read(); len(audit()) != len(rows) {
		t.Errorf("what has a password of its own is changed: %+v\n%s", sum, strings.Join(audit(), "\n"))
	}
	if err := logIn("bob", "Correct-Horse7", ""); !errors.Is(err, credentials.ErrWrong) {
		t.Errorf("bob by the password there: %v", err)
	}
	if err := logIn("bob", "12345", ""); err != nil {
		t.Errorf("bob by its own: %v", err)
	}
	for _, name := range []string{"bob", "Alice", "carol"} {
		if k, err := s.Known(t.Context(), name); err != nil || !strings.HasPrefix(k.Password, "$argon2id$") {
			t.Errorf("the password of %s is not hashed anew: %v", name, err)
		}
	}
	// Codes that were begun here stay.
	own := credentials.NewSecret()
	if err := s.ImportSecret(t.Context(), "ann", "eve", own); err != nil {
		t.Fatal(err)
	}
	insertUser(t, db, 6, "eve", "", unsalted, "", "totpauth="+secretKey)
	read()
	if k, err := s.Known(t.Context(), "eve"); err != nil || k.Secret != own.String() {
		t.Errorf("eve's own secret is another one: %v", err)
	}
}

// What is read of a user is good, and an error repeats nothing of it.
func FuzzParsePerson(f *testing.F) {
	f.Add(salted, salt, "totpauth="+secretKey)
	f.Add(unsalted, "", "totpauth="+secretKey+",test2fa=59")
	f.Add("*", "x", "totpauth=zz")
	f.Fuzz(func(t *testing.T, hash, salt, data string) {
		p, err := parsePerson("bob", "", hash, salt, data)
		if err != nil {
			for _, secret := range []string{hash, salt, data} {
				if len(secret) > 8 && strings.Contains(err.Error(), secret) {
					t.Errorf("%q is in %v", secret, err)
				}
			}
			return
		}
		if p.password != "" {
			if h, err := credentials.ParseHash(p.password); err != nil || !h.Weak() {
				t.Errorf("password %q: %v", p.password, err)
			}
		}
		if p.secret != nil {
			if _, err := credentials.ParseSecret(p.secret.String()); err != nil {
				t.Error(err)
			}
		}
	})
}

// Who is not paid there is not paid here, user or address, until a person here says so; a
// later import does not undo that.
func TestHolds(t *testing.T) {
	for kind, empty := range databases {
		t.Run(kind, func(t *testing.T) {
			url, db, do := theirs(t)
			const current, gone = "'2017-06-16 06:00:00+00', '6666-06-06 06:06:06+00'", "'2017-06-16 06:00:00+00', '2017-06-17 06:00:00+00'"
			do(schema)
			insertUser(t, db, 3, "bob", "", unsalted, "", "")
			do("insert into useratts values (1, 'HoldPayouts', " + current + "), (2, 'HoldPayouts', " + current + "), (3, 'HoldPayouts', " + gone + "), (3, 'PayAddresses', " + current + ")")
			s := open(t, empty(t))
			const address = "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"
			const why = "HoldPayouts of the database that was imported"
			alice := store.Owner{Kind: store.User, Name: "Alice"}
			imported := func(held int, want map[store.Owner]string) {
				t.Helper()
				sum, err := (&DatabaseImport{URL: url, Name: "old", Network: "main", Store: s, By: "ann"}).Run(t.Context())
				if err != nil || sum.Held != held || sum.LeftOut["useratts"] != 1 {
					t.Errorf("%+v, %v", sum, err)
				}
				if got, err := s.Holds(t.Context()); err != nil || !maps.Equal(got, want) {
					t.Errorf("%v, %v, want %v", got, err, want)
				}
			}
			both := map[store.Owner]string{alice: why, {Kind: store.Address, Name: address}: why}
			imported(2, both)
			imported(2, both)
			if rows, err := s.Audit(t.Context(), 0); err != nil || strings.Count(fmt.Sprint(rows), why) != 2 {
				t.Errorf("%v, %v", rows, err)
			}
			if err := s.Hold(t.Context(), "ann", alice, ""); err != nil {
				t.Fatal(err)
			}
			do("insert into useratts values (3, 'HoldPayouts', " + current + ")")
			delete(both, alice)
			both[store.Owner{Kind: store.User, Name: "bob"}] = why
			imported(3, both)
		})
	}
}
