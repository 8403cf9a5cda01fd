package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/control"
)

// listenKey has the test binary be a process that begins to listen on a control socket,
// gives it away and ends.
const listenKey = "HANDOVER_TEST_LISTEN"

func TestMain(m *testing.M) {
	if path := os.Getenv(listenKey); path != "" {
		if err := listenAndGive(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// listenAndGive sends the socket over the first extra descriptor.
func listenAndGive(path string) error {
	to := os.NewFile(3, "to")
	defer to.Close()
	c, err := net.FileConn(to)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return newLink(context.Background(), c.(*net.UnixConn)).send(FirstSection, nil, []int{FD(f)})
}

// listenBefore is a socket at path that a process listened on which has ended.
func listenBefore(t *testing.T, path string) *os.File {
	t.Helper()
	here, there := pair(t)
	to, err := there.File()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), listenKey+"="+path)
	c.ExtraFiles = []*os.File{to}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := newLink(t.Context(), here).receive()
	if err != nil || len(f.fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(f.fds), err)
	}
	return os.NewFile(uintptr(f.fds[0]), "listener")
}

// source is an instance whose state is a list of texts, each a section, and
// whose connections are pipes.
type source struct {
	mu     sync.Mutex
	log    []string // what was done to it
	state  []string
	pipes  []*os.File
	copies int

	copying            func(n int) // called in each Copy with how many were before
	copyErr, readyErr  error
	freezeErr, restErr error
	frozen             func() // called in Rest
	thawing            func() // called in Thaw
}

const (
	sectionText Kind = FirstSection + iota
	sectionPipes
)

func (s *source) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
}

func (s *source) notes() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, " ")
}

func (s *source) Describe() (any, string) { return map[string]int{"loops": 2}, "1.0" }

func (s *source) Copy(_ context.Context, first bool, send Send) error {
	if s.copying != nil {
		s.copying(s.copies)
	}
	s.copies++
	if !first {
		return s.copyErr
	}
	for _, text := range s.state {
		if err := send(sectionText, []byte(text), nil); err != nil {
			return err
		}
	}
	return s.copyErr
}

func (s *source) Ready(context.Context) error { return s.readyErr }

func (s *source) Freeze(context.Context) (time.Time, error) {
	if s.freezeErr == nil {
		s.note("frozen")
	}
	return time.Now(), s.freezeErr
}

func (s *source) Rest(send Send) error {
	if s.frozen != nil {
		s.frozen()
	}
	if s.restErr != nil {
		return s.restErr
	}
	var fds []int
	for _, f := range s.pipes {
		fds = append(fds, FD(f))
	}
	return send(sectionPipes, []byte("pipes"), fds)
}

func (s *source) Thaw() {
	if s.thawing != nil {
		s.thawing()
	}
	s.note("thawed")
}

func (s *source) Leave()  { s.note("left") }
func (s *source) Forget() { s.note("forgot") }

// sink takes what a source has.
type sink struct {
	texts    []string
	pipes    []*os.File
	readyErr error
	ready    func(ctx context.Context) error
	section  error // of the pipes
	complete error
}

func (s *sink) Section(kind Kind, data []byte, fds []int) error {
	switch kind {
	case sectionText:
		s.texts = append(s.texts, string(data))
	case sectionPipes:
		for _, fd := range fds {
			s.pipes = append(s.pipes, os.NewFile(uintptr(fd), "pipe"))
		}
		return s.section
	}
	return nil
}

func (s *sink) Ready(ctx context.Context) error {
	if s.ready != nil {
		return s.ready(ctx)
	}
	return s.readyErr
}

func (s *sink) Complete() error { return s.complete }

func (s *sink) close() {
	for _, f := range s.pipes {
		f.Close()
	}
}

// move is one handover between two goroutines.
type move struct {
	t      *testing.T
	src    *source
	dst    *sink
	limits Limits
	step   func(name string)
	abort  context.CancelFunc // of the new side

	gave    chan struct{} // closed when the old side is done
	took    chan struct{} // closed when the new side is done
	report  Report
	gaveErr error
	tookErr error
	serving bool // the new side
	steps   []string
	path    string
}

// patience is more than anything here takes.
var patience = Limits{Ready: time.Minute, Pause: time.Minute, Start: time.Minute}

func (m *move) run() {
	m.t.Helper()
	if m.limits == (Limits{}) {
		m.limits = patience
	}
	m.gave = make(chan struct{})
	server := serve(m.t, func(ctx context.Context, c *net.UnixConn, arg string) {
		defer close(m.gave)
		if err := Accept(c, arg); err != nil {
			_ = control.WriteFrame(c, []byte(control.Fault(err)))
			m.gaveErr = err
			return
		}
		m.report, m.gaveErr = Give(ctx, c, m.src, m.limits)
	})
	m.path = server.path
	m.take()
	<-m.gave
	server.stop()
}

func (m *move) take() {
	defer close(m.took)
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	m.abort = cancel
	link, err := Dial(ctx, m.path, func(name string) {
		m.steps = append(m.steps, name)
		if m.step != nil {
			m.step(name)
		}
	})
	if err != nil {
		m.tookErr = err
		return
	}
	defer link.Close()
	if m.tookErr = link.Take(ctx, m.dst); m.tookErr == nil {
		m.tookErr = link.Start()
	}
	if m.tookErr != nil {
		link.Refuse(m.tookErr)
		m.dst.close()
		return
	}
	m.serving = true
}

// listening is a control socket with the one command.
type listening struct {
	path string
	stop func()
}

func serve(t *testing.T, give func(ctx context.Context, c *net.UnixConn, arg string)) *listening {
	t.Helper()
	return serveOn(t, nil, give)
}

// serveOn is serve on a socket that open makes at a path; nil: one of its own.
func serveOn(t *testing.T, open func(t *testing.T, path string) *os.File, give func(ctx context.Context, c *net.UnixConn, arg string)) *listening {
	t.Helper()
	dir, err := os.MkdirTemp("", "ho")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := control.NewServer(dir, -1)
	s.HandleConn("listener", Command, give)
	if open != nil {
		s.Inherit("listener", open(t, filepath.Join(dir, "listener")))
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Serve(ctx); close(done) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return &listening{filepath.Join(dir, "listener"), stop}
}

func newMove(t *testing.T, pipes int) *move {
	m := &move{t: t, src: &source{state: []string{"users", strings.Repeat("jobs", 100_000), ""}}, dst: &sink{}, took: make(chan struct{})}
	for range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		m.src.pipes = append(m.src.pipes, r)
		t.Cleanup(func() { r.Close(); w.Close() })
	}
	t.Cleanup(m.dst.close)
	return m
}

var errBoom = errors.New("boom")

func contains(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// wentOn fails unless the old side serves and the new one does not.
func (m *move) wentOn(frozen bool) {
	m.t.Helper()
	want := "forgot"
	if frozen {
		want = "frozen thawed forgot"
	}
	if got := m.src.notes(); got != want || m.serving {
		m.t.Errorf("old side: %s, want %s; new side serves: %v", got, want, m.serving)
	}
}

func sameFile(a, b *os.File) error {
	x, err := a.Stat()
	if err != nil {
		return err
	}
	y, err := b.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(x, y) {
		return fmt.Errorf("%v is not %v", x.Name(), y.Name())
	}
	return nil
}
