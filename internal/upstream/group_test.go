package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

var errDown = errors.New("connection refused")

// group runs a group of a farm's before other pools, of which the first is
// a.example.org:1, until the test ends. Its updates go to the farm.
func (f *farm) group(o GroupOptions, above ...*otherpool.Pool) *Group {
	f.t.Helper()
	places, list := dialler{}, []Config{}
	for i, p := range above {
		address := fmt.Sprintf("%c.example.org:1", 'a'+i)
		places[address] = p
		list = append(list, Config{URL: address, User: fmt.Sprintf("wallet-%c", 'a'+i), VersionMask: 0x1fffe000})
	}
	o.Dial = places.dial
	o.Events = func(e event.Event) {
		f.mu.Lock()
		f.lines = append(f.lines, e.Text)
		f.mu.Unlock()
	}
	g, err := NewGroup(list, o)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Run(ctx) }) // it has no errors
	running.Go(func() {
		for {
			select {
			case u := <-g.Templates():
				f.update(u)
			case <-ctx.Done():
				return
			}
		}
	})
	f.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return g
}

// activeName is the first letter of the active pool's name, "" for none.
func activeName(g *Group) string {
	synctest.Wait()
	if p := g.Active(); p != nil {
		return p.name[:1]
	}
	return ""
}

// becomes waits until a pool is active, and returns how long that took.
func becomes(t *testing.T, g *Group, name string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for activeName(g) != name {
		if time.Since(began) > within {
			t.Fatalf("%q is active after %v, not %q: %+v", activeName(g), within, name, g.Status())
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(began)
}

// braiins/farm-proxy#16: two pools that are proxies, with an empty extranonce1 and odd
// sizes; the first is killed, and the second worked for.
func TestOddPoolsInARow(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		odd := func(size int) *otherpool.Pool {
			return otherpool.New(t, otherpool.Config{Extranonce1: func(int) string { return "" }, Extranonce2Len: size})
		}
		a, b := odd(3), odd(5)
		g := f.group(GroupOptions{}, a, b)
		becomes(t, g, "a", time.Second)
		a.Down(errDown)
		becomes(t, g, "b", time.Second)
		u := f.newest()
		for u.Ended || u.From != "b.example.org:1" {
			f.mu.Lock()
			f.updates = f.updates[:len(f.updates)-1]
			f.mu.Unlock()
			u = f.newest()
		}
		f.submit(u, 1, 1e-10, 0)
		synctest.Wait()
		if v := f.verdict(1); v != "accepted" || b.Book()["wallet-b"].Shares != 1 || u.Upstream.Shape != smallShape {
			t.Errorf("%q, %v", v, b.Book())
		}
	})
}

// A pool beside the list has sources of its own among the others', and is never worked
// for by who does not know it. It tells that its user was refused.
func TestBeside(t *testing.T) {
	bubble(t, func(t *testing.T, f *farm) {
		a := otherpool.New(t, otherpool.Config{})
		g := f.group(GroupOptions{}, a)
		becomes(t, g, "a", time.Second)
		first := f.job()
		alice, err := g.beside(Config{URL: "a.example.org:1", User: "alice"}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { alice.Run(ctx) })
		f.works(alice)
		u := f.job()
		if u.Upstream.Source == first.Upstream.Source || !alice.Has(u.Upstream.Source) || alice.Err() != nil {
			t.Errorf("%+v, %v", u.Upstream, alice.Err())
		}
		f.submit(u, 1, 1e-10, 0)
		synctest.Wait()
		if n := a.Book()["alice"].Shares; n != 1 {
			t.Errorf("%d shares of alice", n)
		}
		a.Configure(func(c *otherpool.Config) { c.NoAuthorize = true })
		a.DropAll()
		time.Sleep(time.Minute)
		var refused *client.RefusedError
		if !errors.As(alice.Err(), &refused) || refused.Method != "mining.authorize" {
			t.Error(alice.Err())
		}
		cancel()
		running.Wait()
		if number, ok := alice.Place(0); ok {
			t.Errorf("a place at %d, of a pool that has ended", number)
		}
	})
}

// Reasons name no address that the line about them has, and one that it has not.
func TestReason(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 3333}
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"another":     {errors.New("pool is silent for 10m0s"), "pool is silent for 10m0s"},
		"address":     {&net.OpError{Op: "dial", Net: "tcp", Addr: at, Err: refused}, "connect: connection refused"},
		"name":        {fmt.Errorf("b.example:1: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 8), Port: 1}, Err: refused}), "b.example:1: 10.0.0.8:1: connect: connection refused"},
		"resolving":   {&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "pool.example", IsNotFound: true}}, "lookup pool.example: no such host"},
		"established": {fmt.Errorf("read: %w", &net.OpError{Op: "read", Net: "tcp", Source: at, Addr: at, Err: os.NewSyscallError("read", syscall.ECONNRESET)}), "read: connection reset by peer"},
	} {
		if got := Reason("10.0.0.7:3333", tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
