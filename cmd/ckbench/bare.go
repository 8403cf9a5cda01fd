package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/ckpool/ckpool/internal/bench/bare"
	"github.com/ckpool/ckpool/internal/descriptors"
)

// runBare serves as the bare loop until it is interrupted.
func runBare(ctx context.Context, args []string, out io.Writer) (bool, error) {
	f := newFlagSet("bare")
	like := f.String("like", "127.0.0.1:3333", "pool whose answers to copy")
	user := f.String("user", "bench", "user name to ask it with (solo: an address)")
	file := f.String("answers", "", "file with the answers instead, as JSON")
	listen := f.String("listen", "127.0.0.1:0", "address to listen on")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	answers, err := bareAnswers(ctx, *file, *like, *user)
	if err != nil {
		return false, err
	}
	limit, err := descriptors.Raise()
	if err != nil {
		return false, err
	}
	descriptors.Grow(limit) // as the pool does
	s, err := bare.New(ctx, *listen, answers)
	if err != nil {
		return false, err
	}
	if _, err := fmt.Fprintf(out, "bare loop on %s, process %d\n", s.Addr(), os.Getpid()); err != nil {
		s.Close()
		return false, err
	}
	return true, s.Run(ctx)
}

func bareAnswers(ctx context.Context, file, like, user string) (*bare.Answers, error) {
	if file == "" {
		return bare.Sample(ctx, like, user, "x")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	a := new(bare.Answers)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}
