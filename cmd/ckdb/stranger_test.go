package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/control"
)

// An instance that nobody has named is not asked where another user has made its directory.
func TestStranger(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "ckdb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server := control.NewServer(dir, -1)
	server.Handle(socket, "status", func(context.Context, string) (string, error) {
		return control.Encode(daemon{Database: "stranger", Whole: true}), nil
	})
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	ask := func(sockDir string) error {
		d, err := (&call{options: &options{name: filepath.Base(dir), sockDir: sockDir}}).daemon(t.Context())
		if err == nil && (d == nil || d.Database != "stranger") {
			t.Errorf("the answer is %+v", d)
		}
		return err
	}
	if err := ask(""); err != nil {
		t.Errorf("one's own: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("root alone can give a directory to somebody else")
	}
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SUDO_UID", "")
	if err := ask(""); err == nil || !strings.Contains(err.Error(), dir+" is of user id 12345") || !strings.Contains(err.Error(), "-s") {
		t.Errorf("a stranger's: %v", err)
	}
	if err := ask(dir); err != nil {
		t.Errorf("one that was named: %v", err)
	}
	t.Setenv("SUDO_UID", "12345")
	if err := ask(""); err != nil {
		t.Errorf("of who has become root: %v", err)
	}
}
