package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	connectionTime = 10 * time.Second       // for a whole connection
	handlerTime    = 900 * time.Millisecond // so that each reply leaves within 1 s
	closingTime    = 300 * time.Millisecond // for replies under way at the end
	requestTime    = 100 * time.Millisecond // at the end, for a request that is on its way
	acceptPause    = 50 * time.Millisecond  // after a failed accept
	settleTime     = 500 * time.Millisecond // for what was asked before Hold to be answered
	drainBytes     = 64 << 10
)

// Server answers commands on the sockets of one directory. Register all
// commands first, then Listen, then Serve.
//
// A command is found by case-insensitive prefix in the order of registration:
// "PINGxyz" is ping. Register "workerclients" before "worker". A request that
// no command matches is answered "unknown", an unreadable one "failed".
type Server struct {
	// immutable after Listen
	dir       string
	gid       int
	sockets   []*socket
	replyTime time.Duration
	wholeTime time.Duration // for a connection
	holdTime  time.Duration // for what was asked before Hold

	moved atomic.Bool // the sockets' files are another process's

	mu     sync.Mutex
	conns  map[*net.UnixConn]struct{} // guarded by mu
	spares []*os.File                 // guarded by mu; see lendSpare
	wg     sync.WaitGroup             // accept loops, connections and handlers

	asking  map[*net.UnixConn]struct{} // guarded by mu; those of conns whose command is not answered, or taken over, yet
	settled chan struct{}              // guarded by mu; closed when none is asking; nil: nobody waits for that
	held    chan struct{}              // guarded by mu; closed when commands may begin; nil: they may
}

type socket struct {
	name      string
	commands  []command
	listener  *net.UnixListener
	file      os.FileInfo // what Listen made, so that Close removes nothing else
	inherited *os.File    // another process's, to be used by Listen

	accepting sync.Mutex        // held while a connection is accepted
	serving   *net.UnixListener // immutable while connections are accepted
	held      bool              // guarded by accepting; connections wait in the socket
}

type command struct {
	prefix   string
	handle   func(ctx context.Context, args string) (string, error)
	handleFD func(ctx context.Context, n int) (*os.File, error)
	take     func(ctx context.Context, c *net.UnixConn, args string)
}

// NewServer makes a server for sockets in dir. Their group is gid, or left
// alone if gid is negative.
func NewServer(dir string, gid int) *Server {
	return &Server{dir: dir, gid: gid, replyTime: handlerTime, wholeTime: connectionTime, holdTime: settleTime, conns: map[*net.UnixConn]struct{}{}, asking: map[*net.UnixConn]struct{}{}}
}

// Handle registers a command. args is what follows the prefix, less one
// separator character; if the prefix itself ends in punctuation ("message:",
// "{") or is empty, nothing more is cut. An empty reply is sent as "ok", an error as
// [Fault]. f has 0.9 s, then the client is told so; it must return when ctx ends.
func (s *Server) Handle(socket, prefix string, f func(ctx context.Context, args string) (reply string, err error)) {
	s.register(socket, command{prefix: prefix, handle: f})
}

// HandleFD registers a command that passes a descriptor and has no other
// reply: the number directly behind the prefix, 0 without one, chooses it.
// The server closes the returned file. On an error the connection is closed
// without data.
func (s *Server) HandleFD(socket, prefix string, f func(ctx context.Context, n int) (*os.File, error)) {
	s.register(socket, command{prefix: prefix, handleFD: f})
}

// HandleConn registers a command that takes the connection over, without any
// time limit but that f must return when ctx ends. The server closes it
// afterwards.
func (s *Server) HandleConn(socket, prefix string, f func(ctx context.Context, c *net.UnixConn, args string)) {
	s.register(socket, command{prefix: prefix, take: f})
}

func (s *Server) register(name string, c command) {
	for _, k := range s.sockets {
		if k.name == name {
			k.commands = append(k.commands, c)
			return
		}
	}
	s.sockets = append(s.sockets, &socket{name: name, commands: []command{c}})
}

