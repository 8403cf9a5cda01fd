package authority

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/ckpool/ckpool/internal/credentials"
)

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

// slowTries counts tries as a database does that is far away.
type slowTries struct {
	Accounts // the rest is not asked for

	mu    sync.Mutex
	n     map[string]int // guarded by mu; by key
	tries int            // guarded by mu; in all
}

func (s *slowTries) AddTry(_ context.Context, limits []credentials.Limit) (time.Duration, error) {
	s.mu.Lock()
	s.tries++
	wait := time.Duration(0)
	for _, l := range limits {
		if s.n[l.Key] >= l.Most {
			wait = l.Within
		}
	}
	if wait == 0 {
		for _, l := range limits {
			s.n[l.Key]++
		}
	}
	s.mu.Unlock()
	time.Sleep(100 * time.Millisecond)
	return wait, nil
}

func (s *slowTries) TakeBackTry(_ context.Context, limits []credentials.Limit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range limits {
		s.n[l.Key]--
	}
	return nil
}

// A farm that connects anew at once has the right password, however many processors there are
// to look at it: none of its miners is told that it guesses. The same password again and again
// is computed a few times.
func TestRightAtOnce(t *testing.T) {
	sum := argon2.IDKey([]byte("secret"), []byte("saltsalt"), 1, 8, 1, 32)
	hash := "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + base64.RawStdEncoding.EncodeToString(sum)
	for name, c := range map[string]struct {
		password func(i int) string
		most     int // tries
	}{
		"one": {func(int) string { return "secret" }, together}, "with options": {func(i int) string { return fmt.Sprint("secret,d=", i) }, 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowTries{n: map[string]int{}}
				p := newPasswords(s)
				p.computing = make(chan struct{}, 60)
				var miners sync.WaitGroup
				for i := range 60 {
					miners.Go(func() {
						right, wait, err := p.check(t.Context(), &Question{User: "farm", Password: c.password(i), Remote: netip.MustParseAddr("192.0.2.9")}, hash)
						if !right || wait > 0 || err != nil {
							t.Errorf("miner %d: %v, waits %v, %v", i, right, wait, err)
						}
					})
				}
				miners.Wait()
				if s.tries > c.most || len(p.gates) > 0 {
					t.Errorf("%d tries, %d gates", s.tries, len(p.gates))
				}
			})
		})
	}
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
