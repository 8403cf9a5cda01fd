//go:build linux

package netserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/tlspipe"
)

// A line in and a reply out of an established connection allocate nothing, nor
// does work to a client.
func TestNoAllocations(t *testing.T) {
	st := newStepped(t, Config{})
	_, peer := st.connect(t, 1<<16)
	in := []byte(`{"id":4,"method":"mining.submit","params":["user.worker","6b02867d00000000","0000000000000001","6b02867d","0009bf79"]}` + "\n")
	reply := []byte(`{"result":true,"error":null,"id":4}` + "\n")
	work := bytes.Repeat([]byte("n"), 1500)
	lines := 0
	st.probe.line = func(p *probe, s Slot, _ []byte) {
		lines++
		p.l.Write(s, reply)
		if lines%8 == 0 {
			p.l.DropWork(s)
			p.l.WriteWork(s, work, 1)
		}
	}
	scratch := make([]byte, 1<<16)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := unix.Write(peer, in); err != nil {
			t.Fatal(err)
		}
		st.once()
		if n, err := unix.Read(peer, scratch); err != nil || n < len(reply) {
			t.Fatal(n, err)
		}
	})
	if n != 0 || lines < 1000 {
		t.Errorf("%v allocations per line, %d lines", n, lines)
	}
}

// Waking, stepping and waiting parked allocate nothing either.
func TestNoAllocationsParked(t *testing.T) {
	st := newStepped(t, Config{})
	steps := 0
	st.probe.step = func(*probe) bool { steps++; return false }
	n := testing.AllocsPerRun(1000, func() {
		st.Wake()
		if err := st.iterate(true); err != nil {
			t.Fatal(err)
		}
		st.once()
	})
	if n != 0 || steps < 1000 {
		t.Errorf("%v allocations per wake, %d steps", n, steps)
	}
}

// BenchmarkEcho is a bare server: 50 clients, in a process of their own, keep 8
// lines of the length of a submit in flight, each is answered by 36 bytes. One
// operation is one line; cpu-ns/op is the server's.
func BenchmarkEcho(b *testing.B) { plainAndTLS(b, echoBench) }

