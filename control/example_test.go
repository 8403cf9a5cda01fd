package control_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ckpool/ckpool/control"
)

// serve answers commands in a directory of its own until stop is called.
func serve(s *control.Server) (stop func(), err error) {
	if err := s.Listen(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ctx)
	}()
	return func() { cancel(); <-done }, nil
}

// The users of a pool, as a script would ask for them. Of ckpool with its default name and
// directory it is control.Dial("/tmp", "ckpool", "listener").
func ExampleClient_Users() {
	dir, err := os.MkdirTemp("", "pool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s := control.NewServer(dir, -1)
	s.Handle("listener", "users", func(context.Context, string) (string, error) {
		return control.Encode(control.UserList{Users: []control.User{{User: "alice", Workers: 2, Rates: control.Rates{DSPS5: 250}}}}), nil
	})
	stop, err := serve(s)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	pool := control.Dial(filepath.Dir(dir), filepath.Base(dir), "listener")
	users, err := pool.Users(context.Background())
	if err != nil {
		fmt.Println("the pool does not run:", err)
		return
	}
	for _, u := range users {
		fmt.Printf("%s: %d miners, %.2f TH/s\n", u.User, u.Workers, u.DSPS5*(1<<32)/1e12)
	}
	// Output: alice: 2 miners, 1.07 TH/s
}

// A program with commands of its own.
func ExampleServer() {
	dir, err := os.MkdirTemp("", "pool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	s := control.NewServer(dir, -1)
	s.Handle("listener", "ping", func(context.Context, string) (string, error) { return "pong", nil })
	s.Handle("listener", "loglevel", func(_ context.Context, level string) (string, error) {
		return "", fmt.Errorf("no such level: %s", level)
	})
	stop, err := serve(s)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	c := control.Dial(filepath.Dir(dir), filepath.Base(dir), "listener")
	ctx := context.Background()
	fmt.Println(c.Do(ctx, "ping"))
	fmt.Println(c.Do(ctx, "loglevel=9"))
	// Output:
	// pong <nil>
	// {"errormsg": "no such level: 9"} <nil>
}

// A request as it stands on the wire.
func ExampleWriteFrame() {
	var wire bytes.Buffer
	if err := control.WriteFrame(&wire, []byte("ping")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x\n", wire.Bytes())
	text, err := control.ReadFrame(&wire, control.MaxRequest)
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// 04 00 00 00 70 69 6e 67
	// ping <nil>
}
