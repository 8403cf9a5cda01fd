package lint

import (
	"go/token"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModule(t *testing.T) {
	list := load(t)
	if len(list) == 0 {
		t.Fatal("no Go files found")
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, line := range sorted(r.check(list)) {
				t.Error(line)
			}
		})
	}
}

// Neither ckpool nor its tools have a driver of a database in them, by whatever way.
func TestDrivers(t *testing.T) {
	for _, program := range []string{"ckpool", "ckpmsg", "notifier"} {
		c := exec.Command("go", "list", "-deps", "github.com/ckpool/ckpool/cmd/"+program)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.Lines(string(out)) {
			for _, driver := range []string{"modernc.org/", "github.com/jackc/", "github.com/pressly/", "github.com/ckpool/ckpool/internal/store", "github.com/ckpool/ckpool/internal/accounting"} {
				if strings.HasPrefix(path, driver) {
					t.Errorf("%s has %s", program, path)
				}
			}
		}
	}
}

// Each rule is broken on purpose, lest it hold because it sees nothing.
func TestRules(t *testing.T) {
	tests := []struct {
		rule    func([]source) []string
		name    string
		file    string
		text    string
		problem string // empty: the rule holds
	}{
		{publicImports, "third party", "work/a.go", `package work; import "github.com/x/y"`, "work/a.go:1 imports github.com/x/y"},
		{publicImports, "internal", "bitcoind/a.go", `package bitcoind; import "github.com/ckpool/ckpool/internal/pool"`, "bitcoind/a.go:1 imports github.com/ckpool/ckpool/internal/pool"},
		{publicImports, "logging", "stratum/client/a.go", `package client; import "log/slog"`, "stratum/client/a.go:1 imports log/slog"},
		{publicImports, "allowed", "stratum/client/a.go", `package client; import ("fmt"; "github.com/ckpool/ckpool/stratum"; "golang.org/x/sys/unix")`, ""},
		{publicImports, "engine", "stratum/server/a.go", `package server; import "github.com/ckpool/ckpool/internal/netserver"`, ""},
		{publicImports, "engine and more", "stratum/server/a.go", `package server; import "github.com/ckpool/ckpool/internal/users"`, "stratum/server/a.go:1 imports github.com/ckpool/ckpool/internal/users"},
		{publicImports, "test", "work/a_test.go", `package work; import "pgregory.net/rapid"`, ""},
		{exampleImports, "internal", "examples/a/main.go", `package main; import "github.com/ckpool/ckpool/internal/bench"`, "examples/a/main.go:1 imports github.com/ckpool/ckpool/internal/bench"},
		{exampleImports, "third party", "examples/a/main.go", `package main; import "github.com/x/y"`, "examples/a/main.go:1 imports github.com/x/y"},
		{exampleImports, "allowed", "examples/a/main.go", `package main; import ("fmt"; "github.com/ckpool/ckpool/stratum/client")`, ""},
		{exampleImports, "test", "examples/a_test.go", `package examples_test; import "github.com/ckpool/ckpool/internal/testkit"`, ""},
		{pureArithmetic, "I/O", "difficulty/a.go", `package difficulty; import "os"`, "difficulty/a.go:1 imports os"},
		{pureArithmetic, "goroutine", "work/a.go", "package work\nfunc f() {\n go f()\n}", "work/a.go:3 starts a goroutine"},
		{pureArithmetic, "others may", "bitcoind/a.go", `package bitcoind; import "net/http"`, ""},
		{exactMoney, "type", "internal/rewards/a.go", `package rewards; var a float64`, "internal/rewards/a.go:1 has float64"},
		{exactMoney, "literal", "internal/rewards/a.go", `package rewards; const a = 1e8`, "internal/rewards/a.go:1 has 1e8"},
		{exactMoney, "parsed", "internal/rewards/a.go", `package rewards; import "strconv"; var a, _ = strconv.ParseFloat("", 64)`, "internal/rewards/a.go:1 uses strconv.ParseFloat"},
		{exactMoney, "method", "internal/rewards/a.go", `package rewards; import "github.com/ckpool/ckpool/difficulty"; var a = difficulty.MaxExact.Float64()`, "internal/rewards/a.go:1 calls Float64"},
		{exactMoney, "rounded", "internal/rewards/a.go", `package rewards; import "math"; var a = math.Floor(2)`, "internal/rewards/a.go:1 uses math.Floor"},
		{exactMoney, "bounds", "internal/rewards/a.go", `package rewards; import "math"; const a = math.MaxInt64`, ""},
		{exactMoney, "test", "internal/rewards/a_test.go", `package rewards; const a = 1e8`, ""},
		{exactMoney, "not money", "internal/luck/a.go", `package luck; var a float64`, ""},
		{direction, "session to pool", "internal/session/a.go", `package session; import "github.com/ckpool/ckpool/internal/pool"`, "internal/session/a.go:1 imports github.com/ckpool/ckpool/internal/pool"},
		{direction, "pool to cmd", "internal/pool/a.go", `package pool; import "github.com/ckpool/ckpool/cmd/ckpool"`, "internal/pool/a.go:1 imports github.com/ckpool/ckpool/cmd/ckpool"},
		{direction, "accounting to netserver", "internal/accounting/a.go", `package accounting; import "github.com/ckpool/ckpool/internal/netserver"`, "internal/accounting/a.go:1 imports github.com/ckpool/ckpool/internal/netserver"},
		{direction, "public upwards", "work/a.go", `package work; import "github.com/ckpool/ckpool/internal/config"`, "work/a.go:1 imports github.com/ckpool/ckpool/internal/config"},
		{direction, "work to a protocol", "work/a.go", `package work; import "github.com/ckpool/ckpool/stratum"`, "work/a.go:1 imports github.com/ckpool/ckpool/stratum"},
		{direction, "downwards", "internal/pool/a.go", `package pool; import ("github.com/ckpool/ckpool/internal/session"; "github.com/ckpool/ckpool/work")`, ""},
		{direction, "beside", "internal/session/a.go", `package session; import "github.com/ckpool/ckpool/internal/netserver"`, ""},
		{direction, "library's pool", "pool/a.go", `package pool; import "github.com/ckpool/ckpool/internal/pool"`, ""},
		{direction, "another public one to it", "control/a.go", `package control; import "github.com/ckpool/ckpool/pool"`, "control/a.go:1 imports github.com/ckpool/ckpool/pool"},
		{direction, "core to it", "internal/pool/a.go", `package pool; import "github.com/ckpool/ckpool/pool"`, "internal/pool/a.go:1 imports github.com/ckpool/ckpool/pool"},
		{direction, "examples", "examples/embedded/main.go", `package main; import "github.com/ckpool/ckpool/pool"`, ""},
		{direction, "commands", "cmd/ckpool/a.go", `package main; import "github.com/ckpool/ckpool/internal/pool"`, ""},
		{storeUsers, "pool", "internal/pool/a.go", `package pool; import "github.com/ckpool/ckpool/internal/store/sqlite"`, "internal/pool/a.go:1 imports github.com/ckpool/ckpool/internal/store/sqlite"},
		{storeUsers, "ckpool", "cmd/ckpool/a.go", `package main; import "github.com/ckpool/ckpool/internal/store"`, "cmd/ckpool/a.go:1 imports github.com/ckpool/ckpool/internal/store"},
		{storeUsers, "accounting", "internal/operator/a.go", `package operator; import "github.com/ckpool/ckpool/internal/accounting"`, "internal/operator/a.go:1 imports github.com/ckpool/ckpool/internal/accounting"},
		{storeUsers, "ckdb", "cmd/ckdb/a.go", `package main; import "github.com/ckpool/ckpool/internal/store"`, ""},
		{showing, "history to users", "internal/history/a.go", `package history; import "github.com/ckpool/ckpool/internal/users"`, "internal/history/a.go:1 imports github.com/ckpool/ckpool/internal/users"},
		{showing, "history to control", "internal/history/a.go", `package history; import "github.com/ckpool/ckpool/control"`, ""},
		{showing, "operator to history", "internal/operator/a.go", `package operator; import "github.com/ckpool/ckpool/internal/history"`, "internal/operator/a.go:1 imports github.com/ckpool/ckpool/internal/history"},
		{showing, "edge to history", "internal/edge/a.go", `package edge; import "github.com/ckpool/ckpool/internal/history"`, "internal/edge/a.go:1 imports github.com/ckpool/ckpool/internal/history"},
		{showing, "pool to history", "internal/pool/a.go", `package pool; import "github.com/ckpool/ckpool/internal/history"`, ""},
		{forwardUsers, "pool", "cmd/ckpool/a.go", `package main; import "github.com/ckpool/ckpool/internal/forward"`, "cmd/ckpool/a.go:1 imports github.com/ckpool/ckpool/internal/forward"},
		{forwardUsers, "broker", "internal/store/a_test.go", `package store; import "github.com/nats-io/nats.go"`, "internal/store/a_test.go:1 imports github.com/nats-io/nats.go"},
		{forwardUsers, "ckdb with forward", "cmd/ckdb/a.go", `package main; import "github.com/ckpool/ckpool/internal/forward"`, ""},
		{testkitUsers, "program", "cmd/ckpool/a.go", `package main; import "github.com/ckpool/ckpool/internal/testkit/node"`, "cmd/ckpool/a.go:1 imports github.com/ckpool/ckpool/internal/testkit/node"},
		{testkitUsers, "bench", "cmd/ckbench/a.go", `package main; import "github.com/ckpool/ckpool/internal/testkit"`, ""},
		{testkitUsers, "test", "internal/pool/a_test.go", `package pool; import "github.com/ckpool/ckpool/internal/testkit"`, ""},
		{nodeUsers, "jobs", "internal/jobs/a.go", `package jobs; import "github.com/ckpool/ckpool/bitcoind"`, "internal/jobs/a.go:1 imports github.com/ckpool/ckpool/bitcoind"},
		{nodeUsers, "reload", "internal/pool/reload.go", `package pool; import "github.com/ckpool/ckpool/bitcoind"`, "internal/pool/reload.go:1 imports github.com/ckpool/ckpool/bitcoind"},
		{nodeUsers, "made", "internal/pool/pool.go", `package pool; import "github.com/ckpool/ckpool/bitcoind"`, ""},
		{nodeUsers, "chain", "internal/accounting/a.go", `package accounting; import "github.com/ckpool/ckpool/bitcoind"`, ""},
		{nodeUsers, "node's test", "internal/jobs/a_test.go", `package jobs; import "github.com/ckpool/ckpool/bitcoind"`, ""},
		{commandsOnly, "exit", "internal/pool/a.go", `package pool; import "os"; func f() { os.Exit(1) }`, "internal/pool/a.go:1 uses os.Exit"},
		{commandsOnly, "renamed", "internal/pool/a.go", `package pool; import sys "os"; var a = sys.Getenv("A")`, "internal/pool/a.go:1 uses os.Getenv"},
		{commandsOnly, "flag", "work/a.go", `package work; import "flag"`, "work/a.go:1 imports flag"},
		{commandsOnly, "limit", "internal/pool/a.go", `package pool; import "golang.org/x/sys/unix"; func f() { unix.Setrlimit(0, nil) }`, "internal/pool/a.go:1 uses golang.org/x/sys/unix.Setrlimit"},
		{commandsOnly, "limits", "internal/pool/a.go", `package pool; import "github.com/ckpool/ckpool/internal/descriptors"`, "internal/pool/a.go:1 imports github.com/ckpool/ckpool/internal/descriptors"},
		{commandsOnly, "command", "cmd/ckpool/a.go", `package main; import "os"; func f() { os.Exit(1) }`, ""},
		{commandsOnly, "library's pool", "pool/a.go", `package pool; import "os"; func f() { os.Exit(1) }`, "pool/a.go:1 uses os.Exit"},
		{commandsOnly, "example", "examples/a/main.go", `package main; import "os"; func f() { os.Exit(1) }`, ""},
		{commandsOnly, "another os", "internal/pool/a.go", `package pool; var os struct{ Exit func() }; func f() { os.Exit() }`, ""},
		{exactMoney, "payout", "internal/payout/a.go", `package payout; func f(a float64) {}`, "internal/payout/a.go:1 has float64"},
		{direction, "payout to store", "internal/payout/a.go", `package payout; import "github.com/ckpool/ckpool/internal/store"`, "internal/payout/a.go:1 imports github.com/ckpool/ckpool/internal/store"},
		{noCgo, "cgo", "work/a.go", `package work; import "C"`, "work/a.go:1 imports C"},
		{packageDocs, "none", "work/a.go", `package work`, "work has no package comment"},
		{packageDocs, "documented", "work/a.go", "// Package work works.\npackage work", ""},
		{noSleep, "sleeps", "work/a_test.go", `package work; import "time"; func f() { time.Sleep(1) }`, "work/a_test.go:1 sleeps"},
		{noSleep, "bubble", "work/a_test.go", `package work; import "testing/synctest"; func f() { time.Sleep(1) }`, ""},
		{noSkeleton, "skeleton", "work/a.go", `package work; func f() { panic("skeleton") }`, "work/a.go:1 is a skeleton"},
		{noSkeleton, "finished", "work/a.go", `package work; func f() { panic("unreachable") }`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseSource(token.NewFileSet(), tt.file, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if tt.problem != "" {
				want = []string{tt.problem}
			}
			if diff := cmp.Diff(want, tt.rule([]source{s})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
