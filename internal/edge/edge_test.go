package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/source"
)

func TestMain(m *testing.M) {
	// The machine may be busy with other tests.
	handover.AgreeTime, handover.DefaultLimits = patience, handover.Limits{Ready: patience, Pause: patience, Start: patience}
	goleak.VerifyTestMain(m)
}

const patience = time.Minute

// What the first release writes of an instance.
var ofState = stateRecord{rejecting: true, began: time.Unix(1795327613, 0), relay: []byte("of the links")}

// What the first release that had it writes of blocks of a node.
var ofBlocks = blocksRecord{[]source.SolvedBlock{{Height: 850001, Hash: [32]byte{4}, Serialised: bytes.Repeat([]byte{0x5a}, 81)}}}

func TestRecordsV1(t *testing.T) {
	state := records.Check(t, records.V1(t, "state"), stateVersion, (*stateRecord).fields)
	if !reflect.DeepEqual(state, &ofState) {
		t.Errorf("%+v", state)
	}
	head := records.Check(t, records.V1(t, "miners"), minersVersion, (*minersHead).fields)
	if head.loop != 3 {
		t.Errorf("%+v", head)
	}
	instance := records.JSON[Instance](t, records.V1(t, "instance"))
	if !reflect.DeepEqual(instance, Instance{Mode: "passthrough", Loops: 2, Miners: 40, Moving: []string{"pool.example:3333"}}) {
		t.Errorf("%+v", instance)
	}
	records.Damaged(t, "state", 0, func(in []byte) error { _, err := readState(in); return err })
	blocks := records.Check(t, records.V1(t, "blocks"), blocksVersion, (*blocksRecord).fields)
	if !reflect.DeepEqual(blocks, &ofBlocks) {
		t.Errorf("%+v", blocks)
	}
	records.Damaged(t, "blocks", 0, func(in []byte) error { _, err := readBlocks(in); return err })
	// The numbers of sections are part of the format.
	if sectionListeners != 16 || sectionState != 17 || sectionUplink != 18 || sectionLimits != 19 || sectionMiners != 20 || sectionBlocks != 21 || sectionRedirects != 64 {
		t.Error("sections have other numbers")
	}
}

func FuzzReadState(f *testing.F) {
	f.Add(records.V1(f, "state"))
	f.Add(records.V1(f, "miners"))
	f.Add(records.V1(f, "blocks"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = readState(in)
		_, _ = readBlocks(in)
		var k minersHead
		wire.Read(in).Versioned(minersVersion, k.fields)
	})
}

// running is an edge of a test, with its control sockets.
type running struct {
	t      *testing.T
	edge   *Edge
	dir    string
	own    *fakenode.Node // of a node
	addr   string
	cancel context.CancelFunc
	ended  chan struct{}

	mu  sync.Mutex
	log strings.Builder // guarded by mu
}

func (r *running) tell(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(&r.log, e.Text)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *running) logs(text string) {
	r.t.Helper()
	wait.Until(r.t, patience, "log: "+text, func() bool { return strings.Contains(r.text(), text) })
}

// prepare makes a redirector before a pool, or, if it has a bitcoin node, a node; with TLS if there
// is a certificate in dir.
func prepare(t *testing.T, dir, pool string, own *fakenode.Node, takeOver bool) *running {
	t.Helper()
	keys := map[string]any{
		"serverurl": []string{"127.0.0.1:0"}, "proxy": []any{map[string]any{"url": pool}}, "redirecturl": []string{"a.example:1"}, "logdir": filepath.Join(dir, "logs"),
	}
	mode := config.Redirector
	if own != nil {
		mode, keys["btcd"] = config.Node, []any{map[string]any{"url": own.Addr(), "auth": "user", "pass": "pass", "zmq": []string{}}}
	}
	text, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse("ckpassthrough.conf", text, mode)
	if c.Servers[0].URL = "127.0.0.1:0"; err != nil && !strings.Contains(err.Error(), "serverurl") {
		t.Fatal(err)
	}
	cert := filepath.Join(dir, "cert.pem")
	if _, err := os.Stat(cert); err == nil {
		c.Servers[0].TLSCert, c.Servers[0].TLSKey = cert, filepath.Join(dir, "key.pem")
	}
	r := &running{t: t, dir: dir, own: own, ended: make(chan struct{})}
	if r.edge, err = New(c, Options{Redirector: own == nil, Node: own != nil, Version: "test", Events: r.tell, TakeOver: takeOver}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.cancel != nil {
			r.cancel()
			<-r.ended
		}
		if t.Failed() {
			t.Log(r.text())
		}
	})
	return r
}

