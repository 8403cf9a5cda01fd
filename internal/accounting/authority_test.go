package accounting

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ckpool/control"
	"ckpool/internal/authority"
	"ckpool/internal/credentials"
	"ckpool/internal/store"
	"ckpool/internal/testkit/wait"
)

// heard are the changes that a pool was told.
type heard chan string

func (h heard) Lock(user, text string)              { h <- "lock " + user + " " + text }
func (h heard) SetMinimum(worker string, d float64) { h <- "minimum " + worker }
func (h heard) Message(user, text string)           { h <- "message " + user + " " + text }

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
	for _, err := range []error{
		s.SetPassword(t.Context(), "ann", store.User, "alice", hash),
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
	wait.Until(t, 10*time.Second, "a connection", c.Up)
	ask := func(q authority.Question) authority.Answer {
		t.Helper()
		answers := make(chan authority.Answer, 1)
		if a, ok := c.Ask(q, func(a authority.Answer) { answers <- a }); ok {
			return a
		}
		return <-answers
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
		{authority.Question{User: "stranger", Worker: "stranger"}, authority.Refused, 0},
		{authority.Question{User: "mallory", Worker: "mallory.x"}, authority.Locked, 0},
		{authority.Question{User: address, Worker: address + ".rig", Payable: true}, authority.Allowed, 0},
	} {
		if a := ask(tt.q); a.Verdict != tt.verdict || a.Minimum != tt.minimum {
			t.Errorf("%+v: %+v", tt.q, a)
		}
	}
	for len(told) > 0 { // of the state at the start
		<-told
	}
	hears := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("does not hear %q", want)
		}
	}
	for _, err := range []error{
		s.Lock(t.Context(), "ann", store.Address, address, "stolen"),
		s.SetMinimum(t.Context(), "ann", store.Worker{Kind: store.User, Account: "alice", Name: "_rig2"}, 64),
		s.Message(t.Context(), "ann", store.User, "alice", "hello"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	hears("lock " + address + " stolen")
	hears("minimum alice_rig2")
	hears("message alice hello")
	if a := ask(authority.Question{User: address, Worker: address, Payable: true}); a.Verdict != authority.Locked {
		t.Errorf("%+v", a)
	}
}
