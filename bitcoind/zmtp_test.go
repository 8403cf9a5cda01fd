package bitcoind

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/event"
)

// stream is a connection that has everything it will ever receive.
type stream struct {
	io.Reader
	sent bytes.Buffer
}

func (s *stream) Write(b []byte) (int, error)      { return s.sent.Write(b) }
func (s *stream) Close() error                     { return nil }
func (s *stream) LocalAddr() net.Addr              { return nil }
func (s *stream) RemoteAddr() net.Addr             { return nil }
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// publisherGreeting is a publisher's side of the handshake.
func publisherGreeting(minor byte) []byte {
	g := greeting()
	g[11] = minor
	return append(g, readyCommand("PUB")...)
}

func readyCommand(kind string) []byte {
	return appendCommand(nil, "READY", append([]byte("\x0bSocket-Type\x00\x00\x00"), append([]byte{byte(len(kind))}, kind...)...))
}

func announcement(hash [32]byte, sequence uint32) []byte {
	b := appendFrame(nil, flagMore, []byte("hashblock"))
	b = appendFrame(b, flagMore, reversed(hash[:]))
	return appendFrame(b, 0, []byte{byte(sequence), byte(sequence >> 8), byte(sequence >> 16), byte(sequence >> 24)})
}

func TestRecordedSubscription(t *testing.T) {
	conn := &stream{Reader: bytes.NewReader(recorded(t, "zmq-hashblock-3blocks.bin"))}
	s, err := newSubscription(conn, zmqTopic)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 3 {
		message, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		hash, sequence, err := readAnnouncement(message)
		if err != nil {
			t.Fatal(err)
		}
		if want := uint32(0x1b1 + len(got)); sequence == nil || *sequence != want {
			t.Errorf("sequence %v, want %d", sequence, want)
		}
		got = append(got, displayHash(hash).String())
	}
	want := []string{
		"08d5e648b75cb9c10c53f578731c9f078b82184e4c008556de1637299ad4e2f4",
		"7c131ecc76cd5ae69ccb2486a1fd79286f94ff9458658d9823c972bfcc3ef842",
		"1d058f2d53cb88ead1336f21c3fe55e9bc3dfc1a8c5e17a8a524a6f70b5da2d0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := s.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	sent := "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL" + strings.Repeat("\x00", 48) +
		"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB" +
		"\x04\x13\x09SUBSCRIBEhashblock"
	if diff := cmp.Diff(sent, conn.sent.String()); diff != "" {
		t.Error(diff)
	}
}

// A publisher of ZMTP 3.0 gets the subscription as a message.
func TestSubscribeTo30(t *testing.T) {
	conn := &stream{Reader: bytes.NewReader(publisherGreeting(0))}
	if _, err := newSubscription(conn, zmqTopic); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(conn.sent.Bytes(), []byte("\x00\x0a\x01hashblock")) {
		t.Errorf("sent %q", conn.sent.Bytes())
	}
}

func TestHandshakeErrors(t *testing.T) {
	curve := publisherGreeting(1)
	copy(curve[12:], "CURVE")
	old := publisherGreeting(1)
	old[10] = 1
	greeted := slices.Clip(publisherGreeting(1)[:greetingSize])
	for _, test := range []struct {
		name, stream, want string
	}{
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", "not a ZMQ endpoint"},
		{"closed", "", "no greeting: EOF"},
		{"cut", "\xff\x00", "no greeting: unexpected EOF"},
		{"no signature", "\xff" + strings.Repeat("a", 63), "not a ZMQ endpoint"},
		{"old", string(old), "speaks ZMTP 1"},
		{"curve", string(curve), `demands the security mechanism "CURVE"`},
		{"no READY", string(greeted), "no READY: EOF"},
		{"refused", string(appendCommand(greeted, "ERROR", []byte("\x04oops"))), `refused by the publisher: "oops"`},
		{"wrong command", string(appendCommand(greeted, "HELLO", nil)), `command "HELLO" where READY was expected`},
		{"message", string(appendFrame(greeted, 0, []byte("x"))), "no READY command"},
		{"pull socket", string(greeted) + string(readyCommand("PUSH")), `a ZMQ socket of type "PUSH", want PUB`},
	} {
		_, err := newSubscription(&stream{Reader: strings.NewReader(test.stream)}, zmqTopic)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
}

func TestReadFrame(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	for _, test := range []struct {
		name string
		raw  []byte
		want frame
		err  string
	}{
		{"short", []byte("\x00\x02ab"), frame{0, 2, []byte("ab")}, ""},
		{"empty", []byte("\x01\x00"), frame{flagMore, 0, []byte{}}, ""},
		{"long", appendFrame(nil, flagMore, long), frame{flagMore | flagLong, 300, long}, ""},
		{"skipped", appendFrame(nil, 0, make([]byte, maxFrameBody+1)), frame{flagLong, maxFrameBody + 1, nil}, ""},
		{"unknown flag", []byte("\x08\x00"), frame{flags: 8}, "a frame with flags 0x08: not ZMTP"},
		{"command with more", []byte("\x05\x00"), frame{flags: 5}, "a frame with flags 0x05: not ZMTP"},
		{"huge", []byte("\x02\x7f\xff\xff\xff\xff\xff\xff\xff"), frame{flags: 2, size: 1<<63 - 1}, "a frame of 9223372036854775807 bytes: not ZMTP"},
		{"cut", []byte("\x00\x05ab"), frame{0, 5, []byte("ab\x00\x00\x00")}, "unexpected EOF"},
		{"cut size", []byte("\x02\x00\x00"), frame{flags: 2}, "unexpected EOF"},
		{"cut after flags", []byte("\x00"), frame{}, "unexpected EOF"},
	} {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(test.raw)))
		if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(frame{})); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x00\x02ab"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01a"))
	f.Add(recorded(f, "zmq-hashblock-3blocks.bin")[greetingSize:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		b := bufio.NewReader(r)
		var read int
		for {
			fr, err := readFrame(b)
			if err != nil {
				return
			}
			if fr.body == nil != (fr.size > maxFrameBody) {
				t.Fatalf("body %v of size %d", fr.body == nil, fr.size)
			}
			if fr.body == nil {
				return
			}
			// What was read is what a writer of that frame writes, or its long form.
			short := appendFrame(nil, fr.flags&^flagLong, fr.body)
			at := raw[read:]
			switch {
			case fr.flags&flagLong == 0 && bytes.HasPrefix(at, short):
				read += len(short)
			case fr.flags&flagLong != 0 && bytes.HasPrefix(at[9:], fr.body):
				read += 9 + len(fr.body)
			default:
				t.Fatalf("frame %+v is not what is at byte %d", fr, read)
			}
		}
	})
}

