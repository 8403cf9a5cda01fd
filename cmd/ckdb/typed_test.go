package main

import (
	"context"
	"errors"
	"io"
	"testing"
)

// Ctrl-C ends a question that nobody answers.
func TestTyped(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	defer writer.Close()
	read := func() (string, error) {
		b := make([]byte, 3)
		_, err := io.ReadFull(reader, b)
		return string(b), err
	}
	go writer.Write([]byte("yes"))
	if text, err := typed(ctx, read); text != "yes" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	interrupt()
	if text, err := typed(ctx, read); !errors.Is(err, errInterrupted) {
		t.Errorf("%q, %v", text, err)
	}
}
