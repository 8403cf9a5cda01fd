package examples_test

import (
	"net"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// What a miner and a pool say to each other passes by the logger.
func TestLogger(t *testing.T) {
	pool := otherpool.Start(t, otherpool.Config{Difficulty: easy, RejectEvery: 2})
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", free)
	logger := start(t, "logger", addr, pool.Addr)
	logger.until("it listens", func(line string) bool { return line == "listening on "+addr })
	start(t, "miner", "alice.rig1", addr)
	for _, part := range []string{
		` > mining.subscribe ["example/1.0"`,
		` < yes to 1: [`,
		` > mining.authorize ["alice.rig1",`,
		` < mining.set_difficulty [0.000001]`,
		` < job `,
		` > mining.submit ["alice.rig1",`,
		`: true`,
		`: Made up`,
	} {
		logger.until("it says "+part, func(line string) bool { return strings.Contains(line, part) })
	}
	if pool.Invalid.Load() > 0 {
		t.Errorf("the pool found wrong: %q", pool.Faults())
	}
}
