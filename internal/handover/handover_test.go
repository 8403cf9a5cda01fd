package handover

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
)

func TestHandover(t *testing.T) {
	m := newMove(t, 3)
	m.run()
	contains(t, "old side", m.gaveErr, "")
	contains(t, "new side", m.tookErr, "")
	if got := m.src.notes(); got != "frozen left" || !m.serving {
		t.Errorf("old side: %s; new side serves: %v", got, m.serving)
	}
	if !slices.Equal(m.dst.texts, m.src.state) {
		t.Errorf("%d texts came", len(m.dst.texts))
	}
	if len(m.dst.pipes) != 3 {
		t.Fatalf("%d pipes came", len(m.dst.pipes))
	}
	for i := range m.dst.pipes {
		if err := sameFile(m.dst.pipes[i], m.src.pipes[i]); err != nil {
			t.Error(err)
		}
	}
	want := []string{"connected", "hello", "copied", "ready", "section", "end", "complete", "have", "yours", "running"}
	if !slices.Equal(m.steps, want) {
		t.Errorf("steps %q", m.steps)
	}
	if m.report.PID != os.Getpid() || m.report.Pause <= 0 {
		t.Errorf("%+v", m.report)
	}
	if m.src.copies < 2 {
		t.Errorf("%d copies", m.src.copies)
	}
}

// Whatever goes wrong on either side before the end, the old side goes on and
// the new one says why not.
func TestFailures(t *testing.T) {
	const late = 2 * time.Second // a busy machine has sent all before that
	tests := []struct {
		name      string
		set       func(m *move)
		frozen    bool
		gave, got string
	}{
		{"copy fails", func(m *move) { m.src.copyErr = errBoom }, false, "boom", "the old process goes on: boom"},
		{"not ready to go", func(m *move) { m.src.readyErr = errBoom }, false, "boom", "the old process goes on: boom"},
		{"freezing fails", func(m *move) { m.src.freezeErr = errBoom }, false, "boom", "the old process goes on: boom"},
		{"rest fails", func(m *move) { m.src.restErr = errBoom }, true, "boom", "the old process goes on: boom"},
		{"new side is not ready", func(m *move) { m.dst.readyErr = errBoom }, false, "boom", "boom"},
		{"new side cannot read", func(m *move) { m.dst.section = errBoom }, true, "boom", "boom"},
		{"new side is not complete", func(m *move) { m.dst.complete = errBoom }, true, "boom", "boom"},
		{"new side is not ready in time", func(m *move) {
			m.limits = Limits{Ready: late, Pause: time.Minute, Start: time.Minute}
			m.dst.ready = func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Second):
				}
				return ctx.Err()
			}
		}, false, "did not take over in time", "the old process goes on: the new process did not take over in time"},
		{"new side stops while all stands still", func(m *move) {
			m.limits = Limits{Ready: time.Minute, Pause: late, Start: time.Minute}
			m.step = m.stall("complete")
		}, true, "did not take over in time", "the old process goes on"},
		{"new side stops before it starts", func(m *move) {
			m.limits = Limits{Ready: time.Minute, Pause: time.Minute, Start: late}
			m.step = m.stall("yours")
		}, true, "did not take over in time", "the old process goes on"},
		{"new side is interrupted", func(m *move) { m.step = m.at("copied", func() { m.abort() }) }, false, "context canceled", "context canceled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMove(t, 300)
			m.src.pipes = m.src.pipes[:MaxFDs]
			tt.set(m)
			m.run()
			contains(t, "old side", m.gaveErr, tt.gave)
			contains(t, "new side", m.tookErr, tt.got)
			m.wentOn(tt.frozen)
		})
	}
}

// The new side is told that it gets nothing before the old one wants back what it may have
// locked by then, as it does while all stands still.
func TestToldBeforeThaw(t *testing.T) {
	m := newMove(t, 1)
	m.src.restErr = errBoom
	m.src.thawing = func() {
		select {
		case <-m.took:
		case <-time.After(30 * time.Second):
			t.Error("the new side waits")
		}
	}
	m.run()
	contains(t, "old side", m.gaveErr, "boom")
	contains(t, "new side", m.tookErr, "the old process goes on: boom")
	m.wentOn(true)
}

// stall makes a step take longer than the old side waits for.
func (m *move) stall(at string) func(string) { return m.at(at, func() { <-m.gave }) }

func (m *move) at(step string, do func()) func(string) {
	return func(name string) {
		if name == step {
			do()
		}
	}
}

