//go:build linux

package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/stratum/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = time.Minute

// start runs a server until the end of the test.
func start(t testing.TB, h server.Handler, o server.Options, endpoints ...server.Endpoint) (s *server.Server, addr string) {
	t.Helper()
	s, err := server.New(h, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(endpoints) == 0 {
		endpoints = []server.Endpoint{{Address: "127.0.0.1:0"}}
	}
	if err := s.Listen(t.Context(), endpoints...); err != nil {
		s.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, s.Addrs()[0].String()
}

// work is a job that all sessions get.
func work(id string) server.Work {
	n := stratum.Notify{JobID: id, Coinb1: []byte{1}, Coinb2: []byte{2}, Version: 0x20000000, Bits: 0x1d00ffff, NTime: 0x6b02867d, Clean: true}
	return func(b []byte, _ *server.Session) []byte { return n.Append(b) }
}

// miner is a client that is read line by line.
type miner struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func connect(t testing.TB, addr string) *miner {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &miner{t, conn, bufio.NewReader(conn)}
}

func (m *miner) say(lines ...string) {
	m.t.Helper()
	if _, err := m.conn.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		m.t.Fatal(err)
	}
}

func (m *miner) hear(want ...string) {
	m.t.Helper()
	for _, w := range want {
		line, err := m.in.ReadString('\n')
		if err != nil {
			m.t.Fatalf("%v, want %s", err, w)
		}
		if got := strings.TrimSuffix(line, "\n"); got != w {
			m.t.Fatalf("\n got %s\nwant %s", got, w)
		}
	}
}

// end waits until the server has closed.
func (m *miner) end() {
	m.t.Helper()
	if line, err := m.in.ReadString('\n'); err == nil {
		m.t.Fatalf("another line: %s", line)
	}
}

// closed collects why sessions have ended.
type closed struct{ why chan string }

func newClosed() closed { return closed{make(chan string, 100)} }

func (c closed) hear(_ *server.Session, why string) { c.why <- why }

func (c closed) want(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-c.why:
		if got != want {
			t.Errorf("it was closed for %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("nothing was closed for %q", want)
	}
}

const notify = `{"params":["%s","0000000000000000000000000000000000000000000000000000000000000000","01","02",[],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}`

// The whole of what a miner says and hears, line by line.
func TestSession(t *testing.T) {
	ended := newClosed()
	var suggested atomic.Value
	s, addr := start(t, server.Handler{
		Subscribe: func(s *server.Session, r server.Subscribe) (stratum.Extranonce, *stratum.Reject) {
			if r.UserAgent == "bad/1" {
				return stratum.Extranonce{}, &stratum.Reject{Code: stratum.Other, Text: "No"}
			}
			s.Value = r
			return stratum.Extranonce{SessionID: "s1", Extranonce1: []byte{0xe1, 0xe2}, Extranonce2Len: 4}, nil
		},
		Authorize: func(s *server.Session, l server.Login) *stratum.Reject {
			if l.Password != "x" {
				return &stratum.Reject{Code: stratum.Unauthorized, Text: "Wrong password"}
			}
			s.SetDifficulty(0.5)
			return nil
		},
		Submit: func(s *server.Session, share *stratum.Submit) *stratum.Reject {
			if share.JobID != 0x1f || s.Difficulty() != 0.5 || string(share.Worker) != "bob.rig" || share.Extranonce2 != [8]byte{1, 2, 3, 4} || share.Nonce != 7 || share.VersionBits != 0x2000 {
				return &stratum.Reject{Code: stratum.LowDifficulty, Text: fmt.Sprintf("%+v", share)}
			}
			return nil
		},
		Configure: func(_ *server.Session, asked *stratum.Configure) (uint32, bool) { return 0x1fffe000, true },
		Suggest:   func(_ *server.Session, d float64) { suggested.Store(d) },
		Closed:    ended.hear,
	}, server.Options{})
	s.Broadcast(work("1f"))
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.subscribe","params":["bad/1"]}`,
		`{"id":2,"method":"mining.submit","params":["bob.rig","1f","01020304","6b02867d","7"]}`,
		`{"id":3,"method":"mining.configure","params":[["version-rolling","minimum-difficulty","x"],{"version-rolling.mask":"00ffffff"}]}`,
		`{"id":4,"method":"mining.subscribe","params":["good/1","0123"]}`,
		`{"id":5,"method":"mining.suggest_difficulty","params":[512]}`,
		`{"id":6,"method":"mining.authorize","params":["bob.rig","y"]}`,
		`{"id":7,"method":"mining.submit","params":["bob.rig","1f","01020304","6b02867d","7"]}`,
		`{"id":8,"method":"mining.authorize","params":["bob.rig","x"]}`)
	m.hear(`{"reject-reason":"No","result":false,"error":[20,"No",null],"id":1}`,
		`{"reject-reason":"Not subscribed","result":false,"error":[25,"Not subscribed",null],"id":2}`,
		`{"result":{"version-rolling.mask":"00ffe000","version-rolling":true,"minimum-difficulty":true,"x":false},"error":null,"id":3}`,
		`{"result":[[["mining.notify","s1"]],"e1e2",4],"error":null,"id":4}`,
		`{"reject-reason":"Wrong password","result":false,"error":[24,"Wrong password",null],"id":6}`,
		`{"reject-reason":"Unauthorized worker","result":false,"error":[24,"Unauthorized worker",null],"id":7}`,
		`{"result":true,"error":null,"id":8}`,
		`{"params":["00ffe000"],"id":null,"method":"mining.set_version_mask"}`,
		`{"params":[0.5],"id":null,"method":"mining.set_difficulty"}`,
		fmt.Sprintf(notify, "1f"))
	if d, _ := suggested.Load().(float64); d != 512 {
		t.Errorf("suggested %v", d)
	}
	s.Broadcast(work("20"))
	m.hear(fmt.Sprintf(notify, "20")) // the difficulty is known
	m.say(`{"id":9,"method":"mining.submit","params":["bob.rig","1f","01020304","6b02867d","7","00002000"]}`,
		`{"id":10,"method":"mining.submit","params":["bob.rig","20","01020304","6b02867d","7","01000000"]}`,
		`{"id":11,"method":"mining.submit","params":["bob.rig","20","0102030405","6b02867d","7"]}`,
		`{"id":12,"method":"mining.ping","params":[]}`,
		`{"id":13,"method":"mining.what","params":[]}`,
		`{"id":14,"method":"mining.extranonce.subscribe","params":[]}`,
		`{"id":15,"method":"mining.authorize","params":["bob.rig","y"]}`)
	m.hear(`{"result":true,"error":null,"id":9}`,
		`{"reject-reason":"Invalid version mask","result":false,"error":[20,"Invalid version mask",null],"id":10}`,
		`{"reject-reason":"Invalid nonce2 length","result":false,"error":[20,"Invalid nonce2 length",null],"id":11}`,
		`{"result":"pong","error":null,"id":12}`,
		`{"reject-reason":"Unknown method","result":false,"error":[20,"Unknown method",null],"id":13}`,
		`{"result":true,"error":null,"id":14}`,
		`{"result":true,"error":null,"id":15}`)
	m.conn.Close()
	ended.want(t, "closed by peer")
}

// A handler of nothing is a server that gives everybody work of its own extranonce.
func TestDefaults(t *testing.T) {
	s, addr := start(t, server.Handler{}, server.Options{})
	var given sync.Map
	for range 3 {
		c, err := client.Dial(t.Context(), client.Endpoint{URL: addr, User: "bob"}, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s.Broadcast(work("7"))
		var job client.Notify
		for e := range c.Events() {
			var ok bool
			if job, ok = e.(client.Notify); ok {
				break
			}
		}
		if _, twice := given.LoadOrStore(string(job.Extranonce.Extranonce1), true); twice || len(job.Extranonce.Extranonce1) != 4 || job.Extranonce.Extranonce2Len != 8 {
			t.Errorf("%+v", job.Extranonce)
		}
		reject, err := job.Submit(t.Context(), client.Share{Extranonce2: make([]byte, 8), NTime: job.NTime})
		if err != nil || reject == nil || reject.Code != stratum.JobNotFound {
			t.Errorf("%v, %v", reject, err)
		}
	}
	if n := s.Clients(); n != 3 {
		t.Errorf("%d clients", n)
	}
}

// A client that does not read gets the newest work when it does, and the difficulty before
// it, although it was first told with work that it never got.
func TestNewestWins(t *testing.T) {
	told := make(chan int, 1)
	var big strings.Builder
	for range 200_000 {
		big.WriteByte('0')
	}
	s, addr := start(t, server.Handler{
		Authorize: func(s *server.Session, _ server.Login) *stratum.Reject { s.SetDifficulty(1); return nil },
	}, server.Options{Loops: 1})
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["bob"]}`)
	// Once the client's buffers are full, the work that the last change comes with is replaced.
	const works = 300
	difficultyOf := func(i int) float64 { return float64(min(i, works/2) + 2) }
	for i := range works {
		s.Broadcast(func(b []byte, s *server.Session) []byte {
			told <- i
			s.SetDifficulty(difficultyOf(i))
			return append(b, fmt.Sprintf("{\"job\":%d,\"big\":\"%s\"}\n", i, &big)...)
		})
		select {
		case <-told:
		case <-time.After(patience):
			t.Fatalf("work %d is not asked for", i)
		}
	}
	jobs, difficulty := 0, ""
	for {
		line, err := m.in.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %d jobs", err, jobs)
		}
		if strings.Contains(line, "set_difficulty") {
			difficulty = line
		}
		if !strings.HasPrefix(line, `{"job":`) {
			continue
		}
		jobs++
		number, _, _ := strings.Cut(line[len(`{"job":`):], ",")
		var n int
		fmt.Sscan(number, &n)
		if want := fmt.Sprintf(`{"params":[%v],`, difficultyOf(n)); !strings.HasPrefix(difficulty, want) {
			t.Fatalf("job %d comes behind %s", n, difficulty)
		}
		if n == works-1 {
			break
		}
	}
	if jobs == works {
		t.Errorf("all %d jobs were sent to a client that did not read", jobs)
	}
}

// Answers come from other goroutines, in any order, and go nowhere when their session has ended.
func TestLater(t *testing.T) {
	ended := newClosed()
	asked := make(chan *server.Later, 2)
	later := func(s *server.Session) *stratum.Reject {
		asked <- s.Later()
		return &stratum.Reject{Text: "it is not looked at"}
	}
	_, addr := start(t, server.Handler{
		Authorize: func(s *server.Session, _ server.Login) *stratum.Reject { return later(s) },
		Submit:    func(s *server.Session, _ *stratum.Submit) *stratum.Reject { return later(s) },
		Closed:    ended.hear,
	}, server.Options{})
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["bob"]}`, `{"id":3,"method":"mining.authorize","params":["bob"]}`,
		`{"id":4,"method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","7"]}`)
	if _, err := m.in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	m.hear(`{"reject-reason":"It is not decided yet","result":false,"error":[20,"It is not decided yet",null],"id":3}`,
		`{"reject-reason":"Unauthorized worker","result":false,"error":[24,"Unauthorized worker",null],"id":4}`)
	l := <-asked
	l.Answer(nil)
	l.Answer(&stratum.Reject{Text: "again"})
	m.hear(`{"result":true,"error":null,"id":2}`)
	m.say(`{"id":"five","method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","7"]}`,
		`{"id":6,"method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","7"]}`)
	five, six := <-asked, <-asked
	six.Answer(&stratum.Reject{Code: stratum.Duplicate, Text: "Duplicate"})
	m.hear(`{"reject-reason":"Duplicate","result":false,"error":[22,"Duplicate",null],"id":6}`)
	five.Answer(nil)
	m.hear(`{"result":true,"error":null,"id":"five"}`)
	m.say(`{"id":7,"method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","7"]}`)
	seven := <-asked
	m.conn.Close()
	ended.want(t, "closed by peer")
	seven.Answer(nil)

	// A worker that is refused may not mine, and may ask again.
	m = connect(t, addr)
	m.say(`{"id":1,"method":"mining.authorize","params":["eve"]}`)
	(<-asked).Answer(&stratum.Reject{Code: stratum.Unauthorized, Text: "No"})
	m.hear(`{"reject-reason":"No","result":false,"error":[24,"No",null],"id":1}`)
	m.say(`{"id":2,"method":"mining.authorize","params":["eve"]}`)
	(<-asked).Answer(nil)
	m.hear(`{"result":true,"error":null,"id":2}`)
}

// No more requests wait than a session may have.
func TestLaterBound(t *testing.T) {
	var asked []*server.Later // of one loop
	_, addr := start(t, server.Handler{
		Submit: func(s *server.Session, _ *stratum.Submit) *stratum.Reject {
			asked = append(asked, s.Later())
			return nil
		},
	}, server.Options{Loops: 1})
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["bob"]}`)
	m.say(strings.Repeat(`{"id":3,"method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","7"]}`+"\n", 1001))
	m.in.ReadString('\n')
	m.hear(`{"result":true,"error":null,"id":2}`,
		`{"reject-reason":"Too many requests wait for an answer","result":false,"error":[20,"Too many requests wait for an answer",null],"id":3}`)
}

// What strangers say too much of, or too little, ends their connections alone.
func TestStrangers(t *testing.T) {
	for name, tt := range map[string]struct {
		say  string
		hear []string
		why  string
	}{
		"a long line": {strings.Repeat("x", 9000), []string{`{"reject-reason":"Line too long, disconnecting","result":false,"error":[20,"Line too long, disconnecting",null],"id":null}`}, "line too long"},
		"no JSON":     {`{"id":`, []string{`{"reject-reason":"Invalid JSON, disconnecting","result":false,"error":[20,"Invalid JSON, disconnecting",null],"id":null}`}, "bad input"},
		"nothing":     {"", nil, "not authorised in time"},
	} {
		t.Run(name, func(t *testing.T) {
			ended := newClosed()
			o := server.Options{}
			if tt.say == "" {
				o.AuthorizeTimeout = 10 * time.Millisecond
			}
			_, addr := start(t, server.Handler{Closed: ended.hear}, o)
			m := connect(t, addr)
			m.say(tt.say)
			m.hear(tt.hear...)
			m.end()
			ended.want(t, tt.why)
		})
	}
	ended := newClosed()
	_, addr := start(t, server.Handler{Closed: ended.hear}, server.Options{})
	m := connect(t, addr)
	for n := range 10 {
		m.say(`[]`)
		m.hear(`{"reject-reason":"Not a JSON object","result":false,"error":[20,"Not a JSON object",null],"id":null}`)
		if n == 9 {
			m.hear(`{"reject-reason":"Too many bad messages, disconnecting","result":false,"error":[20,"Too many bad messages, disconnecting",null],"id":null}`)
		}
	}
	m.end()
	ended.want(t, "bad input")
}

// What is remembered of a stranger's workers has an end.
func TestLongName(t *testing.T) {
	_, addr := start(t, server.Handler{}, server.Options{})
	m := connect(t, addr)
	authorize := func(length int) {
		m.say(`{"id":1,"method":"mining.authorize","params":["` + strings.Repeat("n", length) + `","x"]}`)
	}
	authorize(257)
	m.hear(`{"reject-reason":"Invalid workername parameter","result":false,"error":[20,"Invalid workername parameter",null],"id":1}`)
	authorize(256)
	m.hear(`{"result":true,"error":null,"id":1}`)
}

// A session is reached from other goroutines, and closed by its handler.
func TestDo(t *testing.T) {
	ended := newClosed()
	opened := make(chan *server.Session, 1)
	_, addr := start(t, server.Handler{
		Authorize: func(s *server.Session, _ server.Login) *stratum.Reject { opened <- s; return nil },
		Closed:    ended.hear,
	}, server.Options{Loops: 1})
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.authorize","params":["bob"]}`)
	m.hear(`{"result":true,"error":null,"id":1}`)
	s := <-opened
	s.Do(func() {
		if s.Remote().String() != m.conn.LocalAddr().String() || s.Listener() != 0 || s.Secure() || s.ID() != 1 {
			t.Errorf("%v %v %v %v", s.Remote(), s.Listener(), s.Secure(), s.ID())
		}
		s.Send(stratum.AppendShowMessage(nil, "Bye"))
		s.Close()
	})
	m.hear(`{"id":null,"method":"client.show_message","params":["Bye"]}`)
	m.end()
	ended.want(t, "closed by the server")
	ran := atomic.Bool{}
	s.Do(func() { ran.Store(true) })
	m = connect(t, addr) // its answer comes after what was left to the loop
	m.say(`{"id":1,"method":"mining.ping"}`)
	m.hear(`{"result":"pong","error":null,"id":1}`)
	if ran.Load() {
		t.Error("a function ran for a session that had ended")
	}
}

func TestTLS(t *testing.T) {
	pair := certificate.New(t, "pool.example.org", 1)
	cert := pair.TLS(t)
	secure := make(chan bool, 2)
	s, _ := start(t, server.Handler{
		Authorize: func(s *server.Session, _ server.Login) *stratum.Reject {
			secure <- s.Secure() && s.Listener() == 1
			return nil
		},
		Closed: func(s *server.Session, _ string) { secure <- s.Secure() },
	}, server.Options{}, server.Endpoint{Address: "127.0.0.1:0"}, server.Endpoint{
		Address:     "127.0.0.1:0",
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pair.Cert)
	for i, want := range []bool{false, true} {
		e := client.Endpoint{URL: "pool.example.org:3333", User: "bob"}
		if want {
			e.URL = "stratum+ssl://" + e.URL
		}
		c, err := client.Dial(t.Context(), e, client.Options{
			TLS: &tls.Config{RootCAs: roots},
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, s.Addrs()[i].String())
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-secure; got != want {
			t.Errorf("secure is %v", got)
		}
		c.Close()
		if got := <-secure; got != want {
			t.Errorf("secure was %v", got)
		}
	}
}

func TestErrors(t *testing.T) {
	if _, err := server.New(server.Handler{}, server.Options{MaxLine: -1}); err == nil || !strings.Contains(err.Error(), "MaxLine") {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := server.New(server.Handler{}, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Listen(t.Context(), server.Endpoint{Address: l.Addr().String()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	if len(s.Addrs()) > 0 {
		t.Error(s.Addrs())
	}
}

// A server is run once. Close does nothing to one that runs: its clients stay.
func TestClose(t *testing.T) {
	s, addr := start(t, server.Handler{}, server.Options{})
	m := connect(t, addr)
	for range 2 {
		m.say(`{"id":1,"method":"mining.ping"}`)
		m.hear(`{"result":"pong","error":null,"id":1}`)
		s.Close()
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "before") {
		t.Errorf("run again: %v", err)
	}
	s, err := server.New(server.Handler{}, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "before") {
		t.Errorf("run after it was closed: %v", err)
	}
}

// Work may be taken back: who comes then gets none.
func TestNoWork(t *testing.T) {
	s, addr := start(t, server.Handler{}, server.Options{})
	s.Broadcast(work("1"))
	s.Broadcast(nil)
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["bob"]}`, `{"id":3,"method":"mining.ping"}`)
	m.hear(`{"result":[[["mining.notify","0000000000000001"]],"00000001",8],"error":null,"id":1}`,
		`{"result":true,"error":null,"id":2}`, `{"result":"pong","error":null,"id":3}`)
}

// A handler may end the session, and the miner is told why; what it said after that is not
// looked at.
func TestRefuseAndClose(t *testing.T) {
	ended := newClosed()
	_, addr := start(t, server.Handler{
		Authorize: func(s *server.Session, _ server.Login) *stratum.Reject {
			s.Close()
			return &stratum.Reject{Code: stratum.Unauthorized, Text: "Banned"}
		},
		Closed: ended.hear,
	}, server.Options{})
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.authorize","params":["bob"]}`, `{"id":2,"method":"mining.ping"}`)
	m.hear(`{"reject-reason":"Banned","result":false,"error":[24,"Banned",null],"id":1}`)
	m.end()
	ended.want(t, "closed by the server")
}

// A share costs no memory.
func TestSubmitAllocates(t *testing.T) {
	_, addr := start(t, server.Handler{Submit: func(*server.Session, *stratum.Submit) *stratum.Reject { return nil }}, server.Options{Loops: 1})
	m := connect(t, addr)
	m.say(`{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["bob"]}`)
	m.in.ReadString('\n')
	m.hear(`{"result":true,"error":null,"id":2}`)
	const of = 50
	batch := []byte(strings.Repeat(`{"id":3,"method":"mining.submit","params":["bob","1","0000000000000000","6b02867d","7"]}`+"\n", of))
	answers := make([]byte, of*len(`{"result":true,"error":null,"id":3}`+"\n"))
	round := func() {
		if _, err := m.conn.Write(batch); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(answers); {
			k, err := m.in.Read(answers[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
	for range 10 {
		round()
	}
	const rounds = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		round()
	}
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / (rounds * of); each > 0.2 {
		t.Errorf("%.2f allocations for each share", each)
	}
}

// Servers know nothing of each other.
func TestTwo(t *testing.T) {
	a, addrA := start(t, server.Handler{}, server.Options{})
	b, addrB := start(t, server.Handler{}, server.Options{})
	a.Broadcast(work("a"))
	b.Broadcast(work("b"))
	for addr, job := range map[string]string{addrA: "a", addrB: "b"} {
		m := connect(t, addr)
		m.say(`{"id":1,"method":"mining.subscribe","params":[]}`, `{"id":2,"method":"mining.authorize","params":["bob"]}`)
		m.in.ReadString('\n')
		m.hear(`{"result":true,"error":null,"id":2}`, fmt.Sprintf(notify, job))
	}
	if a.Clients() != 1 || b.Clients() != 1 {
		t.Errorf("%d and %d clients", a.Clients(), b.Clients())
	}
}
