package cpool

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what an instance has and how it misbehaves.
type Config struct {
	Dir    string   // of its sockets
	Listen []string // addresses of its TCP sockets, port 0 any
	Gives  int      // how many of them it passes on; -1 none
	Of2014 bool     // knows getfd instead of getxfdN
	Silent bool     // takes control connections and answers none
	DiesAt string   // request at which it is gone without an answer
	// Lingers: it does not end by shutdown. Stubborn: not by SIGTERM either.
	Lingers, Stubborn bool
	Keeps             bool // its ports are those of a child, which goes on for keepTime after its end
	// At is called with each request before it is answered.
	At func(o *Old, request string)
	// Replies are answers to more commands; "" closes without one.
	Replies map[string]string
}

// keepTime is how long ports stay open with Config.Keeps.
const keepTime = "0.3" // seconds

// endTime is what the process still takes once its pid file is gone.
const endTime = 50 * time.Millisecond

// Old is a running instance. Its process is another program of that name, which
// has its TCP sockets too, and what is left when the instance ends.
type Old struct {
	PID   int
	Ended chan struct{} // closed when its process is gone

	config  Config
	t       testing.TB
	sockets []*net.UnixListener
	tcp     []*net.TCPListener
	wg      sync.WaitGroup
	accepts sync.WaitGroup // goroutines of accept
	started chan struct{}  // closed when all is set up

	mu       sync.Mutex
	requests []string // guarded by mu
	faults   []string // guarded by mu; what was wrong with connections
	miners   []net.Conn
	told     time.Time      // guarded by mu; when it was told to end, if it does
	took     time.Duration  // guarded by mu; from then to its end, 0 before
	signal   syscall.Signal // that ended the process; valid when Ended
}

// Start runs an instance until the test ends.
func Start(t testing.TB, c Config) *Old {
	t.Helper()
	if c.Gives == 0 {
		c.Gives = len(c.Listen)
	}
	o := &Old{config: c, t: t, Ended: make(chan struct{}), started: make(chan struct{})}
	for _, addr := range c.Listen {
		o.tcp = append(o.tcp, listen(t, addr))
	}
	process := exec.Command("sleep", "1000")
	switch {
	case c.Stubborn:
		process = exec.Command("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
	case c.Keeps:
		process = exec.Command("sh", "-c", "(while kill -0 $$ 2>/dev/null; do sleep 0.02; done; sleep "+keepTime+") & exec 3>&-; wait")
	}
	process.Args[0] = "ckpool"
	for _, l := range o.tcp {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		process.ExtraFiles = append(process.ExtraFiles, f)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	o.PID = process.Process.Pid
	o.wg.Go(func() {
		_ = process.Wait() // of a signal, always
		o.signal = process.ProcessState.Sys().(syscall.WaitStatus).Signal()
		<-o.started
		o.gone()
		close(o.Ended)
	})
	t.Cleanup(func() {
		_ = process.Process.Kill()
		for _, l := range o.tcp {
			l.Close()
		}
		o.accepts.Wait()
		o.wg.Wait()
	})
	defer close(o.started)
	for _, name := range []string{"listener", "generator", "stratifier", "connector"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(c.Dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false) // it leaves its sockets behind
		o.sockets = append(o.sockets, l)
		o.wg.Go(func() { o.serve(name, l) })
	}
	for _, l := range o.tcp {
		raw, err := l.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), true) }) // which passing it to the process has undone
		}
		if err != nil {
			t.Fatal(err)
		}
		o.accepts.Go(func() { o.accept(l) })
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "main.pid"), []byte(strconv.Itoa(o.PID)), 0o640); err != nil {
		t.Fatal(err)
	}
	return o
}

func listen(t testing.TB, addr string) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	network := "tcp"
	if strings.HasPrefix(addr, "0.0.0.0:") {
		network = "tcp4"
	}
	l, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return l.(*net.TCPListener)
}

// gone is what the system does to an instance whose process has ended.
func (o *Old) gone() {
	for _, l := range o.sockets {
		l.Close()
	}
	for _, l := range o.tcp {
		l.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.miners {
		c.Close()
	}
}

// Requests are what was asked until now, a descriptor or a text each.
func (o *Old) Requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.requests...)
}

// Faults are connections that were not as they have to be.
func (o *Old) Faults() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.faults...)
}

// Late tells, after Ended, that the process took too long to end by shutdown, as the
// machine was busy: who has waited for EndTime ends it by SIGTERM.
func (o *Old) Late() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	took := o.took
	if took == 0 && !o.told.IsZero() {
		took = time.Since(o.told)
	}
	return took > EndTime/2
}

