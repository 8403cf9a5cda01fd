package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/control"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"notifier": main})
}

// The scripts run beside a pool and a proxy that take updates, one without a
// reply, and an instance that refuses them. Each leaves a file when told.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"ckpool", "ckproxy", "refusing"} {
				stop, err := fakeStratifier(env.WorkDir, name)
				if err != nil {
					return err
				}
				env.Defer(stop)
			}
			return nil
		},
	})
}

func fakeStratifier(parent, name string) (stop func(), err error) {
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o750); err != nil {
		return nil, err
	}
	told := func() error { return os.WriteFile(filepath.Join(parent, "told-"+name), nil, 0o600) }
	s := control.NewServer(dir, -1)
	switch name {
	case "ckproxy": // closes without a reply, as pools in C do
		s.HandleFD("stratifier", "update", func(context.Context, int) (*os.File, error) { return nil, told() })
	case "refusing":
		s.Handle("stratifier", "update", func(context.Context, string) (string, error) {
			return "", errors.New("this is a redirector")
		})
	default:
		s.Handle("stratifier", "update", func(context.Context, string) (string, error) { return "ok", told() })
	}
	if err := s.Listen(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Serve(ctx); close(done) }()
	return func() { cancel(); <-done }, nil
}