// Whatever a publisher sends, a subscription ends with an error or goes on.
func FuzzSubscription(f *testing.F) {
	f.Add(recorded(f, "zmq-hashblock-3blocks.bin"))
	f.Add(append(publisherGreeting(0), announcement([32]byte{1}, 7)...))
	f.Add(appendCommand(publisherGreeting(1), "PING", []byte("\x00\x00context")))
	f.Add(appendCommand(publisherGreeting(1), "ERROR", nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := newSubscription(&stream{Reader: bytes.NewReader(raw)}, zmqTopic)
		for err == nil {
			var message []frame
			if message, err = s.next(); err == nil {
				_, _, _ = readAnnouncement(message)
			}
		}
	})
}

// publisher is the other end of a subscriber's connections.
type publisher struct {
	t     *testing.T
	conns chan net.Conn
}

func newPublisher(t *testing.T, s *subscriber) *publisher {
	p := &publisher{t: t, conns: make(chan net.Conn)}
	s.dial = func(ctx context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p
}

// accept makes the handshake with the next connection.
func (p *publisher) accept(minor byte) net.Conn {
	p.t.Helper()
	conn := <-p.conns
	written := make(chan struct{})
	go func() {
		defer close(written)
		conn.Write(publisherGreeting(minor))
	}()
	subscribe := 2 + 1 + len("SUBSCRIBE") + len(zmqTopic)
	if minor == 0 {
		subscribe = 2 + 1 + len(zmqTopic)
	}
	if _, err := io.ReadFull(conn, make([]byte, greetingSize+27+subscribe)); err != nil {
		p.t.Error(err)
	}
	<-written
	return conn
}

// heard is what a subscriber told.
type heard struct {
	mu     sync.Mutex
	blocks []byte // first byte of each hash
	missed int
	events []string
}

func testSubscriber(t *testing.T) (*subscriber, *heard) {
	s, err := newSubscriber("tcp://127.0.0.1:28332")
	if err != nil {
		t.Fatal(err)
	}
	h := &heard{}
	s.block = func(hash [32]byte) { h.note(func() { h.blocks = append(h.blocks, hash[0]) }) }
	s.missed = func() { h.note(func() { h.missed++ }) }
	s.events = func(e event.Event) { h.note(func() { h.events = append(h.events, e.Text) }) }
	return s, h
}

func runSubscriber(t *testing.T, test func(p *publisher, h *heard)) {
	synctest.Test(t, func(t *testing.T) {
		s, h := testSubscriber(t)
		p := newPublisher(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			s.run(ctx)
			close(ended)
		}()
		test(p, h)
		cancel()
		<-ended
	})
}

func (h *heard) note(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *heard) told() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.events, "\n")
}

