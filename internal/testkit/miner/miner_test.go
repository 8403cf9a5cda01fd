package miner

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestKnownShares finds shares whose nonces are known.
func TestKnownShares(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	job := stratum.Notify{
		Coinb1: unhex("01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff320350f80c00047d86026b04e28b56220c"),
		Coinb2: unhex("0a636b706f6f6c2d6c68720a2f73706563706f6f6c2fffffffff0318b07012000000001976a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac" +
			"08af2f0000000000160014382d983a96207ecf5da624320fc29bf1dd4581a90000000000000000266a24aa21a9ed0a5a456451f1ebbe847433fe8adfdf1f862232544c13d7524fb18f84bf0dfec400000000"),
		Version: 0x20000000, Bits: 0x1d00ffff, NTime: 0x6b02867d,
	}
	copy(job.PrevHash[:], unhex("6f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0e000000000000000000"))
	for _, b := range []string{
		"56a9907f2f8a5e37991bb11f3c3c5a4cb8e0e479d9b4400f7d83b0a47ba75ec8",
		"b488f40d597d9b8553663d52b5830f846f39a83db802dcfbf984b9ac867d9f37",
		"7a5180d150568ebc32a38f00643a42b8fcb3eef894a44ce7af3a9a2e6b344ccd",
	} {
		job.Branch = append(job.Branch, [32]byte(unhex(b)))
	}
	h := NewHasher()
	var s Search
	for _, tt := range []struct {
		version uint32
		from    uint64
		nonce   uint32
		diff    float64
	}{
		{0x20000000, 0x9bf00, 0x0009bf79, 0.0018773287351401137},
		{0x20c0a000, 0x8a6800, 0x008a68b4, 0.4517173885650526},
	} {
		h.Start(&s, &job, unhex("7e86026b"), unhex("0000000000000001"), tt.version)
		s.next = tt.from
		target := difficulty.TargetFromDifficulty(tt.diff * 0.999)
		tried, found := h.Find(&s, &target, 100000)
		if !found || s.Nonce != tt.nonce || tried != int(uint64(tt.nonce)-tt.from)+1 {
			t.Errorf("found %v nonce %08x after %d, want %08x", found, s.Nonce, tried, tt.nonce)
		}
		if d := difficulty.OfHash(&s.Hash); d != tt.diff {
			t.Errorf("difficulty %v, want %v", d, tt.diff)
		}
	}
	s.next = 1<<32 - 1
	none := difficulty.Target{}
	if tried, found := h.Find(&s, &none, 10); tried != 1 || found {
		t.Errorf("%d tries of one nonce left", tried)
	}
	if s.Count() {
		t.Error("counted past the last nonce")
	}
}

// mine runs a miner until it has n verdicts.
func mine(t *testing.T, c Config, n int) (shares []Share) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c.Drain = time.Minute
	c.OnShare = func(s Share) {
		if shares = append(shares, s); len(shares) == n {
			cancel()
		}
	}
	if err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v with %d shares", err, len(shares))
	}
	return shares
}

func TestMinerShares(t *testing.T) {
	for name, config := range map[string]otherpool.Config{
		"plain":           {Difficulty: 1e-6, Branches: 3, RejectEvery: 4},
		"version rolling": {Difficulty: 1e-6, VersionMask: 0x1fffe000, RejectEvery: 4},
		"own work":        {Difficulty: 1e-6, JobPerClient: true, RejectEvery: 4},
	} {
		t.Run(name, func(t *testing.T) {
			p := otherpool.Start(t, config)
			shares := mine(t, Config{Endpoint: client.Endpoint{URL: p.Addr, User: "bob"},
				Client: client.Options{VersionMask: 0xffffffff}}, 12)
			if p.Invalid.Load() != 0 {
				t.Error(p.Faults())
			}
			for _, s := range shares {
				if s.Err != nil || s.Reject != nil && s.Reject.Text != "Made up" || s.Difficulty < 1e-6 || s.Latency <= 0 {
					t.Errorf("%+v", s)
				}
				if rolls := s.Submitted.HasVersionBits; rolls != (config.VersionMask != 0) {
					t.Errorf("version bits sent: %v", rolls)
				}
			}
		})
	}
}

// TestMinerReconnects: a lost connection is replaced and mining goes on.
func TestMinerReconnects(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{Difficulty: 1e-6})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var once sync.Once
	lost := false
	accepted := 0
	err := Run(ctx, Config{Endpoint: client.Endpoint{URL: p.Addr, User: "bob"}, HashRate: 50000,
		OnShare: func(s Share) {
			if s.Reject == nil && s.Err == nil {
				accepted++
			}
			once.Do(p.DropAll)
			if p.Authorized.Load() == 2 {
				cancel()
			}
		},
		OnEvent: func(e client.Event) {
			if _, ok := e.(client.Failed); ok {
				lost = true
			}
		}})
	if !errors.Is(err, context.Canceled) || !lost || accepted < 2 || p.Invalid.Load() != 0 {
		t.Errorf("%v, lost %v, accepted %d, %v", err, lost, accepted, p.Faults())
	}
}

// TestDrain: the last verdicts are waited for, for as long as is said.
func TestDrain(t *testing.T) {
	for drain, answered := range map[time.Duration]bool{time.Millisecond: false, time.Minute: true} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p := otherpool.Start(t, otherpool.Config{Difficulty: 1e-6, Delay: 5 * time.Second, Refuse: func(string, int) string {
			cancel() // as soon as there is a share
			return ""
		}})
		var last Share
		_ = Run(ctx, Config{Endpoint: client.Endpoint{URL: p.Addr, User: "bob"}, HashRate: 50000, Drain: drain, OnShare: func(s Share) { last = s }})
		if last.Hash == [32]byte{} || (last.Err == nil) != answered {
			t.Errorf("%v: %+v", drain, last)
		}
	}
}

// TestHashRateCap: shares come no faster than the cap allows.
func TestHashRateCap(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{Difficulty: 1e-12}) // every hash is a share
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shares := 0
	var d time.Duration
	began := time.Now()
	Run(ctx, Config{Endpoint: client.Endpoint{URL: p.Addr, User: "bob"}, HashRate: 200, OnShare: func(s Share) {
		if s.Reject != nil || s.Err != nil || shares == 100 {
			return
		}
		if shares++; shares == 100 {
			d = time.Since(began)
			cancel()
		}
	}})
	if n := shares; n < 100 || float64(n) > 200*d.Seconds()+10 {
		t.Errorf("%d shares in %v at 200 H/s", n, d)
	}
}

func BenchmarkFind(b *testing.B) {
	h := NewHasher()
	var s Search
	h.Start(&s, &stratum.Notify{}, nil, nil, 0)
	none := difficulty.Target{}
	b.ReportAllocs()
	for b.Loop() {
		h.Find(&s, &none, 1)
	}
}
