package journal

import (
	"context"
	"errors"
	"io/fs"
	"testing"
)

// A reader that is told to end does, however much there is to read.
func TestNextEnds(t *testing.T) {
	r, err := Open("testdata/pool", Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := r.Next(ctx); err != nil {
		t.Fatal(err)
	}
	before := r.Cursor()
	cancel()
	if k, err := r.Next(ctx); !errors.Is(err, context.Canceled) || r.Cursor() != before {
		t.Errorf("%+v, %v, and the cursor goes from %v to %v", k, err, before.Position, r.Cursor().Position)
	}
	if k, err := r.Next(t.Context()); err != nil || !before.Before(k.Position) {
		t.Errorf("afterwards there is %+v, %v", k, err)
	}
	r.Close()
	if k, err := r.Read(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("when it is closed there is %+v, %v", k, err)
	}
}
