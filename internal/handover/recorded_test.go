package handover

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/records"
)

// recorded are the frames of a side, what came before them in front. What processes
// of the first version say is understood for ever.
func recorded(t testing.TB, b []byte) (frames [][]byte) {
	t.Helper()
	next := func(n int) {
		if n > len(b) {
			t.Fatalf("%d bytes left of a recording, want %d", len(b), n)
		}
		frames = append(frames, b[:n])
		b = b[n:]
	}
	next(4 + int(binary.LittleEndian.Uint32(b)))
	for len(b) > 0 {
		next(headerSize + int(binary.BigEndian.Uint32(b[3:])))
	}
	return frames
}

// An old process of the first version is taken over, word for word.
func TestOldProcessOfV1(t *testing.T) {
	a, b := pair(t)
	answers := recorded(t, records.V1(t, "new"))
	played := make(chan error, 1)
	go func() {
		hear := func() error {
			got := make([]byte, len(answers[0]))
			if _, err := io.ReadFull(a, got); err != nil {
				return err
			}
			if !bytes.Equal(got, answers[0]) {
				return errors.New("heard " + string(got))
			}
			answers = answers[1:]
			return nil
		}
		err := hear()
		for i, f := range recorded(t, records.V1(t, "old")) {
			if err == nil {
				_, err = a.Write(f)
			}
			if k := Kind(f[0]); err == nil && i > 0 && (k == kindMark || k == kindEnd || k == kindYours) {
				err = hear()
			}
		}
		played <- err
	}()
	l := &Link{link: newLink(t.Context(), b), old: peer{fd: -1}, step: func(string) {}}
	defer l.Close()
	dst := &sink{}
	for _, step := range []func() error{l.agree, func() error { return l.Take(t.Context(), dst) }, l.Start} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-played; err != nil {
		t.Error(err)
	}
	if h := l.Hello(); h.Format != 1 || h.Program != "1.0.0" || h.PID != 4711 || string(h.Instance) != `{"solo":true}` {
		t.Errorf("%+v", h)
	}
	if !slices.Equal(dst.texts, []string{"users"}) {
		t.Errorf("%q", dst.texts)
	}
}

// A new process of the first version takes over, word for word.
func TestNewProcessOfV1(t *testing.T) {
	a, b := pair(t)
	words := recorded(t, records.V1(t, "new"))
	src := &source{state: []string{"users"}}
	gave := make(chan error, 1)
	go func() {
		command := make([]byte, len(words[0]))
		if _, err := io.ReadFull(a, command); err != nil {
			gave <- err
			return
		}
		err := Accept(a, string(command[4+len(Command):]))
		if err == nil {
			_, err = Give(context.Background(), a, src, patience)
		}
		gave <- err
	}()
	say := func(i int) {
		t.Helper()
		if _, err := b.Write(words[i]); err != nil {
			t.Fatal(err)
		}
	}
	say(0)
	reply := make([]byte, 4+len(Command)+2)
	if _, err := io.ReadFull(b, reply); err != nil || !bytes.Equal(reply, recorded(t, records.V1(t, "old"))[0]) {
		t.Fatalf("%q, %v", reply, err)
	}
	l := newLink(t.Context(), b)
	for kind := kindHello; kind != kindYours; {
		f, err := l.receive()
		if err != nil {
			t.Fatal(err)
		}
		switch kind = f.kind; kind {
		case kindMark:
			say(1)
		case kindEnd:
			say(2)
		case kindYours:
			say(3)
		}
	}
	if err := <-gave; err != nil {
		t.Error(err)
	}
	if got := src.notes(); got != "frozen left" {
		t.Errorf("old side: %s", got)
	}
}

// Whatever an old process says, nobody takes over by mistake.
func FuzzOldProcess(f *testing.F) {
	f.Add(records.V1(f, "old"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 100_000 {
			return
		}
		a, b := pair(t)
		if _, err := a.Write(in); err != nil {
			t.Fatal(err)
		}
		_ = a.CloseWrite()
		l := &Link{link: newLink(t.Context(), b), old: peer{fd: -1}, step: func(string) {}}
		defer l.Close()
		dst := &sink{}
		defer dst.close()
		if l.agree() != nil {
			return
		}
		l.old.close()
		l.old = peer{fd: -1} // one that lives and is not waited for
		if l.Take(t.Context(), dst) == nil && !bytes.Contains(in, []byte{byte(kindYours), 0, 0}) {
			t.Error("taken over without its word")
		}
	})
}
