//go:build linux

package netserver

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// transport is a way to a server, all of which are to behave the same.
type transport struct {
	name       string
	tls, proxy bool
}

var transports = []transport{{name: "plain"}, {"TLS", true, false}, {"PROXY", false, true}, {"TLS behind PROXY", true, true}}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// peerClient is a client over a transport.
type peerClient struct {
	net.Conn // what the lines go over
	t        *testing.T
	tcp      *net.TCPConn
	r        *bufio.Reader
}

// eachTransport runs a test of one server over all of them.
func eachTransport(t *testing.T, c Config, set func(p *probe), prepare func(s *Server), test func(t *testing.T, r *running, dial func() *peerClient)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			r := start(t, c, set, func(s *Server) {
				if prepare != nil {
					prepare(s)
				}
				tr.listen(t, s)
			})
			test(t, r, func() *peerClient { return tr.dial(t, r) })
		})
	}
}

// preparing is listen for start.
func (tr transport) preparing(t *testing.T) func(s *Server) {
	return func(s *Server) { tr.listen(t, s) }
}

// listen adds the listener of the transport, number 1.
func (tr transport) listen(t *testing.T, s *Server) {
	t.Helper()
	e := Endpoint{URL: ownAddress}
	if tr.tls {
		e.Certificate = getTestCertificate
	}
	if tr.proxy {
		e.Proxies = loopback
	}
	if _, err := s.ListenAll(t.Context(), []Endpoint{e}); err != nil {
		t.Fatal(err)
	}
}

func (r *running) second() string { return r.Listeners()[1].Addrs[0].String() }

func (tr transport) dial(t *testing.T, r *running) *peerClient {
	t.Helper()
	tcp := dialFrom(t, r.second(), "", 16<<10).TCPConn
	c := &peerClient{Conn: tcp, t: t, tcp: tcp}
	if tr.proxy {
		c.send("PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\n")
	}
	if tr.tls {
		over := tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
		if err := over.Handshake(); err != nil {
			t.Fatal(err)
		}
		c.Conn = over
	}
	c.r = bufio.NewReader(c.Conn)
	return c
}

func (c *peerClient) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *peerClient) wantLine(want string) {
	c.t.Helper()
	got, err := c.r.ReadString('\n')
	if err != nil || got != want+"\n" {
		c.t.Fatalf("line is %q, %v; want %q", shorten(got), err, shorten(want))
	}
}

// closeWrite ends what the client has to say.
func (c *peerClient) closeWrite() {
	if over, ok := c.Conn.(*tls.Conn); ok {
		_ = over.CloseWrite()
	}
	_ = c.tcp.CloseWrite()
}

func (c *peerClient) rest() (string, error) {
	b, err := io.ReadAll(c.r)
	return string(b), err
}

func TestTransportLines(t *testing.T) {
	eachTransport(t, Config{}, nil, nil, func(t *testing.T, r *running, dial func() *peerClient) {
		c := dial()
		for _, b := range []byte("split everywhere\r\nand again\n") {
			c.send(string(b))
		}
		c.wantLine("split everywhere")
		c.wantLine("and again")
		var in strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&in, "line %d %s\n", i, strings.Repeat("x", i*7%8000))
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c, in.String())
		}()
		for i := range 2000 {
			c.wantLine(fmt.Sprintf("line %d %s", i, strings.Repeat("x", i*7%8000)))
		}
		<-sent
		if st := r.Stats(); st.Accepted != 1 || st.Clients != 1 || st.Entering != 0 || st.Drops != [Reasons]uint64{} {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestTransportClose(t *testing.T) {
	eachTransport(t, Config{}, func(p *probe) {
		p.long = func(p *probe, s Slot) { p.l.Write(s, []byte("line too long\n")) }
		p.line = func(p *probe, s Slot, line []byte) {
			p.l.Write(s, append(line, '\n'))
			if string(line) == "bad" {
				p.l.Close(s, BadInput)
				p.l.Write(s, []byte("never\n"))
			}
		}
	}, nil, func(t *testing.T, r *running, dial func() *peerClient) {
		c := dial()
		c.send("good\nbad\nlater\n")
		if got, err := c.rest(); got != "good\nbad\n" || err != nil {
			t.Errorf("got %q, %v; want what was written before Close, then the end", got, err)
		}
		c.Close()
		c = dial()
		c.send("ok\n" + strings.Repeat("x", 8192))
		c.wantLine("ok")
		c.wantLine("line too long")
		if rest, err := c.rest(); rest != "" || err != nil {
			t.Errorf("after the answer: %q, %v, want the end", rest, err)
		}
		c.Close()
		c = dial()
		line := strings.Repeat("z", 1000) + "\n"
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c.Conn, strings.Repeat(line, 500)+"last words\n")
			c.closeWrite()
		}()
		got, err := c.rest()
		if len(got) != 500*len(line)+11 || err != nil {
			t.Errorf("got %d bytes, %v: lines before a half-close are to be answered", len(got), err)
		}
		<-sent
		c.Close()
		eventually(t, "closed", func() bool {
			return r.rec.closes(PeerClosed) == 1 && r.rec.closes(LineTooLong) == 1 && r.rec.closes(BadInput) == 1
		})
		c = dial()
		c.send("x\n")
		c.wantLine("x")
		c.tcp.Close() // with SO_LINGER 0
		eventually(t, "reset", func() bool { return r.rec.closes(PeerReset) == 1 })
	})
}