// serve runs it.
func (r *running) serve() {
	r.t.Helper()
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	server := control.NewServer(r.dir, -1)
	server.HandleConn("listener", handover.Command, func(ctx context.Context, c *net.UnixConn, arg string) {
		if err := handover.Accept(c, arg); err != nil {
			r.t.Error(err)
			return
		}
		if _, err := handover.Give(ctx, c, r.edge.Outgoing(), handover.DefaultLimits); err != nil {
			r.tell(event.Event{Text: "not handed over: " + err.Error()})
			return
		}
		r.cancel()
	})
	r.edge.Commands(server, operator.Process{Shutdown: r.cancel, Ending: func() bool { return false }, SetLogLevel: func(event.Level) {}})
	if err := server.Listen(); err != nil {
		r.t.Fatal(err)
	}
	r.addr = r.edge.server.Listeners()[0].Addrs[0].String()
	go func() {
		defer close(r.ended)
		defer server.Close()
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(ctx)
		}()
		if err := r.edge.Run(ctx); err != nil {
			r.t.Error(err)
		}
		r.cancel()
		<-served
	}()
}

// succeed has another edge take over, and fails there if a step is named.
func (r *running) succeed(pool, failAt string) (*running, error) {
	r.t.Helper()
	n := prepare(r.t, r.dir, pool, r.own, true)
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	link, err := handover.Dial(ctx, filepath.Join(r.dir, "listener"), func(step string) {
		if step == failAt {
			cancel()
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer link.Close()
	in, err := n.edge.Incoming(link.Hello().Instance, func() error { return n.edge.Listen(ctx) })
	if err == nil {
		if err = link.Take(ctx, in); err == nil {
			err = link.Start()
		}
		if err != nil {
			in.Abandon()
		}
	}
	if err != nil {
		link.Refuse(err)
		n.edge.Close()
		return nil, err
	}
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("the old one does not end")
	}
	n.serve()
	return n, nil
}

// peer is a connection by hand.
type peer struct {
	net.Conn
	t    *testing.T
	read *bufio.Reader
}

func newPeer(t *testing.T, c net.Conn) *peer {
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{c, t, bufio.NewReader(c)}
}

func (p *peer) say(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p, format, args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) next(part string) string {
	p.t.Helper()
	for {
		line, err := p.read.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%q was never said: %v", part, err)
		}
		if strings.Contains(line, part) {
			return strings.TrimSuffix(line, "\n")
		}
	}
}

// acceptLink is the pool's end of a link with a dialect.
func acceptLink(t *testing.T, l net.Listener, dialect int) *peer {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, c)
	p.next("mining.")
	p.say("%s", poolproto.AppendAnswer(nil, &poolproto.Answer{Accepted: true, Dialect: dialect}))
	return p
}

// start runs an edge that has a link of a dialect to a pool, which listens at l. secure: its
// miners come over TLS. It is a node if it has a bitcoin node.
func start(t *testing.T, dialect int, secure bool, own *fakenode.Node) (r *running, l net.Listener, pool *peer) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ck") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if secure {
		certificate.New(t, "pool.example", 1).Write(t, dir)
	}
	if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r = prepare(t, dir, l.Addr().String(), own, false)
	if err := r.edge.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.serve()
	pool = acceptLink(t, l, dialect)
	r.logs("serves the miners")
	return r, l, pool
}