// Listen creates the sockets, mode 0770. A socket that is already there is
// replaced, anything else left alone and refused. After an error no socket is
// left.
func (s *Server) Listen() error {
	for _, k := range s.sockets {
		if err := k.listen(filepath.Join(s.dir, k.name), s.gid); err != nil {
			s.Close()
			return err
		}
	}
	return nil
}

func (k *socket) listen(path string, gid int) error {
	if len(path) > maxPath {
		return fmt.Errorf("%s: path of a socket is longer than %d bytes", path, maxPath)
	}
	switch info, err := os.Lstat(path); {
	case k.inherited != nil:
	case err == nil && info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s already exists and is not a socket, not removing", path)
	case err == nil:
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replace old socket: %w", err)
		}
	}
	l, err := k.bind(path)
	if err != nil {
		return fmt.Errorf("open %s socket: %w", k.name, err)
	}
	l.SetUnlinkOnClose(false)
	k.listener = l
	if k.file, err = os.Lstat(path); err != nil {
		return fmt.Errorf("open %s socket: %w", k.name, err)
	}
	if err := os.Chmod(path, 0o770); err != nil {
		return fmt.Errorf("open %s socket: %w", k.name, err)
	}
	if gid >= 0 {
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("set %s to group id %d: %w", path, gid, err)
		}
	}
	return nil
}

// bind makes the socket's listener.
func (k *socket) bind(path string) (*net.UnixListener, error) {
	if k.inherited == nil {
		return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	}
	l, err := net.FileListener(k.inherited)
	k.inherited.Close()
	k.inherited = nil
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok || u.Addr().String() != path {
		l.Close()
		return nil, fmt.Errorf("inherited socket is %v", l.Addr())
	}
	return u, nil
}

// Inherit makes Listen go on with a listening socket of another process that
// serves the same directory, instead of replacing it. The file is the server's
// from then on; one for a name without commands is closed.
func (s *Server) Inherit(name string, f *os.File) {
	for _, k := range s.sockets {
		if k.name == name && k.inherited == nil {
			k.inherited = f
			return
		}
	}
	f.Close()
}

// Files are duplicates of the listening sockets by name, to pass to another
// process. The caller closes them.
func (s *Server) Files() (map[string]*os.File, error) {
	files := make(map[string]*os.File)
	for _, k := range s.sockets {
		f, err := k.listener.File()
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, fmt.Errorf("duplicate %s socket: %w", k.name, err)
		}
		files[k.name] = f
	}
	return files, nil
}

// Leave makes Close, and the end of Serve, leave the sockets in their
// directory, where they are another process's, and accept no more connections.
// A command that has not begun by then is refused. Any goroutine may call.
func (s *Server) Leave() {
	s.moved.Store(true)
	s.begin()
}

// Close closes and removes the sockets, except those that another process has
// replaced meanwhile. Serve does it itself.
func (s *Server) Close() {
	for _, k := range s.sockets {
		if k.inherited != nil {
			k.inherited.Close()
			k.inherited = nil
		}
		if k.listener == nil {
			continue
		}
		path := filepath.Join(s.dir, k.name)
		if now, err := os.Lstat(path); err == nil && !s.moved.Load() && k.file != nil && os.SameFile(now, k.file) {
			os.Remove(path)
		}
		k.listener.Close()
		k.listener = nil
	}
}

// Serve answers until ctx ends, then gives replies under way 0.3 s, waits for
// its goroutines and closes the sockets.
func (s *Server) Serve(ctx context.Context) {
	s.keepSpares()
	defer func() {
		for s.lendSpare() {
		}
	}()
	for _, k := range s.sockets {
		k.serving = k.listener // which Close forgets
	}
	for _, k := range s.sockets {
		s.wg.Go(func() { s.accept(ctx, k) })
	}
	<-ctx.Done()
	s.Close()
	s.mu.Lock()
	for c := range s.conns {
		hurry(c)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func hurry(c *net.UnixConn) {
	_ = c.SetReadDeadline(time.Now().Add(requestTime))
	_ = c.SetWriteDeadline(time.Now().Add(closingTime))
}

func (s *Server) accept(ctx context.Context, k *socket) {
	for ctx.Err() == nil && !s.moved.Load() {
		c, err := s.next(k)
		if err != nil {
			if errors.Is(err, syscall.EMFILE) && s.lendSpare() {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		s.wg.Go(func() {
			s.serve(ctx, k, c)
			s.answered(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
			s.keepSpares()
		})
	}
}

// spares is how many descriptors are kept. One would do, if the rest of the program
// did not take what is given up now and then, and keep it.
const spares = 8

// keepSpares keeps descriptors that can be given up, so that an operator is heard
// when there is no other left.
func (s *Server) keepSpares() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.spares) < spares {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return // there is none left, next time perhaps
		}
		s.spares = append(s.spares, f)
	}
}

// lendSpare gives a spare descriptor up for the connection that waits.
func (s *Server) lendSpare() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.spares) - 1
	if last < 0 {
		return false
	}
	s.spares[last].Close()
	s.spares = s.spares[:last]
	return true
}