// A new process that dies at any step leaves the old one serving, unless it
// serves itself already.
func TestConnectionBreaksAtEveryStep(t *testing.T) {
	for _, step := range []string{"connected", "hello", "copied", "ready", "section", "end", "complete", "have", "yours"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			m := newMove(t, 2)
			gave := make(chan struct{})
			server := serve(t, func(ctx context.Context, c *net.UnixConn, arg string) {
				defer close(gave)
				if err := Accept(c, arg); err != nil {
					m.gaveErr = err
					m.src.Forget()
					return
				}
				_, m.gaveErr = Give(ctx, c, m.src, patience)
			})
			link, err := Dial(t.Context(), server.path, nil)
			if step == "connected" {
				if err == nil {
					link.Close()
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				link.step = m.at(step, func() { link.conn.Close() })
				if step == "hello" {
					link.conn.Close()
				}
				if err := link.Take(t.Context(), m.dst); err == nil && step != "yours" {
					t.Error("took over a closed connection")
				}
				if link.Start() == nil {
					t.Error("serves over a closed connection")
				}
				link.Close()
			}
			<-gave
			server.stop()
			contains(t, "old side", m.gaveErr, "ended before it took over")
			if got := m.src.notes(); strings.Contains(got, "left") || strings.Contains(got, "frozen") != strings.Contains(got, "thawed") {
				t.Errorf("old side: %s", got)
			}
		})
	}
}

// The old side is gone without a word: a new side that has everything goes on.
func TestOrphan(t *testing.T) {
	for _, tt := range []struct {
		step    string
		serves  bool
		oldLive bool
	}{
		{"copied", false, false},
		{"complete", true, false},
		{"have", true, false},
		{"yours", true, false},
		{"have", false, true},
		{"yours", false, true},
	} {
		t.Run(tt.step, func(t *testing.T) {
			t.Parallel()
			m := newMove(t, 2)
			var connection *net.UnixConn
			server := serve(t, func(ctx context.Context, c *net.UnixConn, arg string) {
				connection = c
				if Accept(c, arg) == nil {
					_, m.gaveErr = Give(ctx, c, m.src, patience)
				}
			})
			link, err := Dial(t.Context(), server.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			link.old.close()
			link.old = findPeer(os.Getpid())
			if !tt.oldLive {
				link.old.close()
				link.old = deadPeer(t)
			}
			link.step = m.at(tt.step, func() {
				// Closing alone is not enough while another test starts a program.
				_, _ = connection.CloseRead(), connection.CloseWrite()
				connection.Close()
				server.stop()
			})
			err = link.Take(t.Context(), m.dst)
			if err == nil {
				err = link.Start()
			}
			if (err == nil) != tt.serves {
				t.Errorf("new side: %v, want it to serve: %v", err, tt.serves)
			}
		})
	}
}

// The old process has its control socket from one before it, which is gone: it goes on
// itself all the same when the connection breaks, and the new one does not.
func TestSocketOfAProcessBefore(t *testing.T) {
	for _, step := range []string{"copied", "complete", "have", "yours"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			m := newMove(t, 2)
			var connection *net.UnixConn
			server := serveOn(t, listenBefore, func(ctx context.Context, c *net.UnixConn, arg string) {
				connection = c
				if Accept(c, arg) == nil {
					_, m.gaveErr = Give(ctx, c, m.src, patience)
				}
			})
			link, err := Dial(t.Context(), server.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			link.step = m.at(step, func() {
				_, _ = connection.CloseRead(), connection.CloseWrite()
				connection.Close()
				server.stop()
			})
			err = link.Take(t.Context(), m.dst)
			if err == nil {
				err = link.Start()
			}
			if err == nil {
				t.Error("serves beside the old process")
			} else if link.Gone(err) {
				t.Errorf("starts beside the old process after %v", err)
			}
		})
	}
}