// Signal is what ended the process, after Ended.
func (o *Old) Signal() syscall.Signal { return o.signal }

// Addr is that of TCP socket i.
func (o *Old) Addr(i int) string { return o.tcp[i].Addr().String() }

func (o *Old) fault(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// accept takes miners until reject and says nothing to them.
func (o *Old) accept(l *net.TCPListener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.miners = append(o.miners, c)
		o.mu.Unlock()
	}
}

// serve answers one connection at a time.
func (o *Old) serve(socket string, l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if o.config.Silent {
			o.wg.Go(func() {
				<-o.Ended
				c.Close()
			})
			continue
		}
		o.answer(socket, c)
		c.Close()
	}
}

func (o *Old) answer(socket string, c *net.UnixConn) {
	request, err := readFrame(c)
	if err != nil {
		o.fault("%s: %v", socket, err)
		return
	}
	_ = c.CloseRead()
	o.mu.Lock()
	o.requests = append(o.requests, request)
	o.mu.Unlock()
	if o.config.At != nil {
		o.config.At(o, request)
	}
	if o.config.DiesAt != "" && strings.HasPrefix(request, o.config.DiesAt) {
		o.gone() // a process is there as long as its sockets
		_ = syscall.Kill(o.PID, syscall.SIGKILL)
		return
	}
	if fd, ok := o.descriptor(request); ok {
		o.pass(c, fd)
		return
	}
	reply, known := o.config.Replies[request]
	if !known {
		reply = o.reply(socket, request)
	}
	if reply == "" {
		return
	}
	ends := request == "shutdown" && !o.config.Lingers && !o.config.Stubborn
	if ends {
		_ = os.Remove(filepath.Join(o.config.Dir, "main.pid"))
		o.mu.Lock()
		o.told = time.Now()
		o.mu.Unlock()
	}
	if _, err := c.Write(frame(reply)); err != nil {
		o.fault("%s: reply to %s: %v", socket, request, err)
	}
	_ = c.CloseWrite()
	if ends {
		<-time.After(endTime)
		o.gone() // a process is there as long as its sockets
		_ = syscall.Kill(o.PID, syscall.SIGKILL)
		o.mu.Lock()
		o.took = time.Since(o.told)
		o.mu.Unlock()
	}
}

// reply is that of the listener; prefixes match in any case of letters.
func (o *Old) reply(socket, request string) string {
	if socket != "listener" {
		if strings.HasPrefix(strings.ToLower(request), "ping") {
			return "pong"
		}
		return "" // closed when the command was processed
	}
	for _, k := range []struct{ command, reply string }{
		{"ping", "pong"}, {"shutdown", "exiting"}, {"accept", "accepting"}, {"reject", "rejecting"}, {"reconnect", "reconnecting"},
	} {
		if strings.HasPrefix(strings.ToLower(request), k.command) {
			switch k.command {
			case "reject":
				for _, l := range o.tcp {
					_ = l.SetDeadline(time.Unix(1, 0))
				}
				o.accepts.Wait() // who comes from now on waits
			case "reconnect":
				o.reconnect()
			}
			return k.reply
		}
	}
	return "unknown"
}

func (o *Old) reconnect() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.miners {
		_, _ = io.WriteString(c, `{"id":null,"method":"client.reconnect","params":[]}`+"\n")
	}
}

// descriptor is the TCP socket that is asked for, -1 for one that is not given.
func (o *Old) descriptor(request string) (fd int, ok bool) {
	name, number := "getxfd", strings.TrimPrefix(request, "getxfd")
	if o.config.Of2014 {
		name, number = "getfd", "0"
	}
	if !strings.HasPrefix(request, name) {
		return 0, false
	}
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= o.config.Gives || i >= len(o.tcp) {
		return -1, true
	}
	raw, err := o.tcp[i].SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd, err = unix.Dup(int(n)) })
	}
	if err != nil {
		o.fault("%s: %v", request, err)
		return -1, true
	}
	return fd, true
}

// pass sends a descriptor with two zero bytes, or closes without data.
func (o *Old) pass(c *net.UnixConn, fd int) {
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	if _, _, err := c.WriteMsgUnix([]byte{0, 0}, unix.UnixRights(fd), nil); err != nil {
		o.fault("passing a descriptor: %v", err)
	}
	_ = c.CloseWrite()
}