func (s *Server) serve(ctx context.Context, k *socket, c *net.UnixConn) {
	s.mu.Lock()
	_ = c.SetDeadline(time.Now().Add(s.wholeTime))
	if ctx.Err() != nil {
		hurry(c)
	}
	s.mu.Unlock()

	request, err := ReadFrame(c, MaxRequest)
	if errors.Is(err, io.EOF) {
		return
	}
	var reply string
	switch {
	case err != nil:
		reply = "failed"
	case !s.mayBegin(ctx):
		reply = Fault(errMoved)
	default:
		var sent bool
		if reply, sent = s.answer(ctx, k, c, string(request)); sent {
			return
		}
	}
	err = WriteFrame(c, []byte(reply))
	s.answered(c)
	if err != nil {
		return // the client does not care
	}
	_ = c.CloseWrite()
	// Closing with unread input would take the reply away from the client.
	_ = c.SetReadDeadline(time.Now().Add(closingTime))
	_, _ = io.CopyN(io.Discard, c, drainBytes)
}

// answer runs the command; sent says that no reply is to follow.
func (s *Server) answer(ctx context.Context, k *socket, c *net.UnixConn, request string) (reply string, sent bool) {
	cmd, rest := k.find(request)
	switch {
	case cmd == nil:
		return "unknown", false
	case cmd.handleFD != nil:
		s.passFD(ctx, cmd, c, rest)
		return "", true
	case cmd.take != nil:
		s.answered(c)
		_ = c.SetDeadline(time.Time{})
		cmd.take(ctx, c, argument(cmd.prefix, rest))
		return "", true
	}

	type result struct {
		reply string
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, s.replyTime)
	defer cancel()
	done := make(chan result, 1)
	s.wg.Go(func() {
		reply, err := cmd.handle(ctx, argument(cmd.prefix, rest))
		done <- result{reply, err}
	})
	timer := time.NewTimer(s.replyTime)
	defer timer.Stop()
	var r result
	select {
	case r = <-done:
	case <-timer.C:
		select {
		case r = <-done: // on a busy machine both are seen at the same time
		default:
			r.err = fmt.Errorf("%s takes longer than %v", cmd.prefix, s.replyTime)
		}
	}
	switch {
	case r.err != nil:
		return Fault(r.err), false
	case r.reply == "":
		return "ok", false
	}
	return r.reply, false
}

func (s *Server) passFD(ctx context.Context, cmd *command, c *net.UnixConn, rest string) {
	n := 0
	if rest != "" {
		var err error
		if n, err = strconv.Atoi(rest); err != nil {
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.replyTime)
	defer cancel()
	f, err := cmd.handleFD(ctx, n)
	if err != nil || f == nil {
		return
	}
	defer f.Close()
	_ = sendFD(c, f) // a client that is gone needs none
}

func (k *socket) find(request string) (*command, string) {
	for i := range k.commands {
		p := k.commands[i].prefix
		if len(request) >= len(p) && strings.EqualFold(request[:len(p)], p) {
			return &k.commands[i], request[len(p):]
		}
	}
	return nil, ""
}

func argument(prefix, rest string) string {
	if prefix == "" {
		return rest
	}
	last := prefix[len(prefix)-1]
	word := last >= 'a' && last <= 'z' || last >= 'A' && last <= 'Z' || last >= '0' && last <= '9'
	if word && rest != "" {
		return rest[1:]
	}
	return rest
}