func (h *heard) want(t *testing.T, blocks string, missed int) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if string(h.blocks) != blocks || h.missed != missed {
		t.Errorf("blocks %q and %d times something missed, want %q and %d; %q", h.blocks, h.missed, blocks, missed, h.events)
	}
}

// Something may be missed while connecting, in a gap and when the connection
// is lost; the subscriber comes back.
func TestSubscriber(t *testing.T) {
	runSubscriber(t, func(p *publisher, h *heard) {
		conn := p.accept(1)
		h.want(t, "", 1)
		conn.Write(announcement([32]byte{'a'}, 4294967295))
		conn.Write(announcement([32]byte{'b'}, 0))
		h.want(t, "ab", 1)
		conn.Write(announcement([32]byte{'c'}, 2))
		h.want(t, "abc", 2)
		conn.Write(announcement([32]byte{'d'}, 3))
		h.want(t, "abcd", 2)
		conn.Close()
		h.want(t, "abcd", 3)
		conn = p.accept(0)
		h.want(t, "abcd", 4)
		conn.Write(announcement([32]byte{'e'}, 0))
		h.want(t, "abcde", 4)
		if got := h.told(); strings.Count(got, "ZMQ connected to tcp://127.0.0.1:28332") != 2 ||
			strings.Count(got, "EOF; blocks are heard of by long poll") != 1 || strings.Count(got, "ZMQ block hash 00") != 5 {
			t.Error(got)
		}
		conn.Close()
	})
}

// Other topics, also those that begin the same, and messages of a wrong size
// do no harm.
func TestOtherMessages(t *testing.T) {
	runSubscriber(t, func(p *publisher, h *heard) {
		conn := p.accept(1)
		defer conn.Close()
		conn.Write(appendFrame(appendFrame(nil, flagMore, []byte("hashblock2")), 0, make([]byte, 32)))
		conn.Write(appendFrame(appendFrame(nil, flagMore, []byte("rawblock")), 0, make([]byte, 1<<20)))
		conn.Write(appendFrame(nil, 0, []byte("other")))
		h.want(t, "", 1)
		conn.Write(appendFrame(appendFrame(nil, flagMore, []byte("hashblock")), 0, make([]byte, 31)))
		h.want(t, "", 2)
		conn.Write(appendFrame(nil, 0, []byte("hashblock")))
		h.want(t, "", 3)
		conn.Write(announcement([32]byte{'a'}, 0))
		h.want(t, "a", 3)
		if !strings.Contains(h.told(), "ZMQ message size error, size = 31!") {
			t.Error(h.told())
		}
	})
}

func TestPing(t *testing.T) {
	runSubscriber(t, func(p *publisher, h *heard) {
		conn := p.accept(1)
		defer conn.Close()
		conn.Write(appendCommand(nil, "PING", []byte("\x00\x64ctx")))
		pong := make([]byte, 10)
		if _, err := io.ReadFull(conn, pong); err != nil || string(pong) != "\x04\x08\x04PONGctx" {
			t.Errorf("%q, %v", pong, err)
		}
		// In the middle of a message too.
		a := announcement([32]byte{'a'}, 0)
		conn.Write(a[:11])
		conn.Write(appendCommand(nil, "PING", []byte("\x00\x64")))
		if _, err := io.ReadFull(conn, pong[:7]); err != nil || string(pong[:7]) != "\x04\x05\x04PONG" {
			t.Errorf("%q, %v", pong, err)
		}
		conn.Write(a[11:])
		h.want(t, "a", 1)
	})
}

