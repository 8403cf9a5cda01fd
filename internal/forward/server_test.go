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

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// serverVariable makes this program a NATS server, with an address, a directory and,
// if it is one of a cluster, the addresses of all servers between each other, its own
// first, so that it can be killed.
const serverVariable = "FORWARD_TEST_SERVER"

func TestMain(m *testing.M) {
	if where := os.Getenv(serverVariable); where != "" {
		serve(where)
	}
	os.Exit(m.Run())
}

// serve never returns.
func serve(where string) {
	words := strings.Fields(where)
	o := &server.Options{JetStream: true, StoreDir: words[1], NoSigs: true}
	listen := func(address string, host *string, number *int) {
		h, p, _ := net.SplitHostPort(address)
		*host = h
		fmt.Sscan(p, number)
	}
	listen(words[0], &o.Host, &o.Port)
	if peers := words[2:]; len(peers) > 0 {
		o.ServerName, o.Cluster.Name = peers[0], "test"
		listen(peers[0], &o.Cluster.Host, &o.Cluster.Port)
		o.Routes = server.RoutesFromStr("nats://" + strings.Join(peers[1:], ",nats://"))
	}
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
	peers   []string // see serverVariable

	process *exec.Cmd
}

func startBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{t: t, address: address(t), dir: filepath.Join(t.TempDir(), "jetstream")}
	b.start()
	t.Cleanup(b.kill)
	return b
}

// address is a free one.
func address(t testing.TB) string {
	t.Helper()
	port, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}

// startCluster starts three brokers that are one cluster.
func startCluster(t testing.TB) (list [3]*broker, url string) {
	t.Helper()
	var peers, urls []string
	for i := range list {
		list[i] = &broker{t: t, address: address(t), dir: filepath.Join(t.TempDir(), "jetstream")}
		peers, urls = append(peers, address(t)), append(urls, list[i].url())
	}
	for i, b := range list {
		b.peers = []string{peers[i], peers[(i+1)%3], peers[(i+2)%3]}
		b.start()
		t.Cleanup(b.kill)
	}
	return list, strings.Join(urls, ",")
}

func (b *broker) start() {
	b.t.Helper()
	b.process = exec.Command(os.Args[0])
	b.process.Env = append(os.Environ(), serverVariable+"="+b.address+" "+b.dir+" "+strings.Join(b.peers, " "))
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
	const patience = 2 * time.Minute // a stream that does not move is begun anew after half a minute
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("in ", patience, " there was not: "+what)
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
