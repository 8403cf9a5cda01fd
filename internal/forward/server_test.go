package forward

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ckpool/event"
)

// serverVariable makes this program a NATS server, with an address and a directory, so
// that it can be killed.
const serverVariable = "FORWARD_TEST_SERVER"

func TestMain(m *testing.M) {
	if where := os.Getenv(serverVariable); where != "" {
		serve(where)
	}
	os.Exit(m.Run())
}

// serve never returns.
func serve(where string) {
	address, dir, _ := strings.Cut(where, " ")
	host, port, _ := net.SplitHostPort(address)
	o := &server.Options{Host: host, JetStream: true, StoreDir: dir, NoSigs: true}
	fmt.Sscan(port, &o.Port)
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.Start()
	// It ends with the test, whatever becomes of that.
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// broker is a NATS server in a process of its own.
type broker struct {
	t       testing.TB
	address string
	dir     string
	prefix  []string // command that runs it, such as in a network namespace

	process *exec.Cmd
}

func startBroker(t testing.TB) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b := &broker{t: t, address: l.Addr().String(), dir: filepath.Join(t.TempDir(), "jetstream")}
	b.start()
	t.Cleanup(b.kill)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	command := append(append([]string{}, b.prefix...), os.Args[0])
	b.process = exec.Command(command[0], command[1:]...)
	b.process.Env = append(os.Environ(), serverVariable+"="+b.address+" "+b.dir)
	b.process.Stderr = os.Stderr
	if _, err := b.process.StdinPipe(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.process.Start(); err != nil {
		b.t.Fatal(err)
	}
}

// kill is kill -9.
func (b *broker) kill() {
	if b.process != nil {
		b.process.Process.Kill()
		b.process.Wait()
		b.process = nil
	}
}

func (b *broker) url() string { return "nats://" + b.address }

// stream waits for an instance's stream.
func (b *broker) stream(id string) jetstream.Stream {
	b.t.Helper()
	c := connect(b.t, b.url())
	js, err := jetstream.New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	var s jetstream.Stream
	until(b.t, "a stream", func() bool {
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
		defer cancel()
		s, err = js.Stream(ctx, streamName(id))
		return err == nil
	})
	return s
}

// told collects events.
type told struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *told) tell(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.text, e.Level, e.Text)
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// connect connects until the test ends.
func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	c, err := Connect(url, "", "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// until polls with a deadline.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("in 40 s there was not: " + what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// link is a TCP connection to a server that can be cut.
type link struct {
	t      testing.TB
	l      net.Listener
	target string
	group  sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func startLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{t: t, l: l, target: target, conns: map[net.Conn]bool{}}
	k.group.Go(k.accept)
	t.Cleanup(func() {
		l.Close()
		k.set(true)
		k.group.Wait()
	})
	return k
}

func (k *link) url() string { return "nats://" + k.l.Addr().String() }

func (k *link) accept() {
	for {
		c, err := k.l.Accept()
		if err != nil {
			return
		}
		d, err := net.Dial("tcp", k.target)
		if err != nil {
			c.Close()
			continue
		}
		k.mu.Lock()
		if k.cut {
			c.Close()
			d.Close()
		} else {
			k.conns[c], k.conns[d] = true, true
			k.group.Go(func() { k.copy(c, d) })
			k.group.Go(func() { k.copy(d, c) })
		}
		k.mu.Unlock()
	}
}

func (k *link) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// set cuts the link, or mends it.
func (k *link) set(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	if cut {
		for c := range k.conns {
			c.Close()
		}
		clear(k.conns)
	}
}