// deadPeer is a process that has ended.
func deadPeer(t *testing.T) peer {
	t.Helper()
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := findPeer(c.Process.Pid)
	if p.gone(0) {
		t.Error("a live process is gone")
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !p.gone(10 * time.Second) { // as a zombie, too
		t.Error("a dead process is not gone")
	}
	_ = c.Wait()
	return p
}

func TestOtherInstances(t *testing.T) {
	tests := []struct {
		name, reply string // empty: closed without data
		want        error
		text        string
	}{
		{"knows no handover", "unknown", ErrForeign, ""},
		{"says nothing", "", ErrForeign, ""},
		{"refuses", `{"errormsg": "another handover is under way"}`, nil, "the running instance refuses: another handover is under way"},
		{"failed", "failed", nil, "the running instance refuses: failed"},
		{"nonsense", "pong", nil, `the running instance answers "pong" to handover`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, func(_ context.Context, c *net.UnixConn, _ string) {
				if tt.reply != "" {
					_ = control.WriteFrame(c, []byte(tt.reply))
				}
			})
			_, err := Dial(t.Context(), server.path, nil)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %q", err, tt.text)
			}
		})
	}
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "listener"), nil); !errors.Is(err, ErrNobody) {
		t.Errorf("no socket: %v", err)
	}
}

func TestFormats(t *testing.T) {
	server := serve(t, func(_ context.Context, c *net.UnixConn, arg string) {
		if arg != "1" {
			t.Errorf("asked for format %q", arg)
		}
		_ = control.WriteFrame(c, []byte("handover 99"))
		l := newLink(context.Background(), c)
		_ = l.send(kindHello, []byte(`{"format":99,"program":"9.9","pid":1}`), nil)
	})
	_, err := Dial(t.Context(), server.path, nil)
	contains(t, "newer instance", err, "gives handover format 99, this program reads 1 to 1")

	for arg, want := range map[string]string{
		"0": "it is too old to take over", "x": "want the newest format", "": "want the newest format", "1": "", "2": "",
	} {
		a, b := pair(t)
		err := Accept(a, arg)
		contains(t, "format "+arg, err, want)
		if err == nil {
			reply, err := control.ReadFrame(b, 100)
			if err != nil || string(reply) != "handover 1" {
				t.Errorf("format %s: %q, %v", arg, reply, err)
			}
		}
	}
}

// The old side is stopped in the middle: it goes on to its end by itself.
func TestOldSideShutsDown(t *testing.T) {
	m := newMove(t, 1)
	server := serve(t, func(ctx context.Context, c *net.UnixConn, arg string) {
		if Accept(c, arg) == nil {
			_, m.gaveErr = Give(ctx, c, m.src, patience)
		}
	})
	m.path = server.path
	stopped := make(chan struct{})
	m.step = m.at("copied", func() {
		go func() {
			server.stop()
			close(stopped)
		}()
	})
	m.dst.ready = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	m.take()
	<-stopped
	if m.serving || m.gaveErr == nil {
		t.Errorf("new side serves: %v, old side: %v", m.serving, m.gaveErr)
	}
}

func TestForeign(t *testing.T) {
	dir := t.TempDir()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	s := control.NewServer(dir, -1)
	var asked []string
	for _, word := range []struct{ request, reply string }{{"ping", "pong"}, {"reject", "rejecting"}, {"reconnect", "reconnecting"}, {"shutdown", "exiting"}} {
		s.Handle("listener", word.request, func(context.Context, string) (string, error) {
			asked = append(asked, word.request)
			return word.reply, nil
		})
	}
	s.HandleFD("listener", "getxfd", func(_ context.Context, n int) (*os.File, error) {
		if n > 1 {
			return nil, io.EOF
		}
		return tcp.(*net.TCPListener).File()
	})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Serve(ctx); close(done) }()
	defer func() { cancel(); <-done }()

	var log []string
	f := NewForeign(filepath.Join(dir, "listener"), func(e event.Event) { log = append(log, e.Text) })
	if !f.Alive(t.Context()) {
		t.Error("not alive")
	}
	files := f.Sockets(t.Context(), 5)
	if len(files) != 2 {
		t.Errorf("%d sockets", len(files))
	}
	for _, file := range files {
		file.Close()
	}
	if err := f.End(t.Context()); err != nil {
		t.Error(err)
	}
	if !slices.Equal(asked, []string{"ping", "reject", "reconnect", "shutdown"}) {
		t.Errorf("asked %q", asked)
	}
	if !slices.Equal(log, []string{
		"Received: rejecting in response to reject request", "Received: reconnecting in response to reconnect request", "Received: exiting in response to shutdown request",
	}) {
		t.Errorf("logged %q", log)
	}
	gone := NewForeign(filepath.Join(dir, "nobody"), func(e event.Event) { log = []string{e.Text} })
	if gone.Alive(t.Context()) || !slices.Equal(log, []string{"Received no response to ping request"}) {
		t.Errorf("logged %q", log)
	}
}
