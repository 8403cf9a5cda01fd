package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/poolproto"
)

const (
	// framesMost is how many messages of a tunnel may wait.
	framesMost = 256
	maxFrame   = 1 << 20 // bytes of one
)

// tunnel carries the messages of one connection of package authority over a link.
type tunnel struct {
	number uint64 // immutable; of the conversation
	frames chan []byte
	done   chan struct{} // closed by close
	once   sync.Once
}

func newTunnel(number uint64) *tunnel {
	return &tunnel{number: number, frames: make(chan []byte, framesMost), done: make(chan struct{})}
}

func (t *tunnel) close() { t.once.Do(func() { close(t.done) }) }

// put leaves a message for the connection; one that takes none any more is over.
func (t *tunnel) put(frame []byte) {
	select {
	case t.frames <- frame:
	default:
		t.close()
	}
}

// run carries messages between the connection and the link until either ends. It closes
// conn.
func (t *tunnel) run(ctx context.Context, conn *net.UnixConn, send func(f *poolproto.Frame)) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	writing.Go(func() {
		defer conn.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.done:
				return
			case frame := <-t.frames:
				_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
				if control.WriteFrame(conn, frame) != nil {
					return
				}
			}
		}
	})
	for {
		frame, err := control.ReadFrame(conn, maxFrame)
		if err != nil || len(frame) == 0 {
			t.close()
			send(&poolproto.Frame{Kind: poolproto.Accounts, Number: t.number})
			return
		}
		send(&poolproto.Frame{Kind: poolproto.Accounts, Number: t.number, Text: frame})
	}
}

// pair is two connected sockets.
func pair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, failed := net.FileConn(f)
		f.Close()
		if err = errors.Join(err, failed); failed == nil {
			ends[i] = c.(*net.UnixConn)
		}
	}
	if err != nil {
		for _, c := range ends {
			if c != nil {
				c.Close()
			}
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}

// accounts carries a message about who may mine.
func (k *conversation) accounts(ctx context.Context, f *poolproto.Frame) error {
	if k.asks == nil || k.asks.number != f.Number {
		if len(f.Text) == 0 {
			return nil // the end of one that is over
		}
		if k.asks != nil {
			k.asks.close()
		}
		t := newTunnel(f.Number)
		k.asks = t
		c := k.collector
		c.mu.Lock()
		if c.running != nil {
			c.running.Go(func() { k.answer(ctx, t) })
		}
		c.mu.Unlock()
	}
	if len(f.Text) == 0 {
		k.asks.close()
	} else {
		k.asks.put(f.Text)
	}
	return nil
}

// answer answers the questions of a tunnel until it ends: ckdb does, or nobody is asked.
func (k *conversation) answer(ctx context.Context, t *tunnel) {
	o := &k.collector.options
	conn, err := (*net.UnixConn)(nil), error(nil)
	if o.Ckdb != nil {
		conn, err = o.Ckdb.Connect(ctx)
	} else {
		var other *net.UnixConn
		if conn, other, err = pair(); err == nil {
			server := authority.NewServer(anybody{}, o.Program, o.Events)
			var serving sync.WaitGroup
			defer serving.Wait()
			serving.Go(func() { server.Serve(ctx, other) })
		}
	}
	if err != nil {
		t.close()
		k.send(&poolproto.Frame{Kind: poolproto.Accounts, Number: t.number})
		return
	}
	t.run(ctx, conn, k.send)
}

// anybody is the accounts of a pool that has none: whoever comes may mine.
type anybody struct{}

// Find implements authority.Accounts.
func (anybody) Find(context.Context, authority.Question) (authority.Account, error) {
	return authority.Account{Open: true}, nil
}

// Position implements authority.Accounts.
func (anybody) Position(context.Context) (authority.Position, error) {
	return authority.Position{Store: "none"}, nil
}

// Changes implements authority.Accounts.
func (anybody) Changes(ctx context.Context, _ uint64, _ int) ([]authority.Change, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// AddTry implements authority.Accounts.
func (anybody) AddTry(context.Context, []credentials.Limit) (time.Duration, error) { return 0, nil }

// TakeBackTry implements authority.Accounts.
func (anybody) TakeBackTry(context.Context, []credentials.Limit) error { return nil }
