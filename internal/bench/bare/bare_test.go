package bare

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a bare loop that answers as a pool does.
func start(t *testing.T, a *Answers) *Server {
	t.Helper()
	s, err := New(t.Context(), "127.0.0.1:0", a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// Miners cannot tell it from the pool it copies, as long as they do not look at
// what they mine.
func TestLikeAPool(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{Branches: 12, Difficulty: 1e-10})
	a, err := Sample(t.Context(), p.Addr, "bench", "x")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(a.Notify), ",true]") || len(a.Subscribe.Tail) == 0 {
		t.Errorf("%q", a)
	}
	s := start(t, a)
	o := bench.Options{Address: s.Addr(), Miners: 50, User: "b", Pid: os.Getpid()}
	shares, err := bench.Shares(t.Context(), bench.SharesConfig{Options: o, Window: 8, Count: 5000, Duration: 20 * time.Second})
	if err != nil || shares.Failed() || shares.Accepted != 5000 || shares.Rejected != 0 {
		t.Errorf("%v %+v", err, shares)
	}
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o.Miners = 300 // more than a step
	blocks, err := bench.Notify(t.Context(), bench.NotifyConfig{Options: o, Rounds: 3, Interval: 20 * time.Millisecond,
		Block: func(context.Context) error {
			_, err := io.WriteString(conn, BlockLine)
			return err
		}})
	if err != nil || blocks.Failed() {
		t.Errorf("%v %+v", err, blocks)
	}
}

// What is no request ends the connection, as it does in the pool.
func TestGarbage(t *testing.T) {
	s := start(t, &Answers{})
	for _, line := range []string{"\n", "x\n", "{}\n", strings.Repeat("y", 100) + "\n", strings.Repeat("z", 10_000)} {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, line)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%q: %d, %v", line, n, err)
		} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Errorf("%q: not closed", line)
		}
		conn.Close()
	}
}

func TestNobodyToCopy(t *testing.T) {
	stuck := otherpool.Start(t, otherpool.Config{NoAuthorize: true})
	if _, err := Sample(t.Context(), stuck.Addr, "bench", "x"); err == nil || !strings.Contains(err.Error(), stuck.Addr) {
		t.Error(err)
	}
	closed, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	if a, err := Sample(t.Context(), "127.0.0.1:"+closed, "bench", "x"); err == nil {
		t.Errorf("%q", a)
	}
	if _, err := New(t.Context(), "127.0.0.1:x", nil); err == nil {
		t.Error("listening on port x")
	}
}
