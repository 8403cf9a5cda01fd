package credentials

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// The reference implementation's answer (github.com/P-H-C/phc-winner-argon2, test.c):
// argon2id, version 19, t=2, m=2^16, p=1, "password", salt "somesalt".
const referenceHash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestHashes(t *testing.T) {
	h, err := ParseHash(referenceHash)
	if err != nil || !h.Matches("password") || h.Matches("passwords") || h.Weak() {
		t.Errorf("the reference's hash: %v", err)
	}
	one, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	two, _ := HashPassword("secret")
	if h, err = ParseHash(one); one == two || err != nil || !h.Matches("secret") || h.Matches("Secret") {
		t.Errorf("%s and %s, %v", one, two, err)
	}
	for _, bad := range []string{"", "secret", "$2y$10$x", strings.Replace(one, "m=19456", "m=999999999", 1), strings.Replace(one, "v=19", "v=16", 1), strings.Replace(one, "t=2", "t=0", 1), one[:len(one)-40],
		"$ckdb-sha256$", "$ckdb-sha256$00$11", "$ckdb-sha256$zz$" + strings.Repeat("0", 64)} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 300)} {
		if _, err := HashPassword(bad); err == nil {
			t.Errorf("a password of %d bytes", len(bad))
		}
	}
}

// Of the reference's ckdb: the password "Correct-Horse7" as its site and its database
// keep it, with a salt and without.
func TestReferencePassword(t *testing.T) {
	const p, salt, stored = "f0e8a676aa21bc21e252f2fe34bc7bdc45f596e9ee873af90c5f4a2d49877314", "00112233445566778899aabbccddeeff", "9488aea815cf5fd5835e8a2c7386579d3a503c1c6ae00e4c41e06479c2ac1f1e"
	for _, kept := range [][2]string{{stored, salt}, {p, ""}, {strings.ToUpper(stored), salt}} {
		text, err := OfReference(kept[0], kept[1])
		if err != nil {
			t.Fatal(err)
		}
		if h, err := ParseHash(text); err != nil || !h.Matches("Correct-Horse7") || h.Matches("Correct-Horse8") || h.Matches(p) || !h.Weak() {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range [][2]string{{"", salt}, {stored[1:], salt}, {"*", ""}, {stored, "x"}} {
		if text, err := OfReference(bad[0], bad[1]); err == nil {
			t.Errorf("%q is taken as %q", bad, text)
		}
	}
}

// RFC 6238, appendix B, with 8 digits; and the reference's ckdb: SHA-256, 6 digits.
func TestCodes(t *testing.T) {
	long := []byte("12345678901234567890123456789012")
	for _, v := range []struct {
		algorithm Algorithm
		key       []byte
		at        int64
		want      uint32
	}{
		{SHA1, long[:20], 59, 94287082}, {SHA1, long[:20], 1111111109, 7081804}, {SHA1, long[:20], 1111111111, 14050471},
		{SHA1, long[:20], 1234567890, 89005924}, {SHA1, long[:20], 2000000000, 69279037}, {SHA1, long[:20], 20000000000, 65353130},
		{SHA256, long, 59, 46119246}, {SHA256, long, 1111111109, 68084774}, {SHA256, long, 1111111111, 67062674},
		{SHA256, long, 1234567890, 91819424}, {SHA256, long, 2000000000, 90698825}, {SHA256, long, 20000000000, 77737706},
	} {
		if got := (Secret{v.algorithm, v.key}).code(v.at/30, 100_000_000); got != v.want {
			t.Errorf("%s at %d: %08d, want %08d", v.algorithm, v.at, got, v.want)
		}
	}
	s, err := ParseSecret("SHA256:AAAQEAYEAUDAOCH7")
	if err != nil || !bytes.Equal(s.Key, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 255}) {
		t.Fatalf("%x, %v", s.Key, err)
	}
	if step, ok := s.Match("647163", time.Unix(1500000000, 0), 0); !ok || step != 50_000_000 {
		t.Errorf("step %d, %v", step, ok)
	}
	for _, bad := range []string{"", "SHA1:", "MD5:AAAQEAYEAUDAOCH7", "AAAQEAYEAUDAOCH7", "SHA1:AAAQEAYE", "SHA1:a", "SHA1:" + strings.Repeat("A", 120)} {
		if _, err := ParseSecret(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad[1:]) && len(bad) > 6 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A code is good in its step and the ones beside it, and not again once a step was used.
func TestMatch(t *testing.T) {
	s := NewSecret()
	if again, err := ParseSecret(s.String()); err != nil || again.String() != s.String() || len(s.Key) != 20 || NewSecret().String() == s.String() {
		t.Fatal(again, err)
	}
	const step = 50_000_000
	s.Key = []byte("12345678901234567890") // no two of these steps have one code
	now := time.Unix(step*30+29, 0)
	for off := int64(-3); off <= 3; off++ {
		code := fmt.Sprintf("%06d", s.code(step+off, 1_000_000))
		got, ok := s.Match(code, now, 0)
		if want := off >= -1 && off <= 1; ok != want || ok && got != step+off {
			t.Errorf("%+d steps: %d, %v", off, got, ok)
		}
		if _, ok := s.Match(code[:3]+" "+code[3:], now, step+off); ok {
			t.Errorf("%+d steps, used: it is taken", off)
		}
		if _, ok := s.Match(code[:3]+" "+code[3:], now, step+off-1); ok != (off >= -1 && off <= 1) {
			t.Errorf("%+d steps, behind the one used: %v", off, ok)
		}
	}
	for _, bad := range []string{"", "12345", "1234567", "abcdef"} {
		if _, ok := s.Match(bad, now, 0); ok {
			t.Errorf("%q is a code", bad)
		}
	}
	u, err := url.Parse(s.URL("Our pool", "bob"))
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Our pool:bob" || u.Query().Get("secret") != s.Base32() || u.Query().Get("algorithm") != "SHA1" || u.Query().Get("issuer") != "Our pool" {
		t.Errorf("%s, %v", u, err)
	}
}

func TestSecrets(t *testing.T) {
	codes, digests := NewRecoveryCodes()
	if len(codes) != RecoveryCodes || len(digests) != RecoveryCodes {
		t.Fatal(codes)
	}
	for i, code := range codes {
		if slices.Index(codes, code) != i || len(code) != 23 {
			t.Errorf("codes %q", codes)
		}
		for _, spelled := range []string{code, strings.ToUpper(code), strings.ReplaceAll(code, "-", " "), strings.ReplaceAll(code, "-", "")} {
			if d, ok := RecoveryDigest(spelled); !ok || d != digests[i] {
				t.Errorf("%q is not known again", spelled)
			}
		}
	}
	for _, bad := range []string{"", "123456", codes[0][1:]} {
		if _, ok := RecoveryDigest(bad); ok {
			t.Errorf("%q may be a code", bad)
		}
	}
	text, d := NewToken()
	other, _ := NewToken()
	if again, ok := TokenDigest(text); !ok || again != d || text == other || strings.Contains(text, hex.EncodeToString(d[:])) {
		t.Error(text)
	}
	if _, ok := TokenDigest(codes[0]); ok {
		t.Error("a recovery code is a token")
	}
}

func TestRoles(t *testing.T) {
	for role, want := range map[Role]string{
		Member: "read-own change-own", Reader: "read-own change-own read", Support: "read-own change-own read miners",
		Accountant: "read-own change-own read money", Admin: "read-own change-own read miners money administer",
	} {
		for _, s := range []Scope{ReadOwn, ChangeOwn, ReadAll, Miners, Money, Administer} {
			may := slices.Contains(strings.Fields(want), string(s))
			if err := Allowed(role, nil, s); (err == nil) != may || err != nil && !errors.Is(err, ErrScope) {
				t.Errorf("%s, %s: %v", role, s, err)
			}
			if err := Allowed(role, []Scope{ReadOwn}, s); (err == nil) != (s == ReadOwn) {
				t.Errorf("%s, %s, by a token that may only read: %v", role, s, err)
			}
			if err := Allowed(role, []Scope{}, s); err == nil {
				t.Errorf("%s, %s, by a token that may do nothing", role, s)
			}
		}
	}
	if list, err := ParseScopes(Reader, "read, read-own,read"); err != nil || !slices.Equal(list, []Scope{ReadAll, ReadOwn}) {
		t.Error(list, err)
	}
	for _, bad := range []string{"", "money", "read,", "x"} {
		if list, err := ParseScopes(Reader, bad); err == nil {
			t.Errorf("%q: %v", bad, list)
		}
	}
	for _, bad := range []string{"root", "Admin"} {
		if r, err := ParseRole(bad); err == nil {
			t.Errorf("%q: %v", bad, r)
		}
	}
}

// A network is one source: who has an address of it has all.
func TestSource(t *testing.T) {
	for text, want := range map[string]string{"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:0:1:2:3:4:5": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64"} {
		if got := Source(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// What is read is kept, and written the same; what is not is an error.
func FuzzParse(f *testing.F) {
	for _, text := range []string{referenceHash, "$ckdb-sha256$00$" + strings.Repeat("0", 64), "SHA1:GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "SHA256:AAAQEAYEAUDAOCH7", "$argon2id$v=19$m=8,t=1,p=1$$"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSecret(text); err == nil {
			if again, err := ParseSecret(s.String()); err != nil || again.String() != s.String() {
				t.Fatalf("%q is %q", text, s)
			}
			s.Match(text, time.Unix(1500000000, 0), 0)
		}
		if h, err := ParseHash(text); err == nil && h.memory <= 64 && h.passes <= 2 {
			h.Matches(text)
		}
	})
}