func TestTransportNotReading(t *testing.T) {
	eachTransport(t, Config{Backlog: 200 << 10, WriteTimeout: 300 * time.Millisecond}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) {
			size := 150 << 10
			if string(line) == "much" {
				size = 1 << 20
			}
			p.l.Write(s, make([]byte, size))
		}
	}, func(s *Server) { s.tickEvery = 50 * time.Millisecond }, func(t *testing.T, r *running, dial func() *peerClient) {
		full, stalled := dial(), dial()
		full.send("much\n")
		stalled.send("some\n")
		eventually(t, "dropped", func() bool { return r.rec.closes(BacklogFull) == 1 && r.rec.closes(WriteStalled) == 1 })
		for _, c := range []*peerClient{full, stalled} {
			if _, err := c.rest(); err == nil {
				t.Error("a client that lost answers is to be reset, not ended as if it had everything")
			}
		}
		if n := r.rec.eventsWith("Dropped"); n != 2 {
			t.Errorf("%d lines in the log, want one for each reason: %q", n, r.rec.events)
		}
	})
}

func TestTransportShutdown(t *testing.T) {
	eachTransport(t, Config{}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) {
			if string(line) == "hello" {
				p.l.Write(s, []byte("hello\n"))
				return
			}
			p.l.Write(s, make([]byte, 300<<10))
		}
	}, func(s *Server) { s.flushTime = patience }, func(t *testing.T, r *running, dial func() *peerClient) {
		idle, slow := dial(), dial()
		idle.send("hello\n") // the server has read its handshake to the end
		idle.wantLine("hello")
		slow.send("x\n")
		eventually(t, "a backlog", func() bool { return r.Stats().BacklogClients == 1 })
		read := make(chan int)
		go func() {
			got, _ := slow.rest()
			read <- len(got)
		}()
		r.stop()
		if n := <-read; n != 300<<10 {
			t.Errorf("a client that reads got %d bytes of its backlog at the end", n)
		}
		if got, err := idle.rest(); got != "" || err != nil {
			t.Errorf("idle client: %q, %v", got, err)
		}
	})
}

// What was said for all transports, a handler and other goroutines see of them.
func TestTransportAddress(t *testing.T) {
	eachTransport(t, Config{}, func(p *probe) {
		p.line = func(p *probe, s Slot, line []byte) {
			p.l.Write(s, fmt.Appendf(nil, "%v %v\n", p.l.Remote(s), p.l.Secure(s)))
		}
	}, nil, func(t *testing.T, r *running, dial func() *peerClient) {
		c := dial()
		c.send("where am I\n")
		from := c.tcp.LocalAddr().String()
		if strings.Contains(t.Name(), "PROXY") {
			from = "203.0.113.9:56506"
		}
		c.wantLine(fmt.Sprint(from, " ", strings.Contains(t.Name(), "TLS")))
	})
}

// closedBy waits for the server to close a connection.
func closedBy(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("not closed")
	}
}