// channelOf is that of a miner's line, as the pool hears it.
func channelOf(t *testing.T, dialect int, line string) uint32 {
	t.Helper()
	if dialect > 0 {
		f, err := poolproto.ParseFrame([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		return f.Channel
	}
	w, err := poolproto.ParseWrapped([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return w.Channel
}

// forMiner is a line for a miner, as the pool says it.
func forMiner(dialect int, channel uint32, line string) string {
	if dialect > 0 {
		return fmt.Sprintf("l %d %s\n", channel, line)
	}
	return string(poolproto.AppendTagged(nil, []byte(line+"\n"), channel, nil))
}

// Neither pool nor miner notices that another process goes on, nor that one has tried to and
// failed: lines of which half has come, on either side, are whole in the end, in both
// dialects; and what the pool has once defined it need not say again.
func TestMove(t *testing.T) {
	for dialect, name := range []string{"C", "short"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, l, pool := start(t, dialect, false, nil)
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			miner := newPeer(t, c)
			miner.say(`{"id":1,"method":"mining.subscribe","params":["miner/1"]}` + "\n")
			channel := channelOf(t, dialect, pool.next("mining.subscribe"))
			if dialect > 0 {
				pool.say("w 5 {\"method\":\"mining.notify\",\"id\":null,\"params\":[\"shared\"]}\n")
			}
			for round, failAt := range []string{"section", "", "complete", "", ""} {
				answer := fmt.Sprintf(`{"result":true,"error":null,"id":%d}`, round)
				half := forMiner(dialect, channel, answer)
				pool.say("%s", half[:len(half)/2])
				request := fmt.Sprintf(`{"id":%d,"method":"mining.submit","params":["bob"]}`, round)
				miner.say("%s", request[:20])
				n, err := r.succeed(l.Addr().String(), failAt)
				switch {
				case (err != nil) != (failAt != ""):
					t.Fatal(err)
				case err == nil:
					r = n
				}
				miner.say("%s\n", request[20:])
				pool.next(fmt.Sprintf(`"id":%d,`, round))
				pool.say("%s", half[len(half)/2:])
				if got := miner.next("result"); got != answer {
					t.Errorf("%s, want %s", got, answer)
				}
				if dialect > 0 {
					pool.say("b 5 %d\n", channel)
					miner.next("shared")
				}
			}
			miner.Close()
			pool.next(map[int]string{0: poolproto.Term, 1: fmt.Sprintf("c %d ", channel)}[dialect])
			_ = pool.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if b, err := io.ReadAll(pool.read); !errors.Is(err, os.ErrDeadlineExceeded) || len(b) > 0 {
				t.Errorf("the pool also heard %q, %v", b, err)
			}
		})
	}
}

// A miner over TLS cannot move. It notices nothing of processes that have tried to take over and
// failed, nor does the pool, in either dialect, though it could not go on with that session. When
// one has taken over, the miner is asked to connect again, and the pool hears that it has left.
func TestMoveOfTLSMiner(t *testing.T) {
	for dialect, name := range []string{"C", "short"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, l, pool := start(t, dialect, true, nil)
			c, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			miner := newPeer(t, c)
			var channel uint32
			for round, failAt := range []string{"", "section", "complete"} {
				if failAt != "" {
					if _, err := r.succeed(l.Addr().String(), failAt); err == nil {
						t.Fatal("not failed at " + failAt)
					}
				}
				miner.say(`{"id":%d,"method":"mining.submit","params":["bob"]}`+"\n", round)
				line := pool.next("")
				for line == "p" || round == 0 && !strings.Contains(line, "mining.submit") { // but that it has come
					line = pool.next("")
				}
				if round == 0 {
					channel = channelOf(t, dialect, line)
				}
				if !strings.Contains(line, fmt.Sprintf(`"id":%d,`, round)) || channelOf(t, dialect, line) != channel {
					t.Fatalf("after %q the pool hears %s", failAt, line)
				}
				answer := fmt.Sprintf(`{"result":true,"error":null,"id":%d}`, round)
				pool.say("%s", forMiner(dialect, channel, answer))
				if got := miner.next(""); got != answer {
					t.Fatalf("after %q the miner hears %s", failAt, got)
				}
			}
			if _, err := r.succeed(l.Addr().String(), ""); err != nil {
				t.Fatal(err)
			}
			miner.next("client.reconnect")
			if b, err := io.ReadAll(miner.read); err != nil || len(b) > 0 {
				t.Errorf("the miner also hears %q, %v", b, err)
			}
			pool.next(map[int]string{0: poolproto.Term, 1: fmt.Sprintf("c %d moved", channel)}[dialect])
		})
	}
}

// A block that a node can neither save nor bring to its bitcoin node goes to the process that takes
// over.
func TestMoveOfUnsavedBlock(t *testing.T) {
	t.Parallel()
	own := testkit.StartFakeNode(t, fakenode.Config{User: "user", Password: "pass"})
	own.SetFault(fakenode.Fault{Kind: fakenode.Cut})
	r, l, _ := start(t, 1, false, own)
	block := ofBlocks.list[0]
	inTheWay := filepath.Join(r.dir, "logs", "pool", "blocks")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.edge.node.group.Submit(block.Height, block.Hash, block.Serialised, func(source.BlockState) {})
	for range 2 {
		n, err := r.succeed(l.Addr().String(), "")
		if err != nil {
			t.Fatal(err)
		}
		r = n
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, patience, "the block is saved", func() bool { return bitcoind.SavedBlocks(inTheWay) == 1 })
	own.ClearFault()
	wait.Until(t, patience, "the bitcoin node has the block", func() bool {
		return slices.ContainsFunc(own.Submissions(), func(s fakenode.Submission) bool { return bytes.Equal(s.Raw, block.Serialised) })
	})
}

// The line of each minute has the seconds since the start, and then what connectorstats
// answers.
func TestMinute(t *testing.T) {
	t.Parallel()
	r := prepare(t, t.TempDir(), "127.0.0.1:1", nil, false)
	defer r.edge.Close()
	r.edge.minute(r.edge.began.Add(61 * time.Second))
	if text := r.text(); !strings.Contains(text, `Passthrough:{"runtime": 61, "clients": {"count": 0, "memory": 0, "generated": 0}, "dead": {`) ||
		!strings.Contains(text, `"moved to another pool": 0`) {
		t.Error(text)
	}
}

// What the instance says of itself where there is no pool.
func TestSummary(t *testing.T) {
	t.Parallel()
	r := prepare(t, t.TempDir(), "127.0.0.1:1", nil, false)
	defer r.edge.Close()
	if got := r.edge.Summary(time.Now()); got != "No pool upstream yet; no miners" {
		t.Error(got)
	}
	if err := r.edge.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "no pool upstream gives a link: 127.0.0.1:1: ") {
		t.Errorf("prepared: %v", err)
	}
	if got := r.edge.Summary(time.Now()); !strings.HasPrefix(got, "No pool upstream: 127.0.0.1:1 dial tcp") {
		t.Error(got)
	}
	if got := r.edge.StatusLine(time.Now(), 0, 80); got != "\x1b[2K\r|  no pool upstream  no miners" {
		t.Errorf("%q", got)
	}
}
