package store

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// A process that stores shares is killed at any moment: what is there is a whole
// number of batches, and the position says which.
func TestWriterKilled(t *testing.T) {
	if where := os.Getenv("STORE_WRITER"); where != "" {
		s, in := open(t, where), instance(1)
		s.foldLeast, s.foldMost = 100, 100
		at, err := s.Register(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for {
			b := batch(in, at.Number+1, at.Number+20)
			apply(t, s, b)
			at = b.To
		}
	}
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		least := int64(0)
		for range 5 {
			c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWriterKilled$")
			c.Env = append(os.Environ(), "STORE_WRITER="+where)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			least += 200
			for {
				list, _, err := s.Status(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if list[0].Shares >= least {
					break
				}
			}
			c.Process.Kill()
			c.Wait()
		}
		status := func() InstanceStatus {
			t.Helper()
			list, _, err := s.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return list[0]
		}
		now, sum := status(), total(t, s)
		for again := status(); again.At != now.At; again = status() { // a server was still at the writer's last batch
			now, sum = again, total(t, s)
		}
		if n := now.At.Number; n%20 != 0 || sum.Accepted.Count != n || now.Shares != n {
			t.Errorf("at record %d, %d shares, %d in sums", n, now.Shares, sum.Accepted.Count)
		}
		consistent(t, s)
	})
}

// PostgreSQL is killed while batches come: each is stored once, with no help.
func TestServerKilled(t *testing.T) {
	server, err := postgres.Start("fsync=off")
	if errors.Is(err, postgres.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(server.Dir)
	defer func() { server.Stop() }()
	if err := server.Create(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	s, in := registered(t, server.URL("test"), 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	restarted := make(chan error, 1)
	n := int64(0)
	for i := range 45 {
		if i%15 == 10 {
			go func() {
				server.Kill()
				restarted <- server.Run()
			}()
		}
		b := batch(in, n+1, n+20)
		for {
			_, err := s.Apply(ctx, b)
			var moved *CursorError
			if err == nil || errors.As(err, &moved) && moved.Present == b.To {
				break
			}
			if ctx.Err() != nil || moved != nil {
				t.Fatal(err)
			}
		}
		if n = b.To.Number; i%15 == 14 {
			if err := <-restarted; err != nil {
				t.Fatal(err)
			}
		}
	}
	for err = errors.New("not yet"); err != nil && ctx.Err() == nil; { // connections of the dead server
		_, _, err = s.Status(ctx)
	}
	if sum := total(t, s); sum.Accepted.Count != n || sum.Repeated.Count != 0 {
		t.Errorf("%d shares of %d, %d repeated", sum.Accepted.Count, n, sum.Repeated.Count)
	}
	consistent(t, s)
}
