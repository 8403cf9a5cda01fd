package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ckbench": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the program against a small pool: $POOL works, $LOSING drops
// connections after ten shares.
func TestScripts(t *testing.T) {
	pool := otherpool.Start(t, otherpool.Config{Difficulty: 1e-9, Branches: 3, VersionMask: 0x1fffe000})
	losing := otherpool.Start(t, otherpool.Config{Difficulty: 1e-9, DropAfter: 10})
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("POOL", pool.Addr)
			e.Setenv("LOSING", losing.Addr)
			return nil
		},
	})
}