func echoBench(b *testing.B, over string) {
	reply := []byte(`{"result":true,"error":null,"id":4}` + "\n")
	s, addr, stop := startBench(b, over, func(l *Loop) Handler { return quiet{l, reply} })
	p := startProcess(b, "pipeline", "NETSERVER_TEST_ADDR="+addr, "NETSERVER_TEST_OVER="+over)
	before := cpuTime()
	b.ResetTimer()
	if got := p.ask(fmt.Sprint(b.N)); got != "done" {
		b.Error(got)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
	if n := s.Stats().Accepted; n != pipelines {
		b.Errorf("%d connections", n)
	}
	stop()
}

// plainAndTLS runs a benchmark over both.
func plainAndTLS(b *testing.B, bench func(b *testing.B, over string)) {
	for _, over := range []string{"plain", "TLS"} {
		b.Run(over, func(b *testing.B) { bench(b, over) })
	}
}

const pipelines, pipelineWindow = 50, 8

// pipelineProcess does as many lines as it is asked for.
func pipelineProcess() int {
	var conns []io.ReadWriter
	for range pipelines {
		c, err := connectPeer()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		conns = append(conns, c)
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var n int
		_, _ = fmt.Sscan(in.Text(), &n)
		errs := make([]error, len(conns))
		var wg sync.WaitGroup
		for i, c := range conns {
			lines := n / len(conns)
			if i < n%len(conns) {
				lines++
			}
			wg.Go(func() { errs[i] = pipeline(c, lines) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("done")
		}
	}
	return 0
}

// pipeline sends lines, with at most a window of them unanswered.
func pipeline(c io.ReadWriter, lines int) error {
	const length, reply = 119, 36
	batch := bytes.Repeat(append(bytes.Repeat([]byte("s"), length-1), '\n'), pipelineWindow)
	buf := make([]byte, 1<<12)
	for lines > 0 {
		n := min(lines, pipelineWindow)
		if _, err := c.Write(batch[:n*length]); err != nil {
			return err
		}
		for want := n * reply; want > 0; {
			got, err := c.Read(buf)
			if got <= 0 {
				return fmt.Errorf("connection ended: %v", err)
			}
			want -= got
		}
		lines -= n
	}
	return nil
}

// BenchmarkConnections is 10,000 connections that sent a line each and then
// idle: time and CPU of their coming, memory of their staying, and how evenly
// the loops took them.
func BenchmarkConnections(b *testing.B) { plainAndTLS(b, connectionsBench) }

func connectionsBench(b *testing.B, over string) {
	for b.Loop() {
		s, addr, stop := startBench(b, over, func(l *Loop) Handler { return quiet{l, []byte("x\n")} })
		p := startProcess(b, "idle", "NETSERVER_TEST_ADDR="+addr, "NETSERVER_TEST_OVER="+over)
		heap, rss := memory()
		cpu, began := cpuTime(), time.Now()
		if got := p.ask("10000"); got != "done" {
			b.Fatal(got)
		}
		took, cpu := time.Since(began), cpuTime()-cpu
		heap2, rss2 := memory()
		const n = 10000
		b.ReportMetric(float64(heap2-heap)/n, "heap-B/conn")
		b.ReportMetric(float64(rss2-rss)/n, "rss-B/conn")
		b.ReportMetric(float64(rss2)/1e6, "rss-MB")
		b.ReportMetric(float64(cpu.Microseconds())/n, "cpu-us/conn")
		b.ReportMetric(took.Seconds(), "s/10k")
		b.ReportMetric(0, "ns/op")
		for i, l := range s.loops {
			b.ReportMetric(float64(l.counters.clients.Load()), fmt.Sprintf("loop%d-conns", i))
		}
		stop()
	}
}

// BenchmarkBroadcast sends 1,000 bytes of work to 10,000 idle connections, 64 a
// step on every loop; one operation is all of them.
func BenchmarkBroadcast(b *testing.B) { plainAndTLS(b, broadcastBench) }

func broadcastBench(b *testing.B, over string) {
	const clients = 10000
	work := bytes.Repeat([]byte("n"), 1000)
	var casters []*caster
	s, addr, stop := startBench(b, over, func(l *Loop) Handler {
		c := &caster{quiet: quiet{l, []byte("x\n")}, work: work, done: make(chan struct{}, 1)}
		casters = append(casters, c)
		return c
	})
	p := startProcess(b, "idle", "NETSERVER_TEST_ADDR="+addr, "NETSERVER_TEST_OVER="+over)
	if got := p.ask(fmt.Sprint(clients)); got != "done" {
		b.Fatal(got)
	}
	before, rounds := cpuTime(), 0
	for b.Loop() {
		for _, l := range s.Loops() {
			l.Wake()
		}
		for _, c := range casters {
			<-c.done
		}
		rounds++
	}
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(rounds*clients), "cpu-us/client")
	if st := s.Stats(); st.BacklogClients > 0 {
		b.Logf("%d clients are slow", st.BacklogClients)
	}
	stop()
}

// caster writes work to all slots of its loop after a Wake.
type caster struct {
	quiet
	work []byte
	next Slot
	done chan struct{}
}

func (c *caster) Step() bool {
	for range 64 {
		if c.next == c.l.slab.used {
			c.next = 0
			c.done <- struct{}{}
			return false
		}
		c.l.DropWork(c.next)
		c.l.WriteWork(c.next, c.work, 1)
		c.next++
	}
	return true
}

// idleProcess opens as many connections as it is asked for and has one line
// answered on each, from 50 goroutines.
func idleProcess() int {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var n int
		_, _ = fmt.Sscan(in.Text(), &n)
		const workers = 50
		errs := make(chan error, workers)
		for range workers {
			go func() {
				buf := make([]byte, 16)
				for range n / workers {
					c, err := connectPeer()
					if err == nil {
						_, err = c.Write([]byte("x\n"))
					}
					if err == nil {
						_, err = c.Read(buf)
					}
					if err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		var err error
		for range workers {
			err = errors.Join(err, <-errs)
		}
		if err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("done")
		}
	}
	return 0
}

// startBench runs a server on 127.0.0.1 until stop.
func startBench(b *testing.B, over string, handler func(l *Loop) Handler) (s *Server, addr string, stop func()) {
	s, err := New(Config{}, handler)
	if err != nil {
		b.Fatal(err)
	}
	e := Endpoint{URL: "127.0.0.1:0"}
	if over == "TLS" {
		e.Certificate = getTestCertificate
	}
	if _, err := s.ListenAll(b.Context(), []Endpoint{e}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(stop)
	return s, s.Listeners()[0].Addrs[0].String(), stop
}

// connectPeer connects to the server that the environment names.
func connectPeer() (io.ReadWriter, error) {
	fd, err := connectFD(os.Getenv("NETSERVER_TEST_ADDR"))
	if err != nil || os.Getenv("NETSERVER_TEST_OVER") != "TLS" {
		return socketFD(fd), err
	}
	c := tlspipe.Client(&tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}) // as firmware
	if err := shake(c, socketFD(fd)); err != nil {
		return nil, err
	}
	return &overTLS{socketFD(fd), c, make([]byte, 4096)}, nil
}

// socketFD is a socket that blocks.
type socketFD int

func (fd socketFD) Write(p []byte) (int, error) { return unix.Write(int(fd), p) }
func (fd socketFD) Read(p []byte) (int, error)  { return unix.Read(int(fd), p) }

// overTLS is TLS over one.
type overTLS struct {
	socketFD
	c   *tlspipe.Conn
	buf []byte
}

// shake is the client's side of a handshake.
func shake(c *tlspipe.Conn, fd socketFD) error {
	done := make(chan error, 1)
	go func() { done <- c.Handshake(nil, func(b []byte) { _, _ = fd.Write(b) }) }()
	buf := make([]byte, 4096)
	for {
		for !c.Waiting() {
			select {
			case err := <-done:
				if err == nil {
					c.Established()
				}
				return err
			default:
				runtime.Gosched()
			}
		}
		n, err := fd.Read(buf)
		if n <= 0 {
			return fmt.Errorf("connection ended: %v", err)
		}
		c.Feed(buf[:n])
	}
}

func (o *overTLS) Write(p []byte) (int, error) {
	_, err := o.socketFD.Write(o.c.Seal(nil, p))
	return len(p), err
}

func (o *overTLS) Read(p []byte) (int, error) {
	for {
		n, err := o.c.Read(p)
		if n > 0 || err != tlspipe.ErrEmpty {
			return n, err
		}
		if n, err = o.socketFD.Read(o.buf); n <= 0 {
			return n, err
		}
		o.c.Receive(o.buf[:n])
	}
}

// connectFD connects without anything of the runtime in the way.
func connectFD(addr string) (int, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return fd, nil
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// quiet answers lines and keeps nothing.
type quiet struct {
	l     *Loop
	reply []byte
}

func (q quiet) Open(Slot, netip.AddrPort, int) {}
func (q quiet) Line(s Slot, _ []byte)          { q.l.Write(s, q.reply) }
func (q quiet) TooLong(Slot)                   {}
func (q quiet) Closed(Slot, Reason)            {}
func (q quiet) Flush()                         {}
func (q quiet) Step() bool                     { return false }
func (q quiet) Tick(time.Time)                 {}

// memory is the live heap and the resident set, in bytes.
func memory() (heap, rss int) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, _ := os.ReadFile("/proc/self/statm")
	var size, pages int
	_, _ = fmt.Sscan(string(b), &size, &pages)
	return int(m.HeapAlloc), pages * os.Getpagesize()
}