// A publisher that answers heartbeats may be silent for ever, one that does
// not is dead.
func TestHeartbeat(t *testing.T) {
	runSubscriber(t, func(p *publisher, h *heard) {
		conn := p.accept(1)
		ping := make([]byte, 9)
		for range 10 {
			if _, err := io.ReadFull(conn, ping); err != nil || string(ping) != "\x04\x07\x04PING\x00\x00" {
				t.Fatalf("%q, %v", ping, err)
			}
			conn.Write(appendCommand(nil, "PONG", nil))
		}
		go io.Copy(io.Discard, conn)
		h.want(t, "", 1)
		before := time.Now()
		second := p.accept(1)
		if took := time.Since(before); took > 41*time.Second || took < 30*time.Second {
			t.Errorf("given up after %v", took)
		}
		conn.Close()
		second.Close()
	})
}

// ZMTP 3.0 has no heartbeats: silence is no failure there.
func TestSilentOldPublisher(t *testing.T) {
	runSubscriber(t, func(p *publisher, h *heard) {
		conn := p.accept(0)
		defer conn.Close()
		time.Sleep(24 * time.Hour)
		conn.Write(announcement([32]byte{'a'}, 0))
		h.want(t, "a", 1)
	})
}

// A publisher that is not there is tried again, ever more slowly, and told once.
func TestSubscriberBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := testSubscriber(t)
		attempts := 0
		s.dial = func(context.Context) (net.Conn, error) {
			attempts++
			return nil, errRefused
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.run(ctx)
		if attempts < 30 || attempts > 40 {
			t.Errorf("%d attempts in a minute", attempts)
		}
		if len(h.events) != 1 {
			t.Error(h.told())
		}
	})
}

func TestNewSubscriber(t *testing.T) {
	for _, endpoint := range []string{"tcp://127.0.0.1:28332", "tcp://[::1]:1", "tcp://*:28332", "ipc:///run/x.sock", "unix:/run/x.sock"} {
		if s, err := newSubscriber(endpoint); err != nil || s.name != endpoint {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	for _, endpoint := range []string{"", "127.0.0.1:28332", "tcp://127.0.0.1", "tcp://127.0.0.1:", "http://x:1", "ipc://", "pgm://x:1"} {
		if _, err := newSubscriber(endpoint); err == nil || !strings.Contains(err.Error(), "tcp://host:port") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// The group takes a block announced by ZMQ as a hint like any other.
func TestGroupHearsZMQ(t *testing.T) {
	a := newFakeNode(10)
	a.noLongPoll = true
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Options{BlockPoll: time.Hour}, a)
		s, err := newSubscriber("tcp://127.0.0.1:28332")
		if err != nil {
			t.Fatal(err)
		}
		p := newPublisher(t, s)
		h.nodes[0].subscribers = append(h.nodes[0].subscribers, s)
		h.run(func() {
			h.next(instant)
			conn := p.accept(1)
			for height := 11; height < 14; height++ {
				a.mine()
				for range 2 { // the second is no news
					conn.Write(announcement(blockID(height-1, 0), uint32(height)))
				}
				h.expect(instant, "a:1", height, true)
				h.silent(time.Second)
			}
			if n := a.count("getblocktemplate"); n != 4 {
				t.Errorf("%d template requests for 4 tips", n)
			}
			// One block is lost on the way: the gap makes the group ask.
			polls := a.count("getbestblockhash")
			a.mine()
			conn.Write(announcement(blockID(12, 0), 20))
			h.expect(soon, "a:1", 14, true)
			if n := a.count("getbestblockhash") - polls; n != 1 {
				t.Errorf("%d polls after a gap", n)
			}
			// The connection ends: the group asks again.
			a.mine()
			conn.Close()
			h.expect(soon, "a:1", 15, true)
			p.accept(1).Close()
		})
	})
}
