package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/accounting/reference"
	"github.com/ckpool/ckpool/internal/store"
)

func TestRetention(t *testing.T) {
	now := time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)
	const today, day, second = 20648, 86400, 1_000_000 // 2026-07-14
	const noon = today*day + day/2
	const month = noon - 30*day
	type pools map[byte][2]int64 // how far each is stored: number and time
	live, old := []int64{today - 40, today - 1, today, today + 1, today + 2}, []int64{today - 3000, today - 2999, today - 2998}
	r := retention{keep: 30}
	for _, step := range []struct {
		name string
		at   pools
		days []int64
		want int64
	}{
		{"nothing is stored", nil, nil, 0},
		{"a pool mines", pools{1: {1, noon}}, live, month},
		{"its clock is ahead", pools{1: {2, noon + 365*day}}, live, month},
		{"it was ended", pools{1: {2, noon - 10*day}}, live, month - 10*day},
		{"an import is about to store", pools{1: {3, noon}, 2: {0, 0}}, live, 0},
		{"it does", pools{1: {4, noon}, 2: {1, noon - 3000*day}}, slices.Concat(old, live), (today - 3001) * day},
		{"it is at the same day yet", pools{1: {5, noon}, 2: {2, noon - 3000*day + 9}}, slices.Concat(old, live), (today - 3001) * day},
		{"it has come further", pools{1: {6, noon}, 2: {3, noon - 2998*day}}, slices.Concat(old, live), (today - 2999) * day},
		{"it has ended", pools{1: {7, noon}, 2: {3, noon - 2998*day}}, slices.Concat(old, live), month},
		{"a pool's clock is behind", pools{1: {8, noon}, 2: {3, noon - 2998*day}, 3: {1, noon - 300*day}}, live, month},
		{"it goes on so", pools{1: {9, noon}, 2: {3, noon - 2998*day}, 3: {2, noon - 300*day}}, live, month},
	} {
		var list []store.InstanceStatus
		for id, at := range step.at {
			list = append(list, store.InstanceStatus{Instance: store.Instance{ID: [16]byte{id}}, At: store.Position{Number: at[0]}, Time: at[1] * second})
		}
		if got := r.before(list, step.days, now); got != step.want {
			t.Errorf("%s: before %v, want %v", step.name, time.Unix(got, 0).UTC(), time.Unix(step.want, 0).UTC())
		}
	}
}

// Old shares that are imported while a pool mines are all taken, however often days are dropped
// meanwhile; afterwards their days are.
func TestRetentionBesideImport(t *testing.T) {
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pool := store.Instance{ID: [16]byte{1}, Name: "pool", Network: "main"}
	if _, err := s.Register(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), &store.Batch{Instance: pool.ID, To: store.Position{Epoch: 1, Number: 1}, At: time.Now().UnixMicro()}); err != nil {
		t.Fatal(err)
	}
	running, r := &service{store: s}, retention{keep: 30}
	drop := func() {
		t.Helper()
		if err := running.drop(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	drop()
	dir := t.TempDir()
	for hour := range 3 {
		line := fmt.Sprintf(`shares.1.json={"workinfoid":6432090123456,"ntime":"5943a1c1","diff":1024.0,"sdiff":2000.0,"hash":"000000000020c47ae147ae147ae147ae0abcdef000000000000000000000000%d","result":true,"errn":0,"createdate":"1497594049,1000","workername":"alice.rig1","username":"alice","agent":"x"}`, hour)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("ckdb201706160%d.log", 6+hour)), []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		sum, err := (&reference.Import{Dir: dir, Network: "main", Store: s}).Run(t.Context())
		if err != nil || sum.Shares != 1 || sum.Expired != 0 {
			t.Fatalf("hour %d: %+v, %v", hour, sum, err)
		}
		if hour < 2 {
			drop()
		}
		if days, err := s.Days(t.Context()); err != nil || len(days) != 3 {
			t.Fatalf("hour %d: days %v, %v", hour, days, err)
		}
	}
	drop()
	drop()
	if days, err := s.Days(t.Context()); err != nil || len(days) != 0 {
		t.Errorf("days %v stay, %v", days, err)
	}
}
