package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/work"
)

// virtual is the pool's sessions and accounts in virtual time: pipes in place
// of sockets, templates of a fake node in place of the node.
type virtual struct {
	*users.Users
	t         *testing.T
	handler   *session.Handler
	settings  session.Settings
	builder   *work.Builder
	templates []*work.Template // of different tips
	work      atomic.Pointer[session.Work]

	calls chan func() // to the loop
	ended sync.WaitGroup
	ctx   context.Context

	// owned by the loop
	jobs  map[uint64]*session.Work
	conns []*pipe // by slot
}

// pipe is one connection; what is written waits without bound, as in the
// buffers of a network.
type pipe struct {
	net.Conn
	out chan []byte
}

// templates fetches n templates on different tips at difficulty 1.
func templates(t *testing.T, n int) (list []*work.Template) {
	t.Helper()
	node := testkit.StartFakeNode(t, fakenode.Config{Bits: 0x1d00ffff, Transactions: 100})
	for range n {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+node.Addr(),
			strings.NewReader(`{"id":1,"method":"getblocktemplate","params":[{"rules":["segwit"]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(testkit.FakeNodeUser, testkit.FakeNodePassword)
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		reply, err := work.ParseReply(body)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, reply.Template)
		node.NewBlock()
	}
	return list
}

// startVirtual runs the loop until the end of the test's bubble, whose time it
// brings to that of the templates.
func startVirtual(t *testing.T, templates []*work.Template, nonce2 int) *virtual {
	<-time.After(time.Until(time.Unix(int64(templates[len(templates)-1].CurTime), 0)))
	ctx, cancel := context.WithCancel(t.Context())
	v := &virtual{
		t: t, ctx: ctx, calls: make(chan func()), jobs: map[uint64]*session.Work{}, templates: templates,
		settings: session.Settings{
			PoolName: "ckpool", Extranonce1Len: 4, Extranonce2Len: nonce2, VersionMask: 0x1fffe000,
			Listeners:     []session.ListenerSettings{{MinDiff: 1e-9, StartDiff: 1e-8}},
			UnauthTimeout: time.Minute,
		},
		builder: &work.Builder{
			Tag: "ckpool", PayoutScript: scriptOf(t, poolAddress),
			Extranonce1Len: 4, Extranonce2Len: nonce2, VersionMask: 0x1fffe000,
		},
	}
	v.Users = users.New(users.Config{Settings: users.Settings{Name: "ckpool"}, LogDir: t.TempDir(), Loops: 1}, time.Now())
	backend := session.Backend{
		Settings: func() *session.Settings { return &v.settings }, Jobs: v, Workers: v.Users, Sinks: v.Sinks(),
		Block:  func(s *session.Share) { t.Errorf("a block at difficulty 1: %x", s.Computed.Hash) },
		Notice: func(string, string) {},
	}
	v.handler = session.NewHandler(v, backend, session.NewGroup(session.NewRegistry(4, 1), 1, func(uint64, netserver.Reason) {}))
	v.ended.Go(v.loop)
	t.Cleanup(func() {
		cancel()
		v.ended.Wait()
	})
	return v
}

// loop is the event loop: lines of all connections, new work every 30 s, a new
// tip every 3 minutes, a tick every second.
func (v *virtual) loop() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seconds := 0; ; {
		if seconds%30 == 0 {
			v.publish(uint64(seconds/30+1), uint64(seconds/180*6+1))
			for v.handler.Step() {
			}
		}
		select {
		case <-v.ctx.Done():
			for _, c := range v.conns {
				c.Close()
				close(c.out)
			}
			return
		case f := <-v.calls:
			f()
			v.handler.Flush()
			continue
		case now := <-tick.C:
			v.handler.Tick(now)
			for v.handler.Step() { // as a loop does
			}
		}
		seconds++
	}
}

func (v *virtual) publish(id, tip uint64) {
	if w := v.work.Load(); w != nil && w.Job.ID == id {
		return
	}
	job, err := v.builder.Job(v.templates[tip/6%uint64(len(v.templates))], id, time.Now(), nil)
	if err != nil {
		v.t.Error(err)
		return
	}
	w := &session.Work{Job: job, Tip: tip, Oldest: 1}
	v.jobs[id] = w
	v.work.Store(w)
}

func (v *virtual) call(f func()) {
	select {
	case v.calls <- f:
	case <-v.ctx.Done():
	}
}

// dial is firmware's way in.
func (v *virtual) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p := &pipe{ours, make(chan []byte, 1<<16)}
	v.call(func() {
		slot := netserver.Slot(len(v.conns))
		v.conns = append(v.conns, p)
		v.handler.Open(slot, v.Remote(slot), 0)
		v.ended.Go(func() {
			for b := range p.out {
				if _, err := p.Write(b); err != nil {
					continue
				}
			}
		})
		v.ended.Go(func() {
			for lines := bufio.NewScanner(p); lines.Scan(); {
				line := bytes.Clone(lines.Bytes())
				v.call(func() { v.handler.Line(slot, line) })
			}
		})
	})
	return theirs, nil
}

// The transport of sessions, on the loop.

func (v *virtual) Write(s netserver.Slot, b []byte)                { v.conns[s].out <- bytes.Clone(b) }
func (v *virtual) WriteWork(s netserver.Slot, b []byte, _ uint8)   { v.Write(s, b) }
func (v *virtual) WriteShared(s netserver.Slot, b []byte, _ uint8) { v.Write(s, b) }
func (v *virtual) DropWork(netserver.Slot) uint8                   { return 0 }
func (v *virtual) Answered()                                       {}
func (v *virtual) Notified(time.Time)                              {}
func (v *virtual) Authorized(netserver.Slot)                       {}
func (v *virtual) Remote(netserver.Slot) netip.AddrPort {
	return netip.MustParseAddrPort("127.0.0.1:9")
}
func (v *virtual) Now() time.Time { return time.Now() }
func (v *virtual) Index() int     { return 0 }
func (v *virtual) Post(fn func()) { v.call(fn) }
func (v *virtual) Close(s netserver.Slot, why netserver.Reason) {
	v.t.Errorf("connection %d closed: %v", s, why)
	v.conns[s].Close()
}

// The jobs of sessions.

func (v *virtual) Work(uint32) *session.Work    { return v.work.Load() }
func (v *virtual) Newest() *session.Work        { return v.work.Load() }
func (v *virtual) Renew(uint32, uint64)         {}
func (v *virtual) Find(id uint64) *session.Work { return v.jobs[id] }
