package accounting

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// heard are the changes that a pool was told.
type heard chan string

func (h heard) Lock(user, text string)               { h <- "lock " + user + " " + text }
func (h heard) SetMinimum(worker string, d float64)  { h <- "minimum " + worker }
func (h heard) SetPrivate(user string, private bool) { h <- fmt.Sprint("privacy ", user, " ", private) }
func (h heard) Message(user, text string)            { h <- "message " + user + " " + text }

// What an operator says of accounts in the database, a pool that asks on the socket is
// answered, and hears at once.
func TestAuthority(t *testing.T) {
	s, err := store.Open(t.Context(), "sqlite:"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	hash, err := credentials.HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	imported, err := credentials.OfReference(strings.Repeat("00", 32), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.SetPassword(t.Context(), "ann", store.User, "alice", hash),
		s.SetPassword(t.Context(), "ann", store.User, "carol", imported),
		s.SetMinimum(t.Context(), "ann", store.Worker{Kind: store.User, Account: "alice", Name: "rig1"}, 512),
		s.Lock(t.Context(), "ann", store.User, "mallory", "unpaid"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "ckdb")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(dir, -1)
	authority.NewServer(Authority{s}, "ckdb test", nil).Commands(server)
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(t.Context())
	}()
	told := make(heard, 100)
	c := authority.NewClient(authority.Options{Place: authority.Place{Dir: dir, Name: "ckdb"}, Program: "test", Miners: told})
	go c.Run(t.Context())
	wait.Until(t, patience, "a connection", c.Up)
	ask := func(q authority.Question) authority.Answer {
		t.Helper()
		for until := time.Now().Add(patience); ; {
			answers := make(chan authority.Answer, 1)
			a, ok := c.Ask(q, func(a authority.Answer) { answers <- a })
			if !ok {
				a = <-answers
			}
			if a.Verdict != authority.Unanswered || time.Now().After(until) { // a busy machine may take too long
				return a
			}
		}
	}
	const address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	for _, tt := range []struct {
		q       authority.Question
		verdict authority.Verdict
		minimum float64
	}{
		{authority.Question{User: "alice", Worker: "alice.rig1", Password: "secret"}, authority.Allowed, 512},
		{authority.Question{User: "alice", Worker: "alice.rig2", Password: "secret"}, authority.Allowed, 0},
		{authority.Question{User: "alice", Worker: "alice.rig3", Password: "wrong"}, authority.Refused, 0},
		{authority.Question{User: "carol", Worker: "carol.rig", Password: "x"}, authority.Allowed, 0}, // as the reference let it
		{authority.Question{User: "stranger", Worker: "stranger"}, authority.Refused, 0},
		{authority.Question{User: "mallory", Worker: "mallory.x"}, authority.Locked, 0},
		{authority.Question{User: address, Worker: address + ".rig", Payable: true}, authority.Allowed, 0},
	} {
		if a := ask(tt.q); a.Verdict != tt.verdict || a.Minimum != tt.minimum {
			t.Errorf("%+v: %+v", tt.q, a)
		}
	}
	all, err := Authority{s}.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, "the state at the start", func() bool { return c.Position() == all })
	for len(told) > 0 { // of that
		<-told
	}
	hears := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Errorf("does not hear %q", want)
		}
	}
	for _, err := range []error{
		s.Lock(t.Context(), "ann", store.Address, address, "stolen"),
		s.SetMinimum(t.Context(), "ann", store.Worker{Kind: store.User, Account: "alice", Name: "_rig2"}, 64),
		s.Message(t.Context(), "ann", store.User, "alice", "hello"),
		s.SetPrivate(t.Context(), "ann", store.Address, address, true),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	hears("lock " + address + " stolen")
	hears("minimum alice_rig2")
	hears("message alice hello")
	hears("privacy " + address + " true")
	if a := ask(authority.Question{User: address, Worker: address, Payable: true}); a.Verdict != authority.Locked {
		t.Errorf("%+v", a)
	}
}

// 50: a thousand wrong passwords from elsewhere do not keep an owner's miners out, no
// source gets more than a few looked at, and a restart of ckdb forgives nothing.
func TestCase50(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s := open(t, where)
		// argon2id at a cost that a test can pay a thousand times.
		sum := argon2.IDKey([]byte("secret"), []byte("saltsalt"), 1, 8, 1, 32)
		hash := "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + base64.RawStdEncoding.EncodeToString(sum)
		for _, name := range []string{"bob", "farm"} {
			if err := s.SetPassword(t.Context(), "ann", store.User, name, hash); err != nil {
				t.Fatal(err)
			}
		}
		server := authority.NewServer(Authority{s}, "ckdb test", func(e event.Event) { t.Log(e.Text) })
		try := func(from, user, password string) authority.Answer {
			return server.Answer(t.Context(), authority.Question{User: user, Worker: user, Password: password, Remote: netip.MustParseAddr(from)})
		}
		looked := 0
		for half := range 2 {
			// Many at the same time, so that none is counted before others are looked at.
			var tries sync.WaitGroup
			var mu sync.Mutex
			slots := make(chan struct{}, 8) // which one at a time are computed for, and none waits too long
			for i := range 500 {
				slots <- struct{}{}
				tries.Go(func() {
					defer func() { <-slots }()
					a := try(fmt.Sprintf("2001:db8::%x", i+1), "bob", fmt.Sprint("guess", half, i))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case a.Text == "Wrong password":
						looked++
					case !strings.HasPrefix(a.Text, "Too many wrong passwords from your address, retry in "):
						t.Errorf("%+v", a)
					}
				})
			}
			tries.Wait()
			s.Close()
			s = open(t, where)
			server = authority.NewServer(Authority{s}, "ckdb test", nil)
		}
		if looked != 10 {
			t.Errorf("%d of 1000 guesses from one network are looked at, want 10", looked)
		}
		if a := try("2001:db8:0:1::1", "bob", "secret"); a.Verdict != authority.Allowed {
			t.Errorf("the owner elsewhere: %+v", a)
		}
		// Known to be right: also from where somebody guesses.
		if a := try("2001:db8::1", "bob", "secret"); a.Verdict != authority.Allowed {
			t.Errorf("the owner beside who guesses: %+v", a)
		}
		// The same wrong password again is no guess, and is not computed again.
		for range 50 {
			if a := try("192.0.2.1", "bob", "old"); a.Text != "Wrong password" {
				t.Fatalf("a miner that repeats its old password is taken for one that guesses: %+v", a)
			}
		}
		// Three guesses that are sent together are three: after nine a tenth is looked at.
		for i, want := range []string{"Wrong password", "Wrong password", "Wrong password", "Wrong password", "Too many wrong passwords"} {
			if a := try("192.0.2.3", "bob", fmt.Sprintf("a%d,b%d,c%d", i, i, i)); !strings.HasPrefix(a.Text, want) {
				t.Errorf("guess %d: %+v", i, a)
			}
		}
		// Right ones are no guesses.
		for i := range 30 {
			if a := try("192.0.2.9", "farm", "secret,d="+fmt.Sprint(i)); a.Verdict != authority.Allowed {
				t.Fatalf("%d: %+v", i, a)
			}
		}
	})
}
