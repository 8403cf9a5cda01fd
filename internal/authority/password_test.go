package authority

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
)

// The reference implementation's answer (github.com/P-H-C/phc-winner-argon2, test.c):
// argon2id, version 19, t=2, m=2^16, p=1, "password", salt "somesalt".
const referenceHash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestHashes(t *testing.T) {
	h, err := parseHash(referenceHash)
	if err != nil || !h.matches("password") || h.matches("passwords") {
		t.Errorf("the reference's hash: %v", err)
	}
	one, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	two, _ := HashPassword("secret")
	if h, err = parseHash(one); one == two || err != nil || !h.matches("secret") || h.matches("Secret") {
		t.Errorf("%s and %s, %v", one, two, err)
	}
	for _, bad := range []string{"", "secret", "$2y$10$x", strings.Replace(one, "m=19456", "m=999999999", 1), strings.Replace(one, "v=19", "v=16", 1), strings.Replace(one, "t=2", "t=0", 1), one[:len(one)-40]} {
		if _, err := parseHash(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 300)} {
		if _, err := HashPassword(bad); err == nil {
			t.Errorf("a password of %d bytes", len(bad))
		}
	}
}

func TestCandidates(t *testing.T) {
	for sent, want := range map[string][]string{
		"secret":            {"secret"},
		"secret,d=42":       {"secret,d=42", "secret"},
		"md=1, secret,D=42": {"md=1, secret,D=42", " secret", "secret"},
		"se,cret,d=42":      {"se,cret,d=42", "se,cret", "se", "cret"},
		"d=42":              {"d=42"},
		"a,b,c,d,e,f":       {"a,b,c,d,e,f", "a", "b", "c"},
		"":                  {""},
	} {
		if got := candidates(sent); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", sent, got, want)
		}
	}
}

// cheapHash is HashPassword at a cost that a test can pay a thousand times.
func cheapHash(t *testing.T) string {
	t.Helper()
	sum := argon2.IDKey([]byte("secret"), []byte("saltsalt"), 1, 8, 1, 32)
	return "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + base64.RawStdEncoding.EncodeToString(sum)
}

// A thousand wrong passwords from elsewhere do not keep the owner out, and no
// source gets more than a few looked at.
func TestCase50Guessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, hash := newPasswords(), cheapHash(t)
		try := func(from, user, password string) (bool, time.Duration) {
			q := Question{User: user, Password: password, Remote: netip.MustParseAddr(from)}
			right, wait, err := p.check(t.Context(), &q, hash)
			if err != nil {
				t.Fatal(err)
			}
			return right, wait
		}
		// At the same time, so that none is counted before others are looked at.
		var tries sync.WaitGroup
		var mu sync.Mutex
		looked := 0
		for i := range 1000 {
			tries.Go(func() {
				if _, wait := try("2001:db8::"+fmt.Sprintf("%x", i+1), "bob", fmt.Sprint("guess", i)); wait == 0 {
					mu.Lock()
					looked++
					mu.Unlock()
				}
			})
		}
		tries.Wait()
		if looked != mostGuesses {
			t.Errorf("%d of 1000 guesses from one network are looked at, want %d", looked, mostGuesses)
		}
		if right, wait := try("2001:db8:0:1::1", "bob", "secret"); !right || wait != 0 {
			t.Errorf("the owner elsewhere: %v, wait %v", right, wait)
		}
		// Known to be right: also from where somebody guesses.
		if right, _ := try("2001:db8::1", "bob", "secret"); !right {
			t.Error("the owner beside who guesses")
		}
		// The same wrong password again is no guess, and is not computed again.
		if right, wait := try("192.0.2.1", "bob", "old"); right || wait != 0 {
			t.Errorf("%v, %v", right, wait)
		}
		for range 50 {
			if _, wait := try("192.0.2.1", "bob", "old"); wait != 0 {
				t.Fatal("a miner that repeats its old password is taken for one that guesses")
			}
		}
		// Many accounts from one source.
		looked = 0
		for i := range 500 {
			if _, wait := try("192.0.2.7", fmt.Sprint("user", i), "123456"); wait == 0 {
				looked++
			}
		}
		if looked != mostOfAll {
			t.Errorf("%d of 500 accounts are tried from one source, want %d", looked, mostOfAll)
		}
		time.Sleep(guessTime)
		if _, wait := try("192.0.2.7", "user499", "123456"); wait != 0 {
			t.Errorf("after the time %v", wait)
		}
		// Right ones are no guesses.
		for i := range 50 {
			if right, wait := try("192.0.2.9", fmt.Sprint("farm", i), "secret"); !right || wait != 0 {
				t.Fatalf("%d: %v, %v", i, right, wait)
			}
		}
	})
}

// Whatever comes is refused or taken, and what is taken can be sent on.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		`{"questions":[{"id":1,"user":"bob","worker":"bob.rig1","password":"x","remote":"::1","payable":true}]}`,
		`{"answers":[{"id":1,"verdict":"allowed","minimum":512,"password":true}]}`,
		`{"changes":[{"number":7,"kind":"minimum","user":"bob","worker":"bob.rig1","minimum":64}],"number":7}`,
		`{"changes":[{"number":8,"kind":"lock","user":"bob","text":"unpaid"}]}`,
		`{"ping":true}`, `{"answers":[{"minimum":-1}]}`, `{"answers":[{"verdict":"x"}]}`, `[]`, `{`,
	} {
		f.Add(append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := readMessage(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := write(&out, m); err != nil {
			t.Fatal(err)
		}
		a := newAnswers()
		for i := range m.Changes {
			a.apply(&m.Changes[i])
		}
		for i := range m.Answers {
			q := Question{User: "bob", Worker: "bob.rig1"}
			if a.put(&q, &m.Answers[i]); m.Answers[i].Verdict == Allowed {
				if n, ok := a.find(&q); !ok || n.Verdict != Allowed {
					t.Fatalf("%+v is remembered as %+v, %v", m.Answers[i], n, ok)
				}
			}
		}
	})
}
