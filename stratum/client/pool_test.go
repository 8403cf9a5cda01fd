package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const prevHash = `"3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000"`

func notifyLine(job string, clean bool) string {
	return fmt.Sprintf(`{"params":["%s",%s,"01","02",[],"20000000","1d00ffff","6b02867d",%v],"id":null,"method":"mining.notify"}`,
		job, prevHash, clean)
}

// pool is a scripted server: script runs once for each connection, in order of
// arrival; a connection without a script is refused.
type pool struct {
	t       *testing.T
	scripts chan func(*peer)
	running sync.WaitGroup
}

// peer is the pool's end of one connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

func newPool(t *testing.T, scripts ...func(*peer)) *pool {
	p := &pool{t: t, scripts: make(chan func(*peer), 100)}
	for _, s := range scripts {
		p.scripts <- s
	}
	t.Cleanup(p.running.Wait)
	return p
}

func (p *pool) dial(context.Context, string, string) (net.Conn, error) {
	select {
	case script := <-p.scripts:
		near, far := net.Pipe()
		p.running.Go(func() {
			defer far.Close()
			script(&peer{p.t, far, scanner(far)})
		})
		return near, nil
	default:
		return nil, errors.New("connection refused")
	}
}

func scanner(conn net.Conn) *bufio.Scanner { return bufio.NewScanner(conn) }

// expect reads one line, which must be want.
func (p *peer) expect(want string) {
	p.t.Helper()
	if !p.in.Scan() {
		p.t.Errorf("connection ended before %s", want)
	} else if got := p.in.Text(); got != want {
		p.t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// send writes lines in one piece.
func (p *peer) send(lines ...string) {
	p.conn.Write([]byte(strings.Join(lines, "\n") + "\n"))
}

// wait reads until the other side closes.
func (p *peer) wait() {
	for p.in.Scan() {
	}
}

// welcome does a plain handshake of a client without options.
func (p *peer) welcome(jobs ...string) {
	p.t.Helper()
	p.expect(`{"id":1,"method":"mining.subscribe","params":["ckpool"]}`)
	p.send(`{"result":[[["mining.notify","s1"]],"7e86026b",8],"error":null,"id":1}`)
	p.expect(`{"id":2,"method":"mining.authorize","params":["bob","x"]}`)
	p.send(`{"result":true,"error":null,"id":2}`)
	for _, job := range jobs {
		p.send(notifyLine(job, true))
	}
}

var bob = Endpoint{URL: "pool.example.org:3333", User: "bob", Password: "x"}

func mustDial(t *testing.T, p *pool, o Options) *Client {
	t.Helper()
	o.Dial = p.dial
	c, err := Dial(context.Background(), bob, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("events have ended")
		}
		return e
	case <-time.After(time.Hour): // bubble time
		t.Fatal("no event")
		return nil
	}
}

// brief is an event as the tests compare it.
func brief(e Event) string {
	switch e := e.(type) {
	case Notify:
		return fmt.Sprintf("notify %s clean=%v diff=%v mask=%08x en1=%x", e.JobID, e.Clean, e.Difficulty, e.VersionMask, e.Extranonce.Extranonce1)
	case Difficulty:
		return fmt.Sprintf("difficulty %v", float64(e))
	case VersionMask:
		return fmt.Sprintf("mask %08x", uint32(e))
	case Extranonce:
		return fmt.Sprintf("extranonce %x/%d session %s", e.Extranonce1, e.Extranonce2Len, e.SessionID)
	case Reconnect:
		return fmt.Sprintf("reconnect %s:%d", e.Host, e.Port)
	case Message:
		return "message " + string(e)
	case Closed:
		return fmt.Sprintf("closed: %v", e.Err)
	case Active:
		return fmt.Sprintf("active %d", e.Endpoint)
	case Failed:
		return fmt.Sprintf("failed %d: %v", e.Endpoint, e.Err)
	}
	return fmt.Sprintf("%T", e)
}

func expectEvents(t *testing.T, events <-chan Event, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := brief(next(t, events)); got != w {
			t.Errorf("\n got %s\nwant %s", got, w)
		}
	}
}
