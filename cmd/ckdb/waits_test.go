package main

import (
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/store"
)

// A block that is booked waits for journals alone, and no other waits for it; there is nothing
// to book any more.
func TestWaitsOfBooked(t *testing.T) {
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lower, higher := [32]byte{1}, [32]byte{2}
	list, err := waits(t.Context(), s, []store.PoolBlock{
		{Place: store.Place{Height: 102, Hash: higher}, State: store.InChain, Told: true},
		{Place: store.Place{Height: 101, Hash: lower}, State: store.InChain, Told: true, Held: true},
	})
	for _, hash := range [][32]byte{lower, higher} {
		if err != nil || !strings.HasPrefix(list[hash], "it is about to be computed") {
			t.Errorf("%q, %v", list[hash], err)
		}
	}
}
