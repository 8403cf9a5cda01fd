package relay

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

var someWork = &session.Work{Job: &work.Job{ID: 1}}

// noJobs has no work for anybody.
type noJobs struct{}

func (noJobs) Work(uint32) *session.Work { return nil }
func (noJobs) Newest() *session.Work     { return someWork } // lines are held before
func (noJobs) Find(uint64) *session.Work { return nil }
func (noJobs) Renew(uint32, uint64)      {}

// noFeed has none for nodes.
type noFeed struct{}

func (noFeed) Newest() uint64              { return 0 }
func (noFeed) Joined(*NodeLink, uint64)    {}
func (noFeed) Left(*NodeLink)              {}
func (noFeed) Asked(*NodeLink, [][32]byte) {}

// Late shares are forgiven to miners of nodes, by the round trip of their link, and to nobody
// else.
func TestLatencyOfNodes(t *testing.T) {
	links := NewLinks(func(*poolproto.Hello, netip.AddrPort, int) string { return "" }, 8<<10, func(event.Event) {})
	links.Feed(noFeed{})
	settings := &session.Settings{Listeners: make([]session.ListenerSettings, 1)}
	group := session.NewGroup(session.NewRegistry(4, 1), 1, nil)
	backend := session.Backend{Settings: func() *session.Settings { return settings }, Jobs: noJobs{}}
	server, err := netserver.New(netserver.Config{Loops: 1, Descriptors: 4096, Events: func(event.Event) {}}, func(l *netserver.Loop) netserver.Handler {
		return NewHandler(l, links, func(tr session.Transport) *session.Handler { return session.NewHandler(tr, backend, group) })
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) })
	defer running.Wait()
	defer cancel()
	h := links.Handlers()[0]
	for _, role := range []poolproto.Role{poolproto.Passthrough, poolproto.Node} {
		c, err := net.Dial("tcp", server.Listeners()[0].Addrs[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(longest))
		_, _ = c.Write(poolproto.AppendHello(nil, &poolproto.Hello{Role: role, Program: "test/1", Dialect: 1}))
		_, _ = fmt.Fprint(c, "o 1 0 192.0.2.7\np\n")
		in := bufio.NewReader(c)
		for line := ""; !strings.HasPrefix(line, "q"); {
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		found := make(chan time.Duration)
		h.loop.Post(func() {
			for _, l := range h.links {
				if l.role == role {
					found <- h.latency(l.channels[1])
				}
			}
		})
		if latency := <-found; (latency > 0) != (role == poolproto.Node) || latency > mostLatency {
			t.Errorf("%v: %v", role, latency)
		}
	}
}
